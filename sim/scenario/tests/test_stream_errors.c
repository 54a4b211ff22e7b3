// SPDX-License-Identifier: Apache-2.0
// Every mistake is told with its place and what was expected; nothing is left behind.
#include "sim/scenario/tests/stream_test.h"

#include <stdlib.h>

#define HEAD "hvsim-stream 1\n"

static const struct {
    const char *text;
    uint32_t line, column;
    const char *message; // A part of it.
} errors[] = {
    {"", 0, 0, "holds no ops"},
    {"\n# only\n", 0, 0, "holds no ops"},
    {HEAD, 0, 0, "holds no ops"},
    {"hlt\n", 1, 1, "expected the line hvsim-stream 1 first"},
    {"hvsim-stream 2\nhlt\n", 1, 1, "version of the format is not known"},
    {HEAD "htl\n", 2, 1, "unknown word 'htl'; did you mean hlt?"},
    {HEAD "  5 wrsmr 1 2\n", 2, 5, "did you mean wrmsr?"},
    {HEAD "xyzzyxyzzy\n", 2, 1, "expected an op such as"},
    {HEAD "5\n", 2, 2, "expected what the guest does after this gap"},
    {HEAD "5parsecs hlt\n", 2, 1, "gap '5parsecs' is not a time"},
    {HEAD "1__0 hlt\n", 2, 1, "is not a time"},
    {HEAD "99999999999999999999 hlt\n", 2, 1, "is not a time"},
    {HEAD "281474976710657 hlt\n", 2, 1, "too long"},
    {HEAD "999999999999ms hlt\n", 2, 1, "too long"},
    {HEAD "200000000us hlt\n200000000000us hlt\n", 3, 1, "too long"},
    {HEAD "cpuid\n", 2, 6, "cpuid needs a number here"},
    {HEAD "cpuid 1 2 3\n", 2, 11, "one argument too many; cpuid takes at most 2"},
    {HEAD "hlt 1\n", 2, 5, "one argument too many; hlt takes 0"},
    {HEAD "cpuid x\n", 2, 7, "'x' is not a number"},
    {HEAD "cpuid 0x100000000\n", 2, 7, "too big"},
    {HEAD "rdmsr IA32_TSC_DEADLIN\n", 2, 7,
     "unknown MSR 'IA32_TSC_DEADLIN'; did you mean IA32_TSC_DEADLINE?"},
    {HEAD "rdmsr PARROT_OF_POLLY\n", 2, 7, "expected a name of the manual"},
    {HEAD "rdmsr 0x100000000\n", 2, 7, "too big"},
    {HEAD "wrmsr IA32_TSC_DEADLINE tsc+\n", 2, 29, "not a time"},
    {HEAD "wrmsr IA32_TSC_DEADLINE tsc+4s\n", 2, 29, "not a time"},
    {HEAD "cpuid tsc+4\n", 2, 7, "not a number"},
    {HEAD "in 0x10000 1\n", 2, 4, "I/O port 0x10000 is too big; the most is 0xffff"},
    {HEAD "in 0xffff 2\n", 2, 4, "past the last port"},
    {HEAD "in 0x60 3\n", 2, 9, "no access has size 3; expected 1, 2, 4 or 8"},
    {HEAD "in 0x60 8\n", 2, 9, "too big; the most is 4"},
    {HEAD "out 0x60 1 0x100\n", 2, 12, "does not fit in 1 byte"},
    {HEAD "out 0x60 1\n", 2, 11, "out needs a number here"},
    {HEAD "read 0x1000 16\n", 2, 13, "no access has size 16"},
    {HEAD "read 0x400000000000\n", 2, 6, "too big; the most is 0x3fffffffffff"},
    {HEAD "read 0x1ffd\n", 2, 6, "crosses a page"},
    {HEAD "write 0x1ff9 8 0\n", 2, 7, "crosses a page"},
    {HEAD "write 0x1000 2 0x10000\n", 2, 16, "does not fit in 2 bytes"},
    {HEAD "movtocr cr2 0\n", 2, 9, "expected cr0, cr3, cr4 or cr8"},
    {HEAD "movfromcr 1\n", 2, 11, "expected cr0, cr3, cr4 or cr8"},
    {HEAD "movtocr cr8 16\n", 2, 13, "task priority of 0 to 15"},
    {HEAD "movtodr 8 0\n", 2, 9, "too big; the most is 7"},
    {HEAD "lmsw 0x10000\n", 2, 6, "too big"},
    {HEAD "exception 32\n", 2, 11, "too big; the most is 31"},
    {HEAD "exception 2\n", 2, 11, "expected the word nmi"},
    {HEAD "exception 15\n", 2, 11, "reserved vector"},
    {HEAD "exception 22\n", 2, 11, "reserved vector"},
    {HEAD "exception 6 1\n", 2, 13, "has no error code"},
    {HEAD "exception 256\n", 2, 11, "too big"},
    {HEAD "intr 31\n", 2, 6, "expected 32 to 255"},
    {HEAD "intr 256\n", 2, 6, "too big; the most is 0xff"},
    {HEAD "msi 15\n", 2, 5, "expected 16 to 255"},
    {HEAD "msi 32 5h\n", 2, 8, "not a time"},
    {HEAD "await HLT\n", 2, 7, "await HLT would wait for ever"},
    {HEAD "await PREEMTION_TIMER\n", 2, 7, "did you mean PREEMPTION_TIMER?"},
    {HEAD "await 999\n", 2, 7, "no exit has the reason 999"},
    {HEAD "vmread GUEST_RIPP\n", 2, 8, "did you mean GUEST_RIP?"},
    {HEAD "vmwrite GUEST_RIP label:x\n", 2, 25, "unknown label 'x'"},
    {HEAD "vmwrite GUEST_RIP stream:l2\nstream l3\nhlt\n", 2, 26, "unknown stream 'l2'; did you mean l3?"},
    {HEAD "vmwrite GUEST_RIP stream:\n", 2, 26, "a name is missing"},
    {HEAD "branch VM_EXIT_REASON 0xf 0x10 a\na:\nhlt\n", 2, 27, "never taken"},
    {HEAD "hlt rip=5x\n", 2, 5, "not an address"},
    {HEAD "hlt rip=0x4000000000000000\n", 2, 5, "not canonical"},
    {HEAD "hlt len=0\n", 2, 5, "1 to 15 bytes"},
    {HEAD "hlt len=16\n", 2, 5, "1 to 15 bytes"},
    {HEAD "intr 40 len=2\n", 2, 9, "no instruction"},
    {HEAD "hlt rec=5\n", 2, 9, "number with ns, us or ms"},
    {HEAD "hlt reg=5\n", 2, 5, "unknown option 'reg'"},
    {HEAD "cpuid rec=1us 4\n", 2, 6, "cpuid needs a number"},
    {HEAD "cpuid 1 rec=1us 4\n", 2, 17, "stands after an option"},
    {HEAD "loop 3\nhlt\n}\n", 2, 7, "expected { at the end"},
    {HEAD "loop 0 {\nhlt\n}\n", 2, 6, "a loop of 0 rounds"},
    {HEAD "loop 3 {\nhlt\n", 2, 0, "this loop has no end"},
    {HEAD "hlt\nloop 3 {\n}\n", 4, 1, "the loop of line 3 is empty"},
    {HEAD "hlt\n}\n", 3, 1, "closes no loop"},
    {HEAD "loop {\nmsi 32\n}\n", 4, 0, "takes no guest time"},
    {HEAD "a:\ngoto a\n", 3, 0, "takes no guest time"},
    {HEAD "a:\ngoto b\nhlt\nb:\nmsi 32\ngoto a\n", 7, 0, "takes no guest time"},
    {HEAD "goto nowhere\n", 2, 6, "unknown label 'nowhere'"},
    {HEAD "again:\nhlt\ngoto agian\n", 4, 6, "did you mean again?"},
    {HEAD "a:\nhlt\na:\nhlt\n", 4, 1, "label a is here twice; see line 2"},
    {HEAD "a: hlt\n", 2, 4, "expected nothing after a label"},
    {HEAD "9a:\nhlt\n", 2, 1, "is no name for a label"},
    {HEAD "a%b:\nhlt\n", 2, 1, "is no name for a label"},
    {HEAD "goto a\nloop 2 {\na:\nhlt\n}\n", 2, 6, "not enter one"},
    {HEAD "hlt\non 40:\ngoto a\niret\na:\nhlt\n", 4, 6, "outside of this handler"},
    {HEAD "goto a\nhlt\non 40:\na:\nhlt\niret\n", 2, 6, "outside of this main part"},
    {HEAD "iret\n", 2, 1, "iret outside of a handler"},
    {HEAD "hlt\non 40:\nhlt\n", 3, 0, "the handler of vector 40 does not end; expected iret"},
    {HEAD "hlt\non 40:\nloop 2 {\nhlt\niret\n}\n", 6, 1, "iret inside of a loop"},
    {HEAD "hlt\non 40:\non 41:\niret\n", 4, 1, "has no iret yet"},
    {HEAD "loop 2 {\non 41:\n", 3, 1, "cannot stand inside of a loop"},
    {HEAD "hlt\non 40:\niret\non 40:\niret\n", 5, 4, "has a handler already, in line 4"},
    {HEAD "hlt\non 256:\niret\n", 3, 4, "too big"},
    {HEAD "hlt\non 40\niret\n", 3, 4, "expected a vector and a colon"},
    {HEAD "hlt\non\n", 3, 3, "expected a vector and a colon"},
    {HEAD "hlt\non 40: hlt\n", 3, 8, "is not expected"},
    {HEAD "on 40:\niret\n", 2, 0, "stream main is empty"},
    {HEAD "hlt\nstream l2\n", 3, 0, "stream l2 is empty"},
    {HEAD "stream l2\nhlt\n", 2, 8, "the first stream must be main"},
    {HEAD "hlt\nstream main\nhlt\n", 3, 8, "stream main is here twice"},
    {HEAD "hlt\nstream\n", 3, 7, "stream needs a name"},
    {HEAD "hlt\nstream a b\n", 3, 10, "only rip=ADDRESS"},
    {HEAD "hlt\nstream 5\n", 3, 8, "is no name for a stream"},
    {HEAD "hlt\nvmwrite GUEST_RIP label:x\nstream a\nx:\nhlt\nstream b\nx:\nhlt\n", 3, 25,
     "is in 2 other streams"},
    {HEAD "a b c d e f g h i j k l m n o p q r\n", 2, 0, "more than 16 words"},
    {HEAD "\x1b[31mred\n", 2, 1, "unknown word '?[31mred'"},
};

