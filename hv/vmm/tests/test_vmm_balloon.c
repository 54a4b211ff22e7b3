// SPDX-License-Identifier: Apache-2.0
// The balloon device against a core of a few lines: registration, chains of ranges, what it refuses
// (Virtio 1.2, 5.5.6.7 and 2.7).
#include "hv/vmm/balloon.h"

#include "hv/hw/trace.h"
#include "hv/knobs.h"
#include "hv/vmm/migration.h"
#include "hv/vmm/vmm.h"
#include "tests/shim/shim.h"
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)
#define QUEUE_GPA 0x10000ull
#define SLOT1_GPA (16 * MIB)

static u8 memory[2][8 * MIB];
static struct {
    u64 reporting, poison, discard;
    u64 discards, last_address, last_bytes, last_advice;
    u64 dirty_marks, last_dirty, ignored;
} core;
static struct vmm_vm vm;

u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    (void)a3;
    if (nr == HV_SYS_KNOB)
        return a0 == KNOB_VMM_BALLOON_REPORTING ? core.reporting
               : a0 == KNOB_VMM_BALLOON_POISON  ? core.poison
                                                : core.discard;
    if (nr == HV_SYS_TOUCH)
        return a0;
    if (nr != HV_SYS_MADVISE_FREE)
        return 0;
    if ((a0 | a1) % (2 * MIB) != 0 || a1 == 0) // Pages of 2 MiB.
        return (u64)-22;
    core.discards++;
    core.last_address = a0;
    core.last_bytes = a1;
    core.last_advice = a2;
    return 0;
}
void hw_trace(enum hw_tracepoint tp, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
    (void)tp, (void)a0, (void)a1, (void)a3, (void)a4, (void)a5;
    core.ignored += a2;
}
void hw_trace_count(const char *name, u64 n)
{
    (void)name, (void)n;
}
void hw_trace_span_begin(u32 span)
{
    (void)span;
}
void hw_trace_span_end(u32 span)
{
    (void)span;
}
void vmm_dirty_mark(struct vmm_vm *of, u32 slot, u64 offset, u64 bytes)
{
    (void)of;
    core.dirty_marks++;
    if (bytes >= 2 * MIB)
        core.last_dirty = (u64)slot << 32 | offset;
}

static void out(u32 reg, u32 value)
{
    EXPECT_TRUE(vmm_balloon_port(&vm, (u16)(BALLOON_PORT + reg), true, (u8 *)&value, 4));
}
static u32 in(u32 reg)
{
    u32 value = 0;

    EXPECT_TRUE(vmm_balloon_port(&vm, (u16)(BALLOON_PORT + reg), false, (u8 *)&value, 4));
    return value;
}

// A VM of two slots with 2 MiB host pages, the device with a queue of `entries` that is not registered yet.
static void make(u32 entries)
{
    memset(&core, 0, sizeof core);
    memset(&vm, 0, sizeof vm);
    memset(memory, 0, sizeof memory);
    core.reporting = core.poison = 1;
    for (u32 i = 0; i < 2; i++) {
        u64 address = ((u64)memory[i] + 2 * MIB - 1) & ~(2 * MIB - 1);

        vm.slots[i] = (struct vmm_slot){
            .slot = i, .used = 1, .gpa = i * SLOT1_GPA, .address = address, .bytes = 6 * MIB};
    }
    out(BALLOON_DRIVER_FEATURES, ~0u);
    out(BALLOON_QUEUE_NUM, entries);
    out(BALLOON_QUEUE_PFN, QUEUE_GPA >> 12);
}
static s32 set_ready(void)
{
    out(BALLOON_QUEUE_READY, 1);
    return (s32)in(BALLOON_QUEUE_READY);
}

static u8 *at(u64 offset)
{
    return (u8 *)vm.slots[0].address + QUEUE_GPA + offset;
}
static void describe(u32 index, u64 gpa, u32 bytes, u16 flags, u16 next)
{
    memcpy(at(16ull * index), &(struct {
               u64 a;
               u32 l;
               u16 f, n;
           }){gpa, bytes, flags, next},
           16);
}
// Makes `head` available as entry number `n` and notifies; returns the used index.
static u16 submit(u16 n, u16 head)
{
    u16 avail = (u16)(n + 1), used;

    memcpy(at(16 * 32 + 4 + 2u * (n % 32)), &head, 2);
    memcpy(at(16 * 32 + 2), &avail, 2);
    out(BALLOON_QUEUE_NOTIFY, 0);
    memcpy(&used, at(4096 + 2), 2);
    return used;
}

