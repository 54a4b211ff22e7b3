// SPDX-License-Identifier: Apache-2.0
/* A run leaves nothing behind in its OS process: the hundredth equals the first, whatever ran in between. */
#include "sim/machine/machine.h"
#include "sim/rewind/rewind.h"
#include "tests/shim/shim.h"
#include "traces/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bench {
    struct scenario *scenario;
    struct sim_machine *machine;
    struct trace *trace;
};

/* `file` below scenarios/, or absolute. False, with a failure, if it cannot be set up. */
static bool set_up(struct bench *b, const char *file)
{
    char path[700], uarch[700];
    struct user_error e = {""};
    struct trace_error error;
    struct trace_options options = trace_options_defaults(NULL); // Only the digest.

    snprintf(path, sizeof path, "%s%s%s", *file == '/' ? "" : test_source_dir(),
             *file == '/' ? "" : "/scenarios/", file);
    snprintf(uarch, sizeof uarch, "%s/models/cpu/uarch", test_source_dir());
    *b = (struct bench){.scenario = scenario_load(path, &e)};
    const struct machine_options o = {.hv_path = test_hv_lib(), .uarch_folder = uarch};

    if (b->scenario)
        b->machine = machine_create(b->scenario, &o, &e);
    if (b->machine)
        b->trace = trace_open(&options, &error);
    if (!b->trace)
        TEST_FAIL("%s", *e.text ? e.text : "no trace");
    return b->trace != NULL;
}

static void tear_down(struct bench *b)
{
    struct trace_error error;

    trace_close(b->trace, &error);
    machine_destroy(b->machine);
    scenario_free(b->scenario);
}

struct outcome {
    char digest[TRACE_DIGEST_TEXT];
    uint64_t cycles;
    enum machine_end end;
};

/* Called every 10^6 cycles of a run; NULL: nobody is. */
static void (*in_the_middle)(void *ctx, uint64_t cycles);

static struct outcome run(struct bench *b, const struct scenario_variant *variant, uint64_t seed)
{
    const int attention = in_the_middle != NULL;
    struct machine_run r = {.variant = variant,
                            .seed = seed,
                            .trace = b->trace,
                            .attention = &attention,
                            .on_attention = in_the_middle};
    struct outcome out = {.digest = ""};
    struct user_error e = {""};

    if (machine_run(b->machine, &r, &e)) {
        TEST_FAIL("%s", e.text);
        return out;
    }
    trace_digest_text(r.digest, out.digest);
    out.cycles = r.cycles;
    out.end = r.end;
    return out;
}

static bool same(struct outcome a, struct outcome b)
{
    return strcmp(a.digest, b.digest) == 0 && a.cycles == b.cycles && a.end == b.end;
}

static void expect_same(struct outcome a, struct outcome b)
{
    EXPECT_STREQ(b.digest, a.digest);
    EXPECT_EQ(b.cycles, a.cycles);
    EXPECT_EQ(b.end, a.end);
}

static void expect_a_hundred_the_same(const char *file)
{
    struct bench b;

    if (set_up(&b, file)) {
        struct outcome first = run(&b, &b.scenario->variants[0], 0);

        EXPECT_GT(first.cycles, 1000000);
        for (int i = 2; i <= 100 && !test_failed(); i++) {
            test_row("run %d", i);
            expect_same(first, run(&b, &b.scenario->variants[0], 0));
        }
    }
    tear_down(&b);
}

TEST(Restart, AHundredRunsInOneProcessAreTheSame)
{
    expect_a_hundred_the_same("exits/quickstart.yaml");
}

/* Of native guests too: their stacks are dropped where the run ended. */
TEST(Restart, AHundredRunsOfNativeGuestsAreTheSame)
{
    static const char scenario[] =
        "scenario: native\nmachine: { cpus: 2 }\nrun: { until: 3ms }\nvms:\n  - name: a\n    memory: 64MiB\n "
        "   vcpus:\n"
        "      - { native: checksum, args: { bytes: 1MiB }, pcpu: 0 }\n"
        "      - { native: random, args: { bytes: 1MiB, accesses: 10000 }, pcpu: 0 }\n"
        "      - { native: dirty-rate, args: { bytes: 1MiB, duration: 0s }, pcpu: 1 }\n";
    char path[700];
    FILE *f;

    snprintf(path, sizeof path, "%s/native.yaml", test_tmpdir());
    f = fopen(path, "w");
    ASSERT_TRUE(f != NULL);
    fputs(scenario, f);
    fclose(f);
    expect_a_hundred_the_same(path);
}

