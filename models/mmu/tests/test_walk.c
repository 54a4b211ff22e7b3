// SPDX-License-Identifier: Apache-2.0
// Two-dimensional walks over tables typed by hand from SDM 4.5 and 28.3: references, rights, flags, faults,
// what each cache spares, and time.
#include "models/mmu/tests/two_dimensions.h"
#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"
#include <string.h>

#define R EPT_ACCESS_READ
#define W EPT_ACCESS_WRITE
#define X EPT_ACCESS_FETCH

static enum mmu_result translate(uint64_t linear, unsigned access, enum mmu_mode mode, uint64_t *hpa)
{
    fake_access_count = 0;
    return mmu_translate(td.mmu, linear, access, mode, hpa);
}

TEST(Walk, ReferencesAreNTimesMPlusNPlusM)
{
    static const struct {
        unsigned guest, ept, references;
    } cases[] = {{4, 4, 24}, {5, 4, 29}, {4, 5, 29}, {5, 5, 35}, {0, 4, 4}, {0, 5, 5}, {4, 0, 4}, {5, 0, 5}};

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool linear = cases[i].guest != 0;
        uint64_t hpa = 0, address = linear ? LINEAR : LINEAR_GPA;

        test_row("guest %u, EPT %u", cases[i].guest, cases[i].ept);
        td_make(TD_NO_CACHES, cases[i].guest, cases[i].ept);
        if (!cases[i]
                 .ept) // The guest's addresses are memory's: its tables lie where the EPT would map them to.
            for (uint64_t page = 0x1000; page < 0xa000; page += 0x1000)
                memcpy(fake_memory + page, fake_memory + HPA_OF(page), 0x1000);
        EXPECT_EQ(translate(address, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(hpa, cases[i].ept ? HPA_OF(LINEAR_GPA) : LINEAR_GPA);
        EXPECT_EQ(td.mmu->walk.step_count, cases[i].references);
        EXPECT_EQ(td_references(1), cases[i].guest);
        EXPECT_EQ(fake_access_count, cases[i].references);
        EXPECT_EQ(td.mmu->walk.gpa, LINEAR_GPA);
        td_end();
    }
}

TEST(Walk, ReferencesComeInTheOrderOfTheDimensions)
{
    static const uint64_t guest[] = {GUEST_PML4E, GUEST_PDPTE, GUEST_PDE, GUEST_PTE, LINEAR_GPA};
    uint64_t hpa;

    td_make(TD_NO_CACHES, 4, 4);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    for (unsigned i = 0; i < 24; i++) {
        const struct mmu_step *s = &td.mmu->walk.steps[i];
        unsigned group = i / 5, at = i % 5;

        test_row("reference %u", i);
        EXPECT_EQ(s->stage, at == 4 ? 1 : 2);
        EXPECT_EQ(s->level, at == 4 ? 4 - group : 4 - at);
        if (at == 3)
            EXPECT_EQ(s->address, EPT_PTE(guest[group]));
        if (at == 4)
            EXPECT_EQ(s->address, HPA_OF(guest[group]));
    }
    td_end();
}

TEST(Walk, EachCacheSparesItsReferences)
{
    // Second access to another page of the same page table, caches warm by the first.
    static const struct {
        unsigned caches, guest, ept;
    } cases[] = {
        {TD_NO_CACHES, 4, 20},
        {TD_TABLES, 1, 4},     // The page table's address is known: its entry, the EPT for the page.
        {TD_EPT_TABLES, 4, 5}, // The EPT's last level for each.
        {TD_NESTED, 4, 4},     // No EPT for the tables, all of it for the page.
        {TD_TABLES | TD_EPT_TABLES, 1, 1},
        {TD_NESTED | TD_EPT_TABLES, 4, 1},
        {TD_ALL, 1, 1},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t hpa;

        test_row("caches %u", cases[i].caches);
        td_make(cases[i].caches, 4, 4);
        td_guest_set(GUEST_PTE + 8, 0xa000 | X86_PTE_P | X86_PTE_RW | X86_PTE_A | X86_PTE_D);
        EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(translate(LINEAR + 0x1000, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(hpa, HPA_OF(0xa6f0));
        EXPECT_EQ(td_references(1), cases[i].guest);
        EXPECT_EQ(td_references(2), cases[i].ept);
        td_end();
    }
}

TEST(Walk, TakesTheTimeOfItsStartAndReferences)
{
    uint64_t hpa, begin;

    td_make(TD_TLB, 4, 4);
    fake_ticks_of_read = 10 * TICKS_PER_CYCLE;
    begin = td.cpu.now_ticks;
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(td.cpu.now_ticks - begin, (5 + 24 * 10) * TICKS_PER_CYCLE);
    EXPECT_EQ(td.mmu->walk.ticks, (5 + 24 * 10) * TICKS_PER_CYCLE);
    begin = td.cpu.now_ticks;
    EXPECT_EQ(translate(LINEAR + 1, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(td.cpu.now_ticks - begin, 0);
    EXPECT_FALSE(td.mmu->walked);
    EXPECT_TRUE(mmu_hit(td.mmu, LINEAR, R, MMU_SUPERVISOR, &hpa));
    EXPECT_EQ(translate(LINEAR, X, MMU_SUPERVISOR, &hpa),
              MMU_OK); // Not in the instruction TLB: from the second level.
    EXPECT_EQ(td.cpu.now_ticks - begin, 9 * TICKS_PER_CYCLE);
    EXPECT_FALSE(td.mmu->walked);
    td_end();
}

TEST(Walk, RightsMakePageFaultsWithTheirCode) // SDM 4.6, 4.7
{
    enum { P = PFERR_P, WR = PFERR_WRITE, US = PFERR_USER, ID = PFERR_FETCH, OK = 0x8000 };
    static const struct {
        const char *what;
        uint64_t set, clear; // Of the PTE
        unsigned access;
        bool user, wp, smep, smap, ac;
        uint32_t code;
    } cases[] = {
        {"supervisor page read by supervisor", 0, 0, R, false, true, false, false, false, OK},
        {"supervisor page read by user", 0, 0, R, true, true, false, false, false, P | US},
        {"user page read by user", X86_PTE_US, 0, R, true, true, false, false, false, OK},
        {"user page written by user", X86_PTE_US, 0, W, true, true, false, false, false, OK},
        {"read-only user page written by user, WP 0", X86_PTE_US, X86_PTE_RW, W, true, false, false, false,
         false, P | WR | US},
        {"read-only page written by supervisor, WP 1", 0, X86_PTE_RW, W, false, true, false, false, false,
         P | WR},
        {"read-only page written by supervisor, WP 0", 0, X86_PTE_RW, W, false, false, false, false, false,
         OK},
        {"fetch of a page with XD", X86_PTE_XD, 0, X, false, true, false, false, false, P | ID},
        {"read of a page with XD", X86_PTE_XD, 0, R, false, true, false, false, false, OK},
        {"supervisor fetch of a user page", X86_PTE_US, 0, X, false, true, false, false, false, OK},
        {"the same with SMEP", X86_PTE_US, 0, X, false, true, true, false, false, P | ID},
        {"user fetch with SMEP", X86_PTE_US, 0, X, true, true, true, false, false, OK},
        {"supervisor read of a user page with SMAP", X86_PTE_US, 0, R, false, true, false, true, false, P},
        {"the same with AC", X86_PTE_US, 0, R, false, true, false, true, true, OK},
        {"supervisor write of a user page with SMAP", X86_PTE_US, 0, W, false, true, false, true, false,
         P | WR},
        {"supervisor fetch of a user page with SMAP", X86_PTE_US, 0, X, false, true, false, true, false, OK},
        {"not present, read", 0, X86_PTE_P, R, false, true, false, false, false, 0},
        {"not present, user write", 0, X86_PTE_P, W, true, true, false, false, false, WR | US},
        {"not present, fetch", 0, X86_PTE_P, X, false, true, false, false, false, ID},
        {"address bit 46", 1ull << 46, 0, R, false, true, false, false, false, P | PFERR_RSVD},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        // Twice: with the entry in no TLB, and with one filled by an access that may.
        for (unsigned warm = 0; warm < 2; warm++) {
            struct mmu_space s;
            uint64_t hpa;

            test_row("%s%s", cases[i].what, warm ? ", warm" : "");
            td_make(TD_ALL, 4, 4);
            td_guest_set(GUEST_PTE, (td_guest_get(GUEST_PTE) | cases[i].set) & ~cases[i].clear);
            memcpy(&s, &td.mmu->space, sizeof s);
            s.paging.wp = cases[i].wp;
            s.paging.smep = cases[i].smep;
            if (warm) {
                td_load(&s);
                translate(LINEAR, R, MMU_USER, &hpa);
                translate(LINEAR, R, MMU_SUPERVISOR, &hpa);
            }
            s.paging.smap = cases[i].smap;
            td_load(&s);
            enum mmu_mode mode = cases[i].user ? MMU_USER : cases[i].ac ? MMU_SUPERVISOR_AC : MMU_SUPERVISOR;

            if (cases[i].code == OK) {
                EXPECT_EQ(translate(LINEAR, cases[i].access, mode, &hpa), MMU_OK);
            } else {
                EXPECT_EQ(translate(LINEAR, cases[i].access, mode, &hpa), MMU_PAGE_FAULT);
                EXPECT_EQ(td.mmu->walk.error_code, cases[i].code);
            }
            td_end();
        }
}

TEST(Walk, RightsOfUpperLevelsCount)
{
    static const uint64_t entries[] = {GUEST_PML4E, GUEST_PDPTE, GUEST_PDE};

    for (unsigned i = 0; i < 3; i++) {
        uint64_t hpa;

        test_row("level %u", 4 - i);
        td_make(TD_ALL, 4, 4);
        td_guest_set(entries[i], td_guest_get(entries[i]) & ~X86_PTE_RW);
        EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
        EXPECT_EQ(td.mmu->walk.error_code, PFERR_P | PFERR_WRITE);
        // The other page of the table, whose rights come from the paging-structure cache.
        td_guest_set(GUEST_PTE + 8, td_guest_get(GUEST_PTE));
        EXPECT_EQ(translate(LINEAR + 0x1000, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(translate(LINEAR + 0x1000, W, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
        td_end();
    }
}

TEST(Walk, ReservedBitsByLevel) // SDM 4.5.4, tables 4-14 to 4-20
{
    static const struct {
        uint64_t entry;
        unsigned level;
        bool nxe, pages_1g, reserved;
    } cases[] = {
        {0x87, 5, true, true, true},
        {0x87, 4, true, true, true},
        {0x87, 3, true, true, false},
        {0x87, 3, true, false, true},
        {0x87, 2, true, true, false},
        {0x87, 1, true, true, false}, // PAT
        {0x2087, 2, true, true, true},
        {0x1087, 2, true, true, false}, // PAT of a large page
        {0x100087, 2, true, true, true},
        {0x200087, 2, true, true, false},
        {0x20000087, 3, true, true, true},
        {0x40000087, 3, true, true, false},
        {1ull << 63 | 7, 1, true, true, false},
        {1ull << 63 | 7, 1, false, true, true},
        {1ull << 45 | 7, 4, true, true, false},
        {1ull << 46 | 7, 4, true, true, true},
        {1ull << 52 | 7, 4, true, true, false}, // Ignored
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct paging p = {.nxe = cases[i].nxe, .pages_1g = cases[i].pages_1g};

        test_row("row %u: %#llx", i, (unsigned long long)cases[i].entry);
        EXPECT_EQ(paging_reserved_set(&p, cases[i].entry, cases[i].level, 46) != 0, cases[i].reserved);
    }
}

TEST(Walk, LargePagesOfTheGuestAndSmallOnesOfTheEpt)
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    td_guest_set(GUEST_PDE, X86_PTE_P | X86_PTE_RW | X86_PTE_PS | X86_PTE_A | X86_PTE_D);
    uint64_t linear = (LINEAR & ~0x1fffffull) | 0x9010;

    EXPECT_EQ(translate(linear, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(0x9010));
    EXPECT_EQ(td_references(1), 3);
    EXPECT_EQ(td.mmu->walk.value.page_bits, 12); // The smaller of the two (SDM 28.4.1).
    td_end();
}

TEST(Walk, SetsAccessedAndDirtyFlagsByLockedWrites) // SDM 4.8
{
    static const uint64_t entries[] = {GUEST_PML4E, GUEST_PDPTE, GUEST_PDE, GUEST_PTE};
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    for (unsigned i = 0; i < 4; i++)
        td_guest_set(entries[i], td_guest_get(entries[i]) & ~(X86_PTE_A | X86_PTE_D));
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(td.mmu->counters.guest_flag_writes, 4);
    for (unsigned i = 24; i < fake_access_count; i++)
        EXPECT_TRUE(fake_accesses[i].write && fake_accesses[i].locked);
    for (unsigned i = 0; i < 4; i++)
        EXPECT_EQ(td_guest_get(entries[i]) & (X86_PTE_A | X86_PTE_D), X86_PTE_A);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa),
              MMU_OK); // The entry in the TLB is clean: walked for the flag.
    EXPECT_TRUE(td.mmu->walked);
    EXPECT_EQ(td_guest_get(GUEST_PTE) & X86_PTE_D, X86_PTE_D);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_FALSE(td.mmu->walked);
    td_end();
}

TEST(Walk, FaultsSetNoFlags)
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    td_guest_set(GUEST_PML4E, td_guest_get(GUEST_PML4E) & ~X86_PTE_A);
    td_guest_set(GUEST_PTE, 0);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
    EXPECT_EQ(td_guest_get(GUEST_PML4E) & X86_PTE_A, 0);
    td_end();
}

TEST(Walk, ViolationAtATableReportsTheEntryAndNotTheTranslation) // SDM table 27-7, bit 8
{
    static const uint64_t entries[] = {GUEST_PML4E, GUEST_PDPTE, GUEST_PDE, GUEST_PTE};

    for (unsigned i = 0; i < 4; i++) {
        uint64_t hpa, keep;

        test_row("level %u", 4 - i);
        td_make(TD_ALL, 4, 4);
        keep = fake_get64(EPT_PTE(entries[i]));
        fake_set64(EPT_PTE(entries[i]), 0);
        EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_EPT_VIOLATION);
        EXPECT_EQ(td.mmu->walk.gpa, entries[i]);
        EXPECT_EQ(td.mmu->walk.linear, LINEAR);
        EXPECT_EQ(td.mmu->walk.qualification, QUAL_EPT_READ | QUAL_EPT_LINEAR_VALID);
        fake_set64(EPT_PTE(entries[i]), keep);
        EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_OK);
        td_end();
    }
}

TEST(Walk, ViolationAtThePageHasTheGuestsRights)
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0x9000) | 0x31);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_EPT_VIOLATION);
    EXPECT_EQ(td.mmu->walk.gpa, LINEAR_GPA);
    EXPECT_EQ(td.mmu->walk.qualification, QUAL_EPT_WRITE | QUAL_EPT_READABLE | QUAL_EPT_LINEAR_VALID |
                                              QUAL_EPT_TRANSLATED | QUAL_EPT_LINEAR_WRITABLE);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    td_end();
}

TEST(Walk, MisconfigurationAtATable)
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    fake_set64(EPT_PTE(GUEST_PDE), 6); // W and X without R
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_EPT_MISCONFIG);
    EXPECT_EQ(td.mmu->walk.gpa, GUEST_PDE);
    td_end();
}