TEST(StreamErrors, EachIsToldWithItsPlace)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors)[0]; i++) {
        struct stream_set set;
        struct stream_error error;
        bool good = parse_text(errors[i].text, &set, &error);
        EXPECT_FALSE(good);
        EXPECT_EQ(set.count, 0);
        EXPECT_EQ(error.line, errors[i].line);
        EXPECT_EQ(error.column, errors[i].column);
        EXPECT_STRSTR(error.text, errors[i].message);
        char place[40];
        if (errors[i].column > 0) {
            (void)snprintf(place, sizeof(place), "t.stream:%u:%u: ", errors[i].line, errors[i].column);
        } else if (errors[i].line > 0) {
            (void)snprintf(place, sizeof(place), "t.stream:%u: ", errors[i].line);
        } else {
            (void)snprintf(place, sizeof(place), "t.stream: ");
        }
        EXPECT_EQ(strncmp(error.text, place, strlen(place)), 0);
        if (test_failed()) {
            TEST_FAIL("row %zu, message: %s, text:\n%s", i, error.text, errors[i].text);
            return;
        }
    }
}

static void expect_error(const char *text, size_t size, const char *message)
{
    struct stream_set set;
    struct stream_error error;
    EXPECT_FALSE(stream_parse("t.stream", text, size, &test_target, &set, &error));
    EXPECT_STRSTR(error.text, message);
}

