// SPDX-License-Identifier: Apache-2.0
// Fair reader-writer spin lock: readers share, arrivals are served in order, so neither side starves.
#ifndef HV_LIB_RWLOCK_H
#define HV_LIB_RWLOCK_H

#include "hv/lib/spinlock.h"

// `count`: bits 7:0 0xff while a writer holds it, bit 8 a writer waits, bits 31:9 readers.
struct rwlock {
    u32 count;
    struct spinlock queue; // Comers who found the lock contended, in order.
};

void rwlock_init(struct rwlock *l, enum lock_rank rank);
// Preemption is disabled while held. Not recursive.
void read_lock(struct rwlock *l);
void read_unlock(struct rwlock *l);
void write_lock(struct rwlock *l);
void write_unlock(struct rwlock *l);
// Is anybody waiting? For cond_resched-like breaks in long holders.
bool rwlock_is_contended(const struct rwlock *l);

#endif
