// SPDX-License-Identifier: Apache-2.0
//
// Rows of registers typed a second time, apart from the tables that they are compared with. Most were typed
// from memory of the manuals, not from the pages of the pinned edition: they catch slips of the pen, not a
// belief that both share.

#include "spec/apic_bits.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"
#include "spec/tests/rows.h"
#include "spec/x86_bits.h"

// SDM volume 4, table 2-2; Appendix A.
TEST(SpecGoldenMsrs, Numbers)
{
    static const struct row msrs[] = {
#define MSR(number, name, section) {#name, number},
#define PV(number, name, origin) {#name, number},
#include "spec/msrs.def"
    };
    static const struct row golden[] = {
        {"IA32_TSC", 0x10},
        {"IA32_APIC_BASE", 0x1B},
        {"IA32_FEATURE_CONTROL", 0x3A},
        {"IA32_TSC_ADJUST", 0x3B},
        {"IA32_MTRRCAP", 0xFE},
        {"IA32_SYSENTER_EIP", 0x176},
        {"IA32_PERFEVTSEL0", 0x186},
        {"IA32_MISC_ENABLE", 0x1A0},
        {"IA32_DEBUGCTL", 0x1D9},
        {"IA32_MTRR_PHYSMASK7", 0x20F},
        {"IA32_MTRR_FIX16K_A0000", 0x259},
        {"IA32_MTRR_FIX4K_F8000", 0x26F},
        {"IA32_PAT", 0x277},
        {"IA32_MTRR_DEF_TYPE", 0x2FF},
        {"IA32_PERF_GLOBAL_CTRL", 0x38F},
        {"IA32_MC1_STATUS", 0x405},
        {"IA32_VMX_BASIC", 0x480},
        {"IA32_VMX_MISC", 0x485},
        {"IA32_VMX_CR4_FIXED1", 0x489},
        {"IA32_VMX_PROCBASED_CTLS2", 0x48B},
        {"IA32_VMX_EPT_VPID_CAP", 0x48C},
        {"IA32_VMX_TRUE_ENTRY_CTLS", 0x490},
        {"IA32_VMX_VMFUNC", 0x491},
        {"IA32_TSC_DEADLINE", 0x6E0},
        {"IA32_X2APIC_EOI", 0x80B},
        {"IA32_X2APIC_ICR", 0x830},
        {"IA32_X2APIC_SELF_IPI", 0x83F},
        {"IA32_XSS", 0xDA0},
        {"IA32_EFER", 0xC0000080},
        {"IA32_LSTAR", 0xC0000082},
        {"IA32_FMASK", 0xC0000084},
        {"IA32_KERNEL_GS_BASE", 0xC0000102},
        {"IA32_TSC_AUX", 0xC0000103},
        {"KVM_SYSTEM_TIME_NEW", 0x4B564D01},
        {"HV_HYPERCALL", 0x40000001},
    };
    expect_golden(ROWS(golden), ROWS(msrs));
    EXPECT_EQ(MSR_IA32_EFER, 0xC0000080u);
    EXPECT_EQ(PV_MSR_KVM_STEAL_TIME, 0x4B564D03u);
}

enum access { RO, RW, WO, NA };

struct apic_golden {
    const char *name;
    unsigned offset, msr;
    enum access xapic, x2apic;
    uint64_t reset;
};

