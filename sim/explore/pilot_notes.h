// SPDX-License-Identifier: Apache-2.0
// What hypervisor code tells of its locks and memory (hv/hw/note.h), for who chooses orders: two accesses
// under one lock have the order of their critical sections, and memory that changed its owner was handed
// over.
#ifndef SIM_EXPLORE_PILOT_NOTES_H
#define SIM_EXPLORE_PILOT_NOTES_H

#include "models/cpu/native/watch.h"
#include "sim/explore/strategy.h"

#define PILOT_THREADS_MAX 256u // By their trace numbers; those beyond share.
#define PILOT_LOCKS_MAX 64u
#define PILOT_HELD_MAX 16u // By one thread; those beyond count as not held.

struct pilot_held {
    const void *lock;
    uint8_t index; // In `locks`
    bool exclusive;
    bool released; // About to be: until the thread's first access elsewhere
};

struct pilot_thread {
    uint64_t execution;
    const void *wanted; // Being acquired
    bool arrived;       // and it has been at the lock.
    uint32_t held_count;
    struct pilot_held held[PILOT_HELD_MAX];
};

// Kept over executions, so that a lock keeps its number.
struct pilot_notes {
    uint64_t execution;
    const void *locks[PILOT_LOCKS_MAX];
    uint32_t lock_count; // Those that have no number are held by nobody.
    struct pilot_thread threads[PILOT_THREADS_MAX];
};

// Another execution begins, with threads that hold nothing that is known of.
void pilot_notes_begin(struct pilot_notes *n);
void pilot_notes_take(struct pilot_notes *n, uint32_t thread, const struct native_note *note);
// The thread's access, before it happens: fills in what it holds, and if it is part of a lock's own work.
void pilot_notes_access(struct pilot_notes *n, uint32_t thread, const volatile void *p,
                        struct explore_access *out);

#endif
