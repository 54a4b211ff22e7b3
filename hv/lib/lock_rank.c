// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/lock_rank.h"

#include "hv/hw/trace.h"

#ifdef HV_VALIDATE
void lock_validate_acquire(unsigned rank)
{
    struct thread *t = current_thread();
    u64 bit = 1ull << rank;
    // Any held rank at or below this one in the list.
    if ((t->held_ranks & ~(bit - 1)) != 0)
        hw_trace_violation("lock_order", rank, t->held_ranks);
    t->held_ranks |= bit;
}

void lock_validate_release(unsigned rank)
{
    struct thread *t = current_thread();
    u64 bit = 1ull << rank;
    if ((t->held_ranks & bit) == 0)
        hw_trace_violation("unlock_not_held", rank, t->held_ranks);
    t->held_ranks &= ~bit;
}

void validate_user_return(const struct thread *t)
{
    if (t->held_ranks != 0)
        hw_trace_violation("held_at_user_return", t->held_ranks, t->tid);
    if (t->preempt_count != 0)
        hw_trace_violation("preempt_unbalanced", t->preempt_count, t->tid);
    if (t->srcu_depth != 0)
        hw_trace_violation("srcu_unbalanced", t->srcu_depth, t->tid);
}
#endif
