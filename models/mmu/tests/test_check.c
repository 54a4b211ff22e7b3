// SPDX-License-Identifier: Apache-2.0
// The TLB checker: what it reports, and what it must not (docs/tlb-checker.md).
#include "models/mmu/check.h"
#include "models/mmu/tests/two_dimensions.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <string.h>

static unsigned reports;
static char last[64];

static void note(struct pcpu *c, const char *kind, uint64_t address, const char *detail)
{
    (void)c, (void)address, (void)detail;
    reports++;
    snprintf(last, sizeof last, "%s", kind);
}

static struct mmu_check *check;

static void start(unsigned caches)
{
    td_make(caches, 4, 4);
    check = mmu_check_create(note);
    td.mmu->check = check;
    reports = 0;
    *last = 0;
}

static void end(void)
{
    td_end();
    mmu_check_destroy(check);
}

static unsigned touch(uint64_t linear, unsigned access)
{
    uint64_t hpa;
    unsigned before = reports;

    mmu_translate(td.mmu, linear, access, MMU_SUPERVISOR, &hpa);
    return reports - before;
}

TEST(Check, SaysNothingWhileTablesAndCachesAgree)
{
    start(TD_ALL);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned access = 1; access <= 4; access *= 2)
            EXPECT_EQ(touch(LINEAR + i, access), 0);
    end();
}

TEST(Check, OtherMemoryInTheEptIsReported)
{
    start(TD_TLB);
    touch(LINEAR, EPT_ACCESS_READ);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0xa000) | 0x337);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 1);
    EXPECT_STREQ(last, "stale tlb hit");
    tlb_invept_all(&td.mmu->tlb);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    end();
}

TEST(Check, ALostRightIsReportedWhenItIsUsed)
{
    start(TD_TLB);
    touch(LINEAR, EPT_ACCESS_WRITE);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0x9000) | 0x331); // Write-protected
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_WRITE), 1);
    end();
}

TEST(Check, MoreRightsThanCachedAreFine)
{
    start(TD_TLB);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0x9000) | 0x331);
    touch(LINEAR, EPT_ACCESS_READ);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0x9000) | 0x337);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_WRITE), 0);
    end();
}

TEST(Check, AClearedDirtyFlagIsReportedAtTheWriteThatEscapesTheLog)
{
    struct mmu_space s;

    start(TD_TLB);
    memcpy(&s, &td.mmu->space, sizeof s);
    s.eptp |= EPTP_AD;
    td_load(&s);
    touch(LINEAR, EPT_ACCESS_WRITE);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0x9000) | 0x137);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_WRITE), 1);
    end();
}

TEST(Check, WhileTheChangeIsInProgressCachesMayLag)
{
    start(TD_TLB);
    td.cpu.note_vm = 3;
    touch(LINEAR, EPT_ACCESS_READ);
    mmu_check_change(check, 3, true);
    mmu_check_change(check, 3, true); // Another processor's
    fake_set64(EPT_PTE(LINEAR_GPA), 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    mmu_check_change(check, 3, false);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    mmu_check_change(check, 4, true); // Another VM's excuses nobody else.
    mmu_check_change(check, 3, false);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 1);
    end();
}

TEST(Check, WhileAFlushIsPutOffEntriesFromBeforeMayLag)
{
    start(TD_TLB);
    td.cpu.note_vm = 3;
    touch(LINEAR, EPT_ACCESS_READ);
    fake_set64(EPT_PTE(LINEAR_GPA), 0);
    mmu_check_postpone(check, 3, true);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    mmu_check_postpone(check, 4, false); // Another VM's
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    mmu_check_postpone(check, 3, false);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 1);
    end();

    start(TD_TLB);
    td.cpu.note_vm = 3;
    mmu_check_postpone(check, 3, true);
    touch(LINEAR, EPT_ACCESS_READ); // Filled afterwards: no excuse.
    fake_set64(EPT_PTE(LINEAR_GPA), 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 1);
    end();
}

TEST(Check, GuestsMayBeLazy)
{
    start(TD_ALL);
    touch(LINEAR, EPT_ACCESS_READ);
    td_guest_set(GUEST_PTE, 0xa000 | X86_PTE_P | X86_PTE_A);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    end();
}

