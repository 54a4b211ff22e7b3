// SPDX-License-Identifier: Apache-2.0
// Locks and waiting: order by rank, deadlock by who waits for whom, what is left over on the way to user
// mode, SRCU, wake-ups that never come, and processors that go round in circles.
//
// Interrupt handlers are part of the thread that they interrupt, but order begins anew in them.
#include "hv/hw/note.h"
#include "models/check/check_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELD_MAX 24u
#define SECTIONS_MAX 16u
#define LEVELS_MAX 8u
#define CYCLE_MAX 16u
#define RANKS_MAX 256u
// A livelock: so many accesses without a halt, a guest that goes on, or a processor that comes to memory
// which it did not touch lately.
#define CIRCLES_MAX (1u << 20)
#define LATELY 512u

struct held {
    const void *lock;
    uint32_t mode, rank;
    struct check_site site; // Where it was taken
};
struct section {
    const void *srcu;
    uint32_t index;
    struct check_site site;
};
struct lock_thread {
    struct held held[HELD_MAX];
    struct section sections[SECTIONS_MAX];
    struct held wanted; // lock NULL: it waits for none
    uint32_t held_count, section_count, level;
    uint32_t held_below[LEVELS_MAX]; // Of the interrupted, by nesting
    const uint32_t *preempt_count;   // Where it told that this stands; NULL: not known
    bool in_handler;
};

// How locks of a rank are taken, whether by a handler or with interrupts enabled.
struct rank_use {
    bool by_handler, with_interrupts;
    struct check_site handler, interruptible;
};

struct lock_check {
    struct check *check;
    struct lock_thread *threads;
    uint32_t capacity;
    struct rank_use ranks[RANKS_MAX];
    uint32_t circles;
    uint64_t lately[HW_BOOT_CPUS_MAX * HW_ARENA_HOSTS_MAX][LATELY];
};

static struct lock_thread *thread_at(struct lock_check *l, uint32_t thread)
{
    if (thread >= l->capacity) {
        uint32_t capacity = thread + 64;

        l->threads = realloc(l->threads, capacity * sizeof *l->threads);
        if (!l->threads)
            abort();
        memset(l->threads + l->capacity, 0, (capacity - l->capacity) * sizeof *l->threads);
        l->capacity = capacity;
    }
    return &l->threads[thread];
}

// --- Deadlock: whom does a thread wait for? ---

static bool bars(const struct lock_thread *other, const struct held *wanted, struct check_site *how)
{
    for (uint32_t i = 0; i < other->held_count; i++)
        if (other->held[i].lock == wanted->lock &&
            (other->held[i].mode != HW_NOTE_SHARED || wanted->mode != HW_NOTE_SHARED)) {
            *how = other->held[i].site;
            return true;
        }
    // A writer that waits keeps new readers out.
    if (other->wanted.lock == wanted->lock && wanted->mode == HW_NOTE_SHARED &&
        other->wanted.mode != HW_NOTE_SHARED) {
        *how = other->wanted.site;
        return true;
    }
    return false;
}

// A chain of waiting from `at` back to `start`; its threads in `path`. How many; 0: there is none.
static uint32_t chain(const struct lock_check *l, uint32_t start, uint32_t at, uint32_t *path,
                      uint32_t length, struct check_site *how)
{
    if (length == CYCLE_MAX || !l->threads[at].wanted.lock)
        return 0;
    path[length++] = at;
    for (uint32_t i = 1; i < l->capacity; i++) {
        struct check_site site;
        bool known = false;

        if (!bars(&l->threads[i], &l->threads[at].wanted, &site))
            continue;
        if (i == start) {
            *how = site;
            return length;
        }
        for (uint32_t n = 0; n < length; n++)
            known |= path[n] == i;
        uint32_t all = known ? 0 : chain(l, start, i, path, length, how);

        if (all)
            return all;
    }
    return 0;
}

static void look_for_deadlock(struct lock_check *l, uint32_t self)
{
    uint32_t path[CYCLE_MAX], length;
    struct check_site how;
    char about[400];
    int used;

    length = chain(l, self, self, path, 0, &how);
    if (!length)
        return;
    used = snprintf(about, sizeof about, "%%1 waits for a lock");
    for (uint32_t i = 1; i < length; i++)
        used += snprintf(about + used, sizeof about - (size_t)used,
                         " that thread %u holds, which waits for one (rank %u)", path[i],
                         l->threads[path[i]].wanted.rank);
    snprintf(about + used, sizeof about - (size_t)used, " that it has itself since %%2");
    check_report(l->check, "deadlock", (uint64_t)(uintptr_t)l->threads[self].wanted.lock, about,
                 &l->threads[self].wanted.site, &how);
}

// --- Locks. ---

