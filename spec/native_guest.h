// SPDX-License-Identifier: Apache-2.0
// What a native guest program (scenarios/guests/native) and the processor that runs it agree upon.
//
// A program is compiled for the machine that simulates. Three things of it reach the modelled processor: its
// C11 atomics, which are its accesses to guest memory at guest-linear addresses; the functions below, which
// are its instructions; and its basic blocks, which take time. Everything else (locals, constants) is its own
// business and counts as hits in the first-level cache. It keeps no state outside of its stack and guest
// memory. docs/native-guests.md
#ifndef SPEC_NATIVE_GUEST_H
#define SPEC_NATIVE_GUEST_H

#include <stdint.h>

#define GUEST_ABI 1u
#define GUEST_PROGRAM_SYMBOL "guest_program"
#define GUEST_ARGS_MAX 16u

enum guest_arg_kind {
    GUEST_NUMBER,
    GUEST_BYTES, // At most the VM's memory
    GUEST_TIME,  // min, max and fallback in nanoseconds; the program gets TSC cycles
};
struct guest_arg {
    const char *name, *about;
    uint64_t fallback, min, max;
    uint8_t kind; // enum guest_arg_kind
};

// What a program finds when it starts. Its own copy: nothing of it costs anything.
struct guest_env {
    struct {
        uint64_t base, bytes;
    } memory[2]; // Guest memory that is the program's, in guest-physical addresses; [1] is that above 4 GiB
    uint32_t vcpu, vcpu_count; // Of the VM
    uint64_t seed;             // Differs between vCPUs and with the run's seed
};

struct guest_program {
    uint32_t abi; // GUEST_ABI
    uint32_t arg_count;
    const char *about;
    const struct guest_arg *args;
    void (*main)(const struct guest_env *env, const uint64_t *arg); // Where it returns the program is over.
};

// --- Instructions: the same as those of streams (models/cpu/x86/replay_ops.def). ---

uint32_t guest_in(uint16_t port, unsigned size_bytes);
void guest_out(uint16_t port, unsigned size_bytes, uint32_t value);
void guest_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]); // EAX, EBX, ECX, EDX
uint64_t guest_rdmsr(uint32_t msr);
void guest_wrmsr(uint32_t msr, uint64_t value);
uint64_t guest_rdtsc(void);
uint64_t guest_vmcall(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3);
void guest_hlt(void);
void guest_pause(void);
void guest_sti(void);
void guest_cli(void);
void guest_eoi(void);
void guest_flush_page(uint64_t linear); // INVLPG
uint64_t guest_read_cr(unsigned n);
void guest_write_cr(unsigned n, uint64_t value);

// --- Not instructions. ---

// Computes for that long (TSC cycles of the processor).
void guest_work(uint64_t tsc_cycles);
// Calls `handler` on the program's stack when the vector is delivered; it ends the interrupt itself
// (guest_eoi()). NULL: as before, an interrupt is accepted and ended in no time and an exception skips its
// instruction.
void guest_set_handler(unsigned vector, void (*handler)(unsigned vector));
// An event `guest_mark` in the trace. Takes no time.
void guest_mark(uint64_t phase);
// The program found something wrong: a violation, named by `what` (a constant), with two numbers. Takes no
// time.
void guest_fail(const char *what, uint64_t a0, uint64_t a1);

#endif
