// SPDX-License-Identifier: Apache-2.0
// The local APIC of a processor (SDM ch. 10): xAPIC or x2APIC mode, priorities, IPIs, timer.
//
// Software reaches it through x2APIC MSRs (hw_rdmsr, hw_wrmsr) and IA32_APIC_BASE. The xAPIC page is decoded
// for non-root accesses that reach the physical page; hv uses x2APIC mode. Does not model: LINT pins, thermal
// and performance interrupts (their LVT entries hold values), focus processor, arbitration priority, bus
// errors. Time: registers themselves take none here (the instruction charges); IPIs arrive after the uarch's
// latency, the timer fires at its exact tick.
#ifndef MODELS_APIC_LAPIC_H
#define MODELS_APIC_LAPIC_H

#include "models/cpu/pcpu.h"

enum lapic_mode { LAPIC_DISABLED, LAPIC_XAPIC, LAPIC_X2APIC };

struct lapic *lapic_create(struct pcpu *c);
// State after INIT/RESET of a processor (SDM 10.4.7.1), xAPIC mode.
void lapic_reset(struct pcpu *c);
void lapic_destroy(struct lapic *l);

// --- Interrupts. ---

// A fixed interrupt reaches the processor: sets IRR and TMR. Vectors below 16 set the ESR's receive-illegal
// bit.
void lapic_accept(struct pcpu *c, uint8_t vector, bool level);
// The vector that would be delivered now: the highest in IRR if its class is above the PPR's; -1 if none.
int lapic_pending_vector(const struct pcpu *c);
// Interrupt acknowledge: moves lapic_pending_vector() from IRR to ISR and returns it; the spurious vector if
// there is none (SDM 10.9).
uint8_t lapic_ack(struct pcpu *c);
// What a write to the EOI register does.
void lapic_eoi(struct pcpu *c);
// The processor-priority register.
uint8_t lapic_ppr(const struct pcpu *c);
// CR8 is bits 7:4 of the TPR (SDM 10.8.6.1).
uint8_t lapic_cr8(const struct pcpu *c);
void lapic_set_cr8(struct pcpu *c, uint8_t cr8);

// --- Registers. ---

// RDMSR and WRMSR of 800H..8FFH. #GP outside of x2APIC mode, for reserved registers and bits (SDM 10.12.1.2).
enum hw_fault lapic_read_msr(struct pcpu *c, uint32_t msr, uint64_t *value);
enum hw_fault lapic_write_msr(struct pcpu *c, uint32_t msr, uint64_t value);
// Access of the xAPIC page at `offset` (SDM 10.4.1). Reserved registers read as 0.
uint32_t lapic_read_page(struct pcpu *c, uint32_t offset);
void lapic_write_page(struct pcpu *c, uint32_t offset, uint32_t value);
// IA32_APIC_BASE; mode changes of SDM figure 10-27, #GP for the illegal ones.
uint64_t lapic_base(const struct pcpu *c);
enum hw_fault lapic_set_base(struct pcpu *c, uint64_t value);
enum lapic_mode lapic_mode(const struct pcpu *c);
uint32_t lapic_id(const struct pcpu *c);

// IA32_TSC_DEADLINE (SDM 10.5.4.1): 0 disarms, also outside of TSC-deadline mode reads 0 and ignores writes.
uint64_t lapic_deadline(const struct pcpu *c);
void lapic_set_deadline(struct pcpu *c, uint64_t tsc);
// The TSC jumped (IA32_TSC, IA32_TSC_ADJUST written): an armed deadline moves.
void lapic_tsc_changed(struct pcpu *c);

#endif
