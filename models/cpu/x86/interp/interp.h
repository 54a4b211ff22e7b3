// SPDX-License-Identifier: Apache-2.0
// The execution of machine code by a processor in non-root operation.
//
// What runs is the guest of the current VMCS, on the registers of struct vmx and struct x86_state; memory
// goes through the modelled MMU and caches, each block costs what cost.c says, and events come between
// instructions. Does not model: docs/timing-model.md, "Guest code".
#ifndef MODELS_CPU_X86_INTERP_INTERP_H
#define MODELS_CPU_X86_INTERP_INTERP_H

#include "models/cpu/x86/vmx_state.h"

// Creates the decoder and the store of decoded blocks of one processor; NULL on failure (no memory, or the
// micro-architecture lacks an instruction class).
struct interp *interp_create(struct pcpu *c);
void interp_destroy(struct interp *x);
// Forgets decoded blocks and predictions: for a start-over of the run.
void interp_reset(struct interp *x);

// Runs the guest until an exit is to be made (true), or until something may wait at an instruction boundary
// (false): an event was delivered, limit_ticks is reached, one instruction was carried out where each needs a
// look at its boundary. v->rip is right on return.
bool interp_run(struct pcpu *c);

// trace_text() of the instruction that made the exit interp_run() last returned for; 0: none did (an event, a
// fetch). Told once for each exit.
uint32_t interp_exit_text(struct pcpu *c);

#endif
