// SPDX-License-Identifier: Apache-2.0
// Arithmetic flags, had from the last result when somebody asks (SDM vol. 1 3.4.3.1, appendix A).
#ifndef MODELS_CPU_X86_INTERP_FLAGS_H
#define MODELS_CPU_X86_INTERP_FLAGS_H

#include "models/cpu/x86/vmx_state.h"
#include "spec/x86_bits.h"

#define FLAGS_ARITHMETIC                                                                                     \
    (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_OF)

static inline bool flags_parity(uint8_t byte)
{
    return !(__builtin_popcount(byte) & 1);
}

static inline bool flags_overflow(const struct lazy_flags *l)
{
    return (l->carries >> (l->bits - 1) ^ l->carries >> (l->bits - 2)) & 1;
}

static inline uint64_t flags_of_lazy(const struct lazy_flags *l)
{
    return (l->cf ? X86_RFLAGS_CF : 0) | (flags_parity((uint8_t)l->result) ? X86_RFLAGS_PF : 0) |
           (l->carries >> 3 & 1 ? X86_RFLAGS_AF : 0) | (l->result == 0 ? X86_RFLAGS_ZF : 0) |
           (l->result < 0 ? X86_RFLAGS_SF : 0) | (flags_overflow(l) ? X86_RFLAGS_OF : 0);
}

// Brings rflags up to date.
static inline void flags_settle(struct vmx *v)
{
    if (!v->lazy.on)
        return;
    v->rflags = (v->rflags & ~(uint64_t)FLAGS_ARITHMETIC) | flags_of_lazy(&v->lazy);
    v->lazy.on = false;
}

// Sets those of `mask` as in `flags`, for instructions that do not fit the lazy form.
static inline void flags_set(struct vmx *v, uint64_t mask, uint64_t flags)
{
    flags_settle(v);
    v->rflags = (v->rflags & ~mask) | (flags & mask);
}

static inline void flags_result(struct vmx *v, unsigned bits, uint64_t result, uint64_t carries, bool cf)
{
    v->lazy = (struct lazy_flags){.on = true,
                                  .bits = (uint8_t)bits,
                                  .cf = cf,
                                  .carries = carries,
                                  .result = (int64_t)(result << (64 - bits)) >> (64 - bits)};
}

static inline bool flags_cf(const struct vmx *v)
{
    return v->lazy.on ? v->lazy.cf : v->rflags & X86_RFLAGS_CF;
}

static inline bool flags_zf(const struct vmx *v)
{
    return v->lazy.on ? v->lazy.result == 0 : (v->rflags & X86_RFLAGS_ZF) != 0;
}

static inline bool flags_sf(const struct vmx *v)
{
    return v->lazy.on ? v->lazy.result < 0 : (v->rflags & X86_RFLAGS_SF) != 0;
}

static inline bool flags_of(const struct vmx *v)
{
    return v->lazy.on ? flags_overflow(&v->lazy) : (v->rflags & X86_RFLAGS_OF) != 0;
}

static inline bool flags_pf(const struct vmx *v)
{
    return v->lazy.on ? flags_parity((uint8_t)v->lazy.result) : (v->rflags & X86_RFLAGS_PF) != 0;
}

// SF, ZF and PF of a result of `size` bytes.
static inline uint64_t flags_szp(uint64_t result, unsigned size)
{
    uint64_t masked = size == 8 ? result : result & ((1ull << 8 * size) - 1);

    return (masked >> (8 * size - 1) ? X86_RFLAGS_SF : 0) | (masked == 0 ? X86_RFLAGS_ZF : 0) |
           (flags_parity((uint8_t)masked) ? X86_RFLAGS_PF : 0);
}

// Condition codes as encoded (SDM vol. 1 appendix B): o no b ae e ne be a s ns p np l ge le g.
static inline __attribute__((always_inline)) bool flags_condition(const struct vmx *v, unsigned cc)
{
    bool holds = false;

    switch (cc >> 1) {
    case 0:
        holds = flags_of(v);
        break;
    case 1:
        holds = flags_cf(v);
        break;
    case 2:
        holds = flags_zf(v);
        break;
    case 3:
        holds = flags_cf(v) || flags_zf(v);
        break;
    case 4:
        holds = flags_sf(v);
        break;
    case 5:
        holds = flags_pf(v);
        break;
    case 6:
        holds = flags_sf(v) != flags_of(v);
        break;
    default:
        holds = flags_zf(v) || flags_sf(v) != flags_of(v);
        break;
    }
    return holds != (cc & 1);
}

#endif
