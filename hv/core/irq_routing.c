// SPDX-License-Identifier: Apache-2.0
#include "hv/core/irq_routing.h"

#include "hv/core/arch.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/lib/string.h"

#define CHIP_IOAPIC 2u
#define PIC_PINS 8u
#define DEFAULT_ROUTES_MAX 64u

static u32 chip_pins(u32 irqchip)
{
    return irqchip == CHIP_IOAPIC ? HV_IRQCHIP_PINS : PIC_PINS;
}

static u64 table_bytes(u32 gsi_count)
{
    return sizeof(struct irq_routing_table) + sizeof(struct irq_routing_entry) * gsi_count;
}

static int check_entry(const struct hv_irq_routing_entry *e)
{
    if (e->gsi >= HV_IRQ_ROUTES_MAX || e->flags != 0)
        return -EINVAL;
    if (e->type == HV_IRQ_ROUTING_MSI)
        return 0;
    if (e->type != HV_IRQ_ROUTING_IRQCHIP || e->u.irqchip.irqchip >= HV_IRQCHIPS)
        return -EINVAL;
    return e->u.irqchip.pin < chip_pins(e->u.irqchip.irqchip) ? 0 : -EINVAL;
}

static int add_entry(struct irq_routing_table *table, const struct hv_irq_routing_entry *e)
{
    struct irq_routing_entry *gsi = &table->map[e->gsi];
    // One gsi may lead to a pin of each chip, or to one MSI.
    for (u32 i = 0; i < gsi->count; i++) {
        const struct irq_route *other = &gsi->routes[i];
        if (other->type != HV_IRQ_ROUTING_IRQCHIP || e->type != HV_IRQ_ROUTING_IRQCHIP ||
            other->chip.irqchip == e->u.irqchip.irqchip)
            return -EINVAL;
    }
    if (gsi->count == IRQ_ROUTES_PER_GSI)
        return -EINVAL;
    struct irq_route *route = &gsi->routes[gsi->count++];
    route->gsi = e->gsi;
    route->type = e->type;
    if (e->type == HV_IRQ_ROUTING_MSI) {
        route->msi.address = (u64)e->u.msi.address_hi << 32 | e->u.msi.address_lo;
        route->msi.data = e->u.msi.data;
    } else {
        route->chip.irqchip = e->u.irqchip.irqchip;
        route->chip.pin = e->u.irqchip.pin;
        table->chip_pin_gsi[route->chip.irqchip][route->chip.pin] = e->gsi;
    }
    return 0;
}

static struct irq_routing_table *alloc_table(struct vm *vm, u32 gsi_count)
{
    struct irq_routing_table *table = kzalloc(vm->host, table_bytes(gsi_count));
    if (table == NULL)
        return NULL;
    table->gsi_count = gsi_count;
    table->bytes = table_bytes(gsi_count);
    memset(table->chip_pin_gsi, 0xff, sizeof(table->chip_pin_gsi));
    return table;
}

int irq_routing_init(struct vm *vm)
{
    vm->irq_routing = alloc_table(vm, 0);
    return vm->irq_routing == NULL ? -ENOMEM : 0;
}

void irq_routing_destroy(struct vm *vm)
{
    if (vm->irq_routing != NULL)
        kfree(vm->host, vm->irq_routing, vm->irq_routing->bytes);
    vm->irq_routing = NULL;
}

int set_gsi_routing(struct vm *vm, const struct hv_irq_routing_entry *entries, u32 count)
{
    u32 gsi_count = 0;
    for (u32 i = 0; i < count; i++) {
        if (check_entry(&entries[i]) != 0)
            return -EINVAL;
        gsi_count = entries[i].gsi + 1 > gsi_count ? entries[i].gsi + 1 : gsi_count;
    }
    struct irq_routing_table *table = alloc_table(vm, gsi_count);
    if (table == NULL)
        return -ENOMEM;
    int result = 0;
    for (u32 i = 0; i < count && result == 0; i++)
        result = add_entry(table, &entries[i]);
    if (result != 0) {
        kfree(vm->host, table, table->bytes);
        return result;
    }
    mutex_lock(&vm->irq_lock);
    struct irq_routing_table *old = vm->irq_routing;
    srcu_assign_pointer(vm->irq_routing, table);
    arch_irq_routing_update(vm);
    mutex_unlock(&vm->irq_lock);
    synchronize_srcu(&vm->irq_srcu);
    kfree(vm->host, old, old->bytes);
    return 0;
}

int set_default_routing(struct vm *vm)
{
    u64 bytes = sizeof(struct hv_irq_routing_entry) * DEFAULT_ROUTES_MAX;
    struct hv_irq_routing_entry *entries = kzalloc(vm->host, bytes);
    if (entries == NULL)
        return -ENOMEM;
    int result = set_gsi_routing(vm, entries, arch_default_routes(vm, entries, DEFAULT_ROUTES_MAX));
    kfree(vm->host, entries, bytes);
    return result;
}

