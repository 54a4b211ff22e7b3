// SPDX-License-Identifier: Apache-2.0
// Inside of the pilot: processors (pilot.c) and their store buffers (pilot_stores.c).
#ifndef SIM_EXPLORE_PILOT_INTERNAL_H
#define SIM_EXPLORE_PILOT_INTERNAL_H

#include "sim/explore/pilot.h"

// An access of `cpu` takes effect now: what is shared is learned from it.
void pilot_note_place(struct pilot *p, uint32_t cpu, const struct native_access *a);
struct pilot_step *pilot_record(struct pilot *p);
// As struct explore_decision has it.
uint32_t pilot_decide(struct pilot *p, uint32_t current, uint32_t ready, uint32_t later);
// Nobody has the turn: stores leave, until a processor is chosen that goes on. Nobody may be ready.
void pilot_pass_on(struct pilot *p, uint32_t current, uint64_t now_ticks);

static inline uint64_t pilot_place_of(const struct native_access *a)
{
    return (uint64_t)(uintptr_t)a->p >> 3;
}

// Those that can go on: processors that stand at an access, store buffers that hold a store.
static inline uint32_t pilot_ready(const struct pilot *p)
{
    return p->standing | p->buffers_ready;
}

static inline bool pilot_is_buffer(const struct pilot *p, uint32_t actor)
{
    return p->with_buffers && actor >= p->machine->cpu_count && actor < EXPLORE_ACTORS_MAX;
}

static inline uint32_t pilot_buffer_bit(const struct pilot *p, uint32_t cpu)
{
    return p->with_buffers ? 1u << (p->machine->cpu_count + cpu) : 0;
}

void pilot_stores_begin(struct pilot *p);
// Will the access of `c`, to what is `shared`, wait in its buffer until the strategy lets it go? Then it is
// nobody else's affair until that happens.
static inline bool pilot_stores_keeps(const struct pilot *p, const struct pcpu *c,
                                      const struct native_access *a, bool shared)
{
    return shared && p->with_buffers && native_is_buffered(c, a);
}

// It is about to make that access, which is step `step`.
void pilot_stores_expect(struct pilot *p, uint32_t cpu, uint32_t step);
// The processor is about to wait until somebody comes: which of its last stores wait, too?
void pilot_stores_settle(struct pilot *p, struct pcpu *c);
// Its processor must not go on before: by then stores of others are visible that left before.
uint64_t pilot_stores_ready_ticks(const struct pilot *p, uint32_t cpu);
// What the buffer would let go.
struct explore_access pilot_stores_next(const struct pilot *p, uint32_t actor);
// The buffer lets its oldest store go.
void pilot_stores_let_go(struct pilot *p, uint32_t actor, uint64_t now_ticks);
// Of the watcher: it is in the buffer.
void pilot_stores_stored(struct native_watch *w, struct pcpu *c);
void pilot_stores_end(struct pilot *p);

#endif
