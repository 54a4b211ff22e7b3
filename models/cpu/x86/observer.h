// SPDX-License-Identifier: Apache-2.0
// Somebody who watches machine code instruction by instruction: a debugger.
//
// What it sees are the guest's registers in struct vmx and struct x86_state of `c`; it changes nothing there,
// and no simulated time passes in its functions, so a run with it is the same run. They may block, for as
// long as they like, and fork. Without one nothing is called.
#ifndef MODELS_CPU_X86_OBSERVER_H
#define MODELS_CPU_X86_OBSERVER_H

#include "models/cpu/pcpu.h"

struct guest_observer {
    // The instruction at v->rip is about to be carried out (its block was fetched and has been found).
    // Arithmetic flags may still be in v->lazy (interp/flags.h).
    void (*instruction)(struct guest_observer *o, struct pcpu *c);
    // It ended half-way and will be begun again, or it made an exit.
    void (*unfinished)(struct guest_observer *o, struct pcpu *c);
    // It has read or written `size` bytes at a linear address, or the delivery of an event that followed it
    // has.
    void (*access)(struct guest_observer *o, struct pcpu *c, uint64_t linear, unsigned size, bool write);
    // A VM exit of basic reason `reason` begins; registers are still the guest's.
    void (*left)(struct guest_observer *o, struct pcpu *c, uint32_t reason);
};

// From now on `o` watches the guests of this processor; NULL: nobody does.
void x86_observe(struct pcpu *c, struct guest_observer *o);

#endif
