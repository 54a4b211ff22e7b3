// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/alu.h"
#include "hv/lib/bitmap.h"
#include "spec/x86_bits.h"

#define STATUS_FLAGS                                                                                         \
    (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_OF)
#define RESULT_FLAGS (X86_RFLAGS_PF | X86_RFLAGS_ZF | X86_RFLAGS_SF)

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

static u64 sign_bit(unsigned bytes)
{
    return 1ull << (8 * bytes - 1);
}

static void set_flags(u64 *rflags, u64 which, u64 value)
{
    *rflags = (*rflags & ~which) | value;
}

// PF, ZF, SF.
static u64 of_result(u64 result, unsigned bytes)
{
    u64 parity = hweight64(result & 0xff) % 2 == 0 ? X86_RFLAGS_PF : 0;

    return parity | (result == 0 ? X86_RFLAGS_ZF : 0) | (result & sign_bit(bytes) ? X86_RFLAGS_SF : 0);
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
    u64 mask = size_mask(bytes), result, flags = 0, carry = 0;

    switch (op) {
    case INSN_ADC:
        carry = *rflags & X86_RFLAGS_CF;
        // fall through
    case INSN_ADD:
        result = (a + b + carry) & mask;
        flags = carries(a, b, result, sign_bit(bytes), false);
        break;
    case INSN_SBB:
        carry = *rflags & X86_RFLAGS_CF;
        // fall through
    case INSN_SUB:
    case INSN_CMP:
        result = (a - b - carry) & mask;
        flags = carries(a, b, result, sign_bit(bytes), true);
        break;
    case INSN_OR:
        result = a | b;
        break;
    case INSN_XOR:
        result = a ^ b;
        break;
    default: // AND, TEST.
        result = a & b;
        break;
    }
    set_flags(rflags, STATUS_FLAGS, flags | of_result(result, bytes));
    return result;
}

u64 alu_unary(u8 op, u64 a, unsigned bytes, u64 *rflags)
{
    u64 carry = *rflags & X86_RFLAGS_CF, result;

    if (op == INSN_NOT)
        return ~a & size_mask(bytes);
    if (op == INSN_NEG)
        return alu(INSN_SUB, 0, a, bytes, rflags);
    result = alu(op == INSN_INC ? INSN_ADD : INSN_SUB, a, 1, bytes, rflags);
    set_flags(rflags, X86_RFLAGS_CF, carry); // INC and DEC leave it.
    return result;
}

// --- Shifts and rotates. A count of 0 leaves all flags; OF is defined for a count of 1.

static u64 rotate(u8 op, u64 a, unsigned count, unsigned bytes, u64 *rflags)
{
    unsigned bits = 8 * bytes, n = count % bits;
    u64 result = a, carry;

    if (op == INSN_ROR)
        n = (bits - n) % bits;
    if (n != 0)
        result = (a << n | a >> (bits - n)) & size_mask(bytes);
    carry = (op == INSN_ROL ? result : result >> (bits - 1)) & 1;
    u64 top = result >> (bits - 1) & 1,
        overflow = op == INSN_ROL ? top ^ carry : top ^ (result >> (bits - 2) & 1);

    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_OF, carry | (overflow ? X86_RFLAGS_OF : 0));
    return result;
}

// The carry flag takes part as one more bit.
static u64 rotate_carry(u8 op, u64 a, unsigned count, unsigned bytes, u64 *rflags)
{
    unsigned bits = 8 * bytes, n = count % (bits + 1);
    u64 carry = *rflags & X86_RFLAGS_CF;

    for (unsigned i = 0; i < n; i++) {
        u64 out = op == INSN_RCL ? a >> (bits - 1) & 1 : a & 1;

        a = op == INSN_RCL ? (a << 1 | carry) & size_mask(bytes) : a >> 1 | carry << (bits - 1);
        carry = out;
    }
    u64 top = a >> (bits - 1) & 1, overflow = op == INSN_RCL ? top ^ carry : top ^ (a >> (bits - 2) & 1);

    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_OF, carry | (overflow ? X86_RFLAGS_OF : 0));
    return a;
}

