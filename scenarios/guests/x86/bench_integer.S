// SPDX-License-Identifier: Apache-2.0
// For measurements of speed (tools/bench/guests.sh): integer arithmetic with loads and stores in 8 KiB, 1024
// turns of 9 instructions a round. Status 0 if what comes out is right, by a power-off on port 0x8900, which
// emulators know as well.
#include "guest.inc"
#include "bench.inc"

main:
    movl $ROUNDS, %r8d
    leaq words, %rsi
    xorl %ebx, %ebx
round:
    xorl %ecx, %ecx
1:  movq (%rsi,%rcx,8), %rdx
    addq %rcx, %rdx
    xorq %rdx, %rbx
    movq %rdx, (%rsi,%rcx,8)
    addq 8(%rsi,%rcx,8), %rbx
    rolq $3, %rbx
    incl %ecx
    cmpl $1024, %ecx
    jne 1b
    decl %r8d
    jnz round
    // Word i has been increased by i, ROUNDS times.
    movl $1023, %ecx
    movl $ROUNDS, %eax
    imulq %rcx, %rax
    cmpq %rax, (%rsi,%rcx,8)
    jne bench_wrong
    jmp bench_right

    .bss
    .align 4096
words:
    .skip 8200
