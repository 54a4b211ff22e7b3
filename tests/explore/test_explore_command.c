// SPDX-License-Identifier: Apache-2.0
/*
 * hvsim explore, whole: races are found from nothing but the knob, the schedule makes them fail again every
 * time, and what is mended survives the same search.
 */
#include "tests/cli/cli.h"

#include "sim/rewind/rewind.h"
#include <stdio.h>
#include <string.h>

static const struct {
    const char *scenario, *broken, *fixed;
    const char *fails; // What a run in that order says
    unsigned survives; // Executions of the mended variant that this test makes
} rows[] = {
    {"make-request", "none", "api", "FAIL the INIT finds the target", 400},
    {"make-request", "no_entry_mb", "api", "FAIL the INIT finds the target", 0},
    {"memslot-delete", "before", "after", "spte_into_dead_slot", 0},
    {"lazy-rmaps", "lockleak", "after", "lock_leaked", 10},
    {"lazy-rmaps", "nocopylock", "after", "null_rmap", 0},
    {"dirty-log-order", "actual", "after", "FAIL a page that was written", 100},
    {"dirty-log-order", "fetch_protect", "after", "FAIL a page that was written", 0},
    {"killable-wait", "uninterruptible", "after", "FAIL the VM is killed", 100},
    {"rsm-torn-read", "before", "after", "FAIL the new CR3", 200},
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *why_not(void)
{
    return cli_can_run() ? rewind_unsupported() : "there is no libhv.so in this build";
}

static const char *path_of(unsigned row)
{
    static char path[700];

    snprintf(path, sizeof path, "%s/scenarios/races/%s.yaml", test_source_dir(), rows[row].scenario);
    return path;
}

TEST(ExploreCommand, FindsTheRaceAndTheScheduleMakesItAgain)
{
    if (why_not())
        test_skip(why_not());
    for (unsigned i = 0; i < ROWS; i++) {
        char digest[80] = "";

        test_row("%s, %s", rows[i].scenario, rows[i].broken);
        EXPECT_EQ(hvsim("explore '%s' --variant %s -o s.sched", path_of(i), rows[i].broken), 1);
        EXPECT_STRSTR(cli_out, "schedule    s.sched\n");
        for (unsigned again = 0; again < 3; again++) {
            EXPECT_EQ(hvsim("run '%s' --variant %s --schedule s.sched --db %u-%u.db", path_of(i),
                            rows[i].broken, i, again),
                      1);
            EXPECT_STRSTR(cli_out, rows[i].fails);
            const char *found = strstr(cli_out, "  digest ");

            ASSERT_TRUE(found != NULL);
            if (again)
                EXPECT_TRUE(strncmp(digest, found, 41) == 0);
            snprintf(digest, sizeof digest, "%.41s", found);
        }
    }
}

TEST(ExploreCommand, FindsNothingInWhatIsMended)
{
    if (why_not())
        test_skip(why_not());
    for (unsigned i = 0; i < ROWS; i++) {
        if (!rows[i].survives)
            continue;
        test_row("%s, %s", rows[i].scenario, rows[i].fixed);
        EXPECT_EQ(hvsim("explore '%s' --variant %s --budget %u", path_of(i), rows[i].fixed, rows[i].survives),
                  0);
        EXPECT_STRSTR(cli_out, "found       nothing");
    }
}

// Under x86-TSO: the vCPU's "in the guest" waits in its processor's store buffer while it looks for requests.
// Where requests are ordered by nothing but x86 itself, nothing is found.
TEST(ExploreCommand, FindsAStoreThatWaitsInItsBuffer)
{
    if (why_not())
        test_skip(why_not());
    EXPECT_EQ(hvsim("explore '%s' --variant no_entry_mb --memory tso -o t.sched", path_of(0)), 1);
    EXPECT_STRSTR(cli_out, "drain");
    EXPECT_STRSTR(cli_out, "its store becomes visible");
    EXPECT_STRSTR(cli_out, "schedule    t.sched\n");
    EXPECT_EQ(hvsim("run '%s' --variant no_entry_mb --memory tso --schedule t.sched --db t.db", path_of(0)),
              1);
    EXPECT_STRSTR(cli_out, rows[1].fails);
    EXPECT_EQ(hvsim("explore '%s' --variant api --memory tso --budget 400", path_of(0)), 0);
    EXPECT_STRSTR(cli_out, "found       nothing");
    EXPECT_EQ(hvsim("explore '%s' --variant none --memory tso --budget 100", path_of(0)), 0);
    EXPECT_STRSTR(cli_out, "found       nothing");
}

// What a validator finds is a failure of the execution in which it finds it, and of a run in that order;
// executions with validators are the same as without.
TEST(ExploreCommand, ValidatorsLookAtEveryExecution)
{
    static char first[200];

    if (why_not())
        test_skip(why_not());
    EXPECT_EQ(hvsim("explore '%s' --variant nocopylock --validate races,heap -o v.sched", path_of(3)), 1);
    EXPECT_STRSTR(cli_out, "found       violation: data_race (");
    EXPECT_STRSTR(cli_out, "hv/mmu/rmap.c:alloc_all#");
    EXPECT_STRSTR(cli_out, "schedule    v.sched\n");
    EXPECT_EQ(hvsim("run '%s' --variant nocopylock --schedule v.sched --db v.db", path_of(3)), 1);
    EXPECT_STRSTR(cli_out, "violation: data_race (");
    for (unsigned with = 0; with < 2; with++) {
        EXPECT_EQ(
            hvsim("explore '%s' --variant after --budget 40 %s", path_of(2), with ? "--validate all" : ""),
            0);
        char *orders = strstr(cli_out, "  covered");

        ASSERT_TRUE(orders != NULL);
        orders[strcspn(orders, "\n")] = 0;
        if (with)
            EXPECT_STREQ(orders, first);
        snprintf(first, sizeof first, "%s", orders);
    }
}

TEST(ExploreCommand, MakesTheSameSearchFromTheSameSeed)
{
    static char first[sizeof cli_out];

    if (why_not())
        test_skip(why_not());
    for (unsigned again = 0; again < 2; again++) {
        hvsim("explore '%s' --variant no_entry_mb --seed 5 --budget 150 -o s%u.sched", path_of(0), again);
        char *orders = strstr(cli_out, "  covered");

        ASSERT_TRUE(orders != NULL);
        orders[strcspn(orders, "\n")] = 0;
        if (again)
            EXPECT_STREQ(orders, first);
        snprintf(first, sizeof first, "%s", orders);
    }
}

TEST(ExploreCommand, SpeaksJson)
{
    if (why_not())
        test_skip(why_not());
    EXPECT_EQ(hvsim("explore '%s' --variant none --json -o s.sched", path_of(0)), 1);
    EXPECT_TRUE(json_fault(cli_out) == NULL);
    EXPECT_STRSTR(cli_out, "\"reproduced\": true");
    EXPECT_EQ(hvsim("explore '%s' --variant api --budget 20 --json", path_of(0)), 0);
    EXPECT_TRUE(json_fault(cli_out) == NULL);
    EXPECT_STRSTR(cli_out, "\"failed\": 0");
}

TEST(ExploreCommand, SaysWhatIsWrongWithItsOptions)
{
    static const struct {
        const char *words, *says;
    } bad[] = {
        {"", "name a scenario"},
        {"nowhere.yaml", "nowhere.yaml"},
        {"--strategy dsf x.yaml", "did you mean `dfs`"},
        {"--budget 0 x.yaml", "--budget wants a number of 1"},
        {"--from soon x.yaml", "--from wants a time"},
        {"--memory tos x.yaml", "tso, sc or c11"},
        {"--validate race x.yaml", "`race` is no validator"},
        {"--depht 3", "did you mean `--depth`"},
    };

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_row("%s", bad[i].words);
        EXPECT_EQ(hvsim("explore %s", bad[i].words), 2);
        EXPECT_STRSTR(cli_err, bad[i].says);
    }
    if (why_not())
        test_skip(why_not());
    EXPECT_EQ(hvsim("explore '%s'", path_of(0)), 2);
    EXPECT_STRSTR(cli_err, "has several variants; name one with --variant");
    EXPECT_EQ(hvsim("explore '%s' --variant nnoe", path_of(0)), 2);
    EXPECT_STRSTR(cli_err, "has no variant `nnoe`; did you mean `none`");
}
