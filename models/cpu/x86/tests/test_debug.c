// SPDX-License-Identifier: Apache-2.0
// Debug exceptions, software events, and the end of an instruction of machine code
// (SDM 17.2, 17.3, 6.9, 25.2, 25.5.2).
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/tests/insn_bench.h"
#include "tests/shim/shim.h"

#define DR7(n, rw, len)                                                                                      \
    (X86_DR7_L(n) | (uint64_t)(rw) << X86_DR7_RW_SHIFT(n) | (uint64_t)(len) << X86_DR7_LEN_SHIFT(n))
enum { EXECUTE, WRITE, IO, READ_WRITE };
enum { ONE, TWO, EIGHT, FOUR };

// The outcome of a look at the boundary.
static uint32_t boundary(void)
{
    return insn_outcome(vmx_boundary(pcpu_current) ? INSN_EXIT : INSN_DONE);
}

TEST(Debug, BreakpointsOnDataByKindAndLength) // SDM 17.2.4, 17.2.5
{
    static const struct {
        const char *name;
        uint64_t dr7, address, at;
        unsigned size;
        bool write;
        uint64_t info;
    } rows[] = {
        {"write", DR7(0, WRITE, FOUR), 0x1000, 0x1003, 1, true, 1},
        {"write, a read", DR7(0, WRITE, FOUR), 0x1000, 0x1003, 1, false, 0},
        {"read or write, a read", DR7(1, READ_WRITE, ONE), 0x1000, 0xffd, 4, false, 2},
        {"just below", DR7(1, READ_WRITE, ONE), 0x1000, 0xffc, 4, true, 0},
        {"just behind", DR7(0, WRITE, TWO), 0x1000, 0x1002, 4, true, 0},
        {"low bits are ignored", DR7(2, WRITE, EIGHT), 0x1007, 0x1000, 1, true, 4},
        {"not enabled", DR7(0, WRITE, FOUR) & ~3ull, 0x1000, 0x1000, 4, true, 0},
        {"execution", DR7(0, EXECUTE, ONE), 0x1000, 0x1000, 1, true, 0},
        {"port", DR7(0, IO, ONE), 0x1000, 0x1000, 1, true, 0},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct x86_state *s;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        s = pcpu_current->x86;
        for (unsigned n = 0; n < 4; n++)
            s->dr[n] = rows[i].address;
        s->dr[7] = rows[i].dr7;
        debug_data(pcpu_current, rows[i].at, rows[i].size, rows[i].write);
        EXPECT_EQ(boundary(), rows[i].info ? RAISED(DB_VECTOR) : GONE_ON);
        EXPECT_EQ(s->vmx.exit.qualification, rows[i].info);
        EXPECT_EQ(s->dr[6], X86_DR6_RESET); // The exit leaves it alone (SDM 27.1).
        bench_end();
    }
    test_row(NULL);
}

TEST(Debug, BreakpointsOnPortsNeedDe) // SDM 17.2.4
{
    ASSERT_TRUE(insn_start());
    pcpu_current->x86->dr[3] = 0x80;
    pcpu_current->x86->dr[7] = DR7(3, IO, ONE);
    EXPECT_EQ(insn_out(pcpu_current, 2, 0x80, 1, true), INSN_DONE);
    EXPECT_EQ(boundary(), GONE_ON);
    pcpu_current->x86->cr[4] |= X86_CR4_DE;
    EXPECT_EQ(insn_out(pcpu_current, 2, 0x80, 1, true), INSN_DONE);
    EXPECT_EQ(boundary(), RAISED(DB_VECTOR));
    EXPECT_EQ(insn_vmx()->exit.qualification, 8);
    bench_end();
}

TEST(Debug, BreakpointOnAnInstructionIsAFaultThatRfHides) // SDM 17.3.1.1
{
    struct x86_state *s;

    ASSERT_TRUE(insn_start());
    s = pcpu_current->x86;
    s->dr[0] = s->dr[1] = INSN_CODE;
    s->dr[7] = DR7(0, EXECUTE, ONE) | DR7(1, EXECUTE, ONE);
    EXPECT_EQ(boundary(), RAISED(DB_VECTOR));
    EXPECT_EQ(s->vmx.exit.qualification, 3);
    s->vmx.rflags |= X86_RFLAGS_RF;
    EXPECT_EQ(boundary(), GONE_ON);
    EXPECT_FALSE(vmx_retired(pcpu_current, 0, s->vmx.rflags, false));
    EXPECT_EQ(s->vmx.rflags & X86_RFLAGS_RF, 0);
    EXPECT_EQ(boundary(), RAISED(DB_VECTOR));
    s->vmx.blocking = INTERRUPTIBILITY_MOV_SS;
    EXPECT_EQ(boundary(), GONE_ON);
    s->vmx.blocking = 0;
    s->vmx.rip++;
    EXPECT_EQ(boundary(), GONE_ON);
    insn_mode(MODE_32, 0);
    s->vmx.seg[SEG_CS].base = 1;
    s->vmx.rip = INSN_CODE - 1;
    EXPECT_EQ(boundary(), RAISED(DB_VECTOR));
    bench_end();
}