TEST(StreamErrors, BinaryAndEndlessLinesAreRefused)
{
    static const char zero[] = HEAD "hl\0t\n";
    expect_error(zero, sizeof(zero) - 1, "not a text file");
    static char line[STREAM_LINE_MAX + 100];
    memset(line, 'a', STREAM_LINE_MAX + 100);
    expect_error(line, STREAM_LINE_MAX + 100, "more than 4096 bytes");
}

// Text put together piece by piece.
struct builder {
    char text[1200];
    size_t size;
};

static void add(struct builder *b, const char *text)
{
    int size = snprintf(b->text + b->size, sizeof(b->text) - b->size, "%s", text);
    b->size += (size_t)size;
    EXPECT_LT(b->size, sizeof(b->text));
}

static struct builder nested_loops(unsigned depth)
{
    struct builder b = {.size = 0};
    add(&b, HEAD);
    for (unsigned i = 0; i < depth; i++) {
        add(&b, "loop 2 {\n");
    }
    add(&b, "hlt\n");
    for (unsigned i = 0; i < depth; i++) {
        add(&b, "}\n");
    }
    return b;
}

TEST(StreamErrors, LoopsNestToEight)
{
    struct builder deep = nested_loops(8), deeper = nested_loops(9);
    struct stream_set set = parse_good(deep.text);
    EXPECT_EQ(set.programs[0].ops[7].args[2], 7);
    stream_free(&set);
    expect_error(deeper.text, deeper.size, "nested deeper than 8");
}

TEST(StreamErrors, TheNumberOfOpsAndStreamsIsBounded)
{
    static const char text[] = HEAD "hlt\nhlt\nhlt\n";
    struct stream_target small = test_target;
    struct stream_set set;
    struct stream_error error;
    small.ops_max = 3; // Two and the end.
    EXPECT_FALSE(stream_parse("t", text, sizeof(text) - 1, &small, &set, &error));
    EXPECT_EQ(error.line, 4);
    EXPECT_STRSTR(error.text, "more than 3 ops");
    struct builder many = {.size = 0};
    add(&many, HEAD "hlt\n");
    for (unsigned i = 1; i <= 16; i++) {
        char part[40];
        (void)snprintf(part, sizeof(part), "stream s%u\nhlt\n", i);
        add(&many, part);
    }
    expect_error(many.text, many.size, "more than 16 streams");
}

TEST(StreamErrors, AFileThatIsNotThereIsTold)
{
    struct stream_set set;
    struct stream_error error;
    EXPECT_FALSE(stream_load("/nonexistent/x.stream", &test_target, &set, &error));
    EXPECT_STREQ(error.text, "/nonexistent/x.stream: No such file or directory");
    EXPECT_FALSE(stream_load("/", &test_target, &set, &error));
    EXPECT_STRSTR(error.text, "/: ");
}
