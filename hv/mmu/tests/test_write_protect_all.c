// SPDX-License-Identifier: Apache-2.0
// Mapping ahead in bulk, and how dirty logging starts: page by page or at the root (catalogue 000-A).
#include "hv/mmu/tests/mmu_fixture.h"

#define MIB (1ull << 20)
#define MEMORY (16 * MIB)
#define TABLES 8u // Last-level ones.

static struct knobs knobs;

static int with_4k_pages(u64 dirty_start, bool ad, u64 pw_track, void (*body)(void))
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_MMU_MAX_PAGE] = MMU_MAX_PAGE_4K;
    knobs.v[KNOB_MMU_DIRTY_START] = dirty_start;
    knobs.v[KNOB_MMU_PW_TRACK] = pw_track;
    knobs.v[KNOB_X86_EPT_AD] = ad;
    return with_vm(
        &(struct test_vm_options){.memory_bytes = MEMORY, .page_shift = PAGE_SHIFT + 9, .knobs = &knobs},
        body);
}

// The entry of `level` on gfn's path.
static u64 *entry(gfn_t gfn, unsigned level)
{
    u64 *table = vm_of()->mmu->root->spt;

    for (unsigned l = vm_of()->mmu->root_level; l > level; l--)
        table = pfn_to_va(vm_of()->host, spte_pfn(table[spte_index(gfn, l)]));
    return &table[spte_index(gfn, level)];
}

// --- Bulk.

static void maps_the_same(void)
{
    unsigned level;

    fault(3 << 12, QUAL_EPT_WRITE); // A table that is there already is completed page by page.
    prefault(1 << 12, 2045ull << 12);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 2045);
    EXPECT_EQ(vm_of()->mmu->page_count, 2 + 4);
    EXPECT_FALSE(is_present(spte_at(0, &level)));
    EXPECT_EQ(level, PG_LEVEL_4K);
    EXPECT_FALSE(is_present(spte_at(2046, &level)));
    for (gfn_t gfn = 1; gfn < 2046; gfn++) {
        u64 page = (u64)hv_syscall(HV_SYS_TOUCH, t.memory + (gfn << 12), 1, 0, 0),
            spte = spte_at(gfn, &level);

        ASSERT_EQ(level, PG_LEVEL_4K);
        ASSERT_EQ((u64)pfn_to_va(vm_of()->host, spte_pfn(spte)), page);
        ASSERT_EQ(spte & (EPT_RWX | EPT_D | SPTE_PRESENT), EPT_RWX | EPT_D | SPTE_PRESENT);
        ASSERT_EQ(spte & EPT_A, gfn == 3 ? EPT_A : 0);
    }
    mmu_zap_all(vm_of());
    EXPECT_EQ(vm_of()->mmu->page_count, 0);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 0);
}
TEST(Bulk, MapsWhatPagesOneByOneWouldHaveMapped)
{
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, true, 0, maps_the_same), 0);
}

// --- Starting to log.

static void set_logging(bool on)
{
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *region = (struct hv_user_memory_region){
        .flags = on ? HV_MEM_LOG_DIRTY_PAGES : 0, .memory_size = MEMORY, .userspace_addr = t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
}

// Leaves of the table of gfn that have one of the bits.
static unsigned leaves_with(gfn_t gfn, u64 bits)
{
    const u64 *table = entry(gfn_round(gfn, PG_LEVEL_2M), PG_LEVEL_4K);
    unsigned count = 0;

    for (unsigned i = 0; i < PT64_ENTRIES; i++)
        count += (table[i] & bits) != 0;
    return count;
}

static void per_page(void)
{
    u64 clean = vm_of()->mmu->log_by_dirty ? EPT_D : EPT_WRITE;

    prefault(0, MEMORY);
    set_logging(true);
    for (unsigned i = 0; i < TABLES; i++)
        EXPECT_EQ(leaves_with(i * 512, clean), 0);
    for (unsigned l = PG_LEVEL_2M; l <= vm_of()->mmu->root_level; l++)
        EXPECT_EQ(*entry(0, l) & EPT_WRITE, EPT_WRITE);
}
TEST(WriteProtectAll, PerPageCleansEveryLeafInstead)
{
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_PER_PAGE, true, 0, per_page), 0);
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_PER_PAGE, false, 0, per_page), 0);
}

