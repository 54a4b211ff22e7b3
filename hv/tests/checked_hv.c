// SPDX-License-Identifier: Apache-2.0
// A hypervisor core of two processors that makes one mistake at a time, for the validators to find
// (tests/validators), or does the same thing properly. Its doors hw_test_* are the test's own.
#include "hv/tests/checked_hv.h"
#include "hv/hw/boot.h"
#include "hv/hw/cpu.h"
#include "hv/hw/note.h"
#include <stdatomic.h>

#define M CHECKED
#define NOINLINE __attribute__((noinline)) static

void hw_test_start_ap(u32 cpu);
void hw_test_send(u32 cpu);
void hw_test_end(void);
void hv_boot(const struct hw_bootinfo *info);

static bool wrong(void)
{
    return M->wrong != 0;
}

static u64 acquire(_Atomic u64 *p)
{
    return atomic_load_explicit(p, memory_order_acquire);
}

static void release(_Atomic u64 *p, u64 v)
{
    atomic_store_explicit(p, v, memory_order_release);
}

static void await(_Atomic u64 *p)
{
    while (acquire(p) == 0)
        ;
}

// Without any order: only the time.
static void await_relaxed(_Atomic u64 *p)
{
    while (atomic_load_explicit(p, memory_order_relaxed) == 0)
        ;
}

static void take(unsigned n, const u8 *rank)
{
    hw_note_lock(&M->lock[n], HW_NOTE_LOCK_WANTED, HW_NOTE_EXCLUSIVE, rank);
    while (atomic_exchange_explicit(&M->lock[n], 1, memory_order_acquire))
        ;
    hw_note_lock(&M->lock[n], HW_NOTE_LOCK_TAKEN, HW_NOTE_EXCLUSIVE, rank);
}

static void give(unsigned n, const u8 *rank)
{
    hw_note_lock(&M->lock[n], HW_NOTE_LOCK_RELEASED, HW_NOTE_EXCLUSIVE, rank);
    release(&M->lock[n], 0);
}

// --- Data races. ---

NOINLINE void flag(u32 cpu)
{
    if (cpu == 0) {
        M->data = 1;
        if (wrong())
            atomic_store_explicit(&M->flag, 1, memory_order_relaxed);
        else
            release(&M->flag, 1);
    } else {
        await(&M->flag);
        M->counter = M->data;
    }
}

NOINLINE void fences(u32 cpu)
{
    if (cpu == 0) {
        M->data = 1;
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(&M->flag, 1, memory_order_relaxed);
    } else {
        await_relaxed(&M->flag);
        if (!wrong())
            atomic_thread_fence(memory_order_acquire);
        M->counter = M->data;
    }
}

NOINLINE void locked(u32 cpu)
{
    memory_order order = cpu == 1 && wrong() ? memory_order_relaxed : memory_order_acquire;

    for (u32 i = 0; i < 20; i++) {
        if (order == memory_order_relaxed)
            while (atomic_exchange_explicit(&M->lock[0], 1, memory_order_relaxed))
                ;
        else
            while (atomic_exchange_explicit(&M->lock[0], 1, memory_order_acquire))
                ;
        M->data++;
        release(&M->lock[0], 0);
    }
}

NOINLINE void bytes(u32 cpu)
{
    volatile u8 *b = M->bytes;

    b[wrong() ? 0 : cpu] = 1;
}

NOINLINE void ipi(u32 cpu)
{
    if (cpu == 1) {
        M->data = 1;
        if (!wrong())
            atomic_thread_fence(memory_order_seq_cst);
        hw_test_send(0);
    } else {
        hw_sti();
        await_relaxed(&M->flag);
        hw_cli();
    }
}

static void sleeper(void *arg)
{
    (void)arg;
    M->data = 1;
    atomic_store_explicit(&M->flag, 1, memory_order_relaxed);
    hw_switch_to(&M->thread, &M->boot);
    release(&M->there[0], 1);
    hw_switch_to_and_exit(&M->thread, &M->boot);
}

NOINLINE void switching(u32 cpu)
{
    if (cpu == 0) {
        hw_context_create(&M->thread, "sleeper", 16384, sleeper, NULL);
        hw_switch_to(&M->boot, &M->thread);
        if (!wrong())
            M->counter = M->data;
        hw_switch_to(&M->boot, &M->thread);
    } else {
        await_relaxed(&M->flag);
        if (wrong())
            M->counter = M->data;
    }
}

// --- Memory. ---

NOINLINE void new_owner(u32 cpu)
{
    u64 *p = (u64 *)CHECKED_PAGE;

    if (cpu == 0) {
        hw_note_pages(p, 4096, 1, false);
        *p = 1;
        if (!wrong())
            hw_note_pages(p, 4096, 0, false);
        atomic_store_explicit(&M->flag, 1, memory_order_relaxed);
    } else {
        await_relaxed(&M->flag);
        if (!wrong())
            hw_note_pages(p, 4096, 1, false);
        *p = 2;
    }
}

