// SPDX-License-Identifier: Apache-2.0
// How fast the kernel of time is: waits that switch, hand-overs, start-overs. Prints a table.
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STACK_BYTES = 32 * 1024, SWITCHES = 2000000, START_OVERS = 200000, STEPS = 10 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_sim: %s\n", what);
        exit(1);
    }
}

struct walker {
    uint64_t steps;
    sim_ps_t step_ps;
    uint64_t done;
};

static void walk(void *arg)
{
    struct walker *w = arg;
    for (uint64_t i = 0; i < w->steps; i++) {
        sim_wait_until(sim_now_ps() + w->step_ps);
        w->done++;
    }
}

struct player {
    struct sim_process *self, *other;
    uint64_t count;
};

static void play(void *arg)
{
    struct player *p = arg;
    for (uint64_t i = 0; i < p->count; i++) {
        sim_process_hand_over(p->other);
    }
}

static void serve_first(void *arg)
{
    play(arg);
    struct player *p = arg;
    sim_process_hand_over_and_exit(p->other);
}

static void start_two(struct walker w[2])
{
    sim_process_start("a", 0, STACK_BYTES, walk, &w[0]);
    sim_process_start("b", 1, STACK_BYTES, walk, &w[1]);
    require(sim_run(SIM_PS_NEVER) == SIM_RUN_IDLE, "the run did not end");
    sim_start_over();
}

static double bench_alone(void)
{
    struct walker w = {SWITCHES, 1000, 0};
    double begin = seconds();
    sim_process_start("alone", 0, STACK_BYTES, walk, &w);
    require(sim_run(SIM_PS_NEVER) == SIM_RUN_IDLE && w.done == SWITCHES, "the walker did not walk");
    sim_start_over();
    return (seconds() - begin) / SWITCHES;
}

static double bench_switch(void)
{
    struct walker w[2] = {{SWITCHES / 2, 1000, 0}, {SWITCHES / 2, 1000, 0}};
    double begin = seconds();
    start_two(w);
    require(w[0].done + w[1].done == SWITCHES, "the walkers did not walk");
    return (seconds() - begin) / SWITCHES;
}

static double bench_hand_over(void)
{
    struct player p[2] = {{0}, {0}};
    p[0].count = p[1].count = SWITCHES / 2;
    double begin = seconds();
    p[0].self = p[1].other = sim_process_start("ping", 0, STACK_BYTES, serve_first, &p[0]);
    p[1].self = p[0].other = sim_process_create_parked("pong", 1, STACK_BYTES, play, &p[1]);
    require(sim_run(SIM_PS_NEVER) == SIM_RUN_IDLE, "the players did not end");
    sim_start_over();
    return (seconds() - begin) / SWITCHES;
}

static double bench_start_over(void)
{
    double begin = seconds();
    for (int i = 0; i < START_OVERS; i++) {
        struct walker w[2] = {{STEPS, 1000, 0}, {STEPS, 1000, 0}};
        start_two(w);
    }
    return (seconds() - begin) / START_OVERS;
}

int main(void)
{
    require(sim_init() == 0, "sim_init");
    struct walker warm[2] = {{1, 1, 0}, {1, 1, 0}};
    start_two(warm);
    printf("%-58s %8.1f ns\n", "a wait with nobody else due before it", bench_alone() * 1e9);
    printf("%-58s %8.1f ns\n", "a wait that switches to another process", bench_switch() * 1e9);
    printf("%-58s %8.1f ns\n", "a hand-over", bench_hand_over() * 1e9);
    double over = bench_start_over();
    printf("%-58s %8.0f /s\n", "start-overs of two processes of ten steps each", 1 / over);
    return 0;
}
