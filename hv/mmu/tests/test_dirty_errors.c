// SPDX-License-Identifier: Apache-2.0
// Bad input to the calls about memory slots and dirty logging: the error, and that nothing has changed (KVM's
// rules; catalogue 000-A, 001-A).
#include "hv/core/dirty_ring.h"
#include "hv/lib/errno.h"
#include "hv/mmu/tests/mmu_fixture.h"
#include "hv/mmu/tests/vm_hash.h"

#define MIB (1ull << 20)
#define PAGES 1000u // Of slot 1: not a multiple of 64.
#define AT (1ull << 30)

static void *heap(void)
{
    return (void *)hv_mmap(64 << 10, 12, HV_MAP_DIRECT);
}

static s64 set_region(struct hv_user_memory_region r)
{
    struct hv_user_memory_region *p = heap();

    *p = r;
    return hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, p);
}

// Slot 0 does not log, slot 1 does and has a dirty page.
static void make_slots(void)
{
    EXPECT_EQ(set_region(
                  (struct hv_user_memory_region){1, HV_MEM_LOG_DIRTY_PAGES, AT, PAGES * PAGE_SIZE, t.memory}),
              0);
    fault(AT + 5 * PAGE_SIZE, QUAL_EPT_WRITE);
    fault(3 * PAGE_SIZE, QUAL_EPT_WRITE);
}

// --- SET_USER_MEMORY_REGION.

struct region_row {
    const char *name;
    struct hv_user_memory_region region; // userspace_addr counts from the slot's memory.
    s64 want;
};
#define SIZE (PAGES * PAGE_SIZE)
static const struct region_row region_rows[] = {
    {"unknown flag", {2, 0x4, 4 * AT, MIB, 0}, -EINVAL},
    {"kernel's own flag", {2, 0x10000, 4 * AT, MIB, 0}, -EINVAL},
    {"size not of pages", {2, 0, 4 * AT, MIB + 1, 0}, -EINVAL},
    {"address not of pages", {2, 0, 4 * AT + 8, MIB, 0}, -EINVAL},
    {"host address not of pages", {2, 0, 4 * AT, MIB, 8}, -EINVAL},
    {"no such address space", {2u << 16 | 2, 0, 4 * AT, MIB, 0}, -EINVAL},
    {"no such slot", {HV_USER_MEMSLOTS, 0, 4 * AT, MIB, 0}, -EINVAL},
    {"a kernel's slot", {HV_USER_MEMSLOTS + 2, 0, 4 * AT, MIB, 0}, -EINVAL},
    {"wraps", {2, 0, ~0ull << 12, 2 * PAGE_SIZE, 0}, -EINVAL},
    {"beyond the guest's width", {2, 0, 1ull << 51, MIB, 0}, -EINVAL},
    {"too many pages", {2, 0, 4 * AT, 1ull << 43, 0}, -EINVAL},
    {"larger", {1, HV_MEM_LOG_DIRTY_PAGES, AT, SIZE + PAGE_SIZE, 0}, -EINVAL},
    {"smaller", {1, HV_MEM_LOG_DIRTY_PAGES, AT, SIZE - PAGE_SIZE, 0}, -EINVAL},
    {"another host address", {1, HV_MEM_LOG_DIRTY_PAGES, AT, SIZE, PAGE_SIZE}, -EINVAL},
    {"becomes read-only", {1, HV_MEM_READONLY, AT, SIZE, 0}, -EINVAL},
    {"deletes what is empty", {2, 0, 4 * AT, 0, 0}, -EINVAL},
    {"creates over another", {2, 0, AT + SIZE - PAGE_SIZE, MIB, 0}, -EEXIST},
    {"moves over another", {1, HV_MEM_LOG_DIRTY_PAGES, 4 * MIB - PAGE_SIZE, SIZE, 0}, -EEXIST},
    {"as it is", {1, HV_MEM_LOG_DIRTY_PAGES, AT, SIZE, 0}, 0},
};

static void regions(void)
{
    make_slots();
    u64 hash = vm_hash(vm_of());

    for (u32 i = 0; i < ARRAY_COUNT(region_rows); i++) {
        struct hv_user_memory_region r = region_rows[i].region;

        test_row("%s", region_rows[i].name);
        r.userspace_addr += t.memory;
        EXPECT_EQ(set_region(r), region_rows[i].want);
        EXPECT_EQ(vm_hash(vm_of()), hash);
    }
    test_row("a bad pointer");
    EXPECT_EQ(hv_ioctl(t.vm, HV_SET_USER_MEMORY_REGION, 8), -EFAULT);
    EXPECT_EQ(vm_hash(vm_of()), hash);
    test_row("another address space may overlap");
    EXPECT_EQ(set_region((struct hv_user_memory_region){1u << 16 | 2, 0, AT, SIZE, t.memory}), 0);
    EXPECT_NE(vm_hash(vm_of()), hash); // The hash sees what does change.
    test_row("the last slot");
    EXPECT_EQ(set_region((struct hv_user_memory_region){HV_USER_MEMSLOTS - 1, 0, 4 * AT, MIB, t.memory}), 0);
    EXPECT_EQ(hv_ioctl(t.vm, HV_CHECK_EXTENSION, HV_CAP_NR_MEMSLOTS), HV_USER_MEMSLOTS);
    EXPECT_EQ(hv_ioctl(t.vm, HV_CHECK_EXTENSION, 9999), 0);
}
TEST(DirtyErrors, MemoryRegionsAreRefusedWithoutATrace)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, regions), 0);
}

