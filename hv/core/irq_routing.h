// SPDX-License-Identifier: Apache-2.0
// GSI routing: from the numbers user space and irqfds use to irqchip pins and MSIs. Read under vm->irq_srcu.
#ifndef HV_CORE_IRQ_ROUTING_H
#define HV_CORE_IRQ_ROUTING_H

#include "hv/api.h"
#include "hv/lib/list.h"

struct vm;

#define IRQ_ROUTES_PER_GSI 3u // PIC, IOAPIC and one more.

struct irq_route {
    u32 gsi;
    u32 type; // HV_IRQ_ROUTING_IRQCHIP, HV_IRQ_ROUTING_MSI
    union {
        struct {
            u32 irqchip, pin;
        } chip;
        struct {
            u64 address;
            u32 data;
        } msi;
    };
};
struct irq_routing_entry {
    u32 count;
    struct irq_route routes[IRQ_ROUTES_PER_GSI];
};
struct irq_routing_table {
    u32 gsi_count;
    u64 bytes;
    u32 chip_pin_gsi[HV_IRQCHIPS][HV_IRQCHIP_PINS]; // UINT32_MAX: no route.
    struct irq_routing_entry map[];
};

// Told when the guest ends (EOI) a level interrupt of `gsi`: resampling, and the PIT's reinjection.
struct irq_ack_notifier {
    struct list node;
    u32 gsi;
    void (*acked)(struct irq_ack_notifier *n);
};

int irq_routing_init(struct vm *vm);
void irq_routing_destroy(struct vm *vm);
// HV_SET_GSI_ROUTING: replaces the whole table. -EINVAL: gsi >= HV_IRQ_ROUTES_MAX, unknown type or flags,
// chip or pin out of range, a fourth route of one gsi, the same chip twice; -ENOMEM. Nothing changes on
// error.
int set_gsi_routing(struct vm *vm, const struct hv_irq_routing_entry *entries, u32 count);
// The routes that the chips come with (HV_CREATE_IRQCHIP).
int set_default_routing(struct vm *vm);
// Drives `gsi` to `level`: -EINVAL for a gsi without route or a level not 0 or 1; else the highest of the
// arch's results (> 0: delivered to so many CPUs, 0: coalesced, < 0: ignored, masked). `source_id` < 64: who
// drives a shared line.
int set_irq(struct vm *vm, unsigned source_id, u32 gsi, u32 level);
// One MSI that needs no route. > 0 delivered, 0 blocked by the guest, -EINVAL.
int send_userspace_msi(struct vm *vm, const struct hv_msi *msi);
// The chip saw EOI of `pin`: calls the notifiers of its gsi. Callers hold no chip lock.
void notify_acked_irq(struct vm *vm, unsigned irqchip, unsigned pin);
bool irq_has_notifier(struct vm *vm, unsigned irqchip, unsigned pin);
void register_irq_ack_notifier(struct vm *vm, struct irq_ack_notifier *n);
void unregister_irq_ack_notifier(struct vm *vm, struct irq_ack_notifier *n);

#endif
