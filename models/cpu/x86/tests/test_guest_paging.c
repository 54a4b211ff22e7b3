// SPDX-License-Identifier: Apache-2.0
// Guests whose addresses are linear: page faults as exceptions and exits, violations at their tables, and
// what their own instructions invalidate (SDM 4.7, 4.10.4.1, 25.2, 28.4.3.1).
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

// Guest-physical: tables below 2 MiB, which the EPT maps by one page to BENCH_GUEST.
enum { PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, PT = 0x5000, PT2 = 0x6000, PML4_B = 0x7000, PAGE = 0x8000 };
#define LINEAR 0x401000ull // PD entry 2, PT entry 1
#define PTE (PT + 8)
#define TABLE (X86_PTE_P | X86_PTE_RW | X86_PTE_US | X86_PTE_A)
#define LEAF (TABLE | X86_PTE_D)

static void guest_set(uint64_t gpa, uint64_t value)
{
    bench_set64(BENCH_GUEST + gpa, value);
}

static void start(const struct replay_op *ops, uint32_t count, const struct bench_handler *handlers)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_program(ops, count, handlers);
    bench_linear();
    for (unsigned i = 0; i < 2; i++)
        guest_set(i ? PML4_B : PML4, PDPT | TABLE);
    guest_set(PDPT, PD | TABLE);
    guest_set(PD + 16, PT | TABLE);
    guest_set(PTE, PAGE | LEAF);
    guest_set(PAGE, 77);
    guest_set(PAGE + 0x1000, 88);
    bench_vmwrite(GUEST_CR3, PML4);
}
#define START(ops) start(ops, sizeof(ops) / sizeof *(ops), NULL)

TEST(GuestPaging, AddressesGoThroughTheGuestsTables)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_READ, .length = 3, .args = {LINEAR, 8}},
                                           {.kind = REPLAY_WRITE, .length = 3, .args = {LINEAR + 8, 8, 5}},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 5);
    EXPECT_EQ(bench_get64(BENCH_GUEST + PAGE + 8), 5);
    bench_end();
}

TEST(GuestPaging, PageFaultsExitByBitmapMaskAndMatch) // SDM 25.2
{
    static const struct {
        uint32_t bitmap, mask, match;
        bool present, exits;
    } cases[] = {
        {0, 0, 0, false, false},
        {1u << PF_VECTOR, 0, 0, false, true},
        {0, 0, 1, false, true}, // Never matches: the other way round
        {1u << PF_VECTOR, PFERR_P, PFERR_P, false, false},
        {1u << PF_VECTOR, PFERR_P, PFERR_P, true, true},
        {0, PFERR_P, PFERR_P, true, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const struct replay_op ops[] = {
            {.kind = REPLAY_WRITE, .length = 3, .args = {LINEAR + 0x10, 4, 1}},
            {.kind = REPLAY_HLT, .length = 1},
            {.kind = REPLAY_END}};

        test_row("row %u", i);
        START(ops);
        guest_set(PTE, cases[i].present ? (PAGE | LEAF) & ~X86_PTE_RW : 0);
        bench_vmwrite(EXCEPTION_BITMAP, cases[i].bitmap);
        bench_vmwrite(PAGE_FAULT_ERROR_CODE_MASK, cases[i].mask);
        bench_vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, cases[i].match);
        EXPECT_EQ(bench_run(), cases[i].exits ? EXIT_REASON_EXCEPTION_NMI : EXIT_REASON_HLT);
        if (cases[i].exits) {
            EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO),
                      INTR_INFO_VALID | INTR_INFO_DELIVER_CODE | INTR_TYPE_HARD_EXCEPTION | PF_VECTOR);
            EXPECT_EQ(bench_vmread(VM_EXIT_INTR_ERROR_CODE), PFERR_WRITE | (cases[i].present ? PFERR_P : 0));
            EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), LINEAR + 0x10);
        } else {
            EXPECT_EQ(bench_gprs.cr2, LINEAR + 0x10);
        }
        bench_end();
    }
}

