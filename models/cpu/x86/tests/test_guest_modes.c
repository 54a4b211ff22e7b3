// SPDX-License-Identifier: Apache-2.0
// Guests in every paging mode: what MOV to CR checks and does, PDPTE registers, IA-32e mode on and off,
// accesses of the processor itself, locked accesses of any size
// (SDM 4.1, 4.4.1, 4.6.1, 8.1.2, 9.8.5, 26.3.2.4, 27.3.4).
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"
#include <string.h>

// Guest-physical: tables below 2 MiB, which the EPT maps by one page to BENCH_GUEST.
enum {
    PML4 = 0x2000, // Of 4-level paging: PDPT, PD, PT
    PDPT = 0x4000,
    PD = 0x3000, // Of PAE paging too
    PT = 0x5000,
    PDPT_PAE = 0x6020,
    PD_32 = 0x7000, // Of 32-bit paging: PT_32, and PT_LAST for the last 4 MiB
    PT_32 = 0x9000,
    PT_LAST = 0xb000,
    PAGE = 0x8000,
    PAGE_2 = 0xa000,
};
#define LINEAR 0x401000ull
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)
#define LEAF (TABLE | X86_PTE_D)
#define CR0 0x80050033ull
#define PG_OFF 0x00050033ull
#define PAE X86_CR4_PAE
#define CR4 0x2080ull // PGE, VMXE

static const struct replay_op halt[] = {{.kind = REPLAY_HLT, .length = 1}, {.kind = REPLAY_END}};
static struct replay_op ops[3];

static void guest_set(uint64_t gpa, uint64_t value)
{
    bench_set64(BENCH_GUEST + gpa, value);
}

// What the guest is when it starts.
enum start { UNPAGED, PAGED_32, PAGED_PAE, COMPATIBILITY, LONG, STARTS };

// Tables that map LINEAR to PAGE, whatever the mode is.
static void build_tables(void)
{
    guest_set(PML4, PDPT | TABLE);
    guest_set(PDPT, PD | TABLE);
    guest_set(PD + 16, PT | TABLE); // Bits 29:21 of LINEAR are 2.
    guest_set(PT + 8, PAGE | LEAF);
    guest_set(PDPT_PAE, PD | X86_PTE_P);
    guest_set(PD_32, (PT_32 | TABLE) << 32 | PT_32 | TABLE); // PDEs 0 and 1
    guest_set(PT_32, (PAGE | LEAF) << 32 | PAGE_2 | LEAF);   // PTEs 0 and 1
    guest_set(PD_32 + 0xff8, (PT_LAST | TABLE) << 32);
    guest_set(PT_LAST + 0xff8, (PAGE | LEAF) << 32);
    guest_set(PAGE, 77);
}

static void start(enum start as, const struct replay_op *program, uint32_t count)
{
    static const struct {
        uint64_t cr0, cr3, cr4, efer;
        uint32_t cs;
        bool ia32e;
    } states[STARTS] = {
        [UNPAGED] = {PG_OFF, 0, CR4, 0, 0xc09b, false},
        [PAGED_32] = {CR0, PD_32, CR4, 0, 0xc09b, false},
        [PAGED_PAE] = {CR0, PDPT_PAE, CR4 | PAE, 0, 0xc09b, false},
        [COMPATIBILITY] = {CR0, PML4, CR4 | PAE, EFER_LME | EFER_LMA, 0xc09b, true},
        [LONG] = {CR0, PML4, CR4 | PAE, EFER_LME | EFER_LMA, 0xa09b, true},
    };

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_UNRESTRICTED_GUEST, 0);
    bench_program(program, count, NULL);
    bench_linear();
    build_tables();
    bench_vmwrite(GUEST_CR0, states[as].cr0);
    bench_vmwrite(GUEST_CR3, states[as].cr3);
    bench_vmwrite(GUEST_CR4, states[as].cr4);
    bench_vmwrite(GUEST_IA32_EFER, states[as].efer);
    bench_vmwrite(GUEST_CS_AR_BYTES, states[as].cs);
    bench_control(VM_ENTRY_CONTROLS, states[as].ia32e ? ENTRY_IA32E_MODE_GUEST : 0,
                  states[as].ia32e ? 0 : ENTRY_IA32E_MODE_GUEST);
    bench_vmwrite(GUEST_PDPTR0, PD | X86_PTE_P);
    bench_vmwrite(GUEST_RSP, 0x2000);
    bench_vmwrite(EXCEPTION_BITMAP, 1u << GP_VECTOR | 1u << PF_VECTOR);
}

