// SPDX-License-Identifier: Apache-2.0
// --db FILE, --trace LIST, --window FROM..TO, as verbs that run something share them: where, what and when is
// recorded.
#ifndef TOOLS_HVSIM_RECORD_OPTION_H
#define TOOLS_HVSIM_RECORD_OPTION_H

#include "traces/trace.h"

#define WINDOW_OPTION_ABOUT                                                                                  \
    "of --trace instructions: only those of this time, in cycles or as 2ms..2.1ms (default all)"

struct window_option {
    struct window_edge {
        bool given, is_time;
        uint64_t value; // Nanoseconds if is_time, else cycles
    } from, to;
};

struct record_options {
    const char *db; // NULL: the verb's default
    uint32_t store; // TRACE_*
    struct window_option window;
};
// Each takes its option's value. 0, or STATUS_USAGE after a message.
int record_option_db(struct record_options *r, const char *path);
int record_option_trace(struct record_options *r, const char *categories);
int record_option_window(struct record_options *r, const char *text); // Either end may be left out.

// The window in cycles of a clock: [*from, *to).
void record_window_cycles(const struct record_options *r, uint64_t clock_khz, uint64_t *from, uint64_t *to);
// Opens the database `path` ("": a private one), to store `store` and violations: they fail a run, whatever
// else is looked at. NULL after a message.
struct trace *record_open(const char *path, uint32_t store);
// 0, or STATUS_USAGE after a message.
int record_close(struct trace *t);

#endif
