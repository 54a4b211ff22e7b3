// SPDX-License-Identifier: Apache-2.0
// Dirty logging: what is protected, what is marked, what a round shows, and large pages meanwhile.
#include "hv/core/dirty_log.h"
#include "hv/core/hostmm.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/errno.h"
#include "hv/mmu/tests/mmu_fixture.h"
#include "hv/mmu/tests/vm_hash.h"
#include "hv/x86/vmcs.h"
#include <string.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define REFUSED_WRITE (QUAL_EPT_WRITE | QUAL_EPT_READABLE | QUAL_EPT_EXECUTABLE)

static struct knobs knobs;

struct setup {
    u64 memory_bytes;
    unsigned page_shift;
    bool pml, lazy_split;
    u64 levels;
};
static int with_logging(struct setup s, void (*body)(void))
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_MMU_DIRTY_START] = MMU_DIRTY_START_PER_PAGE; // Leaves are looked at.
    knobs.v[KNOB_X86_PML] = s.pml;
    knobs.v[KNOB_MMU_EAGER_SPLIT] = !s.lazy_split;
    knobs.v[KNOB_MMU_EPT_LEVELS] = s.levels;
    return with_vm(&(struct test_vm_options){.memory_bytes = s.memory_bytes ? s.memory_bytes : 4 * MIB,
                                             .page_shift = s.page_shift,
                                             .knobs = &knobs},
                   body);
}

// --- User space's side. Structures and bitmaps live in its heap.

static s64 set_flags(u32 flags)
{
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *region = (struct hv_user_memory_region){
        .flags = flags, .memory_size = t.memory_bytes, .userspace_addr = t.memory};
    return hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region);
}

static u64 *bitmap;
// Fetches the log of slot 0 into `bitmap`; how many bits are set.
static u64 dirty_pages(void)
{
    struct hv_dirty_log *log = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    u64 words = t.memory_bytes / PAGE_SIZE / 64;

    bitmap = (void *)hv_mmap(align_up(words * 8, PAGE_SIZE), 12, HV_MAP_DIRECT);
    *log = (struct hv_dirty_log){.bitmap = (u64)bitmap};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_GET_DIRTY_LOG, log), 0);
    return bitmap_weight(bitmap, words * 64);
}
static s64 clear_pages(u64 first, u32 count, u64 *bits)
{
    struct hv_clear_dirty_log *log = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *log = (struct hv_clear_dirty_log){.num_pages = count, .first_page = first, .bitmap = (u64)bits};
    return hv_ioctl_ptr(t.vm, HV_CLEAR_DIRTY_LOG, log);
}
static s64 enable(u32 cap, u64 argument)
{
    struct hv_enable_cap *c = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    *c = (struct hv_enable_cap){.cap = cap, .args = {argument}};
    return hv_ioctl_ptr(t.vm, HV_ENABLE_CAP, c);
}

static u64 leaf(gfn_t gfn)
{
    unsigned level;
    u64 spte = spte_at(gfn, &level);

    return level == PG_LEVEL_4K ? spte : 0;
}

// --- By write faults.

