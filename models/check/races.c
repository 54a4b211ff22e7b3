// SPDX-License-Identifier: Apache-2.0
// Data races by happens-before: two accesses of the same bytes by different threads, one of them a write, one
// of them plain, that nothing orders (C11 5.1.2.4).
//
// Order comes from a thread's own sequence (interrupt handlers are part of the thread that they interrupt),
// from atomics by their memory order and fences, from creating a thread, from switching on a processor (what
// ran there before happens before what runs there then), and from an interrupt that one processor sends to
// another. The processor's own order (x86-TSO) does not count: code that is only right on x86 is reported.
//
// A thread's clock counts its releases. A cell remembers the last accesses by thread and clock; one that is
// covered by a later one in every respect is dropped (FastTrack; Flanagan and Freund, PLDI 2009).
#include "models/check/clock.h"
#include "models/check/grace.h"
#include "models/check/shadow.h"

#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 65535u
#define TICKS_BITS 52u
// So many atomic objects are known apart. Page tables of large guests are more: then what was released
// through any of them counts as released through every one that is not known, which may hide a race and
// invents none.
#define SYNCS_MAX (1u << 17)

struct race_thread {
    struct clock known;
    struct clock released; // What the thread knew at its last release fence
    struct clock seen;     // What relaxed loads read since, for an acquire fence
    struct clock fenced;   // What comes before its last full fence in the one order of these
    bool has_released, has_seen;
};

// An atomic object that somebody released.
struct race_sync {
    struct clock known;
    uint32_t last_store; // Thread of the last store: its release sequence goes on
};

struct races {
    struct check *check;
    struct shadow shadow;
    struct check_table syncs; // By address
    struct clock lost;        // Released through objects that are no longer known apart
    struct clock fences;      // What comes before the last full fence
    struct grace *grace;
    struct race_thread *threads;
    uint32_t thread_capacity;
    struct clock mail[HW_BOOT_CPUS_MAX * HW_ARENA_HOSTS_MAX]; // Who sent interrupts to a processor
};

static struct race_thread *thread_of(struct races *r, uint32_t thread)
{
    if (thread >= r->thread_capacity) {
        uint32_t capacity = thread + 64;

        r->threads = realloc(r->threads, capacity * sizeof *r->threads);
        if (!r->threads)
            abort();
        memset(r->threads + r->thread_capacity, 0, (capacity - r->thread_capacity) * sizeof *r->threads);
        r->thread_capacity = capacity;
    }
    struct race_thread *t = &r->threads[thread];

    if (!clock_of(&t->known, thread))
        clock_tick(&t->known, thread);
    return t;
}

// --- Plain and atomic accesses against what was done before. ---

static bool conflict(const struct shadow_slot *s, const struct shadow_slot *now, const struct clock *known)
{
    return (s->mask & now->mask) && s->thread != now->thread && ((s->access | now->access) & PLACE_WRITE) &&
           !(s->access & now->access & PLACE_ATOMIC) && clock_of(known, s->thread) < s->clock;
}

// Whoever races with `s` later races with `now` as well.
static bool covered(const struct shadow_slot *s, const struct shadow_slot *now, const struct clock *known)
{
    return !(s->mask & ~now->mask) && ((now->access & PLACE_WRITE) || !(s->access & PLACE_WRITE)) &&
           ((s->access & PLACE_ATOMIC) || !(now->access & PLACE_ATOMIC)) &&
           (s->thread == now->thread || clock_of(known, s->thread) >= s->clock);
}

static void found(struct races *r, uint64_t address, const struct shadow_slot *before,
                  const struct native_access *a)
{
    struct check_site now = check_here(r->check, a);
    struct check_site then = {.pc = before->pc,
                              .stack = before->stack,
                              .thread = before->thread,
                              .cpu = (uint16_t)(before->cpu_ticks >> TICKS_BITS),
                              .access = before->access,
                              .bytes = (uint8_t)__builtin_popcount(before->mask),
                              .ticks = before->cpu_ticks & ((1ull << TICKS_BITS) - 1)};

    check_report(r->check, "data_race", address, "%1, and %2, with nothing that orders them", &now, &then);
}

static void look(struct races *r, struct shadow_cell *cell, const struct shadow_slot *now, uint64_t address,
                 const struct native_access *a)
{
    const struct clock *known = &thread_of(r, now->thread)->known;
    struct shadow_slot *place = NULL;

    for (unsigned i = 0; i < SHADOW_SLOTS; i++) {
        struct shadow_slot *s = &cell->slot[i];

        if (s->clock && conflict(s, now, known))
            found(r, address, s, a);
        if (s->clock && covered(s, now, known))
            s->clock = 0;
        if (!s->clock && !place)
            place = s;
    }
    if (!place) { // Of as many at once the oldest goes.
        place = &cell->slot[0];
        for (unsigned i = 1; i < SHADOW_SLOTS; i++)
            if ((cell->slot[i].cpu_ticks << (64 - TICKS_BITS)) < (place->cpu_ticks << (64 - TICKS_BITS)))
                place = &cell->slot[i];
    }
    *place = *now;
}

