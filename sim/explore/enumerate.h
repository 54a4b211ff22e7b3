// SPDX-License-Identifier: Apache-2.0
// Every row of choices of a small program, one execution each, depth first.
//
// While it is installed it answers sim_choose(): first with the choices of the current prefix, then with 0.
// The caller executes the program again and again from the same state; enumerate_next() turns the last choice
// that can still be another one. The program must be a function of its choices.
#ifndef SIM_EXPLORE_ENUMERATE_H
#define SIM_EXPLORE_ENUMERATE_H

#include "sim/sim.h"

#define ENUMERATE_DEPTH_MAX 4096u // Choices of one execution

struct enumerate {
    struct {
        uint32_t taken, among;
    } choice[ENUMERATE_DEPTH_MAX];
    uint32_t depth; // Choices of the execution so far
    uint32_t known; // Of those, how many are given from the start
    bool cut;
    uint64_t executions;
};

// Begins; installs itself as sim_choose().
void enumerate_begin(struct enumerate *e);
// The execution is over. True if there is another one, which then begins.
bool enumerate_next(struct enumerate *e);
// The rest of this execution does not matter: its choices are 0 and are not varied.
void enumerate_cut(struct enumerate *e);
// Uninstalls itself.
void enumerate_end(void);

#endif
