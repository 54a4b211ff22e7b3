// SPDX-License-Identifier: Apache-2.0
// Locks under many orders of processors: what they promise, with a switch possible at every basic block.
#include "hv/api.h"
#include "hv/core/cpu.h"
#include "hv/core/host.h"
#include "hv/core/sched.h"
#include "hv/lib/mutex.h"
#include "hv/lib/rwlock.h"
#include "hv/lib/srcu.h"
#include "hv/lib/wait.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

#define SEEDS 12u
#define ROUNDS 60u

// Threads of one test share this; `inside` would exceed its bound if a lock let too many in.
static struct shared {
    struct spinlock spin;
    struct rwlock rw;
    struct mutex mutex;
    struct srcu srcu;
    struct completion done;
    u64 inside, readers, writers, worst, total;
    u64 *published, freed_reads;
    u64 values[2];
} s;

static void spread(void (*fn)(void *), u32 threads)
{
    struct host *host = this_host();
    completion_init(&s.done);
    for (u32 i = 0; i < threads; i++) {
        struct thread_options o = {
            .name = "worker", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = i % host->cpu_count};
        thread_wake(thread_create(host, &o, fn, (void *)(u64)i));
    }
    for (u32 i = 0; i < threads; i++)
        wait_for_completion(&s.done);
}

static void run_seeds(u32 cpus, void (*body)(void *))
{
    for (u64 seed = 0; seed < fake_seeds(SEEDS); seed++) {
        struct fake_config config = {.cpus = cpus, .seed = seed};
        s = (struct shared){.total = 0};
        test_row("seed %llu", (unsigned long long)seed);
        ASSERT_EQ(fake_run(&config, body, NULL), 0);
        EXPECT_STREQ(fake_panic(), "");
        EXPECT_EQ(fake_violations(NULL), 0);
    }
}

// A read-modify-write that loses updates unless it is excluded.
static void enter(u64 weight)
{
    s.inside += weight;
    if (s.inside > s.worst)
        s.worst = s.inside;
    u64 seen = s.total;
    fake_pass(3);
    s.total = seen + 1;
    s.inside -= weight;
}

static void spin_worker(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < ROUNDS; i++) {
        spin_lock(&s.spin);
        enter(1);
        spin_unlock(&s.spin);
    }
    complete(&s.done);
}

static void spin_body(void *arg)
{
    (void)arg;
    spin_lock_init(&s.spin, LOCK_RANK_LEAF);
    spread(spin_worker, 3);
    EXPECT_EQ(s.worst, 1);
    EXPECT_EQ(s.total, 3 * ROUNDS);
    EXPECT_FALSE(spin_is_locked(&s.spin));
    EXPECT_TRUE(ticket_trylock(&s.spin));
    EXPECT_FALSE(ticket_trylock(&s.spin));
    ticket_unlock(&s.spin);
}

TEST(HvSpinlock, ExcludesAndLosesNothing)
{
    run_seeds(3, spin_body);
}

static void rw_worker(void *arg)
{
    bool writer = (u64)arg == 0;
    for (u32 i = 0; i < ROUNDS; i++) {
        if (writer) {
            write_lock(&s.rw);
            EXPECT_EQ(s.readers, 0);
            enter(1);
            EXPECT_EQ(s.readers, 0);
            write_unlock(&s.rw);
        } else {
            read_lock(&s.rw);
            __atomic_fetch_add(&s.readers, 1, __ATOMIC_RELAXED);
            EXPECT_EQ(s.inside, 0);
            fake_pass(3);
            if (s.readers > s.worst)
                s.worst = s.readers;
            __atomic_fetch_sub(&s.readers, 1, __ATOMIC_RELAXED);
            read_unlock(&s.rw);
        }
    }
    complete(&s.done);
}

static u64 most_readers;

static void rw_body(void *arg)
{
    (void)arg;
    rwlock_init(&s.rw, LOCK_RANK_MMU);
    spread(rw_worker, 3);
    EXPECT_EQ(s.total, ROUNDS);
    EXPECT_EQ(s.rw.count, 0);
    if (s.worst > most_readers)
        most_readers = s.worst;
}

TEST(HvRwlock, ReadersShareAndWritersDoNot)
{
    most_readers = 0;
    run_seeds(3, rw_body);
    EXPECT_EQ(most_readers, 2);
}

