// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/enumerate.h"
#include <assert.h>

static unsigned choose(void *ctx, enum sim_site site, unsigned n)
{
    struct enumerate *e = ctx;
    (void)site;
    if (e->cut)
        return 0;
    uint32_t at = e->depth++;

    assert(at < ENUMERATE_DEPTH_MAX && "a program with too many choices to enumerate");
    if (at >= e->known) {
        e->choice[at].taken = 0;
        e->choice[at].among = n;
    }
    assert(e->choice[at].among == n && "an execution is not a function of its choices");
    return e->choice[at].taken;
}

void enumerate_begin(struct enumerate *e)
{
    e->depth = e->known = 0;
    e->executions = 0;
    e->cut = false;
    sim_choose_install(choose, e);
}

void enumerate_cut(struct enumerate *e)
{
    e->cut = true;
}

bool enumerate_next(struct enumerate *e)
{
    assert(e->depth >= e->known && "an execution is not a function of its choices");
    e->executions++;
    e->cut = false;
    for (; e->depth; e->depth--)
        if (++e->choice[e->depth - 1].taken < e->choice[e->depth - 1].among)
            break;
    e->known = e->depth;
    e->depth = 0;
    return e->known != 0;
}

void enumerate_end(void)
{
    sim_choose_install(NULL, NULL);
}
