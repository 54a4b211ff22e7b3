// SPDX-License-Identifier: Apache-2.0
// hvsim run --memory: what it says of itself, and that a run without an explorer is sequentially consistent.
#include "tests/cli/cli.h"
#include <string.h>

#define MEMORY(db) cli_query_text(cli_path(db), "SELECT memory FROM runs")
#define DIGEST(db, copy)                                                                                     \
    strncpy(copy, cli_query_text(cli_path(db), "SELECT digest FROM runs"), sizeof(copy) - 1)
#define CYCLES(db) cli_query(cli_path(db), "SELECT cycles FROM runs")

TEST(MemoryOption, IsInTheRowAndTheDigest)
{
    char digests[4][40] = {""};

    if (!cli_can_run())
        test_skip("no hypervisor core");
    const char *scenario = cli_scenario("m", 50);

    EXPECT_EQ(hvsim("run %s --db d.db", scenario), 0);
    EXPECT_EQ(hvsim("run %s --memory tso --db tso.db", scenario), 0);
    EXPECT_EQ(hvsim("run %s --memory sc --db sc.db", scenario), 0);
    EXPECT_EQ(hvsim("run %s --memory c11 --db c11.db", scenario), 0);
    EXPECT_STREQ(MEMORY("d.db"), "tso");
    EXPECT_STREQ(MEMORY("tso.db"), "tso");
    EXPECT_STREQ(MEMORY("sc.db"), "sc");
    EXPECT_STREQ(MEMORY("c11.db"), "c11");
    DIGEST("d.db", digests[0]);
    DIGEST("tso.db", digests[1]);
    DIGEST("sc.db", digests[2]);
    DIGEST("c11.db", digests[3]);
    EXPECT_STREQ(digests[0], digests[1]);
    EXPECT_TRUE(strcmp(digests[1], digests[2]) != 0);
    EXPECT_TRUE(strcmp(digests[2], digests[3]) != 0);
    // Nobody chooses: every load reads the newest store, and time is that of the store buffers as always.
    EXPECT_EQ(CYCLES("sc.db"), CYCLES("c11.db"));
}

TEST(MemoryOption, TheScenarioCanSayIt)
{
    EXPECT_EQ(hvsim("run %s --memory c11 --print-resolved", cli_scenario("m", 50)), 0);
    EXPECT_STRSTR(cli_out, "run: { memory: c11 }");
    EXPECT_EQ(
        hvsim("run %s", cli_write_text("bad.yaml", "scenario: bad\nrun: { memory: c1 }\nvms:\n  - name: a\n"
                                                   "    memory: 8MiB\n")),
        2);
    EXPECT_STRSTR(cli_err, "run.memory");
    EXPECT_STRSTR(cli_err, "tso, sc, c11");
}
