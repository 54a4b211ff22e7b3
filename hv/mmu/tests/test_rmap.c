// SPDX-License-Identifier: Apache-2.0
// Reverse maps: chains, arrays, and L1's tables as software walks them.
#include "hv/mmu/shadow.h"
#include "hv/x86/tests/vm_fixture.h"
#include "spec/vmx_controls.h"

#define ENTRIES 40u

static u64 sum_of(const struct rmap_head *head, u32 *count)
{
    struct rmap_iterator it;
    u64 sum = 0;

    *count = 0;
    for (u64 *sptep = rmap_first(head, &it); sptep != NULL; sptep = rmap_next(&it), (*count)++)
        sum += *sptep;
    return sum;
}

static void chains(void)
{
    static u64 entries[ENTRIES];
    struct host *host = this_host();
    struct rmap_head head = {0};
    struct rmap_desc *spare = NULL;
    u64 objects = host->heap.objects_in_use, want = 0;
    u32 count;

    for (u32 i = 0; i < ENTRIES; i++) {
        if (spare == NULL)
            spare = kmalloc(host, sizeof(*spare));
        entries[i] = 1ull << i;
        want += entries[i];
        rmap_add(&head, &entries[i], &spare);
        EXPECT_EQ(sum_of(&head, &count), want);
        EXPECT_EQ(count, i + 1);
        // The second entry needs the first descriptor; then one for each 14.
        EXPECT_EQ(spare == NULL, i == 1 || i == 14 || i == 28);
    }
    // Every third one, then the rest from the front.
    for (u32 step = 0; step < 2; step++)
        for (u32 i = 0; i < ENTRIES; i++) {
            if ((i % 3 == 0) != (step == 0))
                continue;
            want -= entries[i];
            rmap_remove(host, &head, &entries[i]);
            EXPECT_EQ(sum_of(&head, &count), want);
        }
    EXPECT_TRUE(rmap_empty(&head));
    kfree(host, spare, sizeof(*spare));
    EXPECT_EQ(host->heap.objects_in_use, objects);
}
TEST(Rmap, HeadsHoldAnyNumberOfEntries)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, chains), 0);
}

static void arrays(void)
{
    struct vm *vm = t.v->vcpu.vm;
    // Begins and ends inside 2 MiB and 1 GiB pages.
    struct memslot slot = {.base_gfn = 0x3ff00, .npages = 0x200};

    EXPECT_TRUE(gfn_to_rmap(&slot, 0x3ff00, 1) == NULL);
    EXPECT_EQ(rmap_alloc_slot(vm, &slot), 0);
    EXPECT_EQ(fake_counter("mem.rmap_bytes"), 8 * (0x200 + 2 + 2));
    EXPECT_EQ(gfn_to_rmap(&slot, 0x400ff, 1) - (struct rmap_head *)slot.arch_rmap[0], 0x1ff);
    EXPECT_EQ(gfn_to_rmap(&slot, 0x3ffff, 2) - (struct rmap_head *)slot.arch_rmap[1], 0);
    EXPECT_EQ(gfn_to_rmap(&slot, 0x40000, 2) - (struct rmap_head *)slot.arch_rmap[1], 1);
    EXPECT_EQ(gfn_to_rmap(&slot, 0x40000, 3) - (struct rmap_head *)slot.arch_rmap[2], 1);
    struct memslot kept = slot;

    EXPECT_EQ(rmap_alloc_slot(vm, &slot), 0); // Nothing is missing.
    EXPECT_TRUE(slot.arch_rmap[0] == kept.arch_rmap[0]);
    rmap_free_slot(vm, &slot, &kept);
    EXPECT_TRUE(slot.arch_rmap[0] != NULL);
    rmap_free_slot(vm, &slot, NULL);
    EXPECT_TRUE(slot.arch_rmap[0] == NULL && slot.arch_rmap[2] == NULL);
}
TEST(Rmap, ArraysHaveAHeadForEachPageOfEachSize)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, arrays), 0);
}

// --- SDM 28.3.3.1.

TEST(Ept12, EntriesAreMisconfiguredAsTheManualSays)
{
    static const struct {
        const char *what;
        u64 entry;
        unsigned level;
        bool want;
    } rows[] = {
        {"a page", 0x40000037, 1, false},
        {"a table", 0x40000007, 2, false},
        {"a table at the top", 0x40000007, 4, false},
        {"writable, not readable", 0x40000032, 1, true},
        {"writable and executable, not readable", 0x40000036, 1, true},
        {"execute-only", 0x40000034, 1, false},
        {"execute-only table", 0x40000004, 2, false},
        {"memory type 2", 0x40000017, 1, true},
        {"memory type 3", 0x4000001f, 1, true},
        {"memory type 7", 0x4000003f, 1, true},
        {"memory type 0", 0x40000007, 1, false},
        {"memory type in a table", 0x40000037, 2, true},
        {"bit 7 in a page is ignored", 0x400000b7, 1, false},
        {"bit 7 at the top", 0x40000087, 4, true},
        {"2 MiB", 0x400000b7, 2, false},
        {"2 MiB, not aligned", 0x400010b7, 2, true},
        {"2 MiB, memory type 3", 0x4000009f, 2, true},
        {"1 GiB", 0x400000b7, 3, false},
        {"1 GiB, aligned to 2 MiB only", 0x402000b7, 3, true},
        {"beyond the physical width", 1ull << 46 | 0x37, 1, true},
        {"the last address", (1ull << 46) - 4096 + 0x37, 1, false},
        {"bits 11:8 and 62:52 are ignored", 0x7ff0000040000f37, 1, false},
    };
    const u64 all = EPT_CAP_EXECUTE_ONLY | EPT_CAP_2M | EPT_CAP_1G;

    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        test_row("%s", rows[i].what);
        EXPECT_EQ(ept12_misconfigured(rows[i].entry, rows[i].level, all, 46), rows[i].want);
    }
    EXPECT_TRUE(ept12_misconfigured(0x40000034, 1, 0, 46)); // Without execute-only.
    EXPECT_TRUE(ept12_misconfigured(0x400000b7, 2, 0, 46)); // Without 2 MiB.
    EXPECT_TRUE(ept12_misconfigured(0x400000b7, 3, EPT_CAP_2M, 46));
}
