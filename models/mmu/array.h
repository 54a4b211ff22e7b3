// SPDX-License-Identifier: Apache-2.0
// One set-associative array of cached translations: the storage of every TLB and paging-structure cache.
//
// A key holds everything that must match: which context the entry belongs to (models/mmu/context.h: what tags
// it), the number of the page or region, and the size of the page. So a lookup is one comparison a way, and
// an entry whose context was invalidated can never match again: nobody has to look for it.
//
//  63          47 46                              2 1    0
// +--------------+---------------------------------+------+
// |   context    |   page or region number         | size |    size 0: the way is empty
// +--------------+---------------------------------+------+
//
// Replacement is true LRU; ways that are empty or of a context that is gone are used first. No time is
// charged here.
#ifndef MODELS_MMU_ARRAY_H
#define MODELS_MMU_ARRAY_H

#include "models/mmu/context.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Page sizes, as they stand in a key.
enum array_size { ARRAY_4K = 1, ARRAY_2M = 2, ARRAY_1G = 3 };
#define ARRAY_SIZE_OF(page_bits) ((page_bits) == 12 ? ARRAY_4K : (page_bits) == 21 ? ARRAY_2M : ARRAY_1G)
#define ARRAY_NUMBER_BITS 45u // A 57-bit address without its offset in a 4-KByte page.
#define ARRAY_NUMBER_MASK ((1ull << ARRAY_NUMBER_BITS) - 1)

// What an entry says. Of a TLB: hpa and gpa of the page. Of a paging-structure cache: of the next table.
struct array_value {
    uint64_t hpa, gpa;   // gpa: equal to hpa where there is no EPT
    uint16_t rights;     // enum mmu_right of models/mmu/mmu.h
    uint8_t memory_type; // Of the EPT leaf
    uint8_t page_bits;   // 12, 21, 30; of a table: what it maps, 21 .. 48
    uint8_t guest_bits;  // Of a TLB: the guest's page, which may be larger; 0: no tables of the guest
    uint32_t filled;     // For the checker (models/mmu/check.h): when, and for which vCPU
    uint32_t owner;
};

struct array {
    uint64_t *keys, *used; // sets * ways; `used`: of the clock at the last use
    struct array_value *values;
    uint32_t sets, ways;
    uint32_t mask; // sets - 1 where that is a power of two, else 0
    uint64_t clock;
};

// No memory is taken where `entries` is 0: such an array never hits.
void array_make(struct array *a, uint64_t entries, uint64_t ways);
void array_reset(struct array *a);
void array_free(struct array *a);

static inline uint64_t array_key(uint32_t context, uint64_t number, enum array_size size)
{
    return (uint64_t)context << 47 | (number & ARRAY_NUMBER_MASK) << 2 | (uint64_t)size;
}

static inline uint32_t array_first_way(const struct array *a, uint64_t number)
{
    uint32_t set = a->mask ? (uint32_t)number & a->mask : (uint32_t)(number % a->sets);

    return set * a->ways;
}

// The entry with one of two keys (a context's own and its global one; equal where there is only one), or
// NULL. A hit counts as a use.
static inline struct array_value *array_find(struct array *a, uint64_t number, uint64_t key, uint64_t key2)
{
    if (!a->sets)
        return NULL;
    uint32_t first = array_first_way(a, number & ARRAY_NUMBER_MASK);

    for (uint32_t w = first; w < first + a->ways; w++)
        if (a->keys[w] == key || a->keys[w] == key2) {
            a->used[w] = ++a->clock;
            return &a->values[w];
        }
    return NULL;
}

// Puts an entry in, in place of its own older version or of the least recently used one.
void array_insert(struct array *a, const struct contexts *contexts, uint64_t number, uint64_t key,
                  const struct array_value *value);
// Empties the ways of `number`'s set whose context `hits` says yes to and whose key names `number` and
// `size`.
void array_drop(struct array *a, const struct contexts *contexts, uint64_t number, enum array_size size,
                const struct context_filter *filter);
// Empties all entries in use whose context the filter takes and which are pieces of the guest's page that
// `linear` lies in.
void array_drop_pieces(struct array *a, const struct contexts *contexts, uint64_t linear,
                       const struct context_filter *filter);
// Empties every way of context slot `slot`, whatever its generation: before the generations begin anew.
void array_purge(struct array *a, uint32_t slot);
// Number of entries in use whose context the filter takes.
uint32_t array_count(const struct array *a, const struct contexts *contexts,
                     const struct context_filter *filter);

#endif
