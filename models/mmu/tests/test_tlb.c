// SPDX-License-Identifier: Apache-2.0
// What each invalidation drops and what it must leave (SDM 28.4.3.1), tags, geometry, replacement.
#include "models/mmu/tlb.h"
#include "tests/shim/shim.h"
#include <string.h>

static struct uarch uarch;
static struct tlb *tlb;

static void make(void)
{
    memset(&uarch, 0, sizeof uarch);
    uarch.dtlb.entries_4k = 8, uarch.dtlb.ways_4k = 4;
    uarch.dtlb.entries_2m = 4, uarch.dtlb.ways_2m = 4;
    uarch.dtlb.entries_1g = 2, uarch.dtlb.ways_1g = 2;
    uarch.itlb.entries_4k = 8, uarch.itlb.ways_4k = 8;
    uarch.itlb.entries_2m = 2, uarch.itlb.ways_2m = 2;
    uarch.stlb.entries = 128, uarch.stlb.ways = 8, uarch.stlb.holds_2m = 1;
    uarch.paging_cache.pml4_entries = uarch.paging_cache.pdpt_entries = uarch.paging_cache.pd_entries = 2;
    tlb = tlb_create(&uarch);
}

static void put(enum tlb_kind kind, uint64_t ep4ta, unsigned vpid, unsigned pcid, uint64_t address,
                bool global)
{
    struct tlb_mapping m = {.tag = {ep4ta, (uint16_t)vpid, (uint16_t)pcid},
                            .address = address,
                            .hpa = 0x40000000 + (address & ~0xfffull),
                            .kind = (uint8_t)kind,
                            .page_bits = 12,
                            .rights = 7,
                            .dirty = true,
                            .global = global};

    tlb_insert(tlb, &m, false);
}

static bool has(enum tlb_kind kind, uint64_t ep4ta, unsigned vpid, unsigned pcid, uint64_t address)
{
    struct tlb_tag tag = {ep4ta, (uint16_t)vpid, (uint16_t)pcid};
    struct tlb_mapping m;

    return tlb_lookup(tlb, kind, &tag, address, false, &m) != TLB_MISS;
}

// One of each that some invalidation must tell apart.
enum {
    COMBINED,
    OTHER_PAGE,
    OTHER_VPID,
    OTHER_EPT,
    OTHER_PCID,
    GLOBAL,
    PHYSICAL,
    PHYSICAL_OTHER_EPT,
    LINEAR,
    VPID0,
    ALL
};
static const struct {
    enum tlb_kind kind;
    uint64_t ep4ta;
    unsigned vpid, pcid;
    uint64_t address;
    bool global;
} samples[ALL] = {
    [COMBINED] = {TLB_COMBINED, 0xa000, 1, 5, 0x1000, false},
    [OTHER_PAGE] = {TLB_COMBINED, 0xa000, 1, 5, 0x2000, false},
    [OTHER_VPID] = {TLB_COMBINED, 0xa000, 2, 5, 0x1000, false},
    [OTHER_EPT] = {TLB_COMBINED, 0xb000, 1, 5, 0x1000, false},
    [OTHER_PCID] = {TLB_COMBINED, 0xa000, 1, 6, 0x3000, false},
    [GLOBAL] = {TLB_COMBINED, 0xa000, 1, 5, 0x4000, true},
    [PHYSICAL] = {TLB_GUEST_PHYSICAL, 0xa000, 0, 0, 0x1000, false},
    [PHYSICAL_OTHER_EPT] = {TLB_GUEST_PHYSICAL, 0xb000, 0, 0, 0x1000, false},
    [LINEAR] = {TLB_LINEAR, 0, 1, 5, 0x5000, false},
    [VPID0] = {TLB_LINEAR, 0, 0, 5, 0x5000, false},
};

