// SPDX-License-Identifier: Apache-2.0
// Guest accesses through EPT: violations, misconfigurations, dirty logging, TLB and its invalidations as a
// guest sees them, and what an emulator reads (SDM 28.3, 28.4).
#include "hv/hw/guest.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

#define PT (BENCH_EPT + 0x3000)
#define GPA 0x200000u // First page of the 4-KiB table

static void start(const struct replay_op *ops, uint32_t count)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_ept();
    bench_program(ops, count, NULL);
}
#define START(ops) start(ops, sizeof(ops) / sizeof *(ops))

TEST(GuestMemory, ViolationReportsAccessRightsAndAddresses) // SDM 28.3.3.2, table 27-7
{
    static const struct {
        uint8_t kind;
        uint64_t entry, qualification;
    } cases[] = {
        {REPLAY_READ, 0, 0x181},         {REPLAY_WRITE, 0, 0x182},    {REPLAY_FETCH, 0, 0x184},
        {REPLAY_WRITE, 0x31 | 4, 0x1aa}, {REPLAY_FETCH, 0x33, 0x19c}, {REPLAY_READ, 0x34, 0x1a1},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {{.kind = cases[i].kind, .length = 3, .args = {GPA + 0x18, 4, 1}},
                                  {.kind = REPLAY_END}};

        test_row("row %u", i);
        START(ops);
        bench_set64(PT, cases[i].entry ? cases[i].entry | BENCH_GUEST : 0);
        EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), cases[i].qualification);
        EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0x18);
        EXPECT_EQ(bench_vmread(GUEST_LINEAR_ADDRESS), GPA + 0x18);
        bench_end();
    }
}

TEST(GuestMemory, AfterTheFixTheSameInstructionRuns)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 8, 8, 0x1122334455667788}},
        {.kind = REPLAY_READ, .length = 3, .args = {GPA + 8, 2}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END}};

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    bench_set64(PT, (BENCH_GUEST + 0x5000) | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0x5008), 0x1122334455667788);
    EXPECT_EQ(bench_gprs.r[0], 0x1122334455667788); // AX was loaded into RAX's low part.
    bench_end();
}

TEST(GuestMemory, MisconfigurationHasOnlyTheGpa) // SDM 28.3.3.1
{
    static const struct replay_op ops[] = {{.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 0x20, 4, 5}},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    START(ops);
    bench_set64(PT, BENCH_GUEST | 6); // Writable, not readable: how software marks MMIO.
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_MISCONFIG);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0x20);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 3);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    bench_end();
}

TEST(GuestMemory, LockedInstructionsReadAndWriteAtOnce) // SDM 8.1.2
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_XADD, .length = 5, .args = {GPA, 4, 3}},
        {.kind = REPLAY_CPUID, .length = 2},
        {.kind = REPLAY_XCHG, .length = 3, .args = {GPA, 8, 0x123456789}},
        {.kind = REPLAY_CMPXCHG, .length = 5, .args = {GPA, 2, 0x6789, 0xabcd}},
        {.kind = REPLAY_CMPXCHG, .length = 5, .args = {GPA, 1, 0x11, 0x22}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END}};

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x183); // A read and a write.
    bench_set64(PT, (BENCH_GUEST + 0x5000) | 0x37);
    bench_set64(BENCH_GUEST + 0x5000, 0x5fffffffe);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0x5000), 0x500000001); // Its four bytes alone.
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0x5000), 0x12345abcd);
    EXPECT_EQ(bench_gprs.r[0] & 0xff, 0xcd); // The last one found another byte.
    bench_end();
}

