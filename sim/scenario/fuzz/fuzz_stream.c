// SPDX-License-Identifier: Apache-2.0
// Any bytes as a stream file: a set or a message, never a crash; and what was understood survives being
// written and read again.
#include "sim/scenario/stream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct stream_target target = {
    .clock_khz = 2100000, .tsc_khz = 2000000, .vm = 3, .vcpu = 1, .ops_max = 100000};

static void must(bool good)
{
    if (!good) {
        abort();
    }
}

static void compare(const struct replay_program *a, const struct replay_program *b)
{
    must(strcmp(a->name, b->name) == 0 && a->op_count == b->op_count && a->initial_rip == b->initial_rip);
    must(memcmp(a->handler, b->handler, sizeof(a->handler)) == 0);
    for (uint32_t i = 0; i < a->op_count; i++) {
        struct replay_op x = a->ops[i], y = b->ops[i];
        x.line = y.line = 0;
        must(memcmp(&x, &y, sizeof(x)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream_set set, again;
    struct stream_error error;
    if (!stream_parse("fuzz.stream", (const char *)data, size, &target, &set, &error)) {
        must(error.text[0] != 0 && set.count == 0);
        return 0;
    }
    char *text = NULL;
    size_t text_size = 0;
    FILE *to = open_memstream(&text, &text_size);
    must(to != NULL && stream_write(to, &set) && fclose(to) == 0);
    must(stream_parse("written.stream", text, text_size, &target, &again, &error));
    must(again.count == set.count);
    for (unsigned i = 0; i < set.count; i++) {
        compare(&set.programs[i], &again.programs[i]);
    }
    free(text);
    stream_free(&set);
    stream_free(&again);
    return 0;
}
