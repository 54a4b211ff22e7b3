// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/mutex.h"

#include "hv/core/sched.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"

#define WAITERS 1ull

struct mutex_waiter {
    struct list node;
    struct thread *thread;
};

void mutex_init(struct mutex *m, enum lock_rank rank)
{
    m->owner = 0;
    spin_lock_init(&m->lock, LOCK_RANK_MUTEX);
    list_init(&m->waiters);
    m->rank = (u8)rank;
}

static bool swap_owner(struct mutex *m, u64 from, u64 to, int order)
{
    return __atomic_compare_exchange_n(&m->owner, &from, to, false, order, __ATOMIC_RELAXED);
}

// Under m->lock: takes it if it is free, else makes sure that the owner will see a waiter.
static bool take_or_mark(struct mutex *m, u64 me)
{
    for (;;) {
        u64 owner = READ_ONCE(m->owner);
        if (owner == 0) {
            if (swap_owner(m, 0, me, __ATOMIC_ACQUIRE))
                return true;
        } else if ((owner & WAITERS) != 0 || swap_owner(m, owner, owner | WAITERS, __ATOMIC_RELAXED)) {
            return false;
        }
    }
}

static __noinline void mutex_lock_slow(struct mutex *m, struct thread *me)
{
    struct mutex_waiter waiter = {.thread = me};
    hw_trace(TP_LOCK_CONTENDED, (u64)m, LOCK_MODE_MUTEX, 0, 0, 0, 0);
    spin_lock(&m->lock);
    if (!take_or_mark(m, (u64)me)) {
        list_add_tail(&waiter.node, &m->waiters);
        set_current_state(THREAD_SLEEPING);
        spin_unlock(&m->lock);
        // The releaser makes us the owner before it wakes us. What it did before we see behind m->lock.
        while ((READ_ONCE(m->owner) & ~WAITERS) != (u64)me) {
            schedule();
            set_current_state(THREAD_SLEEPING);
        }
        set_current_state(THREAD_RUNNING);
        // The releaser may still be about to wake us, and inside the mutex: neither we nor it may vanish
        // before it left.
        spin_lock(&m->lock);
    }
    spin_unlock(&m->lock);
    hw_trace(TP_LOCK_ACQUIRED, (u64)m, LOCK_MODE_MUTEX, 0, 0, 0, 0);
}

void mutex_lock(struct mutex *m)
{
    struct thread *me = current_thread();
    might_sleep();
    lock_wanted(m, HW_NOTE_SLEEPING, &m->rank);
    HV_ASSERT((READ_ONCE(m->owner) & ~WAITERS) != (u64)me);
    if (unlikely(!swap_owner(m, 0, (u64)me, __ATOMIC_ACQUIRE)))
        mutex_lock_slow(m, me);
    lock_taken(m, HW_NOTE_SLEEPING, &m->rank);
}

bool mutex_trylock(struct mutex *m)
{
    if (!swap_owner(m, 0, (u64)current_thread(), __ATOMIC_ACQUIRE))
        return false;
    lock_tried(m, HW_NOTE_SLEEPING, &m->rank);
    return true;
}

void mutex_unlock(struct mutex *m)
{
    struct thread *me = current_thread();
    HV_ASSERT((READ_ONCE(m->owner) & ~WAITERS) == (u64)me);
    lock_released(m, HW_NOTE_SLEEPING, &m->rank);
    if (likely(swap_owner(m, (u64)me, 0, __ATOMIC_RELEASE)))
        return;
    spin_lock(&m->lock);
    struct mutex_waiter *first = list_first(&m->waiters, struct mutex_waiter, node);
    struct thread *next = first->thread;
    list_unlink(&first->node);
    // From here on `first`, on its thread's stack, may be gone.
    WRITE_ONCE(m->owner, (u64)next | (list_empty(&m->waiters) ? 0 : WAITERS));
    thread_wake(next);
    spin_unlock(&m->lock);
}

bool mutex_is_held_by_me(const struct mutex *m)
{
    return (READ_ONCE(m->owner) & ~WAITERS) == (u64)current_thread();
}
