// SPDX-License-Identifier: Apache-2.0
// vms: guests, their memory, vCPUs and devices.
#include "hv/api.h"
#include "sim/scenario/load.h"
#include <stdlib.h>
#include <string.h>

enum { FIELD_BYTES = 128 };

// "vms[1]" + ".memory"
static const char *at(char *field, const char *base, const char *key)
{
    snprintf(field, FIELD_BYTES, "%.80s.%s", base, key);
    return field;
}

static int load_page(struct loader *l, const char *field, const char *text, uint32_t *shift)
{
    static const char *const words[] = {"4KiB", "2MiB", "1GiB"};
    size_t word = 0;

    if (load_word(l, field, text, words, 3, &word))
        return -1;
    if (text)
        *shift = 12 + 9 * (uint32_t)word;
    return 0;
}

const char *const scenario_disable_exits[SCENARIO_DISABLE_EXITS + 1] = {"mwait", "hlt", "pause", NULL};

static int load_disabled_exits(struct loader *l, struct scenario_vm *vm, const struct raw_vm *raw,
                               const char *base)
{
    char field[FIELD_BYTES];

    for (unsigned i = 0; i < raw->disable_exits_count; i++) {
        size_t word = 0;

        snprintf(field, sizeof field, "%.80s.disable_exits[%u]", base, i);
        if (load_word(l, field, raw->disable_exits[i], scenario_disable_exits, SCENARIO_DISABLE_EXITS, &word))
            return -1;
        vm->disabled_exits |= 1u << word;
    }
    return 0;
}

int load_pcpu(struct loader *l, const struct scenario_host *h, const char *field, const char *text,
              uint32_t *pcpu)
{
    *pcpu = VMM_CPU_ANY;
    if (text && strcmp(text, "any") != 0)
        return load_u32(l, field, text, 0, h->cpus - 1, pcpu);
    return 0;
}

static void load_stream(struct loader *l, const struct scenario *s, const char *stream, const char *field,
                        struct scenario_vcpu *to)
{
    to->stream = load_path(s, stream);
    to->line = yaml_line(&l->y, field);
}

static void load_args(struct loader *l, const struct raw_args *raw, const char *base,
                      struct scenario_vcpu *to)
{
    char field[2 * FIELD_BYTES];

    to->args = load_array(l->names.arg_count, sizeof *to->args);
    for (size_t i = 0; raw && i < l->names.arg_count; i++) {
        if (!raw->v[i])
            continue;
        snprintf(field, sizeof field, "%.80s.args.%.100s", base, l->names.args[i]);
        to->args[to->arg_count++] =
            (struct scenario_arg){load_copy(l->names.args[i]), load_copy(raw->v[i]), yaml_line(&l->y, field)};
    }
}

static int load_vcpu(struct loader *l, const struct scenario *s, const struct raw_vcpu *raw, const char *base,
                     struct scenario_vcpu *to)
{
    char field[FIELD_BYTES];

    if (!raw->stream == !raw->native)
        return load_error(l, base, "a vCPU has either `stream` (a file) or `native` (a program)");
    if (raw->stream && !*raw->stream)
        return load_error(l, at(field, base, "stream"), "expected the name of a stream file");
    if (raw->stream && raw->args)
        return load_error(l, at(field, base, "args"), "only native guests take arguments");
    if (raw->stream) {
        load_stream(l, s, raw->stream, at(field, base, "stream"), to);
        return 0;
    }
    if (!*raw->native || *raw->native == '.' || strchr(raw->native, '/'))
        return load_error(l, at(field, base, "native"), "expected the name of a program");
    to->native = load_copy(raw->native);
    to->line = yaml_line(&l->y, at(field, base, "native"));
    load_args(l, raw->args, base, to);
    return 0;
}