static void no_memory(void)
{
    struct host *host = vm_of()->host;

    make_slots();
    u64 hash = vm_hash(vm_of());
    struct hv_user_memory_region *p = heap();

    while (pages_alloc(host, 0, MEM_KERNEL) != PFN_NONE)
        ;
    *p = (struct hv_user_memory_region){0, HV_MEM_LOG_DIRTY_PAGES, 0, t.memory_bytes, t.memory};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_SET_USER_MEMORY_REGION, p), -ENOMEM);
    EXPECT_EQ(vm_hash(vm_of()), hash);
}
TEST(DirtyErrors, NoMemoryForABitmapLeavesTheSlotAsItWas)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, no_memory), 0);
}

// --- GET_DIRTY_LOG, CLEAR_DIRTY_LOG.

struct log_row {
    const char *name;
    u32 slot;
    bool bad_bitmap;
    s64 want;
};
static const struct log_row get_rows[] = {
    {"no such address space", 2u << 16, false, -EINVAL},
    {"no such slot number", HV_USER_MEMSLOTS, false, -EINVAL},
    {"an empty slot", 2, false, -ENOENT},
    {"an empty one of the other space", 1u << 16 | 1, false, -ENOENT},
    {"a slot that does not log", 0, false, -ENOENT},
    {"bad bitmap", 1, true, -EFAULT},
    {"an empty slot before the bitmap", 2, true, -ENOENT},
};

struct clear_row {
    const char *name;
    u32 slot;
    u64 first_page;
    u32 num_pages;
    bool bad_bitmap;
    s64 want;
};
static const struct clear_row clear_rows[] = {
    {"no such address space", 2u << 16, 0, 64, false, -EINVAL},
    {"no such slot number", HV_USER_MEMSLOTS, 0, 64, false, -EINVAL},
    {"first page within a word", 1, 32, 64, false, -EINVAL},
    {"first page within a word, of no slot", 2, 32, 64, false, -EINVAL},
    {"an empty slot", 2, 0, 64, false, -ENOENT},
    {"a slot that does not log", 0, 0, 64, false, -ENOENT},
    {"begins behind the slot", 1, 1024, 0, false, -EINVAL},
    {"begins far behind the slot", 1, 1ull << 63, 64, false, -EINVAL},
    {"reaches beyond the slot", 1, 960, 64, false, -EINVAL},
    {"ends within a word", 1, 0, 100, false, -EINVAL},
    {"bad bitmap", 1, 0, 64, true, -EFAULT},
    {"nothing", 1, 64, 0, false, 0},
    {"clean pages", 1, 64, 64, false, 0},
    {"the rest of the slot", 1, 960, 40, false, 0},
};

static void logs(void)
{
    u64 *all = heap();
    struct hv_dirty_log *get = heap();
    struct hv_clear_dirty_log *clear = heap();

    make_slots();
    u64 hash = vm_hash(vm_of());

    for (u32 i = 0; i < 16; i++)
        all[i] = ~0ull;
    for (u32 i = 0; i < ARRAY_COUNT(get_rows); i++) {
        test_row("%s", get_rows[i].name);
        *get = (struct hv_dirty_log){get_rows[i].slot, 0, get_rows[i].bad_bitmap ? 16 : (u64)all};
        EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_GET_DIRTY_LOG, get), get_rows[i].want);
        EXPECT_EQ(vm_hash(vm_of()), hash);
    }
    for (u32 i = 0; i < ARRAY_COUNT(clear_rows); i++) {
        const struct clear_row *r = &clear_rows[i];

        test_row("%s", r->name);
        *clear =
            (struct hv_clear_dirty_log){r->slot, r->num_pages, r->first_page, r->bad_bitmap ? 16 : (u64)all};
        EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CLEAR_DIRTY_LOG, clear), r->want);
        EXPECT_EQ(vm_hash(vm_of()), hash);
    }
    test_row("bad pointers");
    EXPECT_EQ(hv_ioctl(t.vm, HV_GET_DIRTY_LOG, 8), -EFAULT);
    EXPECT_EQ(hv_ioctl(t.vm, HV_CLEAR_DIRTY_LOG, 8), -EFAULT);
    test_row("without rings");
    EXPECT_EQ(hv_ioctl(t.vm, HV_RESET_DIRTY_RINGS, 0), -EINVAL);
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_DIRTY_RING_PAGE, 0), -EINVAL);
    EXPECT_EQ(vm_hash(vm_of()), hash);
    test_row("all of it");
    *clear = (struct hv_clear_dirty_log){1, PAGES, 0, (u64)all};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CLEAR_DIRTY_LOG, clear), 0);
    EXPECT_NE(vm_hash(vm_of()), hash);
}
TEST(DirtyErrors, LogsAreRefusedWithoutATrace)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, logs), 0);
}

