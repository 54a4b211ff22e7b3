// SPDX-License-Identifier: Apache-2.0
// A scenario as the machine builder needs it: checked, with units resolved and every default filled in.
//
// scenario_load() reads FILE.yaml (docs/scenario-reference.md); anything wrong with it is one user_error. The
// result holds no reference to the file and is not changed by runs.
#ifndef SIM_SCENARIO_SCENARIO_H
#define SIM_SCENARIO_SCENARIO_H

#include "hv/knobs.h"
#include "hv/vmm/config.h"
#include "sim/scenario/user_error.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SCENARIO_CPUS_MAX 64u
#define SCENARIO_VMS_MAX 16u
#define SCENARIO_VCPUS_MAX 64u
#define SCENARIO_VARIANTS_MAX 32u
#define SCENARIO_STEPS_MAX 255u
#define SCENARIO_SLOTS_MAX 48u           // Of a VM in the scenario; actions may add some.
#define SCENARIO_MEMORY_MAX (4ull << 40) // Bytes of a host.

struct scenario_arg {
    char *name, *value; // As written: what they mean is the program's affair.
    uint32_t line;
};
// A vCPU's program is a stream or a native guest: the other is NULL.
struct scenario_vcpu {
    char *stream; // Path of the replay stream, relative paths resolved against the scenario's folder.
    char *native; // Name of the native guest's program.
    struct scenario_arg *args;
    uint32_t arg_count;
    uint32_t pcpu; // VMM_CPU_ANY: any
    uint32_t line;
};

struct scenario_vm {
    char *name;
    uint64_t memory_bytes;
    uint32_t page_shift;
    uint32_t flags;            // VMM_VM_*
    uint32_t paging_levels;    // Of the guest's tables: 0 (streams give guest-physical addresses), 4, 5
    uint32_t guest_page_shift; // Of the pages that they map
    uint32_t pcpu;
    struct scenario_vcpu *vcpus;
    uint32_t vcpu_count;
    struct vmm_device_config *devices;
    uint32_t device_count;
    struct vmm_slot_config *slots;
    uint32_t slot_count;
    uint32_t line;
};

struct scenario_knob {
    uint32_t knob; // enum knob_id
    uint64_t value;
};
// A parameter of the micro-architecture that the scenario replaces.
struct scenario_uarch {
    uint32_t param; // Position in models/cpu/uarch/uarch_params.def
    uint64_t value;
};
// A step of a pinned order (docs/schedules.md), as written.
struct scenario_step {
    char *text;
    uint32_t line;
};
struct scenario_variant {
    char *name; // "default" where the scenario names none
    char *about;
    char *violation; // Kind of violation that has to happen and does not fail the run. NULL: none.
    struct scenario_step *steps; // The variant's own order, or the scenario's where it gives none.
    uint32_t step_count;
    struct scenario_knob *knobs; // The scenario's own, then the variant's.
    uint32_t knob_count;
    struct scenario_uarch *uarch; // The same.
    uint32_t uarch_count;
};

enum expect_kind { EXPECT_TRUE_VALUE, EXPECT_EQUALS, EXPECT_AT_LEAST, EXPECT_AT_MOST, EXPECT_BETWEEN };
struct scenario_expect {
    char *about;
    char *variant; // NULL: every variant. Of a comparison: NULL.
    char *sql;     // Its first column of its first row is the value.
    enum expect_kind kind;
    char *low, *high;              // As written: numbers or text. EQUALS and AT_LEAST use low, AT_MOST high.
    char *numerator, *denominator; // Comparison of two variants' values: numerator / denominator. NULL: none.
    uint32_t line;
};

struct scenario_recorded {
    char *reason;
    uint64_t count, p50_ns, p99_ns;
};

struct scenario {
    char *path, *folder;
    char *name, *about, *source;
    char *uarch;
    uint32_t uarch_line;
    uint32_t cpus;
    uint64_t memory_bytes;
    uint64_t until_ns; // Simulated time at which the run ends at the latest; 0: when the guests are done
    struct scenario_vm *vms;
    uint32_t vm_count;
    struct vmm_action *actions; // By time.
    uint32_t action_count;
    struct scenario_variant *variants; // At least one.
    uint32_t variant_count;
    struct scenario_expect *expects;
    uint32_t expect_count;
    struct scenario_recorded *recorded;
    uint32_t recorded_count;
};

// Loads and checks `path`. NULL with `e` filled on any fault of the file; no partial result.
struct scenario *scenario_load(const char *path, struct user_error *e);
// The same for text in memory; `path` names it in messages, and its folder is where streams are.
struct scenario *scenario_load_text(const char *path, const void *text, size_t bytes, struct user_error *e);
void scenario_free(struct scenario *s);
// The variant called `name`, or NULL.
const struct scenario_variant *scenario_variant_find(const struct scenario *s, const char *name);
// Writes the scenario with every default filled in, as YAML that scenario_load() reads back to the same.
void scenario_print_resolved(const struct scenario *s, FILE *out);

// Parses "group.name" and its value as written ("on", "two_phase", "10000"). -1 with `e` (file and line as
// given).
int scenario_knob_parse(const char *name, const char *value, const char *file, unsigned line,
                        struct scenario_knob *out, struct user_error *e);

#endif