static void by_faults(void)
{
    for (gfn_t gfn = 10; gfn < 20; gfn++)
        fault(gfn << 12, QUAL_EPT_WRITE);
    EXPECT_TRUE(is_writable(leaf(12)));
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    for (gfn_t gfn = 10; gfn < 20; gfn++) {
        EXPECT_FALSE(is_writable(leaf(gfn)));
        EXPECT_TRUE(is_mmu_writable(leaf(gfn)));
    }
    EXPECT_EQ(dirty_pages(), 0);
    // The fast way gives W back and marks; reads and other pages' entries are left alone.
    fault(12 << 12, REFUSED_WRITE);
    EXPECT_EQ(fake_counter("fast_page_faults"), 1);
    EXPECT_TRUE(is_writable(leaf(12)));
    EXPECT_FALSE(is_writable(leaf(13)));
    fault(13 << 12, QUAL_EPT_READ | QUAL_EPT_READABLE);
    EXPECT_FALSE(is_writable(leaf(13)));
    fault(12 << 12, REFUSED_WRITE); // Spurious: somebody else was faster.
    EXPECT_EQ(fake_counter("fast_page_faults"), 1);
    // A page that was not there comes in writable, and so counts.
    fault(30 << 12, QUAL_EPT_WRITE);
    u64 flushes = vm_of()->remote_tlb_flush_count;

    EXPECT_EQ(dirty_pages(), 2);
    EXPECT_TRUE(bitmap_test(bitmap, 12) && bitmap_test(bitmap, 30));
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes + 1);
    EXPECT_FALSE(is_writable(leaf(12)));
    EXPECT_FALSE(is_writable(leaf(30)));
    EXPECT_EQ(dirty_pages(), 0);
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes + 1); // Nothing was protected.
    EXPECT_EQ(set_flags(0), 0);
    EXPECT_EQ(vm_of()->mmu->logging_slots, 0);
    EXPECT_EQ(vm_memslots(vm_of(), 0)->slots[0].dirty_bitmap == NULL, 1);
    fault(12 << 12, REFUSED_WRITE);
    EXPECT_TRUE(is_writable(leaf(12)));
}
TEST(DirtyLog, AWriteToAProtectedPageMarksItOncePerRound)
{
    EXPECT_EQ(with_logging((struct setup){0}, by_faults), 0);
    EXPECT_EQ(with_logging((struct setup){.levels = MMU_EPT_LEVELS_5}, by_faults), 0);
}

static void core_writes(void)
{
    u64 value = 7;

    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    u32 index = srcu_read_lock(&vm_of()->srcu);

    EXPECT_EQ(vm_write_guest(vm_of(), gpa(0x5ffc), &value, 8), 0);
    srcu_read_unlock(&vm_of()->srcu, index);
    EXPECT_EQ(dirty_pages(), 2); // Pages 5 and 6.
}
TEST(DirtyLog, TheCoresOwnWritesAreLoggedToo)
{
    EXPECT_EQ(with_logging((struct setup){0}, core_writes), 0);
}

static void ahead(void)
{
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    prefault(0, 64 * PAGE_SIZE);
    EXPECT_TRUE(is_present(leaf(3)));
    EXPECT_FALSE(is_writable(leaf(3)));
    EXPECT_EQ(dirty_pages(), 0);
    fault(3 << 12, REFUSED_WRITE);
    EXPECT_EQ(dirty_pages(), 1);
}
TEST(DirtyLog, PagesMappedAheadCountWhenTheyAreWritten)
{
    EXPECT_EQ(with_logging((struct setup){0}, ahead), 0);
}

