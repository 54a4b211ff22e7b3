// SPDX-License-Identifier: Apache-2.0
// A fault that cannot be delivered, nor the double fault of that: the processor shuts down (SDM 6.15, interrupt 8).
#include "guest.inc"

main:
    print "no way out\n"
    lidt nothing(%rip)
    ud2
    print "survived\n"
    xorl %eax, %eax
    ret

    .data
nothing: .word 0
    .quad 0
    .text
