// SPDX-License-Identifier: Apache-2.0
// Inside of models/check: what the validators share.
#ifndef MODELS_CHECK_CHECK_INTERNAL_H
#define MODELS_CHECK_CHECK_INTERNAL_H

#include "models/check/check.h"
#include "models/check/owners.h"
#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"

#define CHECK_PAGE_SHIFT 12u
#define CHECK_REPORTS_MAX 200u

// --- Tables by a 64-bit key other than 0. ---

struct check_table {
    uint64_t *keys;
    void **values;
    uint32_t count, capacity; // Powers of two
};
void *check_table_find(const struct check_table *t, uint64_t key);
// Where its value stands; NULL there if it is new. Until the next insertion.
void **check_table_slot(struct check_table *t, uint64_t key);
// Forgets all; `release` gets each value.
void check_table_clear(struct check_table *t, void (*release)(void *value));

// --- Call stacks: numbers of paths in a tree of all that were seen; 0 is the empty one. ---

struct check_stacks {
    struct check_frame {
        uint32_t parent, pc; // pc: offset in the image
    } * frames;
    uint32_t count, capacity;
    struct check_table index;
};
uint32_t check_stack_push(struct check_stacks *s, uint32_t stack, uint32_t pc);
uint32_t check_stack_pop(const struct check_stacks *s, uint32_t stack);

// --- Findings. ---

// Who did what where.
struct check_site {
    uint32_t pc, stack;   // Offset of the hook's return in the image, 0: unknown; its call stack
    uint16_t thread, cpu; // thread 0: nobody
    uint8_t access;       // enum place_access bits; 0: no access
    uint8_t bytes;
    uint64_t ticks;
};

struct check_report {
    const char *kind;
    uint64_t address;
    char about[400]; // Text in which %1 and %2 stand for the sites
    struct check_site site[2];
};

struct check_reports {
    struct check_report *rows;
    uint32_t count, capacity;
    struct check_table seen;
};

struct races;
struct heap_check;
struct lock_check;

// A thread as all validators know it.
struct check_thread {
    bool live;              // Was switched to and has not ended
    uint32_t stack;         // Its call stack now
    uint32_t untimed_stack; // When its untimed phase began
};

struct check {
    struct native_watch watch; // First
    struct machine *machine;
    uint32_t kinds;
    struct check_stacks stacks;
    struct check_thread *threads; // By number
    uint32_t thread_capacity;
    struct check_reports reports;
    struct owners owners;
    struct races *races;
    struct heap_check *heap;
    struct lock_check *locks;
};

struct check_thread *check_thread(struct check *k, uint32_t thread);
// Where the executing thread is; `a` NULL: at the place of its last call.
struct check_site check_here(struct check *k, const struct native_access *a);
// Adds a finding unless one with the same kind and the same places is known. `about`: %1 and %2 stand for the
// sites, which may be NULL.
void check_report(struct check *k, const char *kind, uint64_t address, const char *about,
                  const struct check_site *first, const struct check_site *second);
// Writes all into the run's trace.
void check_reports_write(struct check *k);
// As check_judge() has it.
bool check_reports_pick(struct check *k, const struct places *places, const char *wanted, char *text,
                        size_t size);

// --- Validators. ---

struct races *races_create(struct check *k);
void races_destroy(struct races *r);
void races_begin(struct races *r);
void races_access(struct races *r, const struct native_access *a);
void races_event(struct races *r, const struct pcpu *c, const struct native_event *e);
// Memory has a new owner or none: what was done with it before does not count.
void races_forget(struct races *r, uint64_t address, uint64_t bytes);

struct heap_check *heap_create(struct check *k);
void heap_destroy(struct heap_check *h);
void heap_begin(struct heap_check *h);
void heap_access(struct heap_check *h, const struct native_access *a);
void heap_note(struct heap_check *h, const struct native_note *n);

struct lock_check *locks_create(struct check *k);
void locks_destroy(struct lock_check *l);
void locks_begin(struct lock_check *l);
void locks_access(struct lock_check *l, const struct native_access *a);
void locks_event(struct lock_check *l, const struct pcpu *c, const struct native_event *e);
// A processor halts or a guest goes on: there is progress.
void locks_progress(struct lock_check *l);
// The run is over; `idle`: nothing could ever happen again.
void locks_end(struct lock_check *l, bool idle);

#endif