static void wanted(struct lock_check *l, uint32_t self, const struct native_note *n,
                   const struct check_site *here)
{
    struct lock_thread *t = thread_at(l, self);
    uint32_t first = t->level ? t->held_below[t->level - 1] : 0;

    for (uint32_t i = first; i < t->held_count; i++)
        if (t->held[i].rank >= n->rank) {
            char about[200];

            snprintf(about, sizeof about,
                     "%%1 takes a lock of rank %u while it holds one of rank %u, taken by %%2", n->rank,
                     t->held[i].rank);
            check_report(l->check, "lock_order", (uint64_t)(uintptr_t)n->p, about, here, &t->held[i].site);
        }
    t->wanted = (struct held){n->p, n->mode, n->rank, *here};
    look_for_deadlock(l, self);
}

// A lock that spins: whoever has it must not be displaced, and must not be interrupted by who wants it as
// well.
static void spun(struct lock_check *l, const struct lock_thread *t, const struct native_note *n,
                 const struct check_site *here)
{
    struct rank_use *use = &l->ranks[n->rank % RANKS_MAX];
    bool interrupts = pcpu_current->irqs_enabled;

    if (interrupts && t->preempt_count && !*t->preempt_count)
        check_report(l->check, "preemptible_lock", (uint64_t)(uintptr_t)n->p,
                     "%1 spins for a lock, and may be displaced while it has it", here, NULL);
    if (n->mode == HW_NOTE_SHARED)
        return;
    if (interrupts && !use->with_interrupts) {
        use->with_interrupts = true;
        use->interruptible = *here;
    } else if (!interrupts && t->in_handler && !use->by_handler) {
        use->by_handler = true;
        use->handler = *here;
    }
    if (use->with_interrupts && use->by_handler)
        check_report(
            l->check, "irq_unsafe", (uint64_t)(uintptr_t)n->p,
            "%1 takes a lock with interrupts enabled; a handler may want it meanwhile, as %2 takes one "
            "of its rank",
            &use->interruptible, &use->handler);
}

static void taken(struct lock_check *l, struct lock_thread *t, const struct native_note *n,
                  const struct check_site *here)
{
    if (n->mode != HW_NOTE_SLEEPING)
        spun(l, t, n, here);
    if (t->wanted.lock == n->p)
        t->wanted.lock = NULL;
    if (t->held_count < HELD_MAX)
        t->held[t->held_count++] = (struct held){n->p, n->mode, n->rank, *here};
}

static void released(struct lock_check *l, struct lock_thread *t, const struct native_note *n,
                     const struct check_site *here)
{
    uint32_t i = t->held_count;

    while (i > 0 && t->held[i - 1].lock != n->p)
        i--;
    if (i == 0) {
        check_report(l->check, "unlock_not_held", (uint64_t)(uintptr_t)n->p,
                     "%1 releases a lock that it does not hold", here, NULL);
        return;
    }
    memmove(&t->held[i - 1], &t->held[i], (--t->held_count - (i - 1)) * sizeof *t->held);
}

// --- SRCU. ---

static void section_end(struct lock_check *l, struct lock_thread *t, const struct native_note *n,
                        const struct check_site *here)
{
    uint32_t i = t->section_count;

    while (i > 0 && t->sections[i - 1].srcu != n->p)
        i--;
    if (i == 0) {
        check_report(l->check, "srcu_misuse", (uint64_t)(uintptr_t)n->p,
                     "%1 ends a read section that it did not begin", here, NULL);
        return;
    }
    while (i > 1 && t->sections[i - 1].index != n->index && t->sections[i - 2].srcu == n->p)
        i--;
    if (t->sections[i - 1].index != n->index)
        check_report(l->check, "srcu_misuse", (uint64_t)(uintptr_t)n->p,
                     "%1 ends a read section with another epoch than it got from %2", here,
                     &t->sections[i - 1].site);
    memmove(&t->sections[i - 1], &t->sections[i], (--t->section_count - (i - 1)) * sizeof *t->sections);
}

static void srcu(struct lock_check *l, struct lock_thread *t, const struct native_note *n,
                 const struct check_site *here)
{
    if (n->what == HW_NOTE_SRCU_BEGIN && t->section_count < SECTIONS_MAX)
        t->sections[t->section_count++] = (struct section){n->p, n->index, *here};
    else if (n->what == HW_NOTE_SRCU_END)
        section_end(l, t, n, here);
    else if (n->what == HW_NOTE_SRCU_SYNC)
        for (uint32_t i = 0; i < t->section_count; i++)
            if (t->sections[i].srcu == n->p)
                check_report(l->check, "srcu_misuse", (uint64_t)(uintptr_t)n->p,
                             "%1 waits for its own read section, begun by %2", here, &t->sections[i].site);
}

