// SPDX-License-Identifier: Apache-2.0
// Registers and instructions of an x86 processor core in root operation.
//
// What the block is: control, debug and model-specific registers with their reserved bits, CPUID, and the
// instructions of hv/hw/cpu.h and hv/hw/vmx.h. Every instruction charges its cost from the uarch file, is a
// scheduling point and then takes effect; serializing ones drain the store buffer first.
// Does not model: real mode, paging and segmentation of root mode (hv's addresses are the arena's).
#ifndef MODELS_CPU_X86_X86_H
#define MODELS_CPU_X86_X86_H

#include "models/cpu/pcpu.h"

// Creates the core's state (registers as firmware leaves them: 64-bit mode, paging, VMX enabled and locked in
// IA32_FEATURE_CONTROL), its TLB and VMX. `c->uarch`, `c->machine`, `c->index` are set; sets c->x86.
struct x86_state *x86_create(struct pcpu *c);
// As after x86_create(): for a start-over of the run.
void x86_reset(struct pcpu *c);
void x86_destroy(struct x86_state *s);

// What pcpu_tsc() adds: IA32_TSC_ADJUST plus what writes to IA32_TSC moved. SDM 17.17.3.
uint64_t x86_tsc_adjust(const struct pcpu *c);

// CR2 to CR8 as they are in the mode that executes now (guest values in non-root operation).
uint64_t x86_cr(const struct pcpu *c, unsigned n);

// INIT: registers and APIC as SDM table 9-1, except that software continues at the ap_entry of its vectors
// after SIPI. Called by whoever delivers INIT to a processor in root operation outside of VMX operation.
void x86_init_signal(struct pcpu *c);
// INIT is blocked in VMX root operation (SDM 23.8).
bool x86_init_blocked(const struct pcpu *c);

#endif
