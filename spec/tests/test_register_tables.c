// SPDX-License-Identifier: Apache-2.0
//
// Tables of MSRs, interrupt-controller registers and CPUID obey the laws of all their rows.

#include "spec/apic_bits.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"
#include "spec/tests/rows.h"
#include "spec/x86_bits.h"

static const struct row msrs[] = {
#define MSR(number, name, section) {#name, number},
#include "spec/msrs.def"
};
static const struct row pv_msrs[] = {
#define PV(number, name, origin) {#name, number},
#include "spec/msrs.def"
};

TEST(SpecMsrs, AscendAndNamesDiffer)
{
    expect_ascending(ROWS(msrs));
    expect_distinct_names(ROWS(msrs));
}

TEST(SpecMsrs, ParavirtualOnesAscendAndAreNobodyElses)
{
    expect_ascending(ROWS(pv_msrs));
    expect_distinct_names(ROWS(pv_msrs));
    for (size_t i = 0; i < sizeof(pv_msrs) / sizeof(pv_msrs[0]); i++) {
        for (size_t j = 0; j < sizeof(msrs) / sizeof(msrs[0]); j++) {
            test_row("%s and %s", pv_msrs[i].name, msrs[j].name);
            EXPECT_NE(pv_msrs[i].value, msrs[j].value);
        }
    }
}

enum access { RO, RW, WO, NA };

static const struct apic_row {
    const char *name;
    unsigned offset, msr;
    enum access xapic, x2apic;
    unsigned bits;
    uint64_t reset;
} apic_regs[] = {
#define APIC_REG(offset, msr, name, xapic, x2apic, bits, reset, section)                                     \
    {#name, offset, msr, xapic, x2apic, bits, reset},
#include "spec/apic_regs.def"
};
enum { APIC_COUNT = sizeof(apic_regs) / sizeof(apic_regs[0]) };

TEST(SpecApic, OffsetsAscendInStepsOfSixteenBytes)
{
    for (size_t i = 0; i < APIC_COUNT; i++) {
        test_row("%s", apic_regs[i].name);
        EXPECT_EQ(apic_regs[i].offset % 16, 0);
        EXPECT_LT(apic_regs[i].offset, 0x400);
        EXPECT_TRUE(i == 0 || apic_regs[i - 1].offset < apic_regs[i].offset);
    }
}

// SDM 10.12.1.2.
TEST(SpecApic, MsrFollowsFromOffset)
{
    for (size_t i = 0; i < APIC_COUNT; i++) {
        test_row("%s", apic_regs[i].name);
        EXPECT_EQ(apic_regs[i].msr, MSR_X2APIC_BASE + apic_regs[i].offset / 16);
    }
}

TEST(SpecApic, EveryRegisterExistsInSomeModeAndHasAWidthWhereItDoes)
{
    for (size_t i = 0; i < APIC_COUNT; i++) {
        const struct apic_row *r = &apic_regs[i];
        test_row("%s", r->name);
        EXPECT_TRUE(r->xapic != NA || r->x2apic != NA);
        EXPECT_EQ(r->bits, r->x2apic == NA ? 0 : r->offset == APIC_ICR ? 64 : 32);
    }
}

TEST(SpecApic, AnMsrRowForEachX2apicRegisterAndForNoOther)
{
    for (unsigned msr = 0x800; msr < 0x900; msr++) {
        bool listed = false, register_there = false;
        for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
            listed |= msrs[i].value == msr;
        }
        for (size_t i = 0; i < APIC_COUNT; i++) {
            register_there |= apic_regs[i].msr == msr && apic_regs[i].x2apic != NA;
        }
        test_row("MSR %x", msr);
        EXPECT_EQ(listed, register_there);
    }
}

static const struct row ioapic_regs[] = {
#define IOAPIC_REG(index, name, access, reset, section) {#name, index},
#include "spec/ioapic_regs.def"
};

TEST(SpecIoapic, IndexesAscendAndNamesDiffer)
{
    expect_ascending(ROWS(ioapic_regs));
    expect_distinct_names(ROWS(ioapic_regs));
}

TEST(SpecIoapic, TwoRegistersAPin)
{
    unsigned redirections = 0;
    for (size_t i = 0; i < sizeof(ioapic_regs) / sizeof(ioapic_regs[0]); i++) {
        redirections += starts_with(ioapic_regs[i].name, "REDIR");
    }
    EXPECT_EQ(redirections, 2 * IOAPIC_PINS);
    EXPECT_EQ(IOAPIC_REDIR23H, 0x10 + 2 * (IOAPIC_PINS - 1) + 1);
}

struct cpuid_row {
    const char *name;
    unsigned leaf, subleaf, reg, high, low;
};

