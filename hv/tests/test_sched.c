// SPDX-License-Identifier: Apache-2.0
// Scheduler: who runs when.
#include "hv/core/cpu.h"
#include "hv/core/host.h"
#include "hv/core/sched.h"
#include "hv/lib/errno.h"
#include "hv/lib/wait.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

static u32 order[64], order_count;
static struct completion done;

static void run(u32 cpus, u64 seed, void (*body)(void *))
{
    struct fake_config config = {.cpus = cpus, .seed = seed};
    order_count = 0;
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static struct thread *start(void (*fn)(void *), u64 arg, enum thread_prio prio, u32 cpu)
{
    struct thread_options o = {.name = "worker", .prio = prio, .pinned_cpu = cpu};
    struct thread *t = thread_create(this_host(), &o, fn, (void *)arg);
    thread_wake(t);
    return t;
}

static void note(void *arg)
{
    order[order_count++] = (u32)(u64)arg;
    complete(&done);
}

static void fifo_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    preempt_disable();
    for (u64 i = 0; i < 5; i++)
        start(note, i, THREAD_PRIO_NORMAL, 0);
    preempt_enable();
    for (u32 i = 0; i < 5; i++)
        wait_for_completion(&done);
    for (u32 i = 0; i < 5; i++)
        EXPECT_EQ(order[i], i);
}

TEST(HvSched, EqualsRunInTheOrderOfWaking)
{
    run(1, 0, fifo_body);
}

static void priority_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    start(note, 1, THREAD_PRIO_NORMAL, 0);
    EXPECT_EQ(order_count, 0); // An equal waits for our slice to end.
    start(note, 2, THREAD_PRIO_HIGH, 0);
    EXPECT_EQ(order_count, 1); // A better one runs at once.
    EXPECT_EQ(order[0], 2);
    preempt_disable();
    start(note, 3, THREAD_PRIO_HIGH, 0);
    EXPECT_EQ(order_count, 1);
    EXPECT_TRUE(need_resched());
    preempt_enable(); // The place where it gets its turn.
    EXPECT_EQ(order[1], 3);
    bool flags = irq_save();
    start(note, 4, THREAD_PRIO_HIGH, 0);
    EXPECT_EQ(order_count, 2);
    irq_restore(flags);
    cond_resched();
    EXPECT_EQ(order[2], 4);
}

TEST(HvSched, WakeupPreemptsTheWeaker)
{
    run(1, 0, priority_body);
}

static u64 slices[2], last_runner, switches;

static void spinner(void *arg)
{
    u64 me = (u64)arg, end = hw_rdtsc() + 20000000;
    while (hw_rdtsc() < end) {
        slices[me]++;
        if (last_runner != me)
            switches++;
        last_runner = me;
        fake_pass(1000);
    }
    complete(&done);
}

static void slices_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    slices[0] = slices[1] = switches = 0;
    last_runner = 2;
    start(spinner, 0, THREAD_PRIO_NORMAL, 0);
    start(spinner, 1, THREAD_PRIO_NORMAL, 0);
    wait_for_completion(&done);
    wait_for_completion(&done);
    // 20 ms shared by slices of 3 ms.
    EXPECT_GE(switches, 5);
    EXPECT_LE(switches, 9);
    EXPECT_LT(slices[0], slices[1] * 3 / 2);
    EXPECT_LT(slices[1], slices[0] * 3 / 2);
}

TEST(HvSched, EqualsShareBySlices)
{
    run(1, 0, slices_body);
}

static void where(void *arg)
{
    order[(u64)arg] = fake_cpu();
    complete(&done);
}

static void pinned_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    for (u64 i = 0; i < 12; i++)
        start(where, i, THREAD_PRIO_NORMAL, (u32)i % 4);
    for (u32 i = 0; i < 12; i++)
        wait_for_completion(&done);
    for (u32 i = 0; i < 12; i++)
        EXPECT_EQ(order[i], i % 4);
    struct thread_options o = {.name = "nowhere", .pinned_cpu = 4};
    EXPECT_TRUE(thread_create(this_host(), &o, where, NULL) == NULL);
}

