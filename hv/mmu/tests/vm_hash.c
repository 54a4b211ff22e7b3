// SPDX-License-Identifier: Apache-2.0
#include "hv/mmu/tests/vm_hash.h"

#include "hv/core/dirty_log.h"
#include "hv/mmu/mmu.h"

// FNV-1a by words.
static u64 mix(u64 hash, u64 word)
{
    return (hash ^ word) * 0x100000001b3ull;
}

static u64 mix_slot(u64 hash, const struct memslot *s)
{
    hash = mix(mix(mix(hash, s->base_gfn), s->npages), s->hva);
    hash = mix(mix(hash, s->flags), (u64)s->as_id << 16 | s->id);
    hash = mix(hash, (u64)s->dirty_bitmap);
    for (u64 i = 0; s->dirty_bitmap != NULL && i < dirty_bitmap_bytes(s) / 8; i++)
        hash = mix(hash, s->dirty_bitmap[i]);
    return hash;
}

static u64 mix_table(struct vm *vm, u64 hash, const u64 *table, unsigned level)
{
    for (unsigned i = 0; i < PT64_ENTRIES; i++) {
        hash = mix(hash, table[i]);
        if (is_present(table[i]) && !is_leaf(table[i], level))
            hash = mix_table(vm, hash, pfn_to_va(vm->host, spte_pfn(table[i])), level - 1);
    }
    return hash;
}

u64 vm_hash(struct vm *vm)
{
    u64 hash = 0xcbf29ce484222325ull;

    for (unsigned as = 0; as < HV_ADDRESS_SPACES; as++) {
        const struct memslots *slots = vm_memslots(vm, as);

        hash = mix(mix(hash, slots->generation), slots->used);
        for (u32 i = 0; i < slots->used; i++)
            hash = mix_slot(hash, &slots->slots[i]);
    }
    hash = mix(mix(hash, vm->manual_dirty_log), vm->dirty_ring_bytes);
    hash = mix(mix(hash, vm->mmu->logging_slots), vm->mmu->page_count);
    for (u32 i = 0; i < vm->online_vcpus; i++) {
        const struct dirty_ring *ring = &vm->vcpus[i]->dirty_ring;

        hash = mix(mix(hash, ring->dirty_index), ring->reset_index);
        for (u32 e = 0; ring->entries != NULL && e < ring->entry_count; e++)
            hash = mix(mix(hash, ring->entries[e].flags), ring->entries[e].offset);
    }
    return mix_table(vm, hash, vm->mmu->root->spt, vm->mmu->root_level);
}
