// SPDX-License-Identifier: Apache-2.0
// Helpers of the three files of VM-entry rules.
#ifndef MODELS_CPU_X86_ENTRY_CHECKS_COMMON_H
#define MODELS_CPU_X86_ENTRY_CHECKS_COMMON_H

#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/entry_checks.h"
#include "models/cpu/x86/x86_state.h"

// A rule that is one expression over the view `e`.
#define RULE(fn, expr)                                                                                       \
    static bool fn(const struct entry_view *e)                                                               \
    {                                                                                                        \
        return (expr);                                                                                       \
    }

static inline uint64_t field(const struct entry_view *e, uint32_t enc)
{
    return vmcs_get(e->v, enc);
}

// An address of a structure: aligned to `align` bytes, within the physical-address width.
static inline bool address_ok(const struct entry_view *e, uint32_t enc, uint64_t align)
{
    uint64_t address = field(e, enc);

    return (address & (align - 1)) == 0 && address >> e->phys_bits == 0;
}

// 48-bit canonical; guests and host of the modelled processors have 4-level paging unless CR4.LA57.
static inline bool canonical_at(uint64_t address, bool la57)
{
    unsigned shift = la57 ? 7 : 16;

    return (uint64_t)((int64_t)(address << shift) >> shift) == address;
}

// SDM A.3 to A.5: every bit of `value` that is 0 may be 0, every bit that is 1 may be 1.
static inline bool allowed(uint64_t value, uint64_t allowed0, uint64_t allowed1)
{
    return (allowed0 & ~value) == 0 && (value & ~allowed1) == 0;
}

// An area of `count` MSR entries: 16-byte aligned, wholly within the physical-address width.
static inline bool msr_area_ok(const struct entry_view *e, uint32_t address_enc, uint32_t count_enc)
{
    uint64_t count = field(e, count_enc);
    uint64_t address = field(e, address_enc);

    if (!count)
        return true;
    return address_ok(e, address_enc, 16) && (address + count * 16 - 1) >> e->phys_bits == 0;
}

#endif
