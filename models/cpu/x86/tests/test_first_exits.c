// SPDX-License-Identifier: Apache-2.0
// The shortest story: VMXON, a VMCS, a guest that exits, is handled and goes on (SDM 25.1, 26, 27, 30).
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

TEST(FirstExits, CpuidWrmsrHltInOrderWithExactFields)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 100, .args = {7, 1}},
        {.kind = REPLAY_WRMSR, .length = 2, .gap_cycles = 50, .args = {0x6e0, 0x123456789a}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END},
    };

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_gprs.r[0], 7);
    EXPECT_EQ(bench_gprs.r[1], 1);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 2);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_MSR_WRITE);
    EXPECT_EQ(bench_gprs.r[1], 0x6e0);
    EXPECT_EQ(bench_gprs.r[0], 0x3456789a);
    EXPECT_EQ(bench_gprs.r[2], 0x12);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1002);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1004);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 1);
    bench_end();
}

TEST(FirstExits, TimeOfAnExitIsGapPlusEntryPlusExit)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 100},
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 1000},
        {.kind = REPLAY_END},
    };
    uint64_t begin, expected;

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_vmwrite(VIRTUAL_PROCESSOR_ID, 1);
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_ENABLE_VPID, 0);
    BENCH_PROGRAM(ops);
    bench_run();
    bench_skip();
    begin = pcpu_current->now_ticks;
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_OK);
    expected = bench.uarch.vmx.entry_cycles + 1000 + bench.uarch.vmx.exit_cycles;
    EXPECT_EQ(pcpu_current->now_ticks - begin, expected * TICKS_PER_CYCLE);
    bench_end();
}

TEST(FirstExits, ResumingOnTheInstructionRunsItAgain)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 100, .args = {1}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END},
    };

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(ops);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
        EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    }
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    bench_end();
}
