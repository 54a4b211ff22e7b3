// SPDX-License-Identifier: Apache-2.0
//
// CPUID bits as constants (spec/cpuid.def): CPUID_VMX is the mask in its register, CPUID_BITNR_VMX the
// position. A field has CPUID_<NAME>_SHIFT and CPUID_<NAME>_MASK (in place).

#ifndef SPEC_CPUID_H
#define SPEC_CPUID_H

enum cpuid_reg { CPUID_EAX = 0, CPUID_EBX = 1, CPUID_ECX = 2, CPUID_EDX = 3 };

enum cpuid_bit {
#define CPUID_BIT(leaf, subleaf, reg, bit, name, source) CPUID_##name = 1u << (bit),
#include "spec/cpuid.def"
};

enum cpuid_bit_number {
#define CPUID_BIT(leaf, subleaf, reg, bit, name, source) CPUID_BITNR_##name = bit,
#include "spec/cpuid.def"
};

enum cpuid_field_shift {
#define CPUID_FIELD(leaf, subleaf, reg, high, low, name, source) CPUID_##name##_SHIFT = low,
#include "spec/cpuid.def"
};

enum cpuid_field_mask {
#define CPUID_FIELD(leaf, subleaf, reg, high, low, name, source)                                             \
    CPUID_##name##_MASK = (0xffffffffu >> (31 - (high))) & (0xffffffffu << (low)),
#include "spec/cpuid.def"
};

#endif
