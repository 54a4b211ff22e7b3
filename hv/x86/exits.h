// SPDX-License-Identifier: Apache-2.0
// Handlers of VM exits, one per basic exit reason (hv/x86/exits.def). Interrupts and preemption enabled.
//
// A handler returns 1: enter again; 0: to user space, vcpu->run is filled in; negative: errno of RUN.
#ifndef HV_X86_EXITS_H
#define HV_X86_EXITS_H

#include "hv/mmu/mmu.h"
#include "hv/x86/inject.h"

typedef int (*exit_handler)(struct x86_vcpu *v);

// By basic exit reason; never NULL: numbers without a row lead to handle_unknown().
exit_handler exit_handler_of(u32 basic_reason);

// Handled with interrupts disabled, right after the exit (knob x86.fastpath).
enum exit_fastpath exit_fastpath(struct x86_vcpu *v);

#define EXIT_ROW(name, handler) int handler(struct x86_vcpu *v);
#include "hv/x86/exits.def"
int handle_unknown(struct x86_vcpu *v);

// Leaves to user space with HV_EXIT_INTERNAL_ERROR: 0.
int internal_error(struct x86_vcpu *v, enum hv_internal_error suberror, unsigned ndata, u64 d0, u64 d1,
                   u64 d2);
// Sets the reason and returns 0.
int userspace_exit(struct x86_vcpu *v, enum hv_exit reason);

// An exit during event delivery whose handler would lose the event: internal error (delivery).
int handle_lost_delivery(struct x86_vcpu *v);

// What becomes of the vCPU after a stage-2 fault: as handlers.
int finish_page_fault(struct x86_vcpu *v, const struct page_fault *f, enum fault_result result);

// Halts: 1, or 0 with HV_EXIT_HLT without a local APIC in the core.
int emulate_halt(struct x86_vcpu *v);

// PAUSE-loop windows grow with each exit and shrink when the vCPU is scheduled anew (KVM: ple_window_grow,
// _shrink).
void ple_window_grow(struct x86_vcpu *v);
void ple_window_shrink(struct x86_vcpu *v);

#endif