// One instruction, then HLT.
static void start_with(enum start as, struct replay_op op)
{
    ops[0] = op;
    ops[1] = halt[0];
    ops[2] = halt[1];
    start(as, ops, 3);
}

static struct replay_op mov_to_cr(unsigned n, uint64_t value)
{
    return (struct replay_op){.kind = REPLAY_MOVTOCR, .length = 3, .args = {n, value}};
}

static struct replay_op read_linear(void)
{
    return (struct replay_op){.kind = REPLAY_READ, .length = 3, .args = {LINEAR, 8}};
}

TEST(GuestModes, EachModeTranslates)
{
    for (enum start as = UNPAGED; as < STARTS; as++) {
        test_row("start %u", as);
        start_with(as, read_linear());
        if (as == UNPAGED)
            ops[0].args[0] = PAGE;
        EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
        EXPECT_EQ(bench_gprs.r[0], 77);
        EXPECT_EQ(bench_violations, 0);
        bench_end();
    }
}

TEST(GuestModes, MovToCrChecks) // SDM 2.5, 4.1.1, 4.1.2, 9.8.5; vol. 2, MOV-Control Registers
{
    static const struct {
        const char *what;
        enum start as;
        unsigned cr;
        uint64_t value;
        bool ok;
        uint64_t efer; // Set before, but LMA
        uint64_t cr3;  // 0: as it is
    } cases[] = {
        {"PG without PE", UNPAGED, 0, (CR0 & ~X86_CR0_PE), false, 0, 0},
        {"PG", UNPAGED, 0, CR0, true, 0, PD_32},
        {"PG with LME, without PAE", UNPAGED, 0, CR0, false, EFER_LME, 0},
        {"NW without CD", UNPAGED, 0, PG_OFF | X86_CR0_NW, false, 0, 0},
        {"CD", UNPAGED, 0, PG_OFF | X86_CR0_CD, true, 0, 0},
        {"NE is fixed", UNPAGED, 0, PG_OFF & ~X86_CR0_NE, false, 0, 0},
        {"PE off", UNPAGED, 0, PG_OFF & ~X86_CR0_PE, true, 0, 0},
        {"bits 63:32", PAGED_32, 0, CR0 | 1ull << 40, false, 0, 0},
        {"reserved bit 6 is ignored", PAGED_32, 0, CR0 | 1u << 6, true, 0, 0},
        {"PG off, legacy", PAGED_32, 0, PG_OFF, true, 0, 0},
        {"PG off, compatibility mode", COMPATIBILITY, 0, PG_OFF, true, 0, 0},
        {"PG off, 64-bit mode", LONG, 0, PG_OFF, false, 0, 0},
        {"PAE, legacy", PAGED_32, 4, CR4 | PAE, true, 0, PDPT_PAE},
        {"PAE off, legacy", PAGED_PAE, 4, CR4, true, 0, 0},
        {"PAE off, IA-32e", COMPATIBILITY, 4, CR4, false, 0, 0},
        {"VMXE is fixed", PAGED_32, 4, CR4 & ~X86_CR4_VMXE, false, 0, 0},
        {"a reserved bit", PAGED_32, 4, CR4 | 1u << 15, false, 0, 0},
        {"a bit that the processor lacks", PAGED_32, 4, CR4 | X86_CR4_CET, false, 0, 0},
        {"PCIDE, legacy", PAGED_PAE, 4, CR4 | PAE | X86_CR4_PCIDE, false, 0, 0},
        {"PCIDE, IA-32e", LONG, 4, CR4 | PAE | X86_CR4_PCIDE, true, 0, 0},
        {"PCIDE, CR3[11:0] is not 0", LONG, 4, CR4 | PAE | X86_CR4_PCIDE, false, 0, PML4 | 8},
        {"CR3 beyond the width", LONG, 3, 1ull << 46, false, 0, 0},
        {"CR3 bit 63 without PCIDE", LONG, 3, 1ull << 63 | PML4, false, 0, 0},
        {"SMEP and SMAP", PAGED_32, 4, CR4 | X86_CR4_SMEP | X86_CR4_SMAP, true, 0, 0},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("%s", cases[i].what);
        start_with(cases[i].as, mov_to_cr(cases[i].cr, cases[i].value));
        if (cases[i].efer)
            bench_vmwrite(GUEST_IA32_EFER, cases[i].efer);
        if (cases[i].cr3)
            bench_vmwrite(GUEST_CR3, cases[i].cr3);
        EXPECT_EQ(bench_run(), cases[i].ok ? EXIT_REASON_HLT : EXIT_REASON_EXCEPTION_NMI);
        if (!cases[i].ok) {
            EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO) & INTR_INFO_VECTOR_MASK, GP_VECTOR);
            EXPECT_EQ(bench_vmread(VM_EXIT_INTR_ERROR_CODE), 0);
        }
        bench_end();
    }
}

