// SPDX-License-Identifier: Apache-2.0
// What uops read and write: registers, effective addresses, memory, the stack.
#ifndef MODELS_CPU_X86_INTERP_OPERAND_H
#define MODELS_CPU_X86_INTERP_OPERAND_H

#include "models/cpu/x86/guest_fast.h"
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/uop.h"

static inline void uop_at(struct vmx *v, const struct uop *u)
{
    v->rip = block_running(v)->rip + u->offset;
}

// --- Registers. `size` is a constant in most callers. ---

static inline __attribute__((always_inline)) uint64_t reg_read(const struct vmx *v, unsigned reg,
                                                               unsigned size)
{
    switch (size) {
    case 1:
        return reg & REG_HIGH ? (uint8_t)(v->gpr.r[reg & 15] >> 8) : (uint8_t)v->gpr.r[reg];
    case 2:
        return (uint16_t)v->gpr.r[reg];
    case 4:
        return (uint32_t)v->gpr.r[reg];
    default:
        return v->gpr.r[reg];
    }
}

// 32-bit results are zero-extended, narrower ones keep the rest (SDM vol. 1 3.4.1.1).
static inline __attribute__((always_inline)) void reg_write(struct vmx *v, unsigned reg, unsigned size,
                                                            uint64_t value)
{
    uint64_t *r = &v->gpr.r[reg & 15];

    switch (size) {
    case 1:
        if (reg & REG_HIGH)
            *r = (*r & ~0xff00ull) | (value & 0xff) << 8;
        else
            *r = (*r & ~0xffull) | (value & 0xff);
        break;
    case 2:
        *r = (*r & ~0xffffull) | (value & 0xffff);
        break;
    case 4:
        *r = (uint32_t)value;
        break;
    default:
        *r = value;
        break;
    }
}

static inline uint64_t size_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;
}

// --- Memory. ---

// Offset of the memory operand in its segment (SDM vol. 1 3.7.5).
static inline __attribute__((always_inline)) uint64_t effective_address(const struct vmx *v,
                                                                        const struct uop *u)
{
    uint64_t at = (uint64_t)u->disp;

    if (u->base != REG_NONE)
        at += v->gpr.r[u->base];
    if (u->index != REG_NONE)
        at += v->gpr.r[u->index] << u->scale;
    return at & u->address_mask;
}

// Linear address of `offset` in a segment for an access of `size` bytes, checked. INSN_DONE: *linear.
enum insn_result operand_linear(struct vmx *v, const struct uop *u, enum segment_name segment,
                                uint64_t offset, unsigned size, unsigned access, uint64_t *linear);
// Reads and writes `size` (1..16) bytes at an offset in a segment. Anything but INSN_DONE is what the
// instruction returns; nothing was read or written then. v->rip is set where something happens.
enum insn_result operand_load_any(struct vmx *v, const struct uop *u, enum segment_name segment,
                                  uint64_t offset, unsigned size, uint64_t *value);
enum insn_result operand_store_any(struct vmx *v, const struct uop *u, enum segment_name segment,
                                   uint64_t offset, unsigned size, uint64_t value);
// For accesses of other shapes: before one, whether it is this processor's turn (false: the instruction
// returns INSN_AGAIN); and behind a store: what it wrote into the running block is read anew.
bool operand_in_turn(struct vmx *v, const struct uop *u);
void operand_stored(struct vmx *v, uint64_t linear, unsigned size);

// The usual case of both in place, where `size` is a constant.
static inline __attribute__((always_inline)) enum insn_result operand_load(struct vmx *v, const struct uop *u,
                                                                           enum segment_name segment,
                                                                           uint64_t offset, unsigned size,
                                                                           uint64_t *value)
{
    struct pcpu *c = v->cpu;

    if (__builtin_constant_p(size) && __builtin_expect(offset < v->seg[segment].plain_read, 1) &&
        __builtin_expect(c->now_ticks < c->limit_ticks, 1)) {
        uint64_t loaded = 0; // Not *value: its address need not exist then.

        if (__builtin_expect(guest_load_near(c, offset, size, &loaded), 1)) {
            *value = loaded;
            return INSN_DONE;
        }
    }
    return operand_load_any(v, u, segment, offset, size, value);
}

static inline __attribute__((always_inline)) enum insn_result
operand_store(struct vmx *v, const struct uop *u, enum segment_name segment, uint64_t offset, unsigned size,
              uint64_t value)
{
    struct pcpu *c = v->cpu;

    if (__builtin_constant_p(size) && __builtin_expect(offset < v->seg[segment].plain_write, 1) &&
        __builtin_expect(c->now_ticks < c->limit_ticks, 1) &&
        __builtin_expect(guest_store_near(c, offset, size, &value), 1)) {
        if (__builtin_expect(offset - v->interp->code_from < v->interp->code_span, 0))
            operand_stored(v, offset, size);
        return INSN_DONE;
    }
    return operand_store_any(v, u, segment, offset, size, value);
}
// A read-modify-write at an offset in the memory operand's segment: begin gives the old value after all
// checks for both; end writes, and cannot fail. Locked if UOP_LOCK says so.
enum insn_result operand_rmw_begin(struct vmx *v, const struct uop *u, uint64_t offset, unsigned size,
                                   uint64_t *value);
