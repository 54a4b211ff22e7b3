// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/spinlock.h"

#include "hv/hw/trace.h"

void ticket_lock_slow(struct spinlock *l, u16 ticket)
{
    hw_trace(TP_LOCK_CONTENDED, (u64)l, LOCK_MODE_SPIN, 0, 0, 0, 0);
    while (load_acquire(&l->owner) != ticket)
        hw_pause();
    hw_trace(TP_LOCK_ACQUIRED, (u64)l, LOCK_MODE_SPIN, 0, 0, 0, 0);
}

bool ticket_trylock(struct spinlock *l)
{
    // The ticket next in line is the one being served exactly when the lock is free.
    // It is the owner that a release writes: what the last holder stored is seen by who reads it here.
    u16 ticket = load_acquire(&l->owner);
    return READ_ONCE(l->next) == ticket &&
           __atomic_compare_exchange_n(&l->next, &ticket, (u16)(ticket + 1), false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}