TEST(GuestModes, PagingWithLmeIsIa32eMode) // SDM 9.8.5, 27.2, 27.3.1
{
    static const struct {
        const char *what;
        uint32_t cs, tr;
        bool ok;
    } cases[] = {
        {"32-bit code", 0xc09b, 0x8b, true},
        {"CS.L is set", 0xa09b, 0x8b, false},
        {"a 16-bit TSS", 0xc09b, 0x83, false},
    };

    for (unsigned i = 0; i < 3; i++) {
        test_row("%s", cases[i].what);
        start_with(UNPAGED, mov_to_cr(0, CR0));
        bench_vmwrite(GUEST_CR3, PML4);
        bench_vmwrite(GUEST_CR4, CR4 | PAE);
        bench_vmwrite(GUEST_IA32_EFER, EFER_LME);
        bench_vmwrite(GUEST_CS_AR_BYTES, cases[i].cs);
        bench_vmwrite(GUEST_TR_AR_BYTES, cases[i].tr);
        EXPECT_EQ(bench_run(), cases[i].ok ? EXIT_REASON_HLT : EXIT_REASON_EXCEPTION_NMI);
        EXPECT_EQ(bench_vmread(GUEST_IA32_EFER), EFER_LME | (cases[i].ok ? EFER_LMA : 0));
        EXPECT_EQ(!!(bench_vmread(VM_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST), cases[i].ok);
        bench_end();
    }
}

TEST(GuestModes, PagingOffEndsIa32eMode)
{
    start_with(COMPATIBILITY, mov_to_cr(0, PG_OFF));
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_vmread(GUEST_IA32_EFER), EFER_LME);
    EXPECT_EQ(bench_vmread(VM_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST, 0);
    bench_end();
}

// --- PDPTE registers. ---

TEST(GuestModes, PdptesAreRegisters) // SDM 4.4.1, 26.3.2.4, 27.3.4
{
    start_with(PAGED_PAE, read_linear());
    guest_set(PDPT_PAE, 0); // What memory has now does not matter: VM entry loaded the VMCS's.
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 77);
    EXPECT_EQ(bench_vmread(GUEST_PDPTR0), PD | X86_PTE_P);
    bench_end();
}

TEST(GuestModes, MovToCrLoadsPdptes) // SDM 4.4.1
{
    static const struct {
        const char *what;
        enum start as;
        unsigned cr;
        uint64_t value;
        bool loads;
    } cases[] = {
        {"CR3", PAGED_PAE, 3, PDPT_PAE, true},
        {"CR0.PG", UNPAGED, 0, CR0, true},
        {"CR0.CD", PAGED_PAE, 0, CR0 | X86_CR0_CD, true},
        {"CR0.WP", PAGED_PAE, 0, CR0 & ~X86_CR0_WP, false},
        {"CR0.TS", PAGED_PAE, 0, CR0 | X86_CR0_TS, false},
        {"CR4.PAE", PAGED_32, 4, CR4 | PAE, true},
        {"CR4.PGE", PAGED_PAE, 4, (CR4 | PAE) & ~X86_CR4_PGE, true},
        {"CR4.PSE", PAGED_PAE, 4, CR4 | PAE | X86_CR4_PSE, true},
        {"CR4.SMEP", PAGED_PAE, 4, CR4 | PAE | X86_CR4_SMEP, true},
        {"CR4.SMAP", PAGED_PAE, 4, CR4 | PAE | X86_CR4_SMAP, false},
        {"CR4, the same", PAGED_PAE, 4, CR4 | PAE, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("%s", cases[i].what);
        start_with(cases[i].as, mov_to_cr(cases[i].cr, cases[i].value));
        bench_vmwrite(GUEST_CR3, PDPT_PAE);
        if (cases[i].as == UNPAGED)
            bench_vmwrite(GUEST_CR4, CR4 | PAE);
        guest_set(PDPT_PAE, 0x9000 | X86_PTE_P);
        guest_set(PDPT_PAE + 24, 0xa000 | X86_PTE_P | X86_PTE_PWT);
        EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
        EXPECT_EQ(bench_vmread(GUEST_PDPTR0), (cases[i].loads ? 0x9000 : PD) | X86_PTE_P);
        EXPECT_EQ(bench_vmread(GUEST_PDPTR3), cases[i].loads ? 0xa000 | X86_PTE_P | X86_PTE_PWT : 0);
        bench_end();
    }
}

TEST(GuestModes, ReservedBitsOfPdptesFaultAndNothingIsWritten) // SDM 4.4.1, table 4-8
{
    start_with(PAGED_PAE, mov_to_cr(3, PDPT_PAE + 0x20));
    guest_set(PDPT_PAE + 0x20 + 16, 1ull << 5 | X86_PTE_P);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO) & INTR_INFO_VECTOR_MASK, GP_VECTOR);
    EXPECT_EQ(bench_vmread(GUEST_CR3), PDPT_PAE);
    EXPECT_EQ(bench_vmread(GUEST_PDPTR0), PD | X86_PTE_P);
    bench_end();
}

