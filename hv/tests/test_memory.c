// SPDX-License-Identifier: Apache-2.0
// Pages, heap and the address space of a user process.
#include "hv/core/hostmm.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/tests/fake_arch.h"
#include "hv/tests/fake_hw.h"
#include "tests/shim/shim.h"

static void run(void (*body)(void *), u64 memory_bytes)
{
    struct fake_config config = {.cpus = 1, .memory_bytes = memory_bytes};
    fake_arch_reset();
    EXPECT_EQ(fake_run(&config, body, NULL), 0);
    EXPECT_STREQ(fake_panic(), "");
    EXPECT_EQ(fake_violations(NULL), 0);
}

static u64 next_random(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

// --- Pages. ---

static void pages_body(void *arg)
{
    struct host *host = this_host();
    static struct {
        pfn_t pfn;
        unsigned order;
    } held[64];
    u64 state = 11, before = host->pages.free_pages;
    u32 orders = host->pages.nonempty_orders;
    (void)arg;
    for (unsigned i = 0; i < 64; i++)
        held[i].pfn = PFN_NONE;
    for (unsigned round = 0; round < 1500; round++) {
        unsigned i = (unsigned)(next_random(&state) % 64);
        if (held[i].pfn != PFN_NONE) {
            pages_free(host, held[i].pfn, held[i].order, MEM_GUEST);
            held[i].pfn = PFN_NONE;
            continue;
        }
        held[i].order = (unsigned)(next_random(&state) % 11);
        held[i].pfn = pages_alloc(host, held[i].order, MEM_GUEST);
        if (held[i].pfn == PFN_NONE)
            continue;
        ASSERT_EQ(held[i].pfn & ((1ull << held[i].order) - 1), 0);
        for (unsigned k = 0; k < 64; k++) {
            if (k == i || held[k].pfn == PFN_NONE)
                continue;
            bool apart = held[i].pfn + (1ull << held[i].order) <= held[k].pfn ||
                         held[k].pfn + (1ull << held[k].order) <= held[i].pfn;
            ASSERT_TRUE(apart);
        }
        *(u64 *)pfn_to_va(host, held[i].pfn) = ~0ull;
    }
    for (unsigned i = 0; i < 64; i++) {
        if (held[i].pfn != PFN_NONE)
            pages_free(host, held[i].pfn, held[i].order, MEM_GUEST);
    }
    // Everything has merged again.
    EXPECT_EQ(host->pages.free_pages, before);
    EXPECT_EQ(host->pages.nonempty_orders, orders);
    EXPECT_EQ(host->pages.owner_pages[MEM_GUEST], 0);
}

TEST(HvPages, BlocksAreAlignedDisjointAndMergeBack)
{
    run(pages_body, 32ull << 20);
}

static bool all_zero(const u64 *words, u64 bytes)
{
    for (u64 i = 0; i < bytes / 8; i++) {
        if (words[i] != 0)
            return false;
    }
    return true;
}

static void zero_body(void *arg)
{
    struct host *host = this_host();
    u64 size = 2ull << 20;
    (void)arg;
    pfn_t fresh = pages_alloc_zeroed(host, PAGE_ORDER_2M, MEM_GUEST);
    EXPECT_TRUE(all_zero(pfn_to_va(host, fresh), size));
    u64 *words = pfn_to_va(host, fresh);
    words[5000] = 7;
    pages_free(host, fresh, PAGE_ORDER_2M, MEM_GUEST);
    // The most recently freed block comes first.
    pfn_t again = pages_alloc_zeroed(host, PAGE_ORDER_2M, MEM_GUEST);
    EXPECT_EQ(again, fresh);
    EXPECT_TRUE(all_zero(pfn_to_va(host, again), size));
}

TEST(HvPages, LargeBlocksComeZeroedNewAndUsed)
{
    run(zero_body, 32ull << 20);
}

static void exhaust_body(void *arg)
{
    struct host *host = this_host();
    u64 count = 0;
    (void)arg;
    while (pages_alloc(host, 0, MEM_USER) != PFN_NONE)
        count++;
    EXPECT_EQ(count, host->pages.owner_pages[MEM_USER]);
    EXPECT_EQ(host->pages.free_pages, 0);
    EXPECT_TRUE(kmalloc(host, 8192) == NULL);
    EXPECT_TRUE(page_alloc_zeroed(host, MEM_KERNEL) == NULL);
}

TEST(HvPages, RunOutWithoutHarm)
{
    run(exhaust_body, 8ull << 20);
}

static void gigabyte_body(void *arg)
{
    (void)arg;
    pfn_t pfn = pages_alloc(this_host(), PAGE_ORDER_1G, MEM_GUEST);
    EXPECT_NE(pfn, PFN_NONE);
    EXPECT_EQ(pfn & ((1ull << PAGE_ORDER_1G) - 1), 0);
}

TEST(HvPages, GiveAGigabyteInOnePiece)
{
    run(gigabyte_body, 3ull << 30);
}

// --- Heap. ---

static void heap_body(void *arg)
{
    struct host *host = this_host();
    static const u64 sizes[] = {1, 16, 17, 64, 100, 512, 2048, 4096, 4097, 20000};
    u8 *objects[ARRAY_COUNT(sizes)];
    u64 before = host->heap.objects_in_use;
    (void)arg;
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        objects[i] = kmalloc(host, sizes[i]);
        EXPECT_TRUE(objects[i] != NULL);
        EXPECT_EQ((u64)objects[i] % (sizes[i] >= 64 ? 64 : 16), 0);
        memset(objects[i], (int)i + 1, sizes[i]);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        EXPECT_EQ(objects[i][0], i + 1);
        EXPECT_EQ(objects[i][sizes[i] - 1], i + 1);
        kfree(host, objects[i], sizes[i]);
    }
    EXPECT_EQ(host->heap.objects_in_use, before);
    u64 *again = kzalloc(host, 512);
    EXPECT_TRUE(all_zero(again, 512));
    kfree(host, again, 512);
    kfree(host, NULL, 100);
}

