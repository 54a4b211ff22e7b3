// SPDX-License-Identifier: Apache-2.0
// A guest that the processor cannot run (no "unrestricted guest"): real mode, the way to protected mode and
// to paging, events on the way. The program is in this file; the fake processor runs it from the moment that
// its state is one that VM entry takes (SDM 26.3.1).
#include "hv/x86/tests/emulate_fixture.h"
#include <string.h>

// Linear and physical 0x20000 (G_CODE), as segment 0x2000; data in segment 0x3000 (G_DATA).
extern const u8 real_program[], real_program_end[], real_handler[], real_wait[], real_paged[], real_gdtr[];
__asm__(
    ".pushsection .rodata\n"
    ".code16\n"
    "real_program:\n"
    "  movw $0x3000, %ax\n  movw %ax, %ds\n  movw %ax, %es\n"
    "  movw $10, %cx\n  xorw %ax, %ax\n"
    "1: addw %cx, %ax\n  loop 1b\n"
    "  movw %ax, 0x10\n"
    "  pushw %ds\n  xorw %bx, %bx\n  movw %bx, %ds\n" // Vector 21h.
    "  movw $(real_handler - real_program), 0x84\n  movw %cs, %bx\n  movw %bx, 0x86\n  popw %ds\n"
    "  int $0x21\n"
    "  movb $0x5a, %al\n  outb %al, $0x80\n"
    "  inb $0x60, %al\n  movb %al, 0x14\n"
    "  movw $0x10, %si\n  movw $0x20, %di\n  movw $2, %cx\n  cld\n  rep movsw\n"
    "  movw $0x30, %di\n  movw $3, %cx\n  movw $0x1f0, %dx\n  rep insw\n"
    "  pushfl\n  popl %ecx\n  pushaw\n  movw $0, %cx\n  popaw\n  movw %cx, 0x40\n"
    "  enter $4, $2\n  leave\n"
    "  cli\n  lgdtl %cs:(real_gdtr - real_program)\n"
    "  movl %cr0, %eax\n  orb $1, %al\n  movl %eax, %cr0\n"
    "  ljmpl $8, $(0x20000 + real_protected - real_program)\n"
    "real_handler:\n  incw 0x12\n  iret\n"
    "real_wait:\n"
    "  movw $0x3000, %ax\n  movw %ax, %ds\n"
    "  xorw %bx, %bx\n  movw %bx, %es\n"
    "  movw $(real_handler - real_program), %es:0x84\n  movw %cs, %es:0x86\n"
    "  sti\n"
    "1: cmpw $0, 0x12\n  je 1b\n"
    "  outb %al, $0x81\n"
    "  hlt\n"
    ".align 4\n"
    "real_gdtr:\n  .word 0x1f\n  .long 0x1000\n"
    ".code32\n"
    "real_protected:\n"
    "  movw $0x10, %ax\n  movw %ax, %ds\n  movw %ax, %es\n  movw %ax, %ss\n  movw %ax, %fs\n  movw %ax, %gs\n"
    "  movl $0x40000, %esp\n"
    "  pushl $0x12345678\n  popl 0x30050\n"
    "  call 1f\n"
    "  int $0x30\n"
    "  movl $0x83, 0x60000\n" // 4 MiB, mapped to itself.
    "  movl %cr4, %eax\n  orl $0x10, %eax\n  movl %eax, %cr4\n"
    "  movl $0x60000, %eax\n  movl %eax, %cr3\n"
    "  movl %cr0, %eax\n  orl $0x80000000, %eax\n  movl %eax, %cr0\n"
    "real_paged:\n  hlt\n"
    "1: movl $7, %ecx\n  bts %ecx, 0x30054\n  ret\n"
    "real_program_end:\n"
    ".code64\n"
    ".popsection\n");

static struct knobs without;

static void load_program(void)
{
    const u64 gdt[4] = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0};
    // Vector 30h: interrupt gate of 32 bits to an IRET.
    const u64 gate = 0x8e00ull << 32 | 8ull << 16 | 0x8000;

    guest_setup(GUEST_REAL);
    script_guest(NULL, 0); // A guest that is entered ends at once.
    t.v->cr4_reserved &= ~X86_CR4_PSE;
    guest_store(G_CODE, real_program, (unsigned)(real_program_end - real_program));
    guest_store(G_GDT, gdt, sizeof(gdt));
    guest_store(0x30 * 8, &gate, 8);
    guest_store(0x8000, "\xff\x05\x58\x00\x03\x00\xcf", 7); // incl 0x30058; iret
}

// What user space does for it. False: the run ended otherwise.
static bool answer_port(void)
{
    u8 *data = (u8 *)t.run + HV_RUN_IO_DATA_OFFSET;

    if (t.run->exit_reason != HV_EXIT_IO)
        return false;
    m.accesses[m.access_count++] = (struct device_access){.write = t.run->io.direction == HV_IO_OUT,
                                                          .at = t.run->io.port,
                                                          .len = t.run->io.size * t.run->io.count,
                                                          .value = *data};
    for (u32 i = 0; i < t.run->io.size * t.run->io.count && t.run->io.direction == HV_IO_IN; i++)
        data[i] = (u8)(0x70 + i);
    return true;
}