TEST(Walk, FlagsOnMakeReadsOfTablesWrites) // SDM 28.3.3.2, 28.3.5
{
    struct mmu_space s;
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    memcpy(&s, &td.mmu->space, sizeof s);
    s.eptp |= EPTP_AD;
    td_load(&s);
    fake_set64(EPT_PTE(GUEST_PTE), HPA_OF(0x5000) | 0x35); // Not writable
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_EPT_VIOLATION);
    EXPECT_EQ(td.mmu->walk.gpa, GUEST_PTE);
    EXPECT_EQ(td.mmu->walk.qualification, QUAL_EPT_READ | QUAL_EPT_WRITE | QUAL_EPT_READABLE |
                                              QUAL_EPT_EXECUTABLE | QUAL_EPT_LINEAR_VALID);
    fake_set64(EPT_PTE(GUEST_PTE), HPA_OF(0x5000) | 0x37);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(fake_get64(EPT_PTE(GUEST_PTE)) & EPT_D, EPT_D);
    td_end();
}

TEST(Walk, FlagOfTheGuestInAReadOnlyTablePageViolates)
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    fake_set64(EPT_PTE(GUEST_PTE), HPA_OF(0x5000) | 0x31);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa),
              MMU_OK); // Without flags of the EPT a read is a read.
    td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) & ~X86_PTE_D);
    tlb_invvpid_single(&td.mmu->tlb, 1, false);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_EPT_VIOLATION);
    EXPECT_EQ(td.mmu->walk.gpa, GUEST_PTE);
    EXPECT_EQ(td.mmu->walk.qualification,
              QUAL_EPT_READ | QUAL_EPT_WRITE | QUAL_EPT_READABLE | QUAL_EPT_LINEAR_VALID);
    EXPECT_EQ(td_guest_get(GUEST_PTE) & X86_PTE_D, 0);
    td_end();
}

