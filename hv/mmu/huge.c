// SPDX-License-Identifier: Apache-2.0
// Large pages and dirty logging: a log counts by 4 KiB, so large leaves are split while it runs and put
// together again when it has ended.
#include "hv/core/dirty_log.h"
#include "hv/core/requests.h"
#include "hv/core/tlb_change.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/mmu/mmu.h"

bool tdp_split(struct vm *vm, u64 *sptep, u64 huge, struct mmu_page *sp, gfn_t gfn, unsigned level)
{
    for (unsigned i = 0; i < PT64_ENTRIES; i++)
        sp->spt[i] = make_split_spte(huge, level, i);
    mmu_track_entries(vm, sp, 0, PT64_ENTRIES, sp->spt[0]);
    // No flush: translations of the large page and of its parts are the same.
    if (!tdp_attach(vm, sptep, huge, sp, gfn, level)) {
        clear_page(sp->spt); // Empty, as it came.
        memset(sp->pw_bitmap, 0, sizeof(sp->pw_bitmap));
        return false;
    }
    __atomic_fetch_sub(&vm->mmu->mapped[level], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&vm->mmu->mapped[level - 1], PT64_ENTRIES, __ATOMIC_RELAXED);
    hw_trace(TP_KVM_MMU_SPLIT_HUGE_PAGE, gfn_round(gfn, level), huge, level, 0, 0, 0);
    hw_trace_count("huge_page_splits", 1);
    return true;
}

bool mmu_yield_read(struct vm *vm)
{
    if (likely(!need_resched() && !rwlock_is_contended(&vm->mmu_lock)))
        return false;
    read_unlock(&vm->mmu_lock);
    cond_resched();
    read_lock(&vm->mmu_lock);
    return true;
}

void mmu_split_range(struct vm *vm, gfn_t first, gfn_t end, bool yield)
{
    struct mmu_page *spare = NULL;
    struct spte_run run;

    while (tdp_next_run(vm, &first, end, &run)) {
        u64 spte = READ_ONCE(*run.sptep);

        if (run.level > PG_LEVEL_4K && is_present(spte) && is_leaf(spte, run.level)) {
            if (spare == NULL)
                spare = mmu_page_alloc(vm->host);
            if (spare == NULL) {
                // What stays large is split by the fault of its first write.
                hw_trace(TP_KVM_MMU_SPLIT_HUGE_PAGE, run.gfn, spte, run.level, ENOMEM, 0, 0);
                return;
            }
            if (tdp_split(vm, run.sptep, spte, spare, run.gfn, run.level))
                spare = NULL;
            first = run.gfn; // Its parts may be large as well, or somebody changed it meanwhile.
        }
        if (yield)
            (void)mmu_yield_read(vm);
    }
    if (spare != NULL)
        mmu_page_free(vm->host, spare);
}

// --- Back together. mmu_lock held for writing.

// A leaf in the tree of tables below `spte`, an entry of `level`; 0: there is none.
static u64 first_leaf(struct vm *vm, u64 spte, unsigned level)
{
    const u64 *table = pfn_to_va(vm->host, spte_pfn(spte));

    for (u32 i = 0; i < PT64_ENTRIES; i++) {
        u64 child = READ_ONCE(table[i]);

        if (!is_present(child))
            continue;
        if (is_leaf(child, level - 1))
            return child;
        child = first_leaf(vm, child, level - 1);
        if (child != 0)
            return child;
    }
    return 0;
}

// May [gfn_round(gfn, level), ...) be one page? Then the host's page is as large, and any leaf in it tells
// where it is.
static bool may_be_large(struct vm *vm, const struct memslot *slot, gfn_t gfn, unsigned level)
{
    struct user_page page;

    return get_user_page_fast(vm->mm, gfn_to_hva_in(slot, gfn), true, &page) &&
           mmu_mapping_level(vm->mmu, slot, gfn, page.page_shift) >= level;
}

static bool collapse(struct vm *vm, u64 *sptep, gfn_t gfn, unsigned level, struct list *doomed)
{
    u64 table = *sptep, leaf = first_leaf(vm, table, level);

    if (leaf == 0)
        return false;
    u64 huge = make_collapsed_spte(vm->mmu->format, leaf, level);

    mmu_track_entry(vm, sptep, huge);
    __atomic_store_n(sptep, huge, __ATOMIC_RELEASE);
    tdp_detach(vm, table, level, doomed);
    vm->mmu->mapped[level]++;
    hw_trace(TP_KVM_MMU_SPTE_SET, gfn_round(gfn, level), level, table, huge, 0, 0);
    hw_trace_count("huge_page_collapses", 1);
    return true;
}

// Looks at the tables on the path to gfn, largest first. Returns where to go on.
static gfn_t collapse_at(struct vm *vm, const struct memslot *slot, gfn_t gfn, struct list *doomed)
{
    u64 *table = vm->mmu->root->spt;

    for (unsigned level = vm->mmu->root_level; level > PG_LEVEL_4K; level--) {
        u64 *sptep = &table[spte_index(gfn, level)];
        gfn_t next = gfn_round(gfn, level) + pages_of_level(level);

        if (!is_present(*sptep) || is_leaf(*sptep, level))
            return next;
        if (level <= vm->mmu->max_level && may_be_large(vm, slot, gfn, level) &&
            collapse(vm, sptep, gfn, level, doomed))
            return next;
        table = pfn_to_va(vm->host, spte_pfn(*sptep));
    }
    return gfn_round(gfn, PG_LEVEL_2M) + PT64_ENTRIES;
}

void mmu_collapse_slot(struct vm *vm, const struct memslot *slot)
{
    gfn_t gfn = slot->base_gfn, end = gfn + slot->npages;

    while (gfn < end) {
        struct list doomed;

        list_init(&doomed);
        write_lock(&vm->mmu_lock);
        tlb_change_begin(vm);
        do
            gfn = collapse_at(vm, slot, gfn, &doomed);
        while (gfn < end && !need_resched() && !rwlock_is_contended(&vm->mmu_lock));
        // Paging-structure caches still name the tables.
        if (!list_empty(&doomed) && !tlb_flush_left_out(vm, MMU_SKIP_FLUSH_COLLAPSE))
            mmu_flush_remote(vm);
        tlb_change_end(vm);
        write_unlock(&vm->mmu_lock);
        mmu_free_list(vm->host, &doomed);
        cond_resched();
    }
}
