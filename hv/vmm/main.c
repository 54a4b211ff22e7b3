// SPDX-License-Identifier: Apache-2.0
// Entry of the VMM: builds the VMs, starts the vCPUs, carries out the timed actions.
#include "hv/hw/trace.h"
#include "hv/vmm/ioapic.h"
#include "hv/vmm/migration.h"
#include "hv/vmm/pc.h"
#include "hv/vmm/vmm.h"

void vmm_check(bool ok, const char *what)
{
    if (!ok)
        hw_panic(what, "hv/vmm", 0);
}

void vmm_require(s64 result, const char *what)
{
    if (result < 0)
        hw_panic(what, "hv/vmm, errno", (u32)-result);
}

void *vmm_alloc(struct vmm *vmm, u64 bytes)
{
    u64 at = (vmm->heap_used + 63) & ~63ull;

    vmm_check(at + bytes <= vmm->heap_bytes, "the VMM's heap is used up");
    vmm->heap_used = at + bytes;
    return vmm->heap + at;
}

static u64 heap_bytes(const struct vmm_config *config)
{
    const struct vmm_vm_config *vms = vmm_config_at(config, config->vms_offset);
    u64 bytes = sizeof(struct vmm) + 64 + config->vm_count * (sizeof(struct vmm_vm) + 64) + (64u << 10);

    for (u32 i = 0; i < config->vm_count; i++)
        bytes += (u64)vms[i].vcpu_count * (sizeof(struct vmm_vcpu) + 64) +
                 (u64)vms[i].device_count * (sizeof(struct vmm_device) + 64) + vmm_ioapic_heap_bytes() + 256 +
                 (vms[i].flags & VMM_VM_PC ? vmm_pc_heap_bytes() : 0) +
                 (config->host_count > 1 ? migration_heap_bytes(&vms[i]) : 0);
    return (bytes + 4095) & ~4095ull;
}

static struct vmm *create(const struct vmm_config *config)
{
    u64 bytes = heap_bytes(config);
    s64 heap = hv_mmap(bytes, 12, HV_MAP_DIRECT);

    vmm_check(heap > 0, "no memory for the VMM");
    struct vmm *vmm = (struct vmm *)heap;

    vmm->config = config;
    vmm->heap = (u8 *)heap;
    vmm->heap_bytes = bytes;
    vmm->heap_used = sizeof *vmm;
    vmm->vms = vmm_alloc(vmm, config->vm_count * sizeof *vmm->vms);
    return vmm;
}

static u32 cpu_of(u32 pcpu)
{
    return pcpu == VMM_CPU_ANY ? HV_CPU_ANY : pcpu;
}

static void start_vcpus(struct vmm *vmm)
{
    for (u32 i = 0; i < vmm->config->vm_count; i++)
        if (!(vmm->vms[i].config->flags & VMM_VM_INCOMING))
            vmm->vcpus_left += vmm->vms[i].config->vcpu_count;
    for (u32 i = 0; i < vmm->config->vm_count; i++) {
        struct vmm_vm *vm = &vmm->vms[i];
        const struct vmm_vcpu_config *c = vmm_config_at(vmm->config, vm->config->vcpus_offset);

        if (vm->ioapic)
            vmm_check(vmm_ioapic_start(vm->ioapic, cpu_of(vm->config->vmm_pcpu)) >= 0,
                      "the I/O APIC's timer could not be started");
        if (vm->pc)
            vmm_pc_start(vm, cpu_of(vm->config->vmm_pcpu));
        for (u32 v = 0; v < vm->config->vcpu_count; v++) {
            if (vm->config->flags & VMM_VM_INCOMING)
                vm->vcpus[v].paused = VMM_PAUSED_ELSEWHERE;
            vm->vcpus[v].thread =
                hv_thread_create(vmm_vcpu_thread, &vm->vcpus[v], cpu_of(c[v].pcpu), HV_PRIO_NORMAL);
            vmm_check(vm->vcpus[v].thread >= 0, "a vCPU's thread could not be created");
        }
    }
}

void vmm_main(void *arg)
{
    const struct vmm_config *config = arg;

    vmm_check(config->magic == VMM_CONFIG_MAGIC && config->version == VMM_CONFIG_VERSION,
              "the VMM's configuration is of another version");
    struct vmm *vmm = create(config);

    for (u32 i = 0; i < config->vm_count; i++)
        vmm_vm_setup(vmm, i);
    u64 start_ns = hv_clock_ns();

    start_vcpus(vmm);
    if (config->host_count > 1)
        migration_start_threads(vmm);
    const struct vmm_action *actions = vmm_config_at(config, config->actions_offset);

    for (u32 i = 0; i < config->action_count; i++) {
        hv_sleep_until(start_ns + actions[i].at_ns);
        vmm_do(vmm, &actions[i]);
    }
    hv_exit();
}
