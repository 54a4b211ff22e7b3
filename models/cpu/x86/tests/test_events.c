// SPDX-License-Identifier: Apache-2.0
// Events: injection, interrupts in the middle of guest time, windows, NMIs, MTF, the preemption timer to the
// tick (SDM 25.2, 25.5.1, 25.5.2, 26.6, 27.2.4).
#include "hv/hw/assigned.h"
#include "models/apic/lapic.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "models/timer/tsc.h"
#include "tests/shim/shim.h"

#define GAP 1000000u

static const struct replay_op long_gap[] = {
    {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = GAP},
    {.kind = REPLAY_HLT, .length = 1, .gap_cycles = GAP},
    {.kind = REPLAY_END},
};

// x2APIC mode on, software-enabled: the processor takes interrupts.
static void apic_on(void)
{
    uint64_t base;

    EXPECT_EQ(hw_rdmsr(MSR_IA32_APIC_BASE, &base), HW_DONE);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_APIC_BASE, base | 1u << 10), HW_DONE);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_X2APIC_SIVR, 0x1ff), HW_DONE);
}

static void start_with(const struct replay_op *ops, uint32_t count, const struct bench_handler *handlers)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    apic_on();
    bench_vmx();
    bench_program(ops, count, handlers);
}
#define START(ops) start_with(ops, sizeof(ops) / sizeof *(ops), NULL)

// --- The preemption timer. ---

TEST(PreemptionTimer, FiresExactlyAt)
{
    for (uint32_t value = 1; value < 3000; value = value * 3 + 1) {
        uint64_t start, tsc;

        test_row("value %u", value);
        START(long_gap);
        bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
        bench_control(VM_EXIT_CONTROLS, EXIT_SAVE_PREEMPTION_TIMER, 0);
        bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, value);
        EXPECT_EQ(bench_run(), EXIT_REASON_PREEMPTION_TIMER);
        start = pcpu_current->x86->vmx.timer_start_tsc;
        tsc = preemption_expiry_tsc(start, (unsigned)bench.uarch.vmx.preemption_shift, value);
        EXPECT_EQ(pcpu_current->x86->vmx.exit_begin_ticks, pcpu_tsc_to_ticks(pcpu_current, tsc));
        EXPECT_EQ(bench_vmread(VMX_PREEMPTION_TIMER_VALUE), 0);
        EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
        bench_end();
    }
}

TEST(PreemptionTimer, ZeroExitsBeforeTheFirstInstruction) // SDM 25.5.1
{
    static const struct replay_op now[] = {{.kind = REPLAY_CPUID, .length = 2}, {.kind = REPLAY_END}};

    START(now);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    for (unsigned i = 0; i < 5; i++)
        EXPECT_EQ(bench_run(), EXIT_REASON_PREEMPTION_TIMER);
    bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, 1000);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_end();
}

TEST(PreemptionTimer, WhatIsLeftIsSaved)
{
    uint32_t shift;

    START(long_gap);
    shift = (uint32_t)bench.uarch.vmx.preemption_shift;
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    bench_control(VM_EXIT_CONTROLS, EXIT_SAVE_PREEMPTION_TIMER, 0);
    bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, 50000000);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    // GAP core cycles in TSC cycles, in units of the timer; the phase of the TSC decides on the last one.
    EXPECT_GE(bench_vmread(VMX_PREEMPTION_TIMER_VALUE), 50000000 - (GAP >> shift) - 1);
    EXPECT_LE(bench_vmread(VMX_PREEMPTION_TIMER_VALUE), 50000000 - (GAP >> shift) + 1);
    bench_end();
}

TEST(PreemptionTimer, GuestTimeGoesOnWhereItWasInterrupted)
{
    uint64_t used = 0, entry;

    START(long_gap);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, 1000);
    for (;;) {
        uint32_t reason = bench_run();

        entry = pcpu_tsc_to_ticks(pcpu_current, pcpu_current->x86->vmx.timer_start_tsc);
        used += pcpu_current->x86->vmx.exit_begin_ticks - entry;
        if (reason == EXIT_REASON_CPUID)
            break;
        ASSERT_EQ(reason, EXIT_REASON_PREEMPTION_TIMER);
    }
    EXPECT_EQ(used, (uint64_t)GAP * TICKS_PER_CYCLE);
    bench_end();
}

