// SPDX-License-Identifier: Apache-2.0
// Native guests on a processor without caches, SystemC or hypervisor core: time, accesses, instructions,
// events, moves.
#include "models/apic/lapic.h"
#include "models/cpu/x86/native_guest_run.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "models/cpu/x86/tests/guest_cases.h"
#include "models/mem/core.h"
#include "models/timer/tsc.h"
#include "tests/shim/shim.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#define PT (BENCH_EPT + 0x3000)
#define GPA 0x200000u // First page of the 4-KiB table
#define LEAF 0x37u    // Present, write back

enum { RAX, RCX, RDX, RBX };

static struct native_program *program;
static struct mem_core cores[4];
static unsigned done;

// --- Fakes of models/mem/core.h: what the hooks call where a line is not in the first-level cache. ---

uint32_t mem_line_load_miss(struct mem_core *m, uint64_t line)
{
    (void)m, (void)line;
    return (uint32_t)bench_access_ticks;
}

uint64_t mem_time_guest_store(struct pcpu *c, uint64_t hpa, unsigned size_bytes)
{
    (void)hpa, (void)size_bytes;
    return c->now_ticks;
}

void mem_store_push(struct pcpu *c, void *p, unsigned size_bytes, uint64_t drain_ticks)
{
    (void)c, (void)p, (void)size_bytes, (void)drain_ticks;
}

// --- The bench. ---

static void guest_done(void *ctx, uint64_t idtr_base)
{
    (void)ctx, (void)idtr_base;
    done++;
}

// Starts `case_number` with two arguments as the guest of the bench's VMCS. Guest memory from 0 to 2 MiB is
// mapped.
static void start(unsigned cpus, uint64_t case_number, uint64_t a, uint64_t b)
{
    char path[600], error[600] = "";
    uint64_t base;

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(cpus);
    for (unsigned i = 0; i < cpus; i++) {
        ASSERT_EQ(l1_init(&cores[i].l1, 4096, 4, 64), 0);
        bench.cpus[i].mem = &cores[i];
    }
    EXPECT_EQ(hw_rdmsr(MSR_IA32_APIC_BASE, &base), HW_DONE);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_APIC_BASE, base | 1u << 10), HW_DONE);
    EXPECT_EQ(hw_wrmsr(MSR_IA32_X2APIC_SIVR, 0x1ff), HW_DONE);
    bench_vmx();
    bench_ept();
    snprintf(path, sizeof path, "%s/lib/test_guests/guest_cases.so", test_build_dir());
    program = native_program_open(path, &bench.uarch, error, sizeof error);
    if (!program)
        TEST_FAIL("%s", error);
    ASSERT_TRUE(program != NULL);
    const struct native_guest_config config = {.program = program, .args = {case_number, a, b}};
    const char *wrong = native_guest_register(&bench.machine, replay_idtr_base(0, 0, 0), &config);

    EXPECT_EQ(wrong, NULL);
    done = 0;
    replay_set_done_hook(&bench.machine, guest_done, NULL);
    bench_vmwrite(GUEST_RIP, native_program_entry(program));
}

static void end(void)
{
    bench_end();
    native_program_close(program);
    for (unsigned i = 0; i < 4; i++)
        l1_destroy(&cores[i].l1);
}

static uint64_t guest_memory(uint64_t gpa)
{
    return bench_get64(BENCH_GUEST + gpa);
}

// Price of all the blocks of a function, in ticks.
static uint64_t price_of(const char *function)
{
    uint64_t ticks = 0;

    for (size_t i = 0; i < price_block_count(program->prices[0]); i++)
        if (strcmp(price_block_at(program->prices[0], i)->function, function) == 0)
            ticks += price_block_at(program->prices[0], i)->ticks;
    return ticks;
}

// When the last exit began.
static uint64_t exit_ticks;
static uint32_t run(void)
{
    uint32_t reason = bench_run();

    exit_ticks = pcpu_current->x86->vmx.exit_begin_ticks;
    return reason;
}

// --- Time. ---

TEST(NativeGuest, BlocksTakeTheirPrice)
{
    uint64_t begin, prices, straight;

    start(1, CASE_STRAIGHT, 0, 0);
    begin = pcpu_current->now_ticks;
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    straight = exit_ticks - begin;
    prices = price_of("run") + price_of("straight");
    EXPECT_GT(prices, 0);
    end();
    // The same with a computation of known length, and its blocks instead.
    start(1, CASE_WORK, 1000, 0);
    begin = pcpu_current->now_ticks;
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    EXPECT_EQ(exit_ticks - begin,
              straight - prices + price_of("run") + price_of("work") +
                  tsc_to_ticks(1000, bench.uarch.clock.core_khz, bench.uarch.clock.tsc_khz));
    end();
}

