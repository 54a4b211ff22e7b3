// SPDX-License-Identifier: Apache-2.0
// The interrupt controllers of a VM as a whole: creation, GSI routes, MSI, accesses, EOI-exit bitmaps.
#include "hv/lib/bitmap.h"
#include "hv/lib/string.h"
#include "hv/x86/apicv.h"
#include "hv/x86/ioapic.h"
#include "hv/x86/irqchip_state.h"
#include "hv/x86/lapic_state.h"
#include "hv/x86/pic.h"
#include "hv/x86/pit.h"

_Static_assert(sizeof(struct hv_ioapic_state) <= sizeof(((struct hv_irqchip *)0)->state), "fits the API");

// --- Life.

static int create_map(struct vm *vm)
{
    struct apic_map *map = kzalloc(vm->host, sizeof *map);

    if (map == NULL)
        return -ENOMEM;
    spin_lock_init(&map->lock, LOCK_RANK_LAPIC);
    to_x86_vm(vm)->apic_map = map;
    return 0;
}

int arch_create_irqchip(struct vm *vm)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->irqchip_mode != IRQCHIP_NONE)
        return -EEXIST;
    if (vm->created_vcpus != 0)
        return -EINVAL;
    if (create_map(vm) < 0 || pic_create(vm) < 0 || ioapic_create(vm) < 0) {
        irqchip_destroy(vm);
        return -ENOMEM;
    }
    store_release(&x->irqchip_mode, IRQCHIP_KERNEL);
    return 0;
}

int irqchip_create_split(struct vm *vm, u64 pins)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (pins > HV_IRQ_ROUTES_MAX)
        return -EINVAL;
    if (x->irqchip_mode != IRQCHIP_NONE)
        return -EEXIST;
    if (vm->created_vcpus != 0)
        return -EINVAL;
    if (create_map(vm) < 0)
        return -ENOMEM;
    x->split_reserved_pins = (u32)pins;
    store_release(&x->irqchip_mode, IRQCHIP_SPLIT);
    store_release(&vm->irqchip_in_kernel, true); // Its local APICs take messages and lines with a route.
    return 0;
}

void irqchip_destroy(struct vm *vm)
{
    struct x86_vm *x = to_x86_vm(vm);

    pit_destroy(vm);
    ioapic_destroy(vm);
    pic_destroy(vm);
    if (x->apic_map != NULL)
        kfree(vm->host, x->apic_map, sizeof *x->apic_map);
    x->apic_map = NULL;
}

int irqchip_create_pit(struct vm *vm, const struct hv_pit_config *config)
{
    if (to_x86_vm(vm)->irqchip_mode != IRQCHIP_KERNEL)
        return -ENXIO;
    if (config->flags & ~HV_PIT_SPEAKER_PORT)
        return -EINVAL;
    mutex_lock(&vm->lock);
    int result = pit_create(vm, config->flags);

    mutex_unlock(&vm->lock);
    return result;
}

int irqchip_get_state(struct vm *vm, struct hv_irqchip *chip)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->irqchip_mode != IRQCHIP_KERNEL)
        return -ENXIO;
    if (chip->chip_id >= HV_IRQCHIPS)
        return -EINVAL;
    memset(chip->state, 0, sizeof chip->state);
    if (chip->chip_id == 2)
        ioapic_get_state(x->ioapic, chip->state);
    else
        pic_get_state(x->pic, chip->chip_id, chip->state);
    return 0;
}

int irqchip_set_state(struct vm *vm, const struct hv_irqchip *chip)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->irqchip_mode != IRQCHIP_KERNEL)
        return -ENXIO;
    if (chip->chip_id >= HV_IRQCHIPS)
        return -EINVAL;
    if (chip->chip_id == 2)
        return ioapic_set_state(x->ioapic, chip->state);
    pic_set_state(x->pic, chip->chip_id, chip->state);
    return 0;
}

// --- Routes.

int arch_irqchip_set(struct vm *vm, unsigned source_id, unsigned irqchip, unsigned pin, unsigned level)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (load_acquire(&x->irqchip_mode) != IRQCHIP_KERNEL)
        return -1;
    if (irqchip == 2)
        return ioapic_set_irq(x->ioapic, pin, source_id, level);
    return pic_set_irq(x->pic, irqchip, pin, source_id, level);
}