static void survives_move(void)
{
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    fault(9 << 12, QUAL_EPT_WRITE);
    *region = (struct hv_user_memory_region){.flags = HV_MEM_LOG_DIRTY_PAGES,
                                             .guest_phys_addr = 1 * GIB,
                                             .memory_size = t.memory_bytes,
                                             .userspace_addr = t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    EXPECT_EQ(dirty_pages(), 1);
    EXPECT_TRUE(bitmap_test(bitmap, 9));
    fault(1 * GIB + (8 << 12), QUAL_EPT_WRITE);
    EXPECT_EQ(dirty_pages(), 1);
    EXPECT_TRUE(bitmap_test(bitmap, 8));
    EXPECT_EQ(fake_violations(NULL), 0);
}
TEST(DirtyLog, TheLogCountsFromTheSlotsFirstPageWhereverItLies)
{
    EXPECT_EQ(with_logging((struct setup){0}, survives_move), 0);
}

// --- By the processor's log.

static u64 logged[PML_ENTRIES];
static u32 logged_count;
static void logs(struct hw_gprs *r)
{
    u64 *buffer = hpa_to_va(vm_of()->host, hpa(fake_vmcs_read(PML_ADDRESS)));
    u64 index = fake_vmcs_read(GUEST_PML_INDEX);

    (void)r;
    EXPECT_EQ(index, PML_ENTRIES - 1);
    for (u32 i = 0; i < logged_count; i++)
        buffer[index--] = logged[i];
    fake_vmcs_write(GUEST_PML_INDEX, index & 0xffff);
    guest_exit(logged_count == PML_ENTRIES ? EXIT_REASON_PML_FULL : EXIT_REASON_CPUID, 0, 2);
}
static void log_pages(u32 count)
{
    static const guest_step steps[] = {logs};

    logged_count = count;
    for (u32 i = 0; i < count; i++)
        logged[i] = (u64)i << 12;
    script_guest(steps, 1);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
}
static bool pml_is_on(void)
{
    return (fake_vmcs_read(SECONDARY_VM_EXEC_CONTROL) & CPU2_ENABLE_PML) != 0;
}

static void by_processor(void)
{
    for (gfn_t gfn = 0; gfn < PML_ENTRIES; gfn++)
        fault(gfn << 12, QUAL_EPT_WRITE);
    EXPECT_FALSE(pml_is_on());
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    EXPECT_EQ(leaf(5) & (EPT_WRITE | EPT_D), EPT_WRITE);
    log_pages(0);
    EXPECT_TRUE(pml_is_on());
    EXPECT_EQ(dirty_pages(), 0);
    log_pages(3);
    EXPECT_EQ(fake_vmcs_read(GUEST_PML_INDEX), PML_ENTRIES - 1);
    EXPECT_EQ(dirty_pages(), 3);
    EXPECT_EQ(bitmap[0], 7);
    log_pages(PML_ENTRIES);
    EXPECT_EQ(fake_trace_count(TP_KVM_PML_FULL), 1);
    // What a round showed is made clean again, and only that.
    unsigned level;

    read_lock(&vm_of()->mmu_lock);
    u64 *sptep = mmu_lookup(vm_of(), 3, &level);

    read_unlock(&vm_of()->mmu_lock);
    *sptep |= EPT_D;
    EXPECT_EQ(dirty_pages(), PML_ENTRIES);
    EXPECT_EQ(*sptep & (EPT_WRITE | EPT_D), EPT_WRITE);
    *sptep |= EPT_D;
    EXPECT_EQ(dirty_pages(), 0);
    EXPECT_EQ(*sptep & EPT_D, EPT_D);
    EXPECT_EQ(set_flags(0), 0);
    log_pages(0);
    EXPECT_FALSE(pml_is_on());
    EXPECT_EQ(fake_counter("pml_flushes"), 2);
    EXPECT_EQ(fake_counter("pml_entries"), PML_ENTRIES + 3);
}
TEST(DirtyLog, TheProcessorsLogIsEmptiedAtEachExitAndOnOnlyWhileASlotLogs)
{
    EXPECT_EQ(with_logging((struct setup){.pml = true}, by_processor), 0);
}

// --- What the trace is told: a page when it is newly marked, by whom, and how that was noticed.

static void expect_told(u64 n, u64 vcpu, u64 gfn, enum hw_dirty_method method)
{
    const struct fake_event *e = fake_trace(FAKE_DIRTY_PAGE, n);

    ASSERT_TRUE(e != NULL);
    EXPECT_EQ(e->a[0], vm_of()->id);
    EXPECT_EQ(e->a[1], vcpu);
    EXPECT_EQ(e->a[2], 0); // Slot.
    EXPECT_EQ(e->a[3], gfn);
    EXPECT_EQ(e->a[4], method);
    EXPECT_EQ(e->a[5], 0);
}

static void told(void)
{
    u64 value = 7;

    fault(12 << 12, QUAL_EPT_WRITE);
    EXPECT_EQ(fake_trace_count(FAKE_DIRTY_PAGE), 0); // Nobody logs.
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    fault(40 << 12, QUAL_EPT_WRITE);
    expect_told(0, 0, 40, HW_DIRTY_WRITE_FAULT);
    u32 index = srcu_read_lock(&vm_of()->srcu);

    EXPECT_EQ(vm_write_guest(vm_of(), gpa(41 << 12), &value, 8), 0);
    EXPECT_EQ(vm_write_guest(vm_of(), gpa(40 << 12), &value, 8), 0); // Marked already.
    srcu_read_unlock(&vm_of()->srcu, index);
    expect_told(1, (u32)~0, 41, HW_DIRTY_WRITE);
    EXPECT_EQ(fake_trace_count(FAKE_DIRTY_PAGE), 2);
    if (t.v->pml_buffer) {
        log_pages(2);
        EXPECT_EQ(fake_trace_count(FAKE_DIRTY_PAGE), 4);
        expect_told(3, 0, 1, HW_DIRTY_PML);
    }
    u64 before = fake_trace_count(FAKE_DIRTY_PAGE);

    (void)dirty_pages();
    if (!t.v->pml_buffer) { // The next round's first write is news.
        fault(40 << 12, REFUSED_WRITE);
        expect_told(before++, 0, 40, HW_DIRTY_WRITE_FAULT);
    }
    EXPECT_EQ(fake_trace_count(FAKE_DIRTY_PAGE), before);
}
TEST(DirtyLog, TheTraceIsToldOfEachPageNewlyMarked)
{
    EXPECT_EQ(with_logging((struct setup){0}, told), 0);
    EXPECT_EQ(with_logging((struct setup){.pml = true}, told), 0);
}

// --- Large pages.

static void split_at_start(void)
{
    fault(3 * MIB, QUAL_EPT_WRITE);
    u64 huge;
    unsigned level;

    huge = spte_at(3 * MIB >> 12, &level);
    EXPECT_EQ(level, PG_LEVEL_2M);
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    for (gfn_t gfn = 512; gfn < 1024; gfn++) {
        ASSERT_EQ(spte_pfn(leaf(gfn)), spte_pfn(huge) + gfn - 512);
        ASSERT_EQ(leaf(gfn) & EPT_PS, 0);
        ASSERT_EQ((leaf(gfn) & (t.v->pml_buffer ? EPT_D : EPT_WRITE)), 0);
    }
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M], 0);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 512);
    fault(9 * MIB, QUAL_EPT_WRITE); // Not there yet: comes in small.
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 513);
    EXPECT_EQ(dirty_pages(), 1);
    u64 tables = vm_of()->mmu->page_count, flushes = vm_of()->remote_tlb_flush_count;

    EXPECT_EQ(set_flags(0), 0);
    EXPECT_EQ(spte_at(3 * MIB >> 12, &level) & ~EPT_A, huge & ~EPT_A); // As it was, writable at once.
    EXPECT_EQ(level, PG_LEVEL_2M);
    EXPECT_TRUE(is_present(spte_at(9 * MIB >> 12, &level)));
    EXPECT_EQ(level, PG_LEVEL_2M);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M], 2);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 0);
    EXPECT_EQ(vm_of()->mmu->page_count, tables - 2);
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes + 1);
}
TEST(DirtyLog, LargePagesAreSmallWhileASlotLogs)
{
    EXPECT_EQ(with_logging((struct setup){.memory_bytes = 16 * MIB, .page_shift = 21}, split_at_start), 0);
    EXPECT_EQ(
        with_logging((struct setup){.memory_bytes = 16 * MIB, .page_shift = 21, .pml = true}, split_at_start),
        0);
}

