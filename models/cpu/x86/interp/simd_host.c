// SPDX-License-Identifier: Apache-2.0
// Operations of simd_ops.def by the host's instructions of the same name, operands in memory.
#include "models/cpu/x86/interp/simd.h"

// --- One function for each row. ---

#define LOAD_AB "movdqu %0, %%xmm0\n\tmovdqu %1, %%xmm1\n\t"
#define LOAD_MM "movq %0, %%mm0\n\tmovq %1, %%mm1\n\t"

// An instruction's immediate is part of its code: 256 copies, 16 bytes each, and a jump into them.
#define BY_IMMEDIATE(text)                                                                                   \
    "leaq 1f(%%rip), %%rax\n\t"                                                                              \
    "shlq $4, %%rcx\n\t"                                                                                     \
    "addq %%rcx, %%rax\n\t"                                                                                  \
    "jmp *%%rax\n\t"                                                                                         \
    ".balign 16\n"                                                                                           \
    "1:\n\t"                                                                                                 \
    ".set simd_imm, 0\n\t"                                                                                   \
    ".rept 256\n\t" text "\n\t"                                                                              \
    "jmp 2f\n\t"                                                                                             \
    ".balign 16\n\t"                                                                                         \
    ".set simd_imm, simd_imm + 1\n\t"                                                                        \
    ".endr\n"                                                                                                \
    "2:\n\t"

#define XX(p, m, o, name, bytes, flt)                                                                        \
    static void xx_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile(LOAD_AB #name " %%xmm1, %%xmm0\n\tmovdqu %%xmm0, %0"                                \
                         : "+m"(s->a)                                                                        \
                         : "m"(s->b)                                                                         \
                         : "xmm0", "xmm1");                                                                  \
    }
#define XXI(p, m, o, name, bytes, flt)                                                                       \
    static void xxi_##name(struct simd_args *s)                                                              \
    {                                                                                                        \
        uint64_t imm = s->imm;                                                                               \
                                                                                                             \
        __asm__ volatile("movdqu %0, %%xmm0\n\tmovdqu %2, %%xmm1\n\t" BY_IMMEDIATE(                          \
                             #name " $simd_imm, %%xmm1, %%xmm0") "movdqu %%xmm0, %0"                         \
                         : "+m"(s->a), "+c"(imm)                                                             \
                         : "m"(s->b)                                                                         \
                         : "rax", "xmm0", "xmm1", "cc");                                                     \
    }
#define XX0(p, m, o, name, bytes, flt)                                                                       \
    static void xx0_##name(struct simd_args *s)                                                              \
    {                                                                                                        \
        __asm__ volatile("movdqu %0, %%xmm1\n\tmovdqu %1, %%xmm2\n\tmovdqu %2, %%xmm0\n\t" #name             \
                         " %%xmm0, %%xmm2, %%xmm1\n\tmovdqu %%xmm1, %0"                                      \
                         : "+m"(s->a)                                                                        \
                         : "m"(s->b), "m"(s->mask)                                                           \
                         : "xmm0", "xmm1", "xmm2");                                                          \
    }
#define MM(p, m, o, name, bytes, flt)                                                                        \
    static void mm_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile(LOAD_MM #name " %%mm1, %%mm0\n\tmovq %%mm0, %0\n\temms"                             \
                         : "+m"(s->a[0])                                                                     \
                         : "m"(s->b[0])                                                                      \
                         : "mm0", "mm1");                                                                    \
    }
#define MMI(p, m, o, name, bytes, flt)                                                                       \
    static void mmi_##name(struct simd_args *s)                                                              \
    {                                                                                                        \
        uint64_t imm = s->imm;                                                                               \
                                                                                                             \
        __asm__ volatile("movq %0, %%mm0\n\tmovq %2, %%mm1\n\t" BY_IMMEDIATE(                                \
                             #name " $simd_imm, %%mm1, %%mm0") "movq %%mm0, %0\n\temms"                      \
                         : "+m"(s->a[0]), "+c"(imm)                                                          \
                         : "m"(s->b[0])                                                                      \
                         : "rax", "mm0", "mm1", "cc");                                                       \
    }
#define XM(p, m, o, name, bytes, flt)                                                                        \
    static void xm_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile("movdqu %0, %%xmm0\n\tmovq %1, %%mm1\n\t" #name                                     \
                         " %%mm1, %%xmm0\n\tmovdqu %%xmm0, %0\n\temms"                                       \
                         : "+m"(s->a)                                                                        \
                         : "m"(s->b[0])                                                                      \
                         : "mm1", "xmm0");                                                                   \
    }
