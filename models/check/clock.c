// SPDX-License-Identifier: Apache-2.0
#include "models/check/clock.h"

#include <stdlib.h>
#include <string.h>

static void reach(struct clock *v, uint32_t count)
{
    if (count <= v->count)
        return;
    v->at = realloc(v->at, count * sizeof *v->at);
    if (!v->at)
        abort();
    memset(v->at + v->count, 0, (count - v->count) * sizeof *v->at);
    v->count = count;
}

void clock_join(struct clock *v, const struct clock *from)
{
    reach(v, from->count);
    for (uint32_t i = 0; i < from->count; i++)
        if (from->at[i] > v->at[i])
            v->at[i] = from->at[i];
}

void clock_copy(struct clock *v, const struct clock *from)
{
    clock_clear(v);
    clock_join(v, from);
}

void clock_clear(struct clock *v)
{
    if (v->count)
        memset(v->at, 0, v->count * sizeof *v->at);
}

void clock_tick(struct clock *v, uint32_t thread)
{
    reach(v, thread + 1);
    v->at[thread]++;
}

void clock_free(struct clock *v)
{
    free(v->at);
    *v = (struct clock){0};
}
