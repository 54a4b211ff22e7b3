// SPDX-License-Identifier: Apache-2.0
// The micro-architectures of a machine's hosts: as their files have them, and as a variant changes them.
//
// A host may name a file of its own. All hosts' processors count at the clock of the machine's file, so that
// a cycle of the trace is the same time everywhere: a host's file gives everything but group `clock`.
#ifndef SIM_MACHINE_UARCHS_H
#define SIM_MACHINE_UARCHS_H

#include "models/cpu/uarch/uarch.h"
#include "sim/scenario/scenario.h"

struct uarchs {
    struct uarch *machine;                   // The scenario's.
    struct uarch *host[SCENARIO_HOSTS_MAX];  // Files of hosts that name their own; NULL: `machine`.
    struct uarch in_run[SCENARIO_HOSTS_MAX]; // With what the variant in progress replaces.
};

// Loads every file; `folder` holds them. 0; or -1 with `e`: no such file, or what is wrong in it.
int uarchs_open(struct uarchs *u, const struct scenario *s, const char *folder, struct user_error *e);
void uarchs_close(struct uarchs *u);
// What host `h` is built from.
const struct uarch *uarchs_of(const struct uarchs *u, uint32_t h);
// Fills in_run for a run of the variant. 0; or -1 with `e`: what it replaces does not fit.
int uarchs_choose(struct uarchs *u, const struct scenario *s, const struct scenario_variant *v,
                  struct user_error *e);
// Writes what is replaced, a line each: "uarch group.name=value", of one host alone with " on NAME".
void uarchs_print(const struct uarchs *u, const struct scenario *s, const struct scenario_variant *v,
                  FILE *out);

#endif
