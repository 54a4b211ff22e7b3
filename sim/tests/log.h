// SPDX-License-Identifier: Apache-2.0
// What tests of sim/ share: a log of who ran when, and numbers that look random but follow from a seed.
#ifndef HVSIM_SIM_TESTS_LOG_H
#define HVSIM_SIM_TESTS_LOG_H

#include "sim/sim.h"

enum { LOG_MAX = 8192, STACK_BYTES = 32 * 1024 };

struct log_entry {
    sim_ps_t ps;
    unsigned who;
};

struct log {
    unsigned count;
    struct log_entry entry[LOG_MAX];
};

static inline void log_add(struct log *log, sim_ps_t ps, unsigned who)
{
    if (log->count < LOG_MAX) {
        log->entry[log->count] = (struct log_entry){ps, who};
    }
    log->count++;
}

// Numerical Recipes' 64-bit linear congruential generator; its high bits.
static inline uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

#endif
