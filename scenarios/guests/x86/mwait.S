// SPDX-License-Identifier: Apache-2.0
// A guest that may execute MONITOR and MWAIT itself waits for a line of memory: stores and locked operations of
// another processor end the wait, interrupts too, and with ECX bit 0 those that RFLAGS.IF holds back (SDM 8.10, 25.3;
// vol. 2: MONITOR, MWAIT).
#include "check.inc"
#define CPUS 2
#include "others.inc"

#define TIMER_VECTOR 0x50
#define DELAY 100000     // TSC ticks between an order and what the other processor does about it.
#define WAKE_LEAST 2000  // From its store to this processor's next instruction: C1's exit latency is 2100 cycles,
#define WAKE_MOST 3500   // and the line comes over.
#define NO_WAKE 500

// What the other processor is told to do after DELAY.
#define ORDER_STORE 1
#define ORDER_LOCKED 2
#define ORDER_NEIGHBOUR 3 // Stores into the next line, and into this one after another DELAY.

others_main:
1:  pause
    movl order(%rip), %ecx
    testl %ecx, %ecx
    jz 1b
    movl $0, order(%rip)
    call delay
    cmpl $ORDER_NEIGHBOUR, %ecx
    jne 2f
    movl $1, line + 64(%rip)
    call delay
2:  rdtsc
    movl %eax, stored_tsc(%rip)
    cmpl $ORDER_LOCKED, %ecx
    je 3f
    movl $1, line(%rip)
    jmp 1b
3:  lock addl $1, line(%rip)
    jmp 1b

delay:
    rdtsc
    movl %eax, %r8d
1:  rdtsc
    subl %r8d, %eax
    cmpl $DELAY, %eax
    jb 1b
    ret

    .macro tell what
    movl $0, line(%rip)
    movl $0, line + 64(%rip)
    movl $0, waits(%rip)
    mfence
    movl $\what, order(%rip)
    .endm

// Waits until the line is not zero, as idle loops do. EBX: TSC ticks from the store to here.
wait_for_line:
    leaq line(%rip), %rax
    xorl %ecx, %ecx
    xorl %edx, %edx
    monitor
    cmpl $0, line(%rip)
    jne 1f
    incl waits(%rip)
    xorl %eax, %eax
    mwait
    cmpl $0, line(%rip)
    je wait_for_line
1:  rdtsc
    subl stored_tsc(%rip), %eax
    movl %eax, %ebx
    ret

    .macro arm
    leaq line(%rip), %rax
    xorl %ecx, %ecx
    xorl %edx, %edx
    monitor
    .endm

    .macro woke_in least, most
    cmpl $\least, %ebx
    jb wrong
    cmpl $\most, %ebx
    ja wrong
    .endm

on_timer:
    incq irqs(%rip)
    movq FRAME_RIP(%rdi), %rax
    movq %rax, where(%rip)
    movl $0xfee00000, %eax
    movl $0, 0xb0(%rax)
    ret

// One-shot, 20 us from now.
set_timer:
    apic_write 0x320, TIMER_VECTOR
    apic_write 0x3e0, 0xb
    apic_write 0x380, 20000
    ret

monitor_extension:
    leaq line(%rip), %rax
    movl $1, %ecx
    monitor
    ret
mwait_extension:
    movl $2, %ecx
    mwait
    ret

test:
    handler TIMER_VECTOR, on_timer

    step // CPUID says how large lines are, and that masked interrupts may end the wait.
    movl $1, %eax
    cpuid
    testl $8, %ecx
    jz wrong
    movl $5, %eax
    xorl %ecx, %ecx
    cpuid
    movl %eax, %eax
    expect 64, %rax
    movl %ebx, %ebx
    expect 64, %rbx
    movl %ecx, %ecx
    expect 3, %rcx

    step // Without MONITOR nothing is waited for.
    rdtsc
    movl %eax, %r8d
    xorl %eax, %eax
    xorl %ecx, %ecx
    mwait
    rdtsc
    subl %r8d, %eax
    cmpl $NO_WAKE, %eax
    ja wrong

    start_others

    step // A store ends it, and takes what leaving C1 takes.
    tell ORDER_STORE
    call wait_for_line
    woke_in WAKE_LEAST, WAKE_MOST
    cmpl $1, waits(%rip)
    jne wrong

    step // So does a locked operation.
    tell ORDER_LOCKED
    call wait_for_line
    woke_in WAKE_LEAST, WAKE_MOST
    cmpl $1, waits(%rip)
    jne wrong

    step // The next line is another one.
    tell ORDER_NEIGHBOUR
    call wait_for_line
    woke_in WAKE_LEAST, WAKE_MOST
    cmpl $1, waits(%rip)
    jne wrong
    cmpl $1, line + 64(%rip)
    jne wrong

    step // What was stored between MONITOR and MWAIT is not slept through.
    tell ORDER_STORE
    arm
1:  cmpl $0, line(%rip)
    je 1b
    rdtsc
    movl %eax, %r8d
    xorl %eax, %eax
    xorl %ecx, %ecx
    mwait
    rdtsc
    subl %r8d, %eax
    cmpl $NO_WAKE, %eax
    ja wrong

    step // An interrupt is taken behind MWAIT.
    call set_timer
    arm
    xorl %eax, %eax
    sti
    mwait
1:  cli
    expect 1, irqs(%rip)
    cmpq $1b, where(%rip)
    jne wrong

    step // With ECX bit 0 one that is held back ends the wait and goes on being held back.
    call set_timer
    arm
    xorl %eax, %eax
    movl $1, %ecx
    mwait
    expect 1, irqs(%rip)
    sti
    nop
    cli
    expect 2, irqs(%rip)

    step // There are no other extensions, and none of this outside of ring 0.
    raises 13, 0, call monitor_extension
    raises 13, 0, call mwait_extension
    user monitor_of_user
monitor_of_user:
    raises 6, 0, monitor // Goes on at ring 0.
    movq kernel_rsp(%rip), %rsp
    user mwait_of_user
mwait_of_user:
    raises 6, 0, mwait
    movq kernel_rsp(%rip), %rsp
    ret

    .data
    .align 64
line: .long 0
    .align 64
    .quad 0
    .align 64
order: .long 0
    .align 64
stored_tsc: .long 0
waits: .long 0
irqs: .quad 0
where: .quad 0
    .text