TEST(GuestPaging, AHandlerRepairsAndTheInstructionRunsAgain)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_READ, .length = 3, .args = {LINEAR, 8}},
        {.kind = REPLAY_HLT, .length = 1},
        // Its page tables are mapped nowhere: by another CR3, where they are.
        {.kind = REPLAY_MOVTOCR, .length = 3, .args = {3, PML4_B}},
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END}};
    static const struct bench_handler handlers[] = {{PF_VECTOR, 2}, {0, 0}};

    start(ops, sizeof ops / sizeof *ops, handlers);
    guest_set(PML4, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 77);
    EXPECT_EQ(bench_gprs.cr2, LINEAR);
    bench_end();
}

TEST(GuestPaging, ViolationAtATableNamesTheEntry) // SDM table 27-7
{
    static const struct replay_op ops[] = {{.kind = REPLAY_READ, .length = 3, .args = {LINEAR + 4, 4}},
                                           {.kind = REPLAY_END}};

    START(ops);
    guest_set(PD + 16, 0x200000 | TABLE); // Behind the EPT's empty table
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), 0x200008);
    EXPECT_EQ(bench_vmread(GUEST_LINEAR_ADDRESS), LINEAR + 4);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), QUAL_EPT_READ | QUAL_EPT_LINEAR_VALID);
    bench_end();
}

TEST(GuestPaging, ViolationAtThePageHasAdvancedInformation)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_READ, .length = 3, .args = {LINEAR + 4, 4}},
                                           {.kind = REPLAY_END}};

    START(ops);
    guest_set(PTE, 0x200000 | LEAF | X86_PTE_XD);
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), 0x200004);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), QUAL_EPT_READ | QUAL_EPT_LINEAR_VALID | QUAL_EPT_TRANSLATED |
                                                    QUAL_EPT_LINEAR_USER | QUAL_EPT_LINEAR_WRITABLE |
                                                    QUAL_EPT_LINEAR_XD);
    bench_end();
}

TEST(GuestPaging, AnAddressThatIsNotCanonicalIsAGeneralProtectionFault)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_READ, .length = 3, .args = {0x0000800000000000, 4}}, {.kind = REPLAY_END}};

    START(ops);
    bench_vmwrite(EXCEPTION_BITMAP, 1u << GP_VECTOR);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO) & INTR_INFO_VECTOR_MASK, GP_VECTOR);
    bench_end();
}

// The page is read, the guest's tables change behind its back, `between` runs, and it is read again.
struct invalidation {
    const char *what;
    struct replay_op between;
    uint64_t cr4;    // Of the guest, beside the usual
    uint64_t global; // X86_PTE_G: the page is global
    bool gone;
};

