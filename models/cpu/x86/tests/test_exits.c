// SPDX-License-Identifier: Apache-2.0
// Each kind of exit with the fields that the processor saves: reason, qualification, instruction length and
// information, registers (SDM 25.1, 27.2). Each op also runs once without its control, and must then not
// exit.
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "tests/shim/shim.h"

// Instruction information of [rdi]: 64-bit address, DS, no index, base RDI (7).
#define RDI_INFO (2u << 7 | 3u << 15 | 1u << 22 | 7u << 23)

enum { NO_CONTROL, PIN, CPU, CPU2 };

struct row {
    struct replay_op op;
    int group; // Of the control that makes it exit; NO_CONTROL: always exits
    uint32_t control;
    uint32_t reason, insn_info;
    uint64_t qualification;
};

static const struct row rows[] = {
    // clang-format off
    {{.kind = REPLAY_CPUID, .length = 2, .args = {1}}, NO_CONTROL, 0, 10, 0, 0},
    {{.kind = REPLAY_HLT, .length = 1}, CPU, CPU_HLT_EXITING, 12, 0, 0},
    {{.kind = REPLAY_INVD, .length = 2}, NO_CONTROL, 0, 13, 0, 0},
    {{.kind = REPLAY_INVLPG, .length = 3, .args = {0xabc000}}, CPU, CPU_INVLPG_EXITING, 14, 0, 0xabc000},
    {{.kind = REPLAY_RDTSC, .length = 2}, CPU, CPU_RDTSC_EXITING, 16, 0, 0},
    {{.kind = REPLAY_VMCALL, .length = 3, .args = {5, 1, 2, 3, 4}}, NO_CONTROL, 0, 18, 0, 0},
    {{.kind = REPLAY_VMCLEAR, .length = 5, .args = {0x5000}}, NO_CONTROL, 0, 19, RDI_INFO, 0},
    {{.kind = REPLAY_VMLAUNCH, .length = 3}, NO_CONTROL, 0, 20, 0, 0},
    {{.kind = REPLAY_VMPTRLD, .length = 5, .args = {0x5000}}, NO_CONTROL, 0, 21, RDI_INFO, 0},
    {{.kind = REPLAY_VMREAD, .length = 4, .args = {GUEST_RIP}}, NO_CONTROL, 0, 23, 1u << 10 | 2u << 28, 0},
    {{.kind = REPLAY_VMRESUME, .length = 3}, NO_CONTROL, 0, 24, 0, 0},
    {{.kind = REPLAY_VMWRITE, .length = 4, .args = {GUEST_RIP, 1}}, NO_CONTROL, 0, 25, 1u << 10 | 2u << 28, 0},
    {{.kind = REPLAY_VMXOFF, .length = 3}, NO_CONTROL, 0, 26, 0, 0},
    {{.kind = REPLAY_VMXON, .length = 5, .args = {0x5000}}, NO_CONTROL, 0, 27, RDI_INFO, 0},
    {{.kind = REPLAY_MOVTOCR, .length = 3, .args = {3, 0x9000}}, CPU, CPU_CR3_LOAD_EXITING, 28, 0, 3},
    {{.kind = REPLAY_MOVFROMCR, .length = 3, .args = {3}}, CPU, CPU_CR3_STORE_EXITING, 28, 0, 0x13},
    {{.kind = REPLAY_MOVTOCR, .length = 3, .args = {8, 2}}, CPU, CPU_CR8_LOAD_EXITING, 28, 0, 8},
    {{.kind = REPLAY_MOVFROMCR, .length = 3, .args = {8}}, CPU, CPU_CR8_STORE_EXITING, 28, 0, 0x18},
    {{.kind = REPLAY_MOVTODR, .length = 3, .args = {7, 0x400}}, CPU, CPU_MOV_DR_EXITING, 29, 0, 7},
    {{.kind = REPLAY_MOVFROMDR, .length = 3, .args = {6}}, CPU, CPU_MOV_DR_EXITING, 29, 0, 0x16},
    {{.kind = REPLAY_IN, .length = 1, .args = {0x3f8, 1}}, CPU, CPU_UNCONDITIONAL_IO_EXITING, 30, 0, 0x3f80008},
    {{.kind = REPLAY_OUT, .length = 1, .args = {0x80, 4, 7}}, CPU, CPU_UNCONDITIONAL_IO_EXITING, 30, 0, 0x800003},
    {{.kind = REPLAY_IN, .length = 2, .args = {0x60, 2, 9}}, CPU, CPU_UNCONDITIONAL_IO_EXITING, 30, 2u << 7, 0x600039},
    {{.kind = REPLAY_OUT, .length = 2, .args = {0x60, 1, 7, 9}}, CPU, CPU_UNCONDITIONAL_IO_EXITING, 30, 2u << 7 | 3u << 15, 0x600030},
    {{.kind = REPLAY_MWAIT, .length = 3}, CPU, CPU_MWAIT_EXITING, 36, 0, 0},
    {{.kind = REPLAY_MONITOR, .length = 3}, CPU, CPU_MONITOR_EXITING, 39, 0, 0},
    {{.kind = REPLAY_PAUSE, .length = 2}, CPU, CPU_PAUSE_EXITING, 40, 0, 0},
    {{.kind = REPLAY_LGDT, .length = 3, .args = {0x1000, 0x7f}}, CPU2, CPU2_DESCRIPTOR_TABLE_EXITING, 46, RDI_INFO | 2u << 28, 0},
    {{.kind = REPLAY_SLDT, .length = 3}, CPU2, CPU2_DESCRIPTOR_TABLE_EXITING, 47, 1u << 10, 0},
    {{.kind = REPLAY_INVEPT, .length = 5, .args = {1, 0x501e}}, NO_CONTROL, 0, 50, RDI_INFO, 0},
    {{.kind = REPLAY_INVVPID, .length = 5, .args = {1, 3, 0}}, NO_CONTROL, 0, 53, RDI_INFO, 0},
    {{.kind = REPLAY_WBINVD, .length = 2}, CPU2, CPU2_WBINVD_EXITING, 54, 0, 0},
    {{.kind = REPLAY_XSETBV, .length = 3, .args = {0, 7}}, NO_CONTROL, 0, 55, 0, 0},
    {{.kind = REPLAY_RDRAND, .length = 3}, CPU2, CPU2_RDRAND_EXITING, 57, 1u << 11, 0},
    {{.kind = REPLAY_RDSEED, .length = 3}, CPU2, CPU2_RDSEED_EXITING, 61, 1u << 11, 0},
    {{.kind = REPLAY_TASKSWITCH, .length = 2, .args = {0x48}}, NO_CONTROL, 0, 9, 0, 0x80000048},
    // clang-format on
};

