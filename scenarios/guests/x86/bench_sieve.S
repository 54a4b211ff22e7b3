// SPDX-License-Identifier: Apache-2.0
// For measurements of speed (tools/bench/guests.sh): the primes below 2^20 by a sieve of bytes, in pages of
// 4 KiB whose order in memory is not that of their addresses. Ends as bench_integer.S.
#include "guest.inc"
#include "bench.inc"

#define FLAGS 0x40000000 // Linear; 256 pages
#define PAGES 0x400000   // Guest-physical
#define BELOW (1 << 20)
#define PRIMES 82025

main:
    // The second GiB's first 2 MiB by a table of their own: page i is the (i * 37 + 11) mod 256th.
    leaq table, %rax
    orl $7, %eax
    movq %rax, pd + 4096
    leaq table, %rdi
    xorl %ecx, %ecx
1:  imull $37, %ecx, %eax
    addl $11, %eax
    andl $255, %eax
    shll $12, %eax
    addl $PAGES + 7, %eax
    movq %rax, (%rdi,%rcx,8)
    incl %ecx
    cmpl $256, %ecx
    jne 1b
    movq %cr3, %rax
    movq %rax, %cr3

    movl $ROUNDS, %r8d
    movl $FLAGS, %esi
round:
    // All are candidates.
    movabsq $0x0101010101010101, %rax
    xorl %ecx, %ecx
1:  movq %rax, (%rsi,%rcx)
    addl $8, %ecx
    cmpl $BELOW, %ecx
    jne 1b
    // Multiples are none.
    movl $2, %ecx
2:  cmpb $0, (%rsi,%rcx)
    je 4f
    movl %ecx, %edx
    imull %ecx, %edx
3:  movb $0, (%rsi,%rdx)
    addl %ecx, %edx
    cmpl $BELOW, %edx
    jb 3b
4:  incl %ecx
    cmpl $1024, %ecx
    jne 2b
    // Those that are left are counted: 0 and 1 are none.
    xorl %ebx, %ebx
    movl $2, %ecx
5:  movzbl (%rsi,%rcx), %eax
    addl %eax, %ebx
    incl %ecx
    cmpl $BELOW, %ecx
    jne 5b
    cmpl $PRIMES, %ebx
    jne bench_wrong
    decl %r8d
    jnz round
    jmp bench_right

    .bss
    .align 4096
table:
    .skip 4096