static uint64_t logged[16];
static unsigned log_count, log_room;

static bool log_full(struct pcpu *c)
{
    (void)c;
    return log_count == log_room;
}

static void log_append(struct pcpu *c, uint64_t gpa)
{
    (void)c;
    logged[log_count++] = gpa;
}

TEST(Walk, LogsThePagesOfTablesToo) // SDM 28.3.6
{
    static const uint64_t expected[] = {GUEST_PML4E, GUEST_PDPTE, GUEST_PDE, GUEST_PTE, LINEAR_GPA};
    struct mmu_space s;
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    for (uint64_t gpa = 0; gpa < 0x40000; gpa += 0x1000)
        fake_set64(EPT_PTE(gpa), HPA_OF(gpa) | 0x37);
    memcpy(&s, &td.mmu->space, sizeof s);
    s.eptp |= EPTP_AD;
    td_load(&s);
    td.mmu->log = (struct mmu_log){log_full, log_append};
    log_count = 0;
    log_room = 2;
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_LOG_FULL);
    EXPECT_EQ(log_count, 2);
    log_room = 16; // Software has emptied it: what was logged need not be again.
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(log_count, 5);
    for (unsigned i = 0; i < 5; i++)
        EXPECT_EQ(logged[i], expected[i]);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(log_count, 5);
    td_end();
}

