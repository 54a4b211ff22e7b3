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
#endif
