// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/rwlock.h"

#include "hv/hw/trace.h"

#define WRITER 0xffu
#define WAITING 0x100u
#define READER 0x200u

void rwlock_init(struct rwlock *l, enum lock_rank rank)
{
    l->count = 0;
    spin_lock_init(&l->queue, rank);
}

static __noinline void read_lock_slow(struct rwlock *l)
{
    // Steps back, queues behind those who came before, and then only a holding writer can be in the way.
    __atomic_fetch_sub(&l->count, READER, __ATOMIC_RELAXED);
    hw_trace(TP_LOCK_CONTENDED, (u64)l, LOCK_MODE_READ, 0, 0, 0, 0);
    ticket_lock(&l->queue);
    __atomic_fetch_add(&l->count, READER, __ATOMIC_RELAXED);
    while ((load_acquire(&l->count) & WRITER) != 0)
        hw_pause();
    ticket_unlock(&l->queue);
    hw_trace(TP_LOCK_ACQUIRED, (u64)l, LOCK_MODE_READ, 0, 0, 0, 0);
}

void read_lock(struct rwlock *l)
{
    preempt_disable();
    lock_wanted(l, HW_NOTE_SHARED, &l->queue.rank);
    u32 count = __atomic_fetch_add(&l->count, READER, __ATOMIC_ACQUIRE);
    if (unlikely((count & (WRITER | WAITING)) != 0))
        read_lock_slow(l);
    lock_taken(l, HW_NOTE_SHARED, &l->queue.rank);
}

void read_unlock(struct rwlock *l)
{
    lock_released(l, HW_NOTE_SHARED, &l->queue.rank);
    __atomic_fetch_sub(&l->count, READER, __ATOMIC_RELEASE);
    preempt_enable();
}

static bool take_write(struct rwlock *l, u32 from)
{
    return __atomic_compare_exchange_n(&l->count, &from, WRITER, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static __noinline void write_lock_slow(struct rwlock *l)
{
    hw_trace(TP_LOCK_CONTENDED, (u64)l, LOCK_MODE_WRITE, 0, 0, 0, 0);
    ticket_lock(&l->queue);
    if (!take_write(l, 0)) {
        // New readers queue from here on; those inside drain.
        __atomic_fetch_or(&l->count, WAITING, __ATOMIC_RELAXED);
        while (READ_ONCE(l->count) != WAITING || !take_write(l, WAITING))
            hw_pause();
    }
    ticket_unlock(&l->queue);
    hw_trace(TP_LOCK_ACQUIRED, (u64)l, LOCK_MODE_WRITE, 0, 0, 0, 0);
}

void write_lock(struct rwlock *l)
{
    preempt_disable();
    lock_wanted(l, HW_NOTE_EXCLUSIVE, &l->queue.rank);
    if (unlikely(!take_write(l, 0)))
        write_lock_slow(l);
    lock_taken(l, HW_NOTE_EXCLUSIVE, &l->queue.rank);
}

void write_unlock(struct rwlock *l)
{
    lock_released(l, HW_NOTE_EXCLUSIVE, &l->queue.rank);
    // Not a plain store: a reader may be stepping in and out of the count.
    __atomic_fetch_sub(&l->count, WRITER, __ATOMIC_RELEASE);
    preempt_enable();
}

bool rwlock_is_contended(const struct rwlock *l)
{
    return spin_is_locked(&l->queue);
}
