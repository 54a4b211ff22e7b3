// SPDX-License-Identifier: Apache-2.0
// What happens outside of simulated time while a run goes on: Ctrl-C, a failed disk, a line of progress each
// second.
#ifndef TOOLS_HVSIM_WATCH_H
#define TOOLS_HVSIM_WATCH_H

#include "sim/machine/machine.h"

struct watch {
    struct sim_machine *machine;
    struct trace *trace;
    const struct scenario *scenario;
    const struct scenario_variant *variant;
    uint64_t clock_khz;
    bool quiet; // No line of progress: the terminal belongs to somebody else.
    bool shown; // A line of progress stands on the terminal.
};

// For struct machine_run: set when somebody wants to be heard, and who is called then (ctx: struct watch).
extern volatile int watch_attention;
void watch_look(void *ctx, uint64_t cycles);

// Around machine_run(). The first SIGINT or SIGTERM ends the run in good order, a second one kills.
void watch_start(void);
void watch_stop(void);
// Has one come since the program began?
bool watch_interrupted(void);

#endif