TEST(Debug, SingleStepFollowsTheInstructionThatBeganWithTf) // SDM 17.3.1.4, 17.4.3
{
    static const struct {
        const char *name;
        uint64_t before, debugctl;
        bool branched;
        uint32_t outcome;
    } rows[] = {
        {"TF", X86_RFLAGS_TF, 0, false, RAISED(DB_VECTOR)},
        {"no TF", 0, 0, true, GONE_ON},
        {"BTF, no branch", X86_RFLAGS_TF, DEBUGCTL_BTF, false, GONE_ON},
        {"BTF, a branch", X86_RFLAGS_TF, DEBUGCTL_BTF, true, RAISED(DB_VECTOR)},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        MSR_VALUE(pcpu_current, IA32_DEBUGCTL) = rows[i].debugctl;
        EXPECT_FALSE(vmx_retired(pcpu_current, 0, rows[i].before, rows[i].branched));
        EXPECT_EQ(boundary(), rows[i].outcome);
        EXPECT_EQ(insn_vmx()->exit.qualification, rows[i].outcome ? DEBUG_INFO_BS : 0);
        bench_end();
    }
    test_row(NULL);
}

TEST(Debug, SyscallThatMasksTfIsNotFollowedByAStep) // SDM vol. 2, SYSCALL
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    MSR_VALUE(pcpu_current, IA32_FMASK) = X86_RFLAGS_TF;
    v->rflags |= X86_RFLAGS_TF;
    EXPECT_EQ(insn_syscall(pcpu_current, 2), INSN_BRANCH);
    EXPECT_FALSE(vmx_retired(pcpu_current, 0, v->rflags | X86_RFLAGS_TF, true));
    EXPECT_EQ(boundary(), GONE_ON);
    EXPECT_FALSE(vmx_retired(pcpu_current, 0, X86_RFLAGS_TF, false));
    EXPECT_EQ(boundary(), RAISED(DB_VECTOR));
    bench_end();
}

TEST(Debug, MovSsHoldsTrapsForOneInstruction) // SDM 6.8.3
{
    struct vmx *v;

    ASSERT_TRUE(insn_start());
    v = insn_vmx();
    v->blocking = INTERRUPTIBILITY_MOV_SS; // As the load of SS, stepped and with a breakpoint, leaves it.
    v->pending_debug = DEBUG_INFO_B(0) | DEBUG_INFO_ENABLED_BREAKPOINT | DEBUG_INFO_BS;
    EXPECT_EQ(boundary(), GONE_ON);
    EXPECT_FALSE(vmx_retired(pcpu_current, INTERRUPTIBILITY_MOV_SS, 0, false));
    EXPECT_EQ(v->blocking, 0);
    EXPECT_EQ(boundary(), RAISED(DB_VECTOR));
    EXPECT_EQ(v->exit.qualification, DEBUG_INFO_B(0) | DEBUG_INFO_BS);
    bench_end();
}

TEST(Debug, DeliveriesTakeTrapsWithThemButNotIntBehindMovSs) // SDM 26.6.3
{
    static const struct {
        const char *name;
        uint32_t type, blocking;
        bool dropped;
    } rows[] = {
        {"exception", INTR_TYPE_HARD_EXCEPTION | UD_VECTOR, INTERRUPTIBILITY_MOV_SS, true},
        {"INT1", INTR_TYPE_PRIV_SOFT_EXCEPTION | DB_VECTOR, INTERRUPTIBILITY_MOV_SS, true},
        {"INT3", INTR_TYPE_SOFT_EXCEPTION | BP_VECTOR, INTERRUPTIBILITY_MOV_SS, false},
        {"INT n", INTR_TYPE_SOFT_INTERRUPT | 0x80, INTERRUPTIBILITY_MOV_SS, false},
        {"INT n, no shadow", INTR_TYPE_SOFT_INTERRUPT | 0x80, 0, true},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vmx *v;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        v = insn_vmx();
        v->blocking = rows[i].blocking;
        v->pending_debug = DEBUG_INFO_B(0) | DEBUG_INFO_ENABLED_BREAKPOINT;
        vmx_deliver(pcpu_current, INTR_INFO_VALID | rows[i].type, 0, 1);
        EXPECT_EQ(v->pending_debug == 0, rows[i].dropped);
        bench_end();
    }
    test_row(NULL);
}

TEST(Debug, BreakpointsThatMovSetsHoldForTheNextInstruction) // SDM 17.3.1.1
{
    ASSERT_TRUE(insn_start());
    EXPECT_FALSE(insn_vmx()->behind);
    EXPECT_EQ(insn_mov_to_dr(pcpu_current, 3, 7, RBX), INSN_DONE);
    EXPECT_TRUE(insn_vmx()->behind);
    bench_end();
}

