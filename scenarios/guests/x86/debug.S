// SPDX-License-Identifier: Apache-2.0
// Single steps and breakpoints (SDM 17.2, 17.3): when #DB comes, what DR6 says, what RFLAGS.RF and MOV SS do.
#include "check.inc"

    .macro trap_flag
    pushfq
    orq $0x100, (%rsp)
    popfq
    .endm

    // Counts, notes the first RIP and DR6, and ends stepping at `last`.
on_debug:
    incq count(%rip)
    movq FRAME_RIP(%rdi), %rax
    movq %rax, where(%rip)
    movq %dr6, %rax
    orq %rax, dr6(%rip)
    movq %rax, last_dr6(%rip)
    andl $~0xe00f, %eax
    movq %rax, %dr6
    movq FRAME_RIP(%rdi), %rax
    cmpq %rax, last(%rip)
    jne 1f
    andq $~0x100, FRAME_RFLAGS(%rdi)
1:  orq $0x10000, FRAME_RFLAGS(%rdi) // RF
    ret

on_breakpoint:
    incq count(%rip)
    movq FRAME_RIP(%rdi), %rax
    movq %rax, where(%rip)
    ret

    .macro fresh
    step
    movq $0, count(%rip)
    movq $0, dr6(%rip)
    .endm

    .macro traps number, place, bits
    cmpq $\number, count(%rip)
    jne wrong
    cmpq $\place, where(%rip)
    jne wrong
    movq dr6(%rip), %rax
    andl $0xe00f, %eax
    cmpl $\bits, %eax
    jne wrong
    .endm

test:
    handler 1, on_debug
    handler 3, on_breakpoint

    fresh // One trap behind each instruction, the first behind the one that follows POPF.
    movq $1f, last(%rip)
    trap_flag
    nop
    nop
    xorl %eax, %eax
1:  nop
    traps 3, 1b, 0x4000

    fresh // A repeated string instruction traps behind each element.
    movq $1f, last(%rip)
    leaq buffer(%rip), %rdi
    movl $4, %ecx
    xorl %eax, %eax
    trap_flag
    rep stosb
1:  nop
    traps 4, 1b, 0x4000

    fresh // MOV SS: no trap behind it, and what follows it comes first.
    movq $1f, last(%rip)
    movl $DS, %edx
    trap_flag
    movl %edx, %ss
    nop
1:  nop
    traps 1, 1b, 0x4000

    fresh // Instructions that a hypervisor carries out trap too.
    movq $1f, last(%rip)
    xorl %eax, %eax
    trap_flag
    cpuid
    outb %al, $0x80
1:  nop
    traps 2, 1b, 0x4000

    fresh // INT n clears TF: the handler runs freely, the trap comes behind it.
    movq $1f, last(%rip)
    handler 0x42, on_int
    trap_flag
    int $0x42
    nop
1:  nop
    traps 1, 1b, 0x4000

    fresh // INT3 and its RIP.
    int3
1:  nop
    traps 1, 1b, 0

    fresh // An instruction breakpoint is a fault; RF lets it pass once.
    movq $-1, last(%rip)
    movq $1f, %rax
    movq %rax, %dr0
    movl $0x402, %eax // G0
    movq %rax, %dr7
    nop
1:  nop
    traps 1, 1b, 1

    fresh // A data breakpoint on writes of 4 bytes: a trap; reads pass.
    leaq buffer(%rip), %rax
    movq %rax, %dr1
    movl $0xd00408, %eax // G1, RW1 = 1, LEN1 = 3
    movq %rax, %dr7
    movl buffer(%rip), %eax
    movb $1, buffer + 4(%rip)
    cmpq $0, count(%rip)
    jne wrong
    movb $1, buffer + 3(%rip)
1:  nop
    traps 1, 1b, 2

    fresh // On reads and writes.
    movl $0xf00408, %eax
    movq %rax, %dr7
    movl buffer + 2(%rip), %eax
1:  nop
    traps 1, 1b, 2

    fresh // Both at once: single step and data.
    movq $1f, last(%rip)
    trap_flag
    movl buffer(%rip), %eax
1:  nop
    traps 1, 1b, 0x4002

    fresh // With CR4.DE there is no DR4; without, it is DR6.
    movq $-1, last(%rip)
    movq %dr4, %rax
    movq %cr4, %rax
    orq $8, %rax
    movq %rax, %cr4
    raises 6, 0, movq %dr4, %rax
    handler 1, on_debug

    fresh // General detect: MOV to a debug register faults, and clears GD.
    movl $0x2400, %eax
    movq %rax, %dr7
1:  movq %dr0, %rax
    traps 1, 1b, 0x2000
    movl $0x400, %eax
    movq %rax, %dr7

    fresh // MOV SS defers a data breakpoint behind the instruction that follows.
    leaq stack_value(%rip), %rax
    movq %rax, %dr0
    movl $0xf0402, %eax
    movq %rax, %dr7
    movw stack_value(%rip), %ss
    nop
1:  nop
    traps 1, 1b, 1
    movl $0x400, %eax
    movq %rax, %dr7
    ret

on_int:
    nop
    ret

    .data
    .align 16
buffer: .quad 0, 0
stack_value: .quad DS
count: .quad 0
where: .quad 0
dr6: .quad 0
last_dr6: .quad 0
last: .quad 0
    .text