static bool is_watched(const struct races *r, uint64_t address)
{
    if (address - HW_IMAGE_BASE < r->check->machine->image->bytes)
        return false; // Constants
    // What guests share with software is not software's to order.
    return !(owners_of(&r->check->owners, address) & OWNERS_CONTENT);
}

static void access_bytes(struct races *r, uint32_t thread, const struct native_access *a)
{
    const struct pcpu *c = pcpu_current;
    uint64_t address = (uint64_t)(uintptr_t)a->p, end = address + a->size_bytes;
    struct shadow_slot now = {.clock = clock_of(&thread_of(r, thread)->known, thread),
                              .pc = (uint32_t)(a->pc - HW_IMAGE_BASE),
                              .stack = check_thread(r->check, thread)->stack,
                              .thread = (uint16_t)thread,
                              .access = a->access,
                              .cpu_ticks = (uint64_t)c->index << TICKS_BITS | c->now_ticks};

    while (address < end) {
        uint64_t next = (address | 7) + 1;
        unsigned first = address & 7, bytes;

        next = next < end ? next : end;
        bytes = (unsigned)(next - address);
        now.mask = (uint8_t)(((1u << bytes) - 1) << first);
        look(r, shadow_cell(&r->shadow, address), &now, address, a);
        address = next;
    }
}

// --- Atomics and fences. ---

static bool acquires(unsigned order)
{
    return order == NATIVE_ORDER_ACQUIRE || order == NATIVE_ORDER_CONSUME || order >= NATIVE_ORDER_ACQ_REL;
}

static bool releases(unsigned order)
{
    return order >= NATIVE_ORDER_RELEASE;
}

// Full fences have one order (C11 7.17.3). One behind a LOCKed operation counts in it, but makes no relaxed
// access acquire or release: such fences are inside of locks and read sections, which promise less.
static void full_fence(struct races *r, struct race_thread *t)
{
    clock_join(&r->fences, &t->known);
    clock_copy(&t->fenced, &r->fences);
}

static void fence(struct races *r, uint32_t thread, unsigned order)
{
    struct race_thread *t = thread_of(r, thread);

    if (acquires(order) && t->has_seen) {
        clock_join(&t->known, &t->seen);
        clock_clear(&t->seen);
        t->has_seen = false;
    }
    if (!releases(order))
        return;
    if (order == NATIVE_ORDER_SEQ_CST)
        full_fence(r, t);
    clock_copy(&t->released, &t->known);
    t->has_released = true;
    clock_tick(&t->known, thread);
}

static void read_sync(struct races *r, uint32_t thread, const struct native_access *a)
{
    const struct race_sync *s = check_table_find(&r->syncs, (uint64_t)(uintptr_t)a->p);
    struct race_thread *t = thread_of(r, thread);
    const struct clock *known = s ? &s->known : &r->lost;

    if (!known->count)
        return;
    if (acquires(a->order)) {
        clock_join(&t->known, known);
    } else {
        clock_join(&t->seen, known);
        t->has_seen = true;
    }
}

static void free_sync(void *value)
{
    struct race_sync *s = value;

    clock_free(&s->known);
    free(s);
}

static void lose_syncs(struct races *r)
{
    for (uint32_t i = 0; i < r->syncs.capacity; i++)
        if (r->syncs.keys[i])
            clock_join(&r->lost, &((struct race_sync *)r->syncs.values[i])->known);
    check_table_clear(&r->syncs, free_sync);
}

static struct race_sync *new_sync(struct races *r, uint64_t address)
{
    struct race_sync *s = calloc(1, sizeof *s);

    if (!s)
        abort();
    if (r->syncs.count == SYNCS_MAX)
        lose_syncs(r);
    clock_join(&s->known, &r->lost);
    *check_table_slot(&r->syncs, address) = s;
    return s;
}

static void write_sync(struct races *r, uint32_t thread, const struct native_access *a)
{
    struct race_thread *t = thread_of(r, thread);
    const struct clock *given = releases(a->order) ? &t->known : t->has_released ? &t->released : NULL;
    struct race_sync *s = check_table_find(&r->syncs, (uint64_t)(uintptr_t)a->p);
    bool locked = a->access & PLACE_READ;

    if (!s && !given)
        return;
    if (!s)
        s = new_sync(r, (uint64_t)(uintptr_t)a->p);
    if (!locked && s->last_store != thread)
        clock_clear(&s->known);
    if (!locked)
        s->last_store = thread;
    if (given)
        clock_join(&s->known, given);
}

