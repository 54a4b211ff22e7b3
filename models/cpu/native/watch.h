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

// What hypervisor code told (hv/hw/note.h, whose arguments these are).
enum native_note_kind {
    NATIVE_NOTE_ALLOC,
    NATIVE_NOTE_FREE,
    NATIVE_NOTE_PAGES,
    NATIVE_NOTE_LOCK,
    NATIVE_NOTE_SRCU,
    NATIVE_NOTE_USER_RETURN,
    NATIVE_NOTE_THIS_CPU,
};
struct native_note {
    enum native_note_kind kind;
    uint32_t what, mode, rank, index, owner;
    bool content;
    uint64_t pc; // What the call returns to
    const void *p;
    uint64_t bytes, room_bytes;
    const uint32_t *preempt_count, *srcu_depth, *pinned;
};

// What happens beside accesses and orders them, or tells who made them. `c` is the processor that executes,
// its current thread the one that it happens to, unless said otherwise.
enum native_event_kind {
    NATIVE_EVENT_CALL,      // Enters the function whose first hook returns to `pc`.
    NATIVE_EVENT_RETURN,    // Leaves it.
    NATIVE_EVENT_CREATE,    // Makes `thread`; an application processor's first one is made by who starts it.
    NATIVE_EVENT_START,     // Begins on its stack, the `bytes` below `p`; these were somebody else's before.
    NATIVE_EVENT_SWITCH,    // The processor goes on with `thread`.
    NATIVE_EVENT_SEND,      // Sends an interrupt, NMI or INIT to the processor `cpu`.
    NATIVE_EVENT_INTERRUPT, // A handler begins.
    NATIVE_EVENT_INTERRUPT_END,
    NATIVE_EVENT_FENCE,   // Passes a full fence that is no access and no instruction.
    NATIVE_EVENT_END,     // The thread has done its last; a switch follows.
    NATIVE_EVENT_NOTE,    // Software tells something of itself.
    NATIVE_EVENT_UNTIMED, // An untimed set-up phase begins or ends: its accesses and calls are not seen.
};
struct native_event {
    enum native_event_kind kind;
    uint32_t thread; // As traces number them
    uint32_t cpu;    // Index in the machine
    uint64_t pc;
    const void *p;
    uint64_t bytes;
    const struct native_note *note;
};

enum native_watch_rank {
    NATIVE_WATCH_DECIDES, // Who goes on: it may hold processors.
    NATIVE_WATCH_LOOKS,   // After all of those: what it sees happens now.
};

struct native_watch {
    enum native_watch_rank rank;
    bool blocks; // Wants to be asked at basic blocks too.
    // `pcpu_current` is about to do it. After the call another processor may have run in between, and the
    // thread is on the processor on which it was.
    void (*point)(struct native_watch *w, const struct native_access *a);
    // The processor has nothing to execute from now on (halted, or time passes in a guest), or has again. May
    // be NULL. Called in the processor's own process; must not hold it.
    void (*idle)(struct native_watch *w, struct pcpu *c, bool begins);
    // The processor executes PAUSE: it waits for another one in a loop. May be NULL; must not hold it.
    void (*pause)(struct native_watch *w, struct pcpu *c);
    // The plain store that it was about to do waits in its store buffer, the newest one there. May be NULL;
    // must not hold it.
    void (*stored)(struct native_watch *w, struct pcpu *c);
    // A guest on the processor is about to store `size_bytes` at `p` in the arena. May be NULL; must not hold
    // it.
    void (*guest_stores)(struct native_watch *w, struct pcpu *c, const void *p, uint32_t size_bytes);
    // Its page walker is about to read the entry at `p` in the arena, or to write it. May be NULL; must not
    // hold it.
    void (*walks)(struct native_watch *w, struct pcpu *c, const void *p, bool writes);
    // May be NULL; must not hold it.
    void (*event)(struct native_watch *w, struct pcpu *c, const struct native_event *e);
    struct native_watch *next;
};

// Adds or takes away; a watcher may take itself away within its own calls. No processor is in a hook's
// fast path then: call pcpu_update_limit() of the current one happens here.
void native_watch_add(struct machine *machine, struct native_watch *w);
void native_watch_remove(struct machine *machine, struct native_watch *w);

// Will others see this write of the executing processor only when it leaves the store buffer? Not if it is
// locked, nor on the thread's own stack.
bool native_is_buffered(const struct pcpu *c, const struct native_access *a);
// Does it drain the store buffer before it has its effect (SDM 8.2.2)?
bool native_is_locked(const struct native_access *a);

// Asks all watchers of `c`'s machine.
static inline void native_watch_point(const struct native_access *a)
{
    for (struct native_watch *w = pcpu_current->machine->watch, *next; w; w = next) {
        next = w->next;
        w->point(w, a);
    }
}
static inline void native_watch_idle(struct pcpu *c, bool begins)
{
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->idle)
            w->idle(w, c, begins);
    }
}

static inline void native_watch_pause(struct pcpu *c)
{
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->pause)
            w->pause(w, c);
    }
}

// `c` NULL: outside of hypervisor code, nobody is told.
static inline void native_watch_event(struct pcpu *c, const struct native_event *e)
{
    if (!c)
        return;
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->event)
            w->event(w, c, e);
    }
}

static inline void native_watch_stored(struct pcpu *c)
{
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->stored)
            w->stored(w, c);
    }
}

static inline void native_watch_walks(struct pcpu *c, const void *p, bool writes)
{
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->walks)
            w->walks(w, c, p, writes);
    }
}

static inline void native_watch_guest_stores(struct pcpu *c, const void *p, uint32_t size_bytes)
{
    for (struct native_watch *w = c->machine->watch, *next; __builtin_expect(w != NULL, 0); w = next) {
        next = w->next;
        if (w->guest_stores)
            w->guest_stores(w, c, p, size_bytes);
    }
}

#endif
