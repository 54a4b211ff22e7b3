// SPDX-License-Identifier: Apache-2.0
#include "models/check/owners.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES (HW_ARENA_STRIDE >> 12)

void owners_free(struct owners *o)
{
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        if (o->pages[h])
            munmap(o->pages[h], PAGES);
    *o = (struct owners){0};
}

static uint8_t *pages_at(struct owners *o, uint64_t address)
{
    uint64_t at = address - HW_ARENA_BASE;
    uint8_t **pages = &o->pages[at / HW_ARENA_STRIDE];

    if (!*pages) { // Address space only, until a page is told of.
        *pages =
            mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (*pages == MAP_FAILED)
            abort();
    }
    return *pages + (at % HW_ARENA_STRIDE >> 12);
}

void owners_set(struct owners *o, uint64_t address, uint64_t bytes, uint8_t value)
{
    memset(pages_at(o, address), value, bytes >> 12);
}

void owners_mark_heap(struct owners *o, uint64_t address, uint64_t bytes)
{
    uint8_t *page = pages_at(o, address);

    for (uint64_t at = 0; at < bytes; at += 4096)
        *page++ |= OWNERS_HEAP;
}