TEST(NativeGuest, ALoadTakesTheCachesLatency)
{
    uint64_t begin, took[3];

    for (uint64_t i = 0; i < 3; i++) {
        start(1, CASE_LOADS, 0x3000, 10 + i);
        bench_access_ticks = 77;
        begin = pcpu_current->now_ticks;
        EXPECT_EQ(run(), EXIT_REASON_HLT);
        took[i] = exit_ticks - begin;
        end();
    }
    EXPECT_EQ(took[2] - took[1], took[1] - took[0]);
    EXPECT_GE(took[1] - took[0], 77 + bench.uarch.l1d.latency_cycles * TICKS_PER_CYCLE);
    EXPECT_LE(took[1] - took[0], 77 + (bench.uarch.l1d.latency_cycles + 10) * TICKS_PER_CYCLE);
}

TEST(NativeGuest, PreemptionTimerExitsAtTheFirstBlockBehindIt)
{
    for (uint32_t value = 100; value < 500; value += 70) {
        uint64_t expiry;

        test_row("value %u", value);
        start(1, CASE_SPIN, 0, 1);
        bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
        bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, value);
        EXPECT_EQ(run(), EXIT_REASON_PREEMPTION_TIMER);
        expiry = pcpu_current->x86->vmx.timer_at_ticks;
        EXPECT_GE(exit_ticks, expiry);
        EXPECT_LT(exit_ticks, expiry + 20 * TICKS_PER_CYCLE);
        EXPECT_EQ(bench_vmread(VMX_PREEMPTION_TIMER_VALUE), value); // Saving it was not asked for.
        end();
    }
}

// --- Accesses. ---

TEST(NativeGuest, AViolationRunsTheAccessAgain) // SDM 28.3.3.2
{
    start(1, CASE_ACCESSES, GPA + 0x10, 0);
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0x10);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x182);
    uint64_t rip = bench_vmread(GUEST_RIP);

    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION); // Nothing was done about it.
    EXPECT_EQ(bench_vmread(GUEST_RIP), rip);
    bench_set64(PT, (BENCH_GUEST + 0x5000) | LEAF);
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    EXPECT_EQ(guest_memory(0x5010), 0x1122334455667788);
    EXPECT_EQ(guest_memory(0x5018), 0x1122334455667789);
    end();
}

TEST(NativeGuest, AnEmulatedAccessIsDone)
{
    start(1, CASE_ACCESSES, GPA, 0);
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_gprs.r[RAX], 0x1122334455667788);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION); // The load.
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x181);
    bench_gprs.r[RAX] = 41;
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION); // The store behind it has the value that software gave.
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 8);
    EXPECT_EQ(bench_gprs.r[RAX], 42);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    end();
}

TEST(NativeGuest, LockedOperationsDoWhatC11Says) // SDM 8.1.2
{
    static const uint64_t expected[] = {5, 12, 0, 10, 1, 99, 0x163, 0x62};

    // In memory that a first access must map, and again in memory that the TLB knows.
    for (uint64_t row = 0; row < 2; row++) {
        test_row("row %llu", (unsigned long long)row);
        start(1, CASE_LOCKED, row ? 0x4000u : GPA, 0);
        if (!row) {
            EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
            EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x183); // Reads and writes.
            bench_set64(PT, (BENCH_GUEST + 0x4000) | LEAF);
        }
        EXPECT_EQ(run(), EXIT_REASON_HLT);
        for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++)
            EXPECT_EQ(guest_memory(RESULT_AT + 8ull * i), expected[i]);
        EXPECT_EQ(guest_memory(0x4000), 42);
        end();
    }
}

TEST(NativeGuest, SmallAccessesTouchTheirBytes)
{
    for (uint64_t row = 0; row < 2; row++) {
        test_row("row %llu", (unsigned long long)row);
        start(1, CASE_SMALL, row ? 0x4000u : GPA, 0);
        if (!row) {
            EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
            bench_set64(PT, (BENCH_GUEST + 0x4000) | LEAF);
        }
        bench_set64(BENCH_GUEST + 0x4000, 0xaaaaaaaaaaaaaaaa);
        EXPECT_EQ(run(), EXIT_REASON_HLT);
        EXPECT_EQ(guest_memory(0x4000), 0x00000001345611aa);
        EXPECT_EQ(guest_memory(RESULT_AT), 0xfffffffe);
        EXPECT_EQ(guest_memory(RESULT_AT + 8), 0x12);
        EXPECT_EQ(guest_memory(RESULT_AT + 16), 0x3456);
        end();
    }
}

