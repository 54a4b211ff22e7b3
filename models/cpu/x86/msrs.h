// SPDX-License-Identifier: Apache-2.0
// Model-specific registers: one table of rows, one array of values.
//
// A row says which MSR, who may write which bits, its reset value, on which CPUID bit it exists, and the
// functions of those that are more than storage. MSRs of spec/msrs.def without a row do not exist on these
// processors: #GP(0).
#ifndef MODELS_CPU_X86_MSRS_H
#define MODELS_CPU_X86_MSRS_H

#include "models/cpu/pcpu.h"
#include "spec/msrs.h"

// Rows of msr_rows.def: MSR_ROW_IA32_EFER ...
enum msr_row_index {
#define MSR_ROW(name, access, reserved, reset, gate, read, write) MSR_ROW_##name,
#include "models/cpu/x86/msr_rows.def"
#undef MSR_ROW
    MSR_ROW_COUNT
};

struct msr_file {
    uint64_t value[MSR_ROW_COUNT];
    bool present[MSR_ROW_COUNT]; // On this micro-architecture
};

// The stored value of one by name, an lvalue: no checks, no effects. Where x86_state.h is included.
#define MSR_VALUE(c, name) ((c)->x86->msrs.value[MSR_ROW_##name])

void msrs_create(struct pcpu *c);
void msrs_reset(struct pcpu *c);
void msrs_destroy(struct msr_file *f);

// RDMSR and WRMSR with their checks and effects, in the mode that executes; no cost.
enum hw_fault msrs_read(struct pcpu *c, uint32_t msr, uint64_t *value);
enum hw_fault msrs_write(struct pcpu *c, uint32_t msr, uint64_t value);
// Would WRMSR of this value succeed? No effect. (VM entry checks, MSR-load areas.)
bool msrs_writable(struct pcpu *c, uint32_t msr, uint64_t value);

// Cycles of RDMSR and WRMSR by the uarch file.
uint64_t msrs_read_cycles(const struct pcpu *c, uint32_t msr);
uint64_t msrs_write_cycles(const struct pcpu *c, uint32_t msr);
bool msrs_serializing(uint32_t msr);
// The manual's name ("IA32_EFER"), or NULL for a number of neither list.
const char *msrs_name(uint32_t msr);

// IA32_PAT: every byte a memory type (SDM 11.12.2).
bool msrs_pat_valid(uint64_t value);

#endif
