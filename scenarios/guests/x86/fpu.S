// SPDX-License-Identifier: Apache-2.0
// Counts in RCX, in XMM1 and in ST(0), and compares at each turn: ends with status 0 after TURNS of them, with 1 if
// somebody else's registers were found. Two such guests on one processor show that they are kept apart.
#include "guest.inc"

#define TURNS 1500000

main:
    // A start of its own, by the time stamp counter.
    rdtsc
    movzwl %ax, %ecx
    leal TURNS(%rcx), %edx
    cvtsi2sdl %ecx, %xmm1
    movl $1, %eax
    cvtsi2sdl %eax, %xmm3
    fninit
    movl %ecx, count(%rip)
    fildl count(%rip)
1:  incl %ecx
    addsd %xmm3, %xmm1
    fld1
    faddp
    cvtsi2sdl %ecx, %xmm2
    ucomisd %xmm1, %xmm2
    jne 2f
    jp 2f
    movl %ecx, count(%rip)
    fildl count(%rip)
    fucomip %st(1)
    jne 2f
    jp 2f
    cmpl %ecx, %edx
    jne 1b
    xorl %eax, %eax
    ret
2:  movl $1, %eax
    ret

    .data
count:
    .long 0