static void mutex_worker(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < ROUNDS / 2; i++) {
        mutex_lock(&s.mutex);
        EXPECT_TRUE(mutex_is_held_by_me(&s.mutex));
        enter(1);
        if (i % 8 == 0)
            sched_yield_thread(); // Sleeps while it holds it.
        mutex_unlock(&s.mutex);
    }
    complete(&s.done);
}

static void mutex_body(void *arg)
{
    (void)arg;
    mutex_init(&s.mutex, LOCK_RANK_VM);
    spread(mutex_worker, 5);
    EXPECT_EQ(s.worst, 1);
    EXPECT_EQ(s.total, 5 * (ROUNDS / 2));
    EXPECT_EQ(s.mutex.owner, 0);
}

TEST(HvMutex, ExcludesSleepersOnAndAcrossProcessors)
{
    run_seeds(2, mutex_body);
}

// --- SRCU: after synchronize nobody holds what was read before. ---

#define POISON 0xdeadull

static void srcu_reader(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < ROUNDS; i++) {
        u32 index = srcu_read_lock(&s.srcu);
        EXPECT_TRUE(srcu_read_lock_held());
        u64 *p = srcu_dereference(s.published);
        fake_pass(5);
        if (i % 16 == 3)
            sched_yield_thread();
        EXPECT_NE(*p, POISON);
        srcu_read_unlock(&s.srcu, index);
    }
    complete(&s.done);
}

static void srcu_writer(void *arg)
{
    (void)arg;
    for (u32 i = 0; i < 12; i++) {
        u64 *old = s.published, *now = old == &s.values[0] ? &s.values[1] : &s.values[0];
        *now = i;
        srcu_assign_pointer(s.published, now);
        synchronize_srcu(&s.srcu);
        *old = POISON;
    }
    complete(&s.done);
}

static void srcu_thread(void *arg)
{
    if ((u64)arg == 0)
        srcu_writer(arg);
    else
        srcu_reader(arg);
}

static void srcu_body(void *arg)
{
    (void)arg;
    EXPECT_EQ(srcu_init(&s.srcu, this_host()), 0);
    s.published = &s.values[0];
    spread(srcu_thread, 4);
    srcu_destroy(&s.srcu, this_host());
}

TEST(HvSrcu, NobodyReadsWhatAGracePeriodEnded)
{
    run_seeds(3, srcu_body);
}

static void srcu_blocks_body(void *arg)
{
    (void)arg;
    EXPECT_EQ(srcu_init(&s.srcu, this_host()), 0);
    u32 index = srcu_read_lock(&s.srcu);
    struct thread_options o = {.name = "writer", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 1};
    s.published = &s.values[0];
    completion_init(&s.done);
    thread_wake(thread_create(this_host(), &o, srcu_writer, NULL));
    fake_pass(30000);
    EXPECT_EQ(s.values[0], 0); // The writer waits for us.
    srcu_read_unlock(&s.srcu, index);
    wait_for_completion(&s.done);
    EXPECT_TRUE(s.values[0] == POISON || s.values[1] == POISON);
}

TEST(HvSrcu, AGracePeriodWaitsForAnOpenSection)
{
    run_seeds(2, srcu_blocks_body);
}

// --- Wait queues. ---

static struct waitqueue wq;
static u32 go, woken;

static void waiter(void *arg)
{
    struct wait_entry e;
    wait_entry_init(&e);
    for (;;) {
        prepare_to_wait(&wq, &e, (u64)arg >= 2);
        if (READ_ONCE(go) > 0)
            break;
        schedule();
    }
    finish_wait(&wq, &e);
    __atomic_fetch_add(&woken, 1, __ATOMIC_RELAXED);
    complete(&s.done);
}

