// SPDX-License-Identifier: Apache-2.0
// A scenario as the machine builder needs it: checked, with units resolved and every default filled in.
//
// scenario_load() reads FILE.yaml (docs/scenario-reference.md); anything wrong with it is one user_error. The
// result holds no reference to the file and is not changed by runs.
#ifndef SIM_SCENARIO_SCENARIO_H
#define SIM_SCENARIO_SCENARIO_H

#include "hv/knobs.h"
#include "hv/vmm/config.h"
#include "models/memory/memory.h"
#include "sim/scenario/console_script.h"
#include "sim/scenario/user_error.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SCENARIO_CPUS_MAX 64u
#define SCENARIO_VMS_MAX 16u
#define SCENARIO_HOSTS_MAX 2u // A link has two ends.
#define SCENARIO_VCPUS_MAX 64u
#define SCENARIO_VARIANTS_MAX 32u
#define SCENARIO_AXES_MAX 4u
#define SCENARIO_POINTS_MAX 256u
#define SCENARIO_SHOWS_MAX 8u
#define SCENARIO_STEPS_MAX 256u               // 255 and the line from when on they count
#define SCENARIO_SLOTS_MAX 48u                // Of a VM in the scenario; actions may add some.
#define SCENARIO_MEMORY_MAX (4ull << 40)      // Bytes of a host.
#define SCENARIO_HOST_OWN_BYTES (48ull << 20) // Firmware's data, the core's heap and tables.

struct scenario_arg {
    char *name, *value; // As written: what they mean is the program's affair.
    uint32_t line;
};
#define SCENARIO_MODULES_MAX 32u
// Machine code that a VM boots (docs/machine-code-guests.md). Paths as those of streams.
#define SCENARIO_OWN_IMAGES "guests/x86/" // Names that begin so are of guests that come with hvsim.
struct scenario_program {
    char *image;
    char *append; // "" where none is given.
    char *initrd; // NULL: none.
    char **modules;
    uint32_t module_count;
    struct vmm_cpuid_bit *hide; // Features that its CPUID does not show.
    uint32_t hide_count;
    // What is typed at its console; at most one of the two is given (NULL: not).
    char *input;                  // A file of which each byte is.
    char *script;                 // Text of a script,
    struct console_script typing; // and its steps.
    bool flat;                    // A flat binary.
    uint64_t load;                // Its address.
    uint32_t line;
};
// A vCPU's program is a stream or a native guest: the other is NULL. Both are, in a VM that boots an image.
struct scenario_vcpu {
    char *stream; // Path of the replay stream, relative paths resolved against the scenario's folder.
    char *native; // Name of the native guest's program.
    struct scenario_arg *args;
    uint32_t arg_count;
    uint32_t pcpu; // VMM_CPU_ANY: any
    uint32_t line;
};

// Names of HV_DISABLE_EXITS_*, by bit.
#define SCENARIO_DISABLE_EXITS 3u
extern const char *const scenario_disable_exits[SCENARIO_DISABLE_EXITS + 1];