static u64 shift(u8 op, u64 a, unsigned count, unsigned bytes, u64 *rflags)
{
    unsigned bits = 8 * bytes;
    u64 result, carry, overflow;

    if (op == INSN_SHL || op == INSN_SAL) {
        result = (count < 64 ? a << count : 0) & size_mask(bytes);
        carry = count <= bits ? a >> (bits - count) & 1 : 0;
        overflow = (result >> (bits - 1) & 1) ^ carry;
    } else if (op == INSN_SHR) {
        result = count < bits ? a >> count : 0;
        carry = count <= bits ? a >> (count - 1) & 1 : 0;
        overflow = a >> (bits - 1) & 1;
    } else {
        s64 wide = (s64)sign_extend(a, bytes);

        result = (u64)(wide >> count) & size_mask(bytes);
        carry = (u64)(wide >> (count - 1)) & 1;
        overflow = 0;
    }
    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_OF | RESULT_FLAGS,
              carry | (overflow ? X86_RFLAGS_OF : 0) | of_result(result, bytes));
    return result;
}

u64 alu_shift(u8 op, u64 a, u64 count, unsigned bytes, u64 *rflags)
{
    unsigned n = (unsigned)count & (bytes == 8 ? 63 : 31);

    if (n == 0)
        return a;
    if (op == INSN_ROL || op == INSN_ROR)
        return rotate(op, a, n, bytes, rflags);
    if (op == INSN_RCL || op == INSN_RCR)
        return rotate_carry(op, a, n, bytes, rflags);
    return shift(op, a, n, bytes, rflags);
}

u64 alu_double_shift(u8 op, u64 a, u64 b, u64 count, unsigned bytes, u64 *rflags)
{
    unsigned bits = 8 * bytes, n = (unsigned)count & (bytes == 8 ? 63 : 31);
    u64 mask = size_mask(bytes), result, carry;

    if (n == 0)
        return a;
    if (n > bits) { // 16 bits and a larger count: undefined (SDM vol. 2 SHLD); the pattern a:b:a goes on.
        u64 t = a;

        a = b;
        b = t;
        n -= bits;
    }
    if (op == INSN_SHLD) {
        result = (n < bits ? a << n | b >> (bits - n) : b) & mask;
        carry = a >> (bits - n) & 1;
    } else {
        result = (n < bits ? a >> n | b << (bits - n) : b) & mask;
        carry = a >> (n - 1) & 1;
    }
    u64 overflow = (result ^ a) & sign_bit(bytes) ? X86_RFLAGS_OF : 0;

    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_OF | RESULT_FLAGS,
              carry | overflow | of_result(result, bytes));
    return result;
}

// --- Products and quotients.

void alu_multiply(bool is_signed, u64 a, u64 b, unsigned bytes, u64 *low, u64 *high, u64 *rflags)
{
    u128 product =
        is_signed ? (u128)((s128)(s64)sign_extend(a, bytes) * (s64)sign_extend(b, bytes)) : (u128)a * b;
    u64 mask = size_mask(bytes);

    *low = (u64)product & mask;
    *high = (u64)(product >> (8 * bytes)) & mask;
    // Does the upper half hold more than zeroes, or copies of the sign?
    bool over = *high != (is_signed && (*low & sign_bit(bytes)) ? mask : 0);

    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_OF, over ? X86_RFLAGS_CF | X86_RFLAGS_OF : 0);
}

// 128 by 64 bits, one bit of the quotient at a time; high < divisor.
static u64 divide_wide(u64 high, u64 low, u64 divisor, u64 *rest)
{
    u64 quotient = 0;

    for (unsigned i = 0; i < 64; i++) {
        u64 carry = high >> 63;

        high = high << 1 | low >> 63;
        low <<= 1;
        quotient <<= 1;
        if (carry || high >= divisor) {
            high -= divisor;
            quotient |= 1;
        }
    }
    *rest = high;
    return quotient;
}

static bool divide_unsigned(u64 high, u64 low, u64 divisor, unsigned bytes, u64 *quotient, u64 *rest)
{
    if (high >= divisor) // Zero, or the quotient does not fit.
        return false;
    if (bytes == 8) {
        *quotient = divide_wide(high, low, divisor, rest);
        return true;
    }
    u64 dividend = high << (8 * bytes) | low;

    *quotient = dividend / divisor;
    *rest = dividend % divisor;
    return true;
}