TEST(GuestModes, PdptesOutOfReachAreAViolationWithoutLinearAddress) // SDM table 27-7 bit 7
{
    start_with(PAGED_PAE, mov_to_cr(3, 0x200040)); // Behind the EPT's empty table
    bench_vmwrite(GUEST_LINEAR_ADDRESS, 0x1234);
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), QUAL_EPT_READ);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), 0x200040);
    EXPECT_EQ(bench_vmread(GUEST_CR3), PDPT_PAE);
    EXPECT_EQ(bench_vmread(GUEST_LINEAR_ADDRESS), 0x1234);
    bench_end();
}

// --- Accesses that the interpreter makes. ---

// In non-root operation, as behind a VM entry, at this CPL.
static struct pcpu *inside(enum start as, unsigned cpl)
{
    struct pcpu *c;

    start(as, halt, 2);
    c = pcpu_current;
    bench_vmwrite(GUEST_CR4, (bench_vmread(GUEST_CR4)) | X86_CR4_SMAP | X86_CR4_SMEP);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT); // Everything is loaded once.
    EXPECT_TRUE(vmx_load_guest(c));
    guest_space_cpl(c, cpl);
    return c;
}

static void outside(struct pcpu *c)
{
    c->x86->vmx.in_guest = false;
    bench_end();
}

TEST(GuestModes, CplAndAcChangeWhatIsAllowed) // SDM 4.6.1
{
    struct pcpu *c = inside(LONG, 0);
    uint64_t hpa, entries = c->x86->mmu->counters.walks;

    c->x86->vmx.rflags &= ~(uint64_t)X86_RFLAGS_AC;
    guest_space_cpl(c, 3);
    EXPECT_EQ(guest_translate(c, LINEAR, EPT_ACCESS_WRITE, &hpa), GUEST_DONE);
    EXPECT_EQ(c->x86->mmu->counters.walks, entries + 1);
    EXPECT_TRUE(guest_translate_fast(c, LINEAR, EPT_ACCESS_WRITE, &hpa));
    guest_space_cpl(c, 0);
    EXPECT_FALSE(guest_translate_fast(c, LINEAR, EPT_ACCESS_READ, &hpa));
    c->x86->vmx.rflags |= X86_RFLAGS_AC;
    guest_space_ac(c);
    EXPECT_TRUE(guest_translate_fast(c, LINEAR, EPT_ACCESS_READ, &hpa)); // And nothing of the TLB is lost.
    guest_space_cpl(c, 3);
    guest_space_ac(c);
    EXPECT_TRUE(guest_translate_fast(c, LINEAR, EPT_ACCESS_READ, &hpa));
    EXPECT_EQ(c->x86->mmu->mode, MMU_USER);
    outside(c);
}