static void set_control(int group, uint32_t control, bool on)
{
    static const uint32_t fields[] = {0, PIN_BASED_VM_EXEC_CONTROL, CPU_BASED_VM_EXEC_CONTROL,
                                      SECONDARY_VM_EXEC_CONTROL};

    if (group != NO_CONTROL)
        bench_control(fields[group], on ? control : 0, on ? 0 : control);
}

static struct replay_op story[3];

static void start(const struct replay_op *op)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench.uarch.vmx_cap.proc_true_allowed0 &= ~(uint64_t)(CPU_CR3_LOAD_EXITING | CPU_CR3_STORE_EXITING);
    bench_start(1);
    bench_vmx();
    story[0] = *op;
    story[1] = (struct replay_op){.kind = REPLAY_VMCALL, .length = 3};
    story[2] = (struct replay_op){.kind = REPLAY_END};
    BENCH_PROGRAM(story);
}

TEST(Exits, EachKindHasItsExactFields)
{
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];

        test_row("row %u, op %u", i, r->op.kind);
        start(&r->op);
        set_control(r->group, r->control, true);
        EXPECT_EQ(bench_run(), r->reason);
        EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), r->qualification);
        EXPECT_EQ(bench_vmread(VM_EXIT_INSTRUCTION_LEN), r->op.length);
        EXPECT_EQ(bench_vmread(VMX_INSTRUCTION_INFO), r->insn_info);
        EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000);
        EXPECT_EQ(bench_vmread(VM_EXIT_INTR_INFO), 0);
        EXPECT_EQ(bench_vmread(IDT_VECTORING_INFO_FIELD), 0);
        bench_skip();
        EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
        bench_end();
    }
}

TEST(Exits, WithoutTheControlTheInstructionJustRuns)
{
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];

        if (r->group == NO_CONTROL)
            continue;
        test_row("row %u, op %u", i, r->op.kind);
        start(&r->op);
        set_control(r->group, r->control, false);
        if (r->op.kind == REPLAY_HLT)
            pcpu_send(pcpu_current, PCPU_MSG_NMI, 0, false, 1u << 20); // Something must end the halt.
        EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
        EXPECT_EQ(bench_vmread(GUEST_RIP), 0x1000u + r->op.length);
        bench_end();
    }
}