TEST(GuestMemory, EmulatorFetchesTheBytesOfTheInstruction)
{
    static const struct {
        struct replay_op op;
        unsigned char bytes[5];
    } cases[] = {
        {{.kind = REPLAY_WRITE, .length = 2, .args = {GPA, 4}}, {0x89, 0x07}},
        {{.kind = REPLAY_WRITE, .length = 3, .args = {GPA, 1}}, {0x2e, 0x88, 0x07}},
        {{.kind = REPLAY_WRITE, .length = 3, .args = {GPA, 2}}, {0x66, 0x89, 0x07}},
        {{.kind = REPLAY_WRITE, .length = 3, .args = {GPA, 8}}, {0x48, 0x89, 0x07}},
        {{.kind = REPLAY_READ, .length = 3, .args = {GPA, 4}}, {0x2e, 0x8b, 0x07}},
        {{.kind = REPLAY_READ, .length = 5, .args = {GPA, 8}}, {0x2e, 0x2e, 0x48, 0x8b, 0x07}},
        {{.kind = REPLAY_XADD, .length = 5, .args = {GPA, 8, 1}}, {0xf0, 0x48, 0x0f, 0xc1, 0x07}},
        {{.kind = REPLAY_XADD, .length = 4, .args = {GPA, 1, 1}}, {0xf0, 0x0f, 0xc0, 0x07}},
        {{.kind = REPLAY_XCHG, .length = 3, .args = {GPA, 2, 1}}, {0x66, 0x87, 0x07}},
        {{.kind = REPLAY_CMPXCHG, .length = 5, .args = {GPA, 4, 1, 2}}, {0x2e, 0xf0, 0x0f, 0xb1, 0x0f}},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {cases[i].op, {.kind = REPLAY_END}};
        u8 code[HW_GUEST_INSTRUCTION_MAX];

        test_row("row %u", i);
        START(ops);
        EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
        EXPECT_EQ(hw_guest_fetch(code, sizeof code), cases[i].op.length);
        EXPECT_MEMEQ(code, cases[i].bytes, cases[i].op.length);
        EXPECT_EQ(bench_gprs.r[7], GPA);
        EXPECT_EQ(hw_guest_fetch(code, 2), 2);
        bench_vmwrite(GUEST_RIP, 0x99999);
        EXPECT_EQ(hw_guest_fetch(code, sizeof code), 0);
        bench_end();
    }
}

TEST(GuestMemory, MemoryOperandsOfVmInstructions)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_VMPTRLD, .length = 5, .args = {0xabcd000}},
                                           {.kind = REPLAY_INVVPID, .length = 5, .args = {1, 9, 0x7000}},
                                           {.kind = REPLAY_END}};
    u64 operand[2] = {0, 0};

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMPTRLD);
    EXPECT_TRUE(hw_guest_read_operand(bench_gprs.r[7], operand, 8));
    EXPECT_EQ(operand[0], 0xabcd000);
    EXPECT_FALSE(hw_guest_read_operand(bench_gprs.r[7], operand, 16));
    EXPECT_FALSE(hw_guest_read_operand(0x1000, operand, 8));
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_INVVPID);
    EXPECT_EQ(bench_gprs.r[0], 1);
    EXPECT_TRUE(hw_guest_read_operand(bench_gprs.r[7], operand, 16));
    EXPECT_EQ(operand[0], 9);
    EXPECT_EQ(operand[1], 0x7000);
    bench_end();
}

// REP OUTS reads as many elements as it is told; REP INS stores them where the stream says.
TEST(GuestMemory, StringsOfPortInstructions)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_OUT, .length = 2, .args = {0x80, 2, 0x1234, 100}},
                                           {.kind = REPLAY_IN, .length = 2, .args = {0x80, 4, 100, 0x1018}},
                                           {.kind = REPLAY_END}};
    u64 gpa = 7;
    u32 value = 0;

    START(ops);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(bench_gprs.r[1], 100);
    u64 from = bench_vmread(GUEST_LINEAR_ADDRESS);

    EXPECT_EQ(from, bench_gprs.r[6]);
    EXPECT_TRUE(hw_guest_read_operand(from + 99 * 2, &value, 2));
    EXPECT_EQ(value, 0x1234);
    EXPECT_FALSE(hw_guest_read_operand(from + 100 * 2, &value, 2));
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(bench_vmread(GUEST_LINEAR_ADDRESS), 0x1018);
    EXPECT_EQ(bench_gprs.r[7], 0x1018);
    EXPECT_TRUE(hw_guest_translate(0x1018, &gpa));
    EXPECT_EQ(gpa, 0x1018);
    EXPECT_FALSE(hw_guest_translate(1ull << 46, &gpa));
    EXPECT_EQ(gpa, 0x1018);
    bench_end();
}

