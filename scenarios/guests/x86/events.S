// SPDX-License-Identifier: Apache-2.0
// Interrupts and NMIs at instruction boundaries: shadows of STI and MOV SS, NMI blocking until IRET, HLT, priorities
// (SDM 6.7, 6.8, 6.9).
#include "check.inc"

#define ICR 0xfee00300
#define SELF_NMI 0x40400
#define SELF_FIXED(vector) (0x40000 + vector)

    .macro apic offset, value
    movl $0xfee00000, %ebx
    movl $\value, \offset(%rbx)
    .endm

    .macro bad_iret
    pushq $DS
    pushq $0x200000
    pushq $2
    pushq $DS
    pushq $wrong
    iretq
    .endm

on_irq:
    incq irqs(%rip)
    movq FRAME_RIP(%rdi), %rax
    movq %rax, where(%rip)
    movq FRAME_VECTOR(%rdi), %rax
    shlq $8, order(%rip)
    orq %rax, order(%rip)
    movl $0xfee00000, %eax
    movl $0, 0xb0(%rax)
    ret

on_nmi:
    incq nmis(%rip)
    movq FRAME_RIP(%rdi), %rax
    movq %rax, where(%rip)
    cmpq $0, again(%rip)
    je 1f
    decq again(%rip)
    movl $0xfee00000, %eax
    movl $SELF_NMI, 0x300(%rax) // Blocked until this handler's IRET
    nop
    nop
    movq nmis(%rip), %rax
    movq %rax, nmis_inside(%rip)
1:  ret

test:
    handler 0x50, on_irq
    handler 0x60, on_irq
    handler 2, on_nmi
    movb $0, idt + 16 * 2 + 4(%rip)
    apic 0xf0, 0x1ff

    step // Interrupts wait for IF, and for the instruction behind STI.
    apic 0x300, SELF_FIXED(0x50)
    nop
    expect 0, irqs(%rip)
    sti
    nop
1:  cli
    expect 1, irqs(%rip)
    cmpq $1b, where(%rip)
    jne wrong

    step // STI; CLI lets none in.
    apic 0x300, SELF_FIXED(0x50)
    sti
    cli
    nop
    expect 1, irqs(%rip)
    sti
    nop
    cli
    expect 2, irqs(%rip)

    step // MOV SS and POP SS hold them off for one instruction.
    movl $DS, %eax
    apic 0x300, SELF_FIXED(0x50)
    sti
    movl %eax, %ss
    nop
1:  cli
    expect 3, irqs(%rip)
    cmpq $1b, where(%rip)
    jne wrong

    step // POPF has no shadow.
    pushfq
    orq $0x200, (%rsp)
    apic 0x300, SELF_FIXED(0x50)
    popfq
1:  cli
    expect 4, irqs(%rip)
    cmpq $1b, where(%rip)
    jne wrong

    step // The higher vector first.
    movq $0, order(%rip)
    apic 0x300, SELF_FIXED(0x50)
    apic 0x300, SELF_FIXED(0x60)
    sti
    nop
    nop
    cli
    expect 0x6050, order(%rip)

    step // TPR holds back its class and those below.
    movl $5, %eax
    movq %rax, %cr8
    apic 0x300, SELF_FIXED(0x50)
    sti
    nop
    nop
    expect 6, irqs(%rip)
    xorl %eax, %eax
    movq %rax, %cr8
    nop
    cli
    expect 7, irqs(%rip)

    step // HLT ends with an interrupt.
    apic 0x300, SELF_FIXED(0x60)
    sti
    hlt
1:  cli
    expect 8, irqs(%rip)

    step // An NMI comes whatever IF is.
    apic 0x300, SELF_NMI
    nop
    expect 1, nmis(%rip)

    step // A second one waits for IRET.
    movq $1, again(%rip)
    apic 0x300, SELF_NMI
    nop
    nop
    expect 3, nmis(%rip)
    expect 2, nmis_inside(%rip)

    step // Even an IRET that faults ends the blocking.
    movq $0, again(%rip)
    movq $0, nmis(%rip)
    handler 2, on_nmi_faults
    apic 0x300, SELF_NMI
    nop
    nop
    expect 2, nmis(%rip)

    step // The timer, periodic.
    handler 2, on_nmi
    apic 0x320, 0x20050
    apic 0x3e0, 3
    apic 0x380, 5000
    sti
1:  cmpq $12, irqs(%rip)
    jb 1b
    cli
    apic 0x320, 0x10000
    ret

    // An IRET with a bad frame inside of the handler unblocks NMIs all the same.
on_nmi_faults:
    incq nmis(%rip)
    cmpq $1, nmis(%rip)
    jne 1f
    movl $0xfee00000, %eax
    movl $SELF_NMI, 0x300(%rax)
    movq %rdi, nmi_frame(%rip)
    raises 13, DS, bad_iret
    movq nmi_frame(%rip), %rdi
1:  ret

    .data
    .align 16
irqs: .quad 0
nmis: .quad 0
nmis_inside: .quad 0
again: .quad 0
where: .quad 0
order: .quad 0
nmi_frame: .quad 0
    .text
