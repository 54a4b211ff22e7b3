// SPDX-License-Identifier: Apache-2.0
// A user program in the VMM's place that tries the core itself on the processor models: every processor,
// threads that sleep, contend and signal. It says what it found as counters, and as violations when something
// is wrong.
#include "hv/api.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"

#define ROUNDS 20u
#define CPUS_MAX 64u
#define EXPECT(expr)                                                                                         \
    do {                                                                                                     \
        if (!(expr))                                                                                         \
            hw_trace_violation(#expr, __LINE__, 0);                                                          \
    } while (0)

// In the process' heap.
struct shared {
    u32 turn;
    u32 finished;
    u32 lock; // 0 free, 1 held, 2 held and waited for
    u32 counter;
    u32 asleep;
};

static void lock(u32 *word)
{
    u32 value = 0;
    if (__atomic_compare_exchange_n(word, &value, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
        (void)hv_futex_wait(word, 2, 0);
}

static void unlock(u32 *word)
{
    if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
        (void)hv_futex_wake(word, 1);
}

static void finish(struct shared *s)
{
    __atomic_fetch_add(&s->finished, 1, __ATOMIC_SEQ_CST);
    (void)hv_futex_wake(&s->finished, 1);
    hv_exit();
}

static void wait_finished(struct shared *s, u32 count)
{
    u32 seen;
    while ((seen = __atomic_load_n(&s->finished, __ATOMIC_SEQ_CST)) != count)
        (void)hv_futex_wait(&s->finished, seen, 0);
    s->finished = 0;
}

static void contender(void *arg)
{
    struct shared *s = arg;
    for (u32 i = 0; i < ROUNDS; i++) {
        lock(&s->lock);
        s->counter++;
        if (i % 8 == 0)
            (void)hv_syscall(HV_SYS_YIELD, 0, 0, 0, 0);
        unlock(&s->lock);
    }
    finish(s);
}

static void ponger(void *arg)
{
    struct shared *s = arg;
    for (u32 i = 0; i < ROUNDS; i++) {
        while (__atomic_load_n(&s->turn, __ATOMIC_ACQUIRE) != 1)
            (void)hv_futex_wait(&s->turn, 0, 0);
        __atomic_store_n(&s->turn, 0, __ATOMIC_RELEASE);
        (void)hv_futex_wake(&s->turn, 1);
    }
    finish(s);
}

static void sleeper(void *arg)
{
    struct shared *s = arg;
    EXPECT(hv_sleep_until(hv_clock_ns() + 1000000000) == -EINTR);
    finish(s);
}

static void memory(void)
{
    s64 at = hv_mmap(4 << 20, 21, HV_MAP_GUEST);
    EXPECT(at > 0);
    u64 *p = (u64 *)hv_syscall(HV_SYS_TOUCH, (u64)at + (3 << 20), 1, 0, 0);
    EXPECT(*p == 0);
    *p = 1;
    EXPECT(hv_syscall(HV_SYS_MADVISE_FREE, (u64)at, 4 << 20, 0, 0) == 0);
    EXPECT(hv_syscall(HV_SYS_TOUCH, (u64)at + (4 << 20), 1, 0, 0) == -EFAULT);
}

void vmm_main(void *config)
{
    (void)config;
    struct shared *s = (struct shared *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    u32 cpus = (u32)hv_ioctl(HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, HV_CAP_NR_VCPUS);
    EXPECT(cpus >= 1 && cpus <= CPUS_MAX);
    for (u32 i = 0; i < 2 * cpus; i++)
        EXPECT(hv_thread_create(contender, s, i % cpus, 1) > 0);
    wait_finished(s, 2 * cpus);
    EXPECT(s->counter == 2 * cpus * ROUNDS);

    EXPECT(hv_thread_create(ponger, s, cpus - 1, 1) > 0);
    for (u32 i = 0; i < ROUNDS; i++) {
        __atomic_store_n(&s->turn, 1, __ATOMIC_RELEASE);
        (void)hv_futex_wake(&s->turn, 1);
        while (__atomic_load_n(&s->turn, __ATOMIC_ACQUIRE) != 0)
            (void)hv_futex_wait(&s->turn, 1, 0);
    }
    wait_finished(s, 1);

    u64 now = hv_clock_ns();
    EXPECT(hv_sleep_until(now + 100000) == 0);
    u64 late = hv_clock_ns() - (now + 100000);
    EXPECT(late < 20000);
    s64 tid = hv_thread_create(sleeper, s, cpus - 1, 1);
    EXPECT(hv_sleep_until(hv_clock_ns() + 50000) == 0);
    EXPECT(hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)tid, 0, 0, 0) == 0);
    wait_finished(s, 1);
    memory();
    EXPECT(hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0) == -EOPNOTSUPP);
    hw_trace_count("selftest.passed", 1);
    hw_trace_count("selftest.late_ns", late);
    (void)hv_syscall(HV_SYS_POWER_OFF, 0, 0, 0, 0);
}
