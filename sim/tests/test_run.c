// SPDX-License-Identifier: Apache-2.0
// The run as a whole: how it ends, how it starts over, and what a body may do with its stack.
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

static struct log got;

static void tick(void *arg)
{
    const sim_ps_t *period_ps = arg;
    for (int i = 0; i < 10; i++) {
        sim_wait_until(sim_now_ps() + *period_ps);
        log_add(&got, sim_now_ps(), 0);
    }
}

TEST(Run, GoesUpToItsLimitAndOn)
{
    sim_ps_t period_ps = 10;
    ASSERT_EQ(sim_init(), 0);
    got.count = 0;
    sim_process_start("ticks", 0, STACK_BYTES, tick, &period_ps);
    // What is due at the limit belongs to the next run.
    static const struct {
        sim_ps_t until_ps;
        enum sim_run_result result;
        unsigned count;
        sim_ps_t now_ps;
    } rows[] = {
        {0, SIM_RUN_LIMIT, 0, 0},   {30, SIM_RUN_LIMIT, 2, 30}, {31, SIM_RUN_LIMIT, 3, 31},
        {31, SIM_RUN_LIMIT, 3, 31}, {99, SIM_RUN_LIMIT, 9, 99}, {500, SIM_RUN_IDLE, 10, 100},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("until %llu", (unsigned long long)rows[i].until_ps);
        EXPECT_EQ(sim_run(rows[i].until_ps), rows[i].result);
        EXPECT_EQ(got.count, rows[i].count);
        EXPECT_EQ(sim_now_ps(), rows[i].now_ps);
    }
    sim_start_over();
}

static void see_the_limit(void *arg)
{
    (void)arg;
    EXPECT_EQ(sim_horizon_ps(), 1000);
    EXPECT_TRUE(sim_may_continue(999, 0));
    EXPECT_FALSE(sim_may_continue(1000, 0));
}

TEST(Run, LimitBoundsTheHorizon)
{
    ASSERT_EQ(sim_init(), 0);
    sim_process_start("sees", 0, STACK_BYTES, see_the_limit, NULL);
    EXPECT_EQ(sim_run(1000), SIM_RUN_IDLE);
    sim_start_over();
}

static void stop_at_40(void *arg)
{
    unsigned *after = arg;
    sim_wait_until(40);
    sim_stop();
    EXPECT_EQ(sim_horizon_ps(), 40);
    EXPECT_FALSE(sim_may_continue(41, 0));
    (*after)++;
    sim_wait_until(45);
    (*after)++;
}

TEST(Run, StopsWhenTheCallerWaits)
{
    sim_ps_t period_ps = 10;
    unsigned after = 0;
    ASSERT_EQ(sim_init(), 0);
    got.count = 0;
    sim_process_start("stops", 0, STACK_BYTES, stop_at_40, &after);
    sim_process_start("ticks", 1, STACK_BYTES, tick, &period_ps);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_STOPPED);
    EXPECT_EQ(after, 1);
    EXPECT_EQ(sim_now_ps(), 40);
    EXPECT_EQ(got.count, 3);
    sim_stop(); // Outside of a run there is nothing to stop.
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(after, 2);
    EXPECT_EQ(got.count, 10);
    sim_start_over();
}

static void wait_for(void *arg)
{
    sim_wait_event_until(arg, SIM_PS_NEVER);
    log_add(&got, sim_now_ps(), 1);
}

TEST(Run, IsIdleWhenNobodyCanEverRun)
{
    ASSERT_EQ(sim_init(), 0);
    struct sim_event *ev = sim_event_create("ev");
    got.count = 0;
    sim_process_start("waits", 0, STACK_BYTES, wait_for, ev);
    EXPECT_EQ(sim_run(1000), SIM_RUN_IDLE);
    EXPECT_EQ(sim_now_ps(), 0);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(got.count, 0);
    sim_event_notify_at(ev, 7);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(got.count, 1);
    EXPECT_EQ(sim_now_ps(), 7);
    sim_event_destroy(ev);
    sim_start_over();
}

// --- Starting over. ---

struct world {
    struct sim_event *bell;
    struct sim_process *partner;
    uint64_t seed;
    uint64_t hash;
};