static void fill(void)
{
    make();
    for (unsigned i = 0; i < ALL; i++)
        put(samples[i].kind, samples[i].ep4ta, samples[i].vpid, samples[i].pcid, samples[i].address,
            samples[i].global);
}

// `gone`: bits of the samples that must be dropped; all others must stay.
static void expect_gone(unsigned gone)
{
    for (unsigned i = 0; i < ALL; i++) {
        test_row("sample %u", i);
        EXPECT_EQ(
            has(samples[i].kind, samples[i].ep4ta, samples[i].vpid, samples[i].pcid, samples[i].address),
            !((gone >> i) & 1));
    }
    tlb_destroy(tlb);
}
#define B(x) (1u << (x))

TEST(Tlb, InveptSingleDropsItsEp4taInEveryVpid)
{
    fill();
    tlb_invept_single(tlb, 0xa000);
    expect_gone(B(COMBINED) | B(OTHER_PAGE) | B(OTHER_VPID) | B(OTHER_PCID) | B(GLOBAL) | B(PHYSICAL));
}

TEST(Tlb, InveptAllLeavesLinearMappings)
{
    fill();
    tlb_invept_all(tlb);
    expect_gone(~(B(LINEAR) | B(VPID0)));
}

TEST(Tlb, InvvpidAddressDropsOnePageOfOneVpid)
{
    fill();
    tlb_invvpid_address(tlb, 1, 0x1fff);
    expect_gone(B(COMBINED) | B(OTHER_EPT));
}

TEST(Tlb, InvvpidSingle)
{
    fill();
    tlb_invvpid_single(tlb, 1, false);
    expect_gone(B(COMBINED) | B(OTHER_PAGE) | B(OTHER_EPT) | B(OTHER_PCID) | B(GLOBAL) | B(LINEAR));
}

TEST(Tlb, InvvpidSingleRetainingGlobals)
{
    fill();
    tlb_invvpid_single(tlb, 1, true);
    expect_gone(B(COMBINED) | B(OTHER_PAGE) | B(OTHER_EPT) | B(OTHER_PCID) | B(LINEAR));
}

TEST(Tlb, InvvpidAllSparesVpid0AndGuestPhysical)
{
    fill();
    tlb_invvpid_all(tlb);
    expect_gone(~(B(PHYSICAL) | B(PHYSICAL_OTHER_EPT) | B(VPID0)));
}

TEST(Tlb, MovToCr3DropsThePcidButGlobals)
{
    fill();
    tlb_flush_pcid(tlb, &(struct tlb_tag){0xa000, 1, 5});
    expect_gone(B(COMBINED) | B(OTHER_PAGE));
}

TEST(Tlb, InvlpgDropsGlobalsToo)
{
    fill();
    tlb_flush_linear(tlb, &(struct tlb_tag){0xa000, 1, 5}, 0x4000);
    expect_gone(B(GLOBAL));
}

TEST(Tlb, ViolationDropsTheMappingsOfItsAddress)
{
    fill();
    tlb_flush_violation(tlb, &(struct tlb_tag){0xa000, 1, 5}, 0x1000, 0x1000);
    expect_gone(B(COMBINED) | B(PHYSICAL));
}

TEST(Tlb, SecondLevelRefillsTheFirst)
{
    struct tlb_tag tag = {0xa000, 1, 0};
    struct tlb_mapping m;

    make();
    // Five pages of one set of four ways: the first falls out of the first level, not of the second.
    for (uint64_t i = 0; i < 5; i++)
        put(TLB_COMBINED, 0xa000, 1, 0, i * 0x2000, false);
    EXPECT_EQ(tlb_lookup(tlb, TLB_COMBINED, &tag, 0x8abc, false, &m), TLB_HIT_L1);
    EXPECT_EQ(m.hpa, 0x40008000);
    EXPECT_EQ(tlb_lookup(tlb, TLB_COMBINED, &tag, 0, false, &m), TLB_HIT_L2);
    EXPECT_EQ(tlb_lookup(tlb, TLB_COMBINED, &tag, 0, false, &m), TLB_HIT_L1);
    EXPECT_EQ(tlb_lookup(tlb, TLB_COMBINED, &tag, 0x2000, false, &m), TLB_HIT_L2); // It made room.
    tlb_destroy(tlb);
}

