// SPDX-License-Identifier: Apache-2.0
/*
 * Cost is real: a build of the hypervisor core in which one handler does more work shows that work's price in
 * that handler's own cycles, and nowhere else. libhv-more.so is libhv.so with more_work.sed in
 * handle_cpuid().
 */
#include "models/cpu/native/price.h"
#include "models/cpu/uarch/uarch.h"
#include "tests/cli/cli.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 100, EXITS = 400 };

/* Ticks of one round: the price of the block of handle_cpuid() that jumps to its own start. 0 with a failure.
 */
static uint64_t price_of_a_round(void)
{
    char path[700], error[700] = "";
    uint64_t ticks = 0;
    unsigned loops = 0;

    snprintf(path, sizeof path, "%s/models/cpu/uarch/skylake-sp.yaml", test_source_dir());
    struct uarch *u = uarch_load(path, error, sizeof error);

    snprintf(path, sizeof path, "%s/lib/libhv-more.so", test_build_dir());
    struct price_table *t = u ? price_open(path, 0, u, error, sizeof error) : NULL;

    for (size_t i = 0; t && i < price_block_count(t); i++) {
        const struct price_block *b = price_block_at(t, i);

        if (strcmp(b->function, "handle_cpuid") == 0 && b->loop) {
            ticks = b->ticks;
            loops++;
        }
    }
    if (!t)
        TEST_FAIL("%s", error);
    EXPECT_EQ(loops, 1);
    price_close(t);
    uarch_free(u);
    return ticks;
}

static const char program[] =
    "hvsim-stream 1\nloop 400 {\n500 cpuid 0\n700 wrmsr 0x48 1\n900 vmcall 1\n}\nend\n";
static const char scenario[] =
    "scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a.stream }\n";

static void run_both(void)
{
    cli_write_text("a.stream", program);
    cli_write_text("s.yaml", scenario);
    EXPECT_EQ(hvsim("run s.yaml --db d.db --hv '%s/lib/libhv.so'", test_build_dir()), 0);
    EXPECT_EQ(hvsim("run s.yaml --db d.db --hv '%s/lib/libhv-more.so'", test_build_dir()), 0);
}

TEST(Cost, MoreWorkInAHandlerShowsInThatHandlerAndNowhereElse)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *rows = NULL;
    unsigned others = 0;
    int64_t added = 0, calls = 0, elsewhere = 0;

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    int64_t expected = (int64_t)(price_of_a_round() * ROUNDS / 16);

    run_both();
    ASSERT_FALSE(test_failed());
    ASSERT_EQ(sqlite3_open(cli_path("d.db"), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_prepare_v2(
                  db,
                  "SELECT a.function, a.calls, b.calls, a.self_cycles, b.self_cycles FROM functions a "
                  "JOIN functions b USING (function) WHERE a.run = 1 AND b.run = 2",
                  -1, &rows, NULL),
              SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        const char *function = (const char *)sqlite3_column_text(rows, 0);
        int64_t before = sqlite3_column_int64(rows, 3), after = sqlite3_column_int64(rows, 4);
        int64_t difference = llabs(after - before);

        test_row("%s: %lld cycles of its own before, %lld after", function, (long long)before,
                 (long long)after);
        EXPECT_EQ(sqlite3_column_int64(rows, 2), sqlite3_column_int64(rows, 1));
        if (strcmp(function, "handle_cpuid") == 0) {
            calls = sqlite3_column_int64(rows, 1);
            added = after - before;
            continue;
        }
        others++;
        elsewhere += difference;
        // Code and constants moved: other lines of the caches, a few misses of at most a memory's latency.
        EXPECT_LE(difference, before / 50 + 400);
    }
    sqlite3_finalize(rows);
    sqlite3_close(db);
    test_row("added %lld cycles in %lld calls, expected %lld a call; %lld cycles elsewhere", (long long)added,
             (long long)calls, (long long)expected, (long long)elsewhere);
    EXPECT_EQ(calls, EXITS);
    EXPECT_GE(others, 20);
    EXPECT_GT(expected, ROUNDS); // A round takes more than a cycle.
    EXPECT_GE(added, calls * expected * 80 / 100);
    EXPECT_LE(added, calls * expected * 120 / 100);
    EXPECT_LE(elsewhere, added / 50);
}

/* And in the time of the exits: those of CPUID take that much longer, the others do not. */
TEST(Cost, MoreWorkShowsInItsExits)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    int64_t expected = (int64_t)(price_of_a_round() * ROUNDS / 16);

    run_both();
    ASSERT_FALSE(test_failed());
    static const struct {
        const char *reason;
        bool more;
    } rows[] = {{"CPUID", true}, {"MSR_WRITE", false}, {"VMCALL", false}};

    for (size_t i = 0; i < 3; i++) {
        char sql[300];

        snprintf(sql, sizeof sql,
                 "SELECT (SELECT sum(hv_cycles) FROM exits WHERE run = 2 AND reason = '%1$s') - "
                 "(SELECT sum(hv_cycles) FROM exits WHERE run = 1 AND reason = '%1$s')",
                 rows[i].reason);
        int64_t difference = cli_query(cli_path("d.db"), sql);

        test_row("%s: %lld cycles more in %d exits", rows[i].reason, (long long)difference, EXITS);
        if (rows[i].more) {
            EXPECT_GE(difference, EXITS * expected * 80 / 100);
            EXPECT_LE(difference, EXITS * expected * 120 / 100);
        } else {
            EXPECT_LE(llabs(difference), EXITS * 5);
        }
    }
}
