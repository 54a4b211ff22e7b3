// SPDX-License-Identifier: Apache-2.0
// The table that ends a run of several points or variants: a line for each, with the scenario's `show`
// columns.
#ifndef TOOLS_HVSIM_RUN_TABLE_H
#define TOOLS_HVSIM_RUN_TABLE_H

#include "tools/hvsim/report.h"

struct run_table_row {
    char point[128]; // Values of the sweep; empty without one.
    char variant[64];
    uint64_t cycles;
    char shown[SCENARIO_SHOWS_MAX][24];
};
struct run_table {
    struct run_table_row *rows;
    size_t count;
};

// "2TiB", or with several axes "2TiB 4": the point that `s` was loaded at.
void run_table_point(const struct scenario *s, char *text, size_t size);
// Adds a run; the reader's scope is that run. -1 with `e`: a column's SQL does not work.
int run_table_add(struct run_table *t, struct trace_reader *r, const struct scenario *s,
                  const struct ran *ran, struct user_error *e);
// Prints it, if there is something to compare, and forgets the rows.
void run_table_print(struct run_table *t, const struct scenario *s);
void run_table_free(struct run_table *t);

#endif
