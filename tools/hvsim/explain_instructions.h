// SPDX-License-Identifier: Apache-2.0
// A guest's instructions as a listing, its VM exits among them.
#ifndef TOOLS_HVSIM_EXPLAIN_INSTRUCTIONS_H
#define TOOLS_HVSIM_EXPLAIN_INSTRUCTIONS_H

#include "traces/export.h"
#include <stdint.h>

// Which rows of `instructions`: first to last.
struct instruction_range {
    int64_t first, last;
};
// Reads N, N..M, N.. or, where text is NULL, all. False: none of these.
bool instruction_range(const char *text, struct instruction_range *range);

// Of the run that the reader is scoped to. Returns an exit status.
int explain_instructions(struct trace_reader *r, int64_t run, const char *db,
                         const struct instruction_range *range);

#endif
