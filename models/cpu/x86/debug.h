// SPDX-License-Identifier: Apache-2.0
// Breakpoints of a guest that is machine code (SDM 17.2, 17.3.1).
//
// Breakpoints on instructions are faults: looked at where the instruction would begin. Those on data and
// ports are traps: what an instruction touched is noted, and raised at the boundary behind it
// (vmx_boundary()).
#ifndef MODELS_CPU_X86_DEBUG_H
#define MODELS_CPU_X86_DEBUG_H

#include "models/cpu/x86/x86_state.h"

// Is any breakpoint enabled?
static inline bool debug_armed(const struct pcpu *c)
{
    return c->x86->dr[7] & X86_DR7_ENABLES;
}

// Does anybody want to know what instructions access: a breakpoint of the guest's, or an observer
// (observer.h)? Cheap.
static inline bool debug_watched(const struct pcpu *c)
{
    return c->x86->watched;
}
// After every change of DR7's enable bits or of the observer.
static inline void debug_update(struct pcpu *c)
{
    c->x86->watched = debug_armed(c) || c->x86->vmx.observer;
}

// An instruction has read or written `size` bytes at a linear address.
void debug_data(struct pcpu *c, uint64_t linear, unsigned size, bool write);
// One has read or written a port.
void debug_io(struct pcpu *c, uint16_t port, unsigned size);
// #DB if there is a breakpoint on the instruction at v->rip, which RFLAGS.RF does not hide: true if that
// makes an exit. v->delivered says whether it was delivered.
bool debug_instruction(struct pcpu *c);
// The debug exception of `info` (DEBUG_INFO_*) is being delivered: DR6, DR7, IA32_DEBUGCTL (SDM 17.2.3,
// 17.2.4, 17.4.1).
void debug_delivered(struct pcpu *c, uint64_t info);

#endif
