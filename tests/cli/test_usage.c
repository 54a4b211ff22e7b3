// SPDX-License-Identifier: Apache-2.0
/* Conventions that hold for every verb: exit statuses, where words go, the nearest name for a mistyped one.
 */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>

static const char *const verbs[] = {"run", "list", "knobs", "explain", "export", "import"};

TEST(Usage, HelpIsOnStandardOutput)
{
    static char general[1 << 16];

    EXPECT_EQ(hvsim("--help"), 0);
    EXPECT_STRSTR(cli_out, "usage: hvsim");
    EXPECT_STREQ(cli_err, "");
    snprintf(general, sizeof general, "%s", cli_out);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        test_row("%s", verbs[i]);
        EXPECT_STRSTR(general, verbs[i]);
        EXPECT_EQ(hvsim("%s --help", verbs[i]), 0);
        EXPECT_STRSTR(cli_out, "usage: hvsim ");
        EXPECT_STRSTR(cli_out, verbs[i]);
        EXPECT_STRSTR(cli_out, "--help");
        EXPECT_STREQ(cli_err, "");
    }
}

/* Every option that a verb's help names is one that it takes: it then complains of something else. */
TEST(Usage, HelpNamesOptionsThatExist)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        static char help[1 << 16];
        unsigned options = 0;

        EXPECT_EQ(hvsim("%s --help", verbs[i]), 0);
        snprintf(help, sizeof help, "%s", cli_out);
        for (char *rest = help, *line; (line = strsep(&rest, "\n"));) {
            char option[40], value[40] = "";

            if (sscanf(line, " %39[-a-z] %39[A-Z=]", option, value) < 1 || strncmp(option, "--", 2) != 0)
                continue;
            test_row("%s %s", verbs[i], option);
            options++;
            // The help comes once the option was taken with its value.
            hvsim("%s %s %s --help", verbs[i], option, *value ? "1" : "");
            EXPECT_EQ(strstr(cli_err, "unknown option"), NULL);
            EXPECT_EQ(strstr(cli_err, "takes no value"), NULL);
        }
        test_row("%s", verbs[i]);
        EXPECT_GE(options, 1);
    }
}

TEST(Usage, ListNamesGuestProgramsWithTheirArguments)
{
    EXPECT_EQ(hvsim("list --guests"), 0);
    EXPECT_STRSTR(cli_out, "fault-in: Touches each page of a range once.");
    EXPECT_STRSTR(cli_out, "    step       4096B        distance between");
    EXPECT_STREQ(cli_err, "");
    EXPECT_EQ(hvsim("list --guests scenarios"), 2);
    EXPECT_STRSTR(cli_err, "takes no folder");
}

static const struct {
    const char *words, *message;
} bad_usage[] = {
    {"", "usage: hvsim"},
    {"dance", "unknown verb `dance`"},
    {"rnu", "did you mean `run`"},
    {"exprot", "did you mean `export`"},
    {"--verbose", "unknown"},
    {"run", "name a scenario"},
    {"run --vairant x s.yaml", "did you mean `--variant`"},
    {"run --no-such-option", "unknown option"},
    {"run s.yaml --variant", "needs a value"},
    {"run s.yaml --json=1", "--json takes no value"},
    {"run s.yaml --db ''", "--db wants the name of a file"},
    {"run s.yaml --seed many", "--seed wants a number, got `many`"},
    {"run s.yaml --seed -1", "--seed wants a number, got `-1`"},
    {"run s.yaml --seed 99999999999999999999", "--seed wants a number"},
    {"run s.yaml --quantum 1.5", "--quantum wants a number, got `1.5`"},
    {"run s.yaml --memory tos", "--memory wants tso, sc or c11, got `tos`"},
    {"run s.yaml --trace exit", "nearest is 'exits'"},
    {"run s.yaml --trace ''", "--trace"},
    {"run s.yaml --knob x86.apicv", "--knob wants NAME=VALUE"},
    {"run s.yaml --knob x86.apic=on", "did you mean `x86.apicv`"},
    {"run s.yaml --knob x86.apicv=perhaps", "expected off|on"},
    {"run s.yaml --knob irq.storm_count=0", "expected 1..100000000"},
    {"run /nonexistent.yaml", "/nonexistent.yaml: "},
    {"run .", "is a folder"},
    {"list nowhere", "nowhere: No such file or directory"},
    {"list --jsn", "did you mean `--json`"},
    {"knobs zzz", "no knob's name contains `zzz`"},
    {"knobs zzz --json", "no knob's name contains `zzz`"},
    {"knobs --jsn", "did you mean `--json`"},
    {"explain", "name a database"},
    {"explain x.db", "--exit"},
    {"explain x.db --exit first", "--exit wants a number from 1, got `first`"},
    {"explain x.db --exit 0", "--exit wants a number from 1"},
    {"explain x.db y.db --exit 1", "one database at a time"},
    {"explain x.db --exit 1", "x.db: no such file"},
    {"export", "name a database"},
    {"export x.db", "x.db: no such file"},
    {"export x.db --run 0", "--run wants a number from 1"},
    {"export x.db --run last", "--run wants a number from 1"},
    {"import", "which FILE"},
    {"import /nonexistent.txt", "/nonexistent.txt"},
    {"import --strct x", "--strict"},
};

TEST(Usage, BadUseExitsTwoWithWordsOnStandardError)
{
    for (size_t i = 0; i < sizeof bad_usage / sizeof *bad_usage; i++) {
        test_row("hvsim %s", bad_usage[i].words);
        EXPECT_EQ(hvsim("%s", bad_usage[i].words), 2);
        EXPECT_STRSTR(cli_err, bad_usage[i].message);
        EXPECT_STREQ(cli_out, "");
    }
}

TEST(Usage, AnUnknownVariantNamesTheNearest)
{
    cli_write_text("s.yaml",
                   "scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a }\n"
                   "variants: { before: {}, after: {} }\n");
    EXPECT_EQ(hvsim("run s.yaml --variant befor"), 2);
    EXPECT_STRSTR(cli_err, "s.yaml has no variant `befor`; did you mean `before`");
    EXPECT_EQ(hvsim("run s.yaml --variant zzz"), 2);
    EXPECT_STRSTR(cli_err, "before");
}

TEST(Usage, NoColoursWhereThereIsNoTerminal)
{
    static const char *const all[] = {"--help", "run --help", "knobs", "dance"};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        hvsim("%s", all[i]);
        EXPECT_EQ(strchr(cli_out, '\033'), NULL);
        EXPECT_EQ(strchr(cli_err, '\033'), NULL);
    }
}

/* Output that cannot be written is never taken for success. */
TEST(Usage, AFullStandardOutputIsTold)
{
    static const char *const all[] = {"--help", "run --help", "knobs", "knobs --json"};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        test_row("%s", all[i]);
        EXPECT_EQ(hvsim("%s >/dev/full", all[i]), 2);
        EXPECT_STRSTR(cli_err, "standard output: cannot write");
    }
}
