// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_SUMMARY_H
#define HVSIM_TRACES_SUMMARY_H

/*
 * The exits of a run by reason, kept while records pass by: a report at the end of a run reads no row back.
 * Memory grows with the number of different durations, not of exits.
 */

#include "traces/trace.h"

// How often each value came.
struct summary_values {
    struct {
        uint64_t value, count; // count 0: an empty slot
    } * slots;
    size_t used, capacity; // capacity: a power of two, or 0
    uint64_t count;
};

struct summary_reason {
    uint32_t key; // arch << 16 | number
    struct trace_exit_row row;
    struct summary_values cycles, recorded_ns, recorded_cycles;
};

struct summary {
    struct summary_reason *reasons;
    size_t count, capacity;
};

// Forgets the run before; keeps the memory.
void summary_begin(struct summary *summary);
void summary_take(struct summary *summary, const struct trace_exit *e);
// One row per reason, most total cycles first, then by name.
void summary_rows(struct summary *summary, trace_exit_row_fn *fn, void *context);
void summary_free(struct summary *summary);

#endif
