// SPDX-License-Identifier: Apache-2.0
// Of each page of host memory: whose it is, as the core's page allocator told (hv/hw/note.h).
#ifndef MODELS_CHECK_OWNERS_H
#define MODELS_CHECK_OWNERS_H

#include "hv/hw/boot.h"
#include <stdbool.h>
#include <stdint.h>

// A page's byte; 0: nothing was told, it is memory from before the allocator.
#define OWNERS_FREE 1u
#define OWNERS_OWNER 0x3fu   // Mask of: 1 more than the owner's number, OWNERS_FREE
#define OWNERS_HEAP 0x40u    // Cut into objects
#define OWNERS_CONTENT 0x80u // What guests put there

struct owners {
    uint8_t *pages[HW_ARENA_HOSTS_MAX]; // NULL: none was told of yet
};

void owners_free(struct owners *o);
static inline uint8_t owners_of(const struct owners *o, uint64_t address)
{
    uint64_t at = address - HW_ARENA_BASE;
    const uint8_t *pages = at < HW_ARENA_HOSTS_MAX * HW_ARENA_STRIDE ? o->pages[at / HW_ARENA_STRIDE] : 0;

    return pages ? pages[at % HW_ARENA_STRIDE >> 12] : 0;
}
void owners_set(struct owners *o, uint64_t address, uint64_t bytes, uint8_t value);
void owners_mark_heap(struct owners *o, uint64_t address, uint64_t bytes);

#endif