static int drive_route(struct vm *vm, unsigned source_id, const struct irq_route *route, u32 level)
{
    if (route->type == HV_IRQ_ROUTING_IRQCHIP)
        return arch_irqchip_set(vm, source_id, route->chip.irqchip, route->chip.pin, level);
    // A message has no level to take back.
    return level != 0 ? arch_set_msi(vm, route->msi.address, route->msi.data) : -1;
}

int set_irq(struct vm *vm, unsigned source_id, u32 gsi, u32 level)
{
    struct irq_routing_entry entry = {0};
    if (level > 1)
        return -EINVAL;
    hw_trace_span_begin(SPAN_IRQ_ROUTE);
    hw_trace(TP_KVM_SET_IRQ, gsi, level, source_id, 0, 0, 0);
    // The routes are copied: chips are driven outside the section, where they may take their time.
    u32 index = srcu_read_lock(&vm->irq_srcu);
    const struct irq_routing_table *table = srcu_dereference(vm->irq_routing);
    if (gsi < table->gsi_count) {
        const struct irq_routing_entry *from = &table->map[gsi];
        entry.count = from->count;
        for (u32 i = 0; i < from->count; i++)
            entry.routes[i] = from->routes[i];
    }
    srcu_read_unlock(&vm->irq_srcu, index);
    int result = entry.count == 0 ? -EINVAL : -1;
    for (u32 i = 0; i < entry.count; i++) {
        int r = drive_route(vm, source_id, &entry.routes[i], level);
        if (r >= 0)
            result = r + (result < 0 ? 0 : result);
    }
    hw_trace_span_end(SPAN_IRQ_ROUTE);
    return result;
}

int send_userspace_msi(struct vm *vm, const struct hv_msi *msi)
{
    if (!load_acquire(&vm->irqchip_in_kernel) || msi->flags != 0)
        return -EINVAL;
    return arch_set_msi(vm, (u64)msi->address_hi << 32 | msi->address_lo, msi->data);
}

// The gsi that leads to this pin, or UINT32_MAX. Inside vm->irq_srcu.
static u32 gsi_of_pin(struct vm *vm, unsigned irqchip, unsigned pin)
{
    return srcu_dereference(vm->irq_routing)->chip_pin_gsi[irqchip][pin];
}

// Lists that readers walk without a lock: next pointers are published, and a removed node's stays valid until
// its readers left.
#define for_each_notifier(n, vm)                                                                             \
    for (struct irq_ack_notifier *n =                                                                        \
             list_entry(srcu_dereference((vm)->irq_ack_notifiers.next), struct irq_ack_notifier, node);      \
         &n->node != &(vm)->irq_ack_notifiers;                                                               \
         n = list_entry(srcu_dereference(n->node.next), struct irq_ack_notifier, node))

void notify_acked_irq(struct vm *vm, unsigned irqchip, unsigned pin)
{
    hw_trace(TP_KVM_ACK_IRQ, irqchip, pin, 0, 0, 0, 0);
    u32 index = srcu_read_lock(&vm->irq_srcu);
    u32 gsi = gsi_of_pin(vm, irqchip, pin);
    if (gsi != UINT32_MAX) {
        for_each_notifier(n, vm)
        {
            if (n->gsi == gsi)
                n->acked(n);
        }
    }
    srcu_read_unlock(&vm->irq_srcu, index);
}

bool irq_has_notifier(struct vm *vm, unsigned irqchip, unsigned pin)
{
    bool found = false;
    u32 index = srcu_read_lock(&vm->irq_srcu);
    u32 gsi = gsi_of_pin(vm, irqchip, pin);
    if (gsi != UINT32_MAX) {
        for_each_notifier(n, vm) found |= n->gsi == gsi;
    }
    srcu_read_unlock(&vm->irq_srcu, index);
    return found;
}

void register_irq_ack_notifier(struct vm *vm, struct irq_ack_notifier *n)
{
    struct list *head = &vm->irq_ack_notifiers;
    mutex_lock(&vm->irq_lock);
    n->node.next = head->next;
    n->node.prev = head;
    head->next->prev = &n->node;
    store_release(&head->next, &n->node);
    arch_irq_routing_update(vm);
    mutex_unlock(&vm->irq_lock);
}

void unregister_irq_ack_notifier(struct vm *vm, struct irq_ack_notifier *n)
{
    mutex_lock(&vm->irq_lock);
    n->node.next->prev = n->node.prev;
    store_release(&n->node.prev->next, n->node.next);
    mutex_unlock(&vm->irq_lock);
    synchronize_srcu(&vm->irq_srcu);
    arch_irq_routing_update(vm);
}