bool alu_divide(bool is_signed, u64 high, u64 low, u64 divisor, unsigned bytes, u64 *quotient, u64 *rest)
{
    u64 mask = size_mask(bytes), sign = sign_bit(bytes);

    if (!is_signed)
        return divide_unsigned(high, low, divisor, bytes, quotient, rest);
    bool negative = (high & sign) != 0, negate = negative != ((divisor & sign) != 0);

    if (negative) { // Two's complement of the pair.
        low = -low & mask;
        high = (~high + (low == 0)) & mask;
    }
    divisor = divisor & sign ? -divisor & mask : divisor;
    if (!divide_unsigned(high, low, divisor, bytes, quotient, rest))
        return false;
    if (*quotient > (negate ? sign : sign - 1))
        return false;
    *quotient = (negate ? -*quotient : *quotient) & mask;
    *rest = (negative ? -*rest : *rest) & mask; // It has the dividend's sign.
    return true;
}

// --- Decimal adjustment.

static u16 ascii_adjust(u8 op, u16 ax, u64 *rflags)
{
    bool adjust = (ax & 0xf) > 9 || (*rflags & X86_RFLAGS_AF);

    if (adjust)
        ax = (u16)(op == INSN_AAA ? ax + 0x106 : ax - 0x106);
    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_AF, adjust ? X86_RFLAGS_CF | X86_RFLAGS_AF : 0);
    return ax & 0xff0f;
}

static u8 decimal_adjust(u8 op, u8 al, u64 *rflags)
{
    u64 flags = 0;
    u8 old = al;
    bool carry = (*rflags & X86_RFLAGS_CF) != 0, subtract = op == INSN_DAS;

    if ((al & 0xf) > 9 || (*rflags & X86_RFLAGS_AF)) {
        if (subtract ? al < 6 : al > 0xf9)
            flags |= X86_RFLAGS_CF;
        al = (u8)(subtract ? al - 6 : al + 6);
        flags |= X86_RFLAGS_AF;
        if (carry)
            flags |= X86_RFLAGS_CF;
    }
    if (old > 0x99 || carry) {
        al = (u8)(subtract ? al - 0x60 : al + 0x60);
        flags |= X86_RFLAGS_CF;
    } else if (!subtract) {
        flags &= ~X86_RFLAGS_CF;
    }
    set_flags(rflags, X86_RFLAGS_CF | X86_RFLAGS_AF | RESULT_FLAGS, flags | of_result(al, 1));
    return al;
}

bool alu_bcd(u8 op, u16 *ax, u8 base, u64 *rflags)
{
    u8 al = (u8)*ax, ah = (u8)(*ax >> 8);

    switch (op) {
    case INSN_AAA:
    case INSN_AAS:
        *ax = ascii_adjust(op, *ax, rflags);
        return true;
    case INSN_DAA:
    case INSN_DAS:
        *ax = (u16)((*ax & 0xff00) | decimal_adjust(op, al, rflags));
        return true;
    case INSN_AAM:
        if (base == 0)
            return false;
        *ax = (u16)((al / base) << 8 | al % base);
        break;
    default: // AAD
        *ax = (u8)(al + ah * base);
        break;
    }
    set_flags(rflags, RESULT_FLAGS, of_result(*ax & 0xff, 1));
    return true;
}

bool alu_condition(unsigned condition, u64 rflags)
{
    bool carry = (rflags & X86_RFLAGS_CF) != 0, zero = (rflags & X86_RFLAGS_ZF) != 0;
    bool less = ((rflags & X86_RFLAGS_SF) != 0) != ((rflags & X86_RFLAGS_OF) != 0), holds;

    switch (condition >> 1 & 7) {
    case 0:
        holds = (rflags & X86_RFLAGS_OF) != 0;
        break;
    case 1:
        holds = carry;
        break;
    case 2:
        holds = zero;
        break;
    case 3:
        holds = carry || zero;
        break;
    case 4:
        holds = (rflags & X86_RFLAGS_SF) != 0;
        break;
    case 5:
        holds = (rflags & X86_RFLAGS_PF) != 0;
        break;
    case 6:
        holds = less;
        break;
    default:
        holds = less || zero;
        break;
    }
    return holds != ((condition & 1) != 0);
}
