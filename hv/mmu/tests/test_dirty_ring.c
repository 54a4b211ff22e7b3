// SPDX-License-Identifier: Apache-2.0
// Dirty rings: order, the exit when one is nearly full, and taking entries back.
#include "hv/core/dirty_log.h"
#include "hv/core/dirty_ring.h"
#include "hv/lib/errno.h"
#include "hv/mmu/tests/mmu_fixture.h"

#define REFUSED_WRITE (QUAL_EPT_WRITE | QUAL_EPT_READABLE | QUAL_EPT_EXECUTABLE)
#define RING_BYTES 4096u
#define RING_ENTRIES (RING_BYTES / sizeof(struct hv_dirty_gfn))
#define SOFT_LIMIT (RING_ENTRIES - DIRTY_RING_RESERVED_ENTRIES)

static struct knobs knobs;
static int with_rings(bool pml, u64 bytes, void (*body)(void))
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_MMU_DIRTY_START] = MMU_DIRTY_START_PER_PAGE; // Leaves are looked at.
    knobs.v[KNOB_X86_PML] = pml;
    return with_vm(&(struct test_vm_options){.knobs = &knobs, .dirty_ring_bytes = bytes}, body);
}

static struct hv_dirty_gfn *ring;
static void start(void)
{
    struct hv_user_memory_region *region = (void *)hv_mmap(4096, 12, HV_MAP_DIRECT);

    ring = (struct hv_dirty_gfn *)hv_ioctl(t.vcpu, HV_DIRTY_RING_PAGE, 0);
    ASSERT_GT((s64)ring, 0);
    *region = (struct hv_user_memory_region){
        .flags = HV_MEM_LOG_DIRTY_PAGES, .memory_size = t.memory_bytes, .userspace_addr = t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, region), 0);
}
static u64 leaf(gfn_t gfn)
{
    unsigned level;

    return spte_at(gfn, &level);
}

static void order(void)
{
    static const gfn_t gfns[] = {9, 3, 500, 4};

    start();
    for (u32 i = 0; i < 4; i++)
        fault(gfns[i] << 12, QUAL_EPT_WRITE);
    for (u32 i = 0; i < 4; i++) {
        EXPECT_EQ(ring[i].flags, HV_DIRTY_GFN_F_DIRTY);
        EXPECT_EQ(ring[i].slot, 0);
        EXPECT_EQ(ring[i].offset, gfns[i]);
    }
    EXPECT_EQ(ring[4].flags, 0);
    // Nothing was collected, so nothing is taken back.
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), 0);
    EXPECT_TRUE(is_writable(leaf(9)));
    // Entries are taken back in order, up to the first that was not collected; their pages are protected
    // again.
    ring[0].flags = ring[1].flags = ring[3].flags = HV_DIRTY_GFN_F_RESET;
    u64 flushes = vm_of()->remote_tlb_flush_count;

    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), 2);
    EXPECT_EQ(vm_of()->remote_tlb_flush_count, flushes + 1);
    EXPECT_FALSE(is_writable(leaf(9)));
    EXPECT_FALSE(is_writable(leaf(3)));
    EXPECT_TRUE(is_writable(leaf(4)));
    EXPECT_EQ(ring[0].flags, 0);
    ring[2].flags = HV_DIRTY_GFN_F_RESET;
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), 2);
    EXPECT_FALSE(is_writable(leaf(4)));
    fault(9 << 12, REFUSED_WRITE);
    EXPECT_EQ(ring[4].offset, 9);
}
TEST(DirtyRing, EntriesStandInTheOrderOfWritesAndAreTakenBackInIt)
{
    EXPECT_EQ(with_rings(false, RING_BYTES, order), 0);
}

