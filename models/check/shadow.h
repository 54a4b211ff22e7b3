// SPDX-License-Identifier: Apache-2.0
// What was last done with each 8 bytes of memory, page by page as they are touched.
#ifndef MODELS_CHECK_SHADOW_H
#define MODELS_CHECK_SHADOW_H

#include "models/check/check_internal.h"

#define SHADOW_SLOTS 4u // Accesses remembered of a cell
#define SHADOW_CELLS (1u << (CHECK_PAGE_SHIFT - 3))
#define SHADOW_PAGES_MAX 6000u // About 300 MiB; then those forget that began first.

struct shadow_slot {
    uint32_t clock; // Of its thread; 0: free
    uint32_t pc, stack;
    uint16_t thread;
    uint8_t mask;       // Bytes of the cell
    uint8_t access;     // enum place_access bits
    uint64_t cpu_ticks; // cpu << 52 | ticks
};
struct shadow_cell {
    struct shadow_slot slot[SHADOW_SLOTS];
};

struct shadow {
    struct check_table pages; // By page number: struct shadow_page
    uint64_t *order;          // Page numbers in order of their begin, a ring of SHADOW_PAGES_MAX
    uint32_t next;
    uint64_t last_number; // Found last
    struct shadow_cell *last;
};

void shadow_begin(struct shadow *s);
void shadow_free(struct shadow *s);
// The cell of an address; made if it is new.
struct shadow_cell *shadow_cell(struct shadow *s, uint64_t address);
void shadow_forget(struct shadow *s, uint64_t address, uint64_t bytes);

#endif
