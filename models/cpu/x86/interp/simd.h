// SPDX-License-Identifier: Apache-2.0
// SSE and MMX: the table of instructions that are one operation, and their computation by the host's own
// instructions (simd_host.c).
//
// IEEE arithmetic is the same on every x86-64 processor, and so are integers; what is not, RCP and RSQRT, is
// computed here from its definition. No floating-point type occurs: bytes go in and come out.
#ifndef MODELS_CPU_X86_INTERP_SIMD_H
#define MODELS_CPU_X86_INTERP_SIMD_H

#include "models/cpu/x86/interp/uop.h"

// Operands of one instruction: destination (in and out), source, XMM0 of those that name it.
struct simd_args {
    uint64_t a[2], b[2], mask[2];
    uint64_t gpr;       // The general register of forms XG, GX; ECX of STRING
    uint64_t eax, edx;  // Lengths of PCMPESTRx
    uint8_t cf, zf, pf; // Results of forms CX, STRING
    uint8_t sf, of;     // And of STRING
    uint8_t imm;
};
typedef void (*simd_fn)(struct simd_args *s);

enum simd_prefix { NP, P66, PF3, PF2 };
enum simd_form {
    SIMD_XX,
    SIMD_XXI,
    SIMD_XX0,
    SIMD_MM,
    SIMD_MMI,
    SIMD_XM,
    SIMD_MX,
    SIMD_XG,
    SIMD_GX,
    SIMD_CX,
    SIMD_STRING,
    SIMD_FORMS
};
enum simd_float { SIMD_INTEGER, SIMD_FLOAT, SIMD_UNDERFLOWS };

struct simd_op {
    const char *name;
    uint8_t form, prefix, map, opcode, bytes, flt; // Columns of simd_ops.def
    simd_fn fn, fn64;                              // fn64: with REX.W
};
extern const struct simd_op simd_ops[];
extern const unsigned simd_op_count;

// SDM vol. 1 10.2.3.
#define MXCSR_FLAGS 0x3fu
#define MXCSR_DAZ 0x40u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_MASK_SHIFT 7
#define MXCSR_FTZ 0x8000u
#define MXCSR_RESET 0x1f80u
#define MXCSR_DEFINED 0xffffu // MXCSR_MASK of FXSAVE (SDM vol. 1 11.6.6)
enum { FP_IE = 1, FP_DE = 2, FP_ZE = 4, FP_OE = 8, FP_UE = 16, FP_PE = 32 };

// Carries the operation out under `mxcsr`, all exceptions masked; returns the flags it raised.
uint32_t simd_float_run(simd_fn fn, struct simd_args *s, uint32_t mxcsr);
// Would the result be inexact if its exponent had no limits? That is what PE says where overflow and
// underflow are not masked (SDM vol. 1 4.9.1.5). `wide`: double precision, else single; CONVERT is from
// double to single.
enum simd_lane { SIMD_LANE_ADD, SIMD_LANE_SUB, SIMD_LANE_MUL, SIMD_LANE_DIV, SIMD_LANE_CONVERT };
bool simd_lane_inexact(enum simd_lane what, bool wide, uint32_t mxcsr, uint64_t a, uint64_t b);
// Does the host have all that the table needs (SSE4.2)?
bool simd_host_ok(void);

// --- exec_sse.c, exec_mmx.c. ---

// An instruction's parts, from its bytes.
struct simd_bytes {
    uint8_t prefix, map, opcode, modrm, imm;
    uint8_t reg, rm;               // With REX.R and REX.B
    bool word, rex, rex_w, memory; // word: prefix 66
};
// Moves, insertions, extractions and state that are no operation of the table: by the files that carry them
// out. NULL: none of theirs.
struct simd_row {
    uint8_t prefix, map, opcode; // prefix: bits 1 << enum simd_prefix
    uint8_t operands;            // SIMD_MEMORY, SIMD_REGISTER
    uop_fn fn;
};
#define SIMD_MEMORY 1
#define SIMD_REGISTER 2
extern const struct simd_row exec_sse_move_rows[];
extern const unsigned exec_sse_move_count;
extern const struct simd_row exec_mmx_rows[];
extern const unsigned exec_mmx_count;

// Faults of instructions on XMM (SDM 2.5, 13.1), MMX. INSN_DONE: none.
enum insn_result sse_check(struct vmx *v, const struct uop *u);
enum insn_result mmx_check(struct vmx *v, const struct uop *u);
// Carries out row u->op on *s: sets MXCSR's flags, or raises #XM.
enum insn_result simd_execute(struct vmx *v, const struct uop *u, struct simd_args *s);
// RCPPS and its kin (exec_sse_estimate.c).
enum insn_result sse_rcp_packed(struct vmx *v, const struct uop *u);
enum insn_result sse_rcp_scalar(struct vmx *v, const struct uop *u);
enum insn_result sse_rsqrt_packed(struct vmx *v, const struct uop *u);
enum insn_result sse_rsqrt_scalar(struct vmx *v, const struct uop *u);
// MASKMOVDQU and MASKMOVQ: to rDI, `size` bytes of which those are stored whose mask has its sign bit set.
enum insn_result store_masked(struct vmx *v, const struct uop *u, unsigned size, const unsigned char *bytes,
                              const unsigned char *mask);
// Shifts by an immediate, 0F 71 to 73 (exec_sse_move.c): elements of `size` bytes, 2, 4 or 8, by opcode
// extension 2 right, 4 right with their sign, 6 left. Is there such a shift? The elements of 64 bits shifted
// by `count` bits.
bool shift_exists(unsigned size, unsigned extension);
uint64_t shift_elements(uint64_t value, unsigned size, unsigned extension, unsigned count);
// What form of MMX a row has.
uop_fn mmx_choose(const struct simd_op *op);

#endif
