// SPDX-License-Identifier: Apache-2.0
#include "hv/vmm/lock.h"

enum { FREE, HELD, WAITED_FOR };

bool vmm_trylock(struct vmm_lock *lock)
{
    u32 expected = FREE;

    return __atomic_compare_exchange_n(&lock->state, &expected, HELD, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

void vmm_lock(struct vmm_lock *lock)
{
    if (vmm_trylock(lock))
        return;
    // Whoever sleeps here takes the lock as waited for: it cannot know whether it was the only sleeper.
    while (__atomic_exchange_n(&lock->state, WAITED_FOR, __ATOMIC_ACQUIRE) != FREE)
        hv_futex_wait(&lock->state, WAITED_FOR, 0);
}

void vmm_unlock(struct vmm_lock *lock)
{
    if (__atomic_exchange_n(&lock->state, FREE, __ATOMIC_RELEASE) == WAITED_FOR)
        hv_futex_wake(&lock->state, 1);
}
