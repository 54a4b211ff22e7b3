// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_INTEREST_INNER_H
#define HVSIM_TRACES_INTEREST_INNER_H

/* What a struct trace_interest is, for the files of traces/ alone. */

#include "traces/interest.h"

// Columns of events; bits of `events`.
enum interest_column {
    INTEREST_RUN,
    INTEREST_SEQ,
    INTEREST_CYCLE,
    INTEREST_PCPU,
    INTEREST_VM,
    INTEREST_VCPU,
    INTEREST_LEVEL,
    INTEREST_KIND,
    INTEREST_A0,
    INTEREST_ARGS = INTEREST_A0 + TRACE_EVENT_ARGS,
};

struct trace_interest {
    uint32_t whole;   // Categories of which everything counts
    uint32_t *events; // By kind: columns that count and, if the rows do, INTEREST_KIND
};

#endif