static const struct apic_golden apic_regs[] = {
#define APIC_REG(offset, msr, name, xapic, x2apic, bits, reset, section)                                     \
    {#name, offset, msr, xapic, x2apic, reset},
#include "spec/apic_regs.def"
};

// SDM tables 10-1 and 10-6, figures 10-8 and 10-23.
TEST(SpecGoldenApic, Registers)
{
    static const struct apic_golden golden[] = {
        {"ID", 0x20, 0x802, RW, RO, 0},
        {"TPR", 0x80, 0x808, RW, RW, 0},
        {"PPR", 0xA0, 0x80A, RO, RO, 0},
        {"EOI", 0xB0, 0x80B, WO, WO, 0},
        {"DFR", 0xE0, 0x80E, RW, NA, 0xFFFFFFFF},
        {"SVR", 0xF0, 0x80F, RW, RW, 0xFF},
        {"ISR7", 0x170, 0x817, RO, RO, 0},
        {"TMR0", 0x180, 0x818, RO, RO, 0},
        {"IRR0", 0x200, 0x820, RO, RO, 0},
        {"ESR", 0x280, 0x828, RW, RW, 0},
        {"LVT_CMCI", 0x2F0, 0x82F, RW, RW, 0x10000},
        {"ICR2", 0x310, 0x831, RW, NA, 0},
        {"LVT_TIMER", 0x320, 0x832, RW, RW, 0x10000},
        {"LVT_LINT0", 0x350, 0x835, RW, RW, 0x10000},
        {"LVT_ERROR", 0x370, 0x837, RW, RW, 0x10000},
        {"TIMER_CURRENT", 0x390, 0x839, RO, RO, 0},
        {"TIMER_DIVIDE", 0x3E0, 0x83E, RW, RW, 0},
        {"SELF_IPI", 0x3F0, 0x83F, NA, WO, 0},
    };
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        unsigned found = 0;
        for (size_t j = 0; j < sizeof(apic_regs) / sizeof(apic_regs[0]); j++) {
            if (strcmp(apic_regs[j].name, golden[i].name) == 0) {
                found++;
                test_row("%s", golden[i].name);
                EXPECT_EQ(apic_regs[j].offset, golden[i].offset);
                EXPECT_EQ(apic_regs[j].msr, golden[i].msr);
                EXPECT_EQ(apic_regs[j].xapic, golden[i].xapic);
                EXPECT_EQ(apic_regs[j].x2apic, golden[i].x2apic);
                EXPECT_EQ(apic_regs[j].reset, golden[i].reset);
            }
        }
        test_row("%s", golden[i].name);
        EXPECT_EQ(found, 1);
    }
}

// SDM 10.6.1, 10.11: an INIT assert to all but self is 000C4500H, SIPI 000C4600H + page, an MSI to APIC 1 is
// FEE01000H.
TEST(SpecGoldenApic, WholeValues)
{
    EXPECT_EQ(APIC_ICR_OTHERS | APIC_ICR_ASSERT | (APIC_DM_INIT << APIC_ICR_MODE_SHIFT), 0xC4500);
    EXPECT_EQ(APIC_ICR_OTHERS | APIC_ICR_ASSERT | (APIC_DM_STARTUP << APIC_ICR_MODE_SHIFT) | 8, 0xC4608);
    EXPECT_EQ(MSI_ADDR_BASE | (1u << MSI_ADDR_DEST_SHIFT), 0xFEE01000);
    EXPECT_EQ(APIC_LVT_TIMER_TSC_DEADLINE | 0xEC, 0x400EC);
    EXPECT_EQ(APIC_SVR_ENABLE | 0xFF, 0x1FF);
}

// 82093AA data sheet, 3.2.
TEST(SpecGoldenIoapic, Registers)
{
    static const struct {
        const char *name;
        unsigned index;
        enum access access;
        uint64_t reset;
    } rows[] = {
#define IOAPIC_REG(index, name, access, reset, section) {#name, index, access, reset},
#include "spec/ioapic_regs.def"
    };
    EXPECT_EQ(rows[0].reset, 0);
    EXPECT_EQ(rows[1].index, 1);
    EXPECT_EQ(rows[1].access, RO);
    EXPECT_EQ(rows[1].reset, 0x00170011);
    EXPECT_EQ(rows[2].access, RO);
    EXPECT_EQ(IOAPIC_REDIR0, 0x10);
    EXPECT_EQ(IOAPIC_REDIR13, 0x2A);
    EXPECT_EQ(IOAPIC_REDIR23, 0x3E);
    EXPECT_EQ(IOAPIC_REDIR23H, 0x3F);
    EXPECT_EQ(rows[3].reset, 0x10000); // "xxx1 xxxx xxxx xxxxh": masked.
    EXPECT_EQ(IOAPIC_MMIO_IOWIN, 0x10);
    EXPECT_EQ(IOAPIC_MMIO_EOI, 0x40);
}