static int load_vcpus(struct loader *l, struct scenario *s, struct scenario_vm *vm, const struct raw_vm *raw,
                      const char *base)
{
    char list[FIELD_BYTES], field[FIELD_BYTES];

    if (raw->vcpus_count == 0)
        return load_error(l, at(field, base, "vcpus"),
                          "a VM needs at least one vCPU (- { stream: FILE.stream } or - { native: PROGRAM "
                          "}), or a `program` "
                          "with `cpus`");
    if (raw->vcpus_count > SCENARIO_VCPUS_MAX)
        return load_error(l, at(field, base, "vcpus"), "more than %u vCPUs", SCENARIO_VCPUS_MAX);
    vm->vcpus = load_array(raw->vcpus_count, sizeof *vm->vcpus);
    for (unsigned i = 0; i < raw->vcpus_count; i++) {
        struct scenario_vcpu *to = &vm->vcpus[i];

        vm->vcpu_count = i + 1;
        snprintf(list, sizeof list, "%.80s.vcpus[%u]", base, i);
        if (load_vcpu(l, s, &raw->vcpus[i], list, to))
            return -1;
        if (load_pcpu(l, &s->hosts[vm->host], at(field, list, "pcpu"), raw->vcpus[i].pcpu, &to->pcpu))
            return -1;
    }
    return 0;
}

static int load_device(struct loader *l, struct vmm_device_config *d, const struct raw_device *raw,
                       const char *base)
{
    char field[FIELD_BYTES];

    *d = (struct vmm_device_config){.gsi = UINT32_MAX, .size = raw->port ? 1 : 4096, .ack_value = UINT64_MAX};
    if (!raw->port == !raw->mmio)
        return load_error(l, base, "a device has either `port` or `mmio`");
    if (strlen(raw->name) >= VMM_NAME_BYTES)
        return load_error(l, at(field, base, "name"), "is longer than %u characters", VMM_NAME_BYTES - 1);
    snprintf(d->name, sizeof d->name, "%s", raw->name);
    d->kind = raw->port ? VMM_DEVICE_PORT : VMM_DEVICE_MMIO;
    uint64_t limit = raw->port ? 0xffff : (1ull << 46) - 1;

    if (load_number(l, at(field, base, raw->port ? "port" : "mmio"), raw->port ? raw->port : raw->mmio, 0,
                    limit, &d->base) ||
        load_number(l, at(field, base, "value"), raw->value, 0, UINT64_MAX, &d->value) ||
        load_number(l, at(field, base, "ack"), raw->ack, 0, UINT64_MAX, &d->ack_value) ||
        load_number(l, at(field, base, "work"), raw->work, 0, 1000000000, &d->work_cycles) ||
        load_flag(l, at(field, base, "big_lock"), raw->big_lock, 1, &d->big_lock) ||
        load_u32(l, at(field, base, "gsi"), raw->gsi, 0, 1023, &d->gsi))
        return -1;
    uint64_t number;

    // A range is bytes of memory or a count of ports.
    if (raw->port ? load_number(l, at(field, base, "size"), raw->size, 1, 0x10000, &d->size)
                  : load_bytes(l, at(field, base, "size"), raw->size, 1, 1ull << 40, &d->size))
        return -1;
    number = limit - d->base;
    if (d->size - 1 > number)
        return load_error(l, at(field, base, "size"), "the range ends beyond %#llx",
                          (unsigned long long)limit);
    return 0;
}

static int load_slot(struct loader *l, struct vmm_slot_config *d, const struct raw_slot *raw,
                     const char *base)
{
    char field[FIELD_BYTES];
    uint32_t page = 12;

    if (load_u32(l, at(field, base, "slot"), raw->slot, 1, 32000, &d->slot) ||
        load_number(l, at(field, base, "gpa"), raw->gpa, 0, (1ull << 46) - 1, &d->gpa) ||
        load_bytes(l, at(field, base, "size"), raw->size, 4096, SCENARIO_MEMORY_MAX, &d->size) ||
        load_page(l, at(field, base, "page"), raw->page, &page) ||
        load_flag(l, at(field, base, "readonly"), raw->readonly, HV_MEM_READONLY, &d->flags) ||
        load_flag(l, at(field, base, "log_dirty"), raw->log_dirty, HV_MEM_LOG_DIRTY_PAGES, &d->flags))
        return -1;
    d->page_shift = page;
    return 0;
}

