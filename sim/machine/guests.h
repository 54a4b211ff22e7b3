// SPDX-License-Identifier: Apache-2.0
// The guest programs of a scenario's vCPUs: streams and native guests, found, checked against what they
// declare, and given to the modelled processors.
#ifndef SIM_MACHINE_GUESTS_H
#define SIM_MACHINE_GUESTS_H

#include "models/cpu/x86/native_guest.h"
#include "sim/machine/uarchs.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/stream.h"

struct guest_set {
    uint32_t vcpu_count;                // Of all VMs
    struct stream_set *streams;         // By vCPU. Of a native guest: one without ops, for its first RIP
    struct native_program **programs;   // By vCPU; NULL: a stream. Equal ones are opened once.
    struct native_guest_config *config; // By vCPU
};

// Loads the programs of every vCPU for `u`. -1 with `e`: a fault of a stream, an unknown program or argument.
// What was loaded is freed by guests_free() in either case.
int guests_load(struct guest_set *set, const struct scenario *s, const struct uarchs *u,
                struct user_error *e);
int guests_register(const struct guest_set *set, const struct scenario *s, struct machine *m,
                    struct user_error *e);
void guests_free(struct guest_set *set);

// Checks the native guests of a scenario and writes the arguments that it leaves out, at their defaults, into
// it.
int guests_resolve(struct scenario *s, struct user_error *e);

// Names of the native guests there are, sorted; NULL behind the last. For guest_names_free().
char **guest_names(void);
void guest_names_free(char **names);
// Opens one for what it says of itself: NULL with `e`.
struct native_program *guest_open(const char *name, struct user_error *e);

#endif