// --- Interrupts. ---

TEST(ExternalInterrupt, ExitsAtItsTickWithoutAcknowledge)
{
    START(long_gap);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    bench_vmwrite(GUEST_RFLAGS, 2); // RFLAGS.IF does not matter.
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, 500000);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXTERNAL_INTERRUPT);
    EXPECT_EQ(pcpu_current->x86->vmx.exit_begin_ticks, 500000);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0);
    EXPECT_EQ(lapic_pending_vector(pcpu_current), 0x41);
    bench_end();
}

TEST(ExternalInterrupt, AcknowledgeOnExitTakesTheVector)
{
    START(long_gap);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    bench_control(VM_EXIT_CONTROLS, EXIT_ACK_INTERRUPT_ON_EXIT, 0);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, 500000);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x52, false, 500000);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXTERNAL_INTERRUPT);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000052); // Of two at one tick the higher class.
    EXPECT_EQ(lapic_pending_vector(pcpu_current), -1);
    lapic_eoi(pcpu_current);
    EXPECT_EQ(lapic_pending_vector(pcpu_current), 0x41);
    bench_end();
}

TEST(ExternalInterrupt, WithoutExitingItGoesThroughTheGuestsIdt)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = GAP},
        {.kind = REPLAY_END},
        {.kind = REPLAY_VMCALL, .length = 3, .args = {41}}, // Handler of 41H
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END},
    };
    static const struct bench_handler handlers[] = {{0x41, 2}, {0, 0}};

    start_with(ops, 5, handlers);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, 500000);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_gprs.r[0], 41);
    EXPECT_EQ(bench_vmread(GUEST_RFLAGS) & X86_RFLAGS_IF, 0);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    EXPECT_EQ(bench_vmread(GUEST_RFLAGS) & X86_RFLAGS_IF, X86_RFLAGS_IF);
    bench_end();
}

TEST(Windows, InterruptWindowOpensWithSti)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2},
        {.kind = REPLAY_STI, .length = 1},
        {.kind = REPLAY_CPUID, .length = 2},
        {.kind = REPLAY_PAUSE, .length = 2},
        {.kind = REPLAY_END},
    };

    START(ops);
    bench_vmwrite(GUEST_RFLAGS, 2);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_INTERRUPT_WINDOW_EXITING, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_skip();
    // STI blocks for one instruction: CPUID exits first, still blocked.
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_vmread(GUEST_INTERRUPTIBILITY_INFO), INTERRUPTIBILITY_STI);
    bench_skip();
    bench_vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0); // As software does when it skips an instruction.
    EXPECT_EQ(bench_run(), EXIT_REASON_INTERRUPT_WINDOW);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 0);
    bench_end();
}

TEST(Windows, OpenWindowExitsAtOnce)
{
    START(long_gap);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_INTERRUPT_WINDOW_EXITING, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_INTERRUPT_WINDOW);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    bench_end();
}

TEST(Nmi, ExitsAndBlocksUntilIret)
{
    START(long_gap);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_NMI_EXITING, 0);
    pcpu_send(pcpu_current, PCPU_MSG_NMI, 0, false, 500000);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000202);
    EXPECT_EQ(pcpu_current->x86->vmx.exit_begin_ticks, 500000);
    EXPECT_TRUE(pcpu_current->nmi_blocked);
    bench_end();
}

