// SPDX-License-Identifier: Apache-2.0
/* The same libhv.so, scenario, variant and seed give the same digest, whatever is around the simulator. */
#include "tests/shim/shim.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { VARIANTS = 8 };

/* Digest and cycles of each variant of a run, in its order. */
struct digests {
    unsigned count;
    char text[VARIANTS][64];
};

// The storm's other variants take longer: storing nothing, and in the circumstances that matter most. All of
// them in all circumstances: tools/bench/determinism.sh.
static const struct {
    const char *file, *options;
    bool brief;
} scenarios[] = {
    {"exits/quickstart.yaml", "", false},
    {"interrupts/eoi-storm.yaml", "--variant throttle", false},
    {"interrupts/eoi-storm.yaml", "--variant before --trace none", true},
    {"interrupts/eoi-storm.yaml", "--variant after --trace none", true},
    {"interrupts/eoi-storm.yaml", "--variant windows --trace none", true},
    {"interrupts/eoi-storm.yaml", "--variant slices --trace none", true},
    {"dirty/log-start.yaml", "--sweep-only first", true},
};

static char output[1 << 18];

/*
 * Runs a scenario: `before` stands before the program's name in a shell (VARIABLE=value, setarch -R),
 * `options` behind the scenario. Exit status 1 is let pass: an expectation fails where nothing is stored.
 */
static struct digests run(unsigned scenario, const char *before, const char *options)
{
    struct digests d = {0};
    char command[4096];

    snprintf(command, sizeof command,
             "cd '%s' && rm -f run.db && %s '%s/bin/hvsim' run '%s/scenarios/%s' --hv '%s' --json --db "
             "run.db %s %s",
             test_tmpdir(), before, test_build_dir(), test_source_dir(), scenarios[scenario].file,
             test_hv_lib(), scenarios[scenario].options, options);
    int status = test_shell(command, output, sizeof output);

    if (status > 2)
        TEST_FAIL("%s: exit status %d: %.500s", command, status, output);
    for (const char *p = output; (p = strstr(p, "\"digest\": \"")) && d.count < VARIANTS; p++) {
        unsigned long long cycles;
        char digest[33];

        if (sscanf(p, "\"digest\": \"%32[0-9a-f]\", \"cycles\": %llu", digest, &cycles) == 2)
            snprintf(d.text[d.count++], sizeof d.text[0], "%s %llu", digest, cycles);
    }
    EXPECT_GE(d.count, 1);
    return d;
}

static void expect_same(const struct digests *a, const struct digests *b)
{
    EXPECT_EQ(a->count, b->count);
    for (unsigned i = 0; i < a->count && i < b->count; i++)
        EXPECT_STREQ(b->text[i], a->text[i]);
}

static bool there(const char *scenario)
{
    char path[700];

    snprintf(path, sizeof path, "%s/scenarios/%s", test_source_dir(), scenario);
    return access(path, R_OK) == 0;
}

static const struct {
    const char *what, *before, *options;
    unsigned times, times_brief;
} circumstances[] = {
    {"again", "", "", 20, 1},
    {"C locale", "LC_ALL=C", "", 1, 0},
    {"UTF-8 locale", "LC_ALL=C.UTF-8", "", 1, 0},
    {"a locale with a comma in numbers", "LOCPATH=$PWD/locales LC_ALL=de_DE.UTF-8", "", 1, 0},
    {"a locale with other letters", "LOCPATH=$PWD/locales LC_ALL=tr_TR.UTF-8", "", 1, 0},
    {"without address randomisation", "setarch -R", "", 2, 1},
    {"another working folder", "mkdir -p deep/er && cd deep/er &&", "", 1, 0},
    {"an empty environment", "env -i", "", 1, 1},
    {"a large environment", "PAD=$(head -c 100000 /dev/zero | tr '\\0' x)", "", 1, 0},
    {"a small stack", "ulimit -s 512;", "", 1, 0},
    {"fresh memory filled", "MALLOC_PERTURB_=165", "", 1, 1},
    {"one processor of the host", "taskset -c 0", "", 1, 0},
    {"nothing stored", "", "--trace none", 1, 0},
    {"everything stored", "", "--trace all", 0, 1},
    {"exits only", "", "--trace exits", 1, 0},
    {"calls only", "", "--trace calls", 1, 0},
    {"with a VCD file", "", "--vcd run.vcd", 2, 0},
    {"output to a file", "", "2>/dev/null", 1, 0},
};

TEST(Determinism, TheDigestIsThatOfTheInputsAlone)
{
    char command[1200];

    // Locales that the host may lack, where their sources are there; otherwise the names are unknown ones.
    snprintf(command, sizeof command,
             "cd '%s' && mkdir locales && for l in de_DE tr_TR; do localedef -i $l -f UTF-8 "
             "locales/$l.UTF-8; done",
             test_tmpdir());
    test_shell(command, NULL, 0);
    for (unsigned s = 0; s < sizeof scenarios / sizeof *scenarios; s++) {
        if (!there(scenarios[s].file))
            continue;
        test_row("%s %s", scenarios[s].file, scenarios[s].options);
        struct digests first = run(s, "", "");

        for (size_t i = 0; i < sizeof circumstances / sizeof *circumstances; i++) {
            unsigned times = scenarios[s].brief ? circumstances[i].times_brief : circumstances[i].times;

            for (unsigned t = 0; t < times; t++) {
                test_row("%s %s, %s, run %u", scenarios[s].file, scenarios[s].options, circumstances[i].what,
                         t + 1);
                struct digests d = run(s, circumstances[i].before, circumstances[i].options);

                expect_same(&first, &d);
            }
        }
    }
}

/* The law above would hold for a digest of nothing, too. */
TEST(Determinism, OtherInputsGiveOtherDigests)
{
    static const char *const options[] = {"--knob halt_poll.ns=0", "--seed 1", "--quantum 1000"};
    struct digests first = run(0, "", "");

    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        test_row("%s", options[i]);
        struct digests other = run(0, "", options[i]);
        struct digests again = run(0, "", options[i]);

        expect_same(&other, &again);
        if (i == 0) // The others need not matter to this scenario.
            EXPECT_NE(strcmp(first.text[0], other.text[0]), 0);
    }
}

/* Two VCD files of equal runs are equal byte for byte. */
TEST(Determinism, ValueChangesAreTheSameEachTime)
{
    char command[1200];

    run(0, "", "--vcd a.vcd");
    run(0, "", "--vcd b.vcd");
    snprintf(command, sizeof command, "cd '%s' && cmp a.vcd b.vcd && [ $(grep -c '^#' a.vcd) -gt 100 ]",
             test_tmpdir());
    EXPECT_EQ(test_shell(command, NULL, 0), 0);
}
