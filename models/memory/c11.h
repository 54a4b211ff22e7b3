// SPDX-License-Identifier: Apache-2.0
// Inside of models/memory: what the machine is made of.
//
// A *view* is what somebody knows, as one row of numbers of which the join is the larger of each: the number
// of the latest seq_cst fence that happens before (0: none), for each processor the latest of its events that
// happens before ("happens"), for each processor the latest of its events that happens before a seq_cst
// fence which is ordered before one that happens before ("fenced"), and for each processor the latest of its
// events that comes before in program order, what loads read and the order of seq_cst operations ("order").
#ifndef MODELS_MEMORY_C11_H
#define MODELS_MEMORY_C11_H

#include "models/memory/memory.h"
#include <stddef.h>
#include <string.h>

#define C11_LOCATIONS 2048u
#define C11_BUCKETS 4096u
#define C11_STORES 8192u
#define C11_HISTORY_MAX 32u // Stores of a location that can still be read
#define C11_HISTORY_LOOK 8u // From so many on it is looked whether somebody can
#define C11_PROMISES_MAX 4u // At a time
#define C11_PLACES_MAX (C11_HISTORY_MAX + C11_PROMISES_MAX)

struct c11_store {
    struct c11_store *older, *newer; // In modification order
    struct c11_location *of;
    uint64_t value;
    uint64_t epoch;   // Of the writer; 0: before everything; UINT64_MAX: a promise, nobody has written it
    uint64_t sc;      // Number of the seq_cst operation that it is; 0: none
    uint64_t sc_read; // The lowest number of a seq_cst load that reads it; 0: none
    uint64_t readers; // Processors that have read it: bits
    uint32_t cpu;     // The writer
    bool rmw;         // Reads `older`: nothing comes between
    bool from_memory; // A plain store: its value is in memory
    bool promise;
    bool late;     // A promise, or continues the release sequence of one
    bool acquired; // Late, and somebody has synchronized with it
    bool releases; // `words` hold a view.
    uint64_t
        words[]; // The view that an acquiring reader gets, each reader's first epoch, the writer's "order"
};

struct c11_location {
    uint64_t address;
    struct c11_store *oldest, *newest;
    struct c11_location *next; // In its bucket
    uint32_t bucket;
    uint32_t count;   // Of stores
    uint32_t look_at; // Count at which it is looked for stores that nobody can read any more
    uint16_t promises;
    uint8_t size_bytes;
    bool used;
};

struct c11_cpu {
    uint64_t *now;      // View of what it executes
    uint64_t *acquired; // Of the stores that relaxed loads have read: an acquire fence makes it known
    uint64_t *released; // At the last release fence: what its relaxed stores carry
    uint64_t *message;  // Of the senders of its messages
    bool active;
    bool has_released; // `released` is not empty.
};

struct memory {
    uint32_t cpus, view_words;
    uint64_t view_bytes, store_bytes;
    struct c11_cpu cpu[MEMORY_CPUS_MAX];
    uint64_t *fences;    // Events that happen before some seq_cst fence: "fenced" of the next one
    uint64_t *forgotten; // Joined views of the newest stores of locations that were given up
    uint64_t *combined;  // Of a read-modify-write: what it releases itself, and what it continues
    bool has_forgotten;
    uint64_t *threads; // now, acquired and released of each thread that is on no processor
    uint32_t threads_used;
    uint64_t sc; // Number of the latest seq_cst operation
    struct c11_location *bucket[C11_BUCKETS];
    uint8_t bucket_count[C11_BUCKETS]; // Of locations, up to 255: small, as every plain store looks here
    struct c11_location location[C11_LOCATIONS];
    uint32_t locations, holes, next_victim; // Of the first `locations`, `holes` are not in use.
    char *stores;                           // C11_STORES of them
    uint32_t stores_used;
    struct c11_store *free_store;
    // Between the two steps of a read-modify-write.
    struct c11_location *rmw_location; // NULL: of mixed size
    struct c11_store *rmw_reads;
    volatile void *rmw_p;
    uint32_t rmw_size_bytes, rmw_cpu;
    int rmw_order;
    // Promised values that no store has justified yet.
    struct memory_values *values;
    struct memory_value stored[MEMORY_VALUES_MAX]; // In this execution, `most` times
    uint32_t stored_count;
    uint64_t *sc_order; // "order" after the latest seq_cst operation
    bool hopeless;
    struct c11_store *promise[C11_PROMISES_MAX];
    uint32_t promises;
};

