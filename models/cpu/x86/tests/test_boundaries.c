// SPDX-License-Identifier: Apache-2.0
// Boundaries between the instructions of machine code: what is looked at behind which of them (SDM 6.9, 25.2,
// 25.5.2).
#include "models/cpu/x86/tests/insn_bench.h"
#include "tests/shim/shim.h"

#define ON_CODE(code, ...) ASSERT_TRUE(insn_code(code, sizeof code, (struct insn_controls){__VA_ARGS__}))

TEST(Boundaries, PopfThatSetsIfOpensTheWindowAtOnce) // SDM 25.2
{
    static const unsigned char code[] = {
        0x68, 0x02, 0x02, 0x00, 0x00, // push 202H
        0x9d,                         // popfq
        0x90, 0x90,                   // nop; nop
        0xf4,                         // hlt
    };

    ON_CODE(code, CPU_INTERRUPT_WINDOW_EXITING, 0);
    bench_vmwrite(GUEST_RFLAGS, X86_RFLAGS_FIXED);
    EXPECT_EQ(bench_run(), EXIT_REASON_INTERRUPT_WINDOW);
    EXPECT_EQ(bench_vmread(GUEST_RIP), INSN_CODE + 6);
    bench_end();
}

TEST(Boundaries, StiHoldsInterruptsForOneInstruction) // SDM vol. 2, STI
{
    static const unsigned char code[] = {0xfb, 0x90, 0x90, 0xf4}; // sti; nop; nop; hlt

    ON_CODE(code, CPU_INTERRUPT_WINDOW_EXITING, 0);
    bench_vmwrite(GUEST_RFLAGS, X86_RFLAGS_FIXED);
    EXPECT_EQ(bench_run(), EXIT_REASON_INTERRUPT_WINDOW);
    EXPECT_EQ(bench_vmread(GUEST_RIP), INSN_CODE + 2);
    EXPECT_EQ(bench_vmread(GUEST_INTERRUPTIBILITY_INFO), 0);
    bench_end();
}

TEST(Boundaries, SingleStepAndMonitorTrapFlagAreEveryInstruction) // SDM 17.3.1.4, 25.5.2
{
    static const unsigned char code[] = {0x90, 0x31, 0xc0, 0xf4}; // nop; xor eax, eax; hlt

    ON_CODE(code, 0, 0);
    bench_vmwrite(GUEST_RFLAGS, X86_RFLAGS_FIXED | X86_RFLAGS_TF);
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
        EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000301);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), DEBUG_INFO_BS);
        EXPECT_EQ(bench_vmread(GUEST_RIP), INSN_CODE + (i ? 3 : 1));
    }
    bench_end();
    ON_CODE(code, CPU_MONITOR_TRAP_FLAG, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_MONITOR_TRAP_FLAG);
    EXPECT_EQ(bench_vmread(GUEST_RIP), INSN_CODE + 1);
    EXPECT_EQ(bench_run(), EXIT_REASON_MONITOR_TRAP_FLAG);
    EXPECT_EQ(bench_vmread(GUEST_RIP), INSN_CODE + 3);
    bench_end();
}

TEST(Boundaries, BreakpointsStopWhereTheManualSays) // SDM 17.2.4: data behind it, execution before it
{
    static const unsigned char code[] = {
        0x90,                                     // nop
        0x88, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, // mov [INSN_DATA], al
        0x90, 0xf4,                               // nop; hlt
    };
    const uint64_t data = X86_DR7_L(0) | 1ull << X86_DR7_RW_SHIFT(0), execute = X86_DR7_L(1);
    static const uint64_t rip[] = {INSN_CODE + 8, INSN_CODE + 9};

    ON_CODE(code, 0, 0);
    bench_control(VM_ENTRY_CONTROLS, ENTRY_LOAD_DEBUG_CONTROLS, 0);
    bench_vmwrite(GUEST_DR7, X86_DR7_RESET | data | execute);
    pcpu_current->x86->dr[0] = INSN_DATA;
    pcpu_current->x86->dr[1] = INSN_CODE + 9;
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), DEBUG_INFO_B(i));
        EXPECT_EQ(bench_vmread(GUEST_RIP), rip[i]);
    }
    bench_end();
}

TEST(Boundaries, ExitOfAnApicWriteIsBehindItsInstruction) // SDM 29.4.3.3
{
    static const unsigned char code[] = {
        0x89, 0x04, 0x25, 0xb0, 0x00, 0x20, 0x00, // mov [2000b0H], eax: EOI
        0x90, 0xf4,                               // nop; hlt
    };

    ON_CODE(code, CPU_USE_TPR_SHADOW, CPU2_VIRTUALIZE_APIC_ACCESSES | CPU2_APIC_REGISTER_VIRT);
    bench_set64(BENCH_EPT + 0x3000, BENCH_APIC_ACCESS | 6 << EPT_MEMTYPE_SHIFT | 7);
    EXPECT_EQ(bench_run(), EXIT_REASON_APIC_WRITE);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0xb0);
    EXPECT_EQ(bench_vmread(GUEST_RIP), INSN_CODE + 7);
    bench_end();
}
