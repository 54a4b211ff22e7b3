// SPDX-License-Identifier: Apache-2.0
// Inside of the local APIC, shared by its files only.
#ifndef MODELS_APIC_LAPIC_STATE_H
#define MODELS_APIC_LAPIC_STATE_H

#include "models/apic/lapic.h"
#include "spec/apic_bits.h"

enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };
#define LVT_TIMER_MODE(lvt) (((lvt)&APIC_LVT_TIMER_MASK) >> 17)

struct lapic {
    uint64_t base;       // IA32_APIC_BASE
    uint32_t regs[0x40]; // By offset / 16
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t esr_latched; // Errors since the last write to ESR
    uint64_t icr;
    uint64_t deadline;          // TSC; 0: disarmed
    uint64_t timer_start_ticks; // When the count was (re)started
};

static inline uint32_t *lapic_reg(struct lapic *l, uint32_t offset)
{
    return &l->regs[offset >> 4];
}
static inline uint32_t lapic_value(const struct lapic *l, uint32_t offset)
{
    return l->regs[offset >> 4];
}

// Recomputes c->irq_pending.
void lapic_update(struct pcpu *c);
void lapic_error(struct pcpu *c, uint32_t esr_bit);

// ipi.c: sends what the ICR says; `self` is the SELF IPI register.
void lapic_send_icr(struct pcpu *c, uint64_t icr);
void lapic_send_self(struct pcpu *c, uint8_t vector);

// lapic_timer.c
void lapic_timer_start(struct pcpu *c); // After a write of INIT_COUNT
void lapic_timer_lvt(struct pcpu *c, uint32_t old_lvt);
uint32_t lapic_timer_count(const struct pcpu *c);
void lapic_timer_divider(struct pcpu *c, uint32_t old_divider);

#endif
