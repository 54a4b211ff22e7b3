// SPDX-License-Identifier: Apache-2.0
// The replay guests of a machine: who registers programs and hears of their end.
//
// Called by whoever puts machines together, outside of simulated time.
#ifndef MODELS_CPU_X86_REPLAY_RUN_H
#define MODELS_CPU_X86_REPLAY_RUN_H

#include "models/cpu/pcpu.h"
#include "models/cpu/x86/replay.h"

// Makes `program` the one of the guest whose IDTR base is `idtr_base`. The program must outlive the machine.
// NULL, or what is wrong with it (nothing was registered): no END at its end, loops that do not match, labels
// or handlers outside, a base that is taken.
const char *replay_register(struct machine *m, uint64_t idtr_base, const struct replay_program *program);
// Puts every program back to its start, and the assigned device to reset: before each run.
void replay_reset(struct machine *m);
// Forgets all programs.
void replay_forget(struct machine *m);

// Called once per program and run, when it reaches its END; the guest then idles.
typedef void (*replay_done_fn)(void *ctx, uint64_t idtr_base);
void replay_set_done_hook(struct machine *m, replay_done_fn fn, void *ctx);

#endif
