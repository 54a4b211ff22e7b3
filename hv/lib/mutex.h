// SPDX-License-Identifier: Apache-2.0
// Sleeping mutual exclusion with an owner. FIFO among sleepers; a release with sleepers hands over to the
// first.
#ifndef HV_LIB_MUTEX_H
#define HV_LIB_MUTEX_H

#include "hv/lib/list.h"
#include "hv/lib/spinlock.h"

struct mutex {
    u64 owner; // struct thread *, bit 0: there are waiters. 0: free.
    struct spinlock lock;
    struct list waiters;
    u8 rank;
};

void mutex_init(struct mutex *m, enum lock_rank rank);
// Thread context, preemption enabled (might_sleep).
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_is_held_by_me(const struct mutex *m);

#endif
