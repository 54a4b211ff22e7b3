// SPDX-License-Identifier: Apache-2.0
// Write-protecting a whole VM at once (knob mmu.dirty_start = write_protect_all; catalogue 000-A).
//
// The VM has a generation, and every table the generation at which what it maps was made clean. To protect
// everything the generation moves on and only the root's entries lose their write permission: whoever writes
// faults at the top. That fault pushes the protection down along the address it wrote to, a table at a time,
// and gives the permission back above: so a table is paid for when something in it is first written.
//
//   entry is writable  =>  the table below it is of the VM's generation
//
// Which entries of a table need the work stands in its pw_bitmap: those that are writable or that somebody
// may make writable without mmu_lock ("possibly writable"). Generations, and permissions above leaves, change
// under mmu_lock held for writing only.
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"
#include "hv/mmu/mmu.h"

bool mmu_tracks_writable(const struct mmu_vm *mmu)
{
    return mmu->dirty_start == MMU_DIRTY_START_WRITE_PROTECT_ALL;
}

struct mmu_page *mmu_page_of(const struct vm *vm, const u64 *sptep)
{
    u64 pfn = va_to_hpa(vm->host, sptep).v >> PAGE_SHIFT;

    return vm->mmu->root->spt == (u64 *)((u64)sptep & PAGE_MASK) ? vm->mmu->root
                                                                 : xa_load(&vm->mmu->page_of_pfn, pfn);
}

static void name_entry(const struct vm *vm, const u64 *sptep)
{
    struct mmu_page *sp = mmu_page_of(vm, sptep);
    unsigned index = (unsigned)(sptep - sp->spt);

    if (!bitmap_test(sp->pw_bitmap, index))
        set_bit_atomic(sp->pw_bitmap, index);
}

static bool is_possibly_writable(const struct mmu_vm *mmu, u64 spte)
{
    return is_writable(spte) || (mmu->pw_track == MMU_PW_TRACK_POSSIBLE && is_mmu_writable(spte));
}

void mmu_track_entry(struct vm *vm, const u64 *sptep, u64 spte)
{
    if (mmu_tracks_writable(vm->mmu) && is_possibly_writable(vm->mmu, spte))
        name_entry(vm, sptep);
}

void mmu_track_table(struct vm *vm, const u64 *sptep, struct mmu_page *sp)
{
    if (!mmu_tracks_writable(vm->mmu))
        return;
    sp->wp_gen = mmu_page_of(vm, sptep)->wp_gen;
    name_entry(vm, sptep);
}

void mmu_track_entries(struct vm *vm, struct mmu_page *sp, unsigned first, unsigned count, u64 spte)
{
    if (mmu_tracks_writable(vm->mmu) && is_possibly_writable(vm->mmu, spte))
        bitmap_fill_range(sp->pw_bitmap, first, count);
}

// What a leaf must lose to be clean. A large one always loses its permission: pages are logged by 4 KiB.
static u64 leaf_mask(const struct mmu_vm *mmu, unsigned level)
{
    return mmu->log_by_dirty && level == PG_LEVEL_4K ? mmu->format.dirty : EPT_WRITE;
}

// Makes one possibly writable entry clean; true: it lost something. Without permission, and with nobody to
// give it behind our back, it is no longer possibly writable. Leaves that the lock-less fault path may make
// writable stay named, unless only actual permissions count.
static bool protect_entry(const struct mmu_vm *mmu, struct mmu_page *sp, unsigned index)
{
    u64 *sptep = &sp->spt[index], spte = READ_ONCE(*sptep);
    bool leaf = is_leaf(spte, sp->level);
    u64 mask = leaf ? leaf_mask(mmu, sp->level) : EPT_WRITE;

    if (!is_present(spte) || !leaf || (mmu->pw_track == MMU_PW_TRACK_ACTUAL && mask == EPT_WRITE))
        clear_bit_atomic(sp->pw_bitmap, index);
    if (!is_present(spte) || (spte & mask) == 0)
        return false;
    __atomic_fetch_and(sptep, ~mask, __ATOMIC_RELAXED);
    return true;
}

static u64 protect_table(struct vm *vm, struct mmu_page *sp)
{
    u64 changed = 0;

    for (unsigned w = 0; w < ARRAY_COUNT(sp->pw_bitmap); w++)
        for (u64 word = READ_ONCE(sp->pw_bitmap[w]); word != 0; word &= word - 1)
            changed += protect_entry(vm->mmu, sp, w * 64 + ffs64(word));
    sp->wp_gen = vm->mmu->wp_gen;
    return changed;
}

bool mmu_write_protect_all(struct vm *vm)
{
    const struct mmu_page *root = vm->mmu->root;

    // Nothing was written since the last time: everything is protected still.
    if (vm->mmu->wp_gen != 0 && bitmap_find_set(root->pw_bitmap, PT64_ENTRIES, 0) == PT64_ENTRIES)
        return false;
    WRITE_ONCE(vm->mmu->wp_gen, vm->mmu->wp_gen + 1);
    hw_trace_count("spte_wp", protect_table(vm, vm->mmu->root));
    return true;
}

// Level of the highest table entry on gfn's path that may not be written through; 0: none.
static unsigned protected_level(const struct vm *vm, gfn_t gfn)
{
    const u64 *table = vm->mmu->root->spt;

    for (unsigned l = vm->mmu->root_level; l > PG_LEVEL_4K; l--) {
        u64 spte = load_acquire(&table[spte_index(gfn, l)]);

        if (!is_present(spte) || is_leaf(spte, l))
            return 0;
        if ((spte & EPT_WRITE) == 0)
            return l;
        table = pfn_to_va(vm->host, spte_pfn(spte));
    }
    return 0;
}

bool mmu_must_push_down(const struct vm *vm, gfn_t gfn)
{
    return READ_ONCE(vm->mmu->wp_gen) != 0 && protected_level(vm, gfn) != 0;
}

void mmu_push_down(struct vm *vm, gfn_t gfn)
{
    static const char *const counters[] = {
        [PG_LEVEL_4K] = "pushdown.1", [2] = "pushdown.2", [3] = "pushdown.3", [4] = "pushdown.4"};
    struct mmu_page *sp = vm->mmu->root;

    for (unsigned l = vm->mmu->root_level; l > PG_LEVEL_4K; l--) {
        u64 *sptep = &sp->spt[spte_index(gfn, l)];
        u64 spte = READ_ONCE(*sptep);

        if (!is_present(spte) || is_leaf(spte, l))
            return;
        struct mmu_page *child = mmu_page_of(vm, pfn_to_va(vm->host, spte_pfn(spte)));

        if (child->wp_gen != vm->mmu->wp_gen) {
            hw_trace_count("spte_wp_pushed", protect_table(vm, child));
            hw_trace_count(counters[l - 1], 1);
        }
        if ((spte & EPT_WRITE) == 0) {
            name_entry(vm, sptep);
            __atomic_fetch_or(sptep, EPT_WRITE, __ATOMIC_RELAXED);
        }
        sp = child;
    }
}