NOINLINE void object(u32 cpu)
{
    volatile u8 *p = (u8 *)CHECKED_PAGE;

    if (cpu != 0)
        return;
    hw_note_alloc((u8 *)CHECKED_PAGE, 40, 64);
    p[M->program == CHECKED_BEYOND && wrong() ? 40 : 39] = 1;
    if (M->program == CHECKED_FREED && !wrong())
        p[8] = 1;
    hw_note_free((u8 *)CHECKED_PAGE, 64);
    if (M->program == CHECKED_FREED && wrong())
        p[8] = 1;
}

NOINLINE void pages(u32 cpu)
{
    volatile u8 *p = (u8 *)CHECKED_PAGE;

    if (cpu != 0)
        return;
    hw_note_pages((u8 *)CHECKED_PAGE, 8192, 1, false);
    if (M->program == CHECKED_FREE_PAGE && !wrong())
        p[4096 + 100] = 1;
    if (M->program == CHECKED_FREE_PAGE || !wrong())
        hw_note_pages((u8 *)CHECKED_PAGE, 8192, 0, false);
    if (M->program == CHECKED_FREE_PAGE && wrong())
        p[4096 + 100] = 1;
    if (M->program == CHECKED_TWO_OWNERS)
        hw_note_pages((u8 *)CHECKED_PAGE + 4096, 4096, 2, false);
}

// --- Locks. ---

NOINLINE void order(u32 cpu)
{
    if (cpu != 0)
        return;
    take(0, &M->ranks[wrong() ? 2 : 1]);
    take(1, &M->ranks[wrong() ? 1 : 2]);
    give(1, &M->ranks[wrong() ? 1 : 2]);
    give(0, &M->ranks[wrong() ? 2 : 1]);
}

// Wrong: each has one before either asks for the other. Ranks are not the point: they rise.
NOINLINE void deadlock(u32 cpu)
{
    u32 first = wrong() ? cpu : 0;

    take(first, &M->ranks[1]);
    if (wrong()) {
        release(&M->there[cpu], 1);
        await(&M->there[1 - cpu]);
    }
    take(1 - first, &M->ranks[2]);
    give(1 - first, &M->ranks[2]);
    give(first, &M->ranks[1]);
}

NOINLINE void handler(u32 cpu)
{
    if (cpu == 1) {
        await(&M->there[0]);
        hw_test_send(0);
        return;
    }
    take(0, &M->ranks[1]);
    hw_sti();
    release(&M->there[0], 1);
    await_relaxed(&M->flag);
    hw_cli();
    give(0, &M->ranks[1]);
}

NOINLINE void irq_lock(u32 cpu)
{
    if (cpu == 1) {
        await(&M->there[0]);
        hw_test_send(0);
        return;
    }
    if (wrong())
        hw_sti();
    take(0, &M->ranks[1]);
    give(0, &M->ranks[1]);
    hw_sti();
    release(&M->there[0], 1);
    await_relaxed(&M->flag);
    hw_cli();
}

NOINLINE void preemptible(u32 cpu)
{
    if (cpu != 0)
        return;
    M->pinned = UINT32_MAX;
    hw_note_this_cpu(&M->preempt_count, &M->pinned); // With interrupts disabled, so it stays.
    M->preempt_count = !wrong();
    hw_sti();
    if (M->program == CHECKED_THIS_CPU) {
        hw_note_this_cpu(&M->preempt_count, &M->pinned);
    } else {
        take(0, &M->ranks[1]);
        give(0, &M->ranks[1]);
    }
    hw_cli();
}

NOINLINE void unlock(u32 cpu)
{
    if (cpu != 0)
        return;
    take(0, &M->ranks[1]);
    give(0, &M->ranks[1]);
    if (wrong())
        give(0, &M->ranks[1]);
}

NOINLINE void user_return(u32 cpu)
{
    if (cpu != 0)
        return;
    if (M->program == CHECKED_HELD)
        take(0, &M->ranks[1]);
    if (M->program == CHECKED_SRCU_USER)
        hw_note_srcu(M, HW_NOTE_SRCU_BEGIN, 0);
    M->preempt_count = M->program == CHECKED_PREEMPT && wrong();
    if (!wrong() && M->program == CHECKED_HELD)
        give(0, &M->ranks[1]);
    if (!wrong() && M->program == CHECKED_SRCU_USER)
        hw_note_srcu(M, HW_NOTE_SRCU_END, 0);
    hw_note_user_return(&M->preempt_count, &M->srcu_depth);
}

NOINLINE void srcu(u32 cpu)
{
    u32 end = M->program == CHECKED_SRCU_EPOCH && wrong();

    if (cpu != 0)
        return;
    hw_note_srcu(M, HW_NOTE_SRCU_BEGIN, 0);
    if (M->program == CHECKED_SRCU_SYNC && wrong())
        hw_note_srcu(M, HW_NOTE_SRCU_SYNC, 0);
    hw_note_srcu(M, HW_NOTE_SRCU_END, end);
    if (M->program == CHECKED_SRCU_SYNC && !wrong())
        hw_note_srcu(M, HW_NOTE_SRCU_SYNC, 0);
}

