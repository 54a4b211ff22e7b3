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

#define EXPLORE_REASON_BYTES 400u
#define EXPLORE_STEP_BYTES 320u

struct explore;

struct explore_options {
    struct strategy_options strategy;
    uint64_t budget;             // Executions at most
    sim_ps_t from_ps;            // Of the photograph
    const struct places *places; // Of the core's image: names for steps
    bool keep_going; // Search on after a failure, to the end of the budget; the first one is reported.
    // On the run's side, just before the photograph; may be NULL.
    void (*before_photograph)(void *ctx);
    // About every tenth of a second of wall time, from the explorer's side; may be NULL. False: stop.
    bool (*progress)(void *ctx, const struct explore *x);
    void *ctx;
};

struct explore_counts {
    uint64_t executions; // Of the search
    uint64_t failed;
    uint64_t distinct;  // Orders of shared accesses
    uint64_t cut_short; // Redundant ones
    uint64_t too_long;
    uint64_t shrinking; // Executions made to shrink
    uint32_t pairs;  // Ordered pairs of places in the code that touched the same memory one after the other
    uint32_t shared; // 8-byte places that several processors use
    uint32_t decisions; // Of the longest execution
};

struct explore *explore_create(const struct explore_options *options, struct machine *machine);
void explore_destroy(struct explore *x);

// Before sim_run(), from main: the search begins when the run comes to `from_ps`.
void explore_arm(struct explore *x);
// Is this an execution of the search (and not the run up to it or after it)?
bool explore_in_execution(const struct explore *x);
// The run has come to its end and was judged: in an execution, this ends it and does not return. `reason`:
// what failed, or NULL.
void explore_judged(struct explore *x, const char *reason);

// After the run.
struct explore_counts explore_counts(const struct explore *x);
void explore_established(const struct explore *x, char *text, size_t size);
// What failed; NULL: nothing did.
const char *explore_failure(const struct explore *x);
// The steps that reproduce it, after shrinking: how many, and each with its comment, as a line of a schedule
// file. `reproduced`: they made it fail the same way.
uint32_t explore_steps(const struct explore *x, bool *reproduced);
const char *explore_step(const struct explore *x, uint32_t i);

#endif
