// SPDX-License-Identifier: Apache-2.0
#include "models/check/shadow.h"

#include <stdlib.h>
#include <string.h>

void shadow_begin(struct shadow *s)
{
    shadow_free(s);
    s->order = calloc(SHADOW_PAGES_MAX, sizeof *s->order);
    if (!s->order)
        abort();
}

void shadow_free(struct shadow *s)
{
    check_table_clear(&s->pages, free);
    free(s->order);
    *s = (struct shadow){0};
}

static struct shadow_cell *new_page(struct shadow *s, uint64_t number)
{
    uint64_t *order = &s->order[s->next++ % SHADOW_PAGES_MAX];
    struct shadow_cell *cells;

    if (*order) { // The oldest becomes the new one: no page of the simulator's host is touched anew.
        void **old = check_table_slot(&s->pages, *order);

        cells = *old;
        *old = NULL;
        memset(cells, 0, SHADOW_CELLS * sizeof *cells);
    } else {
        cells = calloc(SHADOW_CELLS, sizeof *cells);
        if (!cells)
            abort();
    }
    *order = number;
    *check_table_slot(&s->pages, number) = cells;
    return cells;
}

struct shadow_cell *shadow_cell(struct shadow *s, uint64_t address)
{
    uint64_t number = address >> CHECK_PAGE_SHIFT;

    if (number != s->last_number) {
        s->last = check_table_find(&s->pages, number);
        if (!s->last)
            s->last = new_page(s, number);
        s->last_number = number;
    }
    return &s->last[(address >> 3) % SHADOW_CELLS];
}

void shadow_forget(struct shadow *s, uint64_t address, uint64_t bytes)
{
    uint64_t end = address + bytes;

    while (address < end) {
        uint64_t next = (address | ((1u << CHECK_PAGE_SHIFT) - 1)) + 1;
        struct shadow_cell *cells = check_table_find(&s->pages, address >> CHECK_PAGE_SHIFT);
        uint64_t first = (address >> 3) % SHADOW_CELLS;

        next = next < end ? next : end;
        if (cells)
            memset(&cells[first], 0, ((next - address + 7) >> 3) * sizeof *cells);
        address = next;
    }
}
