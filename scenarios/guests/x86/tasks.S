// SPDX-License-Identifier: Apache-2.0
// Task switches between 32-bit tasks by JMP, CALL, IRET, a task gate and an interrupt through one (SDM 7.3): busy
// marks, links, NT, registers, faults. Each is an exit that the hypervisor emulates.
#include "guest32.inc"

#define TSS_OTHER (OWN)
#define GATE (OWN+8)
#define TSS_ABSENT (OWN+16)
#define TSS_SHORT (OWN+24)
#define TYPE_OF(selector) gdt + selector + 5

    .macro describe_tss selector, at, access
    movl $\at, %eax
    movw $0x67, gdt + \selector
    movw %ax, gdt + \selector + 2
    shrl $16, %eax
    movb %al, gdt + \selector + 4
    movb $\access, gdt + \selector + 5
    movb $0, gdt + \selector + 6
    movb %ah, gdt + \selector + 7
    .endm

    // The other task as if it had never run, at `entry`.
    .macro prepare entry
    movl $other, %edi
    movl $26, %ecx
    xorl %eax, %eax
    rep stosl
    movl $\entry, other + 32
    movl $2, other + 36
    movl $other_stack_top, other + 56
    movl $CS32, other + 76
    movl $DS, other + 72
    movl $DS, other + 80
    movl $DS, other + 84
    movl $0x1234, other + 40 // EAX
    movl $0x5678, other + 52 // EBX
    movw $104, other + 102
    describe_tss TSS_OTHER, other, 0x89
    .endm

    .macro access selector, value
    cmpb $\value, TYPE_OF(\selector)
    jne wrong
    .endm

    .macro iret_nested
    pushfl
    orl $0x4000, (%esp)
    popfl
    iret
    .endm

test:
    describe_tss TSS_ABSENT, other, 0x09
    describe_tss TSS_SHORT, other, 0x89
    movw $0x66, gdt + TSS_SHORT
    movl $TSS_OTHER << 16, gdt + GATE
    movl $0xe500, gdt + GATE + 4

    step // JMP there and back: registers of each are kept, the busy mark moves.
    prepare jump_back
    movl $0xabcdef, %ebp
    movl %esp, esp_before
    ljmp $TSS_OTHER, $0
    expect 0xabcdef, %ebp
    cmpl %esp, esp_before
    jne wrong
    expect 0x1234, seen_eax
    expect 0x5678, seen_ebx
    expect TSS_OTHER, seen_tr
    access TSS_MAIN, 0x8b
    access TSS_OTHER, 0x89
    expect 0, other // No link

    step // CALL sets the link and NT; IRET returns.
    prepare iret_back
    lcall $TSS_OTHER, $0
    expect TSS_MAIN, other
    movl seen_eflags, %eax
    testl $0x4000, %eax
    jz wrong
    access TSS_MAIN, 0x8b
    access TSS_OTHER, 0x89
    pushfl
    popl %eax
    testl $0x4000, %eax
    jnz wrong

    step // A second CALL goes on behind the IRET.
    movl $0, seen_tr
    lcall $TSS_OTHER, $0
    expect 2, rounds
    expect TSS_OTHER, seen_tr

    step // CALL by a task gate.
    prepare iret_back
    lcall $GATE, $0
    expect TSS_MAIN, other

    step // An interrupt by a task gate in the IDT.
    prepare iret_back
    movl $TSS_OTHER << 16, idt + 8 * 0x50
    movl $0xe500, idt + 8 * 0x50 + 4
    int $0x50
    expect TSS_MAIN, other

    step // An exception by one: the error code is on the new stack.
    prepare error_back
    movl idt + 8 * 13, %esi
    movl idt + 8 * 13 + 4, %edi
    movl $TSS_OTHER << 16, idt + 8 * 13
    movl $0xe500, idt + 8 * 13 + 4
    movl $DS + 0x1000, %eax
    movw %ax, %fs
    nop
behind_fault:
    expect (DS+0x1000), seen_error
    movl %esi, idt + 8 * 13
    movl %edi, idt + 8 * 13 + 4

    step // EFLAGS of the new task are those of its TSS, CR0.TS is set.
    prepare jump_back
    movl $0x246, other + 36
    andl $~0x200, other + 36
    clts
    ljmp $TSS_OTHER, $0
    expect 0x46, seen_eflags
    movl %cr0, %eax
    testl $8, %eax
    jz wrong
    clts

    step // Faults: busy, absent, beyond the GDT, too short.
    prepare jump_back
    movb $0x8b, TYPE_OF(TSS_OTHER)
    raises 13, TSS_OTHER, ljmp $TSS_OTHER, $0
    movb $0x89, TYPE_OF(TSS_OTHER)
    raises 11, TSS_ABSENT, ljmp $TSS_ABSENT, $0
    raises 10, TSS_SHORT, ljmp $TSS_SHORT, $0
    raises 13, 0x1000, ljmp $0x1000, $0
    access TSS_MAIN, 0x8b

    step // IRET with NT and a link to no task: #TS.
    movw $DS, tss
    raises 10, DS, iret_nested
    movw $0, tss

    step // A segment of the new task that cannot be loaded: #TS in the new task.
    prepare jump_back
    movl $CS32, other + 84 // DS: code, readable; ES none
    movl $0x1000, other + 72
    movl $CS32, other + 84
    movl idt + 8 * 10, %eax
    movl $0, caught
    movl $1f, resume
    movl %esp, resume_esp
    ljmp $TSS_OTHER, $0
1:  expect 11, caught
    expect 0x1000, caught_error
    str %ax
    movzwl %ax, %eax
    expect TSS_OTHER, %eax
    movl $2f, tss + 32 // And back.
    movl %esp, tss + 56
    movl $CS32, tss + 76
    ljmp $TSS_MAIN, $0
2:  access TSS_OTHER, 0x89
    ret

    // What the other task is found with.
look:
    movl %eax, seen_eax
    movl %ebx, seen_ebx
    pushfl
    popl seen_eflags
    str %ax
    movzwl %ax, %eax
    movl %eax, seen_tr
    ret

jump_back:
    pushfl
    popl seen_eflags
    movl %eax, seen_eax
    movl %ebx, seen_ebx
    str %ax
    movzwl %ax, %eax
    movl %eax, seen_tr
    ljmp $TSS_MAIN, $0
iret_back:
    incl rounds
    call look
    iret
    incl rounds
    movl $2, rounds
    call look
    iret
error_back:
    popl seen_error
    movl $behind_fault, tss + 32 // The other task goes on behind the fault.
    iret

    .data
    .align 4
esp_before: .long 0
seen_eax: .long 0
seen_ebx: .long 0
seen_eflags: .long 0
seen_tr: .long 0
seen_error: .long 0
rounds: .long 0
    .bss
    .align 16
other: .skip 128
    .skip 4096
other_stack_top:
    .text
