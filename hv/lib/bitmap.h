// SPDX-License-Identifier: Apache-2.0
// Bits in arrays of u64. Bit n is bit n % 64 of word n / 64. Plain versions and atomic ones.
#ifndef HV_LIB_BITMAP_H
#define HV_LIB_BITMAP_H

#include "hv/lib/compiler.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline unsigned ffs64(u64 x) // Lowest set bit; x != 0.
{
    return (unsigned)__builtin_ctzll(x);
}
static inline unsigned fls64(u64 x) // Highest set bit; x != 0.
{
    return 63u - (unsigned)__builtin_clzll(x);
}
// Number of set bits, without POPCNT.
static inline unsigned hweight64(u64 x)
{
    x -= (x >> 1) & 0x5555555555555555ull;
    x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (unsigned)((x * 0x0101010101010101ull) >> 56);
}
static inline bool bitmap_test(const u64 *map, u64 n)
{
    return (READ_ONCE(map[n / 64]) >> (n % 64)) & 1;
}
static inline void bitmap_set(u64 *map, u64 n)
{
    map[n / 64] |= 1ull << (n % 64);
}
static inline void bitmap_clear(u64 *map, u64 n)
{
    map[n / 64] &= ~(1ull << (n % 64));
}
// Atomic, fully ordered; the test_and_ forms return the old bit.
static inline bool test_and_set_bit(u64 *map, u64 n)
{
    u64 bit = 1ull << (n % 64);
    return (__atomic_fetch_or(&map[n / 64], bit, __ATOMIC_SEQ_CST) & bit) != 0;
}
static inline bool test_and_clear_bit(u64 *map, u64 n)
{
    u64 bit = 1ull << (n % 64);
    return (__atomic_fetch_and(&map[n / 64], ~bit, __ATOMIC_SEQ_CST) & bit) != 0;
}
static inline void set_bit_atomic(u64 *map, u64 n)
{
    __atomic_fetch_or(&map[n / 64], 1ull << (n % 64), __ATOMIC_RELAXED);
}
static inline void clear_bit_atomic(u64 *map, u64 n)
{
    __atomic_fetch_and(&map[n / 64], ~(1ull << (n % 64)), __ATOMIC_RELAXED);
}
// First set / clear bit at or after `from`; `bits` if there is none.
u64 bitmap_find_set(const u64 *map, u64 bits, u64 from);
u64 bitmap_find_clear(const u64 *map, u64 bits, u64 from);
// Highest set bit below `bits`; `bits` if there is none.
u64 bitmap_find_last(const u64 *map, u64 bits);
void bitmap_fill_range(u64 *map, u64 first, u64 count);
void bitmap_clear_range(u64 *map, u64 first, u64 count);
u64 bitmap_weight(const u64 *map, u64 bits);

#endif
