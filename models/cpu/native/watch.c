// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/watch.h"
#include "models/mem/core.h"

static void look_who_is_there(struct machine *machine)
{
    machine->blocks_unseen = machine->watch != NULL;
    for (const struct native_watch *w = machine->watch; w; w = w->next)
        machine->blocks_unseen &= !w->blocks;
    if (pcpu_current)
        pcpu_update_limit(pcpu_current);
}

void native_watch_add(struct machine *machine, struct native_watch *w)
{
    struct native_watch **at = &machine->watch;

    while (*at && (*at)->rank <= w->rank)
        at = &(*at)->next;
    w->next = *at;
    *at = w;
    look_who_is_there(machine);
}

void native_watch_remove(struct machine *machine, struct native_watch *w)
{
    for (struct native_watch **at = &machine->watch; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    for (uint32_t i = 0; machine->memory && !machine->watch && i < machine->cpu_count; i++)
        mem_near_forget(machine->cpus[i]->mem); // native_store_far() says why.
    look_who_is_there(machine);
}
