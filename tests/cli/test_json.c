// SPDX-License-Identifier: Apache-2.0
/* What --json prints is JSON, whatever names and texts are in it. */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

/* The checker itself. */
TEST(Json, TheCheckerKnowsTheGrammar)
{
    static const char *const good[] = {
        "[]", " {} ", "[1, -0.5e+3, \"\\u00e4\\n\", null, true]", "{\"a\": {\"b\": []}}", "0", "\"\""};
    static const char *const bad[] = {"",       "[1,]",    "{\"a\"}", "{a: 1}",      "[01]",
                                      "\"\n\"", "\"\\x\"", "[1] 2",   "[1",          "{\"a\": 1,}",
                                      "nul",    "-",       "1.",      "\"\\u12g4\"", "[1 2]"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        test_row("%s", good[i]);
        EXPECT_EQ(json_fault(good[i]), NULL);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_row("%s", bad[i]);
        EXPECT_NE(json_fault(bad[i]), NULL);
    }
}

static void expect_json(void)
{
    const char *fault = json_fault(cli_out);

    if (fault)
        TEST_FAIL("no JSON from byte %zu on: %.60s", (size_t)(fault - cli_out), fault);
}

TEST(Json, OfKnobsAndLists)
{
    EXPECT_EQ(hvsim("knobs --json"), 0);
    expect_json();
    EXPECT_STRSTR(cli_out, "\"name\": \"x86.apicv\"");
    EXPECT_EQ(hvsim("knobs irq. --json"), 0);
    expect_json();
    EXPECT_EQ(hvsim("list '%s/scenarios' --json", test_source_dir()), 0);
    expect_json();
    EXPECT_STRSTR(cli_out, "\"name\": \"quickstart\"");
}

/* Quotes, backslashes, control characters and line breaks in every text that a scenario may choose. */
static const char *awkward_scenario(void)
{
    cli_write_text("a.stream", "hvsim-stream 1\ncpuid 0\nend\n");
    return cli_write_text("awkward.yaml",
                          "scenario: 'a \"b\" \\c'\nabout: \"two\\nlines\\tand \\\"quotes\\\"\"\n"
                          "vms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a.stream }\n"
                          "variants:\n  'x \"y\" \\z': { about: \"q\\\"\\n\" }\n"
                          "expect:\n  - { about: \"it's \\\"so\\\"\\n\\\\\", sql: \"SELECT 'a\\\"\\\\b'\", "
                          "equals: \"c\\\"\\\\\" }\n");
}

TEST(Json, EscapesWhatAScenarioCallsItself)
{
    awkward_scenario();
    EXPECT_EQ(hvsim("list . --json"), 0);
    expect_json();
    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(hvsim("run awkward.yaml --json --db a.db"), 1);
    expect_json();
    EXPECT_STRSTR(cli_out, "\"verdict\": \"fail\"");
}

TEST(Json, OfARunAndItsTables)
{
    static const char *const tables[] = {"runs",  "exits", "events",     "walks",    "walk_steps", "irqs",
                                         "spans", "locks", "violations", "counters", "functions"};

    if (!cli_can_run())
        test_skip("there is no libhv.so in this build");
    EXPECT_EQ(hvsim("run '%s/scenarios/exits/quickstart.yaml' --json --db q.db", test_source_dir()), 0);
    expect_json();
    EXPECT_STRSTR(cli_out, "\"digest\": ");
    EXPECT_STRSTR(cli_out, "\"verdict\": \"pass\"");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[100];

        test_row("%s", tables[i]);
        // The first rows: cli_out holds a mebibyte.
        snprintf(sql, sizeof sql, "SELECT * FROM %s LIMIT 200", tables[i]);
        EXPECT_EQ(hvsim("export q.db --json --sql '%s'", sql), 0);
        expect_json();
    }
}