TEST(Walk, GlobalPagesOutliveAMoveToCr3)
{
    uint64_t hpa;

    for (unsigned pge = 0; pge < 2; pge++) {
        struct mmu_space s;

        td_make(TD_TLB, 4, 4);
        td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) | X86_PTE_G);
        memcpy(&s, &td.mmu->space, sizeof s);
        s.paging.pge = pge;
        td_load(&s);
        EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        tlb_flush_pcid(&td.mmu->tlb, 1, 0, true);
        EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(td.mmu->walked, !pge);
        td_end();
    }
}

TEST(Walk, CanonicalAddressesByLevels)
{
    static const struct {
        uint64_t address;
        bool four, five;
    } cases[] = {
        {0x7fffffffffff, true, true},       {0x800000000000, false, true},
        {0xffff7fffffffffff, false, true},  {0xffff800000000000, true, true},
        {0x00ffffffffffffff, false, true},  {0x0100000000000000, false, false},
        {0xfeffffffffffffff, false, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("%#llx", (unsigned long long)cases[i].address);
        EXPECT_EQ(paging_canonical(cases[i].address, 4), cases[i].four);
        EXPECT_EQ(paging_canonical(cases[i].address, 5), cases[i].five);
    }
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    EXPECT_EQ(translate(1ull << 47, R, MMU_SUPERVISOR, &hpa), MMU_NOT_CANONICAL);
    EXPECT_EQ(fake_access_count, 0);
    td_end();
}

TEST(Walk, AFaultDropsWhatItWouldHaveUsed) // SDM 4.10.4.1, 28.4.3.1
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    td_guest_set(GUEST_PDE,
                 0x5000 | X86_PTE_P | X86_PTE_A); // Supervisor, read-only; the caches do not know it.
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(translate(LINEAR, R, MMU_USER, &hpa), MMU_PAGE_FAULT);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
    td_end();
}

