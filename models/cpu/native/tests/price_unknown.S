// SPDX-License-Identifier: Apache-2.0
//
// Instructions that price_classes.def does not know.

        .intel_syntax noprefix
        .text
        .globl  strange
        .type   strange, @function
strange:
        call    __sanitizer_cov_trace_pc@PLT
        rdrand  rbx
        call    __sanitizer_cov_trace_pc@PLT
        aesenc  xmm0, xmm1
        rdrand  rbp
        ret
        .size   strange, . - strange
        .section .note.GNU-stack, "", @progbits