static void full(void)
{
    start();
    for (gfn_t gfn = 0; gfn + 1 < SOFT_LIMIT; gfn++) {
        fault(gfn << 12, QUAL_EPT_WRITE);
        ASSERT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    }
    fault((SOFT_LIMIT - 1) << 12, QUAL_EPT_WRITE);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_DIRTY_RING_FULL);
    EXPECT_EQ(fake_trace_count(TP_KVM_DIRTY_RING_EXIT), 1);
    // The guest does not go on before there is room.
    u64 entries = guest_entries();

    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_DIRTY_RING_FULL);
    EXPECT_EQ(guest_entries(), entries);
    ring[0].flags = HV_DIRTY_GFN_F_RESET;
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), 1);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    // Around its end.
    for (u32 i = 1; i < SOFT_LIMIT; i++)
        ring[i].flags = HV_DIRTY_GFN_F_RESET;
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), SOFT_LIMIT - 1);
    for (gfn_t gfn = 0; gfn < 100; gfn++)
        fault(gfn << 12, REFUSED_WRITE);
    EXPECT_EQ(ring[(SOFT_LIMIT + 99) % RING_ENTRIES].offset, 99);
    EXPECT_EQ(ring[SOFT_LIMIT - 1].flags, 0);
}
TEST(DirtyRing, NearlyFullLeavesToUserSpaceUntilThereIsRoom)
{
    EXPECT_EQ(with_rings(false, RING_BYTES, full), 0);
}

// User space may write anything into an entry that it gives back.
static void forged(void)
{
    static const struct {
        u32 slot;
        u64 offset;
    } rows[] = {{7, 0},          {0x20000, 0}, {HV_USER_MEMSLOTS, 0}, {0, 1ull << 60}, {0, 1024},
                {0, UINT64_MAX}, {0, 0}};

    start();
    for (u32 i = 0; i < 7; i++) {
        fault((gfn_t)i << 12, QUAL_EPT_WRITE);
        ring[i] = (struct hv_dirty_gfn){HV_DIRTY_GFN_F_RESET, rows[i].slot, rows[i].offset};
    }
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), 7);
    for (gfn_t gfn = 0; gfn < 7; gfn++)
        EXPECT_TRUE(is_writable(leaf(gfn)));
}
TEST(DirtyRing, ForgedEntriesProtectNothing)
{
    EXPECT_EQ(with_rings(false, RING_BYTES, forged), 0);
}

// Reset protects pages in masks of 64: every order must give the same.
static void batches(void)
{
    static const gfn_t gfns[] = {100, 101, 163, 164, 99, 40, 41, 39, 104, 103, 500, 437, 436};

    start();
    for (u32 i = 0; i < 13; i++)
        fault(gfns[i] << 12, QUAL_EPT_WRITE);
    for (u32 i = 0; i < 13; i++)
        ring[i].flags = HV_DIRTY_GFN_F_RESET;
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), 13);
    for (u32 i = 0; i < 13; i++)
        EXPECT_FALSE(is_writable(leaf(gfns[i])));
}
TEST(DirtyRing, NeighboursAreProtectedTogetherInAnyOrder)
{
    EXPECT_EQ(with_rings(false, RING_BYTES, batches), 0);
}

static void logs_full(struct hw_gprs *r)
{
    u64 *buffer = hpa_to_va(vm_of()->host, hpa(fake_vmcs_read(PML_ADDRESS)));

    (void)r;
    for (u32 i = 0; i < PML_ENTRIES; i++)
        buffer[PML_ENTRIES - 1 - i] = (u64)i << 12;
    fake_vmcs_write(GUEST_PML_INDEX, 0xffff);
    guest_exit(EXIT_REASON_PML_FULL, 0, 0);
}
static void processor_log(void)
{
    static const guest_step steps[] = {logs_full};

    start();
    // As many as one exit can bring fit in behind the soft limit.
    for (gfn_t gfn = 0; gfn + 1 < 1024 - DIRTY_RING_RESERVED_ENTRIES - PML_ENTRIES; gfn++)
        fault(gfn << 12, QUAL_EPT_WRITE);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    script_guest(steps, 1);
    EXPECT_EQ(run_vm(), 0);
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_DIRTY_RING_FULL);
    EXPECT_EQ(ring[447].offset, 0);
    EXPECT_EQ(ring[447 + 511].offset, 511);
    EXPECT_EQ(ring[447 + 512].flags, 0);
}
TEST(DirtyRing, HoldsWhatTheProcessorHadLogged)
{
    EXPECT_EQ(with_rings(true, 1024 * sizeof(struct hv_dirty_gfn), processor_log), 0);
}
