// SPDX-License-Identifier: Apache-2.0
// Inside of sim/explore. All of struct explore lives in memory that a restart does not put back.
#ifndef SIM_EXPLORE_EXPLORE_INTERNAL_H
#define SIM_EXPLORE_EXPLORE_INTERNAL_H

#include "sim/explore/explore.h"
#include "sim/explore/pilot.h"
#include "sim/rewind/rewind.h"

#define EXPLORE_ORDERS_MAX (1u << 20)
#define EXPLORE_ATTEMPTS 16u // Failures whose steps are tried

// What rewind_run() hands to the execution, and what that ends with.
enum explore_mode { MODE_SEARCH, MODE_REPLAY };
enum explore_outcome {
    OUTCOME_FINE,
    OUTCOME_FAILED,
    OUTCOME_REDUNDANT,
    OUTCOME_TOO_LONG,
    OUTCOME_NO_SCHEDULE
};

#define EXPLORE_LEARN_QUIET 64u // So many in a row that taught nothing end the learning,
#define EXPLORE_LEARN_MAX 1024u // or so many in all.

// A process of the search, as the others see it.
struct explore_slot {
    _Atomic uint64_t number;      // Of the execution it makes
    struct explore_result result; // Its counts may be looked at any time, the rest when it has ended.
};

// Mapped shared before the photograph.
struct explore_board {
    _Atomic uint64_t orders[EXPLORE_ORDERS_MAX]; // Hashes; 0: free
    _Atomic uint64_t pairs[PILOT_PAIRS_MAX];
    struct explore_slot slots[EXPLORE_JOBS_MAX];
};

struct explore_shared {
    struct explore_counts counts;
    uint32_t attempts; // Failures whose steps were tried
    bool refused, reproduced;
    struct explore_result result;
    char lost[160]; // Why there is none
    struct pilot_memory *memory;
    struct strategy *strategy;
    char reason[EXPLORE_REASON_BYTES], failure[EXPLORE_REASON_BYTES];
    // The accesses of the failing execution that are its steps, as far as they are left, and the order that
    // the next replay makes.
    char lines[SCHEDULE_STEPS_MAX][EXPLORE_STEP_BYTES];
    uint32_t at[SCHEDULE_STEPS_MAX];
    uint32_t step_count;
    bool idle_counts; // Steps say that their processor has nothing to do behind them, where that was so.
    struct schedule_step trial[SCHEDULE_STEPS_MAX];
    uint32_t trial_count;
};

struct explore {
    struct explore_options o;
    struct explore_board *board;
    struct explore_slot *slot; // Own one
    struct machine *machine;
    struct explore_shared *shared;
    struct pilot pilot;
    uint32_t quiet; // Executions since one taught something
    bool in_execution;
};

// On the explorer's stack: the whole search.
void explore_search_all(void *x);
// What is left of it from here on, by one process: that part of so many.
void explore_search_part(struct explore *x, uint32_t part, uint32_t parts);
// The same by x->o.jobs processes, of which each makes its part of the part.
void explore_search_jobs(struct explore *x, uint32_t part, uint32_t parts);
// The steps of a failure made it fail again.
void explore_found(struct explore *x);
// Into a set in memory that is mapped shared. True: it is new and there is room.
bool explore_set_add(_Atomic uint64_t *set, uint32_t size, uint64_t value);
// The order of the execution that was just made, as steps; takes away of them as long as the rest fails the
// same way.
void explore_shrink(struct explore *x);
// In an execution: the order to be tried. Ends it if there is no such order.
struct schedule *explore_schedule(struct explore *x);

#endif