TEST(Check, WhatTheGuestInvalidatedMustBeGone)
{
    static const struct {
        enum mmu_flush what;
        uint64_t linear;
        uint16_t pcid;
        bool global;
        unsigned reported;
    } cases[] = {
        {MMU_FLUSH_PAGE, LINEAR, 0, false, 1},
        {MMU_FLUSH_PAGE, LINEAR + 0x1000, 0, false, 0},
        {MMU_FLUSH_PAGE, LINEAR, 7, false, 0},
        {MMU_FLUSH_PAGE, LINEAR, 7, true, 1},
        {MMU_FLUSH_PCID_PAGE, LINEAR, 0, false, 1},
        {MMU_FLUSH_PCID_PAGE, LINEAR, 0, true, 0},
        {MMU_FLUSH_PCID, 0, 0, false, 1},
        {MMU_FLUSH_PCID, 0, 7, false, 0},
        {MMU_FLUSH_PCID, 0, 0, true, 0},
        {MMU_FLUSH_ALL, 0, 0, true, 1},
        {MMU_FLUSH_ALL_BUT_GLOBALS, 0, 0, true, 0},
        {MMU_FLUSH_ALL_BUT_GLOBALS, 0, 0, false, 1},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        start(TD_TLB);
        if (cases[i].global)
            td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) | X86_PTE_G);
        touch(LINEAR, EPT_ACCESS_READ);
        td_guest_set(GUEST_PTE, 0xa000 | X86_PTE_P | X86_PTE_A);
        mmu_check_guest_flush(td.mmu, cases[i].what, cases[i].pcid, cases[i].linear);
        EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), cases[i].reported);
        end();
    }
}

TEST(Check, AnInvalidationBeforeTheFillDoesNotCount)
{
    start(TD_TLB);
    mmu_check_guest_flush(td.mmu, MMU_FLUSH_ALL, 0, 0);
    touch(LINEAR, EPT_ACCESS_READ);
    td_guest_set(GUEST_PTE, 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    end();
}

TEST(Check, AnotherVcpusTranslationsAreNobodysToUse)
{
    start(TD_TLB);
    td.cpu.note_vcpu = 1;
    touch(LINEAR, EPT_ACCESS_READ);
    td_guest_set(GUEST_PTE, 0);
    td.cpu.note_vcpu = 2; // Runs with the same VPID: somebody gave it out twice.
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 1);
    EXPECT_STREQ(last, "stale tlb hit, guest tables");
    end();
}

TEST(Check, EveryCacheIsCompared)
{
    static const struct {
        unsigned caches;
        const char *kind;
    } cases[] = {{TD_NESTED, "stale nested tlb hit"},
                 {TD_TABLES, "stale paging-structure-cache hit"},
                 {TD_EPT_TABLES, "stale ept paging-structure-cache hit"}};

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("%s", cases[i].kind);
        start(cases[i].caches);
        touch(LINEAR, EPT_ACCESS_READ);
        if (cases[i].caches == TD_EPT_TABLES) { // Its page table moved.
            memcpy(fake_memory + 0x6000, fake_memory + 0x5000, 0x1000);
            fake_set64(0x4000, 0x6107);
        } else { // The page of the guest's page table moved.
            memcpy(fake_memory + HPA_OF(0xb000), fake_memory + HPA_OF(0x5000), 0x1000);
            fake_set64(EPT_PTE(0x5000), HPA_OF(0xb000) | 0x337);
        }
        EXPECT_GE(touch(LINEAR, EPT_ACCESS_READ), 1);
        EXPECT_STREQ(last, cases[i].kind);
        end();
    }
}

TEST(Check, ATableOfTheGuestThatMovedIsReportedOnceTheGuestSaidSo)
{
    start(TD_TABLES);
    touch(LINEAR, EPT_ACCESS_READ);
    td_guest_set(0xb000 + 0x1ab * 8, 0xa000 | X86_PTE_P | X86_PTE_A);
    td_guest_set(GUEST_PDE, 0xb000 | X86_PTE_P | X86_PTE_A);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 0);
    mmu_check_guest_flush(td.mmu, MMU_FLUSH_PCID, 0, 0);
    EXPECT_EQ(touch(LINEAR, EPT_ACCESS_READ), 1);
    EXPECT_STREQ(last, "stale paging-structure-cache hit, guest tables");
    end();
}