TEST(Tlb, LeastRecentlyUsedGoesFirst)
{
    struct tlb_tag tag = {0xa000, 1, 0};
    struct tlb_mapping m;

    make();
    // Second level: 16 sets of 8 ways; pages 64 KiB apart share a set.
    for (uint64_t i = 0; i < 8; i++)
        put(TLB_COMBINED, 0xa000, 1, 0, i << 16, false);
    for (uint64_t i = 0; i < 8; i++)
        if (i != 1)
            tlb_lookup(tlb, TLB_COMBINED, &tag, i << 16, true, &m); // As fetches: through the second level.
    put(TLB_COMBINED, 0xa000, 1, 0, 8ull << 16, false);
    EXPECT_TRUE(has(TLB_COMBINED, 0xa000, 1, 0, 0));
    EXPECT_FALSE(tlb_lookup(tlb, TLB_COMBINED, &tag, 1ull << 16, true, &m) != TLB_MISS);
    tlb_destroy(tlb);
}

TEST(Tlb, PagesOfEachSizeCoverTheirRange)
{
    struct tlb_tag tag = {0xa000, 1, 0};
    static const uint8_t sizes[] = {12, 21, 30};

    for (unsigned i = 0; i < 3; i++) {
        struct tlb_mapping m = {.tag = tag,
                                .address = 5ull << 30,
                                .hpa = 3ull << 30,
                                .kind = TLB_COMBINED,
                                .page_bits = sizes[i],
                                .rights = 7};
        uint64_t last = (5ull << 30) + (1ull << sizes[i]) - 1;

        make();
        tlb_insert(tlb, &m, false);
        EXPECT_EQ(tlb_lookup(tlb, TLB_COMBINED, &tag, last, false, &m), TLB_HIT_L1);
        EXPECT_EQ(tlb_lookup(tlb, TLB_COMBINED, &tag, last + 1, false, &m), TLB_MISS);
        tlb_destroy(tlb);
    }
}

TEST(Tlb, TableCacheGivesTheDeepestTable)
{
    struct ept_walk w = {.step_count = 4};
    struct ept_start start;

    make();
    for (unsigned i = 0; i < 4; i++)
        w.steps[i] =
            (struct ept_step){.entry = (0x2000 + i * 0x1000) | (i == 1 ? 3 : 7), .level = (uint8_t)(4 - i)};
    tlb_table_insert(tlb, 0xa000, 4, 0x12345000, NULL, &w);
    EXPECT_TRUE(tlb_table_lookup(tlb, 0xa000, 4, 0x12345000, &start));
    EXPECT_EQ(start.level, 1);
    EXPECT_EQ(start.table, 0x4000);
    EXPECT_EQ(start.rights & 7, 3); // ANDed over the levels above.
    // Another page table of the same directory.
    EXPECT_TRUE(tlb_table_lookup(tlb, 0xa000, 4, 0x12345000 + (1u << 21), &start));
    EXPECT_EQ(start.level, 2);
    EXPECT_EQ(start.table, 0x3000);
    EXPECT_FALSE(tlb_table_lookup(tlb, 0xb000, 4, 0x12345000, &start));
    tlb_invvpid_all(tlb);
    EXPECT_TRUE(tlb_table_lookup(tlb, 0xa000, 4, 0x12345000, &start)); // Guest-physical: INVVPID has no say.
    tlb_invept_single(tlb, 0xa000);
    EXPECT_FALSE(tlb_table_lookup(tlb, 0xa000, 4, 0x12345000, &start));
    tlb_destroy(tlb);
}
