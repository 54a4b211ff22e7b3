// SPDX-License-Identifier: Apache-2.0
// Those who look at every access of hypervisor code before it happens: a pinned order, an explorer,
// validators.
//
// While somebody watches, each hook is a scheduling point that asks all watchers, one after the other by
// rank; what a hook announces then happens right behind it, before anybody else's turn. A watcher changes no
// time by itself; one that holds processors (pcpu_hold()) lets it pass. Where nobody watches it costs one
// test.
#ifndef MODELS_CPU_NATIVE_WATCH_H
#define MODELS_CPU_NATIVE_WATCH_H

#include "models/cpu/pcpu.h"

// What a hook announces; a place's accesses are a set of them.
enum place_access {
    PLACE_READ = 1,
    PLACE_WRITE = 2,
    PLACE_ATOMIC = 4, // Beside READ, WRITE or both; alone: a fence
    PLACE_BLOCK = 8,
    PLACE_ANY = 15
};

enum { NATIVE_ORDER_RELAXED, NATIVE_ORDER_CONSUME, NATIVE_ORDER_ACQUIRE, NATIVE_ORDER_RELEASE };
enum { NATIVE_ORDER_ACQ_REL = 4, NATIVE_ORDER_SEQ_CST = 5 }; // As the compiler numbers memory_order.

struct native_access {
    uint64_t pc;            // What the hook returns to.
    const volatile void *p; // Of a fence or block: NULL
    uint32_t size_bytes;    // 1..16; 0 of a fence or block
    uint8_t access;         // enum place_access bits
    uint8_t order;          // Of atomics and fences
};

enum native_watch_rank {
    NATIVE_WATCH_DECIDES, // Who goes on: it may hold processors.
    NATIVE_WATCH_LOOKS,   // After all of those: what it sees happens now.
};

struct native_watch {
    enum native_watch_rank rank;
    // `pcpu_current` is about to do it. After the call another processor may have run in between, and the
    // thread is on the processor on which it was.
    void (*point)(struct native_watch *w, const struct native_access *a);
    // The processor has nothing to execute from now on (halted, or time passes in a guest), or has again. May
    // be NULL. Called in the processor's own process; must not hold it.
    void (*idle)(struct native_watch *w, struct pcpu *c, bool begins);
    struct native_watch *next;
};

// Adds or takes away; a watcher may take itself away within its own calls. No processor is in a hook's
// fast path then: call pcpu_update_limit() of the current one happens here.
void native_watch_add(struct machine *machine, struct native_watch *w);
void native_watch_remove(struct machine *machine, struct native_watch *w);

// Asks all watchers of `c`'s machine.
void native_watch_point(const struct native_access *a);
static inline void native_watch_idle(struct pcpu *c, bool begins)
{
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->idle)
            w->idle(w, c, begins);
    }
}

#endif
