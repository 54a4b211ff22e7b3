// SPDX-License-Identifier: Apache-2.0
#include "sim/kernel.h"

#include <stdlib.h>

static struct {
    struct sim_node **heap;
    uint32_t count, room;
} agenda;

static bool goes_before(const struct sim_node *a, const struct sim_node *b)
{
    if (a->ps != b->ps) {
        return a->ps < b->ps;
    }
    if (a->rank != b->rank) {
        return a->rank < b->rank;
    }
    return a->seq < b->seq;
}

static void place(uint32_t at, struct sim_node *n)
{
    agenda.heap[at] = n;
    n->slot = at + 1;
}

static void sift_up(uint32_t at, struct sim_node *n)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (!goes_before(n, agenda.heap[parent])) {
            break;
        }
        place(at, agenda.heap[parent]);
        at = parent;
    }
    place(at, n);
}

static void sift_down(uint32_t at, struct sim_node *n)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= agenda.count) {
            break;
        }
        if (child + 1 < agenda.count && goes_before(agenda.heap[child + 1], agenda.heap[child])) {
            child++;
        }
        if (!goes_before(agenda.heap[child], n)) {
            break;
        }
        place(at, agenda.heap[child]);
        at = child;
    }
    place(at, n);
}

void agenda_add(struct sim_node *n)
{
    if (agenda.count == agenda.room) {
        agenda.room = agenda.room ? 2 * agenda.room : 64;
        agenda.heap = realloc(agenda.heap, agenda.room * sizeof(struct sim_node *));
        SIM_CHECK(agenda.heap, "out of memory for %u agenda entries", agenda.room);
    }
    sift_up(agenda.count++, n);
}

void agenda_remove(struct sim_node *n)
{
    uint32_t at = n->slot - 1;
    struct sim_node *last = agenda.heap[--agenda.count];
    n->slot = 0;
    if (last == n) {
        return;
    }
    if (at > 0 && goes_before(last, agenda.heap[(at - 1) / 2])) {
        sift_up(at, last);
    } else {
        sift_down(at, last);
    }
}

struct sim_node *agenda_first(void)
{
    return agenda.count ? agenda.heap[0] : NULL;
}

bool agenda_first_is_tied(void)
{
    sim_ps_t ps = agenda.heap[0]->ps;
    return (agenda.count > 1 && agenda.heap[1]->ps == ps) || (agenda.count > 2 && agenda.heap[2]->ps == ps);
}

unsigned agenda_tied(struct sim_node **out, unsigned max)
{
    sim_ps_t ps = agenda.heap[0]->ps;
    unsigned count = 0;

    // Few things are tied, and they are near the top, but not in order: an insertion sort by scanning.
    for (uint32_t i = 0; i < agenda.count; i++) {
        struct sim_node *n = agenda.heap[i];
        if (n->ps != ps) {
            continue;
        }
        unsigned at = count < max ? count : max;
        count++;
        while (at > 0 && goes_before(n, out[at - 1])) {
            if (at < max) {
                out[at] = out[at - 1];
            }
            at--;
        }
        if (at < max) {
            out[at] = n;
        }
    }
    return count < max ? count : max;
}
