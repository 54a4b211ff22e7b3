// SPDX-License-Identifier: Apache-2.0
#include "sim/kernel.h"

// The file is compiled with frame pointers, so that debuggers find the caller across the jump.
__attribute__((noinline)) void stack_call_at(void *sp, void (*fn)(void *), void *arg)
{
    char *here = __builtin_frame_address(0);
    // 512: below this frame and the 128 bytes under the stack pointer that the ABI lets it use.
    SIM_CHECK((char *)sp + 512 <= here && ((uintptr_t)sp & 15) == 0, "stack_call_at(%p) from %p", sp,
              (void *)here);
#if defined(__x86_64__)
    void *saved;
    __asm__ volatile("movq %%rsp, %[saved]\n\t"
                     "movq %[sp], %%rsp\n\t"
                     "callq *%[fn]\n\t"
                     "movq %[saved], %%rsp"
                     : [saved] "=&b"(saved), "+D"(arg)
                     : [sp] "r"(sp), [fn] "r"(fn)
                     : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1",
                       "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15");
#elif defined(__aarch64__)
    register void *x0 __asm__("x0") = arg;
    register void *saved __asm__("x19");
    __asm__ volatile("mov %[saved], sp\n\t"
                     "mov sp, %[sp]\n\t"
                     "blr %[fn]\n\t"
                     "mov sp, %[saved]"
                     : [saved] "=&r"(saved), "+r"(x0)
                     : [sp] "r"(sp), [fn] "r"(fn)
                     : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                       "x14", "x15", "x16", "x17", "x18", "x30", "cc", "memory", "v0", "v1", "v2", "v3", "v4",
                       "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
                       "v26", "v27", "v28", "v29", "v30", "v31");
#else
    fn(arg); // The frame is then where the compiler puts it; sim.h says so.
#endif
}