int arch_set_msi(struct vm *vm, u64 address, u32 data)
{
    struct apic_interrupt irq;

    if (load_acquire(&to_x86_vm(vm)->irqchip_mode) == IRQCHIP_NONE)
        return -EINVAL;
    hw_trace(TP_KVM_MSI_SET_IRQ, address, data, 0, 0, 0, 0);
    apic_interrupt_from_msi(address, data, &irq);
    return apic_deliver(vm, NULL, &irq);
}

u32 arch_default_routes(struct vm *vm, struct hv_irq_routing_entry *entries, u32 max)
{
    u32 count = 0;

    if (to_x86_vm(vm)->irqchip_mode != IRQCHIP_KERNEL)
        return 0;
    for (u32 gsi = 0; gsi < IOAPIC_PINS; gsi++) {
        // The ISA wiring: IRQ 0-15 reach PIC and IOAPIC; the timer comes in at pin 2 of the IOAPIC.
        if (gsi < 16 && count < max)
            entries[count++] =
                (struct hv_irq_routing_entry){.gsi = gsi,
                                              .type = HV_IRQ_ROUTING_IRQCHIP,
                                              .u.irqchip = {.irqchip = gsi / 8, .pin = gsi & 7}};
        if (gsi == 2 || count >= max)
            continue;
        entries[count++] =
            (struct hv_irq_routing_entry){.gsi = gsi,
                                          .type = HV_IRQ_ROUTING_IRQCHIP,
                                          .u.irqchip = {.irqchip = 2, .pin = gsi == 0 ? 2 : gsi}};
    }
    return count;
}

void arch_irq_routing_update(struct vm *vm)
{
    if (irqchip_in_kernel(vm))
        make_all_cpus_request(vm, REQ_SCAN_IOAPIC);
}

// --- EOI-exit bitmap.

// Level MSIs of the routes of a user-space IOAPIC: their EOIs leave to user space.
static void scan_routes(struct vm *vm, struct x86_vcpu *v, u64 *map)
{
    u32 pins = to_x86_vm(vm)->split_reserved_pins, index = srcu_read_lock(&vm->irq_srcu);
    const struct irq_routing_table *table = srcu_dereference(vm->irq_routing);

    for (u32 gsi = 0; table != NULL && gsi < table->gsi_count && gsi < pins; gsi++)
        for (u32 i = 0; i < table->map[gsi].count; i++) {
            const struct irq_route *r = &table->map[gsi].routes[i];
            struct apic_interrupt irq;
            if (r->type != HV_IRQ_ROUTING_MSI)
                continue;
            apic_interrupt_from_msi(r->msi.address, r->msi.data, &irq);
            if (irq.level &&
                (lapic_matches(v->apic, &irq) || lapic_test_vector(v->apic, APIC_ISR0, irq.vector)))
                bitmap_set(map, irq.vector);
        }
    srcu_read_unlock(&vm->irq_srcu, index);
}

void ioapic_scan(struct x86_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    u64 map[4] = {0};
    bool changed = false;

    if (v->apic == NULL)
        return;
    if (v->apicv_active)
        apicv_sync_pir_to_irr(v);
    if (to_x86_vm(vm)->irqchip_mode == IRQCHIP_SPLIT)
        scan_routes(vm, v, map);
    else
        ioapic_scan_into(to_x86_vm(vm)->ioapic, v, map);
    for (u32 i = 0; i < 4; i++) {
        changed |= v->eoi_exit_bitmap[i] != map[i];
        v->eoi_exit_bitmap[i] = map[i];
    }
    if (changed)
        apicv_load_eoi_exitmap(v);
}

// --- Accesses by the guest.

bool irqchip_mmio(struct x86_vcpu *v, u64 gpa, bool write, void *data, unsigned len)
{
    struct x86_vm *x = x86_vm_of(v);

    if (lapic_mmio(v, gpa, write, data, len))
        return true;
    return x->ioapic != NULL && ioapic_mmio(x->ioapic, gpa, write, data, len);
}

bool irqchip_pio(struct x86_vcpu *v, u16 port, bool write, void *data, unsigned size)
{
    struct x86_vm *x = x86_vm_of(v);

    if (x->pic != NULL && pic_pio(x->pic, port, write, data, size))
        return true;
    struct pit *pit = load_acquire(&x->pit);

    return pit != NULL && pit_pio(pit, port, write, data, size);
}
