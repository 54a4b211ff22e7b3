// SPDX-License-Identifier: Apache-2.0
// Devices of a scenario: a range of ports or memory that answers a value and may hold an interrupt line.
#include "hv/vmm/vmm.h"

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

static void lower_line(struct vmm_vm *vm, u32 gsi)
{
    struct hv_irq_level level = {.irq = gsi, .level = 0};

    hv_ioctl_ptr(vm->handle, HV_IRQ_LINE, &level);
}

static void access(struct vmm_vm *vm, u32 kind, u64 address, bool write, u8 *data, u32 size)
{
    struct vmm_device *d = find(vm, kind, address);
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
        lower_line(vm, d->config->gsi);
}

void vmm_port_io(struct vmm_vm *vm, u16 port, bool write, u8 *data, u32 size)
{
    access(vm, VMM_DEVICE_PORT, port, write, data, size);
}

void vmm_mmio(struct vmm_vm *vm, u64 gpa, bool write, u8 *data, u32 size)
{
    access(vm, VMM_DEVICE_MMIO, gpa, write, data, size);
}
