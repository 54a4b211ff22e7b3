// SPDX-License-Identifier: Apache-2.0
// The local APIC as the rest of the processor sees it (registers are reached by MSR or MMIO).
#ifndef MODELS_APIC_LAPIC_H
#define MODELS_APIC_LAPIC_H

#include "models/cpu/pcpu.h"

// A fixed interrupt message arrives (SDM 10.8.3): sets IRR (and TMR by `level`), recomputes c->irq_pending.
void lapic_accept(struct pcpu *c, uint8_t vector, bool level);
// Highest deliverable vector (above PPR), or -1.
int lapic_pending_vector(const struct pcpu *c);
// Interrupt acknowledge: moves the highest deliverable vector from IRR to ISR and returns it; -1 if none.
int lapic_ack(struct pcpu *c);

#endif
