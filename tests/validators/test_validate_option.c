// SPDX-License-Identifier: Apache-2.0
/* hvsim run --validate: on the whole core. */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void digests_of(char *text, size_t size)
{
    size_t used = 0;

    *text = 0;
    for (const char *at = cli_out; (at = strstr(at, "  digest ")) && used < size; at++)
        used += (size_t)snprintf(text + used, size - used, "%.*s\n", (int)strcspn(at, "\n"), at);
}

TEST(Validate, ChangesNoDigestWhereNothingIsFound)
{
    static const char *const names[] = {"exits/quickstart", "interrupts/ipi-pingpong", "dirty/methods"};
    char without[2000], with[2000];

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_row("%s", names[i]);
        EXPECT_EQ(hvsim("run '%s/scenarios/%s.yaml' --db a.db", test_source_dir(), names[i]), 0);
        digests_of(without, sizeof without);
        EXPECT_EQ(hvsim("run '%s/scenarios/%s.yaml' --validate all --db b.db", test_source_dir(), names[i]),
                  0);
        digests_of(with, sizeof with);
        EXPECT_STREQ(with, without);
    }
}

// catalogue 002-C: what is allocated for a slot is missed where its copy is made without the lock.
TEST(Validate, FindsARaceOfTheCore)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(
        hvsim("run '%s/scenarios/races/lazy-rmaps.yaml' --variant nocopylock --validate races --db r.db",
              test_source_dir()),
        1);
    EXPECT_TRUE(cli_query(cli_path("r.db"), "SELECT count(*) FROM violations WHERE kind = 'data_race'") > 0);
    const char *detail =
        cli_query_text(cli_path("r.db"), "SELECT detail FROM violations WHERE kind = 'data_race' AND "
                                         "detail LIKE '%alloc_all%' AND detail LIKE '%memslots.c%'");

    EXPECT_STRSTR(detail, "hv/mmu/rmap.c:alloc_all");
    EXPECT_STRSTR(detail, "mmu_alloc_rmaps < shadow_load_root");
    EXPECT_STRSTR(detail, "set_memory_region_locked < set_memory_region");
    EXPECT_EQ(hvsim("run '%s/scenarios/races/lazy-rmaps.yaml' --variant after --validate all --db f.db",
                    test_source_dir()),
              0);
}

TEST(Validate, AScenarioMayAskForIt)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    const char *path = cli_scenario("s", 1);

    EXPECT_EQ(hvsim("run '%s' --print-resolved", path), 0);
    char *text = strdup(cli_out);

    EXPECT_TRUE(strstr(text, "validate") == NULL);
    cli_write_text("v.yaml", text);
    EXPECT_EQ(
        hvsim_under("echo 'run: { validate: \"heap,races\" }' >> v.yaml", "run v.yaml --print-resolved"), 0);
    EXPECT_STRSTR(cli_out, "validate: \"races,heap\"");
    cli_write_text("w.yaml", text);
    EXPECT_EQ(hvsim_under("echo 'run: { validate: raves }' >> w.yaml", "run w.yaml"), 2);
    EXPECT_STRSTR(cli_err, "`raves` is no validator; expected a list of races, heap, locks, or all");
    EXPECT_EQ(hvsim("run '%s' --validate heap,raves", path), 2);
    EXPECT_STRSTR(cli_err, "`raves` is no validator");
    free(text);
}
