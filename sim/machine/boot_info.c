// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/boot_info.h"
#include <string.h>

enum { FIRST_HPA = 0x1000 }; // Page 0 stays empty, so that a null host address hits nothing.

// A bump allocator over the reserved pages of the arena.
struct place {
    uint64_t next_hpa;
};

static void *place(struct place *p, uint64_t bytes)
{
    uint64_t hpa = (p->next_hpa + 63) & ~63ull;

    if (bytes > BOOT_RESERVED_BYTES - hpa)
        return NULL;
    p->next_hpa = hpa + bytes;
    return (void *)(uintptr_t)(HW_ARENA_BASE + hpa);
}

static uint64_t config_bytes(const struct scenario *s)
{
    uint64_t bytes = sizeof(struct vmm_config) + s->vm_count * sizeof(struct vmm_vm_config) +
                     s->action_count * sizeof(struct vmm_action);

    for (uint32_t i = 0; i < s->vm_count; i++)
        bytes += s->vms[i].vcpu_count * sizeof(struct vmm_vcpu_config) +
                 s->vms[i].device_count * sizeof(struct vmm_device_config) +
                 s->vms[i].slot_count * sizeof(struct vmm_slot_config);
    return bytes;
}

// Appends `bytes` from `from` to the block; returns their offset.
static uint64_t append(char *block, uint64_t *at, const void *from, uint64_t bytes)
{
    uint64_t offset = *at;

    if (bytes)
        memcpy(block + offset, from, bytes);
    *at += bytes;
    return offset;
}

static void write_vm(char *block, uint64_t *at, const struct scenario_vm *vm, uint32_t index,
                     const struct stream_set *streams, struct vmm_vm_config *to)
{
    *to = (struct vmm_vm_config){.memory_bytes = vm->memory_bytes,
                                 .page_shift = vm->page_shift,
                                 .flags = vm->flags,
                                 .paging_levels = vm->paging_levels,
                                 .guest_page_shift = vm->guest_page_shift,
                                 .vcpu_count = vm->vcpu_count,
                                 .device_count = vm->device_count,
                                 .slot_count = vm->slot_count,
                                 .vmm_pcpu = vm->pcpu};
    memcpy(to->name, vm->name, strlen(vm->name)); // The loader keeps it below VMM_NAME_BYTES.
    to->vcpus_offset = *at;
    for (uint32_t v = 0; v < vm->vcpu_count; v++) {
        const struct vmm_vcpu_config vcpu = {.pcpu = vm->vcpus[v].pcpu,
                                             .mode = VMM_MODE_LONG,
                                             .rip = streams[v].programs[0].initial_rip,
                                             .idtr_base = replay_idtr_base(index, v, 0),
                                             .cr3 = 0x1000,
                                             .apic_id = v};

        append(block, at, &vcpu, sizeof vcpu);
    }
    to->devices_offset = append(block, at, vm->devices, vm->device_count * sizeof *vm->devices);
    to->slots_offset = append(block, at, vm->slots, vm->slot_count * sizeof *vm->slots);
}

static void write_config(struct vmm_config *config, uint64_t bytes, const struct scenario *s,
                         const struct stream_set *streams)
{
    char *block = (char *)config;
    uint64_t at = sizeof *config;

    *config = (struct vmm_config){.magic = VMM_CONFIG_MAGIC,
                                  .version = VMM_CONFIG_VERSION,
                                  .bytes = (uint32_t)bytes,
                                  .vm_count = s->vm_count,
                                  .action_count = s->action_count,
                                  .vms_offset = at};
    struct vmm_vm_config *vms = (struct vmm_vm_config *)(void *)(block + at);

    at += s->vm_count * sizeof *vms;
    config->actions_offset = append(block, &at, s->actions, s->action_count * sizeof *s->actions);
    for (uint32_t i = 0; i < s->vm_count; i++) {
        write_vm(block, &at, &s->vms[i], i, streams, &vms[i]);
        streams += s->vms[i].vcpu_count;
    }
}

const struct hw_bootinfo *boot_info_write(const struct scenario *s, const struct knobs *knobs,
                                          uint64_t tsc_khz, const struct stream_set *streams,
                                          struct user_error *e)
{
    struct place p = {.next_hpa = FIRST_HPA};
    uint64_t bytes = config_bytes(s);
    struct hw_bootinfo *info = place(&p, sizeof *info);
    struct knobs *values = place(&p, sizeof *values);
    struct vmm_config *config = place(&p, bytes);

    if (!info || !values || !config) {
        user_error_at(e, s->path, 0, "vmm",
                      "the scenario's actions and devices need more than %llu MiB of boot memory",
                      BOOT_RESERVED_BYTES >> 20);
        return NULL;
    }
    *values = *knobs;
    write_config(config, bytes, s, streams);
    *info = (struct hw_bootinfo){.direct_map_base = HW_ARENA_BASE,
                                 .tsc_khz = tsc_khz,
                                 .cpu_count = s->cpus,
                                 .range_count = 1,
                                 .ranges = {{BOOT_RESERVED_BYTES, s->memory_bytes - BOOT_RESERVED_BYTES}},
                                 .knobs = (uint64_t)(uintptr_t)values,
                                 .knobs_bytes = sizeof *values,
                                 .vmm_config = (uint64_t)(uintptr_t)config,
                                 .vmm_config_bytes = bytes};
    return info;
}
