// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic with flags, as the emulator needs it (SDM vol. 2; vol. 1, 3.4.3.1). `bytes` is 1, 2, 4
// or 8; operands are zero-extended, so are results. Flags that the manual leaves undefined stay as they are,
// or follow the result where that is simpler.
#ifndef HV_X86_ALU_H
#define HV_X86_ALU_H

#include "hv/x86/decode.h"

static inline u64 size_mask(unsigned bytes)
{
    return bytes >= 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
}
static inline u64 sign_extend_bits(u64 value, unsigned bits)
{
    return (u64)((s64)(value << (64 - bits)) >> (64 - bits));
}
static inline u64 sign_extend(u64 value, unsigned bytes)
{
    return sign_extend_bits(value, 8 * bytes);
}

// `a` op `b`: INSN_ADD to INSN_TEST. CMP gives the difference, TEST the conjunction.
u64 alu(u8 op, u64 a, u64 b, unsigned bytes, u64 *rflags);
// INC, DEC, NEG, NOT.
u64 alu_unary(u8 op, u64 a, unsigned bytes, u64 *rflags);
// ROL to SAR; the count is masked here.
u64 alu_shift(u8 op, u64 a, u64 count, unsigned bytes, u64 *rflags);
// SHLD, SHRD of a by bits of b.
u64 alu_double_shift(u8 op, u64 a, u64 b, u64 count, unsigned bytes, u64 *rflags);
// MUL, IMUL: double-width product in *high, *low.
void alu_multiply(bool is_signed, u64 a, u64 b, unsigned bytes, u64 *low, u64 *high, u64 *rflags);
// DIV, IDIV of high:low. False: #DE.
bool alu_divide(bool is_signed, u64 high, u64 low, u64 divisor, unsigned bytes, u64 *quotient, u64 *rest);
// AAA, AAS, DAA, DAS, AAM, AAD on AX; `base` is the immediate of the last two. False: #DE.
bool alu_bcd(u8 op, u16 *ax, u8 base, u64 *rflags);
// Condition 0..15 of Jcc, SETcc, CMOVcc (SDM vol. 1, appendix B).
bool alu_condition(unsigned condition, u64 rflags);

#endif
