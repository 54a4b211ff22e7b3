// SPDX-License-Identifier: Apache-2.0
// The pinned orders of a scenario's variants (docs/schedules.md), found in the machine's hypervisor core.
#ifndef SIM_MACHINE_ORDERS_H
#define SIM_MACHINE_ORDERS_H

#include "models/cpu/native/schedule.h"
#include "sim/scenario/scenario.h"

struct orders;

// Of every variant. *out NULL: no variant pins any. -1 with `e`: a step that cannot be read or whose place
// does not exist in the core, with the scenario's line.
int orders_create(const struct scenario *s, const struct machine *machine, struct orders **out,
                  struct user_error *e);
void orders_destroy(struct orders *o);
// The order of the scenario's variant, NULL if it pins none.
struct schedule *orders_of(const struct orders *o, const struct scenario *s,
                           const struct scenario_variant *v);

#endif
