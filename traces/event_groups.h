// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_EVENT_GROUPS_H
#define HVSIM_TRACES_EVENT_GROUPS_H

/*
 * Events on their way to the database, a few at a time: those that follow each other on one pCPU up to the
 * end of an exit are a group. A group that comes a second time (same places, tracepoints, arguments and
 * distances in ticks) gets a shape; from then on it is one row that names its shape, however many events it
 * has. Others are a row each.
 *
 * A hypervisor does the same again and again, so most events of a long run come in a few shapes. Where they
 * do not, it costs a hash of their words.
 */

#include "traces/trace.h"

struct store;

enum {
    EVENT_GROUP_MAX = 8, // events of a group: event_shapes.id is shape << 3 | index
    EVENT_GROUP_WORDS = 1 + EVENT_GROUP_MAX * (3 + TRACE_EVENT_ARGS),
    EVENT_GROUP_TICKS = 1 << 20, // from its first event to its last: events.near_cycle depends on it
    EVENT_SEEN = 4096,           // hashes of the last groups that had no shape
    EVENT_SHAPE_WORDS = 1 << 22, // words of all shapes; there are no new ones beyond
};

struct event_shape {
    uint64_t hash;
    uint32_t at, words; // its key in event_groups.keys; words 0: a free slot
    uint32_t number;
};

struct event_groups {
    // The open group. Its key: the number of its events, then for each of them kind << 32 | argc, ticks since
    // the first, place, arguments.
    uint64_t key[EVENT_GROUP_WORDS];
    uint32_t words, count; // count 0: none is open
    uint32_t first_seq;
    uint16_t pcpu;
    uint64_t first_tick;
    struct event_shape *slots; // open addressing
    uint32_t slot_count, shape_count;
    uint64_t *keys;
    size_t key_words, key_capacity;
    uint64_t *seen;
};

void event_groups_init(struct event_groups *groups);
void event_groups_free(struct event_groups *groups);

// Event seq of the run. words: of trace_event()'s record from the third on, the place and argc arguments.
void event_groups_add(struct store *store, uint32_t seq, uint32_t kind, uint64_t tick, const uint64_t *words,
                      uint32_t argc);

// The open group goes to the store.
void event_groups_close(struct store *store);

// The same if it is that pCPU's, where an exit ended.
static inline void event_groups_exit(struct store *store, const struct event_groups *groups, uint16_t pcpu)
{
    if (groups->count && groups->pcpu == pcpu)
        event_groups_close(store);
}

#endif
