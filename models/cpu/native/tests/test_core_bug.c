// SPDX-License-Identifier: Apache-2.0
// A bug of hypervisor code ends its run with a violation that says what and where; the simulator goes on.
#include "models/cpu/native/tests/mini_machine.h"
#include "traces/export.h"
#include <stdio.h>
#include <string.h>

static bool first_row(void *ctx, const struct trace_row *row)
{
    snprintf(ctx, 300, "%s: %s", row->values[0].text, row->values[1].text);
    return false;
}

// Runs it as a run of a trace in memory: its first violation, "" if there is none.
static void violation_of(struct fixture *f, uint64_t program, uint64_t rounds, char found[300])
{
    const struct trace_options to = {.db_path = "", .store = TRACE_EVERY, .writer = TRACE_WRITER_INLINE};
    const struct trace_run_info info = {.scenario = "core bug", .clock_khz = 1000000};
    struct trace_digest digest;
    struct trace_error error;
    int64_t id;
    struct trace *t = trace_open(&to, &error);

    *found = 0;
    ASSERT_TRUE(t != NULL);
    ASSERT_EQ(trace_run_begin(t, &info, &id, &error), TRACE_OK);
    f->cpu[0].trace = f->cpu[1].trace = t;
    (void)mini_run(f, program, rounds, 0);
    f->cpu[0].trace = f->cpu[1].trace = NULL;
    ASSERT_EQ(trace_run_end(t, TRACE_COMPLETE, 0, &digest, &error), TRACE_OK);
    struct trace_reader *r = trace_reader_of(t, &error);

    ASSERT_TRUE(r != NULL);
    ASSERT_EQ(trace_reader_scope(r, id, &error), TRACE_OK);
    ASSERT_EQ(trace_query(r, "SELECT kind, detail FROM violations", first_row, found, &error), TRACE_OK);
    trace_reader_close(r);
    ASSERT_EQ(trace_close(t, &error), TRACE_OK);
}

TEST(CoreBug, EndsTheRunAndTheNextOneIsFine)
{
    struct fixture f;
    char found[300];

    ASSERT_TRUE(mini_open(&f));
    violation_of(&f, WILD, 0, found);
    EXPECT_STREQ(found, "wild_pointer: follow touches 0x10, which is not memory of the host");
    violation_of(&f, WILD, HW_ARENA_BASE + HW_ARENA_STRIDE, found); // Of a host that there is not.
    EXPECT_STREQ(found, "wild_pointer: follow touches 0x380000000010, which is not memory of the host");
    violation_of(&f, PANIC, 0, found);
    EXPECT_STREQ(found, "panic: mini_hv.c:7: rounds < limit");
    EXPECT_EQ(mini_run(&f, SPIN, 100, 0).counter, 200);
    mini_close(&f);
}

static void without_trace(void *ctx)
{
    (void)mini_run(ctx, PANIC, 0, 0);
}

TEST(CoreBug, EndsTheProgramWhereNothingIsTraced)
{
    struct fixture f;
    char output[400];

    ASSERT_TRUE(mini_open(&f));
    EXPECT_EQ(test_exit_status(without_trace, &f, output, sizeof output), 70);
    EXPECT_STRSTR(output, "bug in the hypervisor core: panic: mini_hv.c:7: rounds < limit");
    mini_close(&f);
}
