// SPDX-License-Identifier: Apache-2.0
// Mapping ahead in bulk: a last-level table is filled before anybody can see it and then put into the tree.
//
// So a range costs one look-up of the host page, one walk and one lock section for each 2 MiB of it, and a
// store for each page.
#include "hv/hw/trace.h"
#include "hv/lib/string.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/x86.h"

#define ENTRIES_PER_LINE (CACHELINE_BYTES / sizeof(u64))

// Entries [first, end) map consecutive frames; `spte` is the one of `first`. By the line, as clear_page()
// works.
static void fill(u64 *spt, u64 spte, unsigned first, unsigned end)
{
    unsigned i = first;

    for (; i % ENTRIES_PER_LINE != 0 && i < end; i++, spte += PAGE_SIZE)
        spt[i] = spte;
    for (; i + ENTRIES_PER_LINE <= end; i += ENTRIES_PER_LINE, spte += ENTRIES_PER_LINE * PAGE_SIZE) {
        spt[i] = spte;
        spt[i + 1] = spte + PAGE_SIZE;
        spt[i + 2] = spte + 2 * PAGE_SIZE;
        spt[i + 3] = spte + 3 * PAGE_SIZE;
        spt[i + 4] = spte + 4 * PAGE_SIZE;
        spt[i + 5] = spte + 5 * PAGE_SIZE;
        spt[i + 6] = spte + 6 * PAGE_SIZE;
        spt[i + 7] = spte + 7 * PAGE_SIZE;
    }
    for (; i < end; i++, spte += PAGE_SIZE)
        spt[i] = spte;
}

// The first page behind what one table and f->page can map from f->gfn on.
static gfn_t end_of_table(const struct page_fault *f)
{
    u64 host_page = 1ull << f->page.page_shift;
    hva_t hva = gfn_to_hva_in(f->slot, f->gfn);
    gfn_t end = gfn_round(f->gfn, PG_LEVEL_2M) + PT64_ENTRIES;

    end = min_u64(end, f->slot->base_gfn + f->slot->npages);
    end = min_u64(end, f->gfn + ((host_page - (hva & (host_page - 1))) >> PAGE_SHIFT));
    return min_u64(end, f->ahead_end);
}

enum fault_result tdp_map_ahead(struct x86_vcpu *v, struct page_fault *f)
{
    struct vm *vm = v->vcpu.vm;
    struct mmu_vcpu *m = v->vcpu.mmu;
    gfn_t end = end_of_table(f);

    f->ahead_end = f->gfn + 1;
    if (f->level != PG_LEVEL_4K || end - f->gfn < 2)
        return tdp_map(v, f);
    unsigned level = PG_LEVEL_2M;
    u64 *sptep = tdp_walk_to(v, f->gfn, false, &level);

    if (sptep == NULL)
        return FAULT_RETRY;
    u64 old = READ_ONCE(*sptep);

    if (level != PG_LEVEL_2M || is_present(old)) // Somebody was here before: page by page.
        return tdp_map(v, f);
    struct mmu_page *sp = m->cache[m->cached - 1];
    u64 *spt = sp->spt;
    unsigned first = spte_index(f->gfn, PG_LEVEL_4K), count = (unsigned)(end - f->gfn);

    u64 spte = make_spte(vm->mmu->format, f->page.pfn, PG_LEVEL_4K, tdp_write_right(f), f->prefetch);

    fill(spt, spte, first, first + count);
    mmu_track_entries(vm, sp, first, count, spte);
    if (!tdp_link_table(v, sptep, old, f->gfn, PG_LEVEL_2M)) {
        memset(&spt[first], 0, count * sizeof(u64)); // The table stays in the cache.
        memset(sp->pw_bitmap, 0, sizeof(sp->pw_bitmap));
        return FAULT_RETRY;
    }
    __atomic_fetch_add(&vm->mmu->mapped[PG_LEVEL_4K], count, __ATOMIC_RELAXED);
    f->ahead_end = end;
    return FAULT_FIXED;
}