TEST(GuestModes, TheProcessorsOwnAccessesAreImplicitSupervisors) // SDM 4.6.1
{
    struct pcpu *c = inside(LONG, 3);
    uint64_t value = 0;

    // A supervisor page at CPL 3 ...
    guest_set(PT + 16, (PAGE_2 | LEAF) & ~X86_PTE_US);
    guest_set(PAGE_2, 99);
    EXPECT_EQ(guest_access(c, LINEAR + 0x1000, 8, EPT_ACCESS_READ | GUEST_SYSTEM, &value), GUEST_DONE);
    EXPECT_EQ(value, 99);
    EXPECT_EQ(guest_access(c, LINEAR + 0x1000, 8, EPT_ACCESS_READ, &value), GUEST_EXIT);
    EXPECT_EQ(c->x86->vmx.exit.intr_error, PFERR_P | PFERR_USER);
    // ... but not a user page with SMAP, whatever AC is.
    c->x86->vmx.rflags |= X86_RFLAGS_AC;
    guest_space_cpl(c, 0);
    EXPECT_EQ(guest_access(c, LINEAR, 8, EPT_ACCESS_READ, &value), GUEST_DONE);
    EXPECT_EQ(guest_access(c, LINEAR, 8, EPT_ACCESS_READ | GUEST_SYSTEM, &value), GUEST_EXIT);
    EXPECT_EQ(c->x86->vmx.exit.intr_error, PFERR_P);
    EXPECT_EQ(c->x86->mmu->mode, MMU_SUPERVISOR_AC);
    outside(c);
}

TEST(GuestModes, LockedAccessesOfEverySize) // SDM 8.1.2
{
    static const unsigned sizes[] = {1, 2, 4, 8, 16};

    for (unsigned i = 0; i < 5; i++)
        for (unsigned split = 0; split < 2; split++) {
            unsigned char bytes[16], old[16];
            struct pcpu *c = inside(LONG, 3);
            struct guest_rmw r;
            unsigned size = sizes[i];
            uint64_t at = split ? LINEAR + 0x1000 - (size + 1) / 2 : LINEAR + 0x20;

            if (split && size == 1) {
                outside(c);
                continue;
            }
            test_row("%u bytes%s", size, split ? ", split" : "");
            guest_set(PT + 16, PAGE_2 | LEAF);
            for (unsigned b = 0; b < 16; b++)
                old[b] = (unsigned char)(0x11 * b + 3);
            EXPECT_EQ(guest_access(c, at, size, EPT_ACCESS_WRITE, old), GUEST_DONE);
            EXPECT_EQ(guest_rmw_begin(c, at, size, &r), GUEST_DONE);
            EXPECT_EQ(memcmp(r.p, old, size), 0);
            EXPECT_EQ(r.apart, split == 1);
            for (unsigned b = 0; b < size; b++)
                r.p[b] ^= 0xff;
            EXPECT_EQ(guest_rmw_end(c, &r), GUEST_DONE);
            memset(bytes, 0, sizeof bytes);
            EXPECT_EQ(guest_access(c, at, size, EPT_ACCESS_READ, bytes), GUEST_DONE);
            for (unsigned b = 0; b < size; b++)
                EXPECT_EQ(bytes[b], old[b] ^ 0xff);
            outside(c);
        }
}

TEST(GuestModes, ALockedAccessOfAReadOnlyPageFaultsBeforeItReads)
{
    struct pcpu *c = inside(LONG, 3);
    struct guest_rmw r;

    guest_set(PT + 8, (PAGE | LEAF) & ~X86_PTE_RW);
    EXPECT_EQ(guest_rmw_begin(c, LINEAR, 8, &r), GUEST_EXIT);
    EXPECT_EQ(c->x86->vmx.exit.intr_error, PFERR_P | PFERR_WRITE | PFERR_USER);
    outside(c);
}

TEST(GuestModes, AddressesOf32BitsWrap) // SDM vol. 1 3.3.1
{
    struct pcpu *c = inside(PAGED_32, 3);
    uint64_t value = 0x1122334455667788;

    EXPECT_EQ(guest_access(c, 0xfffffffc, 8, EPT_ACCESS_WRITE, &value), GUEST_DONE);
    EXPECT_EQ(bench_get64(BENCH_GUEST + PAGE + 0xff8) >> 32, 0x55667788);
    EXPECT_EQ((uint32_t)bench_get64(BENCH_GUEST + PAGE_2), 0x11223344);
    EXPECT_EQ(guest_access(c, 0x100000000, 8, EPT_ACCESS_WRITE, &value), GUEST_EXIT);
    EXPECT_EQ(c->x86->vmx.exit.intr_info & INTR_INFO_VECTOR_MASK, GP_VECTOR);
    outside(c);
}
