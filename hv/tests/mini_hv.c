// SPDX-License-Identifier: Apache-2.0
// A hypervisor core of one page for tests of the runtime (models/cpu/native/tests): compiled and linked as
// libhv.so is, it shows the runtime's laws without the real core. Its doors hw_test_* are the test's own.
#include "hv/hw/boot.h"
#include "hv/hw/cpu.h"
#include "hv/hw/setup.h"
#include "hv/hw/thread.h"
#include "hv/hw/trace.h"
#include <stdatomic.h>

// In the arena, at a fixed place: mini has no globals either.
struct mini {
    _Atomic u64 lock;
    u64 counter;
    u64 padding1[6];
    _Atomic u64 x; // x and y on lines of their own.
    u64 padding2[7];
    _Atomic u64 y;
    u64 padding3[7];
    u64 seen_x, seen_y;
    u64 irqs, irq_during_user;
    u64 pings;
    struct hw_context boot, threads[2];
    _Atomic u64 done;
    u64 program; // enum mini_program of the test
    u64 rounds;
};
#define MINI ((struct mini *)(HW_ARENA_BASE + (1u << 20)))

void hw_test_start_ap(u32 cpu);
void hw_test_end(void);
void hw_test_wait_until(u64 cycle);
void hv_boot(const struct hw_bootinfo *info);

enum {
    SPIN,
    STORE_BUFFERING,
    STORE_BUFFERING_FENCED,
    THREADS,
    WORK,
    WORK_MORE,
    UNLOCKED,
    MESSAGE_ON_STACK,
    SETUP,
    WILD,
    PANIC,
};

static void lock(_Atomic u64 *l)
{
    while (atomic_exchange_explicit(l, 1, memory_order_acquire))
        ;
}

static void unlock(_Atomic u64 *l)
{
    atomic_store_explicit(l, 0, memory_order_release);
}

static void spin(struct mini *m)
{
    for (u64 i = 0; i < m->rounds; i++) {
        lock(&m->lock);
        m->counter++;
        unlock(&m->lock);
    }
}

// The SB litmus test (SDM 8.2.3.4): without fences both may read 0.
static void store_buffering(struct mini *m, u32 cpu, bool fence)
{
    m->counter = m->x + m->y;   // Both lines are in both caches.
    hw_test_wait_until(100000); // Both start at the same cycle.
    if (cpu == 0) {
        atomic_store_explicit(&m->x, 1, memory_order_relaxed);
        if (fence)
            atomic_thread_fence(memory_order_seq_cst);
        m->seen_y = atomic_load_explicit(&m->y, memory_order_relaxed);
    } else {
        atomic_store_explicit(&m->y, 1, memory_order_relaxed);
        if (fence)
            atomic_thread_fence(memory_order_seq_cst);
        m->seen_x = atomic_load_explicit(&m->x, memory_order_relaxed);
    }
}

// The MP litmus test (SDM 8.2.3.2) with the flag on the reader's stack: whoever sees it sees the message.
static void message_on_stack(struct mini *m, u32 cpu)
{
    if (cpu == 0) {
        _Atomic u64 flag = 0;

        m->y = 0; // Its line is here: the writer's store waits for it.
        atomic_store_explicit(&m->x, (u64)&flag, memory_order_release);
        while (!atomic_load_explicit(&flag, memory_order_acquire))
            ;
        m->seen_y = atomic_load_explicit(&m->y, memory_order_relaxed);
        return;
    }
    u64 flag;

    while (!(flag = atomic_load_explicit(&m->x, memory_order_acquire)))
        ;
    atomic_store_explicit(&m->y, 1, memory_order_relaxed);
    atomic_store_explicit((_Atomic u64 *)flag, 1, memory_order_release);
}

