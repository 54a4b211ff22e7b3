// SPDX-License-Identifier: Apache-2.0
// MSRs, CPUID, control and debug registers of root mode: reserved bits, access, costs (SDM vol.
// 4; 2.5; 17.2).
#include "models/cpu/x86/tests/fake_pcpu.h"
#include "spec/console_input.h"
#include "tests/shim/shim.h"
#include <string.h>

static void start(void)
{
    ASSERT_TRUE(bench_load("skylake-sp"));
    bench_start(2);
}

TEST(Msrs, AccessAndReservedBits)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
        bool reads, writes;
    } cases[] = {
        {MSR_IA32_EFER, 0xd01, true, true},
        {MSR_IA32_EFER, 0xd03, true, false},
        {MSR_IA32_EFER, 0x001, true, false}, // LME cannot be cleared with paging on
        {MSR_IA32_PAT, 0x0007040600070406, true, true},
        {MSR_IA32_PAT, 2, true, false},
        {MSR_IA32_LSTAR, 0x00007fffffffffff, true, true},
        {MSR_IA32_LSTAR, 0x0000800000000000, true, false},
        {MSR_IA32_FMASK, 1ull << 32, true, false},
        {MSR_IA32_MTRRCAP, 0, true, false},
        {MSR_IA32_VMX_BASIC, 0, true, false},
        {MSR_IA32_VMX_PROCBASED_CTLS3, 0, false, false},
        {MSR_IA32_FEATURE_CONTROL, 5, true, false}, // Locked
        {MSR_IA32_PRED_CMD, 1, false, true},
        {MSR_IA32_MC0_STATUS, 0, true, true},
        {MSR_IA32_MC0_STATUS, 1, true, false},
        {MSR_IA32_MTRR_DEF_TYPE, 0xc02, true, false},
        {0x12345678, 0, false, false},
        {MSR_IA32_PKRS, 0, false, false},
        {MSR_IA32_TSC_AUX, 1ull << 32, true, false},
        {MSR_IA32_SYSENTER_CS, 1ull << 32, true, false},
        {PV_MSR_KVM_STEAL_TIME, 0, false, false},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value;

        test_row("row %u, MSR %#x", i, cases[i].msr);
        start();
        EXPECT_EQ(hw_rdmsr(cases[i].msr, &value), cases[i].reads ? HW_DONE : HW_FAULT_GP);
        EXPECT_EQ(hw_wrmsr(cases[i].msr, cases[i].value), cases[i].writes ? HW_DONE : HW_FAULT_GP);
        bench_end();
    }
}

TEST(Msrs, RowsWithoutTheirCpuidBitDoNotExist)
{
    uint64_t value;

    ASSERT_TRUE(bench_load("sandybridge-ep"));
    bench_start(1);
    EXPECT_EQ(hw_rdmsr(MSR_IA32_TSC_ADJUST, &value), HW_FAULT_GP); // Leaf 7 EBX[1] is clear.
    EXPECT_EQ(hw_rdmsr(MSR_IA32_XSS, &value), HW_FAULT_GP);
    EXPECT_EQ(hw_rdmsr(MSR_IA32_TSC_DEADLINE, &value), HW_DONE);
    bench_end();
}

TEST(Msrs, LmaIsNotWritable)
{
    uint64_t value;

    start();
    EXPECT_EQ(hw_wrmsr(MSR_IA32_EFER, 0x901), HW_DONE);
    EXPECT_EQ(hw_rdmsr(MSR_IA32_EFER, &value), HW_DONE);
    EXPECT_EQ(value, 0xd01);
    bench_end();
}

TEST(Msrs, EachInstructionCostsExactlyItsCycles)
{
    uint64_t begin, value;

    start();
    begin = pcpu_current->now_ticks;
    hw_rdmsr(MSR_IA32_EFER, &value);
    EXPECT_EQ(pcpu_current->now_ticks - begin, bench.uarch.op.rdmsr_cycles * TICKS_PER_CYCLE);
    begin = pcpu_current->now_ticks;
    hw_wrmsr(MSR_IA32_TSC_DEADLINE, 0);
    EXPECT_EQ(pcpu_current->now_ticks - begin, bench.uarch.op.wrmsr_deadline_cycles * TICKS_PER_CYCLE);
    begin = pcpu_current->now_ticks;
    hw_rdtsc();
    EXPECT_EQ(pcpu_current->now_ticks - begin, bench.uarch.op.rdtsc_cycles * TICKS_PER_CYCLE);
    bench_end();
}