TEST(Exits, OperandsAreWhereSiliconHasThem) // KVM's hypercall ABI; SDM vol. 2
{
    start(&(struct replay_op){.kind = REPLAY_VMCALL, .length = 3, .args = {9, 1, 2, 3, 4}});
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_gprs.r[0], 9);
    EXPECT_EQ(bench_gprs.r[3], 1);
    EXPECT_EQ(bench_gprs.r[1], 2);
    EXPECT_EQ(bench_gprs.r[2], 3);
    EXPECT_EQ(bench_gprs.r[6], 4);
    bench_end();
    start(&(struct replay_op){.kind = REPLAY_OUT, .length = 1, .args = {0x70, 1, 0x8f}});
    set_control(CPU, CPU_UNCONDITIONAL_IO_EXITING, true);
    EXPECT_EQ(bench_run(), EXIT_REASON_IO_INSTRUCTION);
    EXPECT_EQ(bench_gprs.r[2], 0x70);
    EXPECT_EQ(bench_gprs.r[0], 0x8f);
    bench_end();
    start(&(struct replay_op){.kind = REPLAY_XSETBV, .length = 3, .args = {0, 0x1200000007}});
    EXPECT_EQ(bench_run(), EXIT_REASON_XSETBV);
    EXPECT_EQ(bench_gprs.r[1], 0);
    EXPECT_EQ(bench_gprs.r[0], 7);
    EXPECT_EQ(bench_gprs.r[2], 0x12);
    bench_end();
}

TEST(Exits, RegistersThatSoftwareSetsStayForTheGuest)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_CPUID, .length = 2},
                                           {.kind = REPLAY_CPUID, .length = 2, .args = {4, 2}},
                                           {.kind = REPLAY_END}};

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(ops);
    bench_run();
    bench_gprs.r[3] = 0x1234;
    bench_gprs.cr2 = 0x777;
    bench_skip();
    bench_run();
    EXPECT_EQ(bench_gprs.r[0], 4);
    EXPECT_EQ(bench_gprs.r[1], 2);
    EXPECT_EQ(bench_gprs.r[3], 0x1234);
    EXPECT_EQ(bench_gprs.cr2, 0x777);
    bench_end();
}

// --- Bitmaps (SDM 24.6.4, 24.6.9). ---

TEST(Bitmaps, MsrEdges)
{
    static const struct {
        uint32_t msr;
        bool write;
        int32_t bit; // Of the page, -1: none can help
    } cases[] = {
        {0, false, 0},
        {0x1fff, false, 0x1fff},
        {0x2000, false, -1},
        {0xbfffffff, false, -1},
        {0xc0000000, false, 0x2000},
        {0xc0001fff, false, 0x3fff},
        {0xc0002000, false, -1},
        {0x10, true, 0x4010},
        {0x1fff, true, 0x5fff},
        {0xc0000080, true, 0x6080},
        {0xc0001fff, true, 0x7fff},
        {0x40000000, true, -1},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct replay_op op = {.kind = cases[i].write ? REPLAY_WRMSR : REPLAY_RDMSR, .length = 2};
        uint32_t reason = cases[i].write ? EXIT_REASON_MSR_WRITE : EXIT_REASON_MSR_READ;

        op.args[0] = cases[i].msr;
        test_row("row %u", i);
        start(&op);
        bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_MSR_BITMAPS, 0);
        if (cases[i].bit < 0) {
            EXPECT_EQ(bench_run(), reason); // Outside of both ranges: always.
        } else {
            memset(bench.memory + BENCH_MSR_BITMAP, 0xff, 4096);
            bench.memory[BENCH_MSR_BITMAP + cases[i].bit / 8] &= (unsigned char)~(1 << cases[i].bit % 8);
            bench_vmwrite(EXCEPTION_BITMAP, 1u << GP_VECTOR);
            EXPECT_NE(bench_run(), reason);
        }
        bench_end();
        if (cases[i].bit < 0)
            continue;
        start(&op);
        bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_MSR_BITMAPS, 0);
        bench.memory[BENCH_MSR_BITMAP + cases[i].bit / 8] = (unsigned char)(1 << cases[i].bit % 8);
        EXPECT_EQ(bench_run(), reason);
        bench_end();
    }
}

