// SPDX-License-Identifier: Apache-2.0
// A mutual exclusion lock between the VMM's own threads; waiters sleep in the core.
#ifndef HV_VMM_LOCK_H
#define HV_VMM_LOCK_H

#include "hv/api.h"

// Zeroed memory is an unlocked lock. Not recursive; its holder may make blocking calls.
struct vmm_lock {
    u32 state; // 0 free, 1 held, 2 held and perhaps waited for. A futex.
};

void vmm_lock(struct vmm_lock *lock);
bool vmm_trylock(struct vmm_lock *lock); // True: taken.
void vmm_unlock(struct vmm_lock *lock);

#endif
