// SPDX-License-Identifier: Apache-2.0
// Known values in registers of every kind, for whoever looks at them from outside (tests/gdb).
#include "guest.inc"

main:
    movq $-2, %rax
    movabsq $0x1122334455667788, %rbx
    movq $0xb0b, %r8
    movq $0xf0f, %r15
    movq %rbx, %xmm3
    movq %r15, %xmm15
    fninit
    fldpi
    fld1
    movl $0xc0000100, %ecx // IA32_FS_BASE
    movl $0x12345000, %eax
    xorl %edx, %edx
    wrmsr
    movl $0xc0000102, %ecx // IA32_KERNEL_GS_BASE
    movl $0x54321000, %eax
    wrmsr
    movq $-2, %rax
    stc
set:
    nop
    xorl %eax, %eax
    ret
