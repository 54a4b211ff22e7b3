// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/pilot_notes.h"

#include "hv/hw/note.h"

static struct pilot_thread *thread_of(struct pilot_notes *n, uint32_t thread)
{
    struct pilot_thread *t = &n->threads[thread % PILOT_THREADS_MAX];

    if (t->execution != n->execution)
        *t = (struct pilot_thread){.execution = n->execution};
    return t;
}

void pilot_notes_begin(struct pilot_notes *n)
{
    n->execution++;
}

static uint32_t number_of(struct pilot_notes *n, const void *lock)
{
    uint32_t i = 0;

    while (i < n->lock_count && n->locks[i] != lock)
        i++;
    if (i == n->lock_count && i < PILOT_LOCKS_MAX)
        n->locks[n->lock_count++] = lock;
    return i;
}

static void take(struct pilot_notes *n, struct pilot_thread *t, const struct native_note *note)
{
    uint32_t i = number_of(n, note->p);

    t->wanted = NULL;
    if (i < PILOT_LOCKS_MAX && t->held_count < PILOT_HELD_MAX)
        t->held[t->held_count++] = (struct pilot_held){
            .lock = note->p, .index = (uint8_t)i, .exclusive = note->mode == HW_NOTE_EXCLUSIVE};
}

void pilot_notes_take(struct pilot_notes *n, uint32_t thread, const struct native_note *note)
{
    struct pilot_thread *t = thread_of(n, thread);

    if (note->kind != NATIVE_NOTE_LOCK)
        return;
    if (note->what == HW_NOTE_LOCK_WANTED) {
        t->wanted = note->p;
        t->arrived = false;
    } else if (note->what == HW_NOTE_LOCK_TAKEN) {
        take(n, t, note);
    } else {
        for (uint32_t i = t->held_count; i-- > 0;)
            if (t->held[i].lock == note->p) {
                t->held[i].released = true;
                break;
            }
    }
}

static bool is_of(const void *lock, const volatile void *p)
{
    return (uint64_t)(uintptr_t)lock >> 3 == (uint64_t)(uintptr_t)p >> 3;
}

void pilot_notes_access(struct pilot_notes *n, uint32_t thread, const volatile void *p,
                        struct explore_access *out)
{
    struct pilot_thread *t = thread_of(n, thread);
    uint32_t kept = 0;

    for (uint32_t i = 0; i < t->held_count; i++) {
        struct pilot_held h = t->held[i];

        if (h.released && !is_of(h.lock, p))
            continue;
        t->held[kept++] = h;
        out->locks |= 1ull << h.index;
        out->exclusive |= h.exclusive ? 1ull << h.index : 0;
        out->of_lock |= is_of(h.lock, p);
    }
    t->held_count = kept;
    if (t->wanted && is_of(t->wanted, p)) {
        out->of_lock |= t->arrived; // To come there first is what decides who gets it.
        t->arrived = true;
    }
}