static void thread(void *arg)
{
    struct mini *m = MINI;
    u64 me = (u64)arg;

    for (u64 i = 0; i < m->rounds; i++) {
        m->pings++;
        hw_switch_to(&m->threads[me], me ? &m->boot : &m->threads[1]);
    }
    if (me == 0)
        hw_switch_to_and_exit(&m->threads[0], &m->threads[1]);
    hw_switch_to_and_exit(&m->threads[1], &m->boot);
}

static void threads(struct mini *m)
{
    hw_cli();
    hw_context_adopt(&m->boot, "mini");
    hw_context_create(&m->threads[0], "ping", 16 << 10, thread, (void *)0);
    hw_context_create(&m->threads[1], "pong", 16 << 10, thread, (void *)1);
    // Each round goes boot -> ping -> pong -> boot; the last one ends both.
    for (u64 i = 0; i <= m->rounds; i++)
        hw_switch_to(&m->boot, &m->threads[0]);
}

__attribute__((noinline)) static u64 work(u64 n)
{
    u64 sum = 0;

    for (u64 i = 0; i < n; i++)
        sum += *(volatile u64 *)&MINI->rounds ^ i; // A load in every turn.
    return sum;
}

// Atomics and plain stores have their effect in the phase; a store from before it is seen in it.
static void set_up(struct mini *m)
{
    m->seen_x = 5;
    hw_setup_begin();
    for (u64 i = 0; i < m->rounds; i++)
        atomic_fetch_add_explicit(&m->x, 1, memory_order_relaxed);
    m->seen_y = m->seen_x + 1;
    hw_setup_end();
    m->counter = work(100);
}

// An update that nothing protects: load (line +2 of the function) and store (+3) are apart.
__attribute__((noinline)) static void unlocked(struct mini *m)
{
    u64 old = m->counter;
    m->counter = old + 1;
}

// A pointer that nobody has set.
__attribute__((noinline)) static u64 follow(const volatile u64 *p)
{
    return *p;
}

// The store is in memory.
__attribute__((noinline)) static void unlocked_done(struct mini *m)
{
    m->pings++;
}

static void program(u32 cpu)
{
    struct mini *m = MINI;

    switch (m->program) {
    case SPIN:
        spin(m);
        break;
    case STORE_BUFFERING:
        store_buffering(m, cpu, false);
        break;
    case STORE_BUFFERING_FENCED:
        store_buffering(m, cpu, true);
        break;
    case MESSAGE_ON_STACK:
        message_on_stack(m, cpu);
        break;
    case THREADS:
        if (cpu == 0)
            threads(m);
        break;
    case WORK:
        if (cpu == 0)
            m->counter = work(m->rounds);
        break;
    case WORK_MORE:
        if (cpu == 0)
            m->counter = work(m->rounds * 2);
        break;
    case UNLOCKED:
        unlocked(m);
        atomic_thread_fence(memory_order_seq_cst);
        unlocked_done(m);
        break;
    case SETUP:
        if (cpu == 0)
            set_up(m);
        else
            m->pings = work(100);
        break;
    case WILD:
        if (cpu == 0)
            m->counter = follow((const volatile u64 *)(m->rounds + 16));
        break;
    case PANIC:
        if (cpu == 0)
            hw_panic("rounds < limit", "mini_hv.c", 7);
        break;
    }
    // The last one ends the run; the other waits for that.
    if (atomic_fetch_add_explicit(&m->done, 1, memory_order_acq_rel) == 1)
        hw_test_end();
    for (;;)
        hw_sti_hlt();
}

static void interrupt(unsigned vector)
{
    MINI->irqs += vector;
}

static void nmi(void) {}

static u64 syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    return nr + a0 + a1 + a2 + a3;
}

static void ap_entry(u64 cpu)
{
    program((u32)cpu);
}

static const struct hw_vectors vectors = {interrupt, nmi, syscall, ap_entry, 1};

__attribute__((visibility("default"))) void hv_boot(const struct hw_bootinfo *info)
{
    (void)info;
    hw_set_vectors(&vectors);
    hw_test_start_ap(1);
    hw_sti();
    program(0);
}