// Where memory of a VM lies: range 0 and 1 are its own (a PC's, with a hole below 4 GiB), then the slots.
static void memory_range(const struct scenario_vm *vm, uint32_t i, uint64_t *gpa, uint64_t *size)
{
    const uint64_t hole = 3ull << 30, above = 4ull << 30;

    if (i >= 2) {
        *gpa = vm->slots[i - 2].gpa;
        *size = vm->slots[i - 2].size;
        return;
    }
    *gpa = i ? above : 0;
    *size = vm->memory_bytes > hole ? hole : vm->memory_bytes;
    if (i)
        *size = vm->memory_bytes - *size;
}

// The last slot beside the VM's memory and those before it: what the core would refuse is told here, with its
// place.
static int check_slot(struct loader *l, const struct scenario_vm *vm, const char *base)
{
    const struct vmm_slot_config *d = &vm->slots[vm->slot_count - 1];
    char field[FIELD_BYTES];

    if (d->gpa % 4096)
        return load_error(l, at(field, base, "gpa"), "is not a multiple of 4KiB");
    if (d->size % 4096)
        return load_error(l, at(field, base, "size"), "is not a multiple of 4KiB");
    if (d->gpa + d->size > 1ull << 46)
        return load_error(l, at(field, base, "size"), "the slot ends beyond 0x3fffffffffff");
    bool taken = d->slot == 1 && vm->memory_bytes > 3ull << 30;

    for (uint32_t i = 0; i < vm->slot_count + 1; i++) {
        uint64_t gpa, size;

        memory_range(vm, i, &gpa, &size);
        if (d->gpa < gpa + size && gpa < d->gpa + d->size)
            return load_error(l, at(field, base, "gpa"), "the slot overlaps memory at %#llx to %#llx",
                              (unsigned long long)gpa, (unsigned long long)(gpa + size - 1));
        taken |= i >= 2 && vm->slots[i - 2].slot == d->slot;
    }
    if (taken)
        return load_error(l, at(field, base, "slot"), "there is a slot %u already", d->slot);
    return 0;
}

static int load_parts(struct loader *l, struct scenario_vm *vm, const struct raw_vm *raw, const char *base)
{
    char part[FIELD_BYTES];

    vm->devices = load_array(raw->devices_count, sizeof *vm->devices);
    for (unsigned i = 0; i < raw->devices_count; i++) {
        snprintf(part, sizeof part, "%.80s.devices[%u]", base, i);
        if (load_device(l, &vm->devices[vm->device_count++], &raw->devices[i], part))
            return -1;
    }
    if (raw->slots_count > SCENARIO_SLOTS_MAX)
        return load_error(l, at(part, base, "slots"), "more than %u slots", SCENARIO_SLOTS_MAX);
    vm->slots = load_array(raw->slots_count, sizeof *vm->slots);
    for (unsigned i = 0; i < raw->slots_count; i++) {
        snprintf(part, sizeof part, "%.80s.slots[%u]", base, i);
        if (load_slot(l, &vm->slots[vm->slot_count++], &raw->slots[i], part) || check_slot(l, vm, part))
            return -1;
    }
    return 0;
}

static int load_prefault(struct loader *l, const char *field, const char *text, uint32_t *flags)
{
    static const char *const words[] = {"off", "on", "untimed"};
    static const uint32_t word_flags[] = {0, VMM_VM_PREFAULT, VMM_VM_PREFAULT | VMM_VM_UNTIMED};
    size_t word = 0;

    if (load_word(l, field, text, words, 3, &word))
        return -1;
    *flags |= word_flags[word];
    return 0;
}

static int load_host_of(struct loader *l, const struct scenario *s, const char *field, const char *text,
                        uint32_t *host)
{
    const char *names[SCENARIO_HOSTS_MAX];
    size_t word = 0;

    for (uint32_t i = 0; i < s->host_count; i++)
        names[i] = s->hosts[i].name;
    if (load_word(l, field, text, names, s->host_count, &word))
        return -1;
    *host = (uint32_t)word;
    return 0;
}

