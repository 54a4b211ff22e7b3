// SPDX-License-Identifier: Apache-2.0
#include "models/check/check_internal.h"

#include <stdlib.h>

static uint32_t slot_of(const struct check_table *t, uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;
    uint32_t at = (uint32_t)(hash >> 32) & (t->capacity - 1);

    while (t->keys[at] && t->keys[at] != key)
        at = (at + 1) & (t->capacity - 1);
    return at;
}

static void grow(struct check_table *t)
{
    struct check_table old = *t;

    t->capacity = old.capacity ? 2 * old.capacity : 1024;
    t->keys = calloc(t->capacity, sizeof *t->keys);
    t->values = calloc(t->capacity, sizeof *t->values);
    if (!t->keys || !t->values)
        abort();
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (!old.keys[i])
            continue;
        uint32_t at = slot_of(t, old.keys[i]);

        t->keys[at] = old.keys[i];
        t->values[at] = old.values[i];
    }
    free(old.keys);
    free(old.values);
}

void *check_table_find(const struct check_table *t, uint64_t key)
{
    return t->count ? t->values[slot_of(t, key)] : NULL;
}

void **check_table_slot(struct check_table *t, uint64_t key)
{
    if (2 * t->count >= t->capacity)
        grow(t);
    uint32_t at = slot_of(t, key);

    if (!t->keys[at]) {
        t->keys[at] = key;
        t->count++;
    }
    return &t->values[at];
}

void check_table_clear(struct check_table *t, void (*release)(void *value))
{
    for (uint32_t i = 0; release && i < t->capacity; i++)
        if (t->keys[i])
            release(t->values[i]);
    free(t->keys);
    free(t->values);
    *t = (struct check_table){0};
}
