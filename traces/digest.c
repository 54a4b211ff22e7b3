// SPDX-License-Identifier: Apache-2.0
#include "traces/digest.h"

#include <stdio.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the canonical bytes of records are little-endian");

static uint64_t digest_fmix(uint64_t k)
{
    k = (k ^ k >> 33) * 0xff51afd7ed558ccdu;
    k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53u;
    return k ^ k >> 33;
}

static struct trace_digest digest_final(uint64_t h1, uint64_t h2, uint64_t size_bytes)
{
    h1 ^= size_bytes;
    h2 ^= size_bytes;
    h1 += h2;
    h2 += h1;
    h1 = digest_fmix(h1);
    h2 = digest_fmix(h2);
    h1 += h2;
    h2 += h1;
    return (struct trace_digest){h1, h2};
}

struct trace_digest digest_value(const struct digest *d)
{
    uint64_t h1 = d->h1;

    if (d->words % 2)
        h1 ^= digest_mix1(d->held);
    return digest_final(h1, d->h2, d->words * 8);
}

struct trace_digest digest_bytes(const void *bytes, size_t size, uint32_t seed)
{
    const unsigned char *p = bytes;
    struct digest d;
    size_t left = size;

    digest_init(&d, seed);
    for (; left >= 16; p += 16, left -= 16) {
        uint64_t k[2];

        memcpy(k, p, 16);
        digest_pair(&d, k[0], k[1]);
    }
    uint64_t tail[2] = {0, 0};

    if (left)
        memcpy(tail, p, left);
    d.h2 ^= left > 8 ? digest_mix2(tail[1]) : 0;
    d.h1 ^= left > 0 ? digest_mix1(tail[0]) : 0;
    return digest_final(d.h1, d.h2, size);
}

void trace_digest_text(struct trace_digest digest, char text[TRACE_DIGEST_TEXT])
{
    snprintf(text, TRACE_DIGEST_TEXT, "%016llx%016llx", (unsigned long long)digest.hi,
             (unsigned long long)digest.lo);
}
