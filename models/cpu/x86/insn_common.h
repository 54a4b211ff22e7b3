// SPDX-License-Identifier: Apache-2.0
// Shared by insn_*.c.
#ifndef MODELS_CPU_X86_INSN_COMMON_H
#define MODELS_CPU_X86_INSN_COMMON_H

#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/insn.h"
#include "models/cpu/x86/x86_state.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R11 = 11 };

// --- The mode of the code that runs. A program's: see insn.h. ---

static inline unsigned insn_cpl(const struct vmx *v)
{
    return v->guest ? 0 : segment_cpl(v);
}

static inline bool insn_64(const struct vmx *v)
{
    return v->guest || segment_code_size(v) == CODE_64;
}

static inline bool insn_v86(const struct vmx *v)
{
    return !v->guest && guest_v86(v);
}

// Protected mode, not virtual-8086.
static inline bool insn_protected(const struct vmx *v)
{
    return v->guest || guest_protected(v);
}

static inline unsigned insn_iopl(const struct vmx *v)
{
    return (v->rflags & X86_RFLAGS_IOPL) >> X86_RFLAGS_IOPL_SHIFT;
}

static inline enum insn_result insn_gp(struct pcpu *c)
{
    return insn_fault(c, GP_VECTOR, 0);
}

// --- Exits. ---

static inline struct vmexit *insn_exit_begin(struct pcpu *c, uint32_t reason, unsigned length)
{
    struct vmexit *x = vmx_exit_begin(c, reason);

    x->insn_length = length;
    return x;
}

static inline enum insn_result insn_exit(struct pcpu *c, uint32_t reason, unsigned length)
{
    insn_exit_begin(c, reason, length);
    return INSN_EXIT;
}

// One with an operand: displacement and instruction information, to which `more` is added.
enum insn_result insn_operand_exit(struct pcpu *c, uint32_t reason, unsigned length,
                                   const struct insn_operand *o, uint32_t more);

// --- Registers and operands. ---

static inline uint64_t insn_reg(const struct vmx *v, unsigned reg, unsigned size)
{
    return size == 8 ? v->gpr.r[reg] : v->gpr.r[reg] & ((1ull << (8 * size)) - 1);
}

// 32-bit results are zero-extended, narrower ones keep the rest (SDM vol. 1 3.4.1.1).
static inline void insn_set_reg(struct vmx *v, unsigned reg, unsigned size, uint64_t value)
{
    uint64_t keep = size >= 4 ? 0 : ~((1ull << (8 * size)) - 1);

    if (size == 4)
        value = (uint32_t)value;
    v->gpr.r[reg] = (v->gpr.r[reg] & keep) | (value & ~keep);
}

// A register of the width of the mode.
static inline uint64_t insn_mode_reg(const struct vmx *v, unsigned reg)
{
    return insn_reg(v, reg, insn_64(v) ? 8 : 4);
}

static inline void insn_set_edx_eax(struct vmx *v, uint64_t value)
{
    v->gpr.r[RAX] = (uint32_t)value;
    v->gpr.r[RDX] = value >> 32;
}

// Linear address of an offset in a segment, unchecked.
uint64_t insn_linear(const struct vmx *v, enum segment_name segment, uint64_t offset);
// Checks `size` bytes at it. INSN_DONE: *linear.
enum insn_result insn_check(struct pcpu *c, enum segment_name segment, uint64_t offset, unsigned size,
                            bool write, uint64_t *linear);
// `size` (1 to 8) bytes at an offset in a segment.
enum insn_result insn_read(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                           unsigned size, uint64_t *value);
enum insn_result insn_write(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                            unsigned size, uint64_t value);
// `size` bytes at `at` of a memory operand.
enum insn_result insn_load(struct pcpu *c, unsigned length, const struct insn_operand *o, unsigned at,
                           unsigned size, uint64_t *value);
// An access of `size` bytes is possible, and would be again.
enum insn_result insn_probe(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                            unsigned size, unsigned access);
// Where in host-physical memory the byte is, for reading.
enum insn_result insn_physical(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                               uint64_t *hpa);
// Result of a register or memory operand; in memory `size` bytes.
enum insn_result insn_store(struct pcpu *c, unsigned length, const struct insn_operand *o, unsigned size,
                            uint64_t value);

// CLI, STI, IN, OUT: may the code at its level do that by RFLAGS.IOPL (SDM 18.5.1, 20.2.7)?
static inline bool insn_iopl_allows(const struct vmx *v)
{
    return insn_cpl(v) <= insn_iopl(v);
}

#endif