TEST(HvSched, PinnedThreadsStay)
{
    for (u64 seed = 0; seed < fake_seeds(6); seed++)
        run(4, seed, pinned_body);
}

static void spread_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    start(spinner, 0, THREAD_PRIO_NORMAL, CPU_ANY);
    start(spinner, 1, THREAD_PRIO_NORMAL, CPU_ANY);
    wait_for_completion(&done);
    wait_for_completion(&done);
    // We hold CPU 0 or sleep; the two found idle CPUs of their own, so nobody waited for a slice.
    const struct fake_event *migrated = fake_trace(TP_SCHED_MIGRATE_TASK, 0);
    EXPECT_TRUE(migrated != NULL);
}

TEST(HvSched, FreeThreadsFindIdleProcessors)
{
    run(3, 0, spread_body);
}

static void steal_body(void *arg)
{
    struct host *host = this_host();
    (void)arg;
    completion_init(&done);
    // Three free threads queue up behind us while nobody may take a processor ...
    for (u64 i = 0; i < 3; i++) {
        struct thread_options o = {.name = "worker", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 0};
        struct thread *t = thread_create(host, &o, where, (void *)i);
        thread_wake(t);
        t->pinned_cpu = CPU_ANY;
    }
    // ... and when the others next have nothing to do, they fetch them.
    start(where, 3, THREAD_PRIO_NORMAL, 1);
    start(where, 4, THREAD_PRIO_NORMAL, 2);
    u64 end = hw_rdtsc() + 200000; // We hold our processor all the while: far less than a slice.
    preempt_disable();
    while (hw_rdtsc() < end)
        hw_pause();
    preempt_enable();
    for (u32 i = 0; i < 5; i++)
        wait_for_completion(&done);
    EXPECT_NE(order[0], 0);
    EXPECT_NE(order[1], 0);
    EXPECT_NE(order[2], 0);
}

TEST(HvSched, IdleProcessorsFetchWaitingThreads)
{
    run(3, 0, steal_body);
}

static void sleep_body(void *arg)
{
    u64 start_tsc = hw_rdtsc();
    (void)arg;
    EXPECT_EQ(sleep_until_tsc(start_tsc + 50000), 0);
    EXPECT_GE(hw_rdtsc(), start_tsc + 50000);
    EXPECT_LT(hw_rdtsc(), start_tsc + 54000);
    EXPECT_EQ(sleep_until_tsc(1), 0); // Long past.
}

TEST(HvSched, SleepsUntilTheDeadlineAndNotMuchLonger)
{
    run(1, 0, sleep_body);
}

static void napper(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < 25; i++)
        EXPECT_EQ(sleep_until_tsc(hw_rdtsc() + 300 + i * 7), 0);
    complete(&done);
}

static void naps_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    for (u64 i = 0; i < 5; i++) // Free ones: the timer fires on one processor and they wake up on another.
        start(napper, i, THREAD_PRIO_NORMAL, CPU_ANY);
    for (u32 i = 0; i < 5; i++)
        wait_for_completion(&done);
}

TEST(HvSched, ATimerOnAnotherProcessorStillWakesForGood)
{
    for (u64 seed = 0; seed < fake_seeds(60); seed++)
        run(3, seed, naps_body);
}

static int sleeper_result;

static void sleeper(void *arg)
{
    (void)arg;
    sleeper_result = sleep_until_tsc(hw_rdtsc() + (1ull << 40));
    complete(&done);
}

static void signal_body(void *arg)
{
    (void)arg;
    completion_init(&done);
    sleeper_result = 1;
    struct thread *t = start(sleeper, 0, THREAD_PRIO_NORMAL, 1);
    u32 tid = t->tid;
    fake_pass(5000);
    EXPECT_EQ(sleeper_result, 1);
    EXPECT_EQ(thread_signal_tid(this_host(), tid), 0);
    wait_for_completion(&done);
    EXPECT_EQ(sleeper_result, -EINTR);
    fake_pass(5000);
    EXPECT_EQ(thread_signal_tid(this_host(), tid), -ESRCH); // It has ended.
}

