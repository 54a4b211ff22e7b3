// SPDX-License-Identifier: Apache-2.0
#include "hv/mmu/rmap.h"

#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/lib/string.h"
#include "hv/mmu/shadow.h"

// --- Chains.

#define DESC_TAG 1ull

static struct rmap_desc *first_desc(const struct rmap_head *head)
{
    return (struct rmap_desc *)(head->value & ~DESC_TAG);
}

static struct rmap_desc *push_desc(struct rmap_head *head, struct rmap_desc **spare, struct rmap_desc *more)
{
    struct rmap_desc *d = *spare;

    HV_ASSERT(d != NULL);
    *spare = NULL;
    d->more = more;
    d->count = 0;
    head->value = (u64)d | DESC_TAG;
    return d;
}

void rmap_add(struct rmap_head *head, u64 *sptep, struct rmap_desc **spare)
{
    struct rmap_desc *d;

    if (head->value == 0) {
        head->value = (u64)sptep;
        return;
    }
    if ((head->value & DESC_TAG) == 0) {
        u64 *single = (u64 *)head->value;

        d = push_desc(head, spare, NULL);
        d->sptes[d->count++] = single;
    } else {
        d = first_desc(head);
        if (d->count == RMAP_DESC_ENTRIES)
            d = push_desc(head, spare, d);
    }
    d->sptes[d->count++] = sptep;
}

// The last entry of the first descriptor fills the hole, so that only that one ever has room.
static void fill_hole(struct host *host, struct rmap_head *head, struct rmap_desc *d, u64 at)
{
    struct rmap_desc *first = first_desc(head);

    d->sptes[at] = first->sptes[--first->count];
    if (first->count != 0)
        return;
    head->value = first->more != NULL ? (u64)first->more | DESC_TAG : 0;
    kfree(host, first, sizeof(*first));
}

void rmap_remove(struct host *host, struct rmap_head *head, u64 *sptep)
{
    if (head->value == (u64)sptep) {
        head->value = 0;
        return;
    }
    HV_ASSERT((head->value & DESC_TAG) != 0);
    for (struct rmap_desc *d = first_desc(head); d != NULL; d = d->more)
        for (u64 i = 0; i < d->count; i++)
            if (d->sptes[i] == sptep) {
                fill_hole(host, head, d, i);
                return;
            }
    HV_PANIC("a shadow entry is missing in its reverse map");
}

u64 *rmap_any(const struct rmap_head *head)
{
    return head->value & DESC_TAG ? first_desc(head)->sptes[0] : (u64 *)head->value;
}

u64 *rmap_first(const struct rmap_head *head, struct rmap_iterator *it)
{
    it->desc = head->value & DESC_TAG ? first_desc(head) : NULL;
    it->index = 0;
    return it->desc != NULL ? it->desc->sptes[0] : (u64 *)head->value;
}

u64 *rmap_next(struct rmap_iterator *it)
{
    if (it->desc == NULL)
        return NULL;
    if (++it->index == it->desc->count) {
        it->desc = it->desc->more;
        it->index = 0;
    }
    return it->desc != NULL ? it->desc->sptes[it->index] : NULL;
}

// --- Arrays.

static u64 index_of(const struct memslot *slot, gfn_t gfn, unsigned level)
{
    unsigned shift = (level - 1) * PT64_LEVEL_BITS;

    return (gfn >> shift) - (slot->base_gfn >> shift);
}

static u64 array_bytes(const struct memslot *slot, unsigned level)
{
    return (index_of(slot, slot->base_gfn + slot->npages - 1, level) + 1) * sizeof(struct rmap_head);
}

struct rmap_head *gfn_to_rmap(const struct memslot *slot, gfn_t gfn, unsigned level)
{
    struct rmap_head *array = READ_ONCE(slot->arch_rmap[level - 1]);

    return array != NULL ? &array[index_of(slot, gfn, level)] : NULL;
}

bool vm_have_rmaps(struct vm *vm)
{
    return load_acquire(&vm->mmu->have_rmaps);
}

// Cleared by hand: memory that the allocator knows to be zero would cost nothing here, and everything on
// silicon.
static void *alloc_cleared(struct host *host, u64 bytes)
{
    char *p = kmalloc(host, bytes);

    for (u64 at = 0; p != NULL && at < bytes; at += PAGE_SIZE) {
        if (bytes - at < PAGE_SIZE)
            memset(p + at, 0, bytes - at);
        else
            clear_page(p + at);
        cond_resched();
    }
    return p;
}

int rmap_alloc_slot(struct vm *vm, struct memslot *slot)
{
    for (unsigned level = PG_LEVEL_4K; level <= MEMSLOT_LEVELS; level++) {
        u64 bytes = array_bytes(slot, level);

        if (slot->arch_rmap[level - 1] != NULL)
            continue;
        void *array = alloc_cleared(vm->host, bytes);

        if (array == NULL)
            return -ENOMEM;
        WRITE_ONCE(slot->arch_rmap[level - 1], array);
        hw_trace_count("mem.rmap_bytes", bytes);
    }
    return 0;
}

void rmap_free_slot(struct vm *vm, struct memslot *slot, const struct memslot *keep)
{
    for (unsigned level = PG_LEVEL_4K; level <= MEMSLOT_LEVELS; level++) {
        void *array = slot->arch_rmap[level - 1];

        if (array == NULL || (keep != NULL && keep->arch_rmap[level - 1] == array))
            continue;
        kfree(vm->host, array, array_bytes(slot, level));
        slot->arch_rmap[level - 1] = NULL;
    }
}

static int alloc_all(struct vm *vm)
{
    for (unsigned as = 0; as < HV_ADDRESS_SPACES; as++) {
        struct memslots *slots = vm->memslots[as];

        for (u32 i = 0; i < slots->used; i++) {
            int result = rmap_alloc_slot(vm, &slots->slots[i]);

            if (result != 0)
                return result; // What is there waits for the next try.
        }
    }
    return shadow_vm_create(vm);
}

static int first_shadow_root(struct vm *vm)
{
    bool ordered = knob(&vm->host->knobs, KNOB_MMU_RMAPS) != MMU_RMAPS_LAZY_NORELEASE;

    hw_trace_span_begin(SPAN_RMAP_ALLOC);
    int result = alloc_all(vm);

    hw_trace_span_end(SPAN_RMAP_ALLOC);
    if (result != 0)
        return result;
    // After the arrays: whoever sees it uses them without a lock.
    if (ordered)
        store_release(&vm->mmu->have_rmaps, true);
    else
        WRITE_ONCE(vm->mmu->have_rmaps, true);
    return 0;
}

int mmu_alloc_rmaps(struct vm *vm)
{
    int result = 0;

    if (vm_have_rmaps(vm))
        return 0;
    mutex_lock(&vm->slots_arch_lock);
    if (!READ_ONCE(vm->mmu->have_rmaps))
        result = first_shadow_root(vm);
    else if (knob(&vm->host->knobs, KNOB_MMU_RMAPS) == MMU_RMAPS_LAZY_LOCKLEAK)
        return 0; // As first posted: another vCPU was faster, and nobody unlocks.
    mutex_unlock(&vm->slots_arch_lock);
    return result;
}
