// SPDX-License-Identifier: Apache-2.0
// What `hvsim run` would say of an execution: its violations and the scenario's expectations, or that nothing
// can ever happen again. Executions that look alike to all of these queries are judged once.
#ifndef HVSIM_EXPLORE_ORACLE_H
#define HVSIM_EXPLORE_ORACLE_H

#include "sim/machine/machine.h"
#include "sim/scenario/scenario.h"
#include "traces/trace.h"

struct oracle;

// For the variant's expectations; lives in memory that a restart does not put back, until rewind_free().
struct oracle *oracle_create(const struct scenario *s, const struct scenario_variant *variant);
void oracle_destroy(struct oracle *o); // Before rewind_free()
// The categories that the trace must store.
uint32_t oracle_stored(const struct oracle *o);
// In the run: what is recorded from here on is the executions'.
void oracle_before_photograph(struct oracle *o, struct trace *trace);
// At an execution's end. The trace's database is private and has this run alone. NULL: it is fine; else why
// not, valid until the next call.
const char *oracle_judge(struct oracle *o, struct sim_machine *m, struct trace *trace, enum machine_end end);

#endif