TEST(NativeGuest, AnAccessOverTwoPagesNeedsBoth)
{
    start(1, CASE_ACCESSES, GPA + 0xffc, 0);
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0xffc);
    bench_set64(PT, (BENCH_GUEST + 0x4000) | LEAF);
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(bench_vmread(GUEST_PHYSICAL_ADDRESS), GPA + 0x1000);
    bench_set64(PT + 8, (BENCH_GUEST + 0x6000) | LEAF);
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    EXPECT_EQ(guest_memory(0x4ff8) >> 32, 0x55667788);
    EXPECT_EQ(guest_memory(0x6000), 0x5566778911223344); // And the word behind it, one more.
    EXPECT_EQ(guest_memory(0x6008) & 0xffffffff, 0x11223344);
    end();
}

TEST(NativeGuest, SingleSteppingStopsBehindEachAccess) // SDM 25.5.2
{
    unsigned traps = 0;

    start(1, CASE_LOADS, GPA, 5);
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
    uint64_t rip = bench_vmread(GUEST_RIP);

    bench_set64(PT, (BENCH_GUEST + 0x4000) | LEAF);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_MONITOR_TRAP_FLAG, 0);
    while (run() == EXIT_REASON_MONITOR_TRAP_FLAG && traps < 20) {
        traps++;
        EXPECT_EQ(bench_vmread(GUEST_RIP), rip + 3);
    }
    EXPECT_EQ(traps, 5);
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), EXIT_REASON_HLT);
    end();
}

// --- Instructions. ---

TEST(NativeGuest, InstructionsExitAsThoseOfStreams)
{
    start(1, CASE_INSN, 0x3000, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x600008);
    EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), 1);
    bench_gprs.r[RAX] = 0x31;
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x3f80001);
    EXPECT_EQ(bench_gprs.r[RAX], 0x32);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_CPUID);
    EXPECT_EQ(bench_gprs.r[RAX], 1);
    EXPECT_EQ(bench_gprs.r[RCX], 2);
    bench_gprs.r[RAX] = 0x1234;
    bench_gprs.r[RDX] = 0x5678;
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE);
    EXPECT_EQ(bench_gprs.r[RAX], 0x1234);
    EXPECT_EQ(bench_gprs.r[RDX], 0x5678);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_MSR_READ);
    bench_gprs.r[RAX] = 0x99;
    bench_gprs.r[RDX] = 0x1;
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_gprs.r[RAX], 7);
    EXPECT_EQ(bench_gprs.r[RBX], 8);
    bench_gprs.r[RAX] = 0x77;
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    EXPECT_EQ(guest_memory(0x3000), 0x100000099);
    EXPECT_EQ(guest_memory(0x3008), 0x77);
    end();
}

TEST(NativeGuest, AnInstructionStandsInTheProgramsText)
{
    uint64_t rip;

    start(1, CASE_INSN, 0x3000, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    rip = bench_vmread(GUEST_RIP);
    EXPECT_STREQ(price_function_of(program->prices[0], rip - NATIVE_TEXT_BASE + program->bias, NULL),
                 "instructions");
    bench_vmwrite(GUEST_RIP, rip + 100);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION); // It cannot be moved, which is told.
    EXPECT_STREQ(bench_violation, "guest RIP is outside of its program");
    end();
}

TEST(NativeGuest, StiHoldsInterruptsBackForOneInstruction) // SDM 25.3
{
    start(1, CASE_QUIET, 0, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING | CPU_INTERRUPT_WINDOW_EXITING,
                  CPU_HLT_EXITING);
    EXPECT_EQ(run(), EXIT_REASON_INTERRUPT_WINDOW);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, 0, CPU_INTERRUPT_WINDOW_EXITING);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_INTERRUPT_WINDOW_EXITING, 0);
    bench_skip();
    // The window opens behind HLT, not between STI and it.
    EXPECT_EQ(run(), EXIT_REASON_INTERRUPT_WINDOW);
    EXPECT_EQ(bench_vmread(GUEST_ACTIVITY_STATE), ACTIVITY_HLT);
    end();
}