// --- Capabilities.

struct cap_row {
    const char *name;
    u32 cap, flags;
    u64 argument;
    s64 want;
};

static s64 enable(const struct cap_row *r, int vm)
{
    struct hv_enable_cap *c = heap();

    *c = (struct hv_enable_cap){.cap = r->cap, .flags = r->flags, .args = {r->argument}};
    return hv_ioctl_ptr(vm, HV_ENABLE_CAP, c);
}

#define MANUAL HV_CAP_MANUAL_DIRTY_LOG_PROTECT2
#define RING HV_CAP_DIRTY_LOG_RING
static const struct cap_row late_rows[] = {
    {"initially set alone", MANUAL, 0, HV_DIRTY_LOG_INITIALLY_SET, -EINVAL},
    {"unknown option", MANUAL, 0, 4 | HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE, -EINVAL},
    {"unknown option of 64 bits", MANUAL, 0, 1ull << 40 | 1, -EINVAL},
    {"flags", MANUAL, 1, HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE, -EINVAL},
    {"a ring after the first vCPU", RING, 0, 65536, -EINVAL},
    {"an unknown capability", 9999, 0, 0, -EINVAL},
};
// With a processor that logs 512 pages for itself, and 64 entries in reserve.
static const struct cap_row early_rows[] = {
    {"no size", RING, 0, 0, -EINVAL},
    {"no power of two", RING, 0, 3 * 16384, -EINVAL},
    {"below a page", RING, 0, 2048, -EINVAL},
    {"below the reserve", RING, 0, 8192, -EINVAL},
    {"too large", RING, 0, 2 * HV_DIRTY_RING_ENTRIES_MAX * 16ull, -E2BIG},
    {"far too large", RING, 0, 1ull << 40, -E2BIG},
    {"flags", RING, 1, 16384, -EINVAL},
};

static void caps(void)
{
    u64 hash = vm_hash(vm_of());

    EXPECT_EQ(hv_ioctl(t.vm, HV_CHECK_EXTENSION, MANUAL), 3);
    EXPECT_EQ(hv_ioctl(t.vm, HV_CHECK_EXTENSION, RING), 1 << 20);
    for (u32 i = 0; i < ARRAY_COUNT(late_rows); i++) {
        test_row("%s", late_rows[i].name);
        EXPECT_EQ(enable(&late_rows[i], t.vm), late_rows[i].want);
        EXPECT_EQ(vm_hash(vm_of()), hash);
    }
    int vm = (int)hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    struct vm *early = handle_get(this_host(), vm, HANDLE_VM);

    hash = vm_hash(early);
    for (u32 i = 0; i < ARRAY_COUNT(early_rows); i++) {
        test_row("%s", early_rows[i].name);
        EXPECT_EQ(enable(&early_rows[i], vm), early_rows[i].want);
        EXPECT_EQ(vm_hash(early), hash);
    }
    test_row("twice");
    EXPECT_EQ(enable(&(struct cap_row){"", RING, 0, 16384, 0}, vm), 0);
    hash = vm_hash(early);
    EXPECT_EQ(enable(&(struct cap_row){"", RING, 0, 16384, 0}, vm), -EINVAL);
    EXPECT_EQ(vm_hash(early), hash);
    handle_put(this_host(), vm);
    hv_syscall(HV_SYS_CLOSE, (u64)vm, 0, 0, 0);
}
TEST(DirtyErrors, CapabilitiesAreRefusedWithoutATrace)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, caps), 0);
}

static void ring_vm(void)
{
    struct hv_dirty_log *get = heap();
    struct hv_clear_dirty_log *clear = heap();

    make_slots();
    u64 hash = vm_hash(vm_of());

    *get = (struct hv_dirty_log){1, 0, (u64)heap()};
    *clear = (struct hv_clear_dirty_log){1, 64, 0, (u64)heap()};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_GET_DIRTY_LOG, get), -ENXIO);
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CLEAR_DIRTY_LOG, clear), -ENXIO);
    EXPECT_EQ(vm_hash(vm_of()), hash);
}
TEST(DirtyErrors, BitmapsAreNotForVmsWithRings)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){.dirty_ring_bytes = 16384}, ring_vm), 0);
}
