// SPDX-License-Identifier: Apache-2.0
// Native guests: guest programs that run as code of the host (scenarios/guests/native), and the machine's
// side of them: opening a program, giving it to a vCPU.
//
// A native guest is a guest program like a stream's (replay.h): found by IDTR base, positioned by RIP, left
// at a VM exit and taken up at the next VM entry, on whichever processor that is. Where a stream has a list
// of instructions, a native guest runs on a stack of its own until it wants one; the processor then executes
// it by the same code as a stream's. docs/native-guests.md
//
// Called by whoever puts machines together, outside of simulated time.
#ifndef MODELS_CPU_X86_NATIVE_GUEST_H
#define MODELS_CPU_X86_NATIVE_GUEST_H

#include "models/cpu/pcpu.h"
#include "spec/native_guest.h"
#include <stddef.h>

struct native_program;

// Opens the program at `path` and prices its blocks for `u`; without `u` only what it says of itself is of
// use. NULL with one line in `error`: no such file, not such a program, one with state outside of its stack.
struct native_program *native_program_open(const char *path, const struct uarch *u, char *error,
                                           size_t error_size);
// Prices it for the processors of `host` > 0 alone. -1 with `error`.
int native_program_price(struct native_program *p, uint32_t host, const struct uarch *u, char *error,
                         size_t error_size);
void native_program_close(struct native_program *p);
const struct guest_program *native_program_info(const struct native_program *p);
// Where it begins: the vCPU's first RIP. The same in every process.
uint64_t native_program_entry(const struct native_program *p);

struct native_guest_config {
    const struct native_program *program; // Must outlive the machine.
    uint64_t args[GUEST_ARGS_MAX];        // As the program's table names them; times in TSC cycles
    bool linear;                          // Its addresses go through the guest's page tables.
    struct guest_env env;                 // The seed is the vCPU's share: the run's is mixed in.
};
// Makes it the program of the guest whose IDTR base is `idtr_base`. NULL, or what is wrong.
const char *native_guest_register(struct machine *m, uint64_t idtr_base,
                                  const struct native_guest_config *config);

#endif
