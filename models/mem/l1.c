// SPDX-License-Identifier: Apache-2.0
#include "models/mem/l1.h"
#include <stdlib.h>

int l1_init(struct l1 *k, uint64_t size_bytes, uint32_t ways, uint32_t line_bytes)
{
    *k = (struct l1){.sets = (uint32_t)(size_bytes / line_bytes / ways), .ways_per_set = ways};
    if (k->sets == 0)
        return -1;
    k->mask = k->sets & (k->sets - 1) ? 0 : k->sets - 1;
    k->ways = calloc((size_t)k->sets * ways, sizeof *k->ways);
    return k->ways ? 0 : -1;
}

void l1_reset(struct l1 *k)
{
    memset(k->ways, 0, (size_t)k->sets * k->ways_per_set * sizeof *k->ways);
    k->clock = 0;
    k->last = NULL;
    memset(k->guess, 0, sizeof k->guess);
}

void l1_destroy(struct l1 *k)
{
    free(k->ways);
    *k = (struct l1){0};
}
