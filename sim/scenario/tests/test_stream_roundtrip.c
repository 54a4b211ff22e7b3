// SPDX-License-Identifier: Apache-2.0
// What is written and read again is the same program.
#include "sim/scenario/tests/stream_test.h"

#include "sim/scenario/stream_names.h"

#include <stdlib.h>

#define HEAD "hvsim-stream 1\n"

static void expect_same_program(const struct replay_program *a, const struct replay_program *b)
{
    EXPECT_STREQ(a->name, b->name);
    EXPECT_EQ(a->initial_rip, b->initial_rip);
    EXPECT_MEMEQ(a->handler, b->handler, sizeof(a->handler));
    ASSERT_EQ(a->op_count, b->op_count);
    for (uint32_t i = 0; i < a->op_count; i++) {
        struct replay_op x = a->ops[i], y = b->ops[i];
        x.line = y.line = 0;
        EXPECT_MEMEQ(&x, &y, sizeof(x));
    }
}

static void expect_round_trip(const char *text)
{
    struct stream_set set = parse_good(text), again;
    struct stream_error error;
    char *written = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&written, &size);
    ASSERT_TRUE(to != NULL);
    EXPECT_TRUE(stream_write(to, &set));
    (void)fclose(to);
    bool good = stream_parse("written", written, size, &test_target, &again, &error);
    EXPECT_STREQ(error.text, "");
    EXPECT_TRUE(good);
    EXPECT_EQ(again.count, set.count);
    for (unsigned i = 0; i < set.count && i < again.count; i++) {
        expect_same_program(&set.programs[i], &again.programs[i]);
    }
    if (test_failed()) {
        TEST_FAIL("written:\n%s", written);
    }
    free(written);
    stream_free(&set);
    stream_free(&again);
}

// Arguments that are good for each letter of replay_ops.def.
static const char *good_arg(char letter)
{
    switch (letter) {
    case 'm':
        return "IA32_TSC_DEADLINE";
    case 'p':
        return "0x3f8";
    case 's':
        return "4";
    case 'g':
        return "0xfec00010";
    case 'v':
        return "33";
    case 'c':
        return "cr4";
    case 'f':
        return "GUEST_RIP";
    case 'r':
        return "EXTERNAL_INTERRUPT";
    case 'l':
        return "here";
    default:
        return "5";
    }
}

TEST(StreamRoundTrip, EveryOpWithEveryNumberOfArguments)
{
    for (unsigned kind = 0; kind < REPLAY_OP_COUNT; kind++) {
        const struct stream_op_info *info = &stream_op_infos[kind];
        if (kind == REPLAY_LOOP || kind == REPLAY_ENDLOOP || kind == REPLAY_IRET) {
            continue; // Below.
        }
        for (unsigned count = info->min; count <= info->max; count++) {
            char text[400];
            int size = snprintf(text, sizeof(text), HEAD "hlt\nhere:\n700 %s", info->word);
            for (unsigned i = 0; i < count; i++) {
                const char *arg = kind == REPLAY_EXCEPTION && i == 0 ? "14" : good_arg(info->args[i]);
                size += snprintf(text + size, sizeof(text) - (size_t)size, " %s", arg);
            }
            (void)snprintf(text + size, sizeof(text) - (size_t)size, " rip=0xffffffff81234567 rec=9us%s\n",
                           info->length != 0 ? " len=7" : "");
            expect_round_trip(text);
            if (test_failed()) {
                return;
            }
        }
    }
}

TEST(StreamRoundTrip, LoopsHandlersLabelsAndStreams)
{
    expect_round_trip(HEAD
                      "stream main rip=0x1000\ntop:\n3us hlt\nloop 4 {\nmsi 42 1us\nloop {\n5 cpuid 1\n"
                      "branch VM_EXIT_REASON 0xffff 12 top\n}\n}\nend\ngoto last\nhlt\nlast:\n"
                      "on 42:\nwrmsr IA32_TSC_DEADLINE tsc+4us\nloop 2 {\nback:\nhlt\ngoto back\n}\niret\n"
                      "on 3:\niret\n"
                      "stream l2 rip=0x2000\nvmwrite GUEST_IDTR_BASE stream:l2\nhlt\n");
}

TEST(StreamRoundTrip, NanosecondsForAWriterWithoutAClock)
{
    static const struct {
        struct replay_op op;
        const char *text;
    } rows[] = {
        {{.kind = REPLAY_HLT, .length = 1, .gap_cycles = 3000}, "3us hlt"},
        {{.kind = REPLAY_HLT, .length = 1, .gap_cycles = 3001}, "3001ns hlt"},
        {{.kind = REPLAY_HLT, .length = 2, .flags = REPLAY_HAS_RECORDED}, "hlt len=2 rec=0ns"},
        {{.kind = REPLAY_MSI, .args = {42, 1500}}, "msi 42 1500ns"},
        {{.kind = REPLAY_WRMSR, .length = 2, .flags = REPLAY_ARG1_TSC_RELATIVE, .args = {0x6e0, 70000}},
         "wrmsr IA32_TSC_DEADLINE tsc+70us"},
        {{.kind = REPLAY_WRMSR, .length = 2, .args = {0x12345, 0xabc0}}, "wrmsr 0x12345 0xabc0"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows)[0]; i++) {
        char text[STREAM_OP_TEXT_MAX];
        size_t size = stream_format_op(text, &rows[i].op, STREAM_NS);
        EXPECT_STREQ(text, rows[i].text);
        EXPECT_EQ(size, strlen(text));
    }
}
