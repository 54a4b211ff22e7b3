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

struct explore_shared {
    struct explore_counts counts;
    uint64_t found_at;
    bool refused, reproduced;
    struct pilot_memory *memory;
    struct strategy *strategy;
    char reason[EXPLORE_REASON_BYTES], failure[EXPLORE_REASON_BYTES];
    // The accesses of the failing execution that are its steps, as far as they are left, and the order that
    // the next replay makes.
    char lines[SCHEDULE_STEPS_MAX][EXPLORE_STEP_BYTES];
    uint32_t at[SCHEDULE_STEPS_MAX];
    uint32_t step_count;
    struct schedule_step trial[SCHEDULE_STEPS_MAX];
    uint32_t trial_count;
    uint64_t orders[EXPLORE_ORDERS_MAX];
};

struct explore {
    struct explore_options o;
    struct machine *machine;
    struct explore_shared *shared;
    struct pilot pilot;
    bool in_execution;
};

// On the explorer's stack: the whole search.
void explore_search_all(void *x);
// The order of the execution that was just made, as steps; takes away of them as long as the rest fails the
// same way.
void explore_shrink(struct explore *x);
// In an execution: the order to be tried. Ends it if there is no such order.
struct schedule *explore_schedule(struct explore *x);

#endif