static void run_program(void)
{
    do
        EXPECT_EQ(run_vm(), 0);
    while (answer_port());
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_REGS, m.regs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_GET_SREGS, m.sregs), 0);
}

static void to_paging(void)
{
    load_program();
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, m.sregs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, m.regs), 0);
    run_program();
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(guest_entries(), 1); // Not before paging is on.
    EXPECT_EQ(m.regs->rip, G_CODE + (u64)(real_paged - real_program));
    EXPECT_EQ(m.sregs->cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE | X86_CR0_PG);
    EXPECT_EQ(m.sregs->cs.selector, 8);
    EXPECT_TRUE(m.sregs->cs.db);
    EXPECT_EQ(m.sregs->ss.selector, 0x10);
    EXPECT_EQ(m.regs->rsp, 0x40000);
    EXPECT_EQ(guest_load(G_DATA + 0x10, 2), 55); // 10 + 9 + ...
    EXPECT_EQ(guest_load(G_DATA + 0x12, 2), 1);  // INT 21h.
    EXPECT_EQ(guest_load(G_DATA + 0x14, 1), 0x70);
    EXPECT_EQ(guest_load(G_DATA + 0x20, 4), 55 | 1 << 16);
    EXPECT_EQ(guest_load(G_DATA + 0x30, 6), 0x757473727170);
    EXPECT_EQ(guest_load(G_DATA + 0x40, 2), 0x46); // ZF and PF in CX, over PUSHA and POPA.
    EXPECT_EQ(guest_load(G_DATA + 0x50, 4), 0x12345678);
    EXPECT_EQ(guest_load(G_DATA + 0x54, 1), 0x80);
    EXPECT_EQ(guest_load(G_DATA + 0x58, 1), 1); // INT 30h through the gate.
    EXPECT_EQ(m.access_count, 3);
    EXPECT_EQ(m.accesses[0].at, 0x80);
    EXPECT_EQ(m.accesses[0].value, 0x5a);
    EXPECT_EQ(m.accesses[1].at, 0x60);
    EXPECT_EQ(m.accesses[2].len, 6); // REP INSW in one exit.
    // What the hardware has is what VM entry without "unrestricted guest" asks for.
    EXPECT_FALSE(fake_vmcs_read(SECONDARY_VM_EXEC_CONTROL) & CPU2_UNRESTRICTED_GUEST);
    EXPECT_EQ(fake_vmcs_read(GUEST_CR0) & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE | X86_CR0_PG);
}
TEST(RealMode, IsEmulatedUntilPagingIsOn)
{
    knobs_defaults(&without);
    without.v[KNOB_VMX_UNRESTRICTED_GUEST] = 0;
    EXPECT_EQ(with_vm(&(struct test_vm_options){.knobs = &without}, to_paging), 0);
}

static void interrupted(void)
{
    load_program();
    m.regs->rip = (u64)(real_wait - real_program);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, m.sregs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, m.regs), 0);
    EXPECT_EQ(hv_ioctl(t.vcpu, HV_INTERRUPT, 0x21), 0); // IF is clear: it waits.
    run_program();
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_HLT);
    EXPECT_EQ(guest_entries(), 0);
    EXPECT_EQ(guest_load(G_DATA + 0x12, 2), 1);
    EXPECT_EQ(m.access_count, 1);
    EXPECT_EQ(m.accesses[0].at, 0x81);
    EXPECT_TRUE(m.regs->rflags & X86_RFLAGS_IF);
    EXPECT_EQ(m.regs->rsp, 0xfffe);
}
TEST(RealMode, InterruptsGoThroughTheVectorTable)
{
    knobs_defaults(&without);
    without.v[KNOB_VMX_UNRESTRICTED_GUEST] = 0;
    EXPECT_EQ(with_vm(&(struct test_vm_options){.knobs = &without}, interrupted), 0);
}

// A vector table that ends before vector 0: the fault's fault is a double fault, its fault a shutdown
// (SDM 6.15).
static void shut_down(void)
{
    load_program();
    m.sregs->idt.limit = 2;
    guest_store(G_CODE, "\xf7\xf1", 2); // div %cx, of 0.
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, m.sregs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, m.regs), 0);
    run_program();
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(guest_entries(), 0);
}
TEST(RealMode, FaultsWithoutAVectorTableShutDown)
{
    knobs_defaults(&without);
    without.v[KNOB_VMX_UNRESTRICTED_GUEST] = 0;
    EXPECT_EQ(with_vm(&(struct test_vm_options){.knobs = &without}, shut_down), 0);
}

static void not_emulated(void)
{
    load_program();
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_SREGS, m.sregs), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vcpu, HV_SET_REGS, m.regs), 0);
    run_program();
    EXPECT_EQ(t.run->exit_reason, HV_EXIT_SHUTDOWN);
    EXPECT_EQ(guest_entries(), 1);
    EXPECT_EQ(m.regs->rip, 0);
    EXPECT_EQ(fake_trace_count(TP_KVM_EMULATE_INSN), 0);
}
TEST(RealMode, WithUnrestrictedGuestTheProcessorRunsIt)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){0}, not_emulated), 0);
}
