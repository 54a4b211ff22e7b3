// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/assigned.h"
#include "hv/core/vm.h"
#include "hv/hw/assigned.h"
#include "hv/x86/lapic.h"

// VMs count by creation; ids are given in that order.
static struct vm *find_vm(struct host *host, u32 number)
{
    list_for_each(vm, &host->vms, struct vm, node)
    {
        if (vm->id == number)
            return vm;
    }
    return NULL;
}

static void assigned_interrupt(struct cpu *cpu, unsigned vector)
{
    u32 function;

    (void)vector;
    // Messages merge in the IRR: one interrupt may stand for several entries.
    while ((function = hw_in(ASSIGNED_PORT_FUNCTION, 4)) & ASSIGNED_FUNCTION_VALID) {
        u8 guest_vector = (u8)hw_in(ASSIGNED_PORT_VECTOR, 4);
        struct vm *vm = find_vm(cpu->host, assigned_function_vm(function));
        struct vcpu *vcpu = vm != NULL ? vm_vcpu_by_index(vm, assigned_function_vcpu(function)) : NULL;

        if (vcpu != NULL && to_x86(vcpu)->apic != NULL)
            lapic_post_vector(to_x86(vcpu), guest_vector);
        else
            hw_trace(TP_NOT_MODELLED, vector, function, guest_vector, 0, 0, 0);
    }
}

int assigned_init(struct host *host)
{
    return register_vector(host, ASSIGNED_VECTOR, assigned_interrupt);
}