TEST(NativeGuest, TheShadowOfStiEndsWithTime)
{
    start(1, CASE_OPEN, 0, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_INTERRUPT_WINDOW_EXITING, 0);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_PREEMPTION_TIMER, 0);
    bench_vmwrite(VMX_PREEMPTION_TIMER_VALUE, 100000); // If it never opens.
    bench_skip();
    uint64_t begin = pcpu_current->now_ticks;

    EXPECT_EQ(run(), EXIT_REASON_INTERRUPT_WINDOW);
    EXPECT_LT(exit_ticks, begin + 2000 * TICKS_PER_CYCLE);
    end();
}

// --- Events. ---

static void inject(uint32_t vector)
{
    bench_vmwrite(GUEST_RFLAGS, bench_vmread(GUEST_RFLAGS) | X86_RFLAGS_IF); // SDM 26.3.1.4
    bench_vmwrite(VM_ENTRY_INTR_INFO_FIELD, INTR_INFO_VALID | INTR_TYPE_EXTERNAL | vector);
}

TEST(NativeGuest, AnInterruptWithoutHandlerIsAcceptedAndEnded)
{
    start(1, CASE_HANDLER, 0x41, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    inject(0x55);
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE); // EOI
    EXPECT_EQ(bench_gprs.r[RCX], MSR_IA32_X2APIC_EOI);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION); // The interrupted one, again.
    EXPECT_EQ(guest_memory(COUNT_AT), 0);
    end();
}

TEST(NativeGuest, AHandlerRunsOnTopOfWhatItInterrupts)
{
    start(1, CASE_HANDLER, 0x41, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    uint64_t rip = bench_vmread(GUEST_RIP);

    inject(0x41);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION); // The handler's.
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION) >> 16, 0x80);
    EXPECT_EQ(bench_gprs.r[RAX], 0x41);
    EXPECT_EQ(bench_vmread(GUEST_RFLAGS) & X86_RFLAGS_IF, 0);
    EXPECT_EQ(guest_memory(VECTOR_AT), 0x41);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE); // Its EOI.
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION); // Back where it was, with its registers.
    EXPECT_EQ(bench_vmread(GUEST_RIP), rip);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION) >> 16, 0x60);
    EXPECT_EQ(bench_vmread(GUEST_RFLAGS) & X86_RFLAGS_IF, X86_RFLAGS_IF);
    bench_gprs.r[RAX] = 0xabcd;
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    EXPECT_EQ(guest_memory(RESULT_AT), 0xabcd);
    EXPECT_EQ(guest_memory(COUNT_AT), 1);
    end();
}

// A second event before the first handler's first instruction, and one right behind its IRET.
TEST(NativeGuest, HandlersNestAndFollowEachOther)
{
    start(1, CASE_SPIN, 0x41, 3);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    inject(0x41);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION); // In the first handler ...
    inject(0x41);                                 // ... comes the second, which goes on top.
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(guest_memory(COUNT_AT), 2);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE); // EOI of the outer one.
    inject(0x41);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(guest_memory(COUNT_AT), 3);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE);
    bench_skip();
    EXPECT_EQ(run(), EXIT_REASON_HLT);
    end();
}

TEST(NativeGuest, AnExternalInterruptReachesItInTheMiddle)
{
    start(1, CASE_SPIN, 0, UINT64_MAX);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, pcpu_current->now_ticks + 100000);
    uint64_t due = pcpu_current->now_ticks + 100000;

    EXPECT_EQ(run(), EXIT_REASON_EXTERNAL_INTERRUPT);
    EXPECT_GE(exit_ticks, due);
    EXPECT_LT(exit_ticks, due + 20 * TICKS_PER_CYCLE);
    EXPECT_GT(guest_memory(RESULT_AT), 100);
    end();
}

// --- Its life. ---

TEST(NativeGuest, WhenItsFunctionReturnsItIsOver)
{
    start(1, CASE_FAIL, 11, 22);
    pcpu_send(pcpu_current, PCPU_MSG_FIXED, 0x41, false, 50000000);
    bench_control(PIN_BASED_VM_EXEC_CONTROL, PIN_EXTERNAL_INTERRUPT_EXITING, 0);
    EXPECT_EQ(run(), EXIT_REASON_EXTERNAL_INTERRUPT); // It idles until something comes.
    EXPECT_EQ(done, 1);
    EXPECT_STREQ(bench_violation, "guest program: on purpose");
    EXPECT_EQ(bench_violations, 1);
    end();
}

