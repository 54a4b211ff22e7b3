// SPDX-License-Identifier: Apache-2.0
// Changes of privilege in 64-bit mode: IRET and INT to and from ring 3, call gates, SYSCALL and SYSRET, what ring 3
// must not do (SDM 5.8, 5.9, 6.14).
#include "check.inc"

#define SELECTOR(name) (name-table)

    .macro gate entry, function, code, type
    movq $\function, %rax
    movw %ax, \entry(%rip)
    movw $\code, \entry + 2(%rip)
    movw $\type, \entry + 4(%rip)
    shrq $16, %rax
    movw %ax, \entry + 6(%rip)
    .endm

    // At ring 3 code raises an exception, which ends it.
    .macro user_raises vector, error, label
    movq $0, caught(%rip)
    movq $8005f, resume(%rip)
    movq %rsp, resume_rsp(%rip)
    user \label
    jmp wrong
8005:
    cmpq $\vector + 1, caught(%rip)
    jne wrong
    cmpq $\error, caught_error(%rip)
    jne wrong
    cmpq $CS64_USER, caught_cs(%rip)
    jne wrong
    .endm

    .macro iret_to cs, ss
    pushq $\ss
    pushq $0x200000
    pushq $2
    pushq $\cs
    pushq $wrong
    iretq
    .endm

    .macro iret_with_nt
    pushq $0x4002
    popfq
    iretq
    .endm

test:
    use_gdt table, table_end

    step // IRETQ to ring 3, INT n back.
    movq $0, seen(%rip)
    user ring3
    expect CS64_USER, seen(%rip)

    step // Privileged instructions.
    user_raises 13, 0, u_hlt
    user_raises 13, 0, u_cli
    user_raises 13, 0, u_in
    user_raises 13, 0, u_cr0
    user_raises 13, 0, u_wrmsr
    user_raises 13, 0, u_lgdt
    user_raises 13, 0, u_ltr
    user_raises 13, 0, u_invlpg
    user_raises 13, (0x30*8+2), u_int // Gate of DPL 0
    user_raises 13, DS, u_load_ds
    user_raises 13, CS64, u_far // RPL 3, DPL 0
    user_raises 6, 0, u_ud2

    step // IOPL 3: CLI, STI and ports are its own.
    movq $DS_USER, %rax
    pushq %rax
    movq %rsp, kernel_rsp(%rip)
    movq $1f, kernel_rip(%rip)
    leaq user_stack_top(%rip), %rcx
    pushq $DS_USER
    pushq %rcx
    pushq $0x3002
    pushq $CS64_USER
    pushq $u_iopl
    iretq
1:  popq %rax

    step // A call gate to ring 0 on the TSS's stack, and RETF back.
    gate call_gate, through_gate, CS64, 0xec00
    user u_gate
    expect 1, gate_seen(%rip)
    expect CS64_USER, gate_cs(%rip)
    cmpq $interrupt_stack_top - 32, gate_rsp(%rip)
    jne wrong

    step // Its faults.
    gate call_gate, through_gate, CS64, 0x8c00 // DPL 0
    user_raises 13, SELECTOR(call_gate), u_gate
    gate call_gate, through_gate, CS64, 0x6c00 // Not present
    user_raises 11, SELECTOR(call_gate), u_gate
    gate call_gate, through_gate, DS, 0xec00 // No code
    user_raises 13, DS, u_gate
    gate call_gate, through_gate, CS32, 0xec00 // Not 64-bit
    user_raises 13, CS32, u_gate
    gate call_gate, through_gate, 0, 0xec00
    user_raises 13, 0, u_gate
    movl $0x8000, call_gate + 8(%rip)
    gate call_gate, through_gate, CS64, 0xec00
    user_raises 13, 0, u_gate // Not canonical
    movl $0, call_gate + 8(%rip)

    step // IRET: to no code, to a ring further in, with NT.
    raises 13, 0, iret_to 0, DS
    raises 13, DS, iret_to DS, DS
    raises 13, CS64, iret_to (CS64+1), DS
    raises 13, DS, iret_to CS64_USER, DS
    raises 13, 0, iret_with_nt
    pushq $2
    popfq

    step // IRETL and IRETW in 64-bit mode pop narrow frames.
    movq %rsp, %rbx
    subq $20, %rsp
    movl $1f, (%rsp)
    movl $CS64, 4(%rsp)
    movl $2, 8(%rsp)
    movl %ebx, 12(%rsp)
    movl $DS, 16(%rsp)
    iretl
1:  cmpq %rbx, %rsp
    jne wrong

    step // SYSCALL and SYSRET.
    movl $0xc0000081, %ecx // IA32_STAR: SYSCALL by CS64; SYSRET by 33h (20h + 16)
    xorl %eax, %eax
    movl $0x00230010, %edx
    wrmsr
    movl $0xc0000082, %ecx // IA32_LSTAR
    movl $on_syscall, %eax
    xorl %edx, %edx
    wrmsr
    movl $0xc0000084, %ecx // IA32_FMASK
    movl $0x200, %eax
    wrmsr
    user u_syscall
    expect 2, syscalls(%rip)

    ret

ring3:
    movl %cs, %eax
    movq %rax, seen(%rip)
    leave_user
u_hlt: hlt
u_cli: cli
u_in: inb $0x80, %al
u_cr0: movq %cr0, %rax
u_wrmsr: wrmsr
u_lgdt: lgdt own_gdt(%rip)
u_ltr: ltr %ax
u_invlpg: invlpg (%rax)
u_int: int $0x30
u_load_ds:
    movl $DS, %eax
    movl %eax, %ds
u_far: lcall *far_pointer(%rip)
u_ud2: ud2
u_iopl:
    cli
    inb $0x80, %al
    outb %al, $0x80
    sti
    cli
    leave_user
u_gate:
    movq %rsp, %rbx
    lcall *gate_pointer(%rip)
    cmpq %rsp, %rbx
    jne u_ud2
    leave_user
through_gate:
    incq gate_seen(%rip)
    movq %rsp, gate_rsp(%rip)
    movq 8(%rsp), %rax
    movq %rax, gate_cs(%rip)
    lretq
u_syscall:
    movl $7, %eax
    syscall
1:  pushfq
    popq %rdx
    cmpq %rdx, %r11
    jne u_ud2
    syscall
    leave_user
on_syscall:
    incq syscalls(%rip)
    movl %cs, %eax
    cmpl $CS64, %eax
    jne wrong
    movl %ss, %eax
    cmpl $DS, %eax
    jne wrong
    sysretq

    .data
    .align 16
table: .skip 64
call_gate: .quad 0, 0
table_end:
seen: .quad 0
gate_seen: .quad 0
gate_cs: .quad 0
gate_rsp: .quad 0
syscalls: .quad 0
gate_pointer: .long 0
    .word SELECTOR(call_gate)
far_pointer: .long 0
    .word CS64
    .text
