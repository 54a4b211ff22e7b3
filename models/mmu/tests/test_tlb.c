// SPDX-License-Identifier: Apache-2.0
// What each invalidation drops and what it must leave (SDM 4.10.4.1, 28.4.3.1), tags, geometry, replacement.
#include "models/mmu/tlb.h"
#include "tests/shim/shim.h"
#include <string.h>

static struct uarch uarch;
static struct tlb tlb;

static void make(void)
{
    memset(&uarch, 0, sizeof uarch);
    uarch.dtlb.entries_4k = 8, uarch.dtlb.ways_4k = 4;
    uarch.dtlb.entries_2m = 4, uarch.dtlb.ways_2m = 4;
    uarch.dtlb.entries_1g = 2, uarch.dtlb.ways_1g = 2;
    uarch.itlb.entries_4k = 8, uarch.itlb.ways_4k = 8;
    uarch.itlb.entries_2m = 2, uarch.itlb.ways_2m = 2;
    uarch.stlb.entries = 128, uarch.stlb.ways = 8, uarch.stlb.holds_2m = 1;
    uarch.paging_cache.pml4_entries = uarch.paging_cache.pdpt_entries = uarch.paging_cache.pd_entries = 8;
    uarch.paging_cache.ept_pml4_entries = uarch.paging_cache.ept_pdpt_entries =
        uarch.paging_cache.ept_pd_entries = 8;
    uarch.paging_cache.nested_entries = uarch.paging_cache.nested_ways = 4;
    tlb_create(&tlb, &uarch);
}

static struct tlb_numbers numbers(uint64_t ep4ta, unsigned vpid, unsigned pcid, bool ept)
{
    struct tlb_numbers n;

    tlb_numbers_make(&tlb, &(struct tlb_tag){ep4ta, (uint16_t)vpid, (uint16_t)pcid, false}, ept, &n);
    return n;
}

static struct array_value page(uint64_t address, bool global)
{
    return (struct array_value){.hpa = 0x40000000 + (address & ~0xfffull),
                                .page_bits = 12,
                                .rights = (uint16_t)(MMU_R | (global ? MMU_GLOBAL : 0))};
}

// One of each that some invalidation must tell apart.
enum what { TRANSLATION, TABLE, EPT_TABLE, NESTED };
enum {
    COMBINED,
    OTHER_PAGE,
    OTHER_VPID,
    OTHER_EPT,
    OTHER_PCID,
    GLOBAL,
    COMBINED_TABLE,
    FAR_TABLE,
    OTHER_PCID_TABLE,
    OTHER_EPT_TABLE,
    PHYSICAL,
    PHYSICAL_OTHER_PAGE,
    PHYSICAL_OTHER_EPT,
    PHYSICAL_TABLE,
    PHYSICAL_FAR_TABLE,
    LINEAR,
    LINEAR_TABLE,
    VPID0,
    ALL
};
static const struct {
    enum what what;
    bool ept;
    uint64_t ep4ta;
    unsigned vpid, pcid;
    uint64_t address;
    bool global;
} samples[ALL] = {
    [COMBINED] = {TRANSLATION, true, 0xa000, 1, 5, 0x1000, false},
    [OTHER_PAGE] = {TRANSLATION, true, 0xa000, 1, 5, 0x2000, false},
    [OTHER_VPID] = {TRANSLATION, true, 0xa000, 2, 5, 0x1000, false},
    [OTHER_EPT] = {TRANSLATION, true, 0xb000, 1, 5, 0x1000, false},
    [OTHER_PCID] = {TRANSLATION, true, 0xa000, 1, 6, 0x1000, false},
    [GLOBAL] = {TRANSLATION, true, 0xa000, 1, 5, 0x4000, true},
    [COMBINED_TABLE] = {TABLE, true, 0xa000, 1, 5, 0x1000, false},
    [FAR_TABLE] = {TABLE, true, 0xa000, 1, 5, 0x40000000, false},
    [OTHER_PCID_TABLE] = {TABLE, true, 0xa000, 1, 6, 0x1000, false},
    [OTHER_EPT_TABLE] = {TABLE, true, 0xb000, 1, 5, 0x1000, false},
    [PHYSICAL] = {NESTED, true, 0xa000, 0, 0, 0x1000, false},
    [PHYSICAL_OTHER_PAGE] = {NESTED, true, 0xa000, 0, 0, 0x2000, false},
    [PHYSICAL_OTHER_EPT] = {NESTED, true, 0xb000, 0, 0, 0x1000, false},
    [PHYSICAL_TABLE] = {EPT_TABLE, true, 0xa000, 0, 0, 0x1000, false},
    [PHYSICAL_FAR_TABLE] = {EPT_TABLE, true, 0xa000, 0, 0, 0x40000000, false},
    [LINEAR] = {TRANSLATION, false, 0, 1, 5, 0x5000, false},
    [LINEAR_TABLE] = {TABLE, false, 0, 1, 5, 0x1000, false},
    [VPID0] = {TRANSLATION, false, 0, 0, 5, 0x5000, false},
};