static void split_at_fault(void)
{
    unsigned level;

    fault(3 * MIB, QUAL_EPT_WRITE);
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    EXPECT_FALSE(is_writable(spte_at(3 * MIB >> 12, &level)));
    EXPECT_EQ(level, PG_LEVEL_2M);
    fault(3 * MIB, QUAL_EPT_READ | QUAL_EPT_READABLE);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M], 1);
    fault(3 * MIB, REFUSED_WRITE);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M], 0);
    EXPECT_TRUE(is_writable(leaf(3 * MIB >> 12)));
    EXPECT_FALSE(is_writable(leaf((3 * MIB >> 12) + 1)));
    EXPECT_EQ(dirty_pages(), 1);
    EXPECT_TRUE(bitmap_test(bitmap, 3 * MIB >> 12));
    fault(3 * MIB + 4096, REFUSED_WRITE);
    EXPECT_EQ(fake_counter("fast_page_faults"), 1);
    EXPECT_EQ(dirty_pages(), 1);
    EXPECT_TRUE(bitmap_test(bitmap, (3 * MIB >> 12) + 1));
}
TEST(DirtyLog, OrAreSplitByTheirFirstWrite)
{
    struct setup s = {.memory_bytes = 16 * MIB, .page_shift = 21, .lazy_split = true};

    EXPECT_EQ(with_logging(s, split_at_fault), 0);
}

