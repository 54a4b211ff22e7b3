// SPDX-License-Identifier: Apache-2.0
/* `run --print-resolved`: every default filled in, in a form that reads back to the same. */
#include "tests/cli/cli.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

static unsigned checked;

static void check(const char *path)
{
    static char once[sizeof cli_out];

    test_row("%s", path);
    EXPECT_EQ(hvsim("run '%s' --print-resolved", path), 0);
    EXPECT_STREQ(cli_err, "");
    memcpy(once, cli_out, sizeof once);
    cli_write_text("resolved.yaml", once);
    EXPECT_EQ(hvsim("run resolved.yaml --print-resolved"), 0);
    EXPECT_STREQ(cli_err, "");
    EXPECT_STREQ(cli_out, once);
    // Defaults are there although the file names none of them.
    EXPECT_STRSTR(once, "arch: x86");
    EXPECT_STRSTR(once, "irqchip: ");
    checked++;
}

static int visit(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    size_t length = strlen(path);

    (void)status;
    (void)ftw;
    if (type == FTW_F && length > 5 && strcmp(path + length - 5, ".yaml") == 0)
        check(path);
    return 0;
}

TEST(Resolved, EveryScenarioReadsBackToTheSame)
{
    char folder[600];

    snprintf(folder, sizeof folder, "%s/scenarios", test_source_dir());
    checked = 0;
    EXPECT_EQ(nftw(folder, visit, 16, FTW_PHYS), 0);
    EXPECT_GE(checked, 1);
}

/* Where the scenario lies and from where it is read may differ; its streams are still found. */
TEST(Resolved, RunsFromAnotherFolder)
{
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    cli_scenario("s", 3);
    EXPECT_EQ(hvsim("run s.yaml --print-resolved >other.yaml"), 0);
    EXPECT_EQ(hvsim("run s.yaml --db a.db"), 0);
    EXPECT_EQ(hvsim("run other.yaml --db b.db"), 0);
    char digest[200];

    snprintf(digest, sizeof digest, "%s", cli_query_text(cli_path("a.db"), "SELECT digest FROM runs"));
    EXPECT_STREQ(cli_query_text(cli_path("b.db"), "SELECT digest FROM runs"), digest);
}

/* A native guest's arguments that the file leaves out are there, at the program's defaults. */
TEST(Resolved, ShowsTheArgumentsOfNativeGuests)
{
    cli_write_text("s.yaml", "scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n"
                             "      - { native: io-ping, args: { count: 7 } }\n");
    EXPECT_EQ(hvsim("run s.yaml --print-resolved"), 0);
    EXPECT_STRSTR(cli_out,
                  "{ native: \"io-ping\", args: { port: \"1016\", count: \"7\", period: \"10000ns\" }");
}
