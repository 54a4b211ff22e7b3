// SPDX-License-Identifier: Apache-2.0
// Causes every VM exit that guest code can cause under the core's controls, one after the other, and counts on its
// handlers for the exceptions that the core answers with. Ends with status 0; 1 if an answer was wrong.
#include "guest.inc"

    // An instruction that the core answers with an exception: skipped by the handler.
    .macro refused vector, code:vararg
    movq $0, caught(%rip)
    leaq 8001f(%rip), %rax
    movq %rax, resume(%rip)
    \code
8001:
    cmpq $\vector + 1, caught(%rip)
    jne wrong
    .endm

    .macro step text
    movl $\@, step_number(%rip)
    .endm

catch:
    movq FRAME_VECTOR(%rdi), %rax
    incq %rax
    movq %rax, caught(%rip)
    movq resume(%rip), %rax
    movq %rax, FRAME_RIP(%rdi)
    ret

on_step:
    incq steps(%rip)
    cmpq $3, steps(%rip) // POPF's successor, CPUID and the one behind it.
    jb 1f
    andl $~0x100, FRAME_RFLAGS(%rdi)
1:  ret

on_timer:
    incq ticks(%rip)
    movq apic(%rip), %rax
    movl $0, 0xb0(%rax)
    ret

main:
    handler 6, catch
    handler 13, catch
    handler 1, on_step
    handler 32, on_timer
    movl $0xfee00000, %eax
    movq %rax, apic(%rip)

    // CPUID, RDMSR, WRMSR, RDPMC, XSETBV.
    step
    xorl %eax, %eax
    cpuid
    step
    movl $0x1b, %ecx // IA32_APIC_BASE
    rdmsr
    wrmsr
    step
    xorl %ecx, %ecx
    refused 13, rdpmc
    step
    movq %cr4, %rax
    orq $0x40000, %rax // OSXSAVE
    movq %rax, %cr4
    xorl %ecx, %ecx
    xgetbv
    xsetbv

    // Ports: IN, OUT, INS, OUTS.
    step
    movw $0xe0, %dx
    movb $0x5a, %al
    outb %al, %dx
    xorl %eax, %eax
    inb %dx, %al
    cmpb $0x5a, %al
    jne wrong
    leaq buffer(%rip), %rsi
    movl $4, %ecx
    rep outsb
    leaq buffer + 16(%rip), %rdi
    movl $4, %ecx
    rep insb

    // Control and debug registers.
    step
    movq %cr0, %rax
    orq $0x40000000, %rax // CD
    movq %rax, %cr0
    andq $~0x40000000, %rax
    movq %rax, %cr0
    movq %cr4, %rax
    movq %rax, %cr4
    step
    movq %cr8, %rax
    movq %rax, %cr8
    step
    xorl %eax, %eax
    movq %rax, %dr0
    movq %dr7, %rax
    movq %rax, %dr7

    // Caches, hypercalls, hints.
    step
    invd
    wbinvd
    step
    movl $1, %eax // VAPIC_POLL_IRQ: nothing to do.
    vmcall
    step
    leaq buffer(%rip), %rax
    xorl %ecx, %ecx
    xorl %edx, %edx
    monitor // Neither waits: the core takes both for hints.
    mwait
    movl $20000, %ecx
1:  pause
    decl %ecx
    jnz 1b

    // VMX instructions, which this guest does not have.
    step
    leaq buffer(%rip), %rbx
    refused 6, vmxon (%rbx)
    refused 6, vmxoff
    refused 6, vmclear (%rbx)
    refused 6, vmptrld (%rbx)
    refused 6, vmptrst (%rbx)
    refused 6, vmread %rax, %rax
    refused 6, vmwrite %rax, %rax
    refused 6, vmlaunch
    refused 6, vmresume
    refused 6, invept (%rbx), %rax
    refused 6, invvpid (%rbx), %rax

    // Memory that is not there: a page of the guest for the first time, a device of user space (whose page then is
    // one for MMIO), the local APIC.
    step
    movl $1, far_page(%rip)
    movl $0xff000000, %ebx
    movl $0x12345678, (%rbx)
    movl (%rbx), %eax
    cmpl $0x12345678, %eax
    jne wrong
    addl $1, (%rbx)
    movl (%rbx), %eax
    step
    movq apic(%rip), %rbx
    movl 0x30(%rbx), %eax // Version
    movl $0x1ff, 0xf0(%rbx) // Spurious vector, enabled.
    movl $0, 0xb0(%rbx) // EOI

    // Interrupts: a timer while it runs, one while it halts, an IPI to itself that waits for STI.
    step
    movl $32, 0x320(%rbx) // One-shot, vector 32
    movl $3, 0x3e0(%rbx)
    movl $20000, 0x380(%rbx)
    sti
1:  cmpq $0, ticks(%rip)
    je 1b
    movl $200000, 0x380(%rbx)
2:  hlt
    cmpq $2, ticks(%rip)
    jb 2b
    cli
    movl $0x40020, 0x300(%rbx) // Self, fixed, vector 32
    sti
    nop
    cli
    cmpq $3, ticks(%rip)
    jne wrong

    // Single steps over an instruction that exits.
    step
    pushfq
    orq $0x100, (%rsp)
    popfq
    xorl %eax, %eax
    cpuid
    nop
    cmpq $3, steps(%rip)
    jne wrong

    print "every exit was answered\n"
    xorl %eax, %eax
    ret

wrong:
    print "wrong answer at step "
    movl step_number(%rip), %eax
    call puthex
    print "\n"
    movl $1, %eax
    ret

    .data
    .align 16
buffer: .quad 1, 2, 3, 4, 5, 6, 7, 8
caught: .quad 0
resume: .quad 0
ticks:  .quad 0
steps:  .quad 0
apic:   .quad 0
step_number: .long 0
    .bss
    .align 4096
    .skip 0x200000
far_page: .long 0
    .text