static void gigantic(void)
{
    unsigned level;

    fault(5 * MIB, QUAL_EPT_WRITE);
    u64 huge = spte_at(0, &level);

    EXPECT_EQ(level, PG_LEVEL_1G);
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    fault(5 * MIB, REFUSED_WRITE);
    // One path is small, the rest of it as large as can be.
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_1G], 0);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M], 511);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_4K], 512);
    EXPECT_EQ(spte_pfn(leaf(5 * MIB >> 12)), spte_pfn(huge) + (5 * MIB >> 12));
    EXPECT_EQ(spte_pfn(spte_at(77 * MIB >> 12, &level)), spte_pfn(huge) + (76 * MIB >> 12));
    EXPECT_EQ(dirty_pages(), 1);
    EXPECT_EQ(set_flags(0), 0);
    EXPECT_EQ(spte_at(0, &level), huge);
    EXPECT_EQ(level, PG_LEVEL_1G);
    EXPECT_EQ(vm_of()->mmu->mapped[PG_LEVEL_2M] + vm_of()->mmu->mapped[PG_LEVEL_4K], 0);
}
TEST(DirtyLog, AGibibyteIsSplitTwiceOnThePathOfTheWriteOnly)
{
    EXPECT_EQ(
        with_logging((struct setup){.memory_bytes = 2 * GIB, .page_shift = 30, .lazy_split = true}, gigantic),
        0);
}