// --- Views. ---

static inline uint64_t *c11_thread(const struct memory *m, uint32_t thread)
{
    return m->threads + 3ull * m->view_words * thread;
}

static inline uint64_t *c11_happens(uint64_t *view)
{
    return view + 1;
}

static inline uint64_t *c11_fenced(const struct memory *m, uint64_t *view)
{
    return view + 1 + m->cpus;
}

static inline uint64_t *c11_order(const struct memory *m, uint64_t *view)
{
    return view + 1 + 2ull * m->cpus;
}

static inline void c11_join_words(uint64_t *to, const uint64_t *from, uint32_t words)
{
    for (uint32_t i = 0; i < words; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
}

static inline void c11_join(const struct memory *m, uint64_t *to, const uint64_t *from)
{
    c11_join_words(to, from, m->view_words);
}

// First epochs at which processors read the store; valid where its bit of `readers` is set.
static inline uint64_t *c11_read_epochs(const struct memory *m, struct c11_store *s)
{
    return s->words + m->view_words;
}

static inline uint64_t *c11_store_order(const struct memory *m, struct c11_store *s)
{
    return s->words + m->view_words + m->cpus;
}

static inline bool c11_acquires(int order)
{
    return order == MEMORY_ACQUIRE || order == MEMORY_CONSUME || order >= MEMORY_ACQ_REL;
}

static inline bool c11_releases(int order)
{
    return order >= MEMORY_RELEASE;
}

// --- Locations and their histories (history.c). ---

// The location of exactly these bytes, made if there is none. NULL: a location of other bytes is in the way.
struct c11_location *c11_find(struct memory *m, const volatile void *p, uint32_t size_bytes);
// Calls fn(ctx, ...) for each location that has one of the bytes.
void c11_overlapping(struct memory *m, const volatile void *p, uint32_t size_bytes,
                     void (*fn)(struct memory *m, struct c11_location *l, void *ctx), void *ctx);
// A new store of `l` right after `older`. Values of fields that are not arguments are those of a relaxed
// store before everything.
struct c11_store *c11_insert(struct memory *m, struct c11_location *l, struct c11_store *older,
                             uint64_t value);
// The oldest store that the processor's next operation may read, and after which its store must be: what
// comes before in modification order is hidden. `sc`: the operation is seq_cst.
struct c11_store *c11_bound(const struct memory *m, uint32_t cpu, const struct c11_location *l, bool sc);
// The newest that is no promise: what memory holds.
struct c11_store *c11_in_memory(const struct c11_location *l);
uint64_t c11_read_memory(const volatile void *p, uint32_t size_bytes);
void c11_write_memory(uint64_t address, uint32_t size_bytes, uint64_t value);

// --- Promises (promise.c). ---

// The values that a load by `cpu` could be promised here, up to `max`. How many.
uint32_t c11_promisable(struct memory *m, uint32_t cpu, const struct c11_location *l, uint64_t *values,
                        uint32_t max);
// A promise of `value` at a place after `bound` that is chosen.
struct c11_store *c11_promise(struct memory *m, struct c11_location *l, struct c11_store *bound,
                              uint64_t value);
// Can the store that comes after `bound` (of a read-modify-write: right after it, `rmw`) and releases `view`
// (NULL: nothing) be the one that `p` promises?
bool c11_can_justify(const struct memory *m, uint32_t cpu, struct c11_store *p, const struct c11_store *bound,
                     bool rmw, uint64_t value, const uint64_t *view);
// It is: who has read `p` gets to know `view`.
void c11_justify(struct memory *m, struct c11_location *l, struct c11_store *p, const uint64_t *view);
// The processor executes an acquire fence, or its thread leaves it.
void c11_promises_acquired(struct memory *m, uint32_t cpu);
// A store of the value was executed.
void c11_note_value(struct memory *m, uint32_t cpu, const struct c11_location *l, uint64_t value);

#endif