TEST(Debug, GeneralDetectProtectsTheRegisters) // SDM 17.2.4, 17.3.1.3
{
    struct x86_state *s;

    ASSERT_TRUE(insn_start());
    s = pcpu_current->x86;
    s->dr[7] |= X86_DR7_GD;
    EXPECT_EQ(insn_outcome(insn_mov_from_dr(pcpu_current, 3, 0, RBX)), RAISED(DB_VECTOR));
    EXPECT_EQ(s->vmx.exit.qualification, DEBUG_INFO_BD);
    EXPECT_TRUE(s->dr[7] & X86_DR7_GD); // Only delivery clears it.
    s->dr[6] |= 0xf;
    MSR_VALUE(pcpu_current, IA32_DEBUGCTL) = DEBUGCTL_BTF | DEBUGCTL_LBR;
    debug_delivered(pcpu_current, DEBUG_INFO_BD);
    EXPECT_FALSE(s->dr[7] & X86_DR7_GD);
    EXPECT_EQ(s->dr[6], X86_DR6_RESET | X86_DR6_BD);
    EXPECT_EQ(MSR_VALUE(pcpu_current, IA32_DEBUGCTL), 0);
    bench_end();
}

TEST(Debug, MonitorTrapFlagFollowsEachInstruction) // SDM 25.5.2
{
    ASSERT_TRUE(insn_start_with((struct insn_controls){CPU_MONITOR_TRAP_FLAG, 0}));
    EXPECT_EQ(boundary(), GONE_ON);
    EXPECT_FALSE(vmx_retired(pcpu_current, 0, 0, false));
    EXPECT_EQ(boundary(), EXITED(EXIT_REASON_MONITOR_TRAP_FLAG));
    bench_end();
}

// --- Software events. ---

struct software_row {
    const char *name;
    enum insn_result (*call)(struct pcpu *c, unsigned length);
    uint32_t info;
};

TEST(Software, ExceptionsExitWithTypeAndLength) // SDM 24.9.2, 25.2, 27.2.5
{
    static const struct software_row rows[] = {{"INT3", insn_int3, 0x80000603},
                                               {"INTO", insn_into, 0x80000604},
                                               {"INT1", insn_int1, 0x80000501},
                                               {"UD2", insn_ud, 0x80000306},
                                               {"BOUND", insn_bound_fault, 0x80000305}};

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct vmexit *x;

        test_row("%s", rows[i].name);
        ASSERT_TRUE(insn_start());
        insn_mode(MODE_32, 0);
        insn_vmx()->rflags |= X86_RFLAGS_OF;
        EXPECT_EQ(rows[i].call(pcpu_current, 2), INSN_EXIT);
        x = &insn_vmx()->exit;
        EXPECT_EQ(x->reason, EXIT_REASON_EXCEPTION_NMI);
        EXPECT_EQ(x->intr_info, rows[i].info);
        EXPECT_EQ(x->insn_length, (rows[i].info & INTR_INFO_TYPE_MASK) == INTR_TYPE_HARD_EXCEPTION ? 0 : 2);
        EXPECT_EQ(x->qualification, 0);
        bench_end();
    }
    test_row(NULL);
}

TEST(Software, InterruptsAreNoExceptions) // SDM 25.2, 27.2.4
{
    const struct vmexit *x;

    ASSERT_TRUE(insn_start());
    // The exit is that of the gate beyond the IDT's limit.
    EXPECT_EQ(insn_outcome(insn_int(pcpu_current, 2, 0x80)), RAISED(GP_VECTOR));
    x = &insn_vmx()->exit;
    EXPECT_EQ(x->intr_error, 0x80 << 3 | X86_ERROR_IDT);
    EXPECT_EQ(x->idt_info, INTR_INFO_VALID | INTR_TYPE_SOFT_INTERRUPT | 0x80);
    EXPECT_EQ(x->insn_length, 2);
    bench_end();
}

TEST(Software, IntInVirtual8086ModeIsIoplSensitive) // SDM 20.2.7, table 20-2
{
    ASSERT_TRUE(insn_start());
    insn_mode(MODE_V86, 3);
    EXPECT_EQ(insn_outcome(insn_int(pcpu_current, 2, 0x21)), RAISED(GP_VECTOR));
    EXPECT_EQ(insn_vmx()->exit.idt_info, 0); // INT n itself faults.
    EXPECT_EQ(insn_vmx()->exit.intr_error, 0);
    insn_vmx()->rflags |= X86_RFLAGS_IOPL;
    EXPECT_EQ(insn_outcome(insn_int(pcpu_current, 2, 0x21)), RAISED(GP_VECTOR));
    EXPECT_EQ(insn_vmx()->exit.idt_info, INTR_INFO_VALID | INTR_TYPE_SOFT_INTERRUPT | 0x21);
    bench_end();
}
