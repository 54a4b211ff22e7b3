// SPDX-License-Identifier: Apache-2.0
// One address translation, reference by reference.
#ifndef TOOLS_HVSIM_EXPLAIN_WALK_H
#define TOOLS_HVSIM_EXPLAIN_WALK_H

#include "traces/export.h"
#include <stdint.h>

// Draws walk `number` of run `run`, to which `r` is narrowed. An exit status; STATUS_USAGE after a message.
int explain_walk(struct trace_reader *r, int64_t run, const char *db, int64_t number);

#endif
