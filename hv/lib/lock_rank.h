// SPDX-License-Identifier: Apache-2.0
// Ranks of locks and the checks of builds with HV_VALIDATE.
#ifndef HV_LIB_LOCK_RANK_H
#define HV_LIB_LOCK_RANK_H

#include "hv/core/thread.h"
#include "hv/hw/note.h"

enum lock_rank {
#define LOCK_RANK(id, name, about) LOCK_RANK_##id,
#include "hv/lib/lock_ranks.def"
#undef LOCK_RANK
    LOCK_RANK_COUNT
};
_Static_assert(LOCK_RANK_COUNT <= 64, "held ranks are one word of bits");

// Second argument of the lock tracepoints.
enum lock_mode { LOCK_MODE_SPIN, LOCK_MODE_READ, LOCK_MODE_WRITE, LOCK_MODE_MUTEX, LOCK_MODE_SRCU };

#ifdef HV_VALIDATE
// Reports the violation lock_order{rank, held ranks} if a held lock's rank is not lower, then notes the rank
// as held.
void lock_validate_acquire(unsigned rank);
void lock_validate_release(unsigned rank);
// On the way back to user mode nothing may be held: reports held_at_user_return{ranks},
// preempt_unbalanced{count} and srcu_unbalanced{depth}.
void validate_user_return(const struct thread *t);
// An interrupt starts with nothing held: what it interrupted may hold anything but locks that interrupts
// take.
static inline u64 lock_validate_interrupt(struct thread *t)
{
    u64 held = t->held_ranks;
    t->held_ranks = 0;
    return held;
}
static inline void lock_validate_interrupt_end(struct thread *t, u64 held)
{
    t->held_ranks = held;
}
#else
static inline void validate_user_return(const struct thread *t)
{
    hw_note_user_return(&t->preempt_count, &t->srcu_depth);
}
static inline u64 lock_validate_interrupt(struct thread *t)
{
    (void)t;
    return 0;
}
static inline void lock_validate_interrupt_end(struct thread *t, u64 held)
{
    (void)t;
    (void)held;
}
#endif

// Of every lock, around its acquisition; one that was only tried was not wanted. `rank` is the lock's field.
static inline void lock_wanted(const void *lock, enum hw_note_mode mode, const u8 *rank)
{
    hw_note_lock(lock, HW_NOTE_LOCK_WANTED, mode, rank);
#ifdef HV_VALIDATE
    lock_validate_acquire(*rank);
#endif
}
static inline void lock_taken(const void *lock, enum hw_note_mode mode, const u8 *rank)
{
    hw_note_lock(lock, HW_NOTE_LOCK_TAKEN, mode, rank);
}
static inline void lock_tried(const void *lock, enum hw_note_mode mode, const u8 *rank)
{
#ifdef HV_VALIDATE
    lock_validate_acquire(*rank);
#endif
    hw_note_lock(lock, HW_NOTE_LOCK_TAKEN, mode, rank);
}
static inline void lock_released(const void *lock, enum hw_note_mode mode, const u8 *rank)
{
#ifdef HV_VALIDATE
    lock_validate_release(*rank);
#endif
    hw_note_lock(lock, HW_NOTE_LOCK_RELEASED, mode, rank);
}

#endif
