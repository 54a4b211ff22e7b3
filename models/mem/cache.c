// SPDX-License-Identifier: Apache-2.0
#include "models/mem/cache.h"
#include <stdlib.h>

int cache_init(struct cache *k, uint64_t size_bytes, uint32_t ways, uint32_t line_bytes)
{
    *k = (struct cache){.sets = (uint32_t)(size_bytes / line_bytes / ways), .ways = ways, .epoch = 1};
    if (k->sets == 0)
        return -1;
    k->mask = k->sets & (k->sets - 1) ? 0 : k->sets - 1;
    k->tags = calloc((size_t)k->sets * ways, sizeof *k->tags);
    k->epochs = calloc(k->sets, sizeof *k->epochs);
    if (k->tags && k->epochs)
        return 0;
    cache_destroy(k);
    return -1;
}

void cache_reset(struct cache *k)
{
    if (++k->epoch == 0) { // Every 2^32 resets the old epochs would come back.
        memset(k->epochs, 0, k->sets * sizeof *k->epochs);
        k->epoch = 1;
    }
}

void cache_destroy(struct cache *k)
{
    free(k->tags);
    free(k->epochs);
    *k = (struct cache){0};
}
