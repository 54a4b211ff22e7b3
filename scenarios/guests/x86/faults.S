// SPDX-License-Identifier: Apache-2.0
// Exceptions during the delivery of exceptions: benign, contributory, page faults, double faults (SDM 6.15, table 6-5),
// and what each pushes.
#include "check.inc"

    .macro gate_type vector, type
    movb $\type, idt + 16 * \vector + 5(%rip)
    .endm

    .macro load_beyond
    movl $0x1000, %eax
    movl %eax, %ds
    .endm

    .macro read_absent
    movl $0x40000000, %eax
    movl (%rax), %eax
    .endm

test:
    step // Error codes, and none.
    raises 6, 0, ud2
    xorl %ecx, %ecx
    raises 0, 0, divl %ecx
    raises 13, 0x1000, load_beyond
    movl $-1, %eax
    movl $1, %ecx
    movl $2, %edx
    raises 0, 0, divl %ecx
    raises 3, 0, int3

    step // A fault while a contributory exception is delivered: #DF, error code 0.
    gate_type 13, 0x0e // Not present: #NP on the way
    raises 8, 0, load_beyond
    gate_type 13, 0x8e

    step // While a benign one is: the second stands for itself, with EXT.
    gate_type 6, 0x0e
    raises 11, (6*8+2+1), ud2
    gate_type 6, 0x8e

    step // INT n is benign, and its error code has no EXT.
    gate_type 0x50, 0x0e
    raises 11, (0x50*8+2), int $0x50
    gate_type 0x50, 0x8e

    step // Page faults: behind a contributory one a contributory one is no double fault in the other order only.
    movl $0, pd + 8 * 512(%rip) // 1 GiB
    movq %cr3, %rax
    movq %rax, %cr3
    raises 14, 0, read_absent
    gate_type 14, 0x0e
    raises 8, 0, read_absent
    gate_type 14, 0x8e

    step // A stack that is not there: #PF while #GP is delivered makes #DF on the stack of its IST.
    movb $2, idt + 16 * 13 + 4(%rip)
    movq $0x40001000, %rax
    movq %rax, tss + IST1 + 8(%rip)
    raises 14, 2, load_beyond // A page fault behind a contributory one is served.
    movabsq $0x800000000000, %rax
    movq %rax, tss + IST1 + 8(%rip)
    raises 8, 0, load_beyond // #SS is contributory.
    movb $1, idt + 16 * 13 + 4(%rip)

    step // Alignment checks at ring 3.
    movq %cr0, %rax
    orq $0x40000, %rax
    movq %rax, %cr0
    movq $0, caught(%rip)
    movq $1f, resume(%rip)
    movq %rsp, resume_rsp(%rip)
    user misaligned
    jmp wrong
1:  expect 18, caught(%rip)
    expect 0, caught_error(%rip)
    ret

misaligned:
    pushfq
    orq $0x40000, (%rsp)
    popfq
    movl word + 1(%rip), %eax
    leave_user

    .data
    .align 8
word: .quad 0
    .text
