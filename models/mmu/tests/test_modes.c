// SPDX-License-Identifier: Apache-2.0
// Paging in every mode: 32-bit, PAE, 4-level, 5-level and none, over tables typed by hand from SDM 4.3
// to 4.5; permissions by mode, page size and access (4.6), error codes (4.7), flags (4.8), what TLBs keep
// (4.10).
#include "models/mmu/peek.h"
#include "models/mmu/tests/two_dimensions.h"
#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"
#include "tests/shim/shim.h"
#include <string.h>

#define R EPT_ACCESS_READ
#define W EPT_ACCESS_WRITE
#define X EPT_ACCESS_FETCH

// An address that paging in each of these modes maps to OFFSET in the page at gpa 9000H: of a large page at 0
// the same byte.
#define OFFSET 0x6f0ull
#define BYTE (0x9000 + OFFSET)

enum mode { M32, PAE, L4, L5, MODES };
#define BIT(mode) (1u << (mode))
#define ALL_MODES (BIT(M32) | BIT(PAE) | BIT(L4) | BIT(L5))
#define WIDE (BIT(PAE) | BIT(L4) | BIT(L5)) // Entries of 64 bits
#define IA32E (BIT(L4) | BIT(L5))

// One way to map it: levels of tables, the level of the page's entry, where that entry is.
struct map {
    const char *name;
    enum mode mode;
    unsigned levels, leaf, bits;
    uint64_t linear, leaf_gpa;
    unsigned references; // Of the guest's tables
};
static const struct map maps[] = {
    {"32-bit, 4 KiB", M32, 2, 1, 12, 0x80d5a6f0, 0x2000 + 0x15a * 4, 2},
    {"32-bit, 4 MiB", M32, 2, 2, 22, 0x80c096f0, 0x1000 + 0x203 * 4, 1},
    {"PAE, 4 KiB", PAE, 3, 1, 12, 0xc0b5a6f0, 0x2000 + 0x15a * 8, 2},
    {"PAE, 2 MiB", PAE, 3, 2, 21, 0xc0a096f0, 0x1000 + 5 * 8, 1},
    {"4 levels, 4 KiB", L4, 4, 1, 12, 0x7bc6d895a6f0, 0x4000 + 0x15a * 8, 4},
    {"4 levels, 2 MiB", L4, 4, 2, 21, 0x7bc6d88096f0, 0x3000 + 0xc4 * 8, 3},
    {"4 levels, 1 GiB", L4, 4, 3, 30, 0x7bc6c00096f0, 0x2000 + 0x11b * 8, 2},
    {"5 levels, 4 KiB", L5, 5, 1, 12, 0xf7bc6d895a6f0, 0x5000 + 0x15a * 8, 5},
    {"5 levels, 1 GiB", L5, 5, 3, 30, 0xf7bc6c00096f0, 0x3000 + 0x11b * 8, 3},
};
#define MAPS (sizeof maps / sizeof *maps)

#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US)
#define PAGE (X86_PTE_P | X86_PTE_RW)

static unsigned entry_bytes(const struct map *m)
{
    return m->mode == M32 ? 4 : 8;
}

static uint64_t leaf_get(const struct map *m)
{
    uint64_t entry = 0;

    memcpy(&entry, fake_memory + HPA_OF(m->leaf_gpa), entry_bytes(m));
    return entry;
}

static void entry_set(const struct map *m, uint64_t gpa, uint64_t entry)
{
    memcpy(fake_memory + HPA_OF(gpa), &entry, entry_bytes(m));
}

static void leaf_set(const struct map *m, uint64_t entry)
{
    entry_set(m, m->leaf_gpa, entry);
}

