// SPDX-License-Identifier: Apache-2.0
// A first-level cache: tags and states as in cache.h, true LRU as well, but a line stays in its way
// while it is there and its use is a stamp. So who saw a line may come back to its way without a search
// (struct mem_near).
#ifndef MODELS_MEM_L1_H
#define MODELS_MEM_L1_H

#include "models/mem/cache.h"
#include <stddef.h>

struct l1_way {
    uint64_t tag;  // line << 2 | state, 0 when invalid
    uint64_t used; // The cache's clock at its last use
};

#define L1_GUESSES 256u
struct l1 {
    struct l1_way *ways;              // By sets
    struct l1_way *guess[L1_GUESSES]; // Where lines were seen last, by the low bits of their number
    uint64_t clock;                   // Number of uses
    struct l1_way *last;              // Touched or filled last; NULL at first
    uint32_t sets, ways_per_set;
    uint32_t mask; // sets - 1 where that is a power of two, else 0
};

int l1_init(struct l1 *k, uint64_t size_bytes, uint32_t ways, uint32_t line_bytes);
void l1_reset(struct l1 *k);
void l1_destroy(struct l1 *k);

static inline struct l1_way *l1_set(const struct l1 *k, uint64_t line)
{
    uint32_t set = k->mask ? (uint32_t)line & k->mask : (uint32_t)(line % k->sets);

    return k->ways + (uint64_t)set * k->ways_per_set;
}

static inline void l1_use(struct l1 *k, struct l1_way *w)
{
    w->used = ++k->clock;
}

// The way that holds `line` where it was touched last; NULL: it may be elsewhere.
static inline struct l1_way *l1_guess(const struct l1 *k, uint64_t line)
{
    struct l1_way *w = k->guess[line % L1_GUESSES];

    return __builtin_expect(w && cache_holds(w->tag, line), 1) ? w : NULL;
}

// The way that holds `line`, or NULL.
static inline struct l1_way *l1_probe(const struct l1 *k, uint64_t line)
{
    struct l1_way *w = l1_set(k, line);

    for (uint32_t i = 0; i < k->ways_per_set; i++, w++)
        if (cache_holds(w->tag, line))
            return w;
    return NULL;
}

// The same, and makes it the latest used.
static inline struct l1_way *l1_touch(struct l1 *k, uint64_t line)
{
    struct l1_way *w = l1_guess(k, line);

    if (!w) {
        w = l1_probe(k, line);
        if (!w)
            return NULL;
        k->guess[line % L1_GUESSES] = w;
    }
    l1_use(k, w);
    k->last = w;
    return w;
}

// Puts `line`, which is not there, in as the latest used: in place of an invalid one if there is any, else of
// the one whose use is longest ago.
static inline void l1_fill(struct l1 *k, uint64_t line, enum cache_state state)
{
    struct l1_way *w = l1_set(k, line), *to = w;
    uint64_t longest_ago = UINT64_MAX;

    for (uint32_t i = 0; i < k->ways_per_set; i++, w++) {
        uint64_t used = w->tag & 3 ? w->used : 0; // No use has the stamp 0.

        if (used < longest_ago) {
            longest_ago = used;
            to = w;
        }
    }
    to->tag = line << 2 | (uint64_t)state;
    l1_use(k, to);
    k->last = to;
    k->guess[line % L1_GUESSES] = to;
}

static inline void l1_drop(struct l1 *k, uint64_t line)
{
    struct l1_way *w = l1_probe(k, line);

    if (w)
        w->tag = 0;
}

#endif
