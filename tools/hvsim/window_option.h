// SPDX-License-Identifier: Apache-2.0
// --window FROM..TO, as verbs that run something share it: when instructions are recorded.
#ifndef TOOLS_HVSIM_WINDOW_OPTION_H
#define TOOLS_HVSIM_WINDOW_OPTION_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_OPTION_ABOUT                                                                                  \
    "of --trace instructions: only those of this time, in cycles or as 2ms..2.1ms (default all)"

struct window_option {
    struct window_edge {
        bool given, is_time;
        uint64_t value; // Nanoseconds if is_time, else cycles
    } from, to;
};

// Reads FROM..TO; either may be left out. 0, or STATUS_USAGE after a message.
int window_option(struct window_option *w, const char *text);
// In cycles of a clock: [*from, *to).
void window_cycles(const struct window_option *w, uint64_t clock_khz, uint64_t *from, uint64_t *to);

#endif