TEST(Nmi, WindowWaitsForIretOfTheHandler)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = GAP},
        {.kind = REPLAY_END},
        {.kind = REPLAY_VMCALL, .length = 3}, // NMI handler
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END},
    };
    static const struct bench_handler handlers[] = {{2, 2}, {0, 0}};

    start_with(ops, 5, handlers);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_NMI_EXITING | PIN_VIRTUAL_NMIS, 0);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000202);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_NMI_WINDOW_EXITING, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_INTERRUPTIBILITY_INFO), INTERRUPTIBILITY_NMI);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_NMI_WINDOW);
    EXPECT_EQ(bench_vmread(GUEST_INTERRUPTIBILITY_INFO), 0);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    bench_end();
}

// --- Injection (SDM 26.6.1, 24.8.3). ---

TEST(Injection, GoesToTheHandlerAndIsOver)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = GAP},
        {.kind = REPLAY_END},
        {.kind = REPLAY_VMCALL, .length = 3, .gap_cycles = 10},
        {.kind = REPLAY_IRET, .length = 2},
        {.kind = REPLAY_END},
    };
    static const struct bench_handler handlers[] = {{0x30, 2}, {0, 0}};

    start_with(ops, 5, handlers);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(VM_ENTRY_INTR_INFO_FIELD), 0x30); // Valid bit cleared by the exit.
    EXPECT_EQ(bench_vmread(IDT_VECTORING_INFO_FIELD), 0);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_end();
}

TEST(Injection, VectorWithoutHandlerIsEndedWithEoi)
{
    START(long_gap);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
    EXPECT_EQ(bench_run(), EXIT_REASON_MSR_WRITE); // No MSR bitmap: WRMSR of the EOI register exits.
    EXPECT_EQ(bench_gprs.r[1], MSR_IA32_X2APIC_EOI);
    bench_skip();
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_vmread(GUEST_RFLAGS) & X86_RFLAGS_IF, X86_RFLAGS_IF);
    bench_end();
}

TEST(Injection, FaultOfAnInstructionContinuesBehindIt)
{
    START(long_gap);
    EXPECT_EQ(bench_run(), EXIT_REASON_CPUID);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000b0d);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1002);
    bench_end();
}

TEST(Injection, GateBeyondTheLimitFaults) // SDM 6.13, 6.15, 27.2.4
{
    START(long_gap);
    bench_vmwrite(GUEST_IDTR_LIMIT, 0x2ff);
    bench_vmwrite(EXCEPTION_BITMAP, 1u << GP_VECTOR);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000b0d);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_ERROR_CODE), 0x30 * 8 + 3);
    EXPECT_EQ(bench_vmread(IDT_VECTORING_INFO_FIELD), 0x80000030);
    bench_end();
}

TEST(Injection, ThirdFaultIsATripleFault)
{
    START(long_gap);
    bench_vmwrite(GUEST_IDTR_LIMIT, 0);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
    EXPECT_EQ(bench_run(), EXIT_REASON_TRIPLE_FAULT);
    bench_end();
}

// --- Exceptions (SDM 25.2). ---

TEST(Exceptions, PageFaultMaskAndMatch)
{
    static const struct {
        uint32_t bitmap, mask, match, error;
        bool exits;
    } cases[] = {
        {1u << 14, 0, 0, 4, true}, {0, 0, 0, 4, false}, {1u << 14, 1, 1, 4, false}, {1u << 14, 1, 1, 5, true},
        {0, 1, 1, 4, true},        {0, 0, 1, 4, true},  {1u << 14, 0, 1, 4, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op ops[] = {{.kind = REPLAY_EXCEPTION, .args = {14, cases[i].error, 0xdead000}},
                                  {.kind = REPLAY_VMCALL, .length = 3},
                                  {.kind = REPLAY_END}};

        test_row("row %u", i);
        START(ops);
        bench_vmwrite(EXCEPTION_BITMAP, cases[i].bitmap);
        bench_vmwrite(PAGE_FAULT_ERROR_CODE_MASK, cases[i].mask);
        bench_vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, cases[i].match);
        if (cases[i].exits) {
            EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
            EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000b0e);
            EXPECT_EQ(bench_vmread(VM_EXIT_INTR_ERROR_CODE), cases[i].error);
            EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0xdead000);
            EXPECT_EQ(bench_gprs.cr2, 0);
        } else {
            EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
            EXPECT_EQ(bench_gprs.cr2, 0xdead000);
        }
        bench_end();
    }
}