static void mix(struct world *w, uint64_t x)
{
    w->hash = (w->hash ^ x) * 0x100000001b3u;
}

static void note_place(struct world *w, char who)
{
    struct sim_process *self = sim_process_self();
    char *top = sim_process_stack_top(self);
    char here[16];
    memset(here, who, sizeof here);
    mix(w, (uint64_t)who);
    mix(w, sim_now_ps());
    mix(w, sim_horizon_ps());
    mix(w, (uint64_t)(top - (char *)__builtin_frame_address(0)));
    mix(w, sim_process_stack_bytes(self));
    mix(w, (uint64_t)here[7]);
}

static void partner_body(void *arg)
{
    struct world *w = arg;
    note_place(w, 'p');
    sim_wait_until(sim_now_ps() + 33);
    note_place(w, 'P');
}

static void ringer_body(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 20; i++) {
        sim_wait_until(sim_now_ps() + next_random(&w->seed) % 50);
        note_place(w, 'r');
        sim_event_notify_at(w->bell, sim_now_ps() + next_random(&w->seed) % 20);
    }
    w->partner = sim_process_create_parked("partner", 3, STACK_BYTES, partner_body, w);
    sim_process_hand_over_and_exit(w->partner);
}

static void listener_body(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 12; i++) {
        mix(w, sim_wait_event_until(w->bell, sim_now_ps() + 30));
        note_place(w, 'l');
    }
}

static uint64_t live_once(struct world *w, uint64_t seed)
{
    w->seed = seed;
    w->hash = 0xcbf29ce484222325u;
    sim_process_start("ringer", 1, STACK_BYTES, ringer_body, w);
    sim_process_start("listener", 2, 2 * STACK_BYTES, listener_body, w);
    sim_process_start("listener", 2, STACK_BYTES, listener_body, w);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    mix(w, sim_now_ps());
    sim_start_over();
    EXPECT_EQ(sim_now_ps(), 0);
    return w->hash;
}

TEST(Run, StartsOverAThousandTimesTheSame)
{
    struct world w;
    ASSERT_EQ(sim_init(), 0);
    w.bell = sim_event_create("bell");
    uint64_t first = live_once(&w, 1), other = live_once(&w, 2);
    EXPECT_NE(first, other);
    for (int i = 0; i < 1000; i++) {
        ASSERT_EQ(live_once(&w, 1), first);
        ASSERT_EQ(live_once(&w, (uint64_t)i + 3) != first, true);
    }
    sim_event_destroy(w.bell);
}

// --- Running out: a deadlock, its processes woken one by one, and a new run. ---

static bool leave;

static void stuck_on_event(void *arg)
{
    EXPECT_FALSE(sim_wait_event_until(arg, leave ? 5 : SIM_PS_NEVER));
    log_add(&got, sim_now_ps(), 1);
}

static void stuck_parked(void *arg)
{
    (void)arg;
    if (!leave) {
        sim_process_park();
    }
    log_add(&got, sim_now_ps(), 2);
}

static void stuck_for_long(void *arg)
{
    (void)arg;
    sim_wait_until(1000000);
    log_add(&got, sim_now_ps(), 3);
}

TEST(Run, ADeadlockCanBeRunOutAndStartedOver)
{
    ASSERT_EQ(sim_init(), 0);
    struct sim_event *ev = sim_event_create("ev");
    for (int round = 0; round < 10; round++) {
        struct sim_process *p[] = {
            sim_process_start("for long", 1, STACK_BYTES, stuck_for_long, NULL),
            sim_process_start("on event", 0, STACK_BYTES, stuck_on_event, ev),
            sim_process_start("parked", 0, STACK_BYTES, stuck_parked, NULL),
            sim_process_create_parked("not started", 0, STACK_BYTES, stuck_parked, NULL),
        };
        leave = false;
        got.count = 0;
        EXPECT_EQ(sim_run(400), SIM_RUN_LIMIT);
        EXPECT_EQ(got.count, 0);
        leave = true;
        for (unsigned i = 0; i < 4; i++) {
            sim_process_wake(p[i]);
        }
        sim_event_notify_at(ev, 400); // Too late: nobody waits for it any more.
        EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
        static const unsigned want[] = {1, 2, 2, 3};
        ASSERT_EQ(got.count, 4);
        for (unsigned i = 0; i < 4; i++) {
            EXPECT_EQ(got.entry[i].ps, 400);
            EXPECT_EQ(got.entry[i].who, want[i]);
        }
        sim_start_over();
    }
    sim_event_destroy(ev);
}