static void put(unsigned i)
{
    struct tlb_numbers n = numbers(samples[i].ep4ta, samples[i].vpid, samples[i].pcid, samples[i].ept);
    struct array_value v = page(samples[i].address, samples[i].global);

    switch (samples[i].what) {
    case TRANSLATION:
        tlb_insert(&tlb, &n, samples[i].address, false, &v);
        break;
    case TABLE:
    case EPT_TABLE:
        tlb_insert_table(&tlb, &n, samples[i].what == EPT_TABLE, 4, 1, samples[i].address, &v);
        break;
    case NESTED:
        tlb_insert_nested(&tlb, &n, samples[i].address, &v);
        break;
    }
}

static bool has(unsigned i)
{
    struct tlb_numbers n = numbers(samples[i].ep4ta, samples[i].vpid, samples[i].pcid, samples[i].ept);
    enum tlb_where where;
    unsigned level;

    switch (samples[i].what) {
    case TRANSLATION:
        return tlb_find(&tlb, &n, samples[i].address, false, &where) != NULL;
    case TABLE:
    case EPT_TABLE:
        return tlb_find_table(&tlb, &n, samples[i].what == EPT_TABLE, 4, samples[i].address, &level) != NULL;
    case NESTED:
        break;
    }
    return tlb_find_nested(&tlb, &n, samples[i].address) != NULL;
}

static void fill(void)
{
    make();
    for (unsigned i = 0; i < ALL; i++)
        put(i);
    for (unsigned i = 0; i < ALL; i++) {
        test_row("before, sample %u", i);
        EXPECT_TRUE(has(i));
    }
}

// `gone`: bits of the samples that must be dropped; all others must stay.
static void expect_gone(unsigned gone)
{
    for (unsigned i = 0; i < ALL; i++) {
        test_row("sample %u", i);
        EXPECT_EQ(has(i), !((gone >> i) & 1));
    }
    tlb_destroy(&tlb);
}
#define B(x) (1u << (x))

TEST(Tlb, InveptSingleDropsItsEp4taInEveryVpid)
{
    fill();
    tlb_invept_single(&tlb, 0xa000);
    expect_gone(~(B(OTHER_EPT) | B(OTHER_EPT_TABLE) | B(PHYSICAL_OTHER_EPT) | B(LINEAR) | B(LINEAR_TABLE) |
                  B(VPID0)));
}

TEST(Tlb, InveptAllLeavesLinearMappings)
{
    fill();
    tlb_invept_all(&tlb);
    expect_gone(~(B(LINEAR) | B(LINEAR_TABLE) | B(VPID0)));
}

TEST(Tlb, InvvpidAddressDropsWhatTranslatesItInEveryPcidAndEpt)
{
    fill();
    tlb_invvpid_address(&tlb, 1, 0x1fff);
    expect_gone(B(COMBINED) | B(OTHER_EPT) | B(OTHER_PCID) | B(COMBINED_TABLE) | B(OTHER_PCID_TABLE) |
                B(OTHER_EPT_TABLE) | B(LINEAR_TABLE));
}

#define OF_VPID_1                                                                                            \
    (B(COMBINED) | B(OTHER_PAGE) | B(OTHER_EPT) | B(OTHER_PCID) | B(GLOBAL) | B(COMBINED_TABLE) |            \
     B(FAR_TABLE) | B(OTHER_PCID_TABLE) | B(OTHER_EPT_TABLE) | B(LINEAR) | B(LINEAR_TABLE))

TEST(Tlb, InvvpidSingle)
{
    fill();
    tlb_invvpid_single(&tlb, 1, false);
    expect_gone(OF_VPID_1);
}

TEST(Tlb, InvvpidSingleRetainingGlobals)
{
    fill();
    tlb_invvpid_single(&tlb, 1, true);
    expect_gone(OF_VPID_1 & ~B(GLOBAL));
}

TEST(Tlb, InvvpidAllSparesVpid0AndGuestPhysical)
{
    fill();
    tlb_invvpid_all(&tlb);
    expect_gone(OF_VPID_1 | B(OTHER_VPID));
}

TEST(Tlb, MovToCr3DropsThePcidButGlobals)
{
    fill();
    tlb_flush_pcid(&tlb, 1, 5, true);
    expect_gone(OF_VPID_1 & ~(B(OTHER_PCID) | B(OTHER_PCID_TABLE) | B(GLOBAL)));
}

