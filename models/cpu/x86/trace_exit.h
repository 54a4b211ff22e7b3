// SPDX-License-Identifier: Apache-2.0
// What the core tells the recorder about entries and exits. No time passes in any of these.
#ifndef MODELS_CPU_X86_TRACE_EXIT_H
#define MODELS_CPU_X86_TRACE_EXIT_H

#include "models/cpu/pcpu.h"

// Non-root operation begins now; the VM entry began at `begin_ticks`. Completes the row of the last exit of
// this VMCS.
void trace_vm_entry(struct pcpu *c, uint64_t begin_ticks);
// The VM entry that began at `begin_ticks` failed its guest-state checks; the exit follows.
void trace_vm_entry_failed(struct pcpu *c, uint64_t begin_ticks);
// The exit in v->exit was made: it began at `begin_ticks` and host code runs from now on.
void trace_vm_exit(struct pcpu *c, uint64_t begin_ticks);
// Behaviour that the manual leaves undefined, or a guest program that cannot go on: a violations row.
void trace_vmx_violation(struct pcpu *c, const char *name, uint64_t a0, uint64_t a1);
// The same of a guest's access, in words.
void trace_guest_violation(struct pcpu *c, const char *kind, uint64_t address, const char *detail);
// End of the run: rows of exits without a next entry.
void trace_exits_finish(struct machine *m);

#endif
