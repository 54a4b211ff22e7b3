// SPDX-License-Identifier: Apache-2.0
#include "models/apic/assigned_msi.h"

#include "hv/hw/assigned.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t at_ps;
    uint32_t function;
    uint8_t vector;
};

struct fifo {
    struct entry *entries; // Sorted by at_ps; equal times in order of sending.
    size_t count, capacity;
};

struct assigned_msi {
    struct fifo fifos[HW_ARENA_HOSTS_MAX];
};

struct assigned_msi *assigned_msi_create(void)
{
    struct assigned_msi *d = calloc(1, sizeof *d);

    assert(d);
    return d;
}

void assigned_msi_reset(struct assigned_msi *d)
{
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        d->fifos[h].count = 0;
}

void assigned_msi_destroy(struct assigned_msi *d)
{
    if (!d)
        return;
    for (unsigned h = 0; h < HW_ARENA_HOSTS_MAX; h++)
        free(d->fifos[h].entries);
    free(d);
}

static struct fifo *fifo_of(struct pcpu *c)
{
    assert(c->host < HW_ARENA_HOSTS_MAX);
    if (!c->machine->assigned)
        c->machine->assigned = assigned_msi_create();
    return &c->machine->assigned->fifos[c->host];
}

void assigned_msi_send(struct pcpu *c, uint32_t function, uint8_t vector, uint64_t at_ticks)
{
    struct fifo *f = fifo_of(c);
    struct entry e = {pcpu_ticks_to_ps(c, at_ticks), function, vector};
    size_t i;

    if (f->count == f->capacity) {
        f->capacity = f->capacity ? f->capacity * 2 : 16;
        f->entries = realloc(f->entries, f->capacity * sizeof *f->entries);
        assert(f->entries);
    }
    for (i = f->count; i > 0 && f->entries[i - 1].at_ps > e.at_ps; i--)
        f->entries[i] = f->entries[i - 1];
    f->entries[i] = e;
    f->count++;
    pcpu_send(c, PCPU_MSG_FIXED, ASSIGNED_VECTOR, false, at_ticks);
}

bool assigned_msi_port(uint16_t port)
{
    return port == ASSIGNED_PORT_FUNCTION || port == ASSIGNED_PORT_VECTOR;
}

uint32_t assigned_msi_in(struct pcpu *c, uint16_t port)
{
    struct fifo *f = fifo_of(c);
    struct entry e;

    if (!f->count || f->entries[0].at_ps > pcpu_ticks_to_ps(c, c->now_ticks))
        return 0;
    e = f->entries[0];
    if (port == ASSIGNED_PORT_FUNCTION)
        return ASSIGNED_FUNCTION_VALID | (e.function & ASSIGNED_FUNCTION_MASK);
    memmove(f->entries, f->entries + 1, --f->count * sizeof *f->entries);
    return e.vector;
}