TEST(Cpuid, DynamicBits) // SDM vol. 2, CPUID
{
    struct hw_cpuid_regs r;

    start();
    pcpu_set_current(&bench.cpus[1]);
    EXPECT_EQ(hw_write_cr(4, hw_read_cr(4) & ~X86_CR4_OSXSAVE), HW_DONE); // Firmware has set it.
    hw_cpuid(1, 0, &r);
    EXPECT_EQ(r.ebx >> 24, 1);
    EXPECT_EQ(r.ecx & (1u << 27), 0);
    EXPECT_EQ(hw_write_cr(4, hw_read_cr(4) | X86_CR4_OSXSAVE), HW_DONE);
    hw_cpuid(1, 0, &r);
    EXPECT_EQ(r.ecx & (1u << 27), 1u << 27);
    hw_cpuid(11, 0, &r);
    EXPECT_EQ(r.edx, 1);
    EXPECT_EQ(hw_xsetbv(0, 1), HW_DONE);
    hw_cpuid(13, 0, &r);
    EXPECT_EQ(r.ebx, 576);
    EXPECT_EQ(hw_xsetbv(0, 7), HW_DONE);
    hw_cpuid(13, 0, &r);
    EXPECT_EQ(r.ebx, 832); // AVX: 256 bytes at 576.
    bench_end();
}

TEST(Cpuid, BeyondTheMaximumIsTheHighestBasicLeaf)
{
    struct hw_cpuid_regs r, highest;

    start();
    hw_cpuid(0, 0, &r);
    hw_cpuid(r.eax, 0, &highest);
    hw_cpuid(0x40000000, 0, &r);
    EXPECT_EQ(r.eax, highest.eax);
    EXPECT_EQ(r.ebx, highest.ebx);
    bench_end();
}

TEST(ControlRegisters, ReservedBitsFault)
{
    static const struct {
        unsigned n;
        uint64_t value;
        enum hw_fault result;
    } cases[] = {
        {0, 0x80050033, HW_DONE},
        {0, 1ull << 32, HW_FAULT_GP},
        {0, 0x80050032, HW_FAULT_GP},
        {0, 0xa0050033, HW_FAULT_GP},
        {0, 0x00050033, HW_FAULT_GP},
        {3, 1ull << 46, HW_FAULT_GP},
        {4, 0x20, HW_DONE},
        {4, 0, HW_FAULT_GP},
        {4, 1ull << 24 | 0x20, HW_FAULT_GP},
        {8, 0xf, HW_DONE},
        {8, 0x10, HW_FAULT_GP},
        {1, 0, HW_FAULT_UD},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_row("row %u", i);
        start();
        EXPECT_EQ(hw_write_cr(cases[i].n, cases[i].value), cases[i].result);
        if (cases[i].result == HW_DONE) {
            EXPECT_EQ(hw_read_cr(cases[i].n), cases[i].value);
        }
        bench_end();
    }
}

TEST(ControlRegisters, FixedBitsInVmxOperation) // SDM 23.8
{
    start();
    bench_vmx();
    EXPECT_EQ(hw_write_cr(4, hw_read_cr(4) & ~X86_CR4_VMXE), HW_FAULT_GP);
    EXPECT_EQ(hw_write_cr(0, hw_read_cr(0) & ~X86_CR0_NE), HW_FAULT_GP);
    EXPECT_EQ(hw_vmxoff(), HW_VMX_OK);
    EXPECT_EQ(hw_write_cr(4, hw_read_cr(4) & ~X86_CR4_VMXE), HW_DONE);
    bench_end();
}

TEST(DebugRegisters, FixedBitsAndAliases) // SDM 17.2.2 to 17.2.4
{
    start();
    EXPECT_EQ(hw_write_dr(7, 0), HW_DONE);
    EXPECT_EQ(hw_read_dr(7), 0x400);
    EXPECT_EQ(hw_write_dr(6, 0), HW_DONE);
    EXPECT_EQ(hw_read_dr(6), 0xfffe0ff0);
    EXPECT_EQ(hw_write_dr(7, 1ull << 32), HW_FAULT_GP);
    EXPECT_EQ(hw_write_dr(5, 0x401), HW_DONE);
    EXPECT_EQ(hw_read_dr(7), 0x401);
    EXPECT_EQ(hw_write_cr(4, hw_read_cr(4) | X86_CR4_DE), HW_DONE);
    EXPECT_EQ(hw_write_dr(4, 0), HW_FAULT_UD);
    bench_end();
}

