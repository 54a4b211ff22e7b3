// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/watch.h"

#include "models/cpu/native/hooks.h"

void native_watch_add(struct machine *machine, struct native_watch *w)
{
    struct native_watch **at = &machine->watch;

    while (*at && (*at)->rank <= w->rank)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

void native_watch_remove(struct machine *machine, struct native_watch *w)
{
    for (struct native_watch **at = &machine->watch; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

void native_watch_point(const struct native_access *a)
{
    for (struct native_watch *w = pcpu_current->machine->watch, *next; w; w = next) {
        next = w->next;
        w->point(w, a);
    }
}

bool native_is_buffered(const struct pcpu *c, const struct native_access *a)
{
    return (a->access & PLACE_WRITE) && !(a->access & PLACE_READ) &&
           !((a->access & PLACE_ATOMIC) && a->order == NATIVE_ORDER_SEQ_CST) &&
           native_hides(c, (const void *)(uintptr_t)a->p);
}

bool native_is_locked(const struct native_access *a)
{
    bool writes = a->access & PLACE_WRITE, reads = a->access & PLACE_READ;

    return (a->access & PLACE_ATOMIC) && ((reads && writes) || (!reads && a->order == NATIVE_ORDER_SEQ_CST));
}