struct scenario_vm {
    char *name;
    uint32_t host; // Where it starts.
    uint64_t memory_bytes;
    uint32_t page_shift;
    uint32_t flags;            // VMM_VM_*
    uint32_t paging_levels;    // Of the guest's tables: 0 (streams give guest-physical addresses), 4, 5
    uint32_t guest_page_shift; // Of the pages that they map
    uint32_t disabled_exits;   // HV_DISABLE_EXITS_*
    uint32_t pcpu;
    struct scenario_program *program; // NULL: vCPUs have theirs.
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
struct scenario_uarch_list {
    struct scenario_uarch *rows; // A later one of a parameter counts.
    uint32_t count;
};

struct scenario_host {
    char *name; // "host" where the scenario names none
    uint32_t cpus;
    uint64_t memory_bytes;
    struct scenario_knob *knobs; // On top of the variant's.
    uint32_t knob_count;
    char *uarch; // Of its processors, or NULL: the scenario's.
    uint32_t uarch_line;
    struct scenario_uarch_list replace; // On top of the variant's.
};

// The network link between two hosts (models/dev/link.h).
struct scenario_link {
    uint64_t bits_per_second;
    uint64_t latency_ns;
    uint64_t packet_ns; // Of either network card, for each packet.
    uint64_t queue_bytes;
    uint32_t mtu_bytes;
};

// How `hvsim explore` searches it, where its options do not say (docs/exploration.md).
struct scenario_explore {
    uint64_t from_ns;  // Simulated time from which orders are searched
    uint64_t until_ns; // And at which an execution ends; 0: as every run does
    uint32_t strategy; // enum strategy_kind
    uint64_t depth, budget;
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
    char *schedule_path;         // The file in which the steps are; NULL: the scenario
    uint32_t step_count;
    struct scenario_knob *knobs; // The scenario's own, then the variant's.
    uint32_t knob_count, own_count;
    struct scenario_uarch_list uarch;                       // The same.
    struct scenario_uarch_list replace[SCENARIO_HOSTS_MAX]; // On top of each host's.
};

enum expect_kind { EXPECT_TRUE_VALUE, EXPECT_EQUALS, EXPECT_AT_LEAST, EXPECT_AT_MOST, EXPECT_BETWEEN };
struct scenario_expect {
    char *about;
    char *variant; // NULL: every variant. Of a comparison: NULL.
    char *at;      // Only at the points of the sweep that have this value (or PATH=VALUE). NULL: at each.
    bool whole;    // Judged once, after all of the sweep's points, over all of their runs.
    char *sql;     // Its first column of its first row is the value.
    enum expect_kind kind;
    char *low, *high;              // As written: numbers or text. EQUALS and AT_LEAST use low, AT_MOST high.
    char *numerator, *denominator; // Comparison of two variants' values: numerator / denominator. NULL: none.
    uint32_t line;
};

// A field and the values that a sweep gives it.
struct scenario_axis {
    char *path;
    char **values;
    uint32_t value_count;
    uint32_t line;
};
// What one point of a sweep gives a field.
struct scenario_swept {
    char *path, *value;
    bool is_number;
    uint64_t number; // Bytes, nanoseconds or a plain number.
};
// A column of the table that ends a run: a value of each variant's.
struct scenario_show {
    char *as, *sql;
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
    struct scenario_host *hosts; // At least one.
    uint32_t host_count;
    struct scenario_link link; // Where there are two hosts.
    uint32_t overcommit;       // 1: the VMs of a host may have more memory than it.
    uint64_t until_ns;  // Simulated time at which the run ends at the latest; 0: when the guests are done
    uint32_t check_tlb; // 1: compare every hit of a translation cache with the tables (docs/tlb-checker.md)
    uint32_t validate;  // Bit set of enum check_kind: validators that look on (docs/validators.md)
    struct scenario_explore explore;
    enum memory_kind memory; // Model of hypervisor code's memory (docs/memory-models.md)
    struct scenario_vm *vms;
    uint32_t vm_count;
    struct vmm_action *actions; // By time.
    uint32_t action_count;
    struct scenario_variant *variants; // At least one.
    uint32_t variant_count;
    struct scenario_axis *axes;
    uint32_t axis_count;
    struct scenario_swept *swept; // Of this point; none in the scenario as written.
    uint32_t swept_count;
    struct scenario_show *shows;
    uint32_t show_count;
    struct scenario_expect *expects;
    uint32_t expect_count;
    struct scenario_recorded *recorded;
    uint32_t recorded_count;
};

// Loads and checks `path`. NULL with `e` filled on any fault of the file; no partial result.
struct scenario *scenario_load(const char *path, struct user_error *e);
// The same for text in memory; `path` names it in messages, and its folder is where streams are.
struct scenario *scenario_load_text(const char *path, const void *text, size_t bytes, struct user_error *e);
// The same at point `point` of its sweep: as if the file had the point's values in place of its own.
struct scenario *scenario_load_point(const char *path, uint32_t point, struct user_error *e);
// Points of the sweep: every combination of the axes' values, the last axis turning fastest. 1 without a
// sweep.
uint32_t scenario_point_count(const struct scenario *s);
// Does `at` ("VALUE", or "PATH=VALUE") name this point? `axes` gives the words that exist, for messages.
bool scenario_is_at(const struct scenario *s, const char *at);
void scenario_free(struct scenario *s);
// The variant called `name`, or NULL.
const struct scenario_variant *scenario_variant_find(const struct scenario *s, const char *name);
// Writes the scenario with every default filled in, as YAML that scenario_load() reads back to the same.
void scenario_print_resolved(const struct scenario *s, FILE *out);
// The same as a text that the caller frees.
char *scenario_resolved_text(const struct scenario *s);

// Writes text as a YAML string in double quotes.
void scenario_quote(FILE *out, const char *text);

// Parses "group.name" and its value as written ("on", "two_phase", "10000"). -1 with `e` (file and line as
// given).
int scenario_knob_parse(const char *name, const char *value, const char *file, unsigned line,
                        struct scenario_knob *out, struct user_error *e);

#endif
