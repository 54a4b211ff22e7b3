// SPDX-License-Identifier: Apache-2.0
// APIC virtualization: TPR shadow, page accesses, x2APIC mode, virtual interrupts, EOI exits, posted
// interrupts (SDM ch. 29).
#include "models/apic/lapic.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

#define PAGE_GPA 0x200000u // Mapped to the APIC-access page by start()

static uint32_t page32(uint32_t offset)
{
    return (uint32_t)bench_get64(BENCH_VAPIC + offset);
}

static void set_page32(uint32_t offset, uint32_t value)
{
    memcpy(bench.memory + BENCH_VAPIC + offset, &value, 4);
}

static void start(const struct replay_op *ops, uint32_t count, const struct bench_handler *handlers,
                  uint32_t cpu2)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench.uarch.vmx_cap.proc2_allowed1 |= CPU2_VIRTUAL_INTR_DELIVERY | CPU2_APIC_REGISTER_VIRT |
                                          CPU2_VIRTUALIZE_APIC_ACCESSES | CPU2_VIRTUALIZE_X2APIC_MODE;
    bench.uarch.vmx_cap.pin_allowed1 |= PIN_POSTED_INTERRUPTS;
    bench_start(1);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_APIC_BASE, 0xfee00d00), HW_DONE);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_X2APIC_SIVR, 0x1ff), HW_DONE);
    bench_vmx();
    bench_ept();
    bench_set64(BENCH_EPT + 0x3000, BENCH_APIC_ACCESS | 6 << 3 | 7);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_TPR_SHADOW | CPU_USE_MSR_BITMAPS, 0);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    bench_control(SECONDARY_VM_EXEC_CONTROL, cpu2, 0);
    bench_program(ops, count, handlers);
}
#define START(ops, cpu2) start(ops, sizeof(ops) / sizeof *(ops), NULL, cpu2)

static const struct replay_op one_call[] = {{.kind = REPLAY_VMCALL, .length = 3, .gap_cycles = 1000},
                                            {.kind = REPLAY_END}};

TEST(TprShadow, MovToCr8ExitsBelowTheThreshold) // SDM 29.1.2, 29.3
{
    static const struct {
        uint32_t cr8, threshold;
        bool exits;
    } cases[] = {{3, 4, true}, {4, 4, false}, {5, 4, false}, {0, 1, true}, {0, 0, false}};

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {{.kind = REPLAY_MOVTOCR, .length = 3, .args = {8, cases[i].cr8}},
                                  {.kind = REPLAY_VMCALL, .length = 3},
                                  {.kind = REPLAY_END}};

        test_row("row %u", i);
        START(ops, 0);
        set_page32(0x80, 0xf0);
        bench_control(CPU_BASED_VM_EXEC_CONTROL, 0, CPU_CR8_LOAD_EXITING);
        bench_vmwrite(TPR_THRESHOLD, cases[i].threshold);
        EXPECT_EQ(bench_run(), cases[i].exits ? EXIT_REASON_TPR_BELOW_THRESHOLD : EXIT_REASON_VMCALL);
        EXPECT_EQ(page32(0x80), cases[i].cr8 << 4);
        EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1003); // A trap: behind the instruction.
        bench_end();
    }
}

TEST(TprShadow, EntryBelowTheThresholdExitsAtOnce) // SDM 26.7.7
{
    START(one_call, CPU2_VIRTUALIZE_APIC_ACCESSES);
    set_page32(0x80, 0x20);
    bench_vmwrite(TPR_THRESHOLD, 3);
    EXPECT_EQ(bench_run(), EXIT_REASON_TPR_BELOW_THRESHOLD);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    bench_end();
}

TEST(AccessPage, WhichAccessesAreVirtual) // SDM 29.4.2, 29.4.3, table 27-6
{
    enum { REG = CPU2_APIC_REGISTER_VIRT };
    static const struct {
        uint8_t kind;
        uint32_t offset, size, cpu2;
        uint32_t reason; // 18: no exit
        uint64_t qualification;
    } cases[] = {
        {REPLAY_READ, 0x80, 4, 0, 18, 0},         {REPLAY_READ, 0x20, 4, 0, 44, 0x20},
        {REPLAY_READ, 0x20, 4, REG, 18, 0},       {REPLAY_READ, 0x390, 4, REG, 44, 0x390},
        {REPLAY_READ, 0x84, 4, REG, 44, 0x84},    {REPLAY_READ, 0x80, 8, REG, 44, 0x80},
        {REPLAY_READ, 0x270, 4, REG, 18, 0},      {REPLAY_READ, 0x82, 2, REG, 18, 0},
        {REPLAY_WRITE, 0x80, 4, 0, 18, 0},        {REPLAY_WRITE, 0x300, 4, 0, 44, 0x1300},
        {REPLAY_WRITE, 0x300, 4, REG, 56, 0x300}, {REPLAY_WRITE, 0xb0, 4, REG, 56, 0xb0},
        {REPLAY_WRITE, 0x310, 4, REG, 18, 0},     {REPLAY_WRITE, 0x30, 4, REG, 44, 0x1030},
        {REPLAY_FETCH, 0x80, 1, REG, 44, 0x2080},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {
            {.kind = cases[i].kind, .length = 3, .args = {PAGE_GPA + cases[i].offset, cases[i].size, 0x11}},
            {.kind = REPLAY_VMCALL, .length = 3},
            {.kind = REPLAY_END}};

        test_row("row %u", i);
        START(ops, CPU2_VIRTUALIZE_APIC_ACCESSES | cases[i].cpu2);
        EXPECT_EQ(bench_run(), cases[i].reason);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), cases[i].qualification);
        EXPECT_EQ(bench_vmread(GUEST_RIP), cases[i].reason == 44 ? 0x1000 : 0x1003);
        bench_end();
    }
}