TEST(Exceptions, BreakpointIsASoftwareExceptionOfLengthOne)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_EXCEPTION, .args = {3}}, {.kind = REPLAY_END}};

    START(ops);
    bench_vmwrite(EXCEPTION_BITMAP, 1u << BP_VECTOR);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXCEPTION_NMI);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000603);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 1);
    bench_end();
}

TEST(Exceptions, TripleFaultOp)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_TRIPLE}, {.kind = REPLAY_END}};

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_TRIPLE_FAULT);
    bench_end();
}

// --- MTF, INIT, SIPI, activity. ---

TEST(Mtf, ExitsBehindEachInstruction) // SDM 25.5.2
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_STI, .length = 1}, {.kind = REPLAY_CLI, .length = 1}, {.kind = REPLAY_END}};

    START(ops);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_MONITOR_TRAP_FLAG, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_MONITOR_TRAP_FLAG);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1001);
    EXPECT_EQ(bench_run(), EXIT_REASON_MONITOR_TRAP_FLAG);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1002);
    bench_end();
}

TEST(Mtf, PendingMtfIsInjected) // SDM 26.6.2
{
    START(long_gap);
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0x80000700);
    EXPECT_EQ(bench_run(), EXIT_REASON_MONITOR_TRAP_FLAG);
    EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
    bench_end();
}

TEST(Activity, HltStateIsLeftByAnInterruptAndSaved)
{
    START(long_gap);
    bench_vmwrite(GUEST_ACTIVITY_STATE, ACTIVITY_HLT);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, 50000000);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXTERNAL_INTERRUPT);
    EXPECT_EQ(bench_vmread(GUEST_ACTIVITY_STATE), ACTIVITY_HLT);
    EXPECT_EQ(pcpu_current->x86->vmx.exit_begin_ticks, 50000000);
    bench_end();
}

TEST(Activity, WaitForSipiTakesOnlySipi)
{
    START(long_gap);
    bench_vmwrite(GUEST_ACTIVITY_STATE, ACTIVITY_WAIT_SIPI);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING, 0);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, 500000);
    pcpu_send(pcpu_current, PCPU_MSG_NMI, 0, false, 600000);
    pcpu_send(pcpu_current, PCPU_MSG_SIPI, 0x9a, false, 700000);
    EXPECT_EQ(bench_run(), EXIT_REASON_SIPI_SIGNAL);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x9a);
    bench_end();
}

TEST(Activity, InitExits)
{
    START(long_gap);
    pcpu_send(pcpu_current, PCPU_MSG_INIT, 0, false, 500000);
    EXPECT_EQ(bench_run(), EXIT_REASON_INIT_SIGNAL);
    bench_end();
}

// --- Asynchronous ops of a stream. ---

TEST(Await, EndsWithTheExitItNames)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_INTR, .args = {0x41}},
        {.kind = REPLAY_AWAIT, .args = {EXIT_REASON_EXTERNAL_INTERRUPT}},
        {.kind = REPLAY_VMCALL, .length = 3},
        {.kind = REPLAY_END},
    };

    START(ops);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    bench_control(VM_EXIT_CONTROLS, EXIT_ACK_INTERRUPT_ON_EXIT, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_EXTERNAL_INTERRUPT);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000041);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_violations, 0);
    bench_end();
}

TEST(Await, NeverSatisfiedIsAViolation)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_AWAIT, .args = {EXIT_REASON_EXTERNAL_INTERRUPT}},
        {.kind = REPLAY_VMCALL, .length = 3},
        {.kind = REPLAY_END},
    };

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_violations, 1);
    EXPECT_STREQ(bench_violation, "await never satisfied");
    bench_end();
}

