// SPDX-License-Identifier: Apache-2.0
/* Databases with damage inside: reading and writing them ends, with a message if need be. */
#include "traces/tests/fixture.h"

#include "traces/bench/mix.h"

#include <stdio.h>
#include <string.h>

static bool swallow(void *context, const char *text, size_t size)
{
    *(size_t *)context += size + (size_t)text[0];
    return true;
}

static bool swallow_row(void *context, const struct trace_row *row)
{
    *(size_t *)context += (size_t)row->columns;
    return true;
}

static bool is_told(enum trace_status status, const struct trace_error *error)
{
    return status == TRACE_OK || (error->status == status && error->message[0] && error->hint[0]);
}

// Everything that reads, over one damaged database; any outcome is right that is told.
static void read_everything(const char *path, size_t *sum)
{
    static const char *const tables[] = {"runs", "exits", "events", "spans",      "call_chunks", "functions",
                                         "irqs", "walks", "locks",  "walk_steps", "calls"};
    struct trace_error error;
    struct trace_reader *reader = trace_reader_open(path, &error);

    if (!reader) {
        EXPECT_TRUE(error.status != TRACE_OK && error.message[0] && error.hint[0]);
        return;
    }
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        EXPECT_TRUE(is_told(
            trace_export(reader, tables[i], i % 2 ? TRACE_CSV : TRACE_JSON, swallow, sum, &error), &error));
    EXPECT_TRUE(is_told(trace_export_folded(reader, 0, true, swallow, sum, &error), &error));
    EXPECT_TRUE(is_told(
        trace_query(reader, "SELECT * FROM calls WHERE exit_seq = 17", swallow_row, sum, &error), &error));
    trace_reader_close(reader);
}

// One more run into it.
static void write_more(const char *path)
{
    struct trace_options options = trace_options_defaults(path);
    struct trace_digest digest;
    struct trace_error error;
    struct mix mix;
    int64_t run;
    struct trace *t = trace_open(&options, &error);

    if (!t) {
        EXPECT_TRUE(error.status != TRACE_OK && error.message[0] && error.hint[0]);
        return;
    }
    mix_init(&mix, t);
    trace_run_begin(t, &fixture_run, &run, &error);
    for (int i = 0; i < 20; i++)
        mix_exit(&mix);
    enum trace_status status = trace_run_end(t, TRACE_COMPLETE, mix.tick, &digest, &error);

    EXPECT_TRUE(is_told(status, &error));
    EXPECT_NE(digest.lo, 0);
    trace_close(t, NULL);
}

// Bytes of a database changed at places all over it, a few at a time: what reads it ends, with a message if
// need be.
TEST(Hostile, DamagedDatabasesAreSurvived)
{
    static unsigned char bytes[1 << 20], damaged[1 << 20];
    const char *path = fixture_path("a.db");
    struct trace *t = fixture_begin(path);
    uint64_t random = 1;
    size_t sum = 0;

    fixture_mix(t, 100);
    trace_close(t, NULL);
    FILE *file = fopen(path, "rb");
    size_t size = fread(bytes, 1, sizeof bytes, file);

    fclose(file);
    ASSERT_LT(size, sizeof bytes);
    for (int round = 0; round < 150; round++) {
        test_row("round %d", round);
        memcpy(damaged, bytes, size);
        for (int i = 0; i < 1 + round % 40; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            damaged[100 + (random >> 20) % (size - 100)] = (unsigned char)(random >> 56);
        }
        file = fopen(path, "wb");
        EXPECT_EQ(fwrite(damaged, 1, size, file), size);
        fclose(file);
        read_everything(path, &sum);
        write_more(path);
    }
    EXPECT_GT(sum, 0);
}