TEST(HvHeap, ObjectsAreAlignedSeparateAndReused)
{
    run(heap_body, 0);
}

// --- Address space. ---

static void mmap_errors_body(void *arg)
{
    struct hostmm *mm = current_thread()->mm;
    static const struct {
        u64 size;
        unsigned shift;
        u64 flags;
        s64 want;
    } rows[] = {
        {0, 12, 0, -EINVAL},
        {4096, 13, 0, -EINVAL},
        {4097, 12, 0, -EINVAL},
        {4096, 21, 0, -EINVAL},
        {4096, 12, 8, -EINVAL},
        {1ull << 50, 30, 0, -ENOMEM},
        {1ull << 40, 12, HV_MAP_DIRECT, -ENOMEM},
    };
    (void)arg;
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
        test_row("row %u", i);
        EXPECT_EQ(hostmm_mmap(mm, rows[i].size, rows[i].shift, rows[i].flags), rows[i].want);
    }
    EXPECT_EQ(hostmm_munmap(mm, 0x1000, 4096), -EINVAL);
    EXPECT_EQ(hostmm_discard(mm, HOSTMM_GUEST_BASE, 4096, false), -EINVAL);
}

TEST(HvHostmm, RefusesBadRanges)
{
    run(mmap_errors_body, 0);
}