// --- A forked child is a snapshot. ---

static void finish_and_print(void *arg)
{
    struct world *w = arg;
    sim_run(SIM_PS_NEVER);
    mix(w, sim_now_ps());
    fprintf(stderr, "%016llx", (unsigned long long)w->hash);
}

TEST(Run, AForkedChildGoesOnTheSame)
{
    struct world w = {.seed = 7, .hash = 0xcbf29ce484222325u};
    char child[64], parent[64];
    ASSERT_EQ(sim_init(), 0);
    w.bell = sim_event_create("bell");
    sim_process_start("ringer", 1, STACK_BYTES, ringer_body, &w);
    sim_process_start("listener", 2, STACK_BYTES, listener_body, &w);
    EXPECT_EQ(sim_run(150), SIM_RUN_LIMIT);
    uint64_t before = w.hash;
    EXPECT_EQ(test_exit_status(finish_and_print, &w, child, sizeof child), 0);
    EXPECT_EQ(w.hash, before);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    mix(&w, sim_now_ps());
    snprintf(parent, sizeof parent, "%016llx", (unsigned long long)w.hash);
    EXPECT_NE(w.hash, before);
    EXPECT_STREQ(child, parent);
    sim_event_destroy(w.bell);
    sim_start_over();
}

// --- Stacks. ---

static uint64_t dig(unsigned levels)
{
    volatile char frame[4096];
    memset((char *)(uintptr_t)frame, (int)levels + 1, sizeof frame);
    uint64_t below = levels ? dig(levels - 1) : 0;
    return below + (uint64_t)(unsigned char)frame[levels % sizeof frame];
}

static void use_the_stack(void *arg)
{
    size_t asked = *(size_t *)arg;
    struct sim_process *self = sim_process_self();
    char *top = sim_process_stack_top(self);
    char *frame = __builtin_frame_address(0);
    EXPECT_GE(sim_process_stack_bytes(self), asked);
    EXPECT_EQ((uintptr_t)top % 4096, 0);
    // The return address and the caller's frame pointer lie between the stack pointer at entry and the frame.
    EXPECT_EQ(top - frame, SIM_STACK_ENTRY_BYTES + 16);
    EXPECT_GT(dig((unsigned)(asked / 4 * 3 / 4352)), 0);
    sim_wait_until(sim_now_ps() + 10);
    EXPECT_EQ(sim_process_stack_top(self), top);
}

// Size of the address space.
static unsigned long mapped_pages(void)
{
    unsigned long pages = 0;
    FILE *in = fopen("/proc/self/statm", "r");

    EXPECT_TRUE(in && fscanf(in, "%lu", &pages) == 1);
    if (in)
        fclose(in);
    return pages;
}

TEST(Run, ProcessesFromAReservedPoolMapNothing)
{
    enum { COUNT = 8, LARGE = 4 << 20, PAGE = 4096 };
    sim_ps_t period_ps = 10;

    ASSERT_EQ(sim_init(), 0);
    EXPECT_EQ(sim_run(0), SIM_RUN_IDLE); // SystemC maps no stacks before its first run.
    for (int again = 0; again < 2; again++) {
        sim_process_reserve(LARGE, COUNT); // The second time they are all there.
        unsigned long before = mapped_pages();

        got.count = 0;
        for (unsigned i = 0; i < COUNT; i++)
            sim_process_start("ticks", i, LARGE, tick, &period_ps);
        EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
        EXPECT_EQ(got.count, COUNT * 10);
        EXPECT_TRUE(mapped_pages() - before < LARGE / PAGE);
        sim_start_over();
    }
}

