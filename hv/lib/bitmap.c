// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/bitmap.h"

// Words are looked at whole; `flip` turns a search for clear bits into one for set bits.
static u64 find(const u64 *map, u64 bits, u64 from, u64 flip)
{
    if (from >= bits)
        return bits;
    u64 i = from / 64;
    u64 word = (map[i] ^ flip) & (~0ull << (from % 64));
    while (word == 0) {
        if (++i >= BITMAP_WORDS(bits))
            return bits;
        word = map[i] ^ flip;
    }
    return min_u64(i * 64 + ffs64(word), bits);
}

u64 bitmap_find_set(const u64 *map, u64 bits, u64 from)
{
    return find(map, bits, from, 0);
}

u64 bitmap_find_clear(const u64 *map, u64 bits, u64 from)
{
    return find(map, bits, from, ~0ull);
}

u64 bitmap_find_last(const u64 *map, u64 bits)
{
    for (u64 i = BITMAP_WORDS(bits); i-- > 0;) {
        u64 word = map[i];
        if ((i + 1) * 64 > bits)
            word &= (1ull << (bits % 64)) - 1;
        if (word != 0)
            return i * 64 + fls64(word);
    }
    return bits;
}

// The bits of word `i` that lie in [first, end).
static u64 range_mask(u64 i, u64 first, u64 end)
{
    u64 mask = ~0ull;
    if (i == first / 64)
        mask &= ~0ull << (first % 64);
    if (i == end / 64)
        mask &= (1ull << (end % 64)) - 1;
    return mask;
}

void bitmap_fill_range(u64 *map, u64 first, u64 count)
{
    u64 end = first + count;
    for (u64 i = first / 64; i * 64 < end; i++)
        map[i] |= range_mask(i, first, end);
}

void bitmap_clear_range(u64 *map, u64 first, u64 count)
{
    u64 end = first + count;
    for (u64 i = first / 64; i * 64 < end; i++)
        map[i] &= ~range_mask(i, first, end);
}

u64 bitmap_weight(const u64 *map, u64 bits)
{
    u64 n = 0;
    for (u64 i = 0; i < bits / 64; i++)
        n += hweight64(map[i]);
    if (bits % 64 != 0)
        n += hweight64(map[bits / 64] & ((1ull << (bits % 64)) - 1));
    return n;
}
