// SPDX-License-Identifier: Apache-2.0
// Making pages clean: taking W, or with page-modification logging D, away, so that the next write is noticed.
#include "hv/core/arch.h"
#include "hv/core/dirty_log.h"
#include "hv/core/requests.h"
#include "hv/core/tlb_change.h"
#include "hv/hw/trace.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/spans.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/x86.h"

// The bit whose absence makes a 4 KiB leaf clean. Larger leaves always lose W: they are split before they are
// dirty.
static u64 clean_bit(struct vm *vm)
{
    return x86_host(vm->host)->caps.pml ? EPT_D : EPT_WRITE;
}

// A large leaf may become a table at any time under the lock for reading.
static bool protect_large(u64 *sptep, unsigned level)
{
    u64 old = READ_ONCE(*sptep);

    while (is_present(old) && is_leaf(old, level) && is_writable(old))
        if (__atomic_compare_exchange_n(sptep, &old, old & ~EPT_WRITE, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

// A leaf of 4 KiB stays one as long as the lock is held, for reading too; only bits of it change.
static bool make_clean(u64 *sptep, u64 bit)
{
    u64 old = READ_ONCE(*sptep);

    if ((old & (SPTE_PRESENT | bit)) != (SPTE_PRESENT | bit))
        return false;
    __atomic_fetch_and(sptep, ~bit, __ATOMIC_RELAXED);
    return true;
}

static u64 clean_run(const struct spte_run *run, u64 bit)
{
    u64 changed = 0;

    if (run->level > PG_LEVEL_4K)
        return protect_large(run->sptep, run->level);
    for (u32 i = 0; i < run->count; i++)
        changed += make_clean(&run->sptep[i], bit);
    return changed;
}

static void count_cleaned(u64 bit, u64 changed)
{
    hw_trace_count(bit == EPT_D ? "sptes_dirty_cleared" : "sptes_write_protected", changed);
}

void mmu_slot_start_log(struct vm *vm, const struct memslot *slot)
{
    const u64 bit = clean_bit(vm);
    gfn_t first = slot->base_gfn, end = first + slot->npages;
    struct spte_run run;
    u64 changed = 0;

    hw_trace_span_begin(SPAN_MMU_WRITE_PROTECT);
    read_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    if (knob(&vm->host->knobs, KNOB_MMU_EAGER_SPLIT))
        mmu_split_range(vm, first, end, true);
    while (tdp_next_run(vm, &first, end, &run)) {
        changed += clean_run(&run, bit);
        (void)mmu_yield_read(vm);
    }
    read_unlock(&vm->mmu_lock);
    count_cleaned(bit, changed);
    // Also if nothing was writable any more: whoever made it so may not have flushed yet.
    if (!tlb_flush_left_out(vm, MMU_SKIP_FLUSH_START_LOG))
        mmu_flush_remote(vm);
    tlb_change_end(vm);
    hw_trace_span_end(SPAN_MMU_WRITE_PROTECT);
}

// A log that began with all bits set left large pages alone: they are dealt with when the first of their
// parts is cleared.
static void protect_large_range(struct vm *vm, gfn_t first, gfn_t end)
{
    struct spte_run run;

    if (knob(&vm->host->knobs, KNOB_MMU_EAGER_SPLIT))
        mmu_split_range(vm, first, end, false);
    while (tdp_next_run(vm, &first, end, &run))
        if (run.level > PG_LEVEL_4K)
            (void)protect_large(run.sptep, run.level);
}

void arch_dirty_log_protect(struct vm *vm, const struct memslot *slot, u64 offset, u64 mask)
{
    const u64 bit = clean_bit(vm);
    const gfn_t base = slot->base_gfn + offset;
    u64 changed = 0;

    if (dirty_log_initially_set(vm))
        protect_large_range(vm, base + ffs64(mask), base + fls64(mask) + 1);
    while (mask != 0) {
        unsigned level, n = ffs64(mask);
        u64 *sptep = mmu_lookup(vm, base + n, &level);
        // As far as this entry or its table reaches.
        unsigned span = level == PG_LEVEL_4K ? PG_LEVEL_2M : level;
        gfn_t reach = gfn_round(base + n, span) + pages_of_level(span);
        u64 here = reach - base < 64 ? mask & ((1ull << (reach - base)) - 1) : mask;

        mask &= ~here;
        for (; level == PG_LEVEL_4K && here != 0; here &= here - 1)
            changed += make_clean(sptep + (ffs64(here) - n), bit);
    }
    count_cleaned(bit, changed);
}

void arch_dirty_log_sync(struct vm *vm)
{
    struct vcpu *vcpu;

    // Each exit empties the processor's log, so only those in the guest have one that is not empty.
    if (x86_host(vm->host)->caps.pml)
        vm_for_each_vcpu(i, vcpu, vm) vcpu_kick(vcpu);
}

u32 arch_cpu_dirty_log_entries(struct host *host)
{
    return x86_host(host)->caps.pml ? PML_ENTRIES : 0;
}