TEST(Bitmaps, IoEdges)
{
    static const struct {
        uint32_t port, size, bit_page, bit;
        bool exits;
    } cases[] = {
        {0x7fff, 1, BENCH_IO_A, 0x7fff, true}, {0x8000, 1, BENCH_IO_B, 0, true},
        {0x8000, 1, BENCH_IO_A, 0, false},     {0x7fff, 2, BENCH_IO_B, 0, true},
        {0x3f8, 4, BENCH_IO_A, 0x3fb, true},   {0x3f8, 4, BENCH_IO_A, 0x3fc, false},
        {0xffff, 1, BENCH_IO_B, 0x7fff, true}, {0xffff, 2, BENCH_IO_A, 0x100, true},
        {0xfffc, 4, BENCH_IO_A, 0, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        start(&(struct replay_op){.kind = REPLAY_IN, .length = 1, .args = {cases[i].port, cases[i].size}});
        // Use of the bitmaps overrides unconditional exiting.
        bench_control(CPU_BASED_VM_EXEC_CONTROL, CPU_USE_IO_BITMAPS | CPU_UNCONDITIONAL_IO_EXITING, 0);
        bench.memory[cases[i].bit_page + cases[i].bit / 8] = (unsigned char)(1 << cases[i].bit % 8);
        EXPECT_EQ(bench_run(), cases[i].exits ? EXIT_REASON_IO_INSTRUCTION : EXIT_REASON_VMCALL);
        bench_end();
    }
}

// --- Control registers (SDM 25.1.3, 25.3). ---

TEST(ControlRegisters, MaskAndShadowDecide)
{
    static const struct {
        uint64_t mask, shadow, value;
        bool exits;
    } cases[] = {
        {0, 0, 0x80050031, false},
        {X86_CR0_TS, 0, 0x8005003b, true},
        {X86_CR0_TS, X86_CR0_TS, 0x8005003b, false},
        {X86_CR0_TS, X86_CR0_TS, 0x80050033, true},
        {X86_CR0_WP, X86_CR0_WP, 0x80050033, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        start(&(struct replay_op){.kind = REPLAY_MOVTOCR, .length = 3, .args = {0, cases[i].value}});
        bench_vmwrite(CR0_GUEST_HOST_MASK, cases[i].mask);
        bench_vmwrite(CR0_READ_SHADOW, cases[i].shadow);
        EXPECT_EQ(bench_run(), cases[i].exits ? EXIT_REASON_CR_ACCESS : EXIT_REASON_VMCALL);
        // Owned bits keep their value, the others are written.
        if (!cases[i].exits) {
            EXPECT_EQ(bench_vmread(GUEST_CR0),
                      (cases[i].value & ~cases[i].mask) | (0x80050033 & cases[i].mask));
        }
        bench_end();
    }
}

TEST(ControlRegisters, ReadsSeeTheShadow)
{
    static const struct replay_op ops[] = {{.kind = REPLAY_MOVFROMCR, .length = 3, .args = {4}},
                                           {.kind = REPLAY_HLT, .length = 1},
                                           {.kind = REPLAY_END}};

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    BENCH_PROGRAM(ops);
    bench_vmwrite(CR4_GUEST_HOST_MASK, X86_CR4_VMXE | X86_CR4_PGE);
    bench_vmwrite(CR4_READ_SHADOW, X86_CR4_SMEP);
    EXPECT_EQ(bench_run(), EXIT_REASON_HLT);
    EXPECT_EQ(bench_gprs.r[0], 0x20); // CR4 is 20a0H: VMXE and PGE are hidden, PAE is the guest's.
    bench_end();
}

TEST(ControlRegisters, Cr3TargetsDoNotExit)
{
    start(&(struct replay_op){.kind = REPLAY_MOVTOCR, .length = 3, .args = {3, 0x9000}});
    set_control(CPU, CPU_CR3_LOAD_EXITING, true);
    bench_vmwrite(CR3_TARGET_COUNT, 2);
    bench_vmwrite(CR3_TARGET_VALUE1, 0x9000);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_CR3), 0x9000);
    bench_end();
}

