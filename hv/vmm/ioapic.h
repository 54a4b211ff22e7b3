// SPDX-License-Identifier: Apache-2.0
// The I/O APIC in user space (82093AA data sheet 3.0, SDM 10.8.5), for VMs whose core has local APICs only.
//
// Every pin is a GSI of the same number with a route of type MSI to what the pin's redirection entry says. So
// the core knows which vectors are level-triggered: their EOIs leave to user space (HV_EXIT_IOAPIC_EOI),
// which ends the interrupt here. A level line that is still high then is raised again: the storm guard (knobs
// irq.storm_*) delays that after too many EOIs in a row, as the one in the core does.
#ifndef HV_VMM_IOAPIC_H
#define HV_VMM_IOAPIC_H

#include "hv/vmm/vmm.h"

struct vmm_ioapic;

// Of one that migrates.
struct vmm_ioapic_state {
    u32 select, id, line, delayed;
    u64 redir[24];
    u32 eoi_count[24];
};

// Of a VM with VMM_VM_SPLIT_IRQCHIP, after the core's irqchip: all pins masked, edge, vector 0; routes set.
struct vmm_ioapic *vmm_ioapic_create(struct vmm_vm *vm);
// Upper bound of what vmm_ioapic_create() takes from the heap, in bytes.
u64 vmm_ioapic_heap_bytes(void);
// Starts the thread that ends delays, on host CPU `cpu` or HV_CPU_ANY. The API's result.
s64 vmm_ioapic_start(struct vmm_ioapic *io, u32 cpu);

// Drives pin 0..23 to `level` 0 or 1; a held or masked interrupt is not sent. 0, or -EINVAL for another pin
// or level.
s64 vmm_ioapic_set_line(struct vmm_ioapic *io, u32 pin, u32 level);
// An access of a guest to 1..8 bytes of memory. False: not ours.
bool vmm_ioapic_mmio(struct vmm_ioapic *io, u64 gpa, bool write, u8 *data, u32 size);
// While the guest runs nowhere.
void vmm_ioapic_save(struct vmm_ioapic *io, struct vmm_ioapic_state *to);
void vmm_ioapic_load(struct vmm_ioapic *io, const struct vmm_ioapic_state *from);
// A vCPU ended `vector`.
void vmm_ioapic_eoi(struct vmm_ioapic *io, u8 vector);

#endif