static void user_return(struct lock_check *l, struct lock_thread *t, const struct native_note *n,
                        const struct check_site *here)
{
    char about[100];

    t->preempt_count = n->preempt_count;
    if (t->held_count)
        check_report(l->check, "held_at_user_return", (uint64_t)(uintptr_t)t->held[0].lock,
                     "%1 goes to user mode with a lock that was taken by %2", here, &t->held[0].site);
    if (t->section_count)
        check_report(l->check, "srcu_unbalanced", (uint64_t)(uintptr_t)t->sections[0].srcu,
                     "%1 goes to user mode in a read section begun by %2", here, &t->sections[0].site);
    if (!*n->preempt_count)
        return;
    snprintf(about, sizeof about, "%%1 goes to user mode with a preempt count of %#x", *n->preempt_count);
    check_report(l->check, "preempt_unbalanced", 0, about, here, NULL);
}

static void this_cpu(struct lock_check *l, struct lock_thread *t, const struct native_note *n,
                     const struct check_site *here)
{
    t->preempt_count = n->preempt_count;
    if (pcpu_current->irqs_enabled && !*n->preempt_count && *n->pinned == UINT32_MAX)
        check_report(l->check, "this_cpu_preemptible", 0,
                     "%1 goes by which processor it runs on, and may be moved to another at any time", here,
                     NULL);
}

static void note(struct lock_check *l, uint32_t self, const struct native_note *n)
{
    struct check_site here = check_here(l->check, NULL);
    struct lock_thread *t = thread_at(l, self);

    here.pc = (uint32_t)(n->pc - HW_IMAGE_BASE);
    if (n->kind == NATIVE_NOTE_SRCU)
        srcu(l, t, n, &here);
    else if (n->kind == NATIVE_NOTE_USER_RETURN)
        user_return(l, t, n, &here);
    else if (n->kind == NATIVE_NOTE_THIS_CPU)
        this_cpu(l, t, n, &here);
    else if (n->kind != NATIVE_NOTE_LOCK)
        return;
    else if (n->what == HW_NOTE_LOCK_WANTED)
        wanted(l, self, n, &here);
    else if (n->what == HW_NOTE_LOCK_TAKEN)
        taken(l, t, n, &here);
    else
        released(l, t, n, &here);
}

void locks_event(struct lock_check *l, const struct pcpu *c, const struct native_event *e)
{
    uint32_t self = native_context_thread(c);
    struct lock_thread *t = thread_at(l, self);

    switch (e->kind) {
    case NATIVE_EVENT_INTERRUPT:
        if (t->level < LEVELS_MAX)
            t->held_below[t->level++] = t->held_count;
        t->in_handler = true;
        break;
    case NATIVE_EVENT_INTERRUPT_END:
        t->level -= t->level > 0;
        t->in_handler = t->level > 0;
        break;
    case NATIVE_EVENT_SWITCH: // Behind a handler, where no lock that spins is held.
        thread_at(l, e->thread)->in_handler = false;
        break;
    case NATIVE_EVENT_END:
        t->preempt_count = NULL;
        break;
    case NATIVE_EVENT_NOTE:
        note(l, self, e->note);
        break;
    default:
        break;
    }
}

// --- No progress. ---

void locks_progress(struct lock_check *l)
{
    l->circles = 0;
}

void locks_access(struct lock_check *l, const struct native_access *a)
{
    uint64_t address = (uint64_t)(uintptr_t)a->p;
    uint64_t *known = &l->lately[pcpu_current->index][(address >> 3) % LATELY];

    if (address && *known != address >> 3) {
        *known = address >> 3;
        l->circles = 0;
        return;
    }
    if (++l->circles != CIRCLES_MAX)
        return;
    struct check_site here = check_here(l->check, a);

    check_report(
        l->check, "livelock", address,
        "no processor comes to anything new and no guest goes on; the last of 1048576 accesses is a %1",
        &here, NULL);
    machine_stop_now(l->check->machine);
}

void locks_end(struct lock_check *l, bool idle)
{
    const struct machine *m = l->check->machine;

    if (!idle || check_found(l->check, "deadlock"))
        return;
    for (uint32_t i = 1; i < l->check->thread_capacity; i++) {
        const struct check_thread *t = &l->check->threads[i];
        struct check_site site = {.stack = t->stack, .thread = (uint16_t)i};
        bool running = false;

        for (uint32_t n = 0; n < m->cpu_count; n++)
            running |= m->cpus[n]->native->current && m->cpus[n]->native->current->trace_thread == i;
        if (running || !t->live || !t->stack)
            continue;
        site.pc = l->check->stacks.frames[t->stack].pc;
        check_report(l->check, "lost_wakeup", 0, "nothing can ever wake what sleeps in %1", &site, NULL);
    }
}

// --- Life. ---

struct lock_check *locks_create(struct check *k)
{
    struct lock_check *l = calloc(1, sizeof *l);

    if (!l)
        abort();
    l->check = k;
    return l;
}

void locks_destroy(struct lock_check *l)
{
    if (!l)
        return;
    free(l->threads);
    free(l);
}

void locks_begin(struct lock_check *l)
{
    struct check *k = l->check;

    free(l->threads);
    memset(l, 0, sizeof *l);
    l->check = k;
}
