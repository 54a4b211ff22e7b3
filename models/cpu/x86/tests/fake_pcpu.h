// SPDX-License-Identifier: Apache-2.0
// A bench for one or two processors without SystemC, libhv.so or caches: fakes of pcpu.h, mem.h, native.h,
// traces.
//
// Time is the processor's own ticks; memory is an array from host physical address 0, every access takes
// `bench_access_ticks`. Interrupts in root mode are counted, not handled.
#ifndef MODELS_CPU_X86_TESTS_FAKE_PCPU_H
#define MODELS_CPU_X86_TESTS_FAKE_PCPU_H

#include "hv/hw/vmx.h"
#include "models/cpu/pcpu.h"
#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/replay_run.h"
#include "models/cpu/x86/x86_state.h"

#define BENCH_MEMORY_BYTES (16u << 20)

struct bench {
    struct machine machine;
    struct pcpu cpus[4];
    struct pcpu *cpu_list[4];
    struct uarch uarch; // A copy: tests may change it before bench_start()
    unsigned char *memory;
};

extern struct bench bench;
extern uint64_t bench_access_ticks;
extern unsigned bench_violations; // Rows recorded since bench_start()
extern char bench_violation[64];  // Text of the last one

// Loads the micro-architecture; fails the test if the file is not there.
bool bench_load(const char *uarch);
// Creates `count` processors with it and makes the first one current.
void bench_start(unsigned count);
void bench_end(void);

// --- Memory. ---
uint64_t bench_get64(uint64_t hpa);
void bench_set64(uint64_t hpa, uint64_t value);

// --- VMX, for tests that need a guest. ---

// Where the bench puts things.
enum {
    BENCH_VMXON = 0x10000,
    BENCH_VMCS = 0x11000,
    BENCH_VMCS2 = 0x12000,
    BENCH_MSR_BITMAP = 0x13000,
    BENCH_IO_A = 0x14000,
    BENCH_IO_B = 0x15000,
    BENCH_VAPIC = 0x16000,
    BENCH_APIC_ACCESS = 0x17000,
    BENCH_PID = 0x18000,
    BENCH_LISTS = 0x19000,
    BENCH_PML = 0x1a000,
    BENCH_VMREAD_BITMAP = 0x1b000,
    BENCH_VMWRITE_BITMAP = 0x1c000,
    BENCH_EPT = 0x100000,   // Tables
    BENCH_GUEST = 0x800000, // 2 MiB of guest memory at gpa 0
};

// VMXON and a VMCS that passes every check: a 64-bit guest in ring 0 with interrupts enabled, the program
// `ops` at IDTR base replay_idtr_base(0, 0, 0). Controls are the ones that must be 1, HLT and MSR exiting by
// default.
void bench_vmx(void);
// Registers the program for the guest; `handlers` may be NULL: {vector, op} pairs ended by {0, 0}.
struct bench_handler {
    uint32_t vector, op;
};
void bench_program(const struct replay_op *ops, uint32_t count, const struct bench_handler *handlers);
// The program's addresses are linear ones: through the tables at GUEST_CR3. Before the first entry.
void bench_linear(void);
#define BENCH_PROGRAM(ops) bench_program(ops, sizeof(ops) / sizeof *(ops), NULL)

void bench_vmwrite(uint32_t field, uint64_t value);
uint64_t bench_vmread(uint32_t field);
void bench_control(uint32_t field, uint32_t set, uint32_t clear);
// EPT with one 2-MiB page of guest memory, 4-KiB table for the 2 MiB above it (empty), VPID 1.
void bench_ept(void);

extern struct hw_gprs bench_gprs;
// VMLAUNCH or VMRESUME, whichever the VMCS wants. Returns VM_EXIT_REASON; UINT32_MAX after a VMfail.
uint32_t bench_run(void);
// RIP behind the instruction that exited.
void bench_skip(void);

#endif