static void not_beyond(void)
{
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    unsigned level;

    // A second slot in the same 2 MiB: neither is large, whatever stands behind.
    *region = (struct hv_user_memory_region){.slot = 1,
                                             .guest_phys_addr = GIB + 4 * PAGE_SIZE,
                                             .memory_size = 8 * PAGE_SIZE,
                                             .userspace_addr = t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    fault(GIB + 5 * PAGE_SIZE, QUAL_EPT_WRITE);
    region->flags = HV_MEM_LOG_DIRTY_PAGES;
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    region->flags = 0;
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
    EXPECT_TRUE(is_present(spte_at((GIB >> 12) + 5, &level)));
    EXPECT_EQ(level, PG_LEVEL_4K);
}
TEST(DirtyLog, CollapsesOnlyWhatMayBeMappedLarge)
{
    EXPECT_EQ(with_logging((struct setup){.memory_bytes = 4 * MIB, .page_shift = 21}, not_beyond), 0);
}

// --- User space clears.

static void manual(void)
{
    EXPECT_EQ(enable(HV_CAP_MANUAL_DIRTY_LOG_PROTECT2, HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE), 0);
    fault(64 << 12, QUAL_EPT_WRITE);
    fault(65 << 12, QUAL_EPT_WRITE);
    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    fault(64 << 12, REFUSED_WRITE);
    fault(65 << 12, REFUSED_WRITE);
    u64 hash = vm_hash(vm_of());

    EXPECT_EQ(dirty_pages(), 2);
    EXPECT_EQ(vm_hash(vm_of()), hash); // Reading changes nothing.
    EXPECT_EQ(dirty_pages(), 2);
    // Only what is named is cleared, counted from first_page; bits that were not set do nothing.
    u64 *bits = bitmap;

    bits[0] = 2 | 1ull << 40;
    EXPECT_EQ(clear_pages(64, 64, bits), 0);
    EXPECT_TRUE(is_writable(leaf(64)));
    EXPECT_FALSE(is_writable(leaf(65)));
    EXPECT_EQ(dirty_pages(), 1);
    EXPECT_TRUE(bitmap_test(bitmap, 64));
}
TEST(DirtyLog, ManualProtectionLeavesClearingToUserSpace)
{
    EXPECT_EQ(with_logging((struct setup){0}, manual), 0);
}

static void all_set(void)
{
    u64 pages = t.memory_bytes >> 12;
    unsigned level;

    EXPECT_EQ(enable(HV_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                     HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE | HV_DIRTY_LOG_INITIALLY_SET),
              0);
    fault(0, QUAL_EPT_WRITE);
    fault(2 * MIB, QUAL_EPT_WRITE);
    u64 before = spte_at(0, &level), flushes = vm_of()->remote_tlb_flush_count;

    EXPECT_EQ(set_flags(HV_MEM_LOG_DIRTY_PAGES), 0);
    EXPECT_EQ(spte_at(0, &level), before); // Nothing is protected, split or flushed yet.
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes);
    EXPECT_EQ(dirty_pages(), pages);
    // The first bit of a large page that is cleared takes care of the page.
    memset(bitmap, 0, pages / 8);
    bitmap[0] = 8;
    EXPECT_EQ(clear_pages(0, 64, bitmap), 0);
    if (knobs.v[KNOB_MMU_EAGER_SPLIT]) {
        EXPECT_FALSE(is_writable(leaf(3)));
        EXPECT_TRUE(is_writable(leaf(4)));
    } else {
        EXPECT_FALSE(is_writable(spte_at(3, &level)));
        EXPECT_EQ(level, PG_LEVEL_2M);
    }
    EXPECT_TRUE(is_writable(spte_at(512, &level)));
    EXPECT_EQ(level, PG_LEVEL_2M);
    EXPECT_EQ(dirty_pages(), pages - 1);
    fault(3 << 12, REFUSED_WRITE);
    EXPECT_EQ(dirty_pages(), pages);
}
TEST(DirtyLog, InitiallySetProtectsWhatIsClearedChunkByChunk)
{
    EXPECT_EQ(with_logging((struct setup){.page_shift = 21}, all_set), 0);
    EXPECT_EQ(with_logging((struct setup){.page_shift = 21, .lazy_split = true}, all_set), 0);
}

static void no_leak(void)
{
    static const u64 sizes[] = {1, 1, 1, 0}; // Logs, does not, logs, is gone.
    static const u32 flags[] = {HV_MEM_LOG_DIRTY_PAGES, 0, HV_MEM_LOG_DIRTY_PAGES, 0};
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);
    const u64 bytes = vm_of()->host->heap.bytes_in_use, bitmap_bytes = 2 * t.memory_bytes / PAGE_SIZE / 8;

    for (u32 i = 0; i < 4; i++) {
        *region = (struct hv_user_memory_region){
            .flags = flags[i], .memory_size = sizes[i] * t.memory_bytes, .userspace_addr = t.memory};
        EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
        // The bits, and room to fetch them into.
        EXPECT_EQ(vm_of()->host->heap.bytes_in_use, bytes + (flags[i] ? bitmap_bytes : 0));
    }
    EXPECT_EQ(vm_of()->mmu->logging_slots, 0);
}
TEST(DirtyLog, ItsMemoryIsGivenBackWhenItEndsOrTheSlotGoes)
{
    EXPECT_EQ(with_logging((struct setup){0}, no_leak), 0);
}
