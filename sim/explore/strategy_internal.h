// SPDX-License-Identifier: Apache-2.0
// Inside of sim/explore: what a strategy is made of.
#ifndef SIM_EXPLORE_STRATEGY_INTERNAL_H
#define SIM_EXPLORE_STRATEGY_INTERNAL_H

#include "sim/explore/strategy.h"

struct dfs;
struct reverse;

#define DELAY_LANES_MAX 240u // Many numbers of processes divide it.

// DELAY: a row of executions, of which each follows from the one before.
struct delay_lane {
    uint32_t at[STRATEGY_DEPTH_MAX]; // The decisions at which the one that runs is passed over, in order
    uint32_t count, used;
    uint32_t level; // So many delays are tried now.
    bool finished;
};

struct strategy {
    struct strategy_options o;
    uint64_t executions, random; // Executions that were ended
    uint64_t number;             // Of the execution under way
    bool learns;
    uint64_t learned;       // Executions until strategy_split()
    uint32_t length;        // decisions_max then
    uint32_t first;         // Decisions of the first execution
    uint64_t since;         // Executions begun after strategy_split()
    uint32_t decisions;     // In this execution, among two or more
    uint32_t decisions_max; // Of all executions
    uint32_t actors_max;
    uint64_t yields;
    // PCT
    int64_t priority[EXPLORE_ACTORS_MAX]; // The highest goes on.
    uint32_t change_at[STRATEGY_DEPTH_MAX];
    int64_t lowest;
    // DELAY: those whose number is this part's, modulo parts, are made in turn.
    struct delay_lane lane[DELAY_LANES_MAX];
    struct delay_lane *delay; // Of this execution
    uint32_t lanes, lane_now;
    uint64_t round;
    bool finished;
    struct strategy_sums sums; // To be spoken of, if `summed`
    bool summed;
    uint64_t yielded; // Bit set: gave way since it last ran
    struct dfs *dfs;
    struct reverse *reverse;
};

struct strategy_ops {
    const char *name, *about;
    enum strategy_sharing sharing;
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
    void (*split)(struct strategy *s); // May be NULL, as the next one.
    uint32_t (*delays)(const struct strategy *s);
    void (*established)(const struct strategy *s, char *text, size_t size); // Of strategy_told()
};

// What it speaks of: its own executions, or those of all parts.
struct strategy_sums strategy_told(const struct strategy *s);

extern const struct strategy_ops strategy_pct, strategy_delay, strategy_dfs, strategy_reverse,
    strategy_interrupt;

// Whose an actor's accesses are: the processor itself, or that of the store buffer.
static inline uint32_t explore_processor(uint32_t buffers_from, uint32_t actor)
{
    return buffers_from && actor >= buffers_from ? actor - buffers_from : actor;
}

#endif
