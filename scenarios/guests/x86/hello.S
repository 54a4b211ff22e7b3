// SPDX-License-Identifier: Apache-2.0
// The smallest guest: says hello, and ends with status 0.
#include "guest.inc"

main:
    print "hello from 64-bit mode\n"
    xorl %eax, %eax
    ret