TEST(Tlb, InvlpgDropsThePageAndEveryTableOfThePcid)
{
    fill();
    tlb_flush_linear(&tlb, 1, 5, 0x1234);
    expect_gone(B(COMBINED) | B(OTHER_EPT) | B(COMBINED_TABLE) | B(FAR_TABLE) | B(OTHER_EPT_TABLE) |
                B(LINEAR_TABLE));
}

TEST(Tlb, InvlpgDropsGlobalsToo)
{
    fill();
    tlb_flush_linear(&tlb, 1, 6, 0x4000);
    expect_gone(B(GLOBAL) | B(OTHER_PCID_TABLE));
}

TEST(Tlb, InvpcidOfAnAddressSparesGlobalsAndFarTables)
{
    fill();
    tlb_flush_pcid_linear(&tlb, 1, 5, 0x4000, true);
    expect_gone(B(COMBINED_TABLE) | B(OTHER_EPT_TABLE) | B(LINEAR_TABLE)); // Of the region; no page of it.
    fill();
    tlb_flush_pcid_linear(&tlb, 1, 5, 0x4000, false); // A page fault.
    expect_gone(B(GLOBAL) | B(COMBINED_TABLE) | B(OTHER_EPT_TABLE) | B(LINEAR_TABLE));
}

TEST(Tlb, ViolationDropsTheMappingsOfItsAddresses)
{
    fill();
    tlb_flush_violation(&tlb, &(struct tlb_tag){0xa000, 1, 5, false}, 0x1000, true, 0x2000);
    expect_gone(B(PHYSICAL) | B(PHYSICAL_TABLE) | B(OTHER_PAGE) | B(COMBINED_TABLE));
    fill();
    tlb_flush_violation(&tlb, &(struct tlb_tag){0xa000, 1, 5, false}, 0x1000, false, 0x2000);
    expect_gone(B(PHYSICAL) | B(PHYSICAL_TABLE));
}

TEST(Tlb, AThousandFlushesBringNothingBack)
{
    fill();
    for (unsigned i = 0; i < 1000; i++) {
        tlb_invvpid_single(&tlb, 1, false);
        if (has(COMBINED) || has(GLOBAL) || has(COMBINED_TABLE))
            TEST_FAIL("back after %u", i);
        put(COMBINED);
        EXPECT_TRUE(has(COMBINED));
        EXPECT_TRUE(has(OTHER_VPID));
    }
    tlb_destroy(&tlb);
}

TEST(Tlb, MoreContextsThanNumbersLoseTheOldestOnly)
{
    struct array_value v = page(0x1000, false);
    enum tlb_where where;

    make();
    for (unsigned pcid = 0; pcid < 4096; pcid++) {
        struct tlb_numbers n = numbers(0xa000, 1, pcid, true);

        tlb_insert(&tlb, &n, 0x1000, false, &v);
        ASSERT_TRUE(tlb_find(&tlb, &n, 0x1000, false, &where) != NULL);
    }
    struct tlb_numbers n = numbers(0xa000, 1, 0, true);

    EXPECT_TRUE(tlb_find(&tlb, &n, 0x1000, false, &where) == NULL);
    tlb_destroy(&tlb);
}

TEST(Tlb, GlobalTranslationsHoldForEveryPcid)
{
    struct tlb_numbers n;
    enum tlb_where where;

    fill();
    n = numbers(0xa000, 1, 77, true);
    EXPECT_TRUE(tlb_find(&tlb, &n, 0x4000, false, &where) != NULL);
    EXPECT_TRUE(tlb_find(&tlb, &n, 0x1000, false, &where) == NULL);
    n = numbers(0xa000, 2, 5, true);
    EXPECT_TRUE(tlb_find(&tlb, &n, 0x4000, false, &where) == NULL);
    tlb_destroy(&tlb);
}

static void insert(const struct tlb_numbers *n, uint64_t address)
{
    struct array_value v = page(address, false);

    tlb_insert(&tlb, n, address, false, &v);
}

static enum tlb_where find(const struct tlb_numbers *n, uint64_t address, bool fetch)
{
    enum tlb_where where;

    tlb_find(&tlb, n, address, fetch, &where);
    return where;
}

