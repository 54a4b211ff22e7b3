// SPDX-License-Identifier: Apache-2.0
// Memory slots: which host virtual memory stands behind which guest physical memory.
#ifndef HV_CORE_MEMSLOTS_H
#define HV_CORE_MEMSLOTS_H

#include "hv/api.h"
#include "hv/core/hostmm.h"

struct vm;
struct vcpu;

#define HV_ADDRESS_SPACES 2u // 0: normal, 1: system-management mode.
#define HV_PRIVATE_MEMSLOTS 3u
#define HV_MEMSLOTS (HV_USER_MEMSLOTS + HV_PRIVATE_MEMSLOTS)
// Kernel-only flag in bits 31:16.
#define MEMSLOT_INVALID 0x10000u
#define MEMSLOT_GEN_UPDATE_IN_PROGRESS (1ull << 63)
// Levels of page sizes that per-slot arrays exist for: 4 KiB, 2 MiB, 1 GiB.
#define MEMSLOT_LEVELS 3u

struct memslot {
    gfn_t base_gfn;
    u64 npages;
    hva_t hva;
    u64 *dirty_bitmap; // Of HV_MEM_LOG_DIRTY_PAGES (hv/core/dirty_log.h); NULL with dirty rings.
    void *arch_rmap[MEMSLOT_LEVELS];  // hv/mmu's: per page of each size, where it is mapped.
    void *arch_lpage[MEMSLOT_LEVELS]; // hv/mmu's: per large page, why it may not be one.
    u32 flags;
    u16 id;
    u16 as_id;
};

// One published version; immutable but for last_used, and for arch_rmap under slots_arch_lock. Slots in use
// stand sorted by base_gfn, highest first.
struct memslots {
    u64 generation; // Bit 63: an update is in progress. Even when idle; address spaces differ in bit 0.
    u32 used;
    u32 last_used;                // Index hint, racy by design.
    u16 id_to_index[HV_MEMSLOTS]; // MEMSLOT_NO_INDEX: not in use.
    struct memslot slots[HV_MEMSLOTS];
};
#define MEMSLOT_NO_INDEX 0xffffu

enum memslot_change { MEMSLOT_CREATE, MEMSLOT_DELETE, MEMSLOT_MOVE, MEMSLOT_FLAGS_ONLY };

// 0 or -ENOMEM; and the opposite.
int memslots_init(struct vm *vm);
void memslots_destroy(struct vm *vm);

// HV_SET_USER_MEMORY_REGION, by the rules of KVM's: -EINVAL unknown flag; size, address or hva not page
// aligned; as_id or slot out of range; gpa + size wraps or beyond the guest-physical width; too many pages;
// resize; change of hva or read-only flag; deletion of an empty slot. -EEXIST overlap in the same address
// space; -ENOMEM. Nothing changes on error. Waits for readers: not in an srcu section.
int set_memory_region(struct vm *vm, const struct hv_user_memory_region *region);
// The same for slots of the kernel's own (ids from HV_USER_MEMSLOTS); slots_lock held.
int set_memory_region_locked(struct vm *vm, const struct hv_user_memory_region *region);

// Readers hold vm->srcu (or slots_lock).
static inline bool memslot_contains(const struct memslot *slot, gfn_t gfn)
{
    return gfn - slot->base_gfn < slot->npages;
}
struct memslots *vm_memslots(struct vm *vm, unsigned as_id);
// Slot of gfn; NULL: none. May be MEMSLOT_INVALID while it is being deleted: treat as absent for new
// mappings.
struct memslot *gfn_to_memslot(struct memslots *slots, gfn_t gfn);
// The same through the vCPU's own last-used hint, in its current address space.
struct memslot *vcpu_gfn_to_memslot(struct vcpu *vcpu, gfn_t gfn);
struct memslot *id_to_memslot(struct memslots *slots, u32 id);
static inline hva_t gfn_to_hva_in(const struct memslot *slot, gfn_t gfn)
{
    return slot->hva + ((gfn - slot->base_gfn) << PAGE_SHIFT);
}

// Guest memory by physical address through the slots of address space 0. 0 or -EFAULT (no slot, or read-only
// and writing).
int vm_read_guest(struct vm *vm, gpa_t gpa, void *to, u64 bytes);
// A page of guest memory if the host has it, else NULL; does not sleep. Others change it, and the host may
// take it back: what is read is a hint.
const void *vm_guest_page_fast(struct vm *vm, gfn_t gfn);
int vm_write_guest(struct vm *vm, gpa_t gpa, const void *from, u64 bytes);
// If `bytes` (1, 2, 4, 8; aligned) at gpa hold *expected they become `value`, in one step. 0; -1: they held
// something else, now in *expected; -EFAULT: no memory there, or it may not be written.
int vm_cmpxchg_guest(struct vm *vm, gpa_t gpa, u64 *expected, u64 value, unsigned bytes);

#endif