// Tables of the map, one after another from 1000H on; `flags` in the page's entry.
static void build(const struct map *m, unsigned caches, uint64_t flags)
{
    struct mmu_space s;
    unsigned top = m->mode == PAE ? 2 : m->levels;
    uint64_t table = 0x1000;

    td_make(caches, m->levels, 4);
    memset(fake_memory + HPA_OF(0x1000), 0, 0x8000);
    for (unsigned level = top; level > m->leaf; level--, table += 0x1000) {
        unsigned index_bits = m->mode == M32 ? 10 : 9, shift = 12 + index_bits * (level - 1);
        uint64_t index = m->linear >> shift & ((1u << index_bits) - 1);

        entry_set(m, table + index * entry_bytes(m), (table + 0x1000) | TABLE);
    }
    leaf_set(m, (m->leaf == 1 ? 0x9000 : X86_PTE_PS) | flags);
    memcpy(&s, &td.mmu->space, sizeof s);
    s.paging.cr3 = 0x1000;
    s.paging.pse = true;
    if (m->mode == PAE) {
        s.paging.cr3 = 0x7fe0;
        s.paging.pdpte[m->linear >> 30] = 0x1000 | X86_PTE_P;
    }
    td_load(&s);
}

static void change(void (*fn)(struct paging *p))
{
    struct mmu_space s;

    memcpy(&s, &td.mmu->space, sizeof s);
    fn(&s.paging);
    td_load(&s);
}

static enum mmu_result translate(uint64_t linear, unsigned access, enum mmu_mode mode, uint64_t *hpa)
{
    *hpa = 0;
    if (mmu_hit(td.mmu, linear, access, mode, hpa))
        return MMU_OK;
    return mmu_translate(td.mmu, linear, access, mode, hpa);
}

