// SPDX-License-Identifier: Apache-2.0
#include "sim/rewind/inner.h"

#include <string.h>

// The frame that a switch leaves, from its stack pointer upwards:
//   0 mxcsr (4), x87 control word (2)   8 r15   16 r14   24 r13   32 r12   40 rbx   48 rbp   56 return
//   address
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl rewind_switch\n"
        ".type rewind_switch, @function\n"
        "rewind_switch:\n\t"
        "pushq %rbp\n\t"
        "pushq %rbx\n\t"
        "pushq %r12\n\t"
        "pushq %r13\n\t"
        "pushq %r14\n\t"
        "pushq %r15\n\t"
        "subq $8, %rsp\n\t"
        "stmxcsr (%rsp)\n\t"
        "fnstcw 4(%rsp)\n\t"
        "movq %rsp, (%rdi)\n\t"
        "movq %rsi, %rsp\n\t"
        "movl %edx, %eax\n\t"
        "ldmxcsr (%rsp)\n\t"
        "fldcw 4(%rsp)\n\t"
        "addq $8, %rsp\n\t"
        "popq %r15\n\t"
        "popq %r14\n\t"
        "popq %r13\n\t"
        "popq %r12\n\t"
        "popq %rbx\n\t"
        "popq %rbp\n\t"
        "retq\n"
        ".size rewind_switch, . - rewind_switch\n");

void *rewind_new_stack(char *top, void (*entry)(void))
{
    uint64_t frame[9] = {0}; // The word above the return address: a caller that is not there.
    uint32_t mxcsr;
    uint16_t control;
    char *sp = top - sizeof frame;

    __asm__("stmxcsr %0" : "=m"(mxcsr));
    __asm__("fnstcw %0" : "=m"(control));
    memcpy(frame, &mxcsr, sizeof mxcsr);
    memcpy((char *)frame + 4, &control, sizeof control);
    frame[7] = (uint64_t)(uintptr_t)entry;
    memcpy(sp, frame, sizeof frame);
    return sp;
}
#else
int rewind_switch(void **from, void *to, int value)
{
    (void)from, (void)to, (void)value;
    rewind_die("rewind: not on this processor\n");
}

void *rewind_new_stack(char *top, void (*entry)(void))
{
    (void)top, (void)entry;
    rewind_die("rewind: not on this processor\n");
}
#endif
