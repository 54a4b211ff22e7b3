// SPDX-License-Identifier: Apache-2.0
//
// A named micro-architecture: every number the models charge by, each with its published source.
//
// The numbers live in models/cpu/uarch/NAME.yaml; uarch_params.def is the one list of the scalar ones (name,
// unit, range, meaning), from which this struct, the YAML schema and the checks are made. Integers only.
// Latencies and costs are in core clock cycles unless the name says otherwise; a tick is 1/16 cycle.
//
// A struct uarch is immutable after uarch_load(); it may be shared by every pCPU of a machine. Loading
// happens before time starts and advances no simulated time.

#ifndef MODELS_CPU_UARCH_UARCH_H
#define MODELS_CPU_UARCH_UARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UARCH_TICKS_PER_CYCLE 16u
#define UARCH_PORTS_MAX 16u
#define UARCH_UOPS_MAX 8u

// uops of one kind in an instruction class: `count` of them, each to any port of the bit mask `ports` (bit n:
// port n).
struct uarch_uop {
    uint16_t ports;
    uint16_t count;
};

// An instruction class: the row of the price table that models/cpu/native/price_classes.def refers to by
// name. Memory operands are not part of a row: a load adds the row "load", a store the rows "store_address"
// and "store_data".
struct uarch_class {
    const char *name;
    const char *source;
    struct uarch_uop uop[UARCH_UOPS_MAX];
    uint32_t uop_kinds;      // used elements of uop[]
    uint32_t fused_uops;     // slots taken in the issue stage
    uint32_t latency_cycles; // operand to result
    uint32_t busy_cycles; // cycles for which the (not pipelined) unit of uop[0] is busy, 1: fully pipelined
};

// A row of CPUID. `subleaf` is UARCH_ANY_SUBLEAF where ECX is not looked at.
#define UARCH_ANY_SUBLEAF 0xffffffffu
struct uarch_cpuid {
    uint32_t leaf;
    uint32_t subleaf;
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
    const char *source;
};

// The file `calibrated_from` list: which row of a table of measurements set which parameter.
struct uarch_calibration {
    const char *parameter; // "group.name"
    const char *row;
};

// struct uarch_clock { uint64_t core_khz; ... }; struct uarch_l1d { ... }; one for each GROUP of
// uarch_params.def.
#define GROUP(g, about) struct uarch_##g {
#define P(g, name, unit, min, max, about) uint64_t name;
#define END(g)                                                                                               \
    }                                                                                                        \
    ;
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END

struct uarch {
    const char *name;  // "skylake-sp"
    const char *about; // one line for people
    const char *path;  // the file it came from
#define GROUP(g, about) struct uarch_##g g;
#define P(g, name, unit, min, max, about)
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
    const struct uarch_class *classes; // sorted by name
    size_t class_count;
    const struct uarch_cpuid *cpuid; // sorted by (leaf, subleaf)
    size_t cpuid_count;
    const struct uarch_calibration *calibrations;
    size_t calibration_count;
};

// One scalar parameter as the file has it, for `hvsim explain`, reports and tests.
struct uarch_param {
    const char *group;
    const char *name;
    const char *unit; // "cycles", "bytes", "entries", "khz", ...
    const char *about;
    uint64_t value;
    const char *source;
};

// Loads the micro-architecture file at `path`. NULL on failure, with one line "FILE:LINE: FIELD: what was
// expected" in `error` (always terminated). User errors: the file cannot be read; a key is unknown (the
// nearest known key is named), missing or doubled; a parameter or table has no source; a number has a wrong
// unit or is out of its range; parameters contradict each other. The result belongs to the caller:
// uarch_free().
struct uarch *uarch_load(const char *path, char *error, size_t error_size);

// Frees what uarch_load() returned; NULL is allowed.
void uarch_free(struct uarch *u);

// The class called `name`, or NULL.
const struct uarch_class *uarch_class_find(const struct uarch *u, const char *name);

// The row of CPUID for (leaf, subleaf), or NULL where the table has none (the model then returns zeroes, as
// SDM table 3-8 says for leaves within the maximum).
const struct uarch_cpuid *uarch_cpuid_find(const struct uarch *u, uint32_t leaf, uint32_t subleaf);

// Scalar parameters by index, 0 .. uarch_param_count() - 1, in the order of uarch_params.def.
size_t uarch_param_count(void);
struct uarch_param uarch_param_at(const struct uarch *u, size_t index);

// Gives parameter `index` of `u` another value, in range by uarch_params.def. For copies of a loaded struct
// (u->path and the tables stay those of the file); uarch_sound() afterwards.
void uarch_replace(struct uarch *u, size_t index, uint64_t value);
// Do the parameters agree with each other? False with `error` as uarch_load().
bool uarch_sound(const struct uarch *u, char *error, size_t error_size);

// The value of capability MSR `index` (IA32_VMX_BASIC 480H .. IA32_VMX_PROCBASED_CTLS3 492H), put together
// from u->vmx_cap. False where the core does not have the MSR: then *value stays as it was and RDMSR raises
// #GP(0). SDM appendix A.
bool uarch_vmx_msr(const struct uarch *u, uint32_t index, uint64_t *value);

#endif