void operand_rmw_end(struct vmx *v, const struct uop *u, unsigned size, uint64_t value);

#define MEMORY_BYTES_MAX 512u
// Reads and writes `size` bytes, up to MEMORY_BYTES_MAX, at the memory operand's address plus `at`. That must
// be a multiple of `align` (a power of two), or #GP(0). Both pages are translated before any byte moves.
enum insn_result memory_load_bytes_at(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                      unsigned align, void *bytes);
enum insn_result memory_store_bytes_at(struct vmx *v, const struct uop *u, unsigned at, unsigned size,
                                       unsigned align, const void *bytes);

static inline enum insn_result memory_load_bytes(struct vmx *v, const struct uop *u, unsigned size,
                                                 unsigned align, void *bytes)
{
    return memory_load_bytes_at(v, u, 0, size, align, bytes);
}

static inline enum insn_result memory_store_bytes(struct vmx *v, const struct uop *u, unsigned size,
                                                  unsigned align, const void *bytes)
{
    return memory_store_bytes_at(v, u, 0, size, align, bytes);
}

static inline __attribute__((always_inline)) enum insn_result memory_load(struct vmx *v, const struct uop *u,
                                                                          unsigned size, uint64_t *value)
{
    return operand_load(v, u, (enum segment_name)u->segment, effective_address(v, u), size, value);
}

static inline __attribute__((always_inline)) enum insn_result memory_store(struct vmx *v, const struct uop *u,
                                                                           unsigned size, uint64_t value)
{
    return operand_store(v, u, (enum segment_name)u->segment, effective_address(v, u), size, value);
}

static inline __attribute__((always_inline)) enum insn_result
memory_rmw_begin(struct vmx *v, const struct uop *u, unsigned size, uint64_t *value)
{
    return operand_rmw_begin(v, u, effective_address(v, u), size, value);
}

// --- Any operand: 0 is the first. ---

static inline enum insn_result operand_read(struct vmx *v, const struct uop *u, unsigned n, unsigned size,
                                            uint64_t *value)
{
    switch (u->kind[n]) {
    case OPERAND_GPR:
        *value = reg_read(v, u->reg[n], size);
        return INSN_DONE;
    case OPERAND_MEMORY:
        return memory_load(v, u, size, value);
    default:
        *value = u->imm & size_mask(size);
        return INSN_DONE;
    }
}

static inline enum insn_result operand_write(struct vmx *v, const struct uop *u, unsigned n, unsigned size,
                                             uint64_t value)
{
    if (u->kind[n] == OPERAND_MEMORY)
        return memory_store(v, u, size, value);
    reg_write(v, u->reg[n], size, value);
    return INSN_DONE;
}

// Replaces operand 0, a register or memory, by a function of it and `operand`.
typedef uint64_t (*modify_fn)(struct vmx *v, unsigned size, uint64_t a, uint64_t operand);
static inline __attribute__((always_inline)) enum insn_result
operand_modify(struct vmx *v, const struct uop *u, modify_fn fn, uint64_t operand)
{
    uint64_t a;
    enum insn_result r;

    if (u->kind[0] == OPERAND_GPR) {
        reg_write(v, u->reg[0], u->size, fn(v, u->size, reg_read(v, u->reg[0], u->size), operand));
        return INSN_DONE;
    }
    r = memory_rmw_begin(v, u, u->size, &a);
    if (r == INSN_DONE)
        operand_rmw_end(v, u, u->size, fn(v, u->size, a, operand));
    return r;
}

static inline int64_t sign_extend(uint64_t value, unsigned size)
{
    unsigned shift = 64 - 8 * size;

    return (int64_t)(value << shift) >> shift;
}

// --- The stack (SDM vol. 1 6.2). ---

static inline uint64_t stack_offset(const struct vmx *v, const struct uop *u, int64_t delta)
{
    return (v->gpr.r[REG_RSP] + (uint64_t)delta) & size_mask(u->stack_size);
}

static inline void stack_set(struct vmx *v, const struct uop *u, uint64_t value)
{
    reg_write(v, REG_RSP, u->stack_size == 2 ? 2 : u->stack_size, value);
}

static inline enum insn_result stack_push(struct vmx *v, const struct uop *u, unsigned size, uint64_t value)
{
    uint64_t to = stack_offset(v, u, -(int64_t)size);
    enum insn_result r = operand_store(v, u, SEG_SS, to, size, value);

    if (r == INSN_DONE)
        stack_set(v, u, to);
    return r;
}

// Reads what is on top, at `skip` bytes below it; the caller moves RSP by stack_drop() when nothing can fault
// any more.
static inline enum insn_result stack_peek(struct vmx *v, const struct uop *u, unsigned size, unsigned skip,
                                          uint64_t *value)
{
    return operand_load(v, u, SEG_SS, stack_offset(v, u, skip), size, value);
}

static inline void stack_drop(struct vmx *v, const struct uop *u, uint64_t bytes)
{
    stack_set(v, u, stack_offset(v, u, (int64_t)bytes));
}

// An exception of this instruction.
static inline enum insn_result uop_fault(struct vmx *v, const struct uop *u, unsigned vector, uint32_t error)
{
    uop_at(v, u);
    return insn_fault(v->cpu, vector, error);
}

#endif
