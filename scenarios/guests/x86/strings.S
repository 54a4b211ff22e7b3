// SPDX-License-Identifier: Apache-2.0
// String instructions in memory and to ports: counts, directions, flags, faults in the middle (SDM vol. 1 7.3.9, 19.4).
#include "check.inc"

#define SCRATCH 0xe0 // A port that keeps a byte, a word, a doubleword
#define HOLE 0x800000

    .macro copy size, count, from, to
    leaq \from(%rip), %rsi
    leaq \to(%rip), %rdi
    movl $\count, %ecx
    rep movs\size
    .endm

test:
    step // MOVS of each size; RCX 0 does nothing.
    copy b, 3, source, target
    expect 0x332211, target(%rip)
    copy w, 2, source, target
    expect 0x44332211, target(%rip)
    copy q, 2, source, target
    cmpq $target + 16, %rdi
    jne wrong
    copy q, 0, source+8, target
    movq source(%rip), %rax
    cmpq %rax, target(%rip)
    jne wrong
    cmpq $target, %rdi
    jne wrong

    step // Overlapping: byte after byte.
    movq $0x41, target(%rip)
    copy b, 7, target, target+1
    movabsq $0x4141414141414141, %rax
    cmpq %rax, target(%rip)
    jne wrong

    step // Downwards.
    std
    leaq source + 7(%rip), %rsi
    leaq target + 7(%rip), %rdi
    movl $8, %ecx
    rep movsb
    cld
    cmpq $source - 1, %rsi
    jne wrong
    movq source(%rip), %rax
    cmpq %rax, target(%rip)
    jne wrong

    step // STOS, LODS.
    movl $0x5a5a5a5a, %eax
    leaq target(%rip), %rdi
    movl $4, %ecx
    rep stosl
    expect 0x5a5a5a5a, target + 12(%rip)
    leaq source(%rip), %rsi
    movl $3, %ecx
    rep lodsb
    cmpb $0x33, %al
    jne wrong

    step // SCAS and CMPS stop with the flags of the last element.
    leaq source(%rip), %rdi
    movl $8, %ecx
    movb $0x55, %al
    repne scasb
    jne wrong
    expect 3, %rcx
    cmpq $source + 5, %rdi
    jne wrong
    copy q, 1, source, target
    incb target + 6(%rip)
    leaq source(%rip), %rsi
    leaq target(%rip), %rdi
    movl $8, %ecx
    repe cmpsb
    jae wrong
    expect 1, %rcx

    step // Count 0: flags stay.
    xorl %ecx, %ecx
    cmpl $1, %ecx
    repe cmpsb
    jae wrong

    step // 32-bit addresses wrap within 32 bits, and cut their registers.
    movabsq $0x100000000 + source, %rsi
    movabsq $0x100000000 + target, %rdi
    movl $4, %ecx
    addr32 rep movsb
    cmpq $source + 4, %rsi
    jne wrong

    step // A fault in the middle: what was done is done, registers say how far.
    movq $0, pd + 8 * 4(%rip)
    movq %cr3, %rax
    movq %rax, %cr3
    movq $HOLE - 4, %rdi
    leaq source(%rip), %rsi
    movl $8, %ecx
    raises 14, 2, rep movsb
    expect 4, %rcx
    expect HOLE, %rdi
    cmpl $0x44332211, HOLE - 4
    jne wrong

    step // Mapped, it goes on.
    movq $0x600087, pd + 8 * 4(%rip)
    rep movsb
    expect 0, %rcx
    movl $0x600000, %eax
    cmpl $0x88776655, (%rax)
    jne wrong

    step // Ports, by elements.
    movw $SCRATCH, %dx
    leaq source(%rip), %rsi
    movl $8, %ecx
    rep outsb
    expect 0, %rcx
    inb %dx, %al
    cmpb $0x88, %al
    jne wrong
    leaq source(%rip), %rsi
    movl $2, %ecx
    rep outsl
    inl %dx, %eax
    cmpl $0x88776655, %eax
    jne wrong
    leaq target(%rip), %rdi
    movl $4, %ecx
    rep insl
    expect 0, %rcx
    movl target + 12(%rip), %eax
    cmpl $0x88776655, %eax
    jne wrong
    cmpq $target + 16, %rdi
    jne wrong

    step // Downwards, across a page, to a page that is not there.
    std
    leaq target + 14(%rip), %rdi
    movl $2, %ecx
    rep insw
    cld
    cmpq $target + 10, %rdi
    jne wrong
    movq $0, pd + 8 * 4(%rip)
    movq %cr3, %rax
    movq %rax, %cr3
    movq $HOLE - 2, %rdi
    movl $4, %ecx
    raises 14, 2, rep insb
    expect 2, %rcx
    expect HOLE, %rdi
    movq $HOLE, %rsi
    movl $4, %ecx
    raises 14, 0, rep outsb
    expect 4, %rcx

    step // OUTS from devices: one of user space's, up and down, and the local APIC.
    movl $0xff000000, %esi
    movl $0x11223344, (%rsi)
    movl $0x55667788, 4(%rsi)
    movw $SCRATCH, %dx
    movl $2, %ecx
    rep outsl
    expect 0, %rcx
    cmpl $0xff000008, %esi
    jne wrong
    inl %dx, %eax
    cmpl $0x55667788, %eax
    jne wrong
    std
    subl $4, %esi
    movl $5, %ecx
    rep outsb
    cld
    cmpl $0xfeffffff, %esi
    jne wrong
    inb %dx, %al
    cmpb $0x44, %al
    jne wrong
    movl $0xff000000, %esi
    xorl %ecx, %ecx
    rep outsb
    cmpl $0xff000000, %esi
    jne wrong
    movl $0xfee00030, %esi
    movl (%rsi), %ebx
    outsl
    inl %dx, %eax
    cmpl %ebx, %eax
    jne wrong

    step // MOVS from and to a device.
    movl $0xff000000, %esi
    movl $0x1234, (%rsi)
    leaq target(%rip), %rdi
    movsl
    cmpl $0xff000004, %esi
    jne wrong
    cmpl $0x1234, target(%rip)
    jne wrong
    ret

    .data
    .align 16
source: .byte 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88
    .quad 0x0102030405060708
target: .quad 0, 0, 0, 0
    .text
