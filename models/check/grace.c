// SPDX-License-Identifier: Apache-2.0
// A grace period is right not because no section was open when it was looked for, but because what is looked
// at is ordered: an end that was counted happens before the wait is over, and a section whose beginning was
// not counted is behind a full fence that comes after one of the waiter's. So a fence too few is found in any
// run in which a section is near a grace period, not only in one that goes wrong.
#include "models/check/grace.h"

#include <stdlib.h>
#include <string.h>

#define SECTIONS_MAX 256u // That are remembered of one srcu; beyond, the oldest are forgotten
#define WAITS_MAX 8u

struct section {
    uint32_t thread, index;
    uint32_t end; // The thread's clock at its end; 0: goes on
    struct clock known;
    struct check_site site;
};
struct wait {
    uint32_t thread; // 0: none
    uint32_t begun;  // Its clock then
    struct check_site site;
};
struct domain { // A struct srcu
    struct section sections[SECTIONS_MAX];
    uint32_t next;
    struct wait waits[WAITS_MAX];
    struct wait last; // That is over
};

struct grace {
    struct check *check;
    struct check_table domains; // By address
};

static struct domain *domain_of(struct grace *g, const void *srcu)
{
    void **value = check_table_slot(&g->domains, (uint64_t)(uintptr_t)srcu);

    if (!*value && !(*value = calloc(1, sizeof(struct domain))))
        abort();
    return *value;
}

static void begin_section(struct grace *g, struct domain *d, uint32_t thread, const struct native_note *n,
                          const struct clock *known, const struct clock *fenced,
                          const struct check_site *here)
{
    struct section *s = &d->sections[d->next++ % SECTIONS_MAX];
    const struct wait *w = &d->last;

    clock_copy(&s->known, known);
    clock_join(&s->known, fenced);
    s->thread = thread;
    s->index = n->index;
    s->end = 0;
    s->site = *here;
    if (w->thread && w->thread != thread && clock_of(&s->known, w->thread) < w->begun)
        check_report(
            g->check, "grace_period", (uint64_t)(uintptr_t)n->p,
            "%1 begins a read section that nothing orders behind the grace period of %2, which is over", here,
            &w->site);
}

static void end_section(struct domain *d, uint32_t thread, const struct native_note *n,
                        const struct clock *known)
{
    for (uint32_t i = 0; i < SECTIONS_MAX; i++) {
        struct section *s = &d->sections[(d->next - 1 - i) % SECTIONS_MAX];

        if (s->thread == thread && s->index == n->index && !s->end) {
            s->end = clock_of(known, thread);
            return;
        }
    }
}

static struct wait *wait_of(struct domain *d, uint32_t thread)
{
    for (uint32_t i = 0; i < WAITS_MAX; i++)
        if (d->waits[i].thread == thread)
            return &d->waits[i];
    return NULL;
}

static void begin_wait(struct domain *d, uint32_t thread, const struct clock *known,
                       const struct check_site *here)
{
    struct wait *w = wait_of(d, 0);

    if (w)
        *w = (struct wait){thread, clock_of(known, thread), *here};
}

static void end_wait(struct grace *g, struct domain *d, uint32_t thread, const struct native_note *n,
                     const struct clock *known)
{
    struct wait *w = wait_of(d, thread);

    if (!w)
        return;
    for (uint32_t i = 0; i < SECTIONS_MAX; i++) {
        const struct section *s = &d->sections[i];

        if (!s->thread || s->thread == thread || (s->end && clock_of(known, s->thread) >= s->end) ||
            clock_of(&s->known, thread) >= w->begun)
            continue;
        check_report(
            g->check, "grace_period", (uint64_t)(uintptr_t)n->p,
            s->end ? "nothing orders the end of the read section of %1 before that of the grace period of "
                     "%2, nor its beginning behind its beginning"
                   : "the read section of %1 goes on, and the grace period of %2, behind whose beginning "
                     "nothing orders it, is over",
            &s->site, &w->site);
    }
    d->last = *w;
    w->thread = 0;
}

void grace_note(struct grace *g, uint32_t thread, const struct native_note *n, const struct clock *known,
                const struct clock *fenced)
{
    struct domain *d = domain_of(g, n->p);
    struct check_site here = check_here(g->check, NULL);

    here.pc = (uint32_t)(n->pc - HW_IMAGE_BASE);
    if (n->what == HW_NOTE_SRCU_BEGIN)
        begin_section(g, d, thread, n, known, fenced, &here);
    else if (n->what == HW_NOTE_SRCU_END)
        end_section(d, thread, n, known);
    else if (n->what == HW_NOTE_SRCU_SYNC)
        begin_wait(d, thread, known, &here);
    else
        end_wait(g, d, thread, n, known);
}

static void empty(struct domain *d)
{
    for (uint32_t i = 0; i < SECTIONS_MAX; i++)
        clock_free(&d->sections[i].known);
    memset(d, 0, sizeof *d);
}

static void free_domain(void *value)
{
    empty(value);
    free(value);
}

void grace_forget(struct grace *g, uint64_t address, uint64_t bytes)
{
    for (uint32_t i = 0; i < g->domains.capacity; i++)
        if (g->domains.keys[i] && g->domains.keys[i] - address < bytes)
            empty(g->domains.values[i]);
}

// --- Life. ---

struct grace *grace_create(struct check *k)
{
    struct grace *g = calloc(1, sizeof *g);

    if (!g)
        abort();
    g->check = k;
    return g;
}

void grace_begin(struct grace *g)
{
    check_table_clear(&g->domains, free_domain);
}

void grace_destroy(struct grace *g)
{
    grace_begin(g);
    free(g);
}
