// SPDX-License-Identifier: Apache-2.0
// The tracepoint port: software tells the recorder what happened, at no cost in cycles.
//
// The simulator's counterpart of static-branch tracepoints: the call itself is free, so tracing cannot change
// time. hv never reads anything back through it.
#ifndef HV_HW_TRACE_H
#define HV_HW_TRACE_H

#include "hv/hw/types.h"

enum hw_tracepoint {
#define TRACEPOINT(id, name, argc, args, category) TP_##id,
#include "spec/tracepoints.def"
#undef TRACEPOINT
    TP_COUNT
};
// How a page was found to be dirty.
enum hw_dirty_method {
#define DIRTY_METHOD(id, name, meaning) HW_DIRTY_##id,
#include "spec/dirty_methods.def"
    HW_DIRTY_METHODS
};
// An argument that the recorder fills in: GUEST_RIP of the current VMCS. Software that has not read it passes
// this (no canonical address), as reading it only for the trace would cost a VMREAD.
#define HW_TRACE_GUEST_RIP 0x8000000000000000ull
// Records tracepoint `tp` with its arguments (spec/tracepoints.def names them).
void hw_trace(enum hw_tracepoint tp, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);
// Tells the recorder which vCPU this processor works for from now on (vcpu ~0: none) and at which level
// (1: L1 guest, 2: L2 guest) its entries run. Called where KVM traces vcpu load and put and at nested entry
// and exit.
void hw_trace_vcpu(u32 vm, u32 vcpu, u32 level, hpa_t vmcs);
// Begin and end of a named phase (spec/spans.def) on this thread; nests.
void hw_trace_span_begin(u32 span);
void hw_trace_span_end(u32 span);
// A page of a slot whose writes are logged was marked dirty and was not before. vcpu ~0: nobody's. `ring`:
// the mark is an entry of the vCPU's dirty ring.
void hw_trace_dirty_page(u32 vm, u32 vcpu, u32 slot, u64 gfn, enum hw_dirty_method method, bool ring);
// Adds to a named counter of the run (created at first use; `name` is a string constant of hv).
void hw_trace_count(const char *name, u64 n);
// A broken invariant that hv itself noticed: becomes a violations row. `name` constant, two details.
void hw_trace_violation(const char *name, u64 a0, u64 a1);
// A bug in hv: a violation (`panic`) that names expression, file and line, and the end of the run. Does not
// return.
void hw_panic(const char *what, const char *file, u32 line);

#endif
