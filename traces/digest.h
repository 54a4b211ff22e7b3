// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_DIGEST_H
#define HVSIM_TRACES_DIGEST_H

/*
 * MurmurHash3_x64_128 (Austin Appleby's public-domain algorithm), made streaming: 128 bits over a sequence of
 * 64-bit words, about 4 ns per 16 bytes. Not a cryptographic hash: it tells runs apart, it does not resist
 * forgery.
 */

#include "traces/trace.h"

struct digest {
    uint64_t h1, h2;
    uint64_t held; // the odd word that waits for its partner
    uint64_t words;
};

static inline uint64_t digest_rotl(uint64_t x, unsigned r)
{
    return x << r | x >> (64 - r);
}

static inline void digest_init(struct digest *d, uint32_t seed)
{
    *d = (struct digest){.h1 = seed, .h2 = seed};
}

static inline uint64_t digest_mix1(uint64_t k)
{
    return digest_rotl(k * 0x87c37b91114253d5u, 31) * 0x4cf5ad432745937fu;
}

static inline uint64_t digest_mix2(uint64_t k)
{
    return digest_rotl(k * 0x4cf5ad432745937fu, 33) * 0x87c37b91114253d5u;
}

static inline void digest_pair(struct digest *d, uint64_t k1, uint64_t k2)
{
    d->h1 = (digest_rotl(d->h1 ^ digest_mix1(k1), 27) + d->h2) * 5 + 0x52dce729;
    d->h2 = (digest_rotl(d->h2 ^ digest_mix2(k2), 31) + d->h1) * 5 + 0x38495ab5;
}

// Appends n words.
static inline void digest_words(struct digest *d, const uint64_t *words, size_t n)
{
    size_t i = 0;

    if (d->words % 2 && n)
        digest_pair(d, d->held, words[i++]);
    for (; i + 2 <= n; i += 2)
        digest_pair(d, words[i], words[i + 1]);
    if (i < n)
        d->held = words[i];
    d->words += n;
}

// Appends two words.
static inline void digest_two(struct digest *d, uint64_t first, uint64_t second)
{
    if (d->words % 2) {
        digest_pair(d, d->held, first);
        d->held = second;
    } else {
        digest_pair(d, first, second);
    }
    d->words += 2;
}

// The hash of what was appended so far; d may go on.
struct trace_digest digest_value(const struct digest *d);

// The whole algorithm over bytes, as published; a text's hash is its low half.
struct trace_digest digest_bytes(const void *bytes, size_t size, uint32_t seed);

#endif