TEST(AssignedMsi, ArrivesAfterTheGapAndNamesTheGuestVector)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_MSI, .args = {0x61, 1000}},
        {.kind = REPLAY_CPUID, .length = 2, .gap_cycles = GAP},
        {.kind = REPLAY_END},
    };
    uint64_t begin, entry_cycles;

    START(ops);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    bench_control(VM_EXIT_CONTROLS, EXIT_ACK_INTERRUPT_ON_EXIT, 0);
    EXPECT_EQ(hw_in(ASSIGNED_PORT_FUNCTION, 4), 0);
    begin = pcpu_current->now_ticks;
    EXPECT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0x80000000 | ASSIGNED_VECTOR);
    // The op runs as soon as the guest does; its gap is exact from there.
    entry_cycles =
        bench.uarch.vmx.entry_cycles + bench.uarch.vmx.launch_extra_cycles + bench.uarch.vmx.no_vpid_cycles;
    EXPECT_EQ(pcpu_current->x86->vmx.exit_begin_ticks,
              begin + entry_cycles * TICKS_PER_CYCLE +
                  clock_to_ticks(1000, 1000000, bench.uarch.clock.core_khz));
    EXPECT_EQ(hw_in(ASSIGNED_PORT_FUNCTION, 4), ASSIGNED_FUNCTION_VALID);
    EXPECT_EQ(hw_in(ASSIGNED_PORT_VECTOR, 4), 0x61);
    EXPECT_EQ(hw_in(ASSIGNED_PORT_FUNCTION, 4), 0);
    EXPECT_EQ(hw_vmresume(&bench_gprs), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), EXIT_REASON_CPUID);
    bench_end();
}

TEST(Stream, LoopsGotosAndTheEnd)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_LOOP, .args = {2}},   {.kind = REPLAY_LOOP, .args = {3}},
        {.kind = REPLAY_CPUID, .length = 2},  {.kind = REPLAY_ENDLOOP},
        {.kind = REPLAY_INVD, .length = 2},   {.kind = REPLAY_ENDLOOP},
        {.kind = REPLAY_GOTO, .args = {8}},   {.kind = REPLAY_WBINVD, .length = 2},
        {.kind = REPLAY_VMCALL, .length = 3}, {.kind = REPLAY_END},
    };
    static const uint32_t expected[] = {10, 10, 10, 13, 10, 10, 10, 13, 18};

    START(ops);
    for (unsigned i = 0; i < 9; i++) {
        test_row("exit %u", i);
        EXPECT_EQ(bench_run(), expected[i]);
        bench_skip();
    }
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, 10);
    EXPECT_EQ(bench_run(), EXIT_REASON_PREEMPTION_TIMER); // Idle, without exits of its own.
    bench_end();
}

static uint64_t done_base;
static void note_done(void *ctx, uint64_t idtr_base)
{
    (*(unsigned *)ctx)++;
    done_base = idtr_base;
}

TEST(Stream, TheDoneHookIsCalledOnce)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_CPUID, .length = 2}, {.kind = REPLAY_END}};
    unsigned calls = 0;

    START(ops);
    replay_set_done_hook(&bench.machine, note_done, &calls);
    bench_run();
    EXPECT_EQ(calls, 0);
    bench_skip();
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    for (unsigned i = 0; i < 3; i++) {
        bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, 10);
        bench_run();
    }
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(done_base, replay_idtr_base(0, 0, 0));
    bench_end();
}

TEST(Stream, RipByLabelGoesOnThere)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_VMRESUME, .length = 3},
        {.kind = REPLAY_CPUID, .length = 2},
        {.kind = REPLAY_HLT,
         .length = 1,
         .flags = REPLAY_HAS_RIP,
         .rip = 0x5000}, // HOST_RIP of a nested exit
        {.kind = REPLAY_END},
    };

    START(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMRESUME);
    bench_vmwrite(GUEST_RIP, 0x5000);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    bench_vmwrite(GUEST_RIP, 0x7777);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    EXPECT_EQ(bench_run(), EXIT_REASON_PREEMPTION_TIMER);
    EXPECT_STREQ(bench_violation, "guest RIP is outside of its program");
    bench_end();
}