TEST(GuestPaging, WhatEndsATranslation)
{
#define OP(k, ...)                                                                                           \
    {                                                                                                        \
        .kind = REPLAY_##k, .length = 3, .args = { __VA_ARGS__ }                                             \
    }
    static const struct invalidation cases[] = {
        {"nothing", OP(PAUSE, 1), 0, 0, false},
        {"invlpg", OP(INVLPG, LINEAR + 0xff), 0, 0, true},
        {"invlpg of a global page", OP(INVLPG, LINEAR), X86_CR4_PGE, X86_PTE_G, true},
        {"invlpg of another page", OP(INVLPG, LINEAR + 0x1000), 0, 0, false},
        {"mov to cr3", OP(MOVTOCR, 3, PML4_B), 0, 0, true},
        {"mov to cr3, global page", OP(MOVTOCR, 3, PML4_B), X86_CR4_PGE, X86_PTE_G, false},
        {"mov to cr3, same PCID, kept", OP(MOVTOCR, 3, PML4 | X86_CR3_NO_FLUSH), X86_CR4_PCIDE, 0, false},
        {"mov to cr3, same PCID", OP(MOVTOCR, 3, PML4), X86_CR4_PCIDE, 0, true},
        {"mov to cr3, another PCID", OP(MOVTOCR, 3, PML4 | 9), X86_CR4_PCIDE, 0, true}, // Not its tag
        {"mov to cr4, PGE", OP(MOVTOCR, 4, 0x2020), X86_CR4_PGE, X86_PTE_G, true},
        {"mov to cr4, nothing that counts", OP(MOVTOCR, 4, 0x2020 | X86_CR4_TSD), 0, 0, false},
        {"mov to cr4, SMEP", OP(MOVTOCR, 4, 0x2020 | X86_CR4_SMEP), 0, 0, true},
        {"invpcid of the address", OP(INVPCID, 0, LINEAR, 0), 0, 0, true},
        {"invpcid of the address, global", OP(INVPCID, 0, LINEAR, 0), X86_CR4_PGE, X86_PTE_G, false},
        {"invpcid of another PCID", OP(INVPCID, 1, 0, 9), X86_CR4_PCIDE, 0, false},
        {"invpcid of the PCID", OP(INVPCID, 1, 0, 0), X86_CR4_PCIDE, 0, true},
        {"invpcid of all, global", OP(INVPCID, 2), X86_CR4_PGE, X86_PTE_G, true},
        {"invpcid of all but globals, global", OP(INVPCID, 3), X86_CR4_PGE, X86_PTE_G, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {
            OP(READ, LINEAR, 8), {.kind = REPLAY_HLT, .length = 1}, cases[i].between,
            OP(READ, LINEAR, 8), {.kind = REPLAY_HLT, .length = 1}, {.kind = REPLAY_END}};

        test_row("%s", cases[i].what);
        START(ops);
        guest_set(PTE, PAGE | LEAF | cases[i].global);
        bench_vmwrite(GUEST_CR4, 0x2020 | cases[i].cr4);
        bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_ENABLE_INVPCID, 0);
        EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
        EXPECT_EQ(bench_gprs.r[0], 77);
        guest_set(PTE, (PAGE + 0x1000) | LEAF | cases[i].global);
        bench_skip();
        EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
        EXPECT_EQ(bench_gprs.r[0], cases[i].gone ? 88 : 77);
        bench_end();
    }
}

TEST(GuestPaging, InvpcidFaults) // SDM vol. 2
{
    static const struct {
        struct replay_op op;
        uint64_t cr4;
        bool faults;
    } cases[] = {
        {OP(INVPCID, 4), 0, true},
        {OP(INVPCID, 1, 0, 5), 0, true}, // A PCID without CR4.PCIDE
        {OP(INVPCID, 1, 0, 5), X86_CR4_PCIDE, false},
        {OP(INVPCID, 0, 0x800000000000, 0), 0, true},
        {OP(INVPCID, 2, 0x800000000000, 5), 0, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {cases[i].op, {.kind = REPLAY_HLT, .length = 1}, {.kind = REPLAY_END}};

        test_row("row %u", i);
        START(ops);
        bench_vmwrite(GUEST_CR4, 0x2020 | cases[i].cr4);
        bench_vmwrite(EXCEPTION_BITMAP, 1u << GP_VECTOR);
        bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_ENABLE_INVPCID, 0);
        EXPECT_EQ(bench_run(), cases[i].faults ? EXIT_REASON_EXCEPTION_NMI : EXIT_REASON_HLT);
        bench_end();
    }
}

TEST(GuestPaging, FiveLevelsWhereTheProcessorHasThem)
{
    struct hw_cpuid_regs r;

    for (unsigned bits = 48; bits <= 57; bits += 9) {
        ASSERT_TRUE(bench_load("skylake-sp"));
        bench.uarch.address.linear_bits = bits;
        bench_start(1);
        test_row("%u bits", bits);
        hw_cpuid(7, 0, &r);
        EXPECT_EQ(r.ecx >> 16 & 1, bits == 57);
        hw_cpuid(0x80000008, 0, &r);
        EXPECT_EQ(r.eax, bits << 8 | 46);
        EXPECT_EQ(x86_cr4_allowed(pcpu_current) & X86_CR4_LA57, bits == 57 ? X86_CR4_LA57 : 0);
        bench_end();
    }
}