TEST(Run, StacksAreAsLargeAsAskedAndBodiesStartAtOneOffset)
{
    size_t asked[] = {1, STACK_BYTES, 64 * 1024, 65 * 1024, 1024 * 1024, 16 * 1024 * 1024};
    ASSERT_EQ(sim_init(), 0);
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < sizeof asked / sizeof *asked; i++) {
            sim_process_start("digs", i, asked[i], use_the_stack, &asked[i]);
        }
        EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
        sim_start_over();
    }
}

static jmp_buf way_out;

static void deep(unsigned levels)
{
    volatile char frame[256];
    frame[0] = (char)levels;
    if (levels > 0) {
        deep(levels - 1);
        frame[1] = frame[0];
        return;
    }
    sim_wait_until(sim_now_ps() + 3);
    if (sim_now_ps() > 0) {
        longjmp(way_out, 1);
    }
}

static void expect_sound_stack(void)
{
    EXPECT_GT(dig(3), 0);
}

static void jump_out(void *arg)
{
    unsigned *jumps = arg;
    for (volatile unsigned i = 0; i < 50; i++) {
        if (setjmp(way_out) == 0) {
            deep(20 + i % 7);
        }
        (*jumps)++;
        expect_sound_stack();
    }
}

TEST(Run, ABodyMayLeaveItsFramesByLongjmpAfterAWait)
{
    sim_ps_t period_ps = 2;
    unsigned jumps = 0;
    ASSERT_EQ(sim_init(), 0);
    sim_process_start("jumps", 0, 64 * 1024, jump_out, &jumps);
    sim_process_start("ticks", 1, STACK_BYTES, tick, &period_ps);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(jumps, 50);
    EXPECT_EQ(sim_now_ps(), 150);
    sim_start_over();
}

// --- Misuse. ---

static void start_over_too_early(void *arg)
{
    (void)arg;
    sim_ps_t period_ps = 10;
    sim_init();
    sim_process_start("ticks", 0, STACK_BYTES, tick, &period_ps);
    sim_run(50);
    sim_start_over();
}

static void wake_oneself(void *arg)
{
    (void)arg;
    sim_process_wake(sim_process_self());
}

static void wake_the_running(void *arg)
{
    (void)arg;
    sim_init();
    sim_process_start("sleepless", 0, STACK_BYTES, wake_oneself, NULL);
    sim_run(SIM_PS_NEVER);
}

static void run_within(void *arg)
{
    (void)arg;
    sim_run(SIM_PS_NEVER);
}

static void run_in_a_run(void *arg)
{
    (void)arg;
    sim_init();
    sim_process_start("runs", 0, STACK_BYTES, run_within, NULL);
    sim_run(SIM_PS_NEVER);
}

static void fall_asleep_in_the_past(void *arg)
{
    (void)arg;
    sim_wait_until(10);
    sim_wait_until(9);
}

static void wait_for_the_past(void *arg)
{
    (void)arg;
    sim_init();
    sim_process_start("late", 0, STACK_BYTES, fall_asleep_in_the_past, NULL);
    sim_run(SIM_PS_NEVER);
}

TEST(Run, MisuseIsABug)
{
    static const struct {
        void (*fn)(void *);
        const char *says;
    } rows[] = {
        {start_over_too_early, "sim_start_over() while 1 processes have not returned"},
        {wake_the_running, "sleepless is woken while it neither waits nor is parked"},
        {run_in_a_run, "sim_run() within a run"},
        {wait_for_the_past, "at 10 ps: late waits until 9 ps"},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[512];
        test_row("%s", rows[i].says);
        EXPECT_EQ(test_exit_status(rows[i].fn, NULL, out, sizeof out), 70);
        EXPECT_STRSTR(out, rows[i].says);
    }
}

static void print_nothing(void *arg)
{
    (void)arg;
    sim_ps_t period_ps = 10;
    sim_init();
    sim_process_start("ticks", 0, STACK_BYTES, tick, &period_ps);
    sim_run(SIM_PS_NEVER);
    sim_start_over();
}

TEST(Run, PrintsNothingOfItsOwn)
{
    char out[512];
    EXPECT_EQ(test_exit_status(print_nothing, NULL, out, sizeof out), 0);
    EXPECT_STREQ(out, "");
}