TEST(Ports, NobodyThereReadsAllOnes)
{
    start();
    EXPECT_EQ(hw_in(0x3f8, 1), 0xff);
    EXPECT_EQ(hw_in(0x3f8, 2), 0xffff);
    EXPECT_EQ(hw_in(0x3f8, 4), 0xffffffff);
    bench_end();
}

static unsigned switched_off;
static void power_off(struct machine *m, uint32_t host)
{
    EXPECT_EQ(host, 0);
    (void)m;
    switched_off++;
}

TEST(Ports, PowerButton)
{
    start();
    bench.machine.power_off = power_off;
    switched_off = 0;
    hw_out(0x604, 1, 0x20);
    hw_out(0x604, 2, 0x1000);
    EXPECT_EQ(switched_off, 0);
    hw_out(0x604, 2, 0x2000);
    EXPECT_EQ(switched_off, 1);
    bench_end();
}

static struct {
    uint32_t vm, code;
    enum guest_end how;
    char text[8];
    unsigned length;
} board;
static void board_console_byte(struct machine *m, uint32_t vm, uint8_t byte)
{
    (void)m;
    board.vm = vm;
    board.text[board.length++] = (char)byte;
}
static void board_guest_end(struct machine *m, uint32_t vm, enum guest_end how, uint32_t code)
{
    (void)m;
    board.vm = vm;
    board.how = how;
    board.code = code;
}

// hv/hw/board.h: a byte of a VM's console, the end of its guest; of no other width.
TEST(Ports, BoardShowsConsoleAndEnd)
{
    start();
    memset(&board, 0, sizeof board);
    hw_out(BOARD_PORT_CONSOLE, 4, board_console(7, 'x')); // Nobody looks.
    bench.machine.console = board_console_byte;
    bench.machine.guest_end = board_guest_end;
    hw_out(BOARD_PORT_CONSOLE, 1, 'y');
    hw_out(BOARD_PORT_CONSOLE, 4, board_console(300, 0xe4));
    EXPECT_EQ(board.length, 1);
    EXPECT_EQ(board.vm, 300);
    EXPECT_EQ(board.text[0], (char)0xe4);
    hw_out(BOARD_PORT_END, 4, board_end(9, GUEST_END_EXIT, 0x1234));
    EXPECT_EQ(board.vm, 9);
    EXPECT_EQ(board.how, GUEST_END_EXIT);
    EXPECT_EQ(board.code, 0x1234);
    hw_out(BOARD_PORT_END, 4, board_end(9, GUEST_END_EXIT, 0x123456789ull));
    EXPECT_EQ(board.code, 0xffff);
    bench_end();
}

static uint32_t board_typed(struct machine *m, uint32_t vm)
{
    (void)m;
    return console_input_word((u8)('a' + vm), 10, 300);
}

// hv/hw/board.h: each VM has its port, of one width; what nobody answers is all ones.
TEST(Ports, BoardReadsWhatIsTyped)
{
    start();
    EXPECT_EQ(hw_in(BOARD_PORT_INPUT, 4), CONSOLE_INPUT_NONE); // Nobody is there.
    bench.machine.console_input = board_typed;
    EXPECT_EQ(hw_in(BOARD_PORT_INPUT, 4), 'a' | 10u << 8 | 300u << 16);
    EXPECT_EQ(hw_in(BOARD_PORT_INPUT + 4 * 15, 4), 'p' | 10u << 8 | 300u << 16);
    EXPECT_EQ(hw_in(BOARD_PORT_INPUT + 4 * 16, 4), UINT32_MAX);
    EXPECT_EQ(hw_in(BOARD_PORT_INPUT + 1, 4), UINT32_MAX);
    EXPECT_EQ(hw_in(BOARD_PORT_INPUT, 1), 0xff);
    EXPECT_EQ(hw_in(BOARD_PORT_CONSOLE, 4), UINT32_MAX);
    bench_end();
}

TEST(Interrupts, FlagAndHalt)
{
    start();
    hw_cli();
    EXPECT_FALSE(hw_irqs_enabled());
    hw_sti();
    EXPECT_TRUE(hw_irqs_enabled());
    hw_wrgsbase(0x1234);
    EXPECT_EQ(hw_rdgsbase(), 0x1234);
    bench_end();
}
