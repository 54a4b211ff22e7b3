// SPDX-License-Identifier: Apache-2.0
// The heap under everything: whatever is added and taken out in between, the first is the smallest.
#include "sim/kernel.h"
#include "sim/tests/log.h"
#include "tests/shim/shim.h"

enum { NODES = 300, STEPS = 20000 };

static struct sim_node nodes[NODES];

static bool smaller(const struct sim_node *a, const struct sim_node *b)
{
    if (a->ps != b->ps) {
        return a->ps < b->ps;
    }
    return a->rank != b->rank ? a->rank < b->rank : a->seq < b->seq;
}

static struct sim_node *smallest(void)
{
    struct sim_node *best = NULL;
    for (unsigned i = 0; i < NODES; i++) {
        if (agenda_holds(&nodes[i]) && (!best || smaller(&nodes[i], best))) {
            best = &nodes[i];
        }
    }
    return best;
}

TEST(Agenda, FirstIsTheSmallestAfterAnyAddingAndRemoving)
{
    static const uint32_t spreads[] = {2, 1000000};
    for (unsigned s = 0; s < 2; s++) {
        uint64_t seed = 42;
        for (unsigned step = 0; step < STEPS; step++) {
            struct sim_node *n = &nodes[next_random(&seed) % NODES];
            if (agenda_holds(n)) {
                agenda_remove(n);
            } else {
                n->ps = next_random(&seed) % spreads[s];
                n->rank = next_random(&seed) % 3;
                n->seq = step;
                agenda_add(n);
            }
            ASSERT_EQ(agenda_first(), smallest());
        }
        while (agenda_first()) {
            ASSERT_EQ(agenda_first(), smallest());
            agenda_remove(agenda_first());
        }
        ASSERT_EQ(smallest(), NULL);
    }
}
