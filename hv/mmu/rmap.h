// SPDX-License-Identifier: Apache-2.0
// Reverse maps: from a page of guest memory to the shadow entries that map it.
//
// Each memory slot has, for 4 KiB, 2 MiB and 1 GiB, an array with a head per page (memslot.arch_rmap): 8
// bytes, empty, or one entry's address, or a chain of descriptors. Only shadow pages need them
// (hv/mmu/shadow.h), so by default (knob mmu.rmaps) the arrays come with the VM's first shadow root.
//
// mmu->have_rmaps says that every slot has its arrays: stored with release after they are there, loaded with
// acquire before they are used. Who allocates is a vCPU inside an srcu read section, so it must not wait for
// slots_lock, whose holder waits for readers; slots_arch_lock orders it against the updater's copies of the
// slots. Heads and chains are under mmu_lock, held for writing to change them.
#ifndef HV_MMU_RMAP_H
#define HV_MMU_RMAP_H

#include "hv/core/vm.h"

struct rmap_head {
    u64 value; // 0: empty. Bit 0 clear: u64 *, the one entry. Set: struct rmap_desc * | 1.
};
#define RMAP_DESC_ENTRIES 14u
// Only the first of a chain has room.
struct rmap_desc {
    struct rmap_desc *more;
    u64 count;
    u64 *sptes[RMAP_DESC_ENTRIES];
};

// Adds an entry. *spare: a descriptor, used up (set to NULL) if one is needed.
void rmap_add(struct rmap_head *head, u64 *sptep, struct rmap_desc **spare);
// Removes an entry that is there.
void rmap_remove(struct host *host, struct rmap_head *head, u64 *sptep);
static inline bool rmap_empty(const struct rmap_head *head)
{
    return head->value == 0;
}
// Any entry of a head that is not empty.
u64 *rmap_any(const struct rmap_head *head);
// Walks a head; it must not change meanwhile.
struct rmap_iterator {
    const struct rmap_desc *desc;
    u64 index;
};
u64 *rmap_first(const struct rmap_head *head, struct rmap_iterator *it);
u64 *rmap_next(struct rmap_iterator *it);

// The head of a page; NULL: the slot has no arrays.
struct rmap_head *gfn_to_rmap(const struct memslot *slot, gfn_t gfn, unsigned level);
// Does every slot have its arrays?
bool vm_have_rmaps(struct vm *vm);
// Gives a slot what it lacks. 0 or -ENOMEM; what was there stays. slots_arch_lock, or the slot is not
// published.
int rmap_alloc_slot(struct vm *vm, struct memslot *slot);
// Frees the arrays of `slot` that `keep` (may be NULL) does not have too.
void rmap_free_slot(struct vm *vm, struct memslot *slot, const struct memslot *keep);
// Before a vCPU's first use of shadow pages, inside its srcu section; may sleep. 0 or -ENOMEM (to be tried
// again).
int mmu_alloc_rmaps(struct vm *vm);

#endif
