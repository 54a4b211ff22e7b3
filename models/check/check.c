// SPDX-License-Identifier: Apache-2.0
#include "models/check/check.h"

#include "models/check/check_internal.h"
#include <stdlib.h>
#include <string.h>

// --- Threads and their call stacks. ---

uint32_t check_stack_push(struct check_stacks *s, uint32_t stack, uint32_t pc)
{
    void **known = check_table_slot(&s->index, ((uint64_t)stack << 32 | pc) + 1);

    if (*known)
        return (uint32_t)(uintptr_t)*known;
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 1024;
        s->frames = realloc(s->frames, s->capacity * sizeof *s->frames);
        if (!s->frames)
            abort();
    }
    if (!s->count)
        s->frames[s->count++] = (struct check_frame){0, 0};
    s->frames[s->count] = (struct check_frame){stack, pc};
    *known = (void *)(uintptr_t)s->count;
    return s->count++;
}

uint32_t check_stack_pop(const struct check_stacks *s, uint32_t stack)
{
    return stack ? s->frames[stack].parent : 0;
}

struct check_thread *check_thread(struct check *k, uint32_t thread)
{
    if (thread >= k->thread_capacity) {
        uint32_t capacity = thread + 64;

        k->threads = realloc(k->threads, capacity * sizeof *k->threads);
        if (!k->threads)
            abort();
        memset(k->threads + k->thread_capacity, 0, (capacity - k->thread_capacity) * sizeof *k->threads);
        k->thread_capacity = capacity;
    }
    return &k->threads[thread];
}

struct check_site check_here(struct check *k, const struct native_access *a)
{
    const struct pcpu *c = pcpu_current;
    uint32_t thread = native_context_thread(c);
    const struct check_thread *t = check_thread(k, thread);
    uint32_t pc = a ? (uint32_t)(a->pc - HW_IMAGE_BASE) : t->stack ? k->stacks.frames[t->stack].pc : 0;

    return (struct check_site){.pc = pc,
                               .stack = t->stack,
                               .thread = (uint16_t)thread,
                               .cpu = (uint16_t)c->index,
                               .access = a ? a->access : 0,
                               .bytes = a ? (uint8_t)a->size_bytes : 0,
                               .ticks = c->now_ticks};
}

static void calls(struct check *k, const struct pcpu *c, const struct native_event *e)
{
    struct check_thread *t = check_thread(k, native_context_thread(c));

    if (e->kind == NATIVE_EVENT_CALL)
        t->stack = check_stack_push(&k->stacks, t->stack, (uint32_t)(e->pc - HW_IMAGE_BASE));
    else if (e->kind == NATIVE_EVENT_RETURN)
        t->stack = check_stack_pop(&k->stacks, t->stack);
    else if (!c->untimed)
        t->untimed_stack = t->stack;
    else
        t->stack = t->untimed_stack;
}

// --- As a watcher. ---

static void point(struct native_watch *w, const struct native_access *a)
{
    struct check *k = (struct check *)w;

    if (a->access == PLACE_BLOCK)
        return;
    if (k->races)
        races_access(k->races, a);
    if (k->heap && a->p)
        heap_access(k->heap, a);
    if (k->locks)
        locks_access(k->locks, a);
}

static void note(struct check *k, const struct native_note *n)
{
    if (k->heap)
        heap_note(k->heap, n);
    if (n->kind == NATIVE_NOTE_PAGES)
        owners_set(&k->owners, (uint64_t)(uintptr_t)n->p, n->bytes,
                   (uint8_t)((n->owner + 1) | (n->content ? OWNERS_CONTENT : 0)));
}

static void event(struct native_watch *w, struct pcpu *c, const struct native_event *e)
{
    struct check *k = (struct check *)w;

    if (e->kind == NATIVE_EVENT_CALL || e->kind == NATIVE_EVENT_RETURN || e->kind == NATIVE_EVENT_UNTIMED)
        calls(k, c, e);
    if (k->races)
        races_event(k->races, c, e);
    if (e->kind == NATIVE_EVENT_SWITCH)
        check_thread(k, e->thread)->live = true;
    else if (e->kind == NATIVE_EVENT_END)
        check_thread(k, native_context_thread(c))->live = false;
    else if (e->kind == NATIVE_EVENT_NOTE)
        note(k, e->note);
    if (k->locks)
        locks_event(k->locks, c, e);
}

static void idle(struct native_watch *w, struct pcpu *c, bool begins)
{
    struct check *k = (struct check *)w;

    (void)c, (void)begins;
    if (k->locks)
        locks_progress(k->locks);
}

// --- Life. ---

struct check *check_create(struct machine *machine, uint32_t kinds)
{
    struct check *k = calloc(1, sizeof *k);

    if (!k)
        abort();
    k->machine = machine;
    k->kinds = kinds;
    if (kinds & (1u << CHECK_RACES))
        k->races = races_create(k);
    if (kinds & (1u << CHECK_HEAP))
        k->heap = heap_create(k);
    if (kinds & (1u << CHECK_LOCKS))
        k->locks = locks_create(k);
    return k;
}

void check_destroy(struct check *k)
{
    if (!k)
        return;
    races_destroy(k->races);
    heap_destroy(k->heap);
    locks_destroy(k->locks);
    owners_free(&k->owners);
    check_table_clear(&k->stacks.index, NULL);
    check_table_clear(&k->reports.seen, NULL);
    free(k->reports.rows);
    free(k->stacks.frames);
    free(k->threads);
    free(k);
}

void check_begin(struct check *k)
{
    if (!k)
        return;
    k->reports.count = 0;
    check_table_clear(&k->reports.seen, NULL);
    memset(k->threads, 0, k->thread_capacity * sizeof *k->threads);
    owners_free(&k->owners);
    if (k->races)
        races_begin(k->races);
    if (k->heap)
        heap_begin(k->heap);
    if (k->locks)
        locks_begin(k->locks);
    k->watch =
        (struct native_watch){.rank = NATIVE_WATCH_LOOKS, .point = point, .idle = idle, .event = event};
    native_watch_add(k->machine, &k->watch);
}

bool check_judge(struct check *k, bool no_more, const struct places *places, const char *wanted, char *text,
                 size_t size)
{
    if (k && k->locks)
        locks_end(k->locks, no_more);
    return k && check_reports_pick(k, places, wanted, text, size);
}

void check_end(struct check *k, bool no_more)
{
    if (!k)
        return;
    if (k->locks)
        locks_end(k->locks, no_more);
    native_watch_remove(k->machine, &k->watch);
    check_reports_write(k);
}