NOINLINE void grace_end(u32 cpu)
{
    if (cpu == 0) {
        hw_note_srcu(M, HW_NOTE_SRCU_BEGIN, 0);
        atomic_store_explicit(&M->there[0], 1, memory_order_relaxed);
        hw_note_srcu(M, HW_NOTE_SRCU_END, 0);
        atomic_store_explicit(&M->flag, 1, wrong() ? memory_order_relaxed : memory_order_release);
        return;
    }
    await_relaxed(&M->there[0]);
    hw_note_srcu(M, HW_NOTE_SRCU_SYNC, 0);
    await(&M->flag);
    hw_note_srcu(M, HW_NOTE_SRCU_SYNCED, 0);
}

NOINLINE void grace_next(u32 cpu)
{
    if (cpu == 0) {
        hw_note_srcu(M, HW_NOTE_SRCU_SYNC, 0);
        atomic_thread_fence(memory_order_seq_cst);
        hw_note_srcu(M, HW_NOTE_SRCU_SYNCED, 0);
        atomic_store_explicit(&M->flag, 1, memory_order_relaxed);
        return;
    }
    await_relaxed(&M->flag);
    if (!wrong())
        atomic_thread_fence(memory_order_seq_cst);
    hw_note_srcu(M, HW_NOTE_SRCU_BEGIN, 0);
    hw_note_srcu(M, HW_NOTE_SRCU_END, 0);
}

NOINLINE void spin(u32 cpu)
{
    if (cpu == 0)
        await(&M->flag);
    else if (!wrong())
        release(&M->flag, 1);
}

// Wrong: cpu0 halts for good while the thread waits to be switched to.
NOINLINE void sleeping(u32 cpu)
{
    if (cpu != 0)
        return;
    hw_context_create(&M->thread, "sleeper", 16384, sleeper, NULL);
    hw_switch_to(&M->boot, &M->thread);
    if (wrong())
        hw_sti_hlt();
    hw_switch_to(&M->boot, &M->thread);
}

// --- Dispatch. ---

static void run(u32 cpu)
{
    static void (*const programs[])(u32 cpu) = {
        [CHECKED_FLAG] = flag,
        [CHECKED_FENCES] = fences,
        [CHECKED_LOCK] = locked,
        [CHECKED_BYTES] = bytes,
        [CHECKED_IPI] = ipi,
        [CHECKED_SWITCH] = switching,
        [CHECKED_NEW_OWNER] = new_owner,
        [CHECKED_FREED] = object,
        [CHECKED_BEYOND] = object,
        [CHECKED_FREE_PAGE] = pages,
        [CHECKED_TWO_OWNERS] = pages,
        [CHECKED_ORDER] = order,
        [CHECKED_DEADLOCK] = deadlock,
        [CHECKED_HANDLER] = handler,
        [CHECKED_UNLOCK] = unlock,
        [CHECKED_HELD] = user_return,
        [CHECKED_PREEMPT] = user_return,
        [CHECKED_SRCU_SYNC] = srcu,
        [CHECKED_SRCU_EPOCH] = srcu,
        [CHECKED_SRCU_USER] = user_return,
        [CHECKED_SPIN] = spin,
        [CHECKED_SLEEP] = sleeping,
        [CHECKED_IRQ_LOCK] = irq_lock,
        [CHECKED_THIS_CPU] = preemptible,
        [CHECKED_SPIN_LOCK] = preemptible,
        [CHECKED_GRACE_END] = grace_end,
        [CHECKED_GRACE_NEXT] = grace_next,
    };

    programs[M->program](cpu);
    if (atomic_fetch_add_explicit(&M->done, 1, memory_order_relaxed) == 1)
        hw_test_end();
    for (;;)
        hw_sti_hlt();
}

static void interrupt(unsigned vector)
{
    (void)vector;
    if (M->program == CHECKED_IPI)
        M->counter = M->data;
    if (M->program == CHECKED_HANDLER)
        hw_note_lock(&M->lock[!wrong()], HW_NOTE_LOCK_WANTED, HW_NOTE_EXCLUSIVE, &M->ranks[0]);
    if (M->program == CHECKED_IRQ_LOCK) {
        take(0, &M->ranks[1]);
        give(0, &M->ranks[1]);
    }
    atomic_store_explicit(&M->flag, 1, memory_order_relaxed);
}

static void nmi(void) {}

static u64 syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    return nr + a0 + a1 + a2 + a3;
}

static void ap_entry(u64 cpu)
{
    run((u32)cpu);
}

static const struct hw_vectors vectors = {interrupt, nmi, syscall, ap_entry, 1};

__attribute__((visibility("default"))) void hv_boot(const struct hw_bootinfo *info)
{
    (void)info;
    hw_context_adopt(&M->boot, "boot");
    hw_set_vectors(&vectors);
    hw_test_start_ap(1);
    run(0);
}
