// SPDX-License-Identifier: Apache-2.0
// Processes of sim/: photographed in the middle of a run, run on to the end hundreds of times.
#include "sim/rewind/rewind.h"
#include "sim/sim.h"
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

#include <stdlib.h>
#include <string.h>

enum { WALKERS = 5, STEPS = 40, RUNS = 600, PLANS = 3 };

struct result {
    uint64_t hash;
    sim_ps_t end_ps;
};

// In memory that survives.
struct findings {
    struct result of_plan[PLANS];
    int wrong, runs;
    struct rewind_stats last;
};
static struct findings *findings;

static uint64_t hash, plan_seed;
static unsigned walking;
static struct sim_event *doorbell;

static void note(uint64_t value)
{
    hash = hash * 6364136223846793005u + value;
}

static unsigned choose(void *ctx, enum sim_site site, unsigned n)
{
    (void)ctx;
    (void)site;
    return next_random(&plan_seed) % n;
}

static void finish(void)
{
    struct result *result = rewind_alloc(sizeof *result);

    *result = (struct result){hash, sim_now_ps()};
    rewind_end((int)((char *)result - (char *)findings));
}

static void late_walker(void *arg)
{
    char text[300];

    memset(text, (int)sim_now_ps(), sizeof text);
    sim_wait_until(sim_now_ps() + 3);
    note((uintptr_t)arg + (unsigned char)text[299]);
}

static void explore(void *arg)
{
    (void)arg;
    for (int i = 0; i < findings->runs; i++) {
        int plan = i * 7 % PLANS;
        const struct result *got = (const struct result *)((char *)findings + rewind_run(plan));
        struct result *expected = &findings->of_plan[plan];
        if (expected->hash == 0) {
            *expected = *got;
        }
        findings->wrong += got->hash != expected->hash || got->end_ps != expected->end_ps;
    }
    findings->last = rewind_stats();
}

static void walk(void *arg)
{
    uintptr_t me = (uintptr_t)arg;

    for (unsigned i = 0; i < STEPS; i++) {
        if (me == 2 && i == STEPS / 2) {
            int plan = rewind_begin(explore, NULL);
            if (plan == REWIND_OVER) {
                sim_stop();
            }
            plan_seed = (uint64_t)plan + 1;
        }
        char *block = malloc(24 * (i % 9 + 1));
        block[0] = 1;
        note(me * 100 + sim_now_ps());
        note((uintptr_t)block);
        if (i % 5 == me) {
            sim_event_notify_at(doorbell, sim_now_ps() + 7);
            sim_wait_event_until(doorbell, sim_now_ps() + 20);
        } else {
            sim_wait_until(sim_now_ps() + 10);
        }
        if (i % 10 == 9) { // From the pool or not: what lies on its stack and where is the same every time.
            sim_process_start("late", 50 + i, STACK_BYTES << (i / 10), late_walker, arg);
        }
        if (i % 3) {
            free(block);
        }
    }
    if (--walking == 0 && rewind_active()) {
        finish();
    }
}

static void run_and_explore(int runs)
{
    findings = rewind_alloc(sizeof *findings);
    findings->runs = runs;
    hash = 1;
    walking = WALKERS;
    doorbell = sim_event_create("doorbell");
    sim_choose_install(choose, NULL);
    for (uintptr_t i = 0; i < WALKERS; i++) {
        sim_process_start("walker", (unsigned)i, STACK_BYTES, walk, (void *)i);
    }
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_STOPPED);
    // The run goes on from the photograph, as if nothing had been.
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(walking, 0);
    sim_choose_install(NULL, NULL);
    sim_event_destroy(doorbell);
    sim_start_over();
}

TEST(RewindSim, ProcessesRunToTheSameEndEveryTime)
{
    if (rewind_unsupported()) {
        test_skip(rewind_unsupported());
    }
    ASSERT_EQ(sim_init(), 0);
    run_and_explore(RUNS);
    EXPECT_EQ(findings->wrong, 0);
    EXPECT_EQ(findings->last.executions, RUNS);
    EXPECT_NE(findings->of_plan[0].hash, findings->of_plan[1].hash);
    EXPECT_NE(findings->of_plan[1].hash, findings->of_plan[2].hash);
    // Coroutines that were not in the pool have been made, and taken away, by most executions.
    EXPECT_GE(findings->last.unmapped_bytes, RUNS / 2 * (STACK_BYTES << 3));
    struct findings before = *findings;
    rewind_free();

    // Now they are: nothing is mapped, and the results are the same for they do not depend on it.
    run_and_explore(RUNS);
    EXPECT_EQ(findings->wrong, 0);
    EXPECT_EQ(findings->last.unmapped_bytes, 0);
    EXPECT_EQ(findings->of_plan[0].end_ps, before.of_plan[0].end_ps);
    rewind_free();
}