static void first_touch_body(void *arg)
{
    struct host *host = this_host();
    struct hostmm *mm = current_thread()->mm;
    static const unsigned shifts[] = {12, 21};
    (void)arg;
    for (unsigned i = 0; i < ARRAY_COUNT(shifts); i++) {
        u64 page_bytes = 1ull << shifts[i], resident = mm->resident_pages;
        struct user_page page, other;
        s64 at = hostmm_mmap(mm, 4 * page_bytes, shifts[i], HV_MAP_GUEST);
        test_row("page shift %u", shifts[i]);
        ASSERT_GT(at, 0);
        EXPECT_EQ(mm->resident_pages, resident);
        EXPECT_FALSE(get_user_page_fast(mm, (hva_t)at + page_bytes, true, &page));
        EXPECT_EQ(get_user_page(mm, (hva_t)at + page_bytes + page_bytes / 2, true, &page), 0);
        EXPECT_EQ(page.page_shift, shifts[i]);
        EXPECT_EQ(mm->resident_pages, resident + page_bytes / PAGE_SIZE);
        EXPECT_TRUE(get_user_page_fast(mm, (hva_t)at + page_bytes, true, &other));
        EXPECT_EQ(page.pfn - other.pfn, page_bytes / 2 / PAGE_SIZE);
        *(u64 *)pfn_to_va(host, page.pfn) = 1;
        // Dropped pages come back zeroed.
        EXPECT_EQ(hostmm_discard(mm, (hva_t)at + page_bytes, page_bytes, false), 0);
        EXPECT_EQ(mm->resident_pages, resident);
        EXPECT_EQ(get_user_page(mm, (hva_t)at + page_bytes + page_bytes / 2, true, &page), 0);
        EXPECT_EQ(*(u64 *)pfn_to_va(host, page.pfn), 0);
        EXPECT_EQ(get_user_page(mm, (hva_t)at + 4 * page_bytes, false, &page), -EFAULT);
        EXPECT_EQ(hostmm_munmap(mm, (hva_t)at, 4 * page_bytes), 0);
        EXPECT_EQ(get_user_page(mm, (hva_t)at, false, &page), -EFAULT);
        EXPECT_EQ(mm->resident_pages, resident);
    }
}

TEST(HvHostmm, PagesAppearAtFirstTouch)
{
    run(first_touch_body, 64ull << 20);
}

static u64 *content(struct hostmm *mm, hva_t hva)
{
    struct user_page page;

    EXPECT_EQ(get_user_page(mm, hva, true, &page), 0);
    return pfn_to_va(this_host(), page.pfn);
}

static void free_marks_body(void *arg)
{
    struct hostmm *mm = current_thread()->mm;
    s64 at = hostmm_mmap(mm, 8192, 12, HV_MAP_GUEST);
    u64 resident = mm->resident_pages;
    (void)arg;
    ASSERT_GT(at, 0);
    *content(mm, (hva_t)at) = 1;
    EXPECT_EQ(hostmm_discard(mm, (hva_t)at, 8192, true), 0); // One page is there, one is not.
    EXPECT_EQ(mm->resident_pages, resident + 1);
    EXPECT_EQ(mm->free_marks, 1);
    EXPECT_EQ(hostmm_discard(mm, (hva_t)at, 8192, true), 0);
    EXPECT_EQ(mm->free_marks, 1);
    EXPECT_EQ(*content(mm, (hva_t)at), 1);
    EXPECT_EQ(mm->free_marks, 0);
    // Marked again, then dropped for good.
    EXPECT_EQ(hostmm_discard(mm, (hva_t)at, 4096, true), 0);
    EXPECT_EQ(hostmm_discard(mm, (hva_t)at, 4096, false), 0);
    EXPECT_EQ(mm->free_marks, 0);
    EXPECT_EQ(mm->resident_pages, resident);
    EXPECT_EQ(*content(mm, (hva_t)at), 0);
}

// madvise(2), MADV_FREE: the free operation is cancelled by a touch, and the content is still there.
TEST(HvHostmm, AMarkedPageIsKeptByATouch)
{
    run(free_marks_body, 64ull << 20);
}

// Touches pages of 2 MiB from hva on until none is left. How many.
static u64 fill(struct hostmm *mm, hva_t hva, u64 pages_max)
{
    struct user_page page;
    u64 n = 0;

    while (n < pages_max && get_user_page(mm, hva + (n << 21), true, &page) == 0) {
        *(u64 *)pfn_to_va(this_host(), page.pfn) = n + 1;
        n++;
    }
    return n;
}

