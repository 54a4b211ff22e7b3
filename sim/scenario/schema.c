// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/schema.h"
#include <string.h>

enum { TEXT_MAX = 64 << 10, SCRIPT_MAX = 16 << 20 };

static const char *const action_args[] = {
    "gsi",           "level",         "vector", "dest",  "mode", "vcpu", "slot",   "gpa",
    "size",          "flags",         "offset", "cpu",   "ns",   "to",   "method", "downtime_limit",
    "max_bandwidth", "auto_converge", "verify", "count", "high", NULL};

static const char *const knob_names[] = {
#define KNOB(id, name, type, values, def, about, source) name,
#include "hv/knobs.def"
#undef KNOB
};

const char *schema_action_arg(unsigned i)
{
    return i < sizeof action_args / sizeof *action_args ? action_args[i] : NULL;
}

const char *schema_knob_name(unsigned knob)
{
    return knob_names[knob];
}

// clang-format off
#define TEXT(structure, member)          CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, 0, TEXT_MAX)
#define TEXT_NEEDED(structure, member)   CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER, structure, member, 0, TEXT_MAX)
#define LIST(key, structure, member, e)  CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, e, 0, 100000)
#define PART(key, structure, member, f)  CYAML_FIELD_MAPPING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, f)
#define ENTRY(structure, f)              {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, structure, f)}

static const cyaml_schema_value_t text_entry = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, TEXT_MAX)};

static const cyaml_schema_field_t device_fields[] = {
    TEXT_NEEDED(struct raw_device, name), TEXT(struct raw_device, port), TEXT(struct raw_device, mmio),
    TEXT(struct raw_device, size),        TEXT(struct raw_device, value), TEXT(struct raw_device, gsi),
    TEXT(struct raw_device, ack),         TEXT(struct raw_device, work), TEXT(struct raw_device, big_lock), CYAML_FIELD_END};
static const cyaml_schema_value_t device_entry = ENTRY(struct raw_device, device_fields);

static const cyaml_schema_field_t slot_fields[] = {
    TEXT_NEEDED(struct raw_slot, slot), TEXT_NEEDED(struct raw_slot, gpa), TEXT_NEEDED(struct raw_slot, size),
    TEXT(struct raw_slot, page), TEXT(struct raw_slot, readonly), TEXT(struct raw_slot, log_dirty), CYAML_FIELD_END};
static const cyaml_schema_value_t slot_entry = ENTRY(struct raw_slot, slot_fields);

static const cyaml_schema_field_t compare_fields[] = {
    TEXT_NEEDED(struct raw_compare, sql), TEXT_NEEDED(struct raw_compare, ratio), TEXT(struct raw_compare, at_least),
    TEXT(struct raw_compare, at_most), LIST("between", struct raw_compare, between, &text_entry), CYAML_FIELD_END};

static const cyaml_schema_field_t expect_fields[] = {
    TEXT_NEEDED(struct raw_expect, about), TEXT(struct raw_expect, variant), TEXT(struct raw_expect, sql),
    TEXT(struct raw_expect, at), TEXT(struct raw_expect, over),
    TEXT(struct raw_expect, equals), TEXT(struct raw_expect, at_least), TEXT(struct raw_expect, at_most),
    LIST("between", struct raw_expect, between, &text_entry),
    PART("compare", struct raw_expect, compare, compare_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t expect_entry = ENTRY(struct raw_expect, expect_fields);

static const cyaml_schema_field_t show_fields[] = {
    TEXT_NEEDED(struct raw_show, as), TEXT_NEEDED(struct raw_show, sql), CYAML_FIELD_END};
static const cyaml_schema_value_t show_entry = ENTRY(struct raw_show, show_fields);

static const cyaml_schema_field_t recorded_fields[] = {
    TEXT_NEEDED(struct raw_recorded, reason), TEXT_NEEDED(struct raw_recorded, count),
    TEXT(struct raw_recorded, p50_ns), TEXT(struct raw_recorded, p99_ns), CYAML_FIELD_END};
static const cyaml_schema_value_t recorded_entry = ENTRY(struct raw_recorded, recorded_fields);

static const cyaml_schema_field_t machine_fields[] = {
    TEXT(struct raw_machine, arch), TEXT(struct raw_machine, uarch), TEXT(struct raw_machine, cpus),
    TEXT(struct raw_machine, memory), TEXT(struct raw_machine, overcommit), CYAML_FIELD_END};

static const cyaml_schema_field_t link_fields[] = {
    TEXT(struct raw_link, bandwidth), TEXT(struct raw_link, latency), TEXT(struct raw_link, mtu),
    TEXT(struct raw_link, packet), TEXT(struct raw_link, queue), CYAML_FIELD_END};

static const cyaml_schema_field_t program_fields[] = {
    TEXT_NEEDED(struct raw_program, image), TEXT(struct raw_program, append), TEXT(struct raw_program, initrd),
    TEXT(struct raw_program, load), LIST("modules", struct raw_program, modules, &text_entry),
    LIST("hide", struct raw_program, hide, &text_entry), TEXT(struct raw_program, input),
    CYAML_FIELD_STRING_PTR("script", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_program, script, 0, SCRIPT_MAX),
    CYAML_FIELD_END};

static const cyaml_schema_field_t run_fields[] = {TEXT(struct raw_run, until), TEXT(struct raw_run, check_tlb),
                                                    TEXT(struct raw_run, memory),
                                                    TEXT(struct raw_run, validate),
                                                    CYAML_FIELD_END};

static const cyaml_schema_field_t explore_fields[] = {
    TEXT(struct raw_explore, from), TEXT(struct raw_explore, until), TEXT(struct raw_explore, strategy), TEXT(struct raw_explore, depth),
    TEXT(struct raw_explore, budget), CYAML_FIELD_END};
// clang-format on

// A text field whose key and place are known only now.
static cyaml_schema_field_t text_field(const char *key, size_t offset)
{
    return (cyaml_schema_field_t){
        .key = key,
        .data_offset = (uint32_t)offset,
        .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0, TEXT_MAX)}};
}