static const struct cpuid_row cpuid_rows[] = {
#define CPUID_BIT(leaf, subleaf, reg, bit, name, source) {#name, leaf, subleaf, CPUID_##reg, bit, bit},
#define CPUID_FIELD(leaf, subleaf, reg, high, low, name, source)                                             \
    {#name, leaf, subleaf, CPUID_##reg, high, low},
#include "spec/cpuid.def"
};
enum { CPUID_COUNT = sizeof(cpuid_rows) / sizeof(cpuid_rows[0]) };

static int cpuid_place_compare(const struct cpuid_row *a, const struct cpuid_row *b)
{
    if (a->leaf != b->leaf) {
        return a->leaf < b->leaf ? -1 : 1;
    }
    if (a->subleaf != b->subleaf) {
        return a->subleaf < b->subleaf ? -1 : 1;
    }
    return (int)a->reg - (int)b->reg;
}

TEST(SpecCpuid, SortedWithoutOverlap)
{
    for (size_t i = 0; i < CPUID_COUNT; i++) {
        test_row("%s", cpuid_rows[i].name);
        EXPECT_LE(cpuid_rows[i].low, cpuid_rows[i].high);
        EXPECT_LT(cpuid_rows[i].high, 32);
        if (i > 0) {
            int order = cpuid_place_compare(&cpuid_rows[i - 1], &cpuid_rows[i]);
            EXPECT_LE(order, 0);
            EXPECT_TRUE(order < 0 || cpuid_rows[i - 1].high < cpuid_rows[i].low);
        }
        for (size_t j = i + 1; j < CPUID_COUNT; j++) {
            EXPECT_TRUE(strcmp(cpuid_rows[i].name, cpuid_rows[j].name) != 0);
        }
    }
}

TEST(SpecBits, DefinedMasksAreTheUnionOfTheirBits)
{
    EXPECT_EQ(X86_CR0_DEFINED, X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE |
                                   X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG);
    EXPECT_EQ(X86_CR4_DEFINED, X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE |
                                   X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR |
                                   X86_CR4_OSXMMEXCPT | X86_CR4_UMIP | X86_CR4_LA57 | X86_CR4_VMXE |
                                   X86_CR4_SMXE | X86_CR4_FSGSBASE | X86_CR4_PCIDE | X86_CR4_OSXSAVE |
                                   X86_CR4_KL | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_CET |
                                   X86_CR4_PKS);
    EXPECT_EQ(EFER_DEFINED, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    uint64_t flags = X86_RFLAGS_CF | X86_RFLAGS_FIXED | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF |
                     X86_RFLAGS_SF | X86_RFLAGS_TF | X86_RFLAGS_IF | X86_RFLAGS_DF | X86_RFLAGS_OF |
                     X86_RFLAGS_IOPL | X86_RFLAGS_NT | X86_RFLAGS_RF | X86_RFLAGS_VM | X86_RFLAGS_AC |
                     X86_RFLAGS_VIF | X86_RFLAGS_VIP | X86_RFLAGS_ID;
    EXPECT_EQ(X86_RFLAGS_RESERVED_0, ~flags);
    uint32_t rights = AR_TYPE_MASK | AR_S | AR_DPL_MASK | AR_P | AR_AVL | AR_L | AR_DB | AR_G | AR_UNUSABLE;
    EXPECT_EQ(AR_RESERVED, (uint32_t)~rights);
    uint32_t info = INTR_INFO_VECTOR_MASK | INTR_INFO_TYPE_MASK | INTR_INFO_DELIVER_CODE | INTR_INFO_VALID;
    EXPECT_EQ(INTR_INFO_ENTRY_RESERVED, (uint32_t)~info);
    uint64_t pending = DEBUG_INFO_B(0) | DEBUG_INFO_B(1) | DEBUG_INFO_B(2) | DEBUG_INFO_B(3) |
                       DEBUG_INFO_BLD | DEBUG_INFO_ENABLED_BREAKPOINT | DEBUG_INFO_BS | DEBUG_INFO_RTM;
    EXPECT_EQ(PENDING_DBG_RESERVED, ~pending);
    uint64_t redirection = IOAPIC_REDIR_VECTOR_MASK | IOAPIC_REDIR_MODE_MASK | IOAPIC_REDIR_LOGICAL |
                           IOAPIC_REDIR_PENDING | IOAPIC_REDIR_ACTIVE_LOW | IOAPIC_REDIR_REMOTE_IRR |
                           IOAPIC_REDIR_LEVEL | IOAPIC_REDIR_MASKED | (0xffull << IOAPIC_REDIR_DEST_SHIFT);
    EXPECT_EQ(IOAPIC_REDIR_DEFINED, redirection);
    uint64_t icr = APIC_ICR_VECTOR_MASK | APIC_ICR_MODE_MASK | APIC_ICR_LOGICAL | APIC_ICR_PENDING |
                   APIC_ICR_ASSERT | APIC_ICR_LEVEL | APIC_ICR_SHORTHAND_MASK;
    EXPECT_EQ(APIC_ICR_RESERVED_LOW, ~icr & 0xffffffffull);
}