TEST(VmmBalloon, RegistrationIsRefusedAsLinuxDoes)
{
    make(16);
    EXPECT_EQ(set_ready(), -28); // Smaller than what a reporter collects.
    make(32);
    EXPECT_EQ(set_ready(), 1);
    EXPECT_EQ(set_ready(), -16); // A second reporter.
    out(BALLOON_QUEUE_READY, 0);
    EXPECT_EQ(set_ready(), 1);
    make(32);
    out(BALLOON_DRIVER_FEATURES, BALLOON_F_PAGE_POISON);
    EXPECT_EQ(set_ready(), -22);
    make(32);
    out(BALLOON_QUEUE_PFN, (6 * MIB >> 12) - 1); // Its used ring is beyond the slot.
    EXPECT_EQ(set_ready(), -22);
}

TEST(VmmBalloon, FeaturesAreThoseOfTheKnobs)
{
    make(32);
    EXPECT_EQ(in(BALLOON_DEVICE_FEATURES), BALLOON_F_PAGE_POISON | BALLOON_F_REPORTING);
    core.reporting = 0;
    EXPECT_EQ(in(BALLOON_DEVICE_FEATURES), BALLOON_F_PAGE_POISON);
    out(BALLOON_DRIVER_FEATURES, ~0u);
    EXPECT_EQ(set_ready(), -22);
    core.poison = 0;
    EXPECT_EQ(in(BALLOON_DEVICE_FEATURES), 0);
    out(BALLOON_DRIVER_FEATURES, ~0u);
    out(BALLOON_POISON_VAL, 0xaa);
    EXPECT_EQ(in(BALLOON_POISON_VAL), 0);
}

TEST(VmmBalloon, AChainIsDiscardedMarkedDirtyAndAnswered)
{
    make(32);
    EXPECT_EQ(set_ready(), 1);
    describe(5, 2 * MIB, 2 * MIB, 3, 7);
    describe(7, SLOT1_GPA + 4 * MIB, 2 * MIB, 2, 0);
    EXPECT_EQ(submit(0, 5), 1);
    EXPECT_EQ(core.discards, 2);
    EXPECT_EQ(core.last_address, vm.slots[1].address + 4 * MIB);
    EXPECT_EQ(core.last_bytes, 2 * MIB);
    EXPECT_EQ(core.last_dirty, 1ull << 32 | 4 * MIB);
    EXPECT_EQ(core.dirty_marks, 4); // Both ranges, the used ring's element and its index.
    EXPECT_EQ(core.ignored, 0);
    EXPECT_EQ(*at(4096 + 4), 5);
    out(BALLOON_QUEUE_NOTIFY, 0); // Nothing new.
    EXPECT_EQ(core.discards, 2);
    EXPECT_EQ(submit(1, 7), 2);
    EXPECT_EQ(core.discards, 3);
}

TEST(VmmBalloon, BadRangesAreIgnoredAndCounted)
{
    static const struct {
        u64 gpa;
        u32 bytes;
    } rows[] = {
        {6 * MIB, 2 * MIB},     // Between the slots.
        {4 * MIB, 4 * MIB},     // Across a slot's end.
        {2 * MIB + 4096, 4096}, // Not whole host pages.
        {2 * MIB, 0},
        {~0ull - 4095, 8192}, // Wraps.
        {SLOT1_GPA - 2 * MIB, 2 * MIB},
    };
    make(32);
    EXPECT_EQ(set_ready(), 1);
    for (u16 i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("row %u", i);
        describe(0, rows[i].gpa, rows[i].bytes, 2, 0);
        EXPECT_EQ(submit(i, 0), i + 1);
        EXPECT_EQ(core.ignored, i + 1);
    }
    EXPECT_EQ(core.discards, 0);
    describe(0, 2 * MIB, 2 * MIB, 3, 0); // A loop: as many times as the queue has entries.
    EXPECT_EQ(submit(6, 0), 7);
    EXPECT_EQ(core.discards, 32);
    core.ignored = 0;
    EXPECT_EQ(submit(7, 32), 8); // A descriptor that the queue does not have.
    EXPECT_EQ(core.ignored, 1);
}

