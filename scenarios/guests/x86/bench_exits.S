// SPDX-License-Identifier: Apache-2.0
// For measurements of speed (tools/bench/guests.sh): CPUID, which exits always, ROUNDS times. Ends as
// bench_integer.S.
#include "guest.inc"
#include "bench.inc"

main:
    movl $ROUNDS, %r8d
1:  xorl %eax, %eax
    cpuid
    decl %r8d
    jnz 1b
    jmp bench_right