TEST(NativeGuest, MovesToAnotherProcessor)
{
    start(2, CASE_ACCESSES, GPA, 0);
    EXPECT_EQ(run(), EXIT_REASON_EPT_VIOLATION);
    EXPECT_EQ(hw_vmclear((hpa_t){BENCH_VMCS}), HW_VMX_OK);
    pcpu_current = &bench.cpus[1];
    uint32_t revision = (uint32_t)bench.uarch.vmx_cap.revision;

    memcpy(bench.memory + BENCH_LISTS, &revision, 4);
    ASSERT_EQ(hw_write_cr(4, hw_read_cr(4) | X86_CR4_VMXE), HW_DONE);
    ASSERT_EQ(hw_vmxon((hpa_t){BENCH_LISTS}), HW_VMX_OK);
    ASSERT_EQ(hw_vmptrld((hpa_t){BENCH_VMCS}), HW_VMX_OK);
    bench_set64(PT, (BENCH_GUEST + 0x5000) | LEAF);
    ASSERT_EQ(hw_vmlaunch(&bench_gprs), HW_VMX_OK);
    EXPECT_EQ(bench_vmread(VM_EXIT_REASON), EXIT_REASON_HLT);
    EXPECT_EQ(guest_memory(0x5008), 0x1122334455667789);
    end();
}

TEST(NativeGuest, AResetInTheMiddleOfAHandlerStartsItAgain)
{
    uint64_t began[3]; // The first begins with VMLAUNCH, which takes longer.

    start(1, CASE_HANDLER, 0x41, 0);
    bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_UNCONDITIONAL_IO_EXITING, 0);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t begin = pcpu_current->now_ticks;

        EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
        began[i] = exit_ticks - begin;
        inject(0x41);
        EXPECT_EQ(run(), EXIT_REASON_IO_INSTRUCTION);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION) >> 16, 0x80);
        replay_reset(&bench.machine);
        bench_vmwrite(GUEST_RIP, native_program_entry(program));
        bench_vmwrite(GUEST_RFLAGS, 0x202);
    }
    EXPECT_EQ(began[1], began[2]);
    inject(0x41); // Its handler is not set yet.
    EXPECT_EQ(run(), EXIT_REASON_MSR_WRITE);
    EXPECT_EQ(bench_gprs.r[RCX], MSR_IA32_X2APIC_EOI);
    EXPECT_EQ(guest_memory(COUNT_AT), 3);
    end();
}

// --- Opening. ---

TEST(NativeProgram, WhatIsRefused)
{
    static const struct {
        const char *code, *says;
    } cases[] = {
        {"int x;", "is not a guest program"},
        {"unsigned guest_program[8] = {2};", "is not a guest program"},
        {"#include \"spec/native_guest.h\"\nunsigned long count;\nconst struct guest_program guest_program = "
         "{1, 0, 0, 0, 0};",
         "has variables outside of its stack"},
        {"int printg(void); int f(void) { return printg(); }", "printg"},
    };
    char path[600], source[600], command[2000], error[700];

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("%s", cases[i].code);
        snprintf(path, sizeof path, "%s/bad.so", test_tmpdir());
        snprintf(source, sizeof source, "%s/bad.c", test_tmpdir());
        FILE *f = fopen(source, "w");

        ASSERT_TRUE(f != NULL);
        fputs(cases[i].code, f);
        fclose(f);
        snprintf(command, sizeof command,
                 "gcc -shared -fPIC -nostdlib -Wl,-z,now -Wl,-z,relro -I'%s' -o '%s' '%s'", test_source_dir(),
                 path, source);
        ASSERT_EQ(test_shell(command, NULL, 0), 0);
        EXPECT_EQ(native_program_open(path, NULL, error, sizeof error), NULL);
        EXPECT_STRSTR(error, cases[i].says);
        EXPECT_STRSTR(error, "bad.so");
    }
    EXPECT_EQ(native_program_open("/nonexistent.so", NULL, error, sizeof error), NULL);
    EXPECT_STRSTR(error, "No such file");
}

// Every instruction of every program has a price.
TEST(NativeProgram, OfScenariosArePricedWhole)
{
    char pattern[600], error[700];
    glob_t found;

    ASSERT_TRUE(bench_load("skylake-sp"));
    snprintf(pattern, sizeof pattern, "%s/lib/guests/*.so", test_build_dir());
    ASSERT_EQ(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct native_program *p = native_program_open(found.gl_pathv[i], &bench.uarch, error, sizeof error);

        test_row("%s", found.gl_pathv[i]);
        ASSERT_TRUE(p != NULL);
        EXPECT_GT(price_block_count(p->prices[0]), 5);
        EXPECT_EQ(price_unknown_count(p->prices[0]), 0);
        EXPECT_GT(strlen(native_program_info(p)->about), 10);
        native_program_close(p);
    }
    globfree(&found);
}