static void at_the_root(void)
{
    bool by_dirty = vm_of()->mmu->log_by_dirty;
    u64 clean = by_dirty ? EPT_D : EPT_WRITE;

    prefault(0, MEMORY);
    set_logging(true);
    // Nothing but the root's entry has changed.
    EXPECT_EQ(*entry(0, vm_of()->mmu->root_level) & EPT_RWX, EPT_READ | EPT_EXEC);
    for (unsigned i = 0; i < TABLES; i++) {
        EXPECT_EQ(*entry(i * 512, PG_LEVEL_2M) & EPT_RWX, EPT_RWX);
        EXPECT_EQ(leaves_with(i * 512, clean), PT64_ENTRIES);
    }
    // The first write makes its path writable; its own table is clean but for the page (which the processor
    // marks where it logs by dirty bits), and the tables beside it are out of reach.
    fault((512 + 7) << 12, QUAL_EPT_WRITE | QUAL_EPT_READABLE);
    for (unsigned l = PG_LEVEL_2M; l <= vm_of()->mmu->root_level; l++)
        EXPECT_EQ(*entry(512, l) & EPT_RWX, EPT_RWX);
    EXPECT_EQ(leaves_with(512, clean), by_dirty ? 0 : 1);
    EXPECT_EQ(leaves_with(512, EPT_WRITE), by_dirty ? PT64_ENTRIES : 1);
    for (unsigned i = 0; i < TABLES; i++) {
        EXPECT_EQ(*entry(i * 512, PG_LEVEL_2M) & EPT_WRITE, i == 1 ? EPT_WRITE : 0);
        if (i != 1)
            EXPECT_EQ(leaves_with(i * 512, clean), PT64_ENTRIES);
    }
    // A second region; the first one stays as it is.
    fault(5 * 512 << 12, QUAL_EPT_WRITE | QUAL_EPT_READABLE);
    EXPECT_EQ(leaves_with(512, clean), by_dirty ? 0 : 1);
    EXPECT_EQ(leaves_with(5 * 512, clean), by_dirty ? 0 : 1);
    EXPECT_EQ(*entry(0, PG_LEVEL_2M) & EPT_WRITE, 0);
    // Once more: what was written since is protected again.
    set_logging(false);
    set_logging(true);
    EXPECT_EQ(vm_of()->mmu->wp_gen, 2);
    EXPECT_EQ(*entry(0, vm_of()->mmu->root_level) & EPT_WRITE, 0);
    fault((512 + 8) << 12, QUAL_EPT_WRITE | QUAL_EPT_READABLE);
    EXPECT_EQ(leaves_with(512, clean), by_dirty ? 0 : 1);
    EXPECT_EQ(*entry(5 * 512, PG_LEVEL_2M) & EPT_WRITE, 0);
}
TEST(WriteProtectAll, ChangesTheRootAndMovesDownWithWrites)
{
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, true, 0, at_the_root), 0);
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, false, 0, at_the_root), 0);
}

static void unwritten(void)
{
    prefault(0, MEMORY);
    set_logging(true);
    set_logging(false);
    set_logging(true);
    EXPECT_EQ(vm_of()->mmu->wp_gen, 1);
}
TEST(WriteProtectAll, WhatWasNotWrittenSinceNeedsNoNewGeneration)
{
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, true, 0, unwritten), 0);
}

static void new_tables(void)
{
    set_logging(true);
    fault(0, QUAL_EPT_WRITE);
    EXPECT_EQ(*entry(0, PG_LEVEL_4K) & EPT_RWX, EPT_RWX);
    for (unsigned l = PG_LEVEL_2M; l <= vm_of()->mmu->root_level; l++)
        EXPECT_EQ(*entry(0, l) & EPT_RWX, EPT_RWX);
    set_logging(false);
    set_logging(true);
    // A page in a protected region that was never mapped: one fault maps it and opens its path.
    fault(600 << 12, QUAL_EPT_WRITE);
    EXPECT_EQ(*entry(600, PG_LEVEL_4K) & EPT_RWX, EPT_RWX);
    EXPECT_EQ(*entry(600, vm_of()->mmu->root_level) & EPT_RWX, EPT_RWX);
    EXPECT_EQ(*entry(0, PG_LEVEL_2M) & EPT_WRITE, 0);
}
TEST(WriteProtectAll, NewTablesAreOfTheirGeneration)
{
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, false, 0, new_tables), 0);
}

// Race R1: the lock-less fault path has read a leaf that it may make writable; meanwhile everything is
// write-protected anew; then it makes the leaf writable. The next push-down must find it.
static void race(void)
{
    const gfn_t late = 512 + 9;
    bool actual = vm_of()->mmu->pw_track == MMU_PW_TRACK_ACTUAL;

    prefault(0, MEMORY);
    set_logging(true);
    fault((512 + 7) << 12, QUAL_EPT_WRITE | QUAL_EPT_READABLE);
    u64 *sptep = entry(late, PG_LEVEL_4K), read = *sptep;

    EXPECT_EQ(read & EPT_WRITE, 0);
    set_logging(false);
    set_logging(true);
    EXPECT_TRUE(__atomic_compare_exchange_n(sptep, &read, read | EPT_WRITE, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_RELAXED));
    EXPECT_EQ(*entry(0, vm_of()->mmu->root_level) & EPT_WRITE, 0); // Nobody gets there yet.
    fault((512 + 8) << 12, QUAL_EPT_WRITE | QUAL_EPT_READABLE);
    EXPECT_EQ(*entry(late, PG_LEVEL_2M) & EPT_WRITE, EPT_WRITE);
    // With `actual` writes to the page go unnoticed from here on.
    EXPECT_EQ(*sptep & EPT_WRITE, actual ? EPT_WRITE : 0);
}
TEST(WriteProtectAll, FindsWhatBecameWritableBehindItsBack)
{
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, false, MMU_PW_TRACK_POSSIBLE, race), 0);
    EXPECT_EQ(with_4k_pages(MMU_DIRTY_START_WRITE_PROTECT_ALL, false, MMU_PW_TRACK_ACTUAL, race), 0);
}
