// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic wider than 64 bits. No floating point anywhere.
#ifndef HV_LIB_MATH_H
#define HV_LIB_MATH_H

#include "hv/lib/compiler.h"

// (a * b) >> shift without losing the upper half; shift < 128, the result is cut to 64 bits.
static inline u64 mul_u64_u64_shr(u64 a, u64 b, unsigned shift)
{
    __extension__ typedef unsigned __int128 u128;
    return (u64)(((u128)a * b) >> shift);
}
// a * mul / div, rounded down, saturating at 2^64 - 1; div != 0. A loop-free 128 by 64 division (DIV).
static inline u64 mul_u64_u64_div_u64(u64 a, u64 mul, u64 div)
{
    __extension__ typedef unsigned __int128 u128;
    u128 product = (u128)a * mul;
    u64 high = (u64)(product >> 64), quotient, rest;
    if (unlikely(high >= div))
        return UINT64_MAX;
    __asm__("divq %4" : "=a"(quotient), "=d"(rest) : "a"((u64)product), "d"(high), "rm"(div) : "cc");
    return quotient;
}

#endif
