// SPDX-License-Identifier: Apache-2.0
// x87 state (SDM vol. 1 ch. 8), which MMX registers share (vol. 1 9.2).
#ifndef MODELS_CPU_X86_X87_H
#define MODELS_CPU_X86_X87_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define X87_CONTROL_RESET 0x37fu // FNINIT
#define X87_CONTROL_FIXED 0x40u  // A bit that always reads as 1
#define X87_CONTROL_DEFINED 0x1f7fu
#define X87_STATUS_ES 0x80u     // An unmasked exception is pending
#define X87_STATUS_BUSY 0x8000u // Mirrors ES
#define X87_STATUS_TOP_SHIFT 11
#define X87_STATUS_TOP (7u << X87_STATUS_TOP_SHIFT)
#define X87_STATUS_C1 0x200u
#define X87_STATUS_C2 0x400u
#define X87_STATUS_C023 0x4500u
#define X87_EXCEPTIONS 0x3fu
#define X87_DENORMAL 0x2u
#define X87_PRECISION 0x20u
#define MMX_EXPONENT 0xffffu // Of a register that MMX has written

// FCS and FDS do not exist: deprecated, they are stored as 0 (CPUID.(7,0):EBX[13]).
struct x87 {
    uint16_t control, status;
    uint16_t opcode;   // FOP, 11 bits
    uint8_t valid;     // Bit n: physical register n is not empty
    uint64_t ip, dp;   // Offsets of the last instruction and of its memory operand
    uint64_t st[8][2]; // ST(0) first: mantissa; sign and exponent in the lower 16 bits
};

static inline unsigned x87_top(const struct x87 *x)
{
    return x->status >> X87_STATUS_TOP_SHIFT & 7;
}

// Physical register of ST(i).
static inline unsigned x87_physical(const struct x87 *x, unsigned i)
{
    return (x87_top(x) + i) & 7;
}

// FNINIT. The registers keep their contents, but reset clears them.
static inline void x87_init(struct x87 *x)
{
    x->control = X87_CONTROL_RESET;
    x->status = x->opcode = 0;
    x->valid = 0;
    x->ip = x->dp = 0;
}

// ES and B follow from flags and masks (SDM vol. 1 8.1.3.3).
static inline void x87_summarize(struct x87 *x)
{
    x->status &= (uint16_t) ~(X87_STATUS_ES | X87_STATUS_BUSY);
    if (x->status & ~x->control & X87_EXCEPTIONS)
        x->status |= X87_STATUS_ES | X87_STATUS_BUSY;
}

// Moves TOP, the physical registers keep their contents.
static inline void x87_set_top(struct x87 *x, unsigned top)
{
    uint64_t old[8][2];
    unsigned move = (top - x87_top(x)) & 7;

    memcpy(old, x->st, sizeof old);
    for (unsigned i = 0; i < 8; i++)
        memcpy(x->st[i], old[(i + move) & 7], sizeof old[0]);
    x->status = (uint16_t)((x->status & ~X87_STATUS_TOP) | top << X87_STATUS_TOP_SHIFT);
}

// --- MMX: registers are the mantissas of physical ones; each access but EMMS makes the x87 stack one of
// eight valid registers with TOP 0 (SDM vol. 1 9.5.1). ---

static inline uint64_t mmx_read(const struct x87 *x, unsigned reg)
{
    return x->st[((reg & 7) - x87_top(x)) & 7][0];
}

static inline void mmx_enter(struct x87 *x)
{
    x87_set_top(x, 0);
    x->valid = 0xff;
}

static inline void mmx_write(struct x87 *x, unsigned reg, uint64_t value)
{
    mmx_enter(x);
    x->st[reg & 7][0] = value;
    x->st[reg & 7][1] = MMX_EXPONENT;
}

// The tag word with two bits for each physical register: valid, zero, special, empty (SDM vol. 1 8.1.7).
uint16_t x87_tags(const struct x87 *x);

#endif
