// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/boot_info.h"
#include <string.h>

enum { FIRST_HPA = 0x1000 }; // Page 0 stays empty, so that a null host address hits nothing.

// A bump allocator over the reserved pages of a host's arena.
struct place {
    uint64_t base, next_hpa;
};

static void *place(struct place *p, uint64_t bytes)
{
    uint64_t hpa = (p->next_hpa + 63) & ~63ull;

    if (bytes > BOOT_RESERVED_BYTES - hpa)
        return NULL;
    p->next_hpa = hpa + bytes;
    return (void *)(uintptr_t)(p->base + hpa);
}

// A VM has a place on its own host, and on every host that it is to be migrated to.
static bool is_on(const struct boot_host *h, uint32_t vm)
{
    const struct scenario *s = h->scenario;
    bool on = s->vms[vm].host == h->host;

    for (uint32_t i = 0; i < s->action_count; i++)
        on |= s->actions[i].op == VMM_MIGRATE && s->actions[i].vm == vm;
    return on;
}

// Pinning is to a CPU that this host may not have.
static uint32_t local_cpu(const struct boot_host *h, uint32_t pcpu)
{
    return pcpu < h->scenario->hosts[h->host].cpus ? pcpu : VMM_CPU_ANY;
}

static uint64_t config_bytes(const struct boot_host *h)
{
    const struct scenario *s = h->scenario;
    uint64_t bytes = sizeof(struct vmm_config) + s->action_count * sizeof(struct vmm_action);

    for (uint32_t i = 0; i < s->vm_count; i++)
        if (is_on(h, i))
            bytes += sizeof(struct vmm_vm_config) + s->vms[i].vcpu_count * sizeof(struct vmm_vcpu_config) +
                     s->vms[i].device_count * sizeof(struct vmm_device_config) +
                     s->vms[i].slot_count * sizeof(struct vmm_slot_config) +
                     images_config_bytes(h->images, i);
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

static struct vmm_vcpu_config vcpu_config(const struct boot_host *h, uint32_t index, uint32_t v)
{
    const struct scenario_vm *vm = &h->scenario->vms[index];
    const struct stream_set *streams = h->streams;
    struct vmm_vcpu_config vcpu = {
        .pcpu = local_cpu(h, vm->vcpus[v].pcpu), .apic_id = v, .wait_for_sipi = vm->program && v > 0};

    if (vm->program) // Registers are the program's.
        return vcpu;
    for (uint32_t i = 0; i < index; i++)
        streams += h->scenario->vms[i].vcpu_count;
    vcpu.mode = VMM_MODE_LONG;
    vcpu.rip = streams[v].programs[0].initial_rip;
    vcpu.idtr_base = replay_idtr_base(index, v, 0);
    vcpu.cr3 = 0x1000;
    return vcpu;
}

// 64-bit code begins with paging on: the VMM makes the tables.
static void set_program(const struct boot_host *h, uint32_t index, char *block, uint64_t *at,
                        struct vmm_vm_config *to, uint64_t *image_at)
{
    if (!h->scenario->vms[index].program)
        return;
    to->program_offset = *at;
    images_write(h->images, index, block + *at, *at, image_at);
    *at += images_config_bytes(h->images, index);
    if (h->images->vms[index].plan.mode != VMM_MODE_LONG)
        return;
    to->paging_levels = 4;
    to->guest_page_shift = 21;
}

static void write_vm(char *block, uint64_t *at, const struct boot_host *h, uint32_t index,
                     struct vmm_vm_config *to, uint64_t *image_at)
{
    const struct scenario_vm *vm = &h->scenario->vms[index];

    *to = (struct vmm_vm_config){.memory_bytes = vm->memory_bytes,
                                 .page_shift = vm->page_shift,
                                 .flags = vm->flags | (vm->host == h->host ? 0 : VMM_VM_INCOMING),
                                 .number = index,
                                 .disabled_exits = vm->disabled_exits,
                                 .paging_levels = vm->paging_levels,
                                 .guest_page_shift = vm->guest_page_shift,
                                 .vcpu_count = vm->vcpu_count,
                                 .device_count = vm->device_count,
                                 .slot_count = vm->slot_count,
                                 .vmm_pcpu = local_cpu(h, vm->pcpu)};
    memcpy(to->name, vm->name, strlen(vm->name)); // The loader keeps it below VMM_NAME_BYTES.
    to->vcpus_offset = *at;
    for (uint32_t v = 0; v < vm->vcpu_count; v++) {
        const struct vmm_vcpu_config vcpu = vcpu_config(h, index, v);

        append(block, at, &vcpu, sizeof vcpu);
    }
    to->devices_offset = append(block, at, vm->devices, vm->device_count * sizeof *vm->devices);
    to->slots_offset = append(block, at, vm->slots, vm->slot_count * sizeof *vm->slots);
    set_program(h, index, block, at, to, image_at);
}

// The actions of the VMs that start here; they name VMs by their place in this configuration.
static void write_actions(char *block, uint64_t *at, const struct boot_host *h, struct vmm_config *config)
{
    const struct scenario *s = h->scenario;

    config->actions_offset = *at;
    for (uint32_t i = 0; i < s->action_count; i++) {
        struct vmm_action action = s->actions[i];

        if (s->vms[action.vm].host != h->host)
            continue;
        action.vm = 0;
        for (uint32_t vm = 0; vm < s->actions[i].vm; vm++)
            action.vm += is_on(h, vm);
        append(block, at, &action, sizeof action);
        config->action_count++;
    }
}

static void write_config(struct vmm_config *config, uint64_t bytes, const struct boot_host *h,
                         uint64_t image_at)
{
    const struct scenario *s = h->scenario;
    char *block = (char *)config;
    uint64_t at = sizeof *config;
    uint32_t place = 0;

    *config = (struct vmm_config){.magic = VMM_CONFIG_MAGIC,
                                  .version = VMM_CONFIG_VERSION,
                                  .bytes = (uint32_t)bytes,
                                  .host = h->host,
                                  .host_count = s->host_count,
                                  .vms_offset = at};
    for (uint32_t i = 0; i < s->vm_count; i++)
        config->vm_count += is_on(h, i);
    struct vmm_vm_config *vms = (struct vmm_vm_config *)(void *)(block + at);

    at += config->vm_count * sizeof *vms;
    write_actions(block, &at, h, config);
    for (uint32_t i = 0; i < s->vm_count; i++)
        if (is_on(h, i))
            write_vm(block, &at, h, i, &vms[place++], &image_at);
}

// The VMs' memory and the host's own do, or the scenario would not have been loaded.
static bool images_fit(const struct boot_host *h, uint64_t images, struct user_error *e)
{
    const struct scenario *s = h->scenario;
    uint64_t bytes = SCENARIO_HOST_OWN_BYTES + images;

    for (uint32_t i = 0; i < s->vm_count; i++)
        bytes += is_on(h, i) ? s->vms[i].memory_bytes : 0;
    if (images == 0 || bytes <= s->hosts[h->host].memory_bytes)
        return true;
    user_error_at(
        e, s->path, 0, "machine.memory",
        "the images of the VMs need %llu MiB beside their guests' memory and the host's own, %llu MiB in "
        "all; raise it",
        (unsigned long long)(images >> 20) + 1, (unsigned long long)(bytes >> 20) + 1);
    return false;
}

const struct hw_bootinfo *boot_info_write(const struct boot_host *h, const struct knobs *knobs,
                                          uint64_t tsc_khz, struct user_error *e)
{
    const struct scenario_host *host = &h->scenario->hosts[h->host];
    struct place p = {.base = HW_ARENA_BASE + h->host * HW_ARENA_STRIDE, .next_hpa = FIRST_HPA};
    uint64_t bytes = config_bytes(h);
    struct hw_bootinfo *info = place(&p, sizeof *info);
    struct knobs *values = place(&p, sizeof *values);
    struct vmm_config *config = place(&p, bytes);
    uint64_t images = images_bytes(h->images);

    if (!info || !values || !config) {
        user_error_at(e, h->scenario->path, 0, "vmm",
                      "the scenario's actions and devices need more than %llu MiB of boot memory",
                      BOOT_RESERVED_BYTES >> 20);
        return NULL;
    }
    if (!images_fit(h, images, e))
        return NULL;
    *values = *knobs;
    for (uint32_t i = 0; i < host->knob_count; i++)
        values->v[host->knobs[i].knob] = host->knobs[i].value;
    write_config(config, bytes, h, p.base + host->memory_bytes - images);
    *info = (struct hw_bootinfo){
        .direct_map_base = p.base,
        .tsc_khz = tsc_khz,
        .cpu_count = host->cpus,
        .range_count = 1,
        .devices = h->scenario->host_count > 1 ? HW_BOOT_LINK : 0,
        .ranges = {{BOOT_RESERVED_BYTES, host->memory_bytes - BOOT_RESERVED_BYTES - images}},
        .knobs = (uint64_t)(uintptr_t)values,
        .knobs_bytes = sizeof *values,
        .vmm_config = (uint64_t)(uintptr_t)config,
        .vmm_config_bytes = bytes};
    return info;
}