TEST(HvSched, ASignalEndsASleep)
{
    for (u64 seed = 0; seed < fake_seeds(6); seed++)
        run(2, seed, signal_body);
}

// --- Preemption notifiers. ---

static u32 ins, outs, preempted_outs;

static void on_in(struct preempt_notifier *n, struct cpu *cpu)
{
    (void)n;
    EXPECT_EQ(cpu->id, fake_cpu());
    EXPECT_TRUE(hw_irqs_enabled());
    EXPECT_TRUE(in_atomic());
    ins++;
}
static void on_out(struct preempt_notifier *n, bool preempted)
{
    (void)n;
    EXPECT_FALSE(hw_irqs_enabled());
    outs++;
    preempted_outs += preempted;
}

static void notifier_body(void *arg)
{
    struct preempt_notifier n = {.sched_in = on_in, .sched_out = on_out};
    (void)arg;
    ins = outs = preempted_outs = 0;
    preempt_disable();
    preempt_notifier_register(&n);
    preempt_enable();
    completion_init(&done);
    EXPECT_EQ(sleep_until_tsc(hw_rdtsc() + 10000), 0);
    EXPECT_EQ(ins, 1);
    EXPECT_EQ(outs, 1);
    EXPECT_EQ(preempted_outs, 0);
    start(note, 0, THREAD_PRIO_HIGH, 0);
    EXPECT_EQ(outs, 2);
    EXPECT_EQ(ins, 2);
    EXPECT_EQ(preempted_outs, 1);
    preempt_disable();
    preempt_notifier_unregister(&n);
    preempt_enable();
    sched_yield_thread();
    EXPECT_EQ(sleep_until_tsc(hw_rdtsc() + 10000), 0);
    EXPECT_EQ(outs, 2);
}

TEST(HvSched, NotifiersSeeEverySwitchOfTheirThread)
{
    run(1, 0, notifier_body);
}

// --- Calls between processors. ---

static u32 called_on;

static void call_fn(void *arg)
{
    (void)arg;
    EXPECT_FALSE(hw_irqs_enabled());
    __atomic_fetch_or(&called_on, 1u << fake_cpu(), __ATOMIC_RELAXED);
}

static void crosscaller(void *arg)
{
    struct host *host = this_host();
    for (u32 i = 0; i < 20; i++)
        cpu_call(host->cpus[((u64)arg + 1 + i) % host->cpu_count], call_fn, NULL);
    complete(&done);
}

static void call_body(void *arg)
{
    struct host *host = this_host();
    (void)arg;
    called_on = 0;
    cpu_call(host->cpus[2], call_fn, NULL);
    EXPECT_EQ(called_on, 4);
    called_on = 0;
    cpu_call_all(host, call_fn, NULL);
    EXPECT_EQ(called_on, 7);
    completion_init(&done);
    for (u64 i = 0; i < 3; i++) // Everybody calls everybody: no deadlock.
        start(crosscaller, i, THREAD_PRIO_NORMAL, (u32)i);
    for (u32 i = 0; i < 3; i++)
        wait_for_completion(&done);
}

TEST(HvSmp, CallsReachEveryProcessorOnceTheyReturn)
{
    for (u64 seed = 0; seed < fake_seeds(6); seed++)
        run(3, seed, call_body);
}

static void stray_body(void *arg)
{
    (void)arg;
    fake_raise(0, 0x77);
    fake_pass(10);
    EXPECT_EQ(fake_violations("unexpected_interrupt"), 1);
    EXPECT_EQ(register_vector(this_host(), 31, NULL), -EINVAL);
    EXPECT_EQ(register_vector(this_host(), 256, NULL), -EINVAL);
    EXPECT_EQ(register_vector(this_host(), VECTOR_RESCHEDULE, (vector_fn)(u64)1), -EBUSY);
}

TEST(HvSmp, StrayInterruptsAreReported)
{
    struct fake_config config = {.cpus = 1};
    EXPECT_EQ(fake_run(&config, stray_body, NULL), 0);
}
