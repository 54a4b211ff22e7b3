// SPDX-License-Identifier: Apache-2.0
#include "models/dev/link_queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void link_fifo_init(struct link_fifo *f)
{
    f->first = NULL;
    f->end = &f->first;
}

void link_fifo_push(struct link_fifo *f, struct link_transfer *m)
{
    m->next = NULL;
    *f->end = m;
    f->end = &m->next;
}

struct link_transfer *link_fifo_pop(struct link_fifo *f)
{
    struct link_transfer *m = f->first;

    f->first = m->next;
    if (!f->first)
        f->end = &f->first;
    return m;
}

void link_transfer_free(struct link_transfer *m)
{
    if (!m)
        return;
    free(m->header);
    free(m->segments);
    free(m);
}

void link_moments_push(struct link_moments *s, uint64_t at_ps, uint64_t bytes)
{
    if (s->first && s->first + s->count == s->capacity) {
        memmove(s->v, s->v + s->first, s->count * sizeof *s->v);
        s->first = 0;
    }
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 16;
        s->v = realloc(s->v, s->capacity * sizeof *s->v);
        assert(s->v);
    }
    assert(!s->count || s->v[s->first + s->count - 1].at_ps <= at_ps);
    s->v[s->first + s->count++] = (struct link_moment){at_ps, bytes};
}

uint64_t link_moments_next_ps(const struct link_moments *s)
{
    return s->count ? s->v[s->first].at_ps : SIM_PS_NEVER;
}

bool link_moments_pop(struct link_moments *s, uint64_t now_ps, uint64_t *bytes)
{
    if (link_moments_next_ps(s) > now_ps)
        return false;
    *bytes = s->v[s->first++].bytes;
    s->count--;
    return true;
}
