// SPDX-License-Identifier: Apache-2.0
// Inside of sim/explore: what a strategy is made of.
#ifndef SIM_EXPLORE_STRATEGY_INTERNAL_H
#define SIM_EXPLORE_STRATEGY_INTERNAL_H

#include "sim/explore/strategy.h"

struct dfs;

struct strategy {
    struct strategy_options o;
    uint64_t executions, random;
    uint32_t decisions;     // In this execution, among two or more
    uint32_t decisions_max; // Of all executions
    uint32_t actors_max;
    uint64_t yields;
    // PCT
    int64_t priority[EXPLORE_ACTORS_MAX]; // The highest goes on.
    uint32_t change_at[STRATEGY_DEPTH_MAX];
    int64_t lowest;
    // DELAY: the decisions at which the one that runs is passed over, in order.
    uint32_t delay_at[STRATEGY_DEPTH_MAX], delays, delays_used;
    uint32_t delays_done; // All executions with up to so many have been made.
    bool finished;
    uint64_t yielded; // Bit set: gave way since it last ran
    struct dfs *dfs;
};

struct strategy_ops {
    const char *name, *about;
    void (*create)(struct strategy *s, void *(*memory)(size_t bytes)); // May be NULL, as the next three.
    bool (*begin)(struct strategy *s);
    void (*yielded)(struct strategy *s, uint32_t actor);
    void (*end)(struct strategy *s, bool complete);
    uint32_t (*decide)(struct strategy *s, const struct explore_decision *d);
    uint32_t (*choose)(struct strategy *s, uint32_t n);
    void (*established)(const struct strategy *s, char *text, size_t size);
};

extern const struct strategy_ops strategy_pct, strategy_delay, strategy_dfs;

// Whose an actor's accesses are: the processor itself, or that of the store buffer.
static inline uint32_t explore_processor(uint32_t buffers_from, uint32_t actor)
{
    return buffers_from && actor >= buffers_from ? actor - buffers_from : actor;
}

#endif
