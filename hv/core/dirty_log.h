// SPDX-License-Identifier: Apache-2.0
// Which pages of a memory slot were written since user space asked last (HV_MEM_LOG_DIRTY_PAGES).
//
// A bitmap per slot, or one ring per vCPU (hv/core/dirty_ring.h). A bit is set after the page became
// writable, and fetched and cleared before it is protected again, so that a write is in this round's bitmap
// or in the next one's. The call returns only when no processor has a translation left that could write past
// the protection.
#ifndef HV_CORE_DIRTY_LOG_H
#define HV_CORE_DIRTY_LOG_H

#include "hv/core/memslots.h"
#include "hv/hw/trace.h"

// Bytes of the words for one bit per page.
u64 dirty_bitmap_bytes(const struct memslot *slot);
// The slot's dirty_bitmap for what `new` asks of `old`; 0 or -ENOMEM. dirty_bitmap_free() of whichever of the
// two slots lost undoes or ends it.
int dirty_bitmap_prepare(struct vm *vm, const struct memslot *old, struct memslot *new);
void dirty_bitmap_free(struct vm *vm, struct memslot *slot);

static inline bool slot_logs_dirty(const struct memslot *slot)
{
    return (slot->flags & HV_MEM_LOG_DIRTY_PAGES) != 0;
}
// Logging begins with every bit set (HV_DIRTY_LOG_INITIALLY_SET): pages are protected only when user space
// clears.
bool dirty_log_initially_set(const struct vm *vm);

// A page was written, or became writable; `method`: how that was noticed. `vcpu`: the one that the calling
// thread has loaded, or NULL. Inside vm->srcu.
void mark_page_dirty_in_slot(struct vm *vm, struct vcpu *vcpu, const struct memslot *slot, gfn_t gfn,
                             enum hw_dirty_method method);
// The same for the core's own writes, in address space 0.
void mark_page_dirty(struct vm *vm, gfn_t gfn);
// mmu_lock as arch_dirty_log_protect() wants it: for writing if true is returned, which unlock wants to know.
bool dirty_log_lock(struct vm *vm);
void dirty_log_unlock(struct vm *vm, bool exclusive);

// HV_GET_DIRTY_LOG. -ENXIO: the VM has rings. -EINVAL: slot number. -ENOENT: no such slot, or it does not
// log. -EFAULT.
s64 dirty_log_get(struct vm *vm, const struct hv_dirty_log *log);
// HV_CLEAR_DIRTY_LOG. As above; -EINVAL also for first_page not a multiple of 64, a range beyond the slot,
// and num_pages neither a multiple of 64 nor up to the slot's end.
s64 dirty_log_clear(struct vm *vm, const struct hv_clear_dirty_log *log);
// HV_CAP_MANUAL_DIRTY_LOG_PROTECT2: -EINVAL for unknown options, or INITIALLY_SET alone.
int dirty_log_enable_manual(struct vm *vm, u64 options);

#endif