// SDM volume 2, CPUID: "Bit #" of each feature.
TEST(SpecGoldenCpuid, Bits)
{
    static const struct {
        const char *name;
        unsigned leaf, subleaf;
        enum cpuid_reg reg;
        unsigned bit;
    } golden[] =
        {
            {"MONITOR", 1, 0, CPUID_ECX, 3},
            {"VMX", 1, 0, CPUID_ECX, 5},
            {"PCID", 1, 0, CPUID_ECX, 17},
            {"X2APIC", 1, 0, CPUID_ECX, 21},
            {"TSC_DEADLINE", 1, 0, CPUID_ECX, 24},
            {"XSAVE", 1, 0, CPUID_ECX, 26},
            {"OSXSAVE", 1, 0, CPUID_ECX, 27},
            {"HYPERVISOR", 1, 0, CPUID_ECX, 31},
            {"APIC", 1, 0, CPUID_EDX, 9},
            {"MTRR", 1, 0, CPUID_EDX, 12},
            {"PAT", 1, 0, CPUID_EDX, 16},
            {"ARAT", 6, 0, CPUID_EAX, 2},
            {"TSC_ADJUST", 7, 0, CPUID_EBX, 1},
            {"SMEP", 7, 0, CPUID_EBX, 7},
            {"INVPCID", 7, 0, CPUID_EBX, 10},
            {"SMAP", 7, 0, CPUID_EBX, 20},
            {"PKU", 7, 0, CPUID_ECX, 3},
            {"LA57", 7, 0, CPUID_ECX, 16},
            {"SPEC_CTRL", 7, 0, CPUID_EDX, 26},
            {"XSAVES", 0xD, 1, CPUID_EAX, 3},
            {"KVM_PV_EOI", 0x40000001, 0, CPUID_EAX, 6},
            {"NX", 0x80000001, 0, CPUID_EDX, 20},
            {"PDPE1GB", 0x80000001, 0, CPUID_EDX, 26},
            {"RDTSCP", 0x80000001, 0, CPUID_EDX, 27},
            {"LM", 0x80000001, 0, CPUID_EDX, 29},
            {"INVARIANT_TSC", 0x80000007, 0, CPUID_EDX, 8},
        },
      rows[] = {
#define CPUID_BIT(leaf, subleaf, reg, bit, name, source) {#name, leaf, subleaf, CPUID_##reg, bit},
#include "spec/cpuid.def"
      };
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        unsigned found = 0;
        for (size_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++) {
            found += strcmp(rows[j].name, golden[i].name) == 0 && rows[j].leaf == golden[i].leaf &&
                     rows[j].subleaf == golden[i].subleaf && rows[j].reg == golden[i].reg &&
                     rows[j].bit == golden[i].bit;
        }
        test_row("%s", golden[i].name);
        EXPECT_EQ(found, 1);
    }
    EXPECT_EQ(CPUID_LINEAR_ADDR_BITS_MASK, 0xFF00);
    EXPECT_EQ(CPUID_MAX_LEAF_MASK, 0xFFFFFFFFu);
}

// SDM table 9-1 (state after reset) and other values that the manual prints whole.
TEST(SpecGoldenBits, WholeValues)
{
    EXPECT_EQ(X86_CR0_RESET, X86_CR0_CD | X86_CR0_NW | X86_CR0_ET);
    EXPECT_EQ(X86_DR6_RESET, 0xFFFF0FF0);
    EXPECT_EQ(X86_DR7_RESET, X86_DR7_FIXED_1);
    EXPECT_EQ(PAT_RESET, 0x0007040600070406);
    EXPECT_EQ(APIC_BASE_RESET_ADDR | APIC_BASE_EN | APIC_BASE_BSP, 0xFEE00900);
    EXPECT_EQ(EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE, 0xD01);
    EXPECT_EQ(X86_CR4_VMXE, 0x2000);
    EXPECT_EQ(X86_CR4_PCIDE, 0x20000);
    EXPECT_EQ(X86_RFLAGS_IF | X86_RFLAGS_FIXED, 0x202);
    // A user write to a present page: error code 7. A fetch from a no-execute page at CPL 0: 11H.
    EXPECT_EQ(PFERR_P | PFERR_WRITE | PFERR_USER, 7);
    EXPECT_EQ(PFERR_P | PFERR_FETCH, 0x11);
    // Breakpoint 1 on 4-byte writes, enabled locally: R/W1 = 1, LEN1 = 3, L1.
    EXPECT_EQ(X86_DR7_L(1) | (1ull << X86_DR7_RW_SHIFT(1)) | (3ull << X86_DR7_LEN_SHIFT(1)), 0x00D00004);
}

// SDM table 6-1: the exceptions with an error code are #DF, #TS, #NP, #SS, #GP, #PF, #AC and #CP.
TEST(SpecGoldenBits, VectorsWithErrorCode)
{
    EXPECT_EQ(X86_VECTORS_WITH_ERROR_CODE, (1u << DF_VECTOR) | (1u << TS_VECTOR) | (1u << NP_VECTOR) |
                                               (1u << SS_VECTOR) | (1u << GP_VECTOR) | (1u << PF_VECTOR) |
                                               (1u << AC_VECTOR) | (1u << CP_VECTOR));
    EXPECT_EQ(PF_VECTOR, 14);
    EXPECT_EQ(VE_VECTOR, 20);
    EXPECT_EQ(CP_VECTOR, 21);
}
