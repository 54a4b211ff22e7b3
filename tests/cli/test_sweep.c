// SPDX-License-Identifier: Apache-2.0
/* hvsim run of a scenario with a sweep: every point, chosen points, what the database knows. */
#include "tests/cli/cli.h"

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
