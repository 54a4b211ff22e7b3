// SPDX-License-Identifier: Apache-2.0
// What entries load and exits save and load: MSR areas, guest and host state, TSC, two guests on one
// processor (SDM 26.3.2, 26.4, 27.3 to 27.6, 25.3).
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "models/timer/tsc.h"
#include "tests/shim/shim.h"

static const struct replay_op one_hlt[] = {{.kind = REPLAY_HLT, .length = 1}, {.kind = REPLAY_END}};

static void start(const struct replay_op *ops, uint32_t count)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_program(ops, count, NULL);
}
#define START(ops) start(ops, sizeof(ops) / sizeof *(ops))

static void msr_entry(unsigned index, uint64_t head, uint64_t value)
{
    bench_set64(BENCH_LISTS + index * 16, head);
    bench_set64(BENCH_LISTS + index * 16 + 8, value);
}

TEST(MsrAreas, EntryLoadsInOrderAndNamesTheOneThatFails) // SDM 26.4, 26.8
{
    static const struct {
        uint64_t head, value;
        bool fails;
    } cases[] = {
        {MSR_IA32_LSTAR, 0x1234, false},
        {MSR_IA32_LSTAR, 1ull << 47, true},
        {0x802, 0, true},
        {MSR_IA32_FS_BASE, 0, true},
        {MSR_IA32_GS_BASE, 0, true},
        {1ull << 32 | MSR_IA32_LSTAR, 0, true},
        {0x12345, 0, true},
        {MSR_IA32_BIOS_UPDT_TRIG, 0, true},
        {MSR_IA32_KERNEL_GS_BASE, 77, false},
        {MSR_IA32_EFER, 0xd01, false},
        {MSR_IA32_EFER, 2, true},
        {MSR_IA32_MTRRCAP, 0, true},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        START(one_hlt);
        msr_entry(0, MSR_IA32_STAR, 42);
        msr_entry(1, cases[i].head, cases[i].value);
        bench_vmwrite(VM_ENTRY_MSR_LOAD_ADDR, BENCH_LISTS);
        bench_vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 2);
        if (cases[i].fails) {
            EXPECT_EQ(bench_run(), 34u | 1u << 31);
            EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 2);
        } else {
            EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
        }
        EXPECT_EQ(MSR_VALUE(pcpu_current, IA32_STAR), 42); // The first was loaded either way.
        bench_end();
    }
}

TEST(MsrAreas, ExitStoresGuestValuesAndLoadsHostOnes) // SDM 27.4, 27.6
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_WRMSR, .length = 2, .args = {MSR_IA32_LSTAR, 0x5555}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END}};
    uint64_t value;

    START(ops);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_MSR_BITMAPS, 0);
    msr_entry(0, MSR_IA32_LSTAR, 0);
    msr_entry(1, MSR_IA32_TSC, 0);
    msr_entry(2, MSR_IA32_LSTAR, 0x7777);
    bench_vmwrite(VM_EXIT_MSR_STORE_ADDR, BENCH_LISTS);
    bench_vmwrite(VM_EXIT_MSR_STORE_COUNT, 2);
    bench_vmwrite(VM_EXIT_MSR_LOAD_ADDR, BENCH_LISTS + 32);
    bench_vmwrite(VM_EXIT_MSR_LOAD_COUNT, 1);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_get64(BENCH_LISTS + 8), 0x5555);
    EXPECT_GE(bench_get64(BENCH_LISTS + 24), pcpu_current->x86->vmx.exit_tsc);
    EXPECT_EQ(hw_rdmsr(MSR_IA32_LSTAR, &value), HW_DONE);
    EXPECT_EQ(value, 0x7777);
    bench_end();
}

TEST(MsrAreas, EachEntryCostsItsCycles)
{
    uint64_t plain, with;

    START(one_hlt);
    bench_run();
    plain = pcpu_current->now_ticks;
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_OK);
    plain = pcpu_current->now_ticks - plain;
    msr_entry(0, MSR_IA32_STAR, 42);
    msr_entry(1, MSR_IA32_STAR, 43);
    bench_vmwrite(VM_ENTRY_MSR_LOAD_ADDR, BENCH_LISTS);
    bench_vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 2);
    bench_vmwrite(VM_EXIT_MSR_STORE_ADDR, BENCH_LISTS);
    bench_vmwrite(VM_EXIT_MSR_STORE_COUNT, 1);
    with = pcpu_current->now_ticks;
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_OK);
    with = pcpu_current->now_ticks - with;
    EXPECT_EQ(with - plain,
              (2 * bench.uarch.vmx.msr_load_cycles + bench.uarch.vmx.msr_store_cycles) * TICKS_PER_CYCLE);
    bench_end();
}

TEST(State, ExitLoadsTheHostFromItsArea) // SDM 27.5
{
    uint64_t value;

    START(one_hlt);
    bench_vmwrite(HOST_GS_BASE, 0xffff888000000000);
    bench_vmwrite(HOST_FS_BASE, 0x1000);
    bench_vmwrite(HOST_CR3, 0x77000);
    bench_vmwrite(HOST_IA32_SYSENTER_EIP, 0x4321);
    bench_vmwrite(GUEST_GS_BASE, 0x9000);
    EXPECT_EQ(hw_write_dr(7, 0x401), HW_DONE);
    hw_sti();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(hw_rdgsbase(), 0xffff888000000000);
    EXPECT_EQ(hw_read_cr(3), 0x77000);
    EXPECT_EQ(hw_read_dr(7), 0x400);
    EXPECT_FALSE(hw_irqs_enabled());
    EXPECT_EQ(hw_rdmsr(MSR_IA32_SYSENTER_EIP, &value), HW_DONE);
    EXPECT_EQ(value, 0x4321);
    EXPECT_EQ(bench_vmread(GUEST_GS_BASE), 0x9000);
    bench_end();
}