// Without an exit for the port, the destination's page may cause one; nothing was read for that element.
TEST(GuestMemory, RepInsStoresAndExitsWhereItMayNot)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_IN, .length = 2, .args = {0x80, 4, 3, GPA + 0xff8}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END}};

    START(ops);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, 0, CPU_UNCONDITIONAL_IO_EXITING | CPU_USE_IO_BITMAPS);
    bench_set64(PT, (BENCH_GUEST + 0x5000) | 0x37);
    bench_set64(BENCH_GUEST + 0x5ff8, 0x1111111111111111);
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0x1000);
    EXPECT_EQ(bench_gprs.r[1], 1);
    EXPECT_EQ(bench_gprs.r[7], GPA + 0x1000);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0x5ff8), ~0ull); // Nothing answers at port 0x80.
    bench_set64(PT + 8, (BENCH_GUEST + 0x6000) | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0x6000), 0xffffffff);
    bench_end();
}

TEST(GuestMemory, StaleTranslationsLiveUntilInvept) // SDM 28.4.3.3
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_READ, .length = 3, .args = {GPA, 8}}, {.kind = REPLAY_VMCALL, .length = 3},
        {.kind = REPLAY_READ, .length = 3, .args = {GPA, 8}}, {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_READ, .length = 3, .args = {GPA, 8}}, {.kind = REPLAY_END}};

    START(ops);
    bench_set64(PT, BENCH_GUEST | 0x37);
    bench_set64(BENCH_GUEST, 77);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    bench_set64(PT, 0);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT); // Still cached.
    EXPECT_EQ(bench_gprs.r[0], 77);
    EXPECT_EQ(hw_invept(INVEPT_SINGLE, bench_vmread(EPT_POINTER)), HW_VMX_OK);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    bench_end();
}

TEST(GuestMemory, WithoutVpidEveryEntryStartsEmpty) // SDM 28.4.3.1
{
    static const struct replay_op ops[] = {{.kind = REPLAY_READ, .length = 3, .args = {GPA, 8}},
                                           {.kind = REPLAY_VMCALL, .length = 3},
                                           {.kind = REPLAY_READ, .length = 3, .args = {GPA, 8}},
                                           {.kind = REPLAY_END}};

    START(ops);
    bench_control(SECONDARY_VM_EXEC_CONTROL, 0, CPU2_ENABLE_VPID);
    bench_set64(PT, BENCH_GUEST | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    bench_set64(PT, 0);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    bench_end();
}

TEST(Pml, LogsEachPageOnceDownwards) // SDM 28.3.6
{
    static const struct replay_op ops[] = {{.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 8, 4, 1}},
                                           {.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 16, 4, 1}},
                                           {.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 0x1000, 4, 1}},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    START(ops);
    bench_vmwrite(EPT_POINTER, bench_vmread(EPT_POINTER) | EPTP_AD);
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_ENABLE_PML, 0);
    bench_vmwrite(GUEST_PML_INDEX, 1);
    bench_set64(PT, BENCH_GUEST | 0x37);
    bench_set64(PT + 8, (BENCH_GUEST + 0x1000) | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_vmread(GUEST_PML_INDEX), 0xffff);
    EXPECT_EQ(bench_get64(BENCH_PML + 8), GPA);
    EXPECT_EQ(bench_get64(BENCH_PML), GPA + 0x1000);
    EXPECT_EQ(bench_get64(PT) & (EPT_A | EPT_D), EPT_A | EPT_D);
    bench_end();
}

TEST(Pml, FullExitsBeforeTheWrite)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 8, 8, 99}},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    START(ops);
    bench_vmwrite(EPT_POINTER, bench_vmread(EPT_POINTER) | EPTP_AD);
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_ENABLE_PML, 0);
    bench_vmwrite(GUEST_PML_INDEX, 0xffff);
    bench_set64(PT, BENCH_GUEST | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_PML_FULL);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 8), 0);
    EXPECT_EQ(bench_get64(PT) & EPT_D, 0);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    bench_vmwrite(GUEST_PML_INDEX, 511);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 8), 99);
    bench_end();
}

TEST(GuestMemory, AccessAcrossTwoPages)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_WRITE, .length = 3, .args = {GPA + 0xffd, 8, 0x8877665544332211}},
        {.kind = REPLAY_READ, .length = 3, .args = {GPA + 0xffd, 8}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END}};

    START(ops);
    bench_set64(PT, BENCH_GUEST | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0x1000);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0xff8), 0); // Nothing of it was done.
    bench_set64(PT + 8, (BENCH_GUEST + 0x9000) | 0x37);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0xff8), 0x3322110000000000);
    EXPECT_EQ(bench_get64(BENCH_GUEST + 0x9000), 0x8877665544);
    EXPECT_EQ(bench_gprs.r[0], 0x8877665544332211);
    bench_end();
}