TEST(VmmBalloon, FilledMemoryIsKept)
{
    make(32);
    EXPECT_EQ(set_ready(), 1);
    out(BALLOON_POISON_VAL, 0xaaaaaaaa);
    describe(0, 2 * MIB, 2 * MIB, 2, 0);
    EXPECT_EQ(submit(0, 0), 1);
    EXPECT_EQ(core.discards, 0);
    EXPECT_EQ(core.ignored, 1);
}

TEST(VmmBalloon, MemoryIsOnlyMarkedFreeIfTheKnobSaysSo)
{
    for (u64 lazy = 0; lazy < 2; lazy++) {
        make(32);
        core.discard = lazy ? VMM_BALLOON_DISCARD_LAZYFREE : VMM_BALLOON_DISCARD_DONTNEED;
        EXPECT_EQ(set_ready(), 1);
        describe(0, 2 * MIB, 2 * MIB, 2, 0);
        EXPECT_EQ(submit(0, 0), 1);
        EXPECT_EQ(core.discards, 1);
        EXPECT_EQ(core.last_advice, lazy ? HV_MADV_FREE : HV_MADV_DONTNEED);
        EXPECT_EQ(core.dirty_marks, 3); // What it holds may change from now on.
    }
}

TEST(VmmBalloon, NothingIsDiscardedWhileAPostCopyBringsPages)
{
    static struct vmm_migration migration;

    make(32);
    EXPECT_EQ(set_ready(), 1);
    vm.migration = &migration;
    migration.missing = true;
    describe(0, 2 * MIB, 2 * MIB, 2, 0);
    EXPECT_EQ(submit(0, 0), 1); // Answered all the same.
    EXPECT_EQ(core.discards, 0);
    EXPECT_EQ(core.ignored, 1);
    migration.missing = false;
    EXPECT_EQ(submit(1, 0), 2);
    EXPECT_EQ(core.discards, 1);
}

TEST(VmmBalloon, ItsStateGoesWithTheGuestToADeviceThatOffersAsMuch)
{
    struct vmm_balloon state, back;

    make(32);
    EXPECT_EQ(set_ready(), 1);
    out(BALLOON_POISON_VAL, 0);
    describe(0, 2 * MIB, 2 * MIB, 2, 0);
    EXPECT_EQ(submit(0, 0), 1);
    vmm_balloon_save(&vm, &state);
    memset(&vm.balloon, 0, sizeof vm.balloon); // The target's, after reset.
    core.reporting = 0;
    EXPECT_EQ(vmm_balloon_load(&vm, &state), -22);
    EXPECT_EQ(vm.balloon.ready, 0);
    core.reporting = 1;
    EXPECT_EQ(vmm_balloon_load(&vm, &state), 0);
    vmm_balloon_save(&vm, &back);
    EXPECT_EQ(memcmp(&state, &back, sizeof state), 0);
    EXPECT_EQ(set_ready(), -16); // It goes on reporting: nobody else may.
    EXPECT_EQ(submit(1, 0), 2);  // From the entry where it was.
    EXPECT_EQ(core.discards, 2);
    state.queue_pfn = (6 * MIB >> 12) - 1;
    EXPECT_EQ(vmm_balloon_load(&vm, &state), -22);
    state.queue_num = 24;
    EXPECT_EQ(vmm_balloon_load(&vm, &state), -22);
}

TEST(VmmBalloon, OtherPortsAndSizesAreNotIts)
{
    u8 data[4] = {0};

    make(32);
    EXPECT_FALSE(vmm_balloon_port(&vm, BALLOON_PORT - 1, false, data, 4));
    EXPECT_FALSE(vmm_balloon_port(&vm, BALLOON_PORT + BALLOON_PORTS, false, data, 4));
    EXPECT_FALSE(vmm_balloon_port(&vm, BALLOON_PORT, false, data, 2));
}
