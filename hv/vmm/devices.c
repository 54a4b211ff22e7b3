// SPDX-License-Identifier: Apache-2.0
// Devices of a scenario: a range of ports or memory that answers a value and may hold an interrupt line.
#include "hv/vmm/ioapic.h"
#include "hv/vmm/pc.h"
#include "hv/vmm/vmm.h"
#include "spec/apic_bits.h"

static struct vmm_device *find(struct vmm_vm *vm, u32 kind, u64 address)
{
    for (u32 i = 0; i < vm->config->device_count; i++) {
        const struct vmm_device_config *c = vm->devices[i].config;

        if (c->kind == kind && address - c->base < c->size)
            return &vm->devices[i];
    }
    return NULL;
}

// The device's own work: a loop of one cycle a turn on a core that predicts it.
static void work(u64 cycles)
{
    for (u64 i = 0; i < cycles; i++)
        __asm__ volatile("");
}

s64 vmm_irq_line(struct vmm_vm *vm, u32 gsi, u32 level)
{
    struct hv_irq_level line = {.irq = gsi, .level = level};

    if (vm->ioapic && gsi < IOAPIC_PINS)
        return vmm_ioapic_set_line(vm->ioapic, gsi, level);
    return hv_ioctl_ptr(vm->handle, HV_IRQ_LINE, &line);
}

static void access_device(struct vmm_vm *vm, struct vmm_device *d, bool write, u8 *data, u32 size)
{
    u64 value = d ? d->config->value : ~0ull; // Nobody there: all ones.

    if (d)
        work(d->config->work_cycles);
    if (!write) {
        for (u32 i = 0; i < size; i++)
            data[i] = (u8)(value >> (8 * i));
        if (d)
            d->reads++;
        return;
    }
    if (!d)
        return;
    d->writes++;
    d->last = 0;
    for (u32 i = 0; i < size; i++)
        d->last |= (u64)data[i] << (8 * i);
    if (d->config->gsi != UINT32_MAX && d->last == d->config->ack_value)
        vmm_irq_line(vm, d->config->gsi, 0);
}

static void access(struct vmm_vm *vm, u32 kind, u64 address, bool write, u8 *data, u32 size)
{
    struct vmm_device *d = find(vm, kind, address);
    bool lock = d && d->config->big_lock;

    if (!d && kind == VMM_DEVICE_PORT && vmm_balloon_port(vm, (u16)address, write, data, size))
        return;
    if (!d && vm->pc && vmm_pc_access(vm, kind, address, write, data, size))
        return;
    if (lock)
        vmm_big_lock(vm->vmm);
    access_device(vm, d, write, data, size);
    if (lock)
        vmm_big_unlock(vm->vmm);
}

void vmm_port_io(struct vmm_vm *vm, u16 port, bool write, u8 *data, u32 size)
{
    access(vm, VMM_DEVICE_PORT, port, write, data, size);
}

void vmm_mmio(struct vmm_vm *vm, u64 gpa, bool write, u8 *data, u32 size)
{
    if (vm->ioapic && vmm_ioapic_mmio(vm->ioapic, gpa, write, data, size))
        return;
    access(vm, VMM_DEVICE_MMIO, gpa, write, data, size);
}
