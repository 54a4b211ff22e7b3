// SPDX-License-Identifier: Apache-2.0
// Four processors, started by INIT and SIPI, count: with LOCK XADD, with a lock of CMPXCHG16B, with XCHG (SDM 8.1, 8.4).
// No count is lost, whoever runs when.
#include "check.inc"
#define CPUS 4
#include "others.inc"

#define ROUNDS 2000
test:
    step // Everybody comes up.
    start_others
    expect (CPUS-1), online(%rip)

    step // They count.
    movl $1, go(%rip)
    call count
1:  pause
    cmpl $CPUS, finished(%rip)
    jb 1b
    expect (CPUS*ROUNDS), by_xadd(%rip)
    expect (CPUS*ROUNDS), by_cmpxchg16b(%rip)
    expect (CPUS*ROUNDS), by_xchg(%rip)
    expect (CPUS*ROUNDS), by_inc(%rip)

    step // LOCK XADD gave each number once: the sums of what was seen are those of 0 to n - 1.
    movq xadd_sum(%rip), %rax
    cmpq $(CPUS * ROUNDS) * (CPUS * ROUNDS - 1) / 2, %rax
    jne wrong

    step // Each has an APIC id of its own.
    expect 15, ids(%rip)

    step // The others halt with IF clear: an interrupt does not wake them, an NMI does (SDM vol. 2, HLT).
1:  pause
    cmpl $CPUS - 1, halting(%rip)
    jb 1b
    handler 2, on_nmi
    movb $0, idt + 16 * 2 + 4(%rip) // The others have no TSS.
    call wait_a_while
    apic_write 0x300, 0xc4050
    call wait_a_while
    expect 0, woken(%rip)
    apic_write 0x300, 0xc4400
    call wait_a_while
    expect (CPUS-1), woken(%rip)
    ret

wait_a_while:
    movl $20000, %ecx
1:  pause
    loop 1b
    ret

on_nmi:
    ret

count:
    movl $ROUNDS, %r8d
    xorl %r9d, %r9d
1:  movl $1, %eax
    lock xaddq %rax, by_xadd(%rip)
    addq %rax, %r9
    lock incq by_inc(%rip)
    // A lock of 16 bytes: {owner, turns}.
2:  movq lock16 + 8(%rip), %rdx
    xorl %eax, %eax
    movl $1, %ebx
    leaq 1(%rdx), %rcx
    lock cmpxchg16b lock16(%rip)
    jz 3f
    pause
    jmp 2b
3:  incq by_cmpxchg16b(%rip)
    movq $0, lock16(%rip)
    // And one of XCHG.
2:  movl $1, %eax
    xchgl %eax, lock4(%rip)
    testl %eax, %eax
    jz 3f
    pause
    jmp 2b
3:  incq by_xchg(%rip)
    movl $0, lock4(%rip)
    decl %r8d
    jnz 1b
    lock addq %r9, xadd_sum(%rip)
    movl $1, %eax
    cpuid
    shrl $24, %ebx
    lock btsq %rbx, ids(%rip)
    lock incl finished(%rip)
    ret

others_main:
1:  pause
    cmpl $0, go(%rip)
    je 1b
    call count
    lidt idt_pointer(%rip)
    apic_write 0xf0, 0x1ff
    cli
    lock incl halting(%rip)
1:  hlt
    lock incl woken(%rip)
    jmp 1b

    .data
    .align 64
by_xadd: .quad 0
by_inc: .quad 0
by_cmpxchg16b: .quad 0
by_xchg: .quad 0
xadd_sum: .quad 0
ids: .quad 0
finished: .quad 0
go: .quad 0
halting: .quad 0
woken: .quad 0
    .align 16
lock16: .quad 0, 0
lock4: .quad 0
    .text