static void reclaim_body(void *arg)
{
    struct hostmm *mm = current_thread()->mm;
    s64 at = hostmm_mmap(mm, 256ull << 20, 21, HV_MAP_GUEST), other = hostmm_mmap(mm, 256ull << 20, 21, 0);
    u64 fit = fill(mm, (hva_t)at, 128);
    (void)arg;
    ASSERT_TRUE(fit > 40 && fit < 128);
    EXPECT_EQ(fill(mm, (hva_t)other, 1), 0);
    // One is taken back by a touch; the others go, 32 at a time, to whoever needs them, and no more.
    EXPECT_EQ(hostmm_discard(mm, (hva_t)at, 35ull << 21, true), 0);
    EXPECT_EQ(*content(mm, (hva_t)at + (5ull << 21)), 6);
    EXPECT_EQ(fill(mm, (hva_t)other, 1), 1);
    EXPECT_EQ(mm->free_marks, 29); // The five before it went first.
    EXPECT_EQ(fill(mm, (hva_t)other, 5), 5);
    EXPECT_EQ(mm->free_marks, 29);
    EXPECT_EQ(fill(mm, (hva_t)other, 128), 34);
    EXPECT_EQ(mm->free_marks, 0);
    EXPECT_EQ(*content(mm, (hva_t)at + (5ull << 21)), 6);
    EXPECT_EQ(*content(mm, (hva_t)at + (40ull << 21)), 41);
}

TEST(HvHostmm, MarkedPagesAreTakenWhenMemoryIsShort)
{
    run(reclaim_body, 128ull << 20);
}

static void populate_body(void *arg)
{
    struct hostmm *mm = current_thread()->mm;
    u64 free_pages = this_host()->pages.free_pages;
    (void)arg;
    EXPECT_GT(hostmm_mmap(mm, 1ull << 20, 12, HV_MAP_POPULATE), 0);
    EXPECT_EQ(mm->resident_pages, 256);
    // More than there is: refused, and nothing kept but page tables.
    EXPECT_EQ(hostmm_mmap(mm, 1ull << 30, 12, HV_MAP_POPULATE), -ENOMEM);
    EXPECT_EQ(mm->resident_pages, 256);
    EXPECT_GT(this_host()->pages.free_pages, free_pages - 256 - 80);
}

TEST(HvHostmm, PopulateIsAllOrNothing)
{
    run(populate_body, 48ull << 20);
}

static void copy_body(void *arg)
{
    struct hostmm *mm = current_thread()->mm;
    u64 value = 77, got = 0;
    (void)arg;
    s64 heap = hostmm_mmap(mm, 8192, 12, HV_MAP_DIRECT);
    ASSERT_GT(heap, 0);
    const struct {
        u64 address;
        int want;
    } rows[] = {
        {(u64)heap, 0},
        {(u64)heap + 8184, 0},
        {(u64)heap + 8188, -EFAULT}, // Crosses the end.
        {0, -EFAULT},
        {8, -EFAULT},
        {UINT64_MAX - 3, -EFAULT},
        {1ull << 60, -EFAULT},
        {HW_ARENA_BASE + 0x200000, -EFAULT}, // The kernel's memory.
        {HOSTMM_GUEST_BASE, -EFAULT},
        {(u64)&got, 0}, // The stack.
    };
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++) {
        test_row("row %u", i);
        EXPECT_EQ(copy_to_user(mm, rows[i].address, &value, sizeof(value)), rows[i].want);
        if (rows[i].want != 0) {
            EXPECT_EQ(copy_from_user(mm, &got, rows[i].address, sizeof(got)), -EFAULT);
            continue;
        }
        got = 0;
        EXPECT_EQ(copy_from_user(mm, &got, rows[i].address, sizeof(got)), 0);
        EXPECT_EQ(got, rows[i].address == (u64)&got ? 0 : 77);
    }
}

TEST(HvHostmm, UserPointersAreChecked)
{
    run(copy_body, 0);
}