static void exclusive_body(void *arg)
{
    struct host *host = this_host();
    (void)arg;
    go = woken = 0;
    waitqueue_init(&wq);
    completion_init(&s.done);
    for (u64 i = 0; i < 5; i++) { // Two ordinary and three exclusive waiters.
        struct thread_options o = {.name = "waiter", .prio = THREAD_PRIO_NORMAL, .pinned_cpu = 1};
        thread_wake(thread_create(host, &o, waiter, (void *)i));
    }
    while (READ_ONCE(host->cpus[1]->rq.nr_running) != 0)
        hw_pause();
    WRITE_ONCE(go, 1);
    EXPECT_EQ(wake_up_one(&wq), 3);
    for (u32 i = 0; i < 3; i++)
        wait_for_completion(&s.done);
    fake_pass(20000);
    EXPECT_EQ(woken, 3);
    EXPECT_TRUE(waitqueue_active(&wq));
    EXPECT_EQ(wake_up_all(&wq), 2);
    wait_for_completion(&s.done);
    wait_for_completion(&s.done);
    EXPECT_FALSE(waitqueue_active(&wq));
}

TEST(HvWaitqueue, WakesAllOrdinaryAndOneExclusiveWaiter)
{
    run_seeds(2, exclusive_body);
}

static void ping_worker(void *arg)
{
    // Two threads in turn: a lost wake-up would deadlock, which the fake reports.
    u32 me = (u32)(u64)arg;
    for (u32 i = 0; i < 40; i++) {
        wait_event(&wq, (READ_ONCE(go) & 1) == me);
        WRITE_ONCE(go, go + 1);
        wake_up_all(&wq);
    }
    complete(&s.done);
}

static void ping_body(void *arg)
{
    (void)arg;
    go = 0;
    waitqueue_init(&wq);
    spread(ping_worker, 2);
    EXPECT_EQ(go, 80);
}

TEST(HvWaitqueue, LosesNoWakeup)
{
    run_seeds(2, ping_body);
}

// --- Validators. ---

static void order_body(void *arg)
{
    struct spinlock outer, inner;
    (void)arg;
    spin_lock_init(&outer, LOCK_RANK_IOAPIC);
    spin_lock_init(&inner, LOCK_RANK_LAPIC);
    spin_lock(&outer);
    spin_lock(&inner);
    spin_unlock(&inner);
    spin_unlock(&outer);
    EXPECT_EQ(fake_violations("lock_order"), 0);
    spin_lock(&inner);
    spin_lock(&outer);
    EXPECT_EQ(fake_violations("lock_order"), 1);
    spin_unlock(&outer);
    spin_unlock(&inner);
    EXPECT_EQ(fake_violations("unlock_not_held"), 0);
}

TEST(HvValidate, LocksOutOfOrderAreReported)
{
    struct fake_config config = {.cpus = 1};
    EXPECT_EQ(fake_run(&config, order_body, NULL), 0);
}

static void unbalanced_body(void *arg)
{
    struct mutex m;
    struct srcu srcu;
    (void)arg;
    mutex_init(&m, LOCK_RANK_VM);
    EXPECT_EQ(srcu_init(&srcu, this_host()), 0);
    (void)hv_clock_ns();
    EXPECT_EQ(fake_violations(NULL), 0);
    preempt_disable();
    (void)hv_clock_ns();
    preempt_enable();
    EXPECT_EQ(fake_violations("preempt_unbalanced"), 1);
    mutex_lock(&m);
    (void)hv_clock_ns();
    mutex_unlock(&m);
    EXPECT_EQ(fake_violations("held_at_user_return"), 1);
    u32 index = srcu_read_lock(&srcu);
    (void)hv_clock_ns();
    srcu_read_unlock(&srcu, index);
    EXPECT_EQ(fake_violations("srcu_unbalanced"), 1);
    (void)hv_clock_ns();
    EXPECT_EQ(fake_violations(NULL), 3);
}

TEST(HvValidate, NothingIsHeldOnTheWayToUserMode)
{
    struct fake_config config = {.cpus = 1};
    EXPECT_EQ(fake_run(&config, unbalanced_body, NULL), 0);
}

static void atomic_body(void *arg)
{
    struct mutex m;
    (void)arg;
    mutex_init(&m, LOCK_RANK_VM);
    mutex_lock(&m);
    mutex_unlock(&m);
    EXPECT_EQ(fake_violations("might_sleep"), 0);
    preempt_disable();
    mutex_lock(&m);
    EXPECT_EQ(fake_violations("might_sleep"), 1);
    mutex_unlock(&m);
    preempt_enable();
}

TEST(HvValidate, SleepingWhileAtomicIsReported)
{
    struct fake_config config = {.cpus = 1};
    EXPECT_EQ(fake_run(&config, atomic_body, NULL), 0);
}
