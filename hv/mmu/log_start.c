// SPDX-License-Identifier: Apache-2.0
// Dirty logging begins: from now on every first write to a page of the slot must be noticed (knob
// mmu.dirty_start).
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/spans.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/x86.h"

struct cleaning {
    struct vm *vm;
    gfn_t first, end;
    u64 mask; // Bit that a noticed write needs to find clear: dirty, or writable.
    u64 leaves;
};

// The lock-less processor sets accessed and dirty bits at any time: only locked updates lose none.
static u64 clean_leaves(u64 *spt, unsigned first, unsigned end, u64 mask)
{
    u64 count = 0;

    for (unsigned i = first; i < end; i++) {
        if ((READ_ONCE(spt[i]) & mask) == 0)
            continue;
        __atomic_fetch_and(&spt[i], ~mask, __ATOMIC_RELAXED);
        count++;
    }
    return count;
}

static void clean_table(struct cleaning *c, u64 *spt, gfn_t base, unsigned level)
{
    u64 span = pages_of_level(level);
    unsigned first = c->first > base ? (unsigned)((c->first - base) / span) : 0;
    unsigned end = (unsigned)min_u64(PT64_ENTRIES, (c->end - base + span - 1) / span);

    if (level == PG_LEVEL_4K) {
        c->leaves += clean_leaves(spt, first, end, c->mask);
        return;
    }
    for (unsigned i = first; i < end; i++) {
        u64 spte = READ_ONCE(spt[i]);

        if (is_present(spte) && !is_leaf(spte, level))
            clean_table(c, pfn_to_va(c->vm->host, spte_pfn(spte)), base + i * span, level - 1);
    }
}

static u64 clean_slot(struct vm *vm, const struct memslot *slot)
{
    struct cleaning c = {.vm = vm,
                         .first = slot->base_gfn,
                         .end = slot->base_gfn + slot->npages,
                         .mask = vm->mmu->log_by_dirty ? vm->mmu->format.dirty : EPT_WRITE};

    clean_table(&c, vm->mmu->root->spt, 0, PG_LEVEL_ROOT);
    return c.leaves;
}

void mmu_log_start(struct vm *vm, const struct memslot *slot)
{
    bool flush = true;

    write_lock(&vm->mmu_lock);
    hw_trace_span_begin(SPAN_MMU_LOG_START);
    if (mmu_tracks_writable(vm->mmu))
        flush = mmu_write_protect_all(vm);
    else
        hw_trace_count(vm->mmu->log_by_dirty ? "spte_clear_d" : "spte_clear_w", clean_slot(vm, slot));
    if (flush)
        flush_remote_tlbs(vm);
    hw_trace_span_end(SPAN_MMU_LOG_START);
    write_unlock(&vm->mmu_lock);
}
