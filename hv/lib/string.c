// SPDX-License-Identifier: Apache-2.0
#include "hv/lib/string.h"

#define WORD 8u
#define BOTH_ALIGNED(a, b) ((((u64)(a) | (u64)(b)) & (WORD - 1)) == 0)

static void copy_forward(u8 *to, const u8 *from, size_t n)
{
    if (BOTH_ALIGNED(to, from)) {
        for (; n >= WORD; n -= WORD, to += WORD, from += WORD)
            *(u64 *)(void *)to = *(const u64 *)(const void *)from;
    }
    while (n-- > 0)
        *to++ = *from++;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    copy_forward(to, from, n);
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    if ((u64)to - (u64)from >= n) {
        copy_forward(to, from, n);
        return to;
    }
    u8 *t = (u8 *)to + n;
    const u8 *f = (const u8 *)from + n;
    if (BOTH_ALIGNED(t, f)) {
        for (; n >= WORD; n -= WORD) {
            t -= WORD;
            f -= WORD;
            *(u64 *)(void *)t = *(const u64 *)(const void *)f;
        }
    }
    while (n-- > 0)
        *--t = *--f;
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    u8 *t = to;
    u64 word = 0x0101010101010101ull * (u8)byte;
    for (; n > 0 && ((u64)t & (WORD - 1)) != 0; n--)
        *t++ = (u8)byte;
    for (; n >= WORD; n -= WORD, t += WORD)
        *(u64 *)(void *)t = word;
    while (n-- > 0)
        *t++ = (u8)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (; n > 0; n--, x++, y++) {
        if (*x != *y)
            return *x - *y;
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n] != 0)
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return (u8)*a - (u8)*b;
}

void str_copy(char *to, const char *from, size_t n)
{
    for (; n > 1 && *from != 0; n--)
        *to++ = *from++;
    *to = 0;
}

void clear_page(void *page)
{
    u64 *p = page;
    for (unsigned line = 0; line < 4096 / 64; line++, p += 8) {
        p[0] = 0;
        p[1] = 0;
        p[2] = 0;
        p[3] = 0;
        p[4] = 0;
        p[5] = 0;
        p[6] = 0;
        p[7] = 0;
    }
}

void copy_page(void *restrict to, const void *restrict from)
{
    u64 *t = to;
    const u64 *f = from;
    for (unsigned line = 0; line < 4096 / 64; line++, t += 8, f += 8) {
        for (unsigned i = 0; i < 8; i++)
            t[i] = f[i];
    }
}