TEST(PagingModes, EachWalksItsTables) // SDM 4.3 to 4.5; references: n * m + n + m
{
    for (unsigned i = 0; i < MAPS; i++) {
        uint64_t hpa;

        test_row("%s", maps[i].name);
        build(&maps[i], TD_NO_CACHES, PAGE);
        EXPECT_EQ(translate(maps[i].linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(hpa, HPA_OF(BYTE));
        EXPECT_EQ(td.mmu->walk.gpa, BYTE);
        EXPECT_EQ(td_references(1), maps[i].references);
        EXPECT_EQ(td.mmu->walk.step_count, maps[i].references * 5 + 4);
        EXPECT_EQ(td.mmu->walk.steps[(maps[i].references - 1) * 5 + 4].address, HPA_OF(maps[i].leaf_gpa));
        EXPECT_TRUE(mmu_peek(&td.cpu, &td.mmu->space, maps[i].linear, &hpa)); // The checker's own walk.
        EXPECT_EQ(hpa, BYTE);
        td_end();
    }
}

// --- Permissions. ---

enum { WP = 1, NXE = 2, SMEP = 4, SMAP = 8, PKE = 16 };
enum { P = PFERR_P, WR = PFERR_WRITE, US = PFERR_USER, ID = PFERR_FETCH, PK = PFERR_PK, OK = 0x8000 };
#define KEY(k) ((uint64_t)(k) << X86_PTE_PK_SHIFT)
#define USER_PAGE (PAGE | X86_PTE_US)
#define AD(k) (1u << (2 * (k)))
#define WD(k) (2u << (2 * (k)))

static const struct {
    const char *what;
    unsigned modes;
    uint64_t page; // Flags of its entry
    unsigned access;
    enum mmu_mode mode;
    unsigned controls;
    uint32_t pkru, code;
} permissions[] = {
    // clang-format off
    // 4.6.1: data reads.
    {"supervisor reads its page", ALL_MODES, PAGE, R, MMU_SUPERVISOR, WP | SMAP | SMEP, 0, OK},
    {"user reads a supervisor page", ALL_MODES, PAGE, R, MMU_USER, WP, 0, P | US},
    {"user reads a user page", ALL_MODES, USER_PAGE, R, MMU_USER, WP | SMAP | SMEP, 0, OK},
    {"supervisor reads a user page", ALL_MODES, USER_PAGE, R, MMU_SUPERVISOR, WP, 0, OK},
    {"the same with SMAP", ALL_MODES, USER_PAGE, R, MMU_SUPERVISOR, WP | SMAP, 0, P},
    {"the same with SMAP and AC", ALL_MODES, USER_PAGE, R, MMU_SUPERVISOR_AC, WP | SMAP, 0, OK},
    // Data writes.
    {"user writes a read-only page, WP 0", ALL_MODES, USER_PAGE & ~X86_PTE_RW, W, MMU_USER, 0, 0, P | WR | US},
    {"user writes a supervisor page", ALL_MODES, PAGE, W, MMU_USER, 0, 0, P | WR | US},
    {"supervisor writes a read-only page, WP 0", ALL_MODES, X86_PTE_P, W, MMU_SUPERVISOR, 0, 0, OK},
    {"supervisor writes a read-only page, WP 1", ALL_MODES, X86_PTE_P, W, MMU_SUPERVISOR, WP, 0, P | WR},
    {"supervisor writes a read-only user page, WP 0, SMAP, AC", ALL_MODES, USER_PAGE & ~X86_PTE_RW, W, MMU_SUPERVISOR_AC, SMAP, 0, OK},
    {"supervisor writes a user page with SMAP", ALL_MODES, USER_PAGE, W, MMU_SUPERVISOR, WP | SMAP, 0, P | WR},
    {"a read and write of a read-only page", ALL_MODES, X86_PTE_P, R | W, MMU_SUPERVISOR, WP, 0, P | WR},
    // Fetches.
    {"supervisor fetches from a user page", ALL_MODES, USER_PAGE, X, MMU_SUPERVISOR, NXE, 0, OK},
    {"the same with SMEP", ALL_MODES, USER_PAGE, X, MMU_SUPERVISOR, SMEP, 0, P | ID},
    {"the same with SMEP and AC", ALL_MODES, USER_PAGE, X, MMU_SUPERVISOR_AC, SMEP, 0, P | ID},
    {"the same with SMAP", ALL_MODES, USER_PAGE, X, MMU_SUPERVISOR, SMAP, 0, OK},
    {"user fetches from a user page with SMEP", ALL_MODES, USER_PAGE, X, MMU_USER, SMEP, 0, OK},
    {"user fetches from a supervisor page: I/D tells with NXE", WIDE, PAGE, X, MMU_USER, NXE, 0, P | US | ID},
    {"the same: NXE does not count in 32-bit paging", BIT(M32), PAGE, X, MMU_USER, NXE, 0, P | US},
    {"the same: I/D tells with SMEP", ALL_MODES, PAGE, X, MMU_USER, SMEP, 0, P | US | ID},
    {"the same: I/D does not tell with neither", ALL_MODES, PAGE, X, MMU_USER, 0, 0, P | US},
    {"fetch from a page with XD", WIDE, PAGE | X86_PTE_XD, X, MMU_SUPERVISOR, NXE, 0, P | ID},
    {"user fetch from a page with XD", WIDE, USER_PAGE | X86_PTE_XD, X, MMU_USER, NXE, 0, P | US | ID},
    {"read of a page with XD", WIDE, PAGE | X86_PTE_XD, R, MMU_SUPERVISOR, NXE, 0, OK},
    {"XD is reserved without NXE", WIDE, PAGE | X86_PTE_XD, R, MMU_SUPERVISOR, 0, 0, P | PFERR_RSVD},
    // 4.6.2: protection keys.
    {"access disabled", IA32E, USER_PAGE | KEY(5), R, MMU_USER, PKE, AD(5), P | US | PK},
    {"access disabled, supervisor", IA32E, USER_PAGE | KEY(5), R, MMU_SUPERVISOR, PKE, AD(5), P | PK},
    {"access disabled, supervisor's page", IA32E, PAGE | KEY(5), R, MMU_SUPERVISOR, PKE, AD(5), OK},
    {"access disabled, fetch", IA32E, USER_PAGE | KEY(5), X, MMU_USER, PKE | NXE, AD(5), OK},
    {"access disabled to another key", IA32E, USER_PAGE | KEY(5), R, MMU_USER, PKE, AD(4) | AD(6), OK},
    {"access disabled to key 0", IA32E, USER_PAGE, R, MMU_USER, PKE, AD(0), P | US | PK},
    {"access disabled to key 0, supervisor's page", IA32E, PAGE, W, MMU_SUPERVISOR, PKE, AD(0), OK},
    {"access disabled to key 15", IA32E, USER_PAGE | KEY(15), W, MMU_USER, PKE, AD(15), P | WR | US | PK},
    {"access disabled without PKE", IA32E, USER_PAGE | KEY(5), R, MMU_USER, 0, AD(5), OK},
    {"write disabled, read", IA32E, USER_PAGE | KEY(5), R, MMU_USER, PKE, WD(5), OK},
    {"write disabled, user's write", IA32E, USER_PAGE | KEY(5), W, MMU_USER, PKE, WD(5), P | WR | US | PK},
    {"write disabled, supervisor's write, WP 1", IA32E, USER_PAGE | KEY(5), W, MMU_SUPERVISOR, PKE | WP, WD(5), P | WR | PK},
    {"write disabled, supervisor's write, WP 0", IA32E, USER_PAGE | KEY(5), W, MMU_SUPERVISOR, PKE, WD(5), OK},
    {"keys are reserved bits in PAE paging", BIT(PAE), USER_PAGE | KEY(5), R, MMU_USER, PKE, 0, P | US | PFERR_RSVD},
    // 4.7: not present.
    {"not present", ALL_MODES, X86_PTE_RW, R, MMU_SUPERVISOR, WP, 0, 0},
    {"not present, user's write", ALL_MODES, 0, W, MMU_USER, PKE, AD(0), WR | US},
    {"not present, fetch", ALL_MODES, 0, X, MMU_SUPERVISOR, SMEP, 0, ID},
    {"not present: nothing is reserved", WIDE, X86_PTE_XD | 1ull << 50, R, MMU_SUPERVISOR, 0, 0, 0},
    // clang-format on
};

// `pkru` last, by the function that the instruction uses.
static void set_controls(unsigned controls, uint32_t pkru)
{
    struct mmu_space s;

    memcpy(&s, &td.mmu->space, sizeof s);
    s.paging.wp = controls & WP;
    s.paging.nxe = controls & NXE;
    s.paging.smep = controls & SMEP;
    s.paging.smap = controls & SMAP;
    s.paging.pke = controls & PKE;
    td_load(&s);
    mmu_set_pkru(td.mmu, pkru);
}

// Fills the TLB by accesses that may, if any may.
static void warm_up(const struct map *m)
{
    uint64_t hpa;

    set_controls(NXE, 0);
    translate(m->linear, R, MMU_USER, &hpa);
    translate(m->linear, R | W, MMU_SUPERVISOR, &hpa);
    translate(m->linear, X, MMU_SUPERVISOR, &hpa);
}

TEST(PagingModes, PermissionsByModePageSizeAndAccess) // SDM 4.6, 4.7
{
    for (unsigned i = 0; i < sizeof permissions / sizeof *permissions; i++)
        for (unsigned at = 0; at < 2 * MAPS; at++) {
            const struct map *m = &maps[at / 2];
            bool warm = at & 1; // The translation is in a TLB, if one of it may be.
            uint32_t code = permissions[i].code;
            uint64_t hpa;

            if (!(permissions[i].modes & BIT(m->mode)) || (warm && (code & PFERR_RSVD)))
                continue;
            test_row("%s: %s%s", permissions[i].what, m->name, warm ? ", warm" : "");
            build(m, TD_ALL, permissions[i].page);
            if (warm)
                warm_up(m);
            set_controls(permissions[i].controls, permissions[i].pkru);
            if (code == OK) {
                EXPECT_EQ(translate(m->linear, permissions[i].access, permissions[i].mode, &hpa), MMU_OK);
                EXPECT_EQ(hpa, HPA_OF(BYTE));
            } else {
                EXPECT_EQ(translate(m->linear, permissions[i].access, permissions[i].mode, &hpa),
                          MMU_PAGE_FAULT);
                EXPECT_EQ(td.mmu->walk.error_code, code);
            }
            td_end();
        }
}

TEST(PagingModes, UpperEntriesTakeRightsAway) // SDM 4.6: "in every paging-structure entry"
{
    for (unsigned i = 0; i < MAPS; i++) {
        uint64_t hpa, top = 0x1000;

        if (maps[i].leaf_gpa < 0x2000)
            continue; // Its page's entry is the only one.
        test_row("%s", maps[i].name);
        build(&maps[i], TD_ALL, USER_PAGE);
        for (; !fake_memory[HPA_OF(top)]; top += entry_bytes(&maps[i]))
            ;
        fake_memory[HPA_OF(top)] &= (unsigned char)~(X86_PTE_RW | X86_PTE_US);
        EXPECT_EQ(translate(maps[i].linear, R, MMU_USER, &hpa), MMU_PAGE_FAULT);
        EXPECT_EQ(translate(maps[i].linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(translate(maps[i].linear, W, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
        EXPECT_EQ(td.mmu->walk.error_code, PFERR_P | PFERR_WRITE);
        td_end();
    }
}

// --- Reserved bits. ---

TEST(PagingModes, ReservedBits) // SDM tables 4-4 to 4-6, 4-9 to 4-11
{
    static const struct {
        const char *what;
        uint64_t entry;
        unsigned levels, level, phys_bits;
        bool pse, pse_36, reserved;
    } cases[] = {
        {"PDE of 4 MiB", 0x400083, 2, 2, 46, true, true, false},
        {"bit 21 of a PDE of 4 MiB", 0x200083, 2, 2, 46, true, true, true},
        {"bits 20:13 with PSE-36", 0x1fe083, 2, 2, 46, true, true, false},
        {"bits 20:13 with 36 bits of address", 0x1e0083, 2, 2, 36, true, true, true},
        {"bits 16:13 with 36 bits of address", 0x01e083, 2, 2, 36, true, true, false},
        {"bit 13 without PSE-36", 0x002083, 2, 2, 46, true, false, true},
        {"bit 12 is PAT", 0x001083, 2, 2, 46, true, false, false},
        {"PS is ignored without CR4.PSE", 0x3fe083, 2, 2, 46, false, true, false},
        {"PTE of 32 bits", 0xffffffff, 2, 1, 46, true, true, false},
        {"PAE: address bit 46", 1ull << 46 | 3, 3, 1, 46, false, false, true},
        {"PAE: bit 52", 1ull << 52 | 3, 3, 1, 46, false, false, true},
        {"PAE: bit 62 of a PDE", 1ull << 62 | 3, 3, 2, 46, false, false, true},
        {"PAE: bit 13 of a page of 2 MiB", 0x2083, 3, 2, 46, false, false, true},
        {"PAE: bit 12 of a page of 2 MiB", 0x1083, 3, 2, 46, false, false, false},
        {"PAE: XD", 1ull << 63 | 3, 3, 1, 46, false, false, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct paging p = {
            .levels = (uint8_t)cases[i].levels, .nxe = true, .pse = cases[i].pse, .pse_36 = cases[i].pse_36};

        test_row("%s", cases[i].what);
        EXPECT_EQ(paging_reserved_set(&p, cases[i].entry, cases[i].level, cases[i].phys_bits) != 0,
                  cases[i].reserved);
    }
}

TEST(PagingModes, PdptesHaveReservedBits) // SDM table 4-8
{
    static const uint64_t bad[] = {1ull << 1, 1ull << 2, 1ull << 5, 1ull << 8, 1ull << 46, 1ull << 63};

    EXPECT_EQ(paging_pdpte_reserved_set(0x3fffffffe19 | 0xe00, 46), 0);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT_NE(paging_pdpte_reserved_set(bad[i] | 1, 46), 0);
        EXPECT_EQ(paging_pdpte_reserved_set(bad[i], 46), 0); // Not present: ignored.
    }
}

TEST(PagingModes, APageOf4MBytesMayLieAbove4GBytes) // SDM 4.3, table 4-4
{
    const struct paging p = {.levels = 2, .pse = true, .pse_36 = true};

    EXPECT_EQ(paging_page(&p, 0xabc00083 | 0x5aull << 13, 2), 0x5aabc00000);
    EXPECT_EQ(paging_page(&p, 0xabcde083, 1), 0xabcde000);
}

static void no_pse(struct paging *p)
{
    p->pse = false;
}

TEST(PagingModes, WithoutPseTheFlagIsIgnored) // SDM 4.3
{
    const struct map *m = &maps[0];
    uint64_t hpa, pde = 0x1000 + 0x203 * 4;

    build(m, TD_NO_CACHES, PAGE);
    entry_set(m, pde, 0x2000 | TABLE | X86_PTE_PS);
    change(no_pse);
    EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(BYTE));
    td_end();
}

// --- Addresses. ---

TEST(PagingModes, WhatPagingTranslates) // SDM 3.3.7.1, 4.1.1
{
    static const struct {
        unsigned levels;
        bool off;
        uint64_t address;
        bool ok;
    } cases[] = {
        {2, false, 0xffffffff, true},          {2, false, 0x100000000, false},
        {3, false, 0xffffffff, true},          {3, false, 1ull << 63, false},
        {4, false, 0x00007fffffffffff, true},  {4, false, 0x0000800000000000, false},
        {4, false, 0xffff800000000000, true},  {4, false, 0xfffe800000000000, false},
        {4, false, 0x0200000000401000, false}, {5, false, 0x00ffffffffffffff, true},
        {5, false, 0x0100000000000000, false}, {5, false, 0xff00000000000000, true},
        {0, true, 0xffffffff, true},           {0, true, 0x100000000, false},
        {0, false, 0xffffffffffffffff, true},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mmu_space s;

        test_row("row %u", i);
        td_make(TD_NO_CACHES, 4, 4);
        memcpy(&s, &td.mmu->space, sizeof s);
        s.paging.levels = (uint8_t)cases[i].levels;
        s.paging.off = cases[i].off;
        td_load(&s);
        EXPECT_EQ(mmu_canonical(td.mmu, cases[i].address), cases[i].ok);
        td_end();
    }
}

TEST(PagingModes, AHitIsOfTheWholeAddress)
{
    const struct map *m = &maps[4];
    uint64_t hpa;

    build(m, TD_ALL, PAGE);
    EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_FALSE(mmu_hit(td.mmu, m->linear | 1ull << 60, R, MMU_SUPERVISOR, &hpa));
    EXPECT_FALSE(mmu_find(td.mmu, m->linear | 1ull << 60, R, MMU_SUPERVISOR, &hpa));
    EXPECT_EQ(translate(m->linear | 1ull << 60, R, MMU_SUPERVISOR, &hpa), MMU_NOT_CANONICAL);
    td_end();
}

TEST(PagingModes, APdpteThatIsNotPresentFaults) // SDM 4.4.2
{
    uint64_t hpa;

    build(&maps[2], TD_ALL, PAGE);
    EXPECT_EQ(translate(maps[2].linear ^ 0x40000000, W, MMU_USER, &hpa), MMU_PAGE_FAULT);
    EXPECT_EQ(td.mmu->walk.error_code, PFERR_WRITE | PFERR_USER);
    EXPECT_EQ(td.mmu->walk.step_count, 0);
    td_end();
}

// --- Accessed and dirty flags. ---

TEST(PagingModes, FlagsAreSetInEntriesOfEitherSize) // SDM 4.8
{
    for (unsigned i = 0; i < MAPS; i++) {
        const struct map *m = &maps[i];
        uint64_t hpa, neighbour = m->leaf_gpa ^ entry_bytes(m);

        test_row("%s", m->name);
        build(m, TD_ALL, USER_PAGE);
        entry_set(m, neighbour, 0x5a5a5a00);
        EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        EXPECT_EQ(leaf_get(m) & (X86_PTE_A | X86_PTE_D), X86_PTE_A);
        EXPECT_EQ(td.mmu->counters.guest_flag_writes, maps[i].references);
        EXPECT_EQ(translate(m->linear, W, MMU_USER, &hpa), MMU_OK);
        EXPECT_EQ(leaf_get(m) & (X86_PTE_A | X86_PTE_D), X86_PTE_A | X86_PTE_D);
        EXPECT_EQ(td.mmu->counters.guest_flag_writes, maps[i].references + 1);
        EXPECT_EQ(memcmp(fake_memory + HPA_OF(neighbour), "\x00\x5a\x5a\x5a", 4), 0);
        td_end();
    }
}

// --- Caches. ---

TEST(PagingModes, TableCachesServeEachMode) // SDM 4.10.3: PDEs of 32-bit and PAE paging
{
    for (unsigned i = 0; i < MAPS; i++) {
        const struct map *m = &maps[i];
        uint64_t hpa;

        if (m->leaf != 1)
            continue;
        test_row("%s", m->name);
        build(m, TD_TABLES, PAGE);
        EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        // The other end of the same page table.
        entry_set(m, (m->leaf_gpa & ~0xfffull) + 0x1000 - entry_bytes(m), 0xa000 | PAGE);
        EXPECT_EQ(translate(m->linear | (m->mode == M32 ? 0x3ff000 : 0x1ff000), R, MMU_SUPERVISOR, &hpa),
                  MMU_OK);
        EXPECT_EQ(hpa, HPA_OF(0xa000 + OFFSET));
        EXPECT_EQ(td_references(1), 1);
        td_end();
    }
}

TEST(PagingModes, InvlpgEndsEveryPieceOfAPage) // SDM 4.10.2.3, 4.10.4.1
{
    for (unsigned i = 0; i < MAPS; i++) {
        const struct map *m = &maps[i];
        uint64_t hpa, other = m->linear ^ 0x3000;

        if (m->leaf == 1)
            continue;
        test_row("%s", m->name);
        build(m, TD_TLB, PAGE | X86_PTE_G);
        EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_OK); // In 4-KByte pages of the EPT.
        EXPECT_EQ(translate(other, R, MMU_SUPERVISOR, &hpa), MMU_OK);
        leaf_set(m, 0);
        tlb_flush_linear(&td.mmu->tlb, 1, 0, m->linear + 0x1000);
        EXPECT_EQ(translate(other, R, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
        EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_PAGE_FAULT);
        td_end();
    }
}

TEST(PagingModes, PiecesOfOtherPagesStay)
{
    const struct map *m = &maps[3];
    uint64_t hpa, next = m->linear + 0x200000;

    build(m, TD_TLB, PAGE);
    entry_set(m, m->leaf_gpa + 8, X86_PTE_PS | PAGE);
    EXPECT_EQ(translate(m->linear, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(translate(next, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    tlb_flush_linear(&td.mmu->tlb, 1, 0, m->linear + 0x1000);
    EXPECT_TRUE(mmu_find(td.mmu, next, R, MMU_SUPERVISOR, &hpa));
    EXPECT_FALSE(mmu_find(td.mmu, m->linear, R, MMU_SUPERVISOR, &hpa));
    td_end();
}

static void raise_smap(struct paging *p)
{
    p->smap = true;
}

TEST(PagingModes, RightsFollowRegistersWithoutAFlush) // SDM 4.10.2.1: a TLB holds rights, not verdicts
{
    const struct map *m = &maps[4];
    uint64_t hpa;

    build(m, TD_ALL, USER_PAGE | KEY(3) | X86_PTE_A | X86_PTE_D);
    set_controls(PKE | WP, 0);
    EXPECT_EQ(translate(m->linear, W, MMU_USER, &hpa), MMU_OK);
    mmu_set_pkru(td.mmu, WD(3));
    EXPECT_TRUE(mmu_find(td.mmu, m->linear, R, MMU_USER, &hpa));
    EXPECT_FALSE(mmu_find(td.mmu, m->linear, W, MMU_USER, &hpa));
    mmu_set_pkru(td.mmu, 0);
    EXPECT_TRUE(mmu_hit(td.mmu, m->linear, W, MMU_USER, &hpa));
    change(raise_smap);
    EXPECT_FALSE(mmu_hit(td.mmu, m->linear, W, MMU_SUPERVISOR, &hpa));
    EXPECT_TRUE(mmu_hit(td.mmu, m->linear, W, MMU_SUPERVISOR_AC, &hpa));
    EXPECT_TRUE(mmu_hit(td.mmu, m->linear, W, MMU_USER, &hpa));
    td_end();
}

// --- Paging off. ---

static void turn_off(void)
{
    struct mmu_space s;

    memcpy(&s, &td.mmu->space, sizeof s);
    s.paging.levels = 0;
    s.paging.off = s.tag.unpaged = true;
    td_load(&s);
}

TEST(PagingModes, OffGuestPhysicalMappingsTranslate) // SDM 28.4.1, 28.4.3.1
{
    uint64_t hpa;

    td_make(TD_TLB, 4, 4);
    turn_off();
    EXPECT_EQ(translate(0x96f0, W, MMU_USER, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(0x96f0));
    EXPECT_EQ(td_references(1), 0);
    tlb_invvpid_single(&td.mmu->tlb, 1, false);
    EXPECT_TRUE(mmu_find(td.mmu, 0x96f0, R, MMU_SUPERVISOR, &hpa));
    tlb_flush_violation(&td.mmu->tlb, &td.mmu->space.tag, 0x9000, false, 0);
    EXPECT_FALSE(mmu_find(td.mmu, 0x96f0, R, MMU_SUPERVISOR, &hpa));
    EXPECT_EQ(translate(0x96f0, W, MMU_SUPERVISOR, &hpa), MMU_OK);
    tlb_invept_single(&td.mmu->tlb, td.mmu->space.tag.ep4ta);
    EXPECT_FALSE(mmu_find(td.mmu, 0x96f0, R, MMU_SUPERVISOR, &hpa));
    td_end();
}

TEST(PagingModes, WhatWasCachedWithPagingOffIsNotUsedWithPagingOn)
{
    const struct map *m = &maps[0];
    struct mmu_space on;
    uint64_t hpa;

    build(m, TD_ALL, PAGE);
    entry_set(m, 0x1000, 0x3000 | TABLE); // Linear 9000H: page at a000H.
    entry_set(m, 0x3000 + 9 * 4, 0xa000 | PAGE);
    memcpy(&on, &td.mmu->space, sizeof on);
    turn_off();
    EXPECT_EQ(translate(0x9000, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(0x9000));
    td_load(&on);
    EXPECT_EQ(translate(0x9000, R, MMU_SUPERVISOR, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(0xa000));
    td_end();
}

TEST(PagingModes, OffEveryAddressIsAUsersAndWritable) // SDM table 27-7, bits 11:9
{
    uint64_t hpa;

    td_make(TD_ALL, 4, 4);
    fake_set64(EPT_PTE(0x9000), HPA_OF(0x9000) | 0x331);
    turn_off();
    EXPECT_EQ(translate(0x9000, W, MMU_SUPERVISOR, &hpa), MMU_EPT_VIOLATION);
    EXPECT_EQ(td.mmu->walk.qualification, QUAL_EPT_WRITE | 1u << QUAL_EPT_ALLOWED_SHIFT |
                                              QUAL_EPT_LINEAR_VALID | QUAL_EPT_TRANSLATED | 1u << 9 |
                                              1u << 10);
    td_end();
}

// --- Without a linear address. ---

TEST(PagingModes, PdptesAreReadAsGuestPhysicalData) // SDM table 27-7 bits 7 and 8, 28.3.3.2
{
    uint64_t hpa = 0;

    td_make(TD_ALL, 4, 4);
    EXPECT_EQ(mmu_translate_physical(td.mmu, 0x9020, &hpa), MMU_OK);
    EXPECT_EQ(hpa, HPA_OF(0x9020));
    EXPECT_EQ(mmu_translate_physical(td.mmu, 0x9040, &hpa), MMU_OK);
    EXPECT_EQ(td.mmu->walk.step_count, 0); // The nested TLB has it.
    fake_set64(EPT_PTE(0xa000), 0);
    EXPECT_EQ(mmu_translate_physical(td.mmu, 0xa020, &hpa), MMU_EPT_VIOLATION);
    EXPECT_EQ(td.mmu->walk.qualification, QUAL_EPT_READ);
    EXPECT_EQ(td.mmu->walk.gpa, 0xa020);
    td_end();
}
