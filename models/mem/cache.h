// SPDX-License-Identifier: Apache-2.0
// One set-associative tag array with true LRU. Tags and MESI states only; data lives in the arena.
#ifndef MODELS_MEM_CACHE_H
#define MODELS_MEM_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum cache_state { CACHE_I, CACHE_S, CACHE_E, CACHE_M };

// A tag word is line << 2 | state, 0 when invalid. Each set is kept in order of use, the latest first.
struct cache {
    uint64_t *tags;
    uint32_t *epochs; // Of each set: contents of another epoch count as invalid (reset without a sweep).
    uint32_t epoch;
    uint32_t sets, ways;
    uint32_t mask; // sets - 1 where that is a power of two, else 0
};

int cache_init(struct cache *k, uint64_t size_bytes, uint32_t ways, uint32_t line_bytes);
void cache_reset(struct cache *k);
void cache_destroy(struct cache *k);

// Is this the tag word of `line` in a valid state? One comparison: the state is 1..3.
static inline bool cache_holds(uint64_t tag, uint64_t line)
{
    return tag - (line << 2) - 1 < 3;
}

static inline uint64_t *cache_set(struct cache *k, uint64_t line)
{
    uint32_t set = k->mask ? (uint32_t)line & k->mask : (uint32_t)(line % k->sets);
    uint64_t *tags = k->tags + (uint64_t)set * k->ways;

    if (__builtin_expect(k->epochs[set] != k->epoch, 0)) {
        memset(tags, 0, k->ways * sizeof *tags);
        k->epochs[set] = k->epoch;
    }
    return tags;
}

// The tag word of `line` without touching the order, or NULL.
static inline uint64_t *cache_probe(struct cache *k, uint64_t line)
{
    uint64_t *tags = cache_set(k, line);

    for (uint32_t w = 0; w < k->ways; w++)
        if (cache_holds(tags[w], line))
            return &tags[w];
    return NULL;
}

// The same, and makes it the latest used.
static inline uint64_t *cache_touch(struct cache *k, uint64_t line)
{
    uint64_t *tags = cache_set(k, line);

    if (__builtin_expect(cache_holds(tags[0], line), 1))
        return tags;
    for (uint32_t w = 1; w < k->ways; w++) {
        uint64_t tag = tags[w];

        if (!cache_holds(tag, line))
            continue;
        for (; w > 0; w--)
            tags[w] = tags[w - 1];
        tags[0] = tag;
        return tags;
    }
    return NULL;
}

// Puts `line` in as the latest used; returns the tag word that had to go (0: none).
static inline uint64_t cache_fill(struct cache *k, uint64_t line, enum cache_state state)
{
    uint64_t *tags = cache_set(k, line);
    uint32_t w = 0;

    while (w < k->ways - 1 && tags[w] & 3)
        w++;
    uint64_t victim = tags[w] & 3 ? tags[w] : 0;

    for (; w > 0; w--)
        tags[w] = tags[w - 1];
    tags[0] = line << 2 | (uint64_t)state;
    return victim;
}

// Removes it; returns the state it had.
static inline enum cache_state cache_drop(struct cache *k, uint64_t line)
{
    uint64_t *tag = cache_probe(k, line);
    enum cache_state state = CACHE_I;

    if (tag) {
        state = (enum cache_state)(*tag & 3);
        *tag = 0;
    }
    return state;
}

#endif