static void make_action(struct schema *s)
{
    size_t at = 0;

    s->action[at++] = text_field("at", offsetof(struct raw_action, at));
    s->action[at++] = text_field("do", offsetof(struct raw_action, op));
    s->action[at++] = text_field("vm", offsetof(struct raw_action, vm));
    for (unsigned i = 0; action_args[i]; i++)
        s->action[at++] = text_field(action_args[i], offsetof(struct raw_action, args) + i * sizeof(char *));
    s->action[at] = (cyaml_schema_field_t)CYAML_FIELD_END;
    s->action_entry =
        (cyaml_schema_value_t){CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_action, s->action)};
}

// A host's knobs and what it replaces are those of variants.
static void make_host(struct schema *s)
{
    s->host[0] = text_field("name", offsetof(struct raw_host, name));
    s->host[1] = text_field("cpus", offsetof(struct raw_host, cpus));
    s->host[2] = text_field("memory", offsetof(struct raw_host, memory));
    s->host[3] = (cyaml_schema_field_t)PART("knobs", struct raw_host, knobs, s->knobs);
    s->host[4] = text_field("uarch", offsetof(struct raw_host, uarch));
    s->host[5] = (cyaml_schema_field_t)PART("replace", struct raw_host, replace, s->uarch);
    s->host[6] = (cyaml_schema_field_t)CYAML_FIELD_END;
    s->host_entry = (cyaml_schema_value_t){CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_host, s->host)};
}

static void make_vm(struct schema *s, const struct schema_names *names)
{
    for (size_t i = 0; i < names->arg_count; i++)
        s->args[i] = text_field(names->args[i], i * sizeof(char *));
    s->args[names->arg_count] = (cyaml_schema_field_t)CYAML_FIELD_END;
    const cyaml_schema_field_t vcpu[] = {TEXT(struct raw_vcpu, stream), TEXT(struct raw_vcpu, native),
                                         TEXT(struct raw_vcpu, pcpu),
                                         PART("args", struct raw_vcpu, args, s->args), CYAML_FIELD_END};

    _Static_assert(sizeof vcpu <= sizeof s->vcpu, "struct schema has room for a vCPU's keys");
    memcpy(s->vcpu, vcpu, sizeof vcpu);
    s->vcpu_entry = (cyaml_schema_value_t)ENTRY(struct raw_vcpu, s->vcpu);
    const cyaml_schema_field_t vm[] = {TEXT_NEEDED(struct raw_vm, name),
                                       TEXT(struct raw_vm, host),
                                       TEXT_NEEDED(struct raw_vm, memory),
                                       TEXT(struct raw_vm, page),
                                       TEXT(struct raw_vm, prefault),
                                       TEXT(struct raw_vm, irqchip),
                                       TEXT(struct raw_vm, nested),
                                       TEXT(struct raw_vm, paging),
                                       TEXT(struct raw_vm, guest_page),
                                       TEXT(struct raw_vm, pcpu),
                                       TEXT(struct raw_vm, cpus),
                                       LIST("disable_exits", struct raw_vm, disable_exits, &text_entry),
                                       PART("program", struct raw_vm, program, program_fields),
                                       LIST("vcpus", struct raw_vm, vcpus, &s->vcpu_entry),
                                       LIST("devices", struct raw_vm, devices, &device_entry),
                                       LIST("slots", struct raw_vm, slots, &slot_entry),
                                       CYAML_FIELD_END};

    _Static_assert(sizeof vm <= sizeof s->vm, "struct schema has room for a VM's keys");
    memcpy(s->vm, vm, sizeof vm);
    s->vm_entry = (cyaml_schema_value_t)ENTRY(struct raw_vm, s->vm);
}