TEST(Walk, AViolationDropsTheTranslationOfItsAddress) // SDM 28.4.3.1
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0x9000) | 0x31);
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(translate(LINEAR, W, MMU_SUPERVISOR, &hpa), MMU_EPT_VIOLATION);
    fake_set64(EPT_PTE(LINEAR_GPA), HPA_OF(0xa000) | 0x37); // Copied on write; software need not invalidate.
    EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(0xa6f0));
    td_end();
}

TEST(Walk, UserExecuteGoesByTheAddress) // Mode-based execute control, SDM 28.3.3.2
{
    struct mmu_space s;
    uint64_t hpa;

    for (unsigned user_page = 0; user_page < 2; user_page++) {
        td_make(TD_ALL, 4, 4);
        if (user_page)
            td_guest_set(GUEST_PTE, td_guest_get(GUEST_PTE) | X86_PTE_US);
        memcpy(&s, &td.mmu->space, sizeof s);
        s.mode_based_exec = true;
        td_load(&s);
        // Executable from supervisor-mode addresses only; the fetch meets what a read left in the second
        // level.
        EXPECT_EQ(translate(LINEAR, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(translate(LINEAR, X, MMU_SUPERVISOR, &hpa), user_page ? MMU_EPT_VIOLATION : MMU_OK);
        for (uint64_t table = 0x2000; table <= 0x4000; table += 0x1000)
            fake_set64(table, fake_get64(table) | EPT_EXEC_USER);
        fake_set64(EPT_PTE(LINEAR_GPA), (fake_get64(EPT_PTE(LINEAR_GPA)) & ~EPT_EXEC) | EPT_EXEC_USER);
        tlb_invept_all(&td.mmu->tlb);
        EXPECT_EQ(translate(LINEAR, X, MMU_SUPERVISOR, &hpa), user_page ? MMU_OK : MMU_EPT_VIOLATION);
        td_end();
    }
}
