// SPDX-License-Identifier: Apache-2.0
// What software tells of itself to whoever validates it: who owns memory, who holds which lock.
//
// The simulator's counterpart of what KASAN and lockdep compile into a kernel. Notes cost nothing: the calls
// and the computation of their arguments are left out of the code's price, as those of the compiler's hooks
// are, and nobody reads anything back. Arguments are what is at hand; a note must not load memory for them.
#ifndef HV_HW_NOTE_H
#define HV_HW_NOTE_H

#include "hv/hw/types.h"

// An object of the heap: `bytes` at `p` may be used, of `room_bytes` that its class has. Before its first
// use.
void hw_note_alloc(const void *p, u64 bytes, u64 room_bytes);
// Nobody may use it any more. After the allocator's own last access to it.
void hw_note_free(const void *p, u64 room_bytes);
// Pages from `p` on have an owner from now on (a number other than 0), `content`: what guests put there; or
// are free (0), as far as the allocator's own 16 bytes at the head of a block are not concerned.
void hw_note_pages(const void *p, u64 bytes, u32 owner, bool content);

enum hw_note_lock {
    HW_NOTE_LOCK_WANTED,   // The thread waits for it from here on, if it must.
    HW_NOTE_LOCK_TAKEN,    // It has it.
    HW_NOTE_LOCK_RELEASED, // About to give it up.
};
enum hw_note_mode {
    HW_NOTE_EXCLUSIVE,
    HW_NOTE_SHARED,
    HW_NOTE_SLEEPING, // Exclusive; who has it may sleep
};
// `rank`: where its rank stands; locks nest by rising ranks.
void hw_note_lock(const void *lock, enum hw_note_lock what, enum hw_note_mode mode, const u8 *rank);

enum hw_note_srcu {
    HW_NOTE_SRCU_BEGIN, // A read section, of epoch `index`
    HW_NOTE_SRCU_END,
    HW_NOTE_SRCU_SYNC,   // Waits for every section ...
    HW_NOTE_SRCU_SYNCED, // ... and has done so.
};
void hw_note_srcu(const void *srcu, enum hw_note_srcu what, u32 index);
// On the way back to user mode: where the thread's preemption and SRCU depths stand, both 0.
void hw_note_user_return(const u32 *preempt_count, const u32 *srcu_depth);
// Software goes by which processor it runs on: the thread whose count is given must stay there. `pinned`:
// where it must run anyway, UINT32_MAX if anywhere.
void hw_note_this_cpu(const u32 *preempt_count, const u32 *pinned);

#endif
