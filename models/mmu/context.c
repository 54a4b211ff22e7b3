// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/context.h"

#include <string.h>

void contexts_reset(struct contexts *s, void (*purge)(void *owner, uint32_t slot), void *owner)
{
    memset(s, 0, sizeof *s);
    s->purge = purge;
    s->owner = owner;
}

static bool same(const struct context_tag *a, const struct context_tag *b)
{
    return a->ep4ta == b->ep4ta && a->vpid == b->vpid && a->pcid == b->pcid && a->kind == b->kind &&
           a->global == b->global;
}

// A slot that nobody uses, or the one that was asked for longest ago, emptied.
static uint32_t take_slot(struct contexts *s)
{
    uint32_t oldest = 0;

    if (s->count < CONTEXT_SLOTS)
        return s->count++;
    for (uint32_t i = 1; i < CONTEXT_SLOTS; i++)
        if (s->slots[i].last_use < s->slots[oldest].last_use)
            oldest = i;
    s->purge(s->owner, oldest);
    s->epoch++;
    return oldest;
}

uint32_t context_number(struct contexts *s, const struct context_tag *tag)
{
    uint32_t i = 0;

    while (i < s->count && !same(&s->slots[i].tag, tag))
        i++;
    if (i == s->count) {
        i = take_slot(s);
        s->slots[i] = (struct context_slot){.tag = *tag};
        s->generation[i] = 0;
    }
    s->slots[i].last_use = ++s->clock;
    return i << CONTEXT_GENERATION_BITS | s->generation[i];
}

bool context_matches(const struct context_tag *tag, const struct context_filter *f)
{
    if (!(f->kinds & CONTEXT_BIT(tag->kind)))
        return false;
    if (f->by_ep4ta && tag->ep4ta != f->ep4ta)
        return false;
    if (f->by_vpid && tag->vpid != f->vpid)
        return false;
    if (f->spare_vpid0 && tag->vpid == 0)
        return false;
    if (tag->global)
        return !f->spare_globals;
    return !f->by_pcid || tag->pcid == f->pcid;
}

void contexts_drop(struct contexts *s, const struct context_filter *f)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (!context_matches(&s->slots[i].tag, f))
            continue;
        // The generations begin anew: nothing of the old ones may be left by then.
        if (++s->generation[i] == CONTEXT_GENERATIONS) {
            s->purge(s->owner, i);
            s->generation[i] = 0;
        }
        s->epoch++;
    }
}