static int load_vm(struct loader *l, struct scenario *s, struct scenario_vm *vm, const struct raw_vm *raw,
                   const char *base)
{
    static const char *const irqchips[] = {"core", "split", "none"};
    static const uint32_t irqchip_flags[] = {VMM_VM_IRQCHIP, VMM_VM_SPLIT_IRQCHIP, 0};
    static const char *const pagings[] = {"off", "4", "5"};
    static const uint8_t levels[] = {0, 4, 5};
    char field[FIELD_BYTES];
    size_t irqchip = 0, paging = 0;

    vm->line = yaml_line(&l->y, base);
    vm->page_shift = vm->guest_page_shift = 12;
    vm->name = load_copy(raw->name);
    if (!*vm->name || strlen(vm->name) >= VMM_NAME_BYTES)
        return load_error(l, at(field, base, "name"), "expected a name of 1 to %u characters",
                          VMM_NAME_BYTES - 1);
    for (uint32_t i = 0; i + 1 < s->vm_count; i++)
        if (strcmp(s->vms[i].name, vm->name) == 0)
            return load_error(l, at(field, base, "name"), "there is a VM `%s` already", vm->name);
    if (load_host_of(l, s, at(field, base, "host"), raw->host, &vm->host))
        return -1;
    if (load_bytes(l, at(field, base, "memory"), raw->memory, 1u << 20, s->hosts[vm->host].memory_bytes,
                   &vm->memory_bytes) ||
        load_page(l, at(field, base, "page"), raw->page, &vm->page_shift) ||
        load_word(l, at(field, base, "irqchip"), raw->irqchip, irqchips, 3, &irqchip) ||
        load_word(l, at(field, base, "paging"), raw->paging, pagings, 3, &paging) ||
        load_page(l, at(field, base, "guest_page"), raw->guest_page, &vm->guest_page_shift))
        return -1;
    vm->flags = irqchip_flags[irqchip];
    vm->paging_levels = levels[paging];
    if (vm->memory_bytes & ((1ull << vm->page_shift) - 1))
        return load_error(l, at(field, base, "memory"), "%s is not a multiple of `page`, %llu KiB",
                          raw->memory, 1ull << (vm->page_shift - 10));
    if (load_prefault(l, at(field, base, "prefault"), raw->prefault, &vm->flags) ||
        load_flag(l, at(field, base, "nested"), raw->nested, VMM_VM_NESTED, &vm->flags) ||
        load_pcpu(l, &s->hosts[vm->host], at(field, base, "pcpu"), raw->pcpu, &vm->pcpu))
        return -1;
    if (load_disabled_exits(l, vm, raw, base))
        return -1;
    if (raw->cpus && !raw->program)
        return load_error(l, at(field, base, "cpus"), "is for a VM with a `program`; list `vcpus` instead");
    if (raw->program ? load_program(l, s, vm, raw, base) : load_vcpus(l, s, vm, raw, base))
        return -1;
    return load_parts(l, vm, raw, base);
}

int load_vms(struct loader *l, struct scenario *s)
{
    uint64_t totals[SCENARIO_HOSTS_MAX] = {0};
    char base[32], field[FIELD_BYTES];

    if (l->raw->vms_count > SCENARIO_VMS_MAX)
        return load_error(l, "vms", "more than %u VMs", SCENARIO_VMS_MAX);
    s->vms = load_array(l->raw->vms_count, sizeof *s->vms);
    for (unsigned i = 0; i < l->raw->vms_count; i++) {
        snprintf(base, sizeof base, "vms[%u]", i);
        s->vm_count = i + 1;
        if (load_vm(l, s, &s->vms[i], &l->raw->vms[i], base))
            return -1;
        // Large host pages must be aligned: the one that holds the host's own memory cannot be given away.
        uint64_t page = 1ull << s->vms[i].page_shift,
                 own = page > SCENARIO_HOST_OWN_BYTES ? page : SCENARIO_HOST_OWN_BYTES;

        const struct scenario_host *h = &s->hosts[s->vms[i].host];
        uint64_t total = totals[s->vms[i].host] += s->vms[i].memory_bytes;

        if (!s->overcommit && (total > h->memory_bytes || h->memory_bytes - total < own))
            return load_error(
                l, at(field, base, "memory"),
                "the VMs together have %llu MiB, and the host of %llu MiB needs %llu MiB for itself; raise "
                "the %s memory, or say `overcommit: on` if the guests will not touch all of theirs",
                (unsigned long long)(total >> 20), (unsigned long long)(h->memory_bytes >> 20),
                (unsigned long long)(own >> 20), l->raw->hosts_count ? "host's" : "machine's");
    }
    return 0;
}
