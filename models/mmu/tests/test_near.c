// SPDX-License-Identifier: Apache-2.0
// mmu_ordinary(): what a search in the TLB would say, without one; whatever could change that is noticed.
#include "models/mmu/tests/two_dimensions.h"
#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"
#include <string.h>

#define R EPT_ACCESS_READ
#define W EPT_ACCESS_WRITE
#define HERE (fake_memory + HPA_OF(LINEAR_GPA))

static const unsigned char *ordinary(uint64_t linear, unsigned access)
{
    uint64_t hpa = 0;
    const unsigned char *p = mmu_ordinary(td.mmu, linear, 4, access, &hpa);

    if (p) {
        EXPECT_EQ(hpa, (uint64_t)(p - fake_memory));
    }
    return p;
}

// A user page that has been read and written, found twice: the second time without a search.
static void start(void)
{
    uint64_t hpa;

    td_make(TD_TLB, 4, 4);
    td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) | X86_PTE_US);
    td.mmu->mode = MMU_USER;
    EXPECT_TRUE(ordinary(LINEAR, R) == NULL); // In no TLB.
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR, R | W, MMU_USER, &hpa), MMU_OK);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
        EXPECT_TRUE(ordinary(LINEAR, W) == HERE);
    }
    EXPECT_EQ(td.mmu->counters.dtlb_hits, 4);
}

static void flush_page(void)
{
    tlb_flush_linear(&td.mmu->tlb, 1, 0, LINEAR);
}

static void flush_page_alone(void)
{
    tlb_flush_pcid_linear(&td.mmu->tlb, 1, 0, LINEAR, false);
}

static void flush_pcid(void)
{
    tlb_flush_pcid(&td.mmu->tlb, 1, 0, true);
}

static void flush_pcid_and_go_on(void)
{
    uint64_t hpa;

    flush_pcid();
    td_guest_set(GUEST_PTE + 8, td_guest_get(GUEST_PTE));
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR + 0x1000, R, MMU_USER, &hpa), MMU_OK);
}

static void other_vpid(void)
{
    struct mmu_space s;

    memcpy(&s, &td.mmu->space, sizeof s);
    s.tag.vpid = 2;
    td_load(&s);
}

static void deny_key(void)
{
    struct mmu_space s;

    memcpy(&s, &td.mmu->space, sizeof s);
    s.paging.pke = true;
    td_load(&s);
    EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    mmu_set_pkru(td.mmu, 1);
}

static void supervisor_with_smap(void)
{
    struct mmu_space s;

    td.mmu->mode = MMU_SUPERVISOR;
    EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    memcpy(&s, &td.mmu->space, sizeof s);
    s.paging.smap = true;
    td_load(&s);
}

static void apart(void)
{
    mmu_set_apart(td.mmu, UINT64_MAX, HPA_OF(LINEAR_GPA) >> 12);
}

static void reset(void)
{
    struct mmu_space s;

    memcpy(&s, &td.mmu->space, sizeof s);
    mmu_reset(td.mmu);
    td_load(&s);
}

// The TLB of a machine that starts over begins to count anew: the sum of both counts may be that of the pages
// before.
static void reset_after_flushes(void)
{
    uint64_t before = mmu_near_stamp(td.mmu);

    reset();
    EXPECT_TRUE(mmu_near_stamp(td.mmu) <= before);
    while (mmu_near_stamp(td.mmu) < before)
        flush_page();
}

TEST(Near, WhatEndsAHitEndsIt)
{
    static const struct {
        const char *what;
        void (*fn)(void);
    } cases[] = {
        {"INVLPG", flush_page},
        {"a page fault", flush_page_alone},
        {"MOV to CR3", flush_pcid},
        {"MOV to CR3, and other translations", flush_pcid_and_go_on},
        {"another VPID", other_vpid},
        {"PKRU", deny_key},
        {"SMAP", supervisor_with_smap},
        {"a page that is no memory", apart},
        {"a reset", reset},
        {"a reset, and as many flushes as there were before", reset_after_flushes},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("%s", cases[i].what);
        start();
        cases[i].fn();
        EXPECT_TRUE(ordinary(LINEAR, R) == NULL);
        EXPECT_TRUE(ordinary(LINEAR, W) == NULL);
        td_end();
    }
}

TEST(Near, RightsAreTheAccesssOwn)
{
    uint64_t hpa;

    td_make(TD_TLB, 4, 4);
    td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) & ~X86_PTE_RW);
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    EXPECT_TRUE(ordinary(LINEAR, W) == NULL);
    td.mmu->mode = MMU_USER;
    EXPECT_TRUE(ordinary(LINEAR, R) == NULL);
    td.mmu->mode = MMU_SUPERVISOR;
    EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    EXPECT_TRUE(ordinary(LINEAR + 0x90d, R) == NULL); // Into the next page
    td_end();
}

TEST(Near, ANewTranslationOfThePageCounts)
{
    uint64_t hpa;

    td_make(TD_TLB, 4, 4);
    td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) & ~X86_PTE_RW);
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    // The guest gives it another page and the right to write: the write finds out.
    td_guest_set(GUEST_PTE, 0xa000 | X86_PTE_P | X86_PTE_RW | X86_PTE_A);
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_TRUE(ordinary(LINEAR, R) == fake_memory + HPA_OF(0xa6f0));
    td_end();
}

TEST(Near, AUseKeepsTheEntry) // True LRU, as after a search
{
    uint64_t hpa;

    td_make(TD_TLB, 4, 4); // 8 entries in 4 ways
    for (uint64_t i = 1; i < 8; i++)
        td_guest_set(GUEST_PTE + 8 * i, (0x9000 + (i << 12)) | X86_PTE_P | X86_PTE_A);
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    for (uint64_t i = 2; i < 8; i += 2) {
        EXPECT_EQ(mmu_translate(td.mmu, LINEAR + (i << 12), R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_TRUE(ordinary(LINEAR, R) == HERE);
    }
    // A fifth page of the set: the oldest goes, which is not the first.
    td_guest_set(GUEST_PTE + 8 * 8, 0xb000 | X86_PTE_P | X86_PTE_A);
    EXPECT_EQ(mmu_translate(td.mmu, LINEAR + 0x8000, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_TRUE(mmu_hit(td.mmu, LINEAR, R, MMU_SUPERVISOR, &hpa));
    EXPECT_FALSE(mmu_hit(td.mmu, LINEAR + 0x2000, R, MMU_SUPERVISOR, &hpa));
    td_end();
}
