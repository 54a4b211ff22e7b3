// SPDX-License-Identifier: Apache-2.0
/* hvsim run of a scenario with a sweep: every point, chosen points, what the database knows. */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const char *swept_scenario(void)
{
    cli_write_text("a.stream", "hvsim-stream 1\ncpuid 0\nend\n");
    return cli_write_text(
        "swept.yaml",
        "scenario: swept\nvms:\n  - name: a\n    memory: 64MiB\n    prefault: untimed\n"
        "    vcpus:\n      - { stream: a.stream }\n"
        "sweep:\n  vms[0].memory: [64MiB, 128MiB, 256MiB]\n"
        "variants: { x: {}, y: {} }\n"
        "show:\n  - { as: exits, sql: SELECT count(*) FROM exits }\n"
        "expect:\n  - { about: at one, at: 128MiB, variant: x, sql: SELECT number FROM swept, "
        "equals: 134217728 }\n"
        "  - { about: at all, over: sweep, sql: SELECT count(*) || ' ' || sum(number) FROM sweep, "
        "equals: 6 939524096 }\n");
}

TEST(Sweep, RunsEveryVariantAtEveryPoint)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    swept_scenario();
    EXPECT_EQ(hvsim("run swept.yaml --db s.db"), 0);
    EXPECT_STRSTR(cli_out, "swept at 256MiB, variant y");
    EXPECT_STRSTR(cli_out, "pass at one: 134217728");
    EXPECT_STRSTR(cli_out, "pass at all: 6 939524096");
    EXPECT_STRSTR(cli_out, "vms[0].memory");
    EXPECT_STREQ(cli_query_text(cli_path("s.db"),
                                "SELECT group_concat(variant || ' ' || value || ' ' || number, ', ') "
                                "FROM sweep WHERE value <> '64MiB'"),
                 "x 128MiB 134217728, y 128MiB 134217728, x 256MiB 268435456, y 256MiB 268435456");
    EXPECT_STREQ(cli_query_text(cli_path("s.db"), "SELECT DISTINCT setup FROM runs"),
                 "untimed prefault of a");
}

TEST(Sweep, RunsChosenPointsOnly)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    swept_scenario();
    EXPECT_EQ(hvsim("run swept.yaml --db s.db --sweep-only vms[0].memory=256MiB --json"), 0);
    EXPECT_STRSTR(cli_out, "\"sweep\": {\"vms[0].memory\": \"256MiB\"}");
    EXPECT_TRUE(strstr(cli_out, "128MiB") == NULL);
    EXPECT_EQ(hvsim("run swept.yaml --db s.db --sweep-only first --variant x"), 0);
    EXPECT_STRSTR(cli_out, "swept at 64MiB, variant x");
    EXPECT_TRUE(strstr(cli_out, "at all") == NULL); // Only part of it ran.
    EXPECT_EQ(hvsim("run swept.yaml --db s.db --sweep-only 1GiB"), 2);
    EXPECT_STRSTR(cli_err, "no point `1GiB`");
}

/* The small end of the scenario that shows what dirty logging costs to start; all of it is nightly. */
TEST(Sweep, LogStartHoldsAtItsSmallEnd)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(
        hvsim("run '%s/scenarios/dirty/log-start.yaml' --sweep-only first --db l.db", test_source_dir()), 0);
    EXPECT_STRSTR(cli_out, "verdict: pass");
}

/* And the one that moves that cost to clearing, and what it is compared with. */
TEST(Sweep, InitiallySetHoldsAtItsSmallEnd)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(
        hvsim("run '%s/scenarios/dirty/initially-set.yaml' --sweep-only 1GiB --db i.db", test_source_dir()),
        0);
    EXPECT_STRSTR(cli_out, "verdict: pass");
    EXPECT_EQ(hvsim("run '%s/scenarios/dirty/methods.yaml' --db m.db", test_source_dir()), 0);
    EXPECT_STRSTR(cli_out, "verdict: pass");
}

/* Ranges that the core or the VMM refuses: the action's result, and nothing is made clean. */
TEST(Sweep, ClearingRefusesRangesThatAreNone)
{
    static const struct {
        const char *range;
        int result;
    } rows[] = {
        {"offset: 0, size: 4MiB", 0},
        {"offset: 0x400000", 0},
        {"offset: 0x1000, size: 4MiB", -22},    // Not a whole word of the bitmap.
        {"offset: 0, size: 0x41000", -22},      // Nor does it end with one, or with the slot.
        {"offset: 0x800, size: 4MiB", -22},     // Not a page.
        {"offset: 0x3c00000, size: 8MiB", -22}, // Beyond the slot.
        {"offset: 0x4001000", -22},
    };
    char text[900];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].range);
        snprintf(
            text, sizeof text,
            "scenario: clear\nmachine: { cpus: 2, memory: 1GiB }\nknobs: { mmu.dirty_start: initially_set }\n"
            "vms:\n  - name: a\n    memory: 64MiB\n    prefault: on\n    pcpu: 1\n"
            "    vcpus: [{ stream: '%s/scenarios/migration/refused.stream', pcpu: 0 }]\n"
            "vmm:\n  - { at: 2ms, do: start_dirty_log, slot: 0 }\n  - { at: 4ms, do: get_dirty_log, slot: 0 "
            "}\n"
            "  - { at: 6ms, do: clear_dirty_log, slot: 0, %s }\n",
            test_source_dir(), rows[i].range);
        remove(cli_path("c.db"));
        EXPECT_EQ(hvsim("run '%s' --db c.db", cli_write_text("clear.yaml", text)), 0);
        EXPECT_EQ(cli_query(cli_path("c.db"),
                            "SELECT a3 FROM events WHERE kind = 'vmm_action' ORDER BY cycle DESC LIMIT 1"),
                  rows[i].result);
        EXPECT_EQ(cli_query(cli_path("c.db"),
                            "SELECT sum(value) > 0 FROM counters WHERE name = 'sptes_dirty_cleared'") > 0,
                  rows[i].result == 0);
    }
}
