// SPDX-License-Identifier: Apache-2.0
// RCPPS, RCPSS, RSQRTPS, RSQRTSS. The manual bounds their relative error by 1.5 * 2^-12 and leaves the bits
// to the processor (SDM vol. 2, RCPPS). Here they are those of the exact value rounded to 12 bits behind the
// point, ties up, so that every host gives the same.
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"

// Fields of binary32.
#define SIGN 0x80000000u
#define QUIET 0x400000u
#define INFINITE 0x7f800000u
#define DEFAULT_NAN 0xffc00000u
#define MANTISSA 0x7fffffu
#define HIDDEN 0x800000u
#define BIAS 127
#define FRACTION_BITS 12

// A number of FRACTION_BITS behind the point, 1 to 2, times 2 to the `exponent`; too small: zero.
static uint32_t compose(uint32_t sign, uint32_t number, int exponent)
{
    if (number >> (FRACTION_BITS + 1)) {
        number >>= 1;
        exponent++;
    }
    if (exponent + BIAS <= 0)
        return sign;
    return sign | (uint32_t)(exponent + BIAS) << 23 |
           (number & ((1u << FRACTION_BITS) - 1)) << (23 - FRACTION_BITS);
}

// Operands for which both have a rule. Denormal ones count as zero.
static bool special(uint32_t x, uint32_t *result)
{
    uint32_t magnitude = x & ~SIGN;

    if (magnitude > INFINITE)
        *result = x | QUIET;
    else if (magnitude < HIDDEN)
        *result = (x & SIGN) | INFINITE;
    else
        return false;
    return true;
}

static uint32_t rcp(uint32_t x)
{
    uint64_t mantissa = (x & MANTISSA) | HIDDEN;
    int exponent = (int)(x >> 23 & 0xff) - BIAS;
    uint32_t result;

    if (special(x, &result))
        return result;
    if ((x & ~SIGN) == INFINITE)
        return x & SIGN;
    // 2 / 1.f is 1 to 2; one bit more than is kept, to round by.
    result = (uint32_t)((1ull << (23 + FRACTION_BITS + 2)) / mantissa);
    return compose(x & SIGN, (result + 1) >> 1, -exponent - 1);
}

static uint32_t square_root(uint64_t x)
{
    uint32_t root = 0;

    for (int bit = 15; bit >= 0; bit--)
        if ((uint64_t)(root | 1u << bit) * (root | 1u << bit) <= x)
            root |= 1u << bit;
    return root;
}

static uint32_t rsqrt(uint32_t x)
{
    int exponent = (int)(x >> 23 & 0xff) - BIAS;
    uint64_t mantissa = (x & MANTISSA) | HIDDEN;
    uint32_t result;

    if (special(x, &result))
        return result;
    if (x & SIGN)
        return DEFAULT_NAN;
    if (x == INFINITE)
        return 0;
    if (exponent & 1) {
        mantissa <<= 1;
        exponent--;
    }
    // 2 / sqrt(1 to 4) is 1 to 2; a bit more here too.
    result = square_root((1ull << (23 + 2 * (FRACTION_BITS + 2))) / mantissa);
    return compose(0, (result + 1) >> 1, -exponent / 2 - 1);
}

static enum insn_result estimate(struct vmx *v, const struct uop *u, uint32_t (*fn)(uint32_t), unsigned count)
{
    uint32_t from[4], to[4];
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE && u->kind[1] == OPERAND_MEMORY)
        r = memory_load_bytes(v, u, 4 * count, count == 4 ? 16 : 1, from);
    else
        memcpy(from, v->xmm[u->reg[1]], 16);
    if (r != INSN_DONE)
        return r;
    memcpy(to, v->xmm[u->reg[0]], 16);
    for (unsigned i = 0; i < count; i++)
        to[i] = fn(from[i]);
    memcpy(v->xmm[u->reg[0]], to, 16);
    return INSN_DONE;
}

enum insn_result sse_rcp_packed(struct vmx *v, const struct uop *u)
{
    return estimate(v, u, rcp, 4);
}

enum insn_result sse_rcp_scalar(struct vmx *v, const struct uop *u)
{
    return estimate(v, u, rcp, 1);
}

enum insn_result sse_rsqrt_packed(struct vmx *v, const struct uop *u)
{
    return estimate(v, u, rsqrt, 4);
}

enum insn_result sse_rsqrt_scalar(struct vmx *v, const struct uop *u)
{
    return estimate(v, u, rsqrt, 1);
}
