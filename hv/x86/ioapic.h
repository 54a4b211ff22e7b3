// SPDX-License-Identifier: Apache-2.0
// The virtual I/O APIC (82093AA with an EOI register, version 20H): 24 pins, FEC00000H.
//
// Level pins are delivered again at EOI while their line is still high. A guest that ends the interrupt
// without quieting the device would be interrupted for ever; the storm guard (knobs irq.storm_*) delays the
// delivery after so many EOIs in a row.
#ifndef HV_X86_IOAPIC_H
#define HV_X86_IOAPIC_H

#include "hv/core/hrtimer.h"
#include "hv/x86/lapic.h"
#include "spec/apic_bits.h"

struct ioapic {
    struct spinlock lock; // Interrupts off: the delayed delivery runs in one.
    struct vm *vm;
    u32 select; // IOREGSEL
    u32 id;
    u64 redir[IOAPIC_PINS];
    u32 line;                   // Pins that are driven, whatever their polarity.
    u32 delayed;                // Pins whose delivery waits for the timer.
    u64 sources[IOAPIC_PINS];   // Who drives a shared line, a bit each.
    u32 eoi_count[IOAPIC_PINS]; // EOIs in a row with the line still high.
    struct hrtimer delay_timer;
    u64 delay_counts;
};

// 0 or -ENOMEM; sets x86_vm.ioapic.
int ioapic_create(struct vm *vm);
void ioapic_destroy(struct vm *vm);
void ioapic_reset(struct ioapic *io);
// Drives `pin` for `source_id`: > 0 delivered to so many, 0 coalesced, -1 masked or nobody took it. Any
// context.
int ioapic_set_irq(struct ioapic *io, unsigned pin, unsigned source_id, unsigned level);
// A LAPIC ended `vector`. Thread context, no locks held (ack notifiers run).
void ioapic_eoi(struct ioapic *io, u8 vector, bool level);
bool ioapic_mmio(struct ioapic *io, u64 gpa, bool write, void *data, unsigned len);
// Adds to `map` (256 bits) the vectors whose EOIs by `v` matter here.
void ioapic_scan_into(struct ioapic *io, struct x86_vcpu *v, u64 *map);
void ioapic_get_state(struct ioapic *io, u8 *state);
int ioapic_set_state(struct ioapic *io, const u8 *state);

#endif
