// SPDX-License-Identifier: Apache-2.0
// What checked_hv.c and tests/validators share: its programs, and its state in the arena.
#ifndef HV_TESTS_CHECKED_HV_H
#define HV_TESTS_CHECKED_HV_H

#include "hv/hw/thread.h"
#include "hv/hw/types.h"

// Each does a thing wrongly if `wrong` is set, and in its neighbour's right way if not.
enum checked_program {
    CHECKED_FLAG,       // Data behind a flag; the flag is relaxed where it is wrong.
    CHECKED_FENCES,     // Relaxed flag between fences; wrong: the reader has none.
    CHECKED_LOCK,       // A counter under a lock; wrong: one side takes it without acquiring.
    CHECKED_BYTES,      // Neighbouring bytes of a word; wrong: the same byte.
    CHECKED_IPI,        // Stored, fence, an interrupt is sent; wrong: without the fence.
    CHECKED_SWITCH,     // A thread's data read by the next one on its processor; wrong: by another processor.
    CHECKED_NEW_OWNER,  // Memory given back and out again; wrong: used on without.
    CHECKED_FREED,      // An object used to the end; wrong: longer.
    CHECKED_BEYOND,     // An object's last byte; wrong: the one behind it.
    CHECKED_FREE_PAGE,  // A page used while it is owned; wrong: longer.
    CHECKED_TWO_OWNERS, // A page given out twice, taken back between; wrong: not.
    CHECKED_ORDER,      // Locks by rising ranks; wrong: by falling ones.
    CHECKED_DEADLOCK,   // Two locks, both sides in one order; wrong: in opposite ones.
    CHECKED_HANDLER,    // A handler's own lock; wrong: that of the interrupted.
    CHECKED_UNLOCK,     // A lock released once; wrong: twice.
    CHECKED_HELD,       // Nothing is held in user mode; wrong: a lock is.
    CHECKED_PREEMPT,    // The preempt count is 0 in user mode; wrong: 1.
    CHECKED_SRCU_SYNC,  // Waits for sections of others; wrong: for its own.
    CHECKED_SRCU_EPOCH, // Ends a section with its epoch; wrong: with the other.
    CHECKED_SRCU_USER,  // No section in user mode; wrong: one.
    CHECKED_SPIN,       // Waits in a loop for what comes; wrong: for what does not.
    CHECKED_SLEEP,      // A thread sleeps and is woken; wrong: nobody wakes it.
    CHECKED_IRQ_LOCK,   // A handler's lock is taken with interrupts disabled; wrong: enabled.
    CHECKED_THIS_CPU,   // Goes by its processor while it stays there; wrong: while it may be moved.
    CHECKED_SPIN_LOCK,  // Spins for a lock with preemption disabled; wrong: enabled.
    CHECKED_GRACE_END,  // A section's end releases what the waiter acquires; wrong: it is relaxed.
    CHECKED_GRACE_NEXT, // A section begins behind a fence; wrong: it is seen to begin behind a grace period
                        // by time only.
};

struct checked {
    _Atomic u64 lock[2];
    _Atomic u64 flag, there[2];
    u64 padding[3];
    u64 data;
    u8 bytes[8];
    u64 counter;
    u8 ranks[8];
    u32 preempt_count, srcu_depth, pinned;
    struct hw_context boot, thread;
    _Atomic u64 done;
    u64 program; // enum checked_program
    u64 wrong;
};
#define CHECKED ((struct checked *)(HW_ARENA_BASE + (1u << 20)))
#define CHECKED_PAGE (HW_ARENA_BASE + (2u << 20))

#endif