TEST(VirtualInterrupt, IsDeliveredAndEndedWithoutExit) // SDM 29.2
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 1000},
        {.kind = REPLAY_END},
        {.kind = REPLAY_VMCALL, .length = 3}, // Handler
        {.kind = REPLAY_EOI, .length = 2},
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END},
    };
    static const struct bench_handler handlers[] = {{0x61, 2}, {0, 0}};

    start(ops, 6, handlers, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUAL_INTR_DELIVERY);
    set_page32(0x230, 1u << 1); // VIRR: vector 61H
    bench_vmwrite(GUEST_INTR_STATUS, 0x61);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0x6100);
    EXPECT_EQ(page32(0x230), 0);
    EXPECT_EQ(page32(0x130), 1u << 1); // VISR
    EXPECT_EQ(page32(0xa0), 0x60);     // VPPR
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0);
    EXPECT_EQ(page32(0x130), 0);
    bench_end();
}

TEST(VirtualInterrupt, WaitsForPriorityAndForTheFlag)
{
    START(one_call, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUAL_INTR_DELIVERY);
    set_page32(0x80, 0x60); // VTPR of the same class
    set_page32(0x230, 1u << 1);
    bench_vmwrite(GUEST_INTR_STATUS, 0x61);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0x61);
    set_page32(0x80, 0);
    bench_vmwrite(GUEST_RFLAGS, 2);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0x61);
    bench_end();
}

TEST(VirtualInterrupt, EoiBitmapMakesAnExitBehindTheEoi) // SDM 29.1.4
{
    START(one_call, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUAL_INTR_DELIVERY);
    set_page32(0x230, 1u << 1);
    bench_vmwrite(GUEST_INTR_STATUS, 0x61);
    bench_vmwrite(EOI_EXIT_BITMAP1, 1ull << (0x61 - 64));
    EXPECT_EQ(bench_run(), EXIT_REASON_EOI_INDUCED); // The built-in handler ends it with EOI.
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x61);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    bench_end();
}

TEST(VirtualInterrupt, SelfIpiNeedsNoExit) // SDM 29.1.5, 29.5
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_WRMSR, .length = 2, .args = {0x83f, 0x71}},
        {.kind = REPLAY_CPUID, .length = 2},
        {.kind = REPLAY_END},
        {.kind = REPLAY_VMCALL, .length = 3},
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END},
    };
    static const struct bench_handler handlers[] = {{0x71, 3}, {0, 0}};

    start(ops, 6, handlers, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUAL_INTR_DELIVERY);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0x7100);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_end();
}

TEST(X2apicMode, ReservedBitsOfVirtualRegistersFault) // SDM 29.5
{
    static const struct replay_op ops[] = {{.kind = REPLAY_WRMSR, .length = 2, .args = {0x808, 0x100}},
                                           {.kind = REPLAY_END}};

    START(ops, CPU2_VIRTUALIZE_X2APIC_MODE);
    bench_vmwrite(EXCEPTION_BITMAP, 1u << GP_VECTOR);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000b0d);
    bench_end();
}

TEST(X2apicMode, ReadsComeFromThePage)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_RDMSR, .length = 2, .args = {0x802}},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    START(ops, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_APIC_REGISTER_VIRT);
    set_page32(0x20, 0x1234);
    set_page32(0x24, 0x5);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 0x1234);
    EXPECT_EQ(bench_gprs.r[2], 5);
    bench_end();
}

TEST(PostedInterrupt, NotificationMovesRequestsWithoutExit) // SDM 29.6
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = 1000000},
        {.kind = REPLAY_END},
        {.kind = REPLAY_VMCALL, .length = 3},
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END},
    };
    static const struct bench_handler handlers[] = {{0x93, 2}, {0, 0}};

    start(ops, 5, handlers, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUAL_INTR_DELIVERY);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_POSTED_INTERRUPTS, 0);
    bench_control(VM_EXIT_CONTROLS, EXIT_ACK_INTERRUPT_ON_EXIT, 0);
    bench_set64(BENCH_PID + 8, 1ull << (0x41 - 64));
    bench_set64(BENCH_PID + 16, 1ull << (0x93 - 128));
    bench_set64(BENCH_PID + 32, 1 | 0xf2ull << 16);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0xf2, false, 500000);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_INTR_STATUS), 0x9341);
    EXPECT_EQ(bench_get64(BENCH_PID + 32), 0xf2ull << 16); // ON is clear, the rest untouched.
    EXPECT_EQ(bench_get64(BENCH_PID + 8), 0);
    EXPECT_EQ(bench_get64(BENCH_PID + 16), 0);
    EXPECT_EQ(page32(0x220), 1u << 1);
    EXPECT_EQ(lapic_pending_vector(pcpu_current), -1); // Acknowledged and ended by the processor.
    EXPECT_EQ(lapic_ppr(pcpu_current), 0);
    EXPECT_GE(pcpu_current->x86->vmx.exit_begin_ticks, 500000);
    bench_end();
}

TEST(PostedInterrupt, OtherVectorsExit)
{
    START(one_call, CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_VIRTUAL_INTR_DELIVERY);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_POSTED_INTERRUPTS, 0);
    bench_control(VM_EXIT_CONTROLS, EXIT_ACK_INTERRUPT_ON_EXIT, 0);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0xf1, false, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXTERNAL_INTERRUPT);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x800000f1);
    bench_end();
}