static void make_variants(struct schema *s, const struct schema_names *names)
{
    for (unsigned i = 0; i < KNOB_COUNT; i++)
        s->knobs[i] = text_field(knob_names[i], i * sizeof(char *));
    s->knobs[KNOB_COUNT] = (cyaml_schema_field_t)CYAML_FIELD_END;
    size_t at = 0;

    for (unsigned i = 0; i < SCHEMA_UARCH_PARAMS; i++)
        if (schema_uarch_name(i))
            s->uarch[at++] = text_field(schema_uarch_name(i), i * sizeof(char *));
    s->uarch[at] = (cyaml_schema_field_t)CYAML_FIELD_END;
    s->variant[0] = text_field("about", offsetof(struct raw_variant, about));
    s->variant[1] = (cyaml_schema_field_t)PART("knobs", struct raw_variant, knobs, s->knobs);
    s->variant[2] = (cyaml_schema_field_t)LIST("schedule", struct raw_variant, schedule, &text_entry);
    s->variant[3] = text_field("violation", offsetof(struct raw_variant, violation));
    s->variant[4] = (cyaml_schema_field_t)PART("uarch", struct raw_variant, uarch, s->uarch);
    const cyaml_schema_field_t host[] = {TEXT_NEEDED(struct raw_variant_host, name),
                                         PART("replace", struct raw_variant_host, replace, s->uarch),
                                         CYAML_FIELD_END};

    _Static_assert(sizeof host == sizeof s->variant_host, "struct schema has room for its keys");
    memcpy(s->variant_host, host, sizeof host);
    s->variant_host_entry = (cyaml_schema_value_t)ENTRY(struct raw_variant_host, s->variant_host);
    s->variant[5] = (cyaml_schema_field_t)LIST("hosts", struct raw_variant, hosts, &s->variant_host_entry);
    s->variant[6] = (cyaml_schema_field_t)CYAML_FIELD_END;
    make_host(s);
    for (size_t i = 0; i < names->variant_count; i++)
        s->variants[i] =
            (cyaml_schema_field_t){.key = names->variants[i],
                                   .data_offset = (uint32_t)(i * sizeof(struct raw_variant *)),
                                   .value = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                                                                 struct raw_variant, s->variant)}};
    s->variants[names->variant_count] = (cyaml_schema_field_t)CYAML_FIELD_END;
}

void schema_make(struct schema *s, const struct schema_names *names)
{
    make_action(s);
    make_vm(s, names);
    make_variants(s, names);
    const cyaml_schema_field_t top[] = {
        TEXT_NEEDED(struct raw_scenario, scenario),
        TEXT(struct raw_scenario, about),
        TEXT(struct raw_scenario, source),
        PART("machine", struct raw_scenario, machine, machine_fields),
        LIST("hosts", struct raw_scenario, hosts, &s->host_entry),
        PART("link", struct raw_scenario, link, link_fields),
        LIST("vms", struct raw_scenario, vms, &s->vm_entry),
        LIST("vmm", struct raw_scenario, vmm, &s->action_entry),
        PART("run", struct raw_scenario, run, run_fields),
        PART("explore", struct raw_scenario, explore, explore_fields),
        PART("knobs", struct raw_scenario, knobs, s->knobs),
        PART("uarch", struct raw_scenario, uarch, s->uarch),
        LIST("schedule", struct raw_scenario, schedule, &text_entry),
        {.key = "variants",
         .data_offset = (uint32_t)offsetof(struct raw_scenario, variants),
         .value = {CYAML_VALUE_MAPPING(CYAML_FLAG_OPTIONAL, struct raw_variant *[SCENARIO_VARIANTS_MAX],
                                       s -> variants)}},
        CYAML_FIELD_IGNORE("sweep", CYAML_FLAG_OPTIONAL), // By load_sweep(): its keys are fields' paths.
        LIST("show", struct raw_scenario, show, &show_entry),
        LIST("expect", struct raw_scenario, expect, &expect_entry),
        LIST("recorded", struct raw_scenario, recorded, &recorded_entry),
        CYAML_FIELD_END};

    _Static_assert(sizeof top <= sizeof s->top, "struct schema has room for every key");
    memcpy(s->top, top, sizeof top);
    s->root = (cyaml_schema_value_t){CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_scenario, s->top)};
}
