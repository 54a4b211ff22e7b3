// SPDX-License-Identifier: Apache-2.0
// Spin locks: FIFO ticket locks. Holding one disables preemption; the _irq forms also disable interrupts.
//
// Lock order is by rank (hv/lib/lock_ranks.def): a lock may be taken only while every held lock has a lower
// rank. Builds with HV_VALIDATE check that, and unlocks by others; libhv.so itself pays nothing for it.
#ifndef HV_LIB_SPINLOCK_H
#define HV_LIB_SPINLOCK_H

#include "hv/core/thread.h"
#include "hv/lib/lock_rank.h"

struct spinlock {
    u16 next;  // Ticket of the next comer.
    u16 owner; // Ticket being served.
    u8 rank;   // enum lock_rank
};

static inline void spin_lock_init(struct spinlock *l, enum lock_rank rank)
{
    l->next = 0;
    l->owner = 0;
    l->rank = (u8)rank;
}
// The lock itself, without validation or preempt count.
void ticket_lock_slow(struct spinlock *l, u16 ticket);
static inline void ticket_lock(struct spinlock *l)
{
    u16 ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);
    if (unlikely(load_acquire(&l->owner) != ticket))
        ticket_lock_slow(l, ticket);
}
bool ticket_trylock(struct spinlock *l);
static inline void ticket_unlock(struct spinlock *l)
{
    store_release(&l->owner, (u16)(l->owner + 1));
}

// Without touching the preempt count; the caller has disabled preemption or interrupts.
static inline void raw_spin_lock(struct spinlock *l)
{
    lock_wanted(l, HW_NOTE_EXCLUSIVE, &l->rank);
    ticket_lock(l);
    lock_taken(l, HW_NOTE_EXCLUSIVE, &l->rank);
}
static inline void raw_spin_unlock(struct spinlock *l)
{
    lock_released(l, HW_NOTE_EXCLUSIVE, &l->rank);
    ticket_unlock(l);
}
static inline void spin_lock(struct spinlock *l)
{
    preempt_disable();
    raw_spin_lock(l);
}
static inline void spin_unlock(struct spinlock *l)
{
    raw_spin_unlock(l);
    preempt_enable();
}
static inline bool spin_is_locked(const struct spinlock *l)
{
    return READ_ONCE(l->next) != READ_ONCE(l->owner);
}
// Interrupts off while held; `flags` is whether they were on. A reschedule that became due meanwhile happens
// at the unlock.
static inline bool spin_lock_irqsave(struct spinlock *l)
{
    bool flags = irq_save();
    preempt_disable();
    raw_spin_lock(l);
    return flags;
}
static inline void spin_unlock_irqrestore(struct spinlock *l, bool flags)
{
    raw_spin_unlock(l);
    irq_restore(flags);
    preempt_enable();
}

#endif