#define MX(p, m, o, name, bytes, flt)                                                                        \
    static void mx_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile("movdqu %1, %%xmm1\n\t" #name " %%xmm1, %%mm0\n\tmovq %%mm0, %0\n\temms"            \
                         : "=m"(s->a[0])                                                                     \
                         : "m"(s->b)                                                                         \
                         : "mm0", "xmm1");                                                                   \
    }
#define XG(p, m, o, name, bytes, flt)                                                                        \
    static void xg_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile("movdqu %0, %%xmm0\n\t" #name "l %k1, %%xmm0\n\tmovdqu %%xmm0, %0"                  \
                         : "+m"(s->a)                                                                        \
                         : "r"(s->gpr)                                                                       \
                         : "xmm0");                                                                          \
    }                                                                                                        \
    static void xg64_##name(struct simd_args *s)                                                             \
    {                                                                                                        \
        __asm__ volatile("movdqu %0, %%xmm0\n\t" #name "q %q1, %%xmm0\n\tmovdqu %%xmm0, %0"                  \
                         : "+m"(s->a)                                                                        \
                         : "r"(s->gpr)                                                                       \
                         : "xmm0");                                                                          \
    }
#define GX(p, m, o, name, bytes, flt)                                                                        \
    static void gx_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile("movdqu %1, %%xmm1\n\t" #name " %%xmm1, %k0" : "=r"(s->gpr) : "m"(s->b) : "xmm1");  \
    }                                                                                                        \
    static void gx64_##name(struct simd_args *s)                                                             \
    {                                                                                                        \
        __asm__ volatile("movdqu %1, %%xmm1\n\t" #name " %%xmm1, %q0" : "=r"(s->gpr) : "m"(s->b) : "xmm1");  \
    }
#define CX(p, m, o, name, bytes, flt)                                                                        \
    static void cx_##name(struct simd_args *s)                                                               \
    {                                                                                                        \
        __asm__ volatile("movdqu %3, %%xmm0\n\tmovdqu %4, %%xmm1\n\t" #name                                  \
                         " %%xmm1, %%xmm0\n\tsetc %0\n\tsetz %1\n\tsetp %2"                                  \
                         : "=m"(s->cf), "=m"(s->zf), "=m"(s->pf)                                             \
                         : "m"(s->a), "m"(s->b)                                                              \
                         : "xmm0", "xmm1", "cc");                                                            \
    }
// The index goes to ECX, a mask to XMM0: the one that is no result keeps what is put in here.
#define STRING(p, m, o, name, bytes, flt)                                                                    \
    static void string_##name(struct simd_args *s)                                                           \
    {                                                                                                        \
        uint64_t imm = s->imm, eax = s->eax, edx = s->edx;                                                   \
                                                                                                             \
        __asm__ volatile(                                                                                    \
            "movdqu %5, %%xmm2\n\tmovdqu %6, %%xmm1\n\tmovdqu %7, %%xmm0\n\t"                                \
            "leaq 1f(%%rip), %%r8\n\tshlq $4, %%rcx\n\taddq %%rcx, %%r8\n\tmovq %8, %%rcx\n\tjmp *%%r8\n\t"  \
            ".balign 16\n1:\n\t.set simd_imm, 0\n\t.rept 256\n\t" #name " $simd_imm, %%xmm1, %%xmm2\n\t"     \
            "jmp 2f\n\t.balign 16\n\t.set simd_imm, simd_imm + 1\n\t.endr\n2:\n\t"                           \
            "setc %0\n\tsetz %1\n\tsets %2\n\tseto %3\n\tmovdqu %%xmm0, %7"                                  \
            : "=m"(s->cf), "=m"(s->zf), "=m"(s->sf), "=m"(s->of), "+c"(imm)                                  \
            : "m"(s->a), "m"(s->b), "m"(s->mask), "m"(s->gpr), "a"(eax), "d"(edx)                            \
            : "r8", "xmm0", "xmm1", "xmm2", "cc", "memory");                                                 \
        s->gpr = imm;                                                                                        \
    }
#include "models/cpu/x86/interp/simd_ops.def"

// --- The table. ---

#define ROW(form, prefix, map, opcode, name, bytes, flt, fn, fn64)                                           \
    {#name, SIMD_##form, prefix, map, opcode, bytes, flt, fn, fn64},
#define XX(p, m, o, name, bytes, flt) ROW(XX, p, m, o, name, bytes, flt, xx_##name, NULL)
#define XXI(p, m, o, name, bytes, flt) ROW(XXI, p, m, o, name, bytes, flt, xxi_##name, NULL)
#define XX0(p, m, o, name, bytes, flt) ROW(XX0, p, m, o, name, bytes, flt, xx0_##name, NULL)
#define MM(p, m, o, name, bytes, flt) ROW(MM, p, m, o, name, bytes, flt, mm_##name, NULL)
#define MMI(p, m, o, name, bytes, flt) ROW(MMI, p, m, o, name, bytes, flt, mmi_##name, NULL)
#define XM(p, m, o, name, bytes, flt) ROW(XM, p, m, o, name, bytes, flt, xm_##name, NULL)
#define MX(p, m, o, name, bytes, flt) ROW(MX, p, m, o, name, bytes, flt, mx_##name, NULL)
#define XG(p, m, o, name, bytes, flt) ROW(XG, p, m, o, name, bytes, flt, xg_##name, xg64_##name)
#define GX(p, m, o, name, bytes, flt) ROW(GX, p, m, o, name, bytes, flt, gx_##name, gx64_##name)
#define CX(p, m, o, name, bytes, flt) ROW(CX, p, m, o, name, bytes, flt, cx_##name, NULL)
#define STRING(p, m, o, name, bytes, flt) ROW(STRING, p, m, o, name, bytes, flt, string_##name, NULL)
const struct simd_op simd_ops[] = {
#include "models/cpu/x86/interp/simd_ops.def"
};
#undef ROW
const unsigned simd_op_count = sizeof simd_ops / sizeof *simd_ops;

// --- MXCSR. ---

uint32_t simd_float_run(simd_fn fn, struct simd_args *s, uint32_t mxcsr)
{
    uint32_t host, during = (mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS;

    __asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(host) : "m"(during) : "memory");
    fn(s);
    __asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(during) : "m"(host) : "memory");
    return during & MXCSR_FLAGS;
}

// --- Precision without a limit to the exponent: the x87 unit rounds to 24 or 53 bits and has 15 of exponent.
// ---

#define X87_PRECISION_SINGLE 0x007fu // All masked; RC is in bits 11:10
#define X87_PRECISION_DOUBLE 0x027fu
#define X87_INEXACT 0x20u

#define LANE(name, load, op)                                                                                 \
    static uint16_t lane_##name(uint16_t control, const void *a, const void *b)                              \
    {                                                                                                        \
        uint16_t status;                                                                                     \
                                                                                                             \
        __asm__ volatile("fldcw %1\n\t" load " (%2)\n\t" load " (%3)\n\t" op "\n\tfnstsw %0\n\tfninit"       \
                         : "=m"(status)                                                                      \
                         : "m"(control), "r"(a), "r"(b)                                                      \
                         : "memory", "cc");                                                                  \
        return status;                                                                                       \
    }
LANE(add4, "flds", "faddp")
LANE(add8, "fldl", "faddp")
LANE(sub4, "flds", "fsubrp")
LANE(sub8, "fldl", "fsubrp")
LANE(mul4, "flds", "fmulp")
LANE(mul8, "fldl", "fmulp")
LANE(div4, "flds", "fdivrp")
LANE(div8, "fldl", "fdivrp")
LANE(add0, "fldl", "faddp") // Of a number and zero: a conversion.
#undef LANE

bool simd_lane_inexact(enum simd_lane what, bool wide, uint32_t mxcsr, uint64_t a, uint64_t b)
{
    static uint16_t (*const fns[][2])(uint16_t, const void *,
                                      const void *) = {[SIMD_LANE_ADD] = {lane_add4, lane_add8},
                                                       [SIMD_LANE_SUB] = {lane_sub4, lane_sub8},
                                                       [SIMD_LANE_MUL] = {lane_mul4, lane_mul8},
                                                       [SIMD_LANE_DIV] = {lane_div4, lane_div8},
                                                       [SIMD_LANE_CONVERT] = {lane_add0, lane_add0}};
    uint16_t control =
        (uint16_t)((wide ? X87_PRECISION_DOUBLE : X87_PRECISION_SINGLE) | (mxcsr & 0x6000) >> 3);

    return fns[what][wide](control, &a, &b) & X87_INEXACT;
}

bool simd_host_ok(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3");
}
