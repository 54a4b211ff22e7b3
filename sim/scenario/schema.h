// SPDX-License-Identifier: Apache-2.0
// The shape of a scenario file: every value is text at this stage; scenario.c gives it meaning.
//
// libcyaml wants the keys of a mapping beforehand. Knobs come from hv/knobs.def and the parameters of actions
// from schema_action_args(); the names of variants are the scenario's own, so the schema is made for each
// file.
#ifndef SIM_SCENARIO_SCHEMA_H
#define SIM_SCENARIO_SCHEMA_H

#include "hv/knobs.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/yaml.h"

#define SCHEMA_ACTION_ARGS 24u
#define SCHEMA_GUEST_ARGS 64u // Different names of arguments of native guests in a file.

struct raw_args {
    char *v[SCHEMA_GUEST_ARGS]; // By struct schema_names.
};
struct raw_vcpu {
    char *stream, *native, *pcpu;
    struct raw_args *args;
};
struct raw_device {
    char *name, *port, *mmio, *size, *value, *gsi, *ack, *work, *big_lock;
};
struct raw_slot {
    char *slot, *gpa, *size, *page, *readonly, *log_dirty;
};
struct raw_program {
    char *image, *append, *initrd, *load, *input, *script;
    char **modules, **hide;
    unsigned modules_count, hide_count;
};
struct raw_vm {
    char *name, *host, *memory, *page, *prefault, *irqchip, *nested, *paging, *guest_page, *pcpu, *cpus;
    char **disable_exits;
    unsigned disable_exits_count;
    struct raw_program *program;
    struct raw_vcpu *vcpus;
    unsigned vcpus_count;
    struct raw_device *devices;
    unsigned devices_count;
    struct raw_slot *slots;
    unsigned slots_count;
};
struct raw_action {
    char *at, *op, *vm;
    char *args[SCHEMA_ACTION_ARGS]; // By schema_action_arg().
};
struct raw_knobs {
    char *v[KNOB_COUNT];
};
// Parameters of the micro-architecture, in the order of models/cpu/uarch/uarch_params.def.
enum schema_uarch_param {
#define GROUP(g, about)
#define P(g, name, unit, min, max, about) SCHEMA_UARCH_##g##_##name,
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
    SCHEMA_UARCH_PARAMS
};
struct raw_uarch_values {
    char *v[SCHEMA_UARCH_PARAMS];
};
struct raw_variant_host {
    char *name;
    struct raw_uarch_values *replace;
};
struct raw_variant {
    char *about, *violation;
    char **schedule;
    unsigned schedule_count;
    struct raw_knobs *knobs;
    struct raw_uarch_values *uarch;
    struct raw_variant_host *hosts;
    unsigned hosts_count;
};
struct raw_compare {
    char *sql, *ratio, *at_least, *at_most;
    char **between;
    unsigned between_count;
};
struct raw_expect {
    char *about, *variant, *at, *over, *sql, *equals, *at_least, *at_most;
    char **between;
    unsigned between_count;
    struct raw_compare *compare;
};
struct raw_show {
    char *as, *sql;
};
struct raw_recorded {
    char *reason, *count, *p50_ns, *p99_ns;
};
struct raw_machine {
    char *arch, *uarch, *cpus, *memory, *overcommit;
};
struct raw_host {
    char *name, *cpus, *memory, *uarch;
    struct raw_knobs *knobs;
    struct raw_uarch_values *replace;
};
struct raw_link {
    char *bandwidth, *latency, *mtu, *packet, *queue;
};
struct raw_run {
    char *until, *check_tlb, *memory, *validate;
};
struct raw_explore {
    char *from, *until, *strategy, *depth, *budget;
};
struct raw_scenario {
    char *scenario, *about, *source;
    struct raw_machine *machine;
    struct raw_host *hosts;
    unsigned hosts_count;
    struct raw_link *link;
    struct raw_vm *vms;
    unsigned vms_count;
    struct raw_action *vmm;
    unsigned vmm_count;
    struct raw_run *run;
    struct raw_explore *explore;
    struct raw_knobs *knobs;
    struct raw_uarch_values *uarch;
    char **schedule;
    unsigned schedule_count;
    struct raw_variant *variants[SCENARIO_VARIANTS_MAX];
    struct raw_show *show;
    unsigned show_count;
    struct raw_expect *expect;
    unsigned expect_count;
    struct raw_recorded *recorded;
    unsigned recorded_count;
};

// Fields of every mapping that is made at run time.
struct schema {
    cyaml_schema_field_t knobs[KNOB_COUNT + 1];
    cyaml_schema_field_t uarch[SCHEMA_UARCH_PARAMS + 1];
    cyaml_schema_field_t variant_host[3];
    cyaml_schema_value_t variant_host_entry;
    cyaml_schema_field_t variant[7];
    cyaml_schema_field_t variants[SCENARIO_VARIANTS_MAX + 1];
    cyaml_schema_field_t host[7];
    cyaml_schema_value_t host_entry;
    cyaml_schema_field_t action[SCHEMA_ACTION_ARGS + 4];
    cyaml_schema_value_t action_entry;
    cyaml_schema_field_t args[SCHEMA_GUEST_ARGS + 1];
    cyaml_schema_field_t vcpu[5];
    cyaml_schema_value_t vcpu_entry;
    cyaml_schema_field_t vm[19];
    cyaml_schema_value_t vm_entry;
    cyaml_schema_field_t top[20];
    cyaml_schema_value_t root;
};

// Name of argument i of actions ("gsi", "level", ...), NULL beyond the last.
const char *schema_action_arg(unsigned i);
const char *schema_knob_name(unsigned knob);
// "group.name" of a parameter of the micro-architecture that a scenario may replace, else NULL.
const char *schema_uarch_name(unsigned param);
// Keys that are the file's own choice.
struct schema_names {
    const char *variants[SCENARIO_VARIANTS_MAX + 1];
    size_t variant_count;
    const char *args[SCHEMA_GUEST_ARGS]; // Of native guests, whichever vCPU has them.
    size_t arg_count;
};
// Makes the schema for a file with these names, which must outlive it.
void schema_make(struct schema *s, const struct schema_names *names);

#endif
