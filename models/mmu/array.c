// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/array.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void array_make(struct array *a, uint64_t entries, uint64_t ways)
{
    memset(a, 0, sizeof *a);
    if (!entries)
        return;
    a->ways = (uint32_t)(ways && ways <= entries ? ways : entries);
    a->sets = (uint32_t)(entries / a->ways);
    a->mask = (a->sets & (a->sets - 1)) == 0 ? a->sets - 1 : 0;
    a->keys = calloc((size_t)a->sets * a->ways, sizeof *a->keys);
    a->used = calloc((size_t)a->sets * a->ways, sizeof *a->used);
    a->values = calloc((size_t)a->sets * a->ways, sizeof *a->values);
    assert(a->keys && a->used && a->values);
}

void array_reset(struct array *a)
{
    size_t ways = (size_t)a->sets * a->ways;

    a->clock = 0;
    if (!ways)
        return;
    memset(a->keys, 0, ways * sizeof *a->keys);
    memset(a->used, 0, ways * sizeof *a->used);
    memset(a->values, 0, ways * sizeof *a->values);
}

void array_free(struct array *a)
{
    free(a->keys);
    free(a->used);
    free(a->values);
    memset(a, 0, sizeof *a);
}

static uint32_t context_in(uint64_t key)
{
    return (uint32_t)(key >> 47);
}

static bool in_use(const struct contexts *contexts, uint64_t key)
{
    return (key & 3) && context_alive(contexts, context_in(key));
}

void array_insert(struct array *a, const struct contexts *contexts, uint64_t number, uint64_t key,
                  const struct array_value *value)
{
    uint32_t first, victim = UINT32_MAX, oldest;

    if (!a->sets)
        return;
    first = oldest = array_first_way(a, number & ARRAY_NUMBER_MASK);
    for (uint32_t w = first; w < first + a->ways; w++) {
        if (a->keys[w] == key) {
            victim = w;
            break;
        }
        if (victim == UINT32_MAX && !in_use(contexts, a->keys[w]))
            victim = w; // Stays the choice unless an older version of the entry follows.
        if (a->used[w] < a->used[oldest])
            oldest = w;
    }
    if (victim == UINT32_MAX)
        victim = oldest;
    a->keys[victim] = key;
    a->values[victim] = *value;
    a->used[victim] = ++a->clock;
}

void array_drop(struct array *a, const struct contexts *contexts, uint64_t number, enum array_size size,
                const struct context_filter *filter)
{
    const uint64_t what = (1ull << 47) - 1; // Number and size.

    if (!a->sets)
        return;
    number &= ARRAY_NUMBER_MASK;
    uint32_t first = array_first_way(a, number);

    for (uint32_t w = first; w < first + a->ways; w++)
        if ((a->keys[w] & what) == array_key(0, number, size) && in_use(contexts, a->keys[w]) &&
            context_matches(context_of(contexts, context_in(a->keys[w])), filter))
            a->keys[w] = 0;
}

void array_drop_pieces(struct array *a, const struct contexts *contexts, uint64_t linear,
                       const struct context_filter *filter)
{
    for (uint32_t w = 0; w < a->sets * a->ways; w++) {
        const struct array_value *v = &a->values[w];
        uint64_t number = a->keys[w] >> 2 & ARRAY_NUMBER_MASK;

        if (!in_use(contexts, a->keys[w]) || v->guest_bits <= v->page_bits)
            continue;
        if (((number << (v->page_bits - 12)) ^ (linear >> 12 & ARRAY_NUMBER_MASK)) >> (v->guest_bits - 12))
            continue;
        if (context_matches(context_of(contexts, context_in(a->keys[w])), filter))
            a->keys[w] = 0;
    }
}

void array_purge(struct array *a, uint32_t slot)
{
    for (uint32_t w = 0; w < a->sets * a->ways; w++)
        if (context_in(a->keys[w]) >> CONTEXT_GENERATION_BITS == slot)
            a->keys[w] = 0;
}

uint32_t array_count(const struct array *a, const struct contexts *contexts,
                     const struct context_filter *filter)
{
    uint32_t count = 0;

    for (uint32_t w = 0; w < a->sets * a->ways; w++)
        count += in_use(contexts, a->keys[w]) &&
                 context_matches(context_of(contexts, context_in(a->keys[w])), filter);
    return count;
}
