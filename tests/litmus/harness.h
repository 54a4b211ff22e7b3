// SPDX-License-Identifier: Apache-2.0
// Carries out litmus tests on the modelled processors: all their executions, one after the other.
//
// hv/tests/litmus_hv.c runs on four processors, booted once. A thread is a processor; each of its atomic
// accesses (and plain ones of the variables) is preceded by the choice who makes the next access. An
// execution begins with zeroed variables and a memory model that knows nothing, and ends when all threads are
// through.
#ifndef TESTS_LITMUS_HARNESS_H
#define TESTS_LITMUS_HARNESS_H

#include "hv/tests/litmus_hv.h"
#include "models/memory/memory.h"
#include <stdbool.h>

enum litmus_model {
    LITMUS_MODEL_SC,
    LITMUS_MODEL_TSO,
    LITMUS_MODEL_C11,    // Without promises: no load reads from a store that is executed later.
    LITMUS_MODEL_C11_LB, // With them
    LITMUS_MODEL_COUNT
};

// A test as it is written: threads separated by ||, operations by ;. "Wrlx x 1; Rrlx y r1 || Wrlx y 1".
struct litmus_test {
    struct litmus_thread thread[LITMUS_CPUS];
    uint32_t threads;
    // What an outcome is: registers, then variables' final values (LITMUS_REGS + variable).
    uint32_t observed[8], observed_count;
};

// Outcomes as decimal digits ("01" for r1 = 0, r2 = 1), in order, each once.
struct litmus_outcomes {
    char text[32][8];
    uint32_t count;
    uint64_t executions, discarded; // Discarded: promised something that never came.
};

// The source and build folders. False with `error`.
bool litmus_open(const char *source, const char *build, char *error, size_t size);
void litmus_close(void);
// False: `error` says what is wrong with the text.
bool litmus_parse(const char *program, const char *observed, struct litmus_test *t, char *error, size_t size);
// Exhaustively.
void litmus_run(const struct litmus_test *t, enum litmus_model model, struct litmus_outcomes *o);
// The straight programs of litmus_hv.c, again and again, for `executions` at least. How many of them there
// were.
uint64_t litmus_repeat(enum litmus_program program, enum litmus_model model, uint64_t executions);

#endif
