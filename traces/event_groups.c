// SPDX-License-Identifier: Apache-2.0
#include "traces/event_groups.h"

#include "traces/memory.h"
#include "traces/store.h"

#include <stdlib.h>

void event_groups_init(struct event_groups *groups)
{
    groups->slot_count = 256;
    groups->slots = memory_zeroed(groups->slot_count, sizeof *groups->slots);
    groups->seen = memory_zeroed(EVENT_SEEN, sizeof *groups->seen);
}

void event_groups_free(struct event_groups *groups)
{
    free(groups->slots);
    free(groups->keys);
    free(groups->seen);
}

static uint64_t groups_hash(const uint64_t *key, uint32_t words)
{
    uint64_t hash = words;

    for (uint32_t i = 0; i < words; i++)
        hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15u ^ hash >> 29;
    return hash ^ hash >> 32;
}

// The slot of the open group: of its shape, or a free one.
static struct event_shape *groups_slot(const struct event_groups *groups, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (groups->slot_count - 1);

    for (; groups->slots[i].words; i = (i + 1) & (groups->slot_count - 1))
        if (groups->slots[i].hash == hash && groups->slots[i].words == groups->words &&
            !memcmp(&groups->keys[groups->slots[i].at], groups->key, groups->words * sizeof *groups->key))
            break;
    return &groups->slots[i];
}

static void groups_grow(struct event_groups *groups)
{
    struct event_shape *old = groups->slots;
    uint32_t old_count = groups->slot_count;

    groups->slot_count *= 4;
    groups->slots = memory_zeroed(groups->slot_count, sizeof *groups->slots);
    for (uint32_t n = 0; n < old_count; n++) {
        uint32_t i = (uint32_t)old[n].hash & (groups->slot_count - 1);

        while (groups->slots[i].words)
            i = (i + 1) & (groups->slot_count - 1);
        if (old[n].words)
            groups->slots[i] = old[n];
    }
    free(old);
}

// Calls put for each event of the open group with its index and key.
static void groups_each(struct store *store,
                        void (*put)(struct store *, uint32_t, const uint64_t *, uint32_t shape),
                        uint32_t shape)
{
    const uint64_t *event = store->groups.key + 1;

    for (uint32_t i = 0; i < store->groups.count; i++) {
        put(store, i, event, shape);
        event += 3 + (uint32_t)event[0];
    }
}

// An event's arguments, from that column on.
static void groups_put_arguments(struct bulk_row *row, int column, const uint64_t *event)
{
    uint32_t argc = (uint32_t)event[0];

    row->nulls = (0x3fu & ~((1u << argc) - 1)) << column;
    memcpy(&row->cells[column], event + 3, 8 * (size_t)argc);
}

static int64_t groups_tag(struct store *store, const uint64_t *event)
{
    struct trace_where where;

    memcpy(&where, event + 2, sizeof where);
    return store_event_tag(store, (uint32_t)(event[0] >> 32), where);
}

static void groups_put_member(struct store *store, uint32_t index, const uint64_t *event, uint32_t shape)
{
    int64_t tag = groups_tag(store, event);
    struct bulk_row *row = store_row(store, STORE_EVENT_SHAPES);

    row->cells[0] = (store->event_shape_base + shape) << 3 | index;
    row->cells[1] = tag;
    row->cells[2] = (int64_t)event[1];
    groups_put_arguments(row, 3, event);
}

static void groups_put_single(struct store *store, uint32_t index, const uint64_t *event, uint32_t shape)
{
    int64_t tag = groups_tag(store, event);
    struct bulk_row *row = store_row(store, STORE_EVENTS);

    (void)shape;
    row->cells[0] = store->run << 32 | ++store->event_rows;
    row->cells[1] = store->groups.first_seq + index;
    row->cells[2] = tag;
    row->cells[3] = (int64_t)((store->groups.first_tick + event[1]) / TRACE_TICKS_PER_CYCLE);
    groups_put_arguments(row, 4, event);
}

static void groups_put_group(struct store *store, uint32_t shape)
{
    struct bulk_row *row = store_row(store, STORE_EVENT_GROUPS);

    row->cells[0] = store->run << 32 | ++store->event_group_rows;
    row->cells[1] = store->groups.first_seq;
    row->cells[2] = store->event_shape_base + shape;
    row->cells[3] = (int64_t)store->groups.first_tick;
}

// The open group's shape, which it gets if it was seen before; 0: none.
static uint32_t groups_shape(struct store *store)
{
    struct event_groups *groups = &store->groups;
    uint64_t hash = groups_hash(groups->key, groups->words);
    struct event_shape *slot = groups_slot(groups, hash);
    uint64_t *seen = &groups->seen[hash % EVENT_SEEN];

    if (slot->words)
        return slot->number;
    if (*seen != hash || groups->key_words + groups->words > EVENT_SHAPE_WORDS) {
        *seen = hash;
        return 0;
    }
    void *keys = groups->keys;

    memory_fit(&keys, &groups->key_capacity, groups->key_words + groups->words, sizeof *groups->keys);
    groups->keys = keys;
    memcpy(groups->keys + groups->key_words, groups->key, groups->words * sizeof *groups->key);
    *slot = (struct event_shape){hash, (uint32_t)groups->key_words, groups->words, ++groups->shape_count};
    groups->key_words += groups->words;
    groups_each(store, groups_put_member, groups->shape_count);
    if (groups->shape_count * 2 > groups->slot_count)
        groups_grow(groups);
    return groups->shape_count;
}

void event_groups_close(struct store *store)
{
    struct event_groups *groups = &store->groups;

    if (!groups->count)
        return;
    uint32_t shape = groups_shape(store);

    if (shape)
        groups_put_group(store, shape);
    else
        groups_each(store, groups_put_single, 0);
    groups->count = 0;
}

void event_groups_add(struct store *store, uint32_t seq, uint32_t kind, uint64_t tick, const uint64_t *words,
                      uint32_t argc)
{
    struct event_groups *groups = &store->groups;
    struct trace_where where;

    memcpy(&where, words, sizeof where);
    if (groups->count && (groups->count == EVENT_GROUP_MAX || groups->pcpu != where.pcpu ||
                          tick < groups->first_tick || tick - groups->first_tick >= EVENT_GROUP_TICKS))
        event_groups_close(store);
    if (!groups->count) {
        groups->words = 1;
        groups->first_seq = seq;
        groups->first_tick = tick;
        groups->pcpu = where.pcpu;
    }
    uint64_t *event = groups->key + groups->words;

    event[0] = (uint64_t)kind << 32 | argc;
    event[1] = tick - groups->first_tick;
    memcpy(event + 2, words, 8 * (size_t)(1 + argc));
    groups->words += 3 + argc;
    groups->key[0] = ++groups->count;
}
