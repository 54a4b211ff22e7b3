// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_INTERNAL_H
#define HVSIM_TRACES_INTERNAL_H

/* What a struct trace is, for the files of traces/ alone. */

#include "traces/consumer.h"
#include "traces/ring.h"

struct trace {
    struct trace_ring head; // first: the inline functions of trace.h cast to it
    struct ring ring;
    struct consumer consumer;
    struct store *store; // NULL: digest only
    struct texts texts;
    uint32_t stored; // categories
    bool silent, in_run;
};

#endif
