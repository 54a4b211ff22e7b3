// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/alu.h"
#include "hv/lib/bitmap.h"
#include "spec/x86_bits.h"

#define STATUS_FLAGS                                                                                         \
    (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_OF)

static u64 parity(u64 result)
{
    return hweight64(result & 0xff) % 2 == 0 ? X86_RFLAGS_PF : 0;
}

// Carry and overflow of a sum, or of the difference if `subtract`; AF is the carry out of bit 3.
static u64 carries(u64 a, u64 b, u64 result, u64 sign, bool subtract)
{
    u64 carry = subtract ? (~a & b) | ((~a | b) & result) : (a & b) | ((a | b) & ~result);
    u64 overflow = subtract ? (a ^ b) & (a ^ result) : (a ^ result) & (b ^ result);

    return (carry & sign ? X86_RFLAGS_CF : 0) | (overflow & sign ? X86_RFLAGS_OF : 0) |
           ((a ^ b ^ result) & 0x10 ? X86_RFLAGS_AF : 0);
}

u64 alu(u8 op, u64 a, u64 b, unsigned bytes, u64 *rflags)
{
    u64 mask = bytes >= 8 ? ~0ull : (1ull << (8 * bytes)) - 1, sign = 1ull << (8 * bytes - 1);
    u64 result = 0, flags = 0;

    switch ((enum insn_op)op) {
    case INSN_ADD:
        result = (a + b) & mask;
        flags = carries(a, b, result, sign, false);
        break;
    case INSN_SUB:
    case INSN_CMP:
        result = (a - b) & mask;
        flags = carries(a, b, result, sign, true);
        break;
    case INSN_OR:
        result = a | b;
        break;
    case INSN_AND:
    case INSN_TEST:
        result = a & b;
        break;
    case INSN_XOR:
        result = a ^ b;
        break;
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_MOVSX:
    case INSN_XCHG:
    case INSN_STOS:
    case INSN_LODS:
    case INSN_OP_COUNT:
        return b;
    }
    flags |= parity(result) | (result == 0 ? X86_RFLAGS_ZF : 0) | (result & sign ? X86_RFLAGS_SF : 0);
    *rflags = (*rflags & ~STATUS_FLAGS) | flags;
    return result;
}
