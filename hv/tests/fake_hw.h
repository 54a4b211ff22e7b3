// SPDX-License-Identifier: Apache-2.0
// A fake of hv/hw for unit tests of the core: processors are coroutines of one OS thread, memory is the real
// arena.
//
// Costs nothing and times nothing: one clock for all processors counts points (instructions of hv/hw, and
// basic blocks of code compiled with trace-pc). At each point a pending interrupt is taken and another
// processor may go on: in turns, or as a seed says. Does not model caches, memory order, microarchitecture.
#ifndef HV_TESTS_FAKE_HW_H
#define HV_TESTS_FAKE_HW_H

#include "hv/hw/boot.h"
#include "hv/hw/cpu.h"
#include "hv/hw/thread.h"
#include "hv/hw/trace.h"
#include "hv/hw/vmx.h"
#include "hv/knobs.h"

#define FAKE_TSC_KHZ 1000000u // 1 point is 1 ns.

struct fake_config {
    u32 cpus;         // 1..8
    u64 memory_bytes; // 0: 64 MiB; at most 8 GiB
    u64 seed;         // 0: processors take turns every `turn_points`; else a random order that repeats
    u32 turn_points;  // 0: 50
    const struct knobs *knobs; // NULL: defaults
    const void *vmm_config;
    u64 vmm_config_bytes;
    u64 points_max; // A run that takes longer is stuck: ends as a panic. 0: 200 million
};

// Boots a host and runs body(arg) on its first user thread (in place of vmm_main()); the run ends when it
// returns. 0, or 70 after hw_panic(), a deadlock (all processors halted for good) or too many points:
// fake_panic() tells.
// How many seeds a test tries: `usual`, or what the environment's HVSIM_TEST_SEEDS says, for a longer search.
u64 fake_seeds(u64 usual);
int fake_run(const struct fake_config *config, void (*body)(void *), void *arg);
const char *fake_panic(void);

// --- What was recorded since the run began. ---
struct fake_event {
    u64 time;
    u32 cpu;
    enum hw_tracepoint tp;
    u64 a[6];
};
// The n-th record of a tracepoint; NULL beyond the last one.
// hw_trace_dirty_page() as an event of this number: vm, vcpu, slot, gfn, method, ring.
#define FAKE_DIRTY_PAGE ((enum hw_tracepoint)TP_COUNT)
const struct fake_event *fake_trace(enum hw_tracepoint tp, u64 n);
u64 fake_trace_count(enum hw_tracepoint tp);
u64 fake_violations(const char *name); // NULL: of any name
u64 fake_counter(const char *name);

// --- The clock and the processors. ---
u64 fake_time(void);
// Lets `points` pass on the calling processor; interrupts are taken if they are enabled.
void fake_pass(u64 points);
u32 fake_cpu(void);
// Raises a fixed interrupt as a device would.
void fake_raise(u32 cpu, unsigned vector);
// How often interrupt `vector` was delivered.
u64 fake_delivered(unsigned vector);
// An MSR's value; makes it known.
void fake_set_msr(u32 cpu, u32 msr, u64 value);
u64 fake_get_msr(u32 cpu, u32 msr);
u64 fake_msr_writes(u32 msr);

// --- VMX: fields of the current VMCS, and what an entry does. ---
u64 fake_vmcs_read(u32 field);
u64 fake_xcr0(void); // Of the processor that executes now.
void fake_vmcs_write(u32 field, u64 value);
// From now on (or no longer) points are free of everything: no time, no turns, no interrupts, and nothing is
// recorded. For measuring the core's own speed.
void fake_quiet(bool quiet);
// Called by VMLAUNCH and VMRESUME in place of a guest; writes exit fields. NULL: each entry exits with HLT.
typedef enum hw_vmx_status (*fake_guest_fn)(struct hw_gprs *gprs, bool launch);
void fake_set_guest(fake_guest_fn fn);
// Guest time: up to `points`; true if it ended early because an interrupt or NMI is pending (not taken: it
// exits).
bool fake_guest_time(u64 points);
// The highest pending vector, which is acknowledged; -1: none.
int fake_acknowledge(void);

#endif