/* Other knobs and other numbers of processors between two runs change nothing for the second. */
TEST(Restart, VariantsDoNotTouchEachOther)
{
    static const char scenario[] =
        "scenario: mix\nmachine: { cpus: 2 }\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n"
        "      - { stream: a.stream, pcpu: 0 }\n      - { stream: a.stream, pcpu: 1 }\n"
        "variants:\n  a: {}\n  b: { knobs: { halt_poll.ns: 0 } }\n  c: { knobs: { x86.apicv: off } }\n";
    static const char stream[] = "hvsim-stream 1\nloop 30 {\n700 cpuid 0\n500 write 0x100000 8 1\n"
                                 "1000 wrmsr IA32_TSC_DEADLINE tsc+30us\n500 hlt\n}\nend\n";
    static const int order[] = {0, 1, 2, 2, 1, 0, 1, 0, 2, 0, 0, 1, 2};
    struct outcome first[3];
    char path[700];
    struct bench b;
    FILE *f;

    snprintf(path, sizeof path, "%s/a.stream", test_tmpdir());
    f = fopen(path, "w");
    ASSERT_TRUE(f != NULL);
    fputs(stream, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/mix.yaml", test_tmpdir());
    f = fopen(path, "w");
    ASSERT_TRUE(f != NULL);
    fputs(scenario, f);
    fclose(f);
    if (set_up(&b, path)) {
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
            struct outcome now = run(&b, &b.scenario->variants[order[i]], 0);

            test_row("run %zu, variant %d", i, order[i]);
            if (i < 3)
                first[order[i]] = now;
            else
                expect_same(first[order[i]], now);
        }
        EXPECT_NE(strcmp(first[0].digest, first[1].digest), 0);
        EXPECT_NE(strcmp(first[0].digest, first[2].digest), 0);
    }
    tear_down(&b);
}

/* One machine after another in the same process, also of another scenario and micro-architecture. */
TEST(Restart, MachinesDoNotTouchEachOther)
{
    struct outcome first = {.digest = ""};

    for (int i = 0; i < 3; i++) {
        struct bench b;

        test_row("machine %d", i);
        if (set_up(&b, "exits/quickstart.yaml")) {
            struct outcome now = run(&b, &b.scenario->variants[0], 0);

            if (i == 0)
                first = now;
            else
                expect_same(first, now);
        }
        tear_down(&b);
    }
}

enum { EXECUTIONS = 200 };

/* In memory that survives executions. */
static struct findings {
    struct outcome first;
    int executions, different;
    struct rewind_stats stats;
} * findings;

static void explore(void *arg)
{
    (void)arg;
    for (int i = 0; i < EXECUTIONS; i++)
        findings->executions += rewind_run(i) == i;
    findings->stats = rewind_stats();
}

static bool photographed;
static int execution = REWIND_OVER;

static void take_photograph(void *ctx, uint64_t cycles)
{
    (void)ctx;
    (void)cycles;
    if (!photographed) {
        photographed = true;
        execution = rewind_begin(explore, NULL);
    }
}

/* Restarted from a photograph of the process hundreds of times, and at last gone on with: always the same
 * end. */
TEST(Restart, FromAPhotographARunEndsTheSame)
{
    struct bench b;

    if (rewind_unsupported())
        test_skip(rewind_unsupported());
    rewind_prepare();
    if (set_up(&b, "exits/quickstart.yaml")) {
        findings = rewind_alloc(sizeof *findings);
        findings->first = run(&b, &b.scenario->variants[0], 0);
        in_the_middle = take_photograph;
        struct outcome now = run(&b, &b.scenario->variants[0], 0);

        in_the_middle = NULL;
        if (execution >= 0) {
            findings->different += !same(findings->first, now);
            rewind_end(execution);
        }
        expect_same(findings->first, now);
        EXPECT_TRUE(photographed);
        EXPECT_EQ(findings->executions, EXECUTIONS);
        EXPECT_EQ(findings->different, 0);
        rewind_free();
    }
    tear_down(&b);
}
