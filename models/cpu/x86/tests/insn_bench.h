// SPDX-License-Identifier: Apache-2.0
// Machine code in non-root operation with nothing running it: system instructions are called one by one.
#ifndef MODELS_CPU_X86_TESTS_INSN_BENCH_H
#define MODELS_CPU_X86_TESTS_INSN_BENCH_H

#include "models/cpu/x86/insn_common.h"
#include "models/cpu/x86/tests/fake_pcpu.h"

// Guest-physical, below 2 MiB, which EPT and page tables map one to one to BENCH_GUEST.
enum { INSN_CODE = 0x10000, INSN_DATA = 0x20000, INSN_STACK = 0x30000, INSN_TSS = 0x40000 };

enum insn_mode { MODE_64, MODE_COMPATIBILITY, MODE_32, MODE_V86, MODE_REAL };

// The state after a VM entry at INSN_CODE in 64-bit mode, ring 0, every exception an exit. False: the test
// has failed.
bool insn_start(void);
// Controls for the next insn_start(): set on top of the bench's.
struct insn_controls {
    uint32_t cpu, cpu2;
};
bool insn_start_with(struct insn_controls controls);
// The same without the VM entry, with code at INSN_CODE: bench_run() executes it.
bool insn_code(const unsigned char *code, size_t bytes, struct insn_controls controls);
void insn_mode(enum insn_mode mode, unsigned cpl);
struct vmx *insn_vmx(void);

// What became of an instruction, as one number: 0 carried out; an exception; an exit.
#define GONE_ON 0u
#define RAISED(vector) (0x1000u | (vector))
#define EXITED(reason) (0x2000u | (reason))
uint32_t insn_outcome(enum insn_result r);

// The memory operand at INSN_DATA in DS.
struct insn_operand insn_data(void);

uint64_t insn_get(uint64_t linear);
void insn_set(uint64_t linear, uint64_t value);

#endif
