// SPDX-License-Identifier: Apache-2.0
#include "traces/dict.h"

#include "traces/memory.h"

#include <stdlib.h>
#include <string.h>

void dict_init(struct dict *dict, size_t words)
{
    *dict = (struct dict){.words = words, .slot_count = 256};
    dict->slots = memory_zeroed(dict->slot_count, sizeof *dict->slots);
}

void dict_free(struct dict *dict)
{
    free(dict->keys);
    free(dict->slots);
}

static uint64_t dict_hash(const struct dict *dict, const uint64_t *key)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < dict->words; i++)
        hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15u ^ hash >> 29;
    return hash ^ hash >> 32;
}

// Keys are a few words: a loop is quicker than a call of memcmp().
static bool dict_is(const struct dict *dict, uint32_t number, const uint64_t *key)
{
    const uint64_t *other = &dict->keys[(number - 1) * dict->words];

    for (size_t i = 0; i < dict->words; i++)
        if (other[i] != key[i])
            return false;
    return true;
}

static uint32_t *dict_slot(const struct dict *dict, const uint64_t *key)
{
    uint32_t i = (uint32_t)dict_hash(dict, key) & (dict->slot_count - 1);

    for (; dict->slots[i]; i = (i + 1) & (dict->slot_count - 1))
        if (dict_is(dict, dict->slots[i], key))
            break;
    return &dict->slots[i];
}

static void dict_grow(struct dict *dict)
{
    free(dict->slots);
    dict->slot_count *= 4;
    dict->slots = memory_zeroed(dict->slot_count, sizeof *dict->slots);
    for (uint32_t number = 1; number <= dict->count; number++)
        *dict_slot(dict, &dict->keys[(number - 1) * dict->words]) = number;
}

uint32_t dict_number(struct dict *dict, const uint64_t *key, bool *is_new)
{
    uint32_t *slot = dict_slot(dict, key);

    *is_new = *slot == 0;
    if (*slot)
        return *slot;
    uint32_t number = ++dict->count;
    void *keys = dict->keys;

    *slot = number;
    memory_fit(&keys, &dict->key_capacity, number, dict->words * sizeof *key);
    dict->keys = keys;
    memcpy(&dict->keys[(number - 1) * dict->words], key, dict->words * sizeof *key);
    if (dict->count * 2 > dict->slot_count)
        dict_grow(dict);
    return number;
}