TEST(State, GuestChangesAreSaved) // SDM 27.3
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_WRMSR, .length = 2, .args = {MSR_IA32_GS_BASE, 0x1234000}},
        {.kind = REPLAY_MOVTOCR, .length = 3, .args = {3, 0x5000}},
        {.kind = REPLAY_CLI, .length = 1},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_END}};

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench.uarch.vmx_cap.proc_true_allowed0 &= ~(uint64_t)CPU_CR3_LOAD_EXITING;
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(ops);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_MSR_BITMAPS, CPU_CR3_LOAD_EXITING);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_vmread(GUEST_GS_BASE), 0x1234000);
    EXPECT_EQ(bench_vmread(GUEST_CR3), 0x5000);
    EXPECT_EQ(bench_vmread(GUEST_RFLAGS), 2);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1006);
    bench_end();
}

TEST(State, EntryFailureLeavesTheGuestAreaAlone) // SDM 26.8
{
    START(one_hlt);
    bench_vmwrite(GUEST_RIP, 1ull << 63);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
    EXPECT_EQ(bench_run(), 33u | 1u << 31);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 1ull << 63);
    EXPECT_EQ(bench_vmread(VM_ENTRY_INTR_INFO_FIELD), 0x80000030); // Still valid.
    bench_end();
}

TEST(Tsc, OffsetAndScaleInTheGuest) // SDM 25.3
{
    static const struct replay_op ops[] = {{.kind = REPLAY_RDTSC, .length = 2, .gap_cycles = 100000},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};
    uint64_t guest, expected;

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench.uarch.vmx_cap.proc2_allowed1 |= CPU2_USE_TSC_SCALING;
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(ops);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TSC_OFFSETTING, 0);
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_USE_TSC_SCALING, 0);
    bench_vmwrite(TSC_OFFSET, 1000000000000);
    bench_vmwrite(TSC_MULTIPLIER, 1ull << 47);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    guest = (bench_gprs.r[0] & 0xffffffff) | bench_gprs.r[2] << 32;
    // HLT exits at the tick at which RDTSC has retired.
    expected = pcpu_current->x86->vmx.exit_tsc / 2 + 1000000000000;
    EXPECT_EQ(guest, expected);
    bench_end();
}

TEST(TwoGuests, EachGoesOnWhereItWas)
{
    static struct replay_op first[] = {
        {.kind = REPLAY_VMLAUNCH, .length = 3},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_INVD, .length = 2, .flags = REPLAY_HAS_RIP, .rip = 0x8000},
        {.kind = REPLAY_VMRESUME, .length = 3},
        {.kind = REPLAY_END}};
    static struct replay_op second[] = {{.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 500},
                                        {.kind = REPLAY_VMCALL, .length = 3, .gap_cycles = 500},
                                        {.kind = REPLAY_END}};
    static struct replay_program nested = {"l2", second, 3, {0}, 0x2000, false};
    unsigned char *copy;

    START(first);
    memset(nested.handler, 0xff, sizeof nested.handler);
    EXPECT_TRUE(replay_register(&bench.machine, replay_idtr_base(0, 0, 1), &nested) == NULL);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMLAUNCH);
    // As a hypervisor does for a nested entry: another VMCS whose guest has another interrupt table.
    copy = bench.memory + BENCH_VMCS2;
    memcpy(copy + VMCS_FIELDS, bench.memory + BENCH_VMCS + VMCS_FIELDS, VMX_REGION_BYTES - VMCS_FIELDS);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS2)), HW_VMX_OK);
    bench_vmwrite(GUEST_IDTR_BASE, replay_idtr_base(0, 0, 1));
    bench_vmwrite(GUEST_RIP, 0x2000);
    EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x2000);
    // The nested exit: L1 goes on at its HOST_RIP, which is a label of its program.
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS)), HW_VMX_OK);
    bench_vmwrite(GUEST_RIP, 0x8000);
    EXPECT_EQ(bench_run(), EXIT_REASON_INVD);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_VMRESUME);
    EXPECT_EQ(hw_vmptrld(hpa(BENCH_VMCS2)), HW_VMX_OK);
    bench_skip();
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_violations, 0);
    bench_end();
}

TEST(Registration, RefusesBadPrograms)
{
    static struct replay_op no_end[] = {{.kind = REPLAY_HLT, .length = 1}};
    static struct replay_op open_loop[] = {{.kind = REPLAY_LOOP}, {.kind = REPLAY_END}};
    static struct replay_op closed[] = {{.kind = REPLAY_ENDLOOP}, {.kind = REPLAY_END}};
    static struct replay_op far[] = {{.kind = REPLAY_GOTO, .args = {7}}, {.kind = REPLAY_END}};
    static const struct {
        struct replay_op *ops;
        uint32_t count;
        const char *wrong;
    } cases[] = {{no_end, 1, "stream without an end"},
                 {open_loop, 2, "loop without '}'"},
                 {closed, 2, "'}' without a loop"},
                 {far, 2, "label outside of the stream"}};

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    for (unsigned i = 0; i < 4; i++) {
        struct replay_program p = {"bad", cases[i].ops, cases[i].count, {0}, 0, false};

        memset(p.handler, 0xff, sizeof p.handler);
        EXPECT_STREQ(replay_register(&bench.machine, replay_idtr_base(1, 0, 0), &p), cases[i].wrong);
    }
    bench_end();
}

TEST(Registration, StartOverIsLikeTheFirstRun)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 10},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    replay_reset(&bench.machine);
    bench_vmwrite(GUEST_RIP, 0x1000);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_end();
}