TEST(ControlRegisters, ClearingTsByClts)
{
    start(&(struct replay_op){.kind = REPLAY_CLTS, .length = 2});
    bench_vmwrite(GUEST_CR0, 0x8005003b);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_CR0), 0x80050033);
    bench_end();
    start(&(struct replay_op){.kind = REPLAY_CLTS, .length = 2});
    bench_vmwrite(CR0_GUEST_HOST_MASK, X86_CR0_TS);
    bench_vmwrite(CR0_READ_SHADOW, X86_CR0_TS);
    EXPECT_EQ(bench_run(), EXIT_REASON_CR_ACCESS);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x20);
    bench_end();
}

TEST(ControlRegisters, LmswReportsItsSource)
{
    start(&(struct replay_op){.kind = REPLAY_LMSW, .length = 3, .args = {0x000b}});
    bench_vmwrite(CR0_GUEST_HOST_MASK, 0xe);
    bench_vmwrite(CR0_READ_SHADOW, 0x2);
    EXPECT_EQ(bench_run(), EXIT_REASON_CR_ACCESS);
    EXPECT_EQ(bench_vmread(EXIT_QUALIFICATION), 0x000b0030);
    bench_end();
    // It cannot clear PE, and writes only what the guest owns.
    start(&(struct replay_op){.kind = REPLAY_LMSW, .length = 3, .args = {0x0008}});
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    EXPECT_EQ(bench_vmread(GUEST_CR0), 0x80050039);
    bench_end();
}

// --- PAUSE loops (SDM 24.6.13, 25.1.3). ---

TEST(PauseLoop, ExitsWhenTheWindowIsOver)
{
    uint64_t begin, cycles;

    start(&(struct replay_op){.kind = REPLAY_PAUSE, .length = 2, .args = {100000}});
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_PAUSE_LOOP_EXITING, 0);
    bench_vmwrite(PLE_GAP, 2 * bench.uarch.op.pause_cycles);
    bench_vmwrite(PLE_WINDOW, 4096);
    begin = pcpu_current->now_ticks;
    EXPECT_EQ(bench_run(), EXIT_REASON_PAUSE_INSTRUCTION);
    cycles = (pcpu_current->now_ticks - begin) / TICKS_PER_CYCLE - bench.uarch.vmx.entry_cycles -
             bench.uarch.vmx.exit_cycles;
    EXPECT_GT(cycles, 4096);
    EXPECT_LE(cycles, 4096 + 3 * bench.uarch.op.pause_cycles + bench.uarch.vmx.launch_extra_cycles +
                          2 * bench.uarch.vmx.no_vpid_cycles);
    bench_end();
}

TEST(PauseLoop, LongerPausesThanTheGapAreNoLoop)
{
    start(&(struct replay_op){.kind = REPLAY_PAUSE, .length = 2, .args = {1000}});
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_PAUSE_LOOP_EXITING, 0);
    bench_vmwrite(PLE_GAP, bench.uarch.op.pause_cycles / 2);
    bench_vmwrite(PLE_WINDOW, 1);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMCALL);
    bench_end();
}

// --- Shadow VMCS (SDM 24.10, 25.1.3). ---

TEST(ShadowVmcs, ClearBitsReadAndWriteWithoutExit)
{
    static const struct replay_op ops[] = {
        {.kind = REPLAY_VMWRITE, .length = 4, .args = {GUEST_RSP, 0x1234}},
        {.kind = REPLAY_BRANCH, .args = {GUEST_RSP, 0xffff, 0x1234, 3}},
        {.kind = REPLAY_HLT, .length = 1},
        {.kind = REPLAY_VMREAD, .length = 4, .args = {EXIT_QUALIFICATION}},
        {.kind = REPLAY_END},
    };

    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(1);
    bench_vmx();
    bench_set64(BENCH_VMCS2, bench.uarch.vmx_cap.revision | 1u << 31);
    bench_control(SECONDARY_VM_EXEC_CONTROL, CPU2_VMCS_SHADOWING, 0);
    bench_vmwrite(VMCS_LINK_POINTER, BENCH_VMCS2);
    bench.memory[BENCH_VMREAD_BITMAP + (EXIT_QUALIFICATION & 0x7fff) / 8] = 1 << (EXIT_QUALIFICATION % 8);
    BENCH_PROGRAM(ops);
    EXPECT_EQ(bench_run(), EXIT_REASON_VMREAD); // The branch was taken: HLT was not met.
    EXPECT_EQ(bench_gprs.r[2], EXIT_QUALIFICATION);
    EXPECT_EQ(bench_gprs.r[0], 0x1234);
    bench_end();
}
