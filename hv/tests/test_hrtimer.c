// SPDX-License-Identifier: Apache-2.0
// Timers: order, cancellation, restarts, migration. Time is in TSC cycles; one point of the fake is one.
#include "hv/core/cpu.h"
#include "hv/core/host.h"
#include "hv/core/hrtimer.h"
#include "hv/core/sched.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

#define TIMERS 24u

static struct timed {
    struct hrtimer timer;
    u64 fired_tsc;
    u32 count, cpu;
    u64 interval, limit;
} timers[TIMERS];
static u32 fired_order[TIMERS], fired_count;

static void run(u32 cpus, u64 seed, void (*body)(void *))
{
    struct fake_config config = {.cpus = cpus, .seed = seed};
    fired_count = 0;
    for (u32 i = 0; i < TIMERS; i++)
        timers[i] = (struct timed){.count = 0};
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static bool fire(struct hrtimer *t)
{
    struct timed *x = container_of(t, struct timed, timer);
    x->fired_tsc = hw_rdtsc();
    x->cpu = fake_cpu();
    x->count++;
    if (fired_count < TIMERS)
        fired_order[fired_count++] = (u32)(x - timers);
    if (x->interval == 0 || x->count >= x->limit)
        return false;
    hrtimer_forward(t, t->expires_tsc, x->interval);
    return true;
}

static void order_body(void *arg)
{
    u64 now = hw_rdtsc();
    (void)arg;
    for (u32 i = 0; i < TIMERS; i++) {
        hrtimer_init(&timers[i].timer, fire);
        hrtimer_start(&timers[i].timer, now + 50000 + (i * 7 % TIMERS) * 1000);
    }
    EXPECT_TRUE(hrtimer_active(&timers[3].timer));
    EXPECT_TRUE(hrtimer_cancel(&timers[3].timer));
    EXPECT_FALSE(hrtimer_cancel(&timers[3].timer));
    EXPECT_EQ(sleep_until_tsc(now + 100000), 0);
    EXPECT_EQ(fired_count, TIMERS - 1);
    for (u32 i = 0; i < TIMERS; i++) {
        test_row("timer %u", i);
        EXPECT_EQ(timers[i].count, i == 3 ? 0 : 1);
        EXPECT_FALSE(hrtimer_active(&timers[i].timer));
        if (i == 3)
            continue;
        EXPECT_GE(timers[i].fired_tsc, timers[i].timer.expires_tsc);
        EXPECT_LT(timers[i].fired_tsc, timers[i].timer.expires_tsc + 900);
    }
    for (u32 i = 1; i < fired_count; i++)
        EXPECT_LT(timers[fired_order[i - 1]].timer.expires_tsc, timers[fired_order[i]].timer.expires_tsc);
}

TEST(HvHrtimer, FireInOrderAndOnTime)
{
    run(1, 0, order_body);
}

static void restart_body(void *arg)
{
    struct timed *x = &timers[0];
    u64 now = hw_rdtsc();
    (void)arg;
    x->interval = 5000;
    x->limit = 8;
    hrtimer_init(&x->timer, fire);
    hrtimer_start(&x->timer, now + 5000);
    EXPECT_EQ(sleep_until_tsc(now + 100000), 0);
    EXPECT_EQ(x->count, 8);
    EXPECT_EQ(x->timer.expires_tsc, now + 8 * 5000);
    // Restarting a queued timer moves it; the past fires at once.
    x->interval = 0;
    hrtimer_start(&x->timer, now + (1ull << 40));
    hrtimer_start(&x->timer, 1);
    fake_pass(500);
    EXPECT_EQ(x->count, 9);
    x->timer.expires_tsc = 100;
    EXPECT_EQ(hrtimer_forward(&x->timer, 99, 10), 0);
    EXPECT_EQ(hrtimer_forward(&x->timer, 125, 10), 3);
    EXPECT_EQ(x->timer.expires_tsc, 130);
}

TEST(HvHrtimer, RestartsAndCountsOverruns)
{
    run(1, 0, restart_body);
}

static void migrate_body(void *arg)
{
    struct timed *x = &timers[0];
    u64 now = hw_rdtsc();
    (void)arg;
    hrtimer_init(&x->timer, fire);
    hrtimer_start(&x->timer, now + 60000);
    u32 here = fake_cpu();
    EXPECT_EQ(x->timer.cpu->id, here);
    current_thread()->pinned_cpu = 1 - here;
    EXPECT_EQ(sleep_until_tsc(now + 20000), 0); // We wake up on the other one.
    EXPECT_EQ(fake_cpu(), 1 - here);
    preempt_disable();
    hrtimer_migrate(&x->timer);
    preempt_enable();
    EXPECT_EQ(x->timer.cpu->id, 1 - here);
    EXPECT_EQ(sleep_until_tsc(now + 90000), 0);
    EXPECT_EQ(x->count, 1);
    EXPECT_EQ(x->cpu, 1 - here);
}

TEST(HvHrtimer, FollowTheirUserToAnotherProcessor)
{
    run(2, 0, migrate_body);
}

// --- Cancel against a running callback. ---

static u32 callbacks_inside, canceled_while_inside;

static bool slow_fire(struct hrtimer *t)
{
    struct timed *x = container_of(t, struct timed, timer);
    WRITE_ONCE(callbacks_inside, 1);
    x->count++;
    fake_pass(200);
    WRITE_ONCE(callbacks_inside, 0);
    t->expires_tsc = hw_rdtsc() + 300;
    return true;
}

static struct completion done;

static void armer(void *arg)
{
    (void)arg;
    hrtimer_start(&timers[0].timer, hw_rdtsc() + 100);
    complete(&done);
}

static void cancel_body(void *arg)
{
    (void)arg;
    struct thread_options o = {.name = "armer", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 1};
    for (u32 i = 0; i < 30; i++) {
        hrtimer_init(&timers[0].timer, slow_fire);
        completion_init(&done);
        thread_wake(thread_create(this_host(), &o, armer, NULL));
        wait_for_completion(&done);
        fake_pass(50 + i * 40);
        hrtimer_cancel(&timers[0].timer);
        canceled_while_inside += READ_ONCE(callbacks_inside);
        EXPECT_FALSE(hrtimer_active(&timers[0].timer));
        u32 count = timers[0].count;
        fake_pass(1500);
        EXPECT_EQ(timers[0].count, count);
    }
    EXPECT_GT(timers[0].count, 10);
    EXPECT_EQ(canceled_while_inside, 0);
}

TEST(HvHrtimer, CancelWaitsForARunningCallback)
{
    canceled_while_inside = 0;
    for (u64 seed = 0; seed < fake_seeds(5); seed++)
        run(2, seed, cancel_body);
}