TEST(Tlb, SecondLevelRefillsTheFirst)
{
    struct tlb_numbers n;
    enum tlb_where where;

    make();
    n = numbers(0xa000, 1, 0, true);
    // Five pages of one set of four ways: the first falls out of the first level, not of the second.
    for (uint64_t i = 0; i < 5; i++)
        insert(&n, i * 0x2000);
    EXPECT_EQ(tlb_find(&tlb, &n, 0x8abc, false, &where)->hpa, 0x40008000);
    EXPECT_EQ(where, TLB_HIT_L1);
    EXPECT_EQ(find(&n, 0, false), TLB_HIT_L2);
    EXPECT_EQ(find(&n, 0, false), TLB_HIT_L1);
    EXPECT_EQ(find(&n, 0x2000, false), TLB_HIT_L2); // It made room.
    tlb_destroy(&tlb);
}

TEST(Tlb, LeastRecentlyUsedGoesFirst)
{
    struct tlb_numbers n;

    make();
    n = numbers(0xa000, 1, 0, true);
    // Second level: 16 sets of 8 ways; pages 64 KiB apart share a set.
    for (uint64_t i = 0; i < 8; i++)
        insert(&n, i << 16);
    for (uint64_t i = 0; i < 8; i++)
        if (i != 1)
            find(&n, i << 16, true); // As fetches: through the second level.
    insert(&n, 8ull << 16);
    EXPECT_NE(find(&n, 0, false), TLB_MISS);
    EXPECT_EQ(find(&n, 1ull << 16, true), TLB_MISS);
    tlb_destroy(&tlb);
}

TEST(Tlb, EntriesOfAFlushedContextMakeRoomFirst)
{
    struct tlb_numbers n, other;

    make();
    n = numbers(0xa000, 1, 0, true);
    other = numbers(0xa000, 2, 0, true);
    insert(&n, 0);
    for (uint64_t i = 1; i < 8; i++)
        insert(&other, i << 16);
    tlb_invvpid_single(&tlb, 2, false);
    for (uint64_t i = 8; i < 15; i++)
        insert(&n, i << 16);
    EXPECT_NE(find(&n, 0, false), TLB_MISS); // The oldest of all, and still the eighth of its set.
    tlb_destroy(&tlb);
}

TEST(Tlb, PagesOfEachSizeCoverTheirRange)
{
    static const uint8_t sizes[] = {12, 21, 30};

    for (unsigned i = 0; i < 3; i++) {
        struct array_value v = {.hpa = 3ull << 30, .page_bits = sizes[i], .rights = MMU_R};
        uint64_t last = (5ull << 30) + (1ull << sizes[i]) - 1;
        struct tlb_numbers n;

        make();
        n = numbers(0xa000, 1, 0, true);
        tlb_insert(&tlb, &n, 5ull << 30, false, &v);
        EXPECT_EQ(find(&n, last, false), TLB_HIT_L1);
        EXPECT_EQ(find(&n, last + 1, false), TLB_MISS);
        tlb_invvpid_address(&tlb, 1, last);
        EXPECT_EQ(find(&n, 5ull << 30, false), TLB_MISS);
        tlb_destroy(&tlb);
    }
}

TEST(Tlb, TableCacheGivesTheDeepestTable)
{
    struct array_value pd = {.hpa = 0x3000}, pt = {.hpa = 0x4000};
    struct tlb_numbers n;
    unsigned level;

    make();
    n = numbers(0xa000, 1, 0, true);
    for (unsigned ept = 0; ept < 2; ept++) {
        tlb_insert_table(&tlb, &n, ept, 4, 2, 0x12345000, &pd);
        tlb_insert_table(&tlb, &n, ept, 4, 1, 0x12345000, &pt);
        EXPECT_EQ(tlb_find_table(&tlb, &n, ept, 4, 0x12345000, &level)->hpa, 0x4000);
        EXPECT_EQ(level, 1);
        // Another page table of the same directory.
        EXPECT_EQ(tlb_find_table(&tlb, &n, ept, 4, 0x12345000 + (1u << 21), &level)->hpa, 0x3000);
        EXPECT_EQ(level, 2);
        EXPECT_TRUE(tlb_find_table(&tlb, &n, ept, 4, 0x12345000 + (1u << 30), &level) == NULL);
    }
    tlb_destroy(&tlb);
}

TEST(Tlb, AStructureWithoutEntriesIsOff)
{
    struct tlb_numbers n;
    enum tlb_where where;

    make();
    uarch = (struct uarch){.dtlb = {0}};
    tlb_reset(&tlb, &uarch);
    for (unsigned i = 0; i < ALL; i++)
        put(i);
    for (unsigned i = 0; i < ALL; i++)
        EXPECT_FALSE(has(i));
    n = numbers(0xa000, 1, 5, true);
    EXPECT_TRUE(tlb_find(&tlb, &n, 0x1000, true, &where) == NULL);
    tlb_invept_all(&tlb);
    tlb_destroy(&tlb);
}