void races_access(struct races *r, const struct native_access *a)
{
    uint32_t thread = native_context_thread(pcpu_current);

    if (thread > THREADS_MAX)
        return;
    if (!a->p) {
        fence(r, thread, a->order);
        return;
    }
    if (!is_watched(r, (uint64_t)(uintptr_t)a->p))
        return;
    if ((a->access & PLACE_ATOMIC) && (a->access & PLACE_READ))
        read_sync(r, thread, a);
    access_bytes(r, thread, a);
    if ((a->access & PLACE_ATOMIC) && (a->access & PLACE_WRITE)) {
        write_sync(r, thread, a);
        if (releases(a->order))
            clock_tick(&thread_of(r, thread)->known, thread);
    }
}

// --- What else orders. ---

static void hand_on(struct races *r, uint32_t from, struct clock *to)
{
    clock_join(to, &thread_of(r, from)->known);
    clock_tick(&thread_of(r, from)->known, from);
}

static void hand_to_thread(struct races *r, uint32_t from, uint32_t to)
{
    thread_of(r, from); // Either may move all of them.
    thread_of(r, to);
    hand_on(r, from, &thread_of(r, to)->known);
}

// What a thread does in its untimed phase is not seen, so everybody counts as ordered with it.
static void meet_all(struct races *r, uint32_t thread)
{
    for (uint32_t i = 1; i < r->thread_capacity; i++)
        if (i != thread && r->threads[i].known.count) {
            hand_to_thread(r, i, thread);
            hand_to_thread(r, thread, i);
        }
}

static void note(struct races *r, uint32_t self, const struct native_note *n)
{
    const struct race_thread *t = thread_of(r, self);

    // A new owner of memory has nothing to do with who had it before.
    if (n->kind == NATIVE_NOTE_ALLOC)
        races_forget(r, (uint64_t)(uintptr_t)n->p, n->room_bytes);
    else if (n->kind == NATIVE_NOTE_PAGES && n->owner && !n->content)
        races_forget(r, (uint64_t)(uintptr_t)n->p, n->bytes);
    else if (n->kind == NATIVE_NOTE_SRCU)
        grace_note(r->grace, self, n, &t->known, &t->fenced);
}

void races_event(struct races *r, const struct pcpu *c, const struct native_event *e)
{
    uint32_t self = native_context_thread(c);

    if (self > THREADS_MAX || e->thread > THREADS_MAX)
        return;
    switch (e->kind) {
    case NATIVE_EVENT_CREATE:
    case NATIVE_EVENT_SWITCH:
        hand_to_thread(r, self, e->thread);
        break;
    case NATIVE_EVENT_START:
        races_forget(r, (uint64_t)(uintptr_t)e->p - e->bytes, e->bytes);
        break;
    case NATIVE_EVENT_SEND: // What comes behind the last fence may be seen after the interrupt.
        clock_join(&r->mail[e->cpu], &thread_of(r, self)->released);
        break;
    case NATIVE_EVENT_INTERRUPT:
        clock_join(&thread_of(r, self)->known, &r->mail[c->index]);
        break;
    case NATIVE_EVENT_UNTIMED:
        meet_all(r, self);
        break;
    case NATIVE_EVENT_FENCE:
        full_fence(r, thread_of(r, self));
        break;
    case NATIVE_EVENT_NOTE:
        note(r, self, e->note);
        break;
    case NATIVE_EVENT_INTERRUPT_END:
    case NATIVE_EVENT_END:
    case NATIVE_EVENT_CALL:
    case NATIVE_EVENT_RETURN:
        break;
    }
}

void races_forget(struct races *r, uint64_t address, uint64_t bytes)
{
    shadow_forget(&r->shadow, address, bytes);
    grace_forget(r->grace, address, bytes);
}

// --- Life. ---

static void forget_all(struct races *r)
{
    for (uint32_t i = 0; i < r->thread_capacity; i++) {
        clock_free(&r->threads[i].known);
        clock_free(&r->threads[i].released);
        clock_free(&r->threads[i].seen);
        clock_free(&r->threads[i].fenced);
    }
    free(r->threads);
    r->threads = NULL;
    r->thread_capacity = 0;
    for (uint32_t i = 0; i < sizeof r->mail / sizeof *r->mail; i++)
        clock_free(&r->mail[i]);
    check_table_clear(&r->syncs, free_sync);
    clock_free(&r->lost);
    clock_free(&r->fences);
    grace_begin(r->grace);
    shadow_free(&r->shadow);
}

struct races *races_create(struct check *k)
{
    struct races *r = calloc(1, sizeof *r);

    if (!r)
        abort();
    r->check = k;
    r->grace = grace_create(k);
    return r;
}

void races_destroy(struct races *r)
{
    if (!r)
        return;
    forget_all(r);
    grace_destroy(r->grace);
    free(r);
}

void races_begin(struct races *r)
{
    forget_all(r);
    shadow_begin(&r->shadow);
}
