// SPDX-License-Identifier: Apache-2.0
// Searches the interleavings of one scenario's variant: many executions from one photograph of the simulator.
//
// The run goes to `from_ps` as any run does. There the process is photographed (sim/rewind/rewind.h), and
// from there on each execution has its own order, until the run ends and its owner says whether it failed.
// The failing order is turned into steps of a pinned order (docs/schedules.md) and shrunk by further
// executions, now under the very mechanism that `hvsim run --schedule` uses.
#ifndef SIM_EXPLORE_EXPLORE_H
#define SIM_EXPLORE_EXPLORE_H

#include "models/cpu/native/places.h"
#include "models/cpu/native/schedule.h"
#include "sim/explore/strategy.h"
#include "sim/sim.h"
#include <stdatomic.h>

#define EXPLORE_REASON_BYTES 400u
#define EXPLORE_STEP_BYTES 320u

#define EXPLORE_JOBS_MAX 256u
#define EXPLORE_NONE UINT64_MAX

struct explore;

struct explore_counts {
    uint64_t executions; // Of the search
    uint64_t failed;
    uint64_t distinct;  // Orders of shared accesses
    uint64_t cut_short; // Redundant ones
    uint64_t too_long;
    uint64_t shrinking; // Executions made to shrink
    uint32_t pairs;   // Ordered pairs of places in the code that touched the same memory one after the other
    uint32_t shared;  // 8-byte places that several processors use
    uint32_t learned; // Executions before the search was shared out
};

// What one process found, or several together. Made of numbers and text only: it can be sent.
struct explore_result {
    struct explore_counts counts;
    struct strategy_sums sums;
    uint64_t found;  // Number of the failing execution that is reported, EXPLORE_NONE
    bool reproduced; // Its steps alone brought the failure about again.
    char failure[EXPLORE_REASON_BYTES];
    uint32_t step_count;
    char steps[SCHEDULE_STEPS_MAX][EXPLORE_STEP_BYTES];
};

// What processes tell each other while they search: memory mapped shared.
struct explore_signs {
    _Atomic uint64_t found; // Lowest number of a failure that its steps reproduce: no later one matters.
    atomic_bool stop;       // End as soon as you can.
};

struct explore_options {
    struct strategy_options strategy; // Its part and parts: of this search in a larger one
    uint64_t budget;                  // Executions at most: those with lower numbers
    uint32_t jobs;                    // Processes that make this part together, from 1
    sim_ps_t from_ps;                 // Of the photograph
    const struct places *places;      // Of the core's image: names for steps
    bool keep_going; // Search on after a failure, to the end of the budget; the first one is reported.
    struct explore_signs *signs;
    // On the run's side, just before the photograph; may be NULL.
    void (*before_photograph)(void *ctx);
    // Now and then while it searches, from the explorer's side.
    void (*progress)(void *ctx, const struct explore *x);
    // At the end, from the explorer's side: puts what others found to `result`. May be NULL. `lost`: it is
    // not whole, a process died.
    void (*agree)(void *ctx, struct explore_result *result, bool lost);
    void *ctx;
};

// For options: nothing found yet, no reason to stop. Never NULL.
struct explore_signs *explore_signs_create(void);

struct explore *explore_create(const struct explore_options *options, struct machine *machine);
void explore_destroy(struct explore *x);

// Before sim_run(), from main: the search begins when the run comes to `from_ps`.
void explore_arm(struct explore *x);
// Is this an execution of the search (and not the run up to it or after it)?
bool explore_in_execution(const struct explore *x);
// The run has come to its end and was judged: in an execution, this ends it and does not return. `reason`:
// what failed, or NULL.
void explore_judged(struct explore *x, const char *reason);

// So far, of all processes.
struct explore_counts explore_counts(const struct explore *x);

// After the run: NULL, or why there is no result (a process of it died).
const char *explore_lost(const struct explore *x);
const struct explore_result *explore_result(const struct explore *x);
void explore_established(const struct explore *x, char *text, size_t size);

// Two parts' results as one: the failure with the lowest number whose steps reproduce it is reported.
void explore_result_add(struct explore_result *to, const struct explore_result *of);

#endif
