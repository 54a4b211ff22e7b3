// SPDX-License-Identifier: Apache-2.0
#include "sim/kernel.h"

#include <stdlib.h>
#include <string.h>

struct sim_event *sim_event_create(const char *name)
{
    struct sim_event *ev = calloc(1, sizeof *ev);
    char *copy = strdup(name);
    SIM_CHECK(ev && copy, "out of memory for event %s", name);
    ev->name = copy;
    ev->pending_run = UINT64_MAX;
    return ev;
}

void sim_event_destroy(struct sim_event *ev)
{
    if (!ev) {
        return;
    }
    SIM_CHECK(!ev->first_waiter, "event %s is destroyed while %s waits for it", ev->name,
              ev->first_waiter->name);
    sim_event_cancel(ev);
    free((void *)(uintptr_t)ev->name);
    free(ev);
}

// A notification for the present that found nobody has been: only one with waiters is still to happen then.
static bool is_pending(const struct sim_event *ev)
{
    return agenda_holds(&ev->node) ||
           (ev->pending_run == sim_kernel.run && ev->pending_ps > sim_kernel.now_ps);
}

// A notification concerns the agenda only while somebody waits: else it would end the run-ahead of others
// for nothing.
static void enlist(struct sim_event *ev)
{
    ev->node.ps = ev->pending_ps;
    ev->node.rank = 0;
    ev->node.seq = sim_kernel.seq++;
    agenda_add(&ev->node);
}

void sim_event_notify_at(struct sim_event *ev, sim_ps_t ps)
{
    SIM_CHECK(ps >= sim_kernel.now_ps, "event %s is notified in the past, at %llu ps", ev->name,
              (unsigned long long)ps);
    SIM_CHECK(ps != SIM_PS_NEVER, "event %s is notified at no time", ev->name);
    if (is_pending(ev) && ev->pending_ps <= ps) {
        return;
    }
    sim_event_cancel(ev);
    ev->pending_ps = ps;
    ev->pending_run = sim_kernel.run;
    if (!ev->first_waiter) {
        return;
    }
    if (ps == sim_kernel.now_ps) {
        event_fire(ev);
    } else {
        enlist(ev);
    }
}

void sim_event_cancel(struct sim_event *ev)
{
    ev->pending_run = UINT64_MAX;
    if (agenda_holds(&ev->node)) {
        agenda_remove(&ev->node);
    }
}

void event_fire(struct sim_event *ev)
{
    sim_event_cancel(ev);
    struct sim_process *p = ev->first_waiter;
    ev->first_waiter = ev->last_waiter = NULL;
    while (p) {
        struct sim_process *next = p->waiter_next;
        p->event = NULL;
        p->waiter_next = p->waiter_prev = NULL;
        p->by_event = true;
        // Its seq stays that of when it began to wait.
        if (agenda_holds(&p->node)) {
            agenda_remove(&p->node);
        }
        p->node.ps = sim_kernel.now_ps;
        agenda_add(&p->node);
        p = next;
    }
}

void event_forget_waiter(struct sim_process *p)
{
    struct sim_event *ev = p->event;
    if (!ev) {
        return;
    }
    *(p->waiter_prev ? &p->waiter_prev->waiter_next : &ev->first_waiter) = p->waiter_next;
    *(p->waiter_next ? &p->waiter_next->waiter_prev : &ev->last_waiter) = p->waiter_prev;
    p->event = NULL;
    p->waiter_next = p->waiter_prev = NULL;
    if (!ev->first_waiter && agenda_holds(&ev->node)) {
        agenda_remove(&ev->node);
    }
}

void event_add_waiter(struct sim_event *ev, struct sim_process *p)
{
    p->event = ev;
    p->waiter_next = NULL;
    p->waiter_prev = ev->last_waiter;
    *(ev->last_waiter ? &ev->last_waiter->waiter_next : &ev->first_waiter) = p;
    ev->last_waiter = p;
    if (is_pending(ev) && !agenda_holds(&ev->node)) {
        enlist(ev);
    }
}
