// SPDX-License-Identifier: Apache-2.0
// From 64-bit mode to compatibility mode, 32-bit and 16-bit protected mode, real mode, virtual-8086-like limits of real
// mode, and all the way back (SDM 9.8, 9.9, 20.1): what each mode makes of the same registers and bytes.
#include "check.inc"

#define LOW 0x8000 // Code for modes that cannot reach 1 MiB is copied here.
#define AT(label) (label-low+LOW)
#define CODE16 0x40
#define DATA16 0x48

test:
    use_gdt table, table_end
    movl $low, %esi
    movl $LOW, %edi
    movl $low_end - low, %ecx
    rep movsb
    sidt old_idt(%rip)

    step // Compatibility mode: 40h is INC EAX, not REX; PUSH is 4 bytes.
    movl $6, %eax
    movl $compatible, far32(%rip)
    movq %rsp, saved_rsp(%rip)
    ljmpl *far32(%rip)
back64:
    movl $DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movq saved_rsp(%rip), %rsp
    lidt old_idt(%rip)
    expect 7, compatible_eax(%rip)
    expect 4, compatible_push(%rip)

    step // 32-bit protected mode, paging off: LMA is clear.
    expect 0, lma_off(%rip)

    step // 16-bit code: 16-bit operands, limits of 64 KiB.
    cmpl $0xffff0000, wide16(%rip)
    jne wrong

    step // Real mode: a segment is its selector times 16; interrupts through the IVT; the limit is 64 KiB.
    expect 0x1234, real_value(%rip)
    expect 0x21, real_interrupt(%rip)
    expect 1, real_limit(%rip)
    expect 0xbeef, unreal(%rip)

    step // In 64-bit mode again, everything is as it was.
    movabsq $0x123456789abcdef0, %rax
    movq %rax, %r15
    cmpq %rax, %r15
    jne wrong
    movl $0xc0000080, %ecx
    rdmsr
    testl $0x400, %eax
    jz wrong
    raises 6, 0, ud2
    ret

    .code32
compatible:
    .byte 0x40 // incl %eax
    movl %eax, compatible_eax
    movl %esp, %edx
    pushl %eax
    subl %esp, %edx
    popl %eax
    movl %edx, compatible_push
    // Paging off: IA-32e mode ends.
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    rdmsr
    andl $0x400, %eax
    movl %eax, lma_off
    ljmp $CODE16, $AT(protected16)

low:
    .code16
protected16:
    movw $DATA16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0xffffffff, %eax
    xorw %ax, %ax // Its upper half stays.
    movl %eax, AT(low_wide16)
    lidtl AT(real_idt)
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $(LOW >> 4), $(real - low)
real:
    movw $(LOW >> 4), %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7000, %sp
    movw $0x1234, low_value - low
    movw $(LOW >> 4) + 1, %ax
    movw %ax, %es
    movw %es:low_value - low - 16, %ax
    movw %ax, low_real_value - low
    xorw %ax, %ax // IVT
    movw %ax, %es
    movw $on_int21 - low, %es:0x21 * 4
    movw $(LOW >> 4), %es:0x21 * 4 + 2
    movw $on_gp - low, %es:13 * 4
    movw $(LOW >> 4), %es:13 * 4 + 2
    int $0x21
    movw $0xffff, %bx
    movw (%bx), %ax // A word beyond the limit: #GP without an error code
after_gp:
    // A limit from protected mode lives on in real mode.
    lgdtl low_gdt - low
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $DS, %bx
    movw %bx, %fs
    andb $0xfe, %al
    movl %eax, %cr0
    movl $0x300000, %ebx
    movl $0xbeef, %fs:(%ebx)
    movl %fs:(%ebx), %eax
    movl %eax, low_unreal - low
    // To 32-bit protected mode.
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $CS32, $protected32
on_int21:
    movw $0x21, low_interrupt - low
    iret
on_gp:
    movw $1, low_limit - low
    popw %ax
    pushw $after_gp - low
    iret
    .align 4
real_idt: .word 0x3ff
    .long 0
low_gdt: .word table_end - table - 1
    .long table
low_wide16: .long 0
low_value: .long 0
low_real_value: .long 0
low_interrupt: .long 0
low_limit: .long 0
low_unreal: .long 0
low_end:

    .code32
protected32:
    movw $DS, %ax
    movw %ax, %ds
    movl AT(low_wide16), %eax
    movl %eax, wide16
    movl AT(low_real_value), %eax
    movl %eax, real_value
    movl AT(low_interrupt), %eax
    movl %eax, real_interrupt
    movl AT(low_limit), %eax
    movl %eax, real_limit
    movl AT(low_unreal), %eax
    movl %eax, unreal
    // Back: paging on with LME set, then a 64-bit code segment.
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmp $CS64, $back64
    .code64

    .data
    .align 16
table: .skip 64
code16: .quad 0x00009b000000ffff
data16: .quad 0x000093000000ffff
table_end:
far32: .long 0
    .word CS32
old_idt: .skip 10
    .align 8
saved_rsp: .quad 0
compatible_eax: .quad 0
compatible_push: .quad 0
lma_off: .quad 0xffffffff
wide16: .quad 0
real_value: .quad 0
real_interrupt: .quad 0
real_limit: .quad 0
unreal: .quad 0
    .text
