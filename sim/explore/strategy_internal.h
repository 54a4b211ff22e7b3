// SPDX-License-Identifier: Apache-2.0
// Inside of sim/explore: what a strategy is made of.
#ifndef SIM_EXPLORE_STRATEGY_INTERNAL_H
#define SIM_EXPLORE_STRATEGY_INTERNAL_H

#include "sim/explore/strategy.h"

struct dfs;
struct reverse;

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
    struct reverse *reverse;
};

struct strategy_ops {
    const char *name, *about;
    void (*create)(struct strategy *s, void *(*memory)(size_t bytes)); // May be NULL, as the next eleven.
    bool (*begin)(struct strategy *s);
    void (*yielded)(struct strategy *s, uint32_t actor);
    void (*late)(struct strategy *s, uint32_t actor);
    bool (*made)(struct strategy *s, uint32_t actor, const struct explore_access *a);
    bool (*timed)(const struct strategy *s);
    bool (*wants_all)(const struct strategy *s);
    enum explore_stand (*stands)(struct strategy *s, uint32_t actor, const struct explore_access *a);
    bool (*idle)(struct strategy *s, uint32_t actor);
    void (*handed_over)(struct strategy *s, uint64_t place, uint64_t places);
    void (*end)(struct strategy *s, bool complete);
    void (*changed)(struct strategy *s);
    uint32_t (*decide)(struct strategy *s, const struct explore_decision *d);
    uint32_t (*choose)(struct strategy *s, uint32_t n);
    void (*established)(const struct strategy *s, char *text, size_t size);
};

extern const struct strategy_ops strategy_pct, strategy_delay, strategy_dfs, strategy_reverse,
    strategy_interrupt;

// The next ready actor after `from`, in turn.
static inline uint32_t explore_next_ready(uint32_t ready, uint32_t from)
{
    uint32_t above = from >= 31 ? 0 : ready & ~((2u << from) - 1);

    return (uint32_t)__builtin_ctz(above ? above : ready);
}

#endif
