// SPDX-License-Identifier: Apache-2.0
// Inside of the recorder's port. Private to models/cpu/x86.
#ifndef MODELS_CPU_X86_TRACE_STATE_H
#define MODELS_CPU_X86_TRACE_STATE_H

#include "hv/hw/trace.h"
#include "models/cpu/pcpu.h"
#include "models/mmu/mmu.h"
#include "traces/trace.h"

#define SPAN_DEPTH_MAX 32u
#define MIGRATING_VMS 256u // Their numbers are below (HV_CAP_VM_NUMBER).

struct span_open {
    uint32_t span;
    uint64_t begin_ticks;
};

struct span_stack {
    struct span_open open[SPAN_DEPTH_MAX];
    uint32_t depth; // May exceed the maximum: the deepest are then not recorded
};

struct trace_counter_row {
    char *name;
    uint64_t value;
};

// The exit of a vCPU that waits for its next entry.
struct exit_open {
    uint64_t key; // The vCPU, or a VMCS.
    bool open;
    struct trace_exit row;
    uint32_t thread;
    uint64_t kernel_ticks, user_ticks, off_ticks; // Of the thread, when host code began
    uint64_t entered_ticks;                       // When the guest last began to run
};

struct trace_port {
    struct exit_open *exits; // Sorted by key
    size_t exit_count, exit_capacity;
    struct span_stack *spans; // By thread
    uint32_t span_threads;
    // Texts of trace_once().
    uint32_t dirty_methods[HW_DIRTY_METHODS], walk_results[MMU_RESULTS], walk_wheres[EPT_WHERES];
    uint32_t
        round[MIGRATING_VMS]; // By VM: of its migration that goes on, from 1; 0: none, or before its first
    struct trace_counter_row *counters; // In order of first use
    size_t counter_count, counter_capacity;
};

struct trace_port *trace_port_of(struct machine *m);
// The id of `text`, which is always the same one at this `id`: it is looked up once a run.
static inline uint32_t trace_once(const struct pcpu *c, uint32_t *id, const char *text)
{
    if (!*id)
        *id = trace_text(c->trace, text);
    return *id;
}
// `guest`: at the level that hv last told of, else the hypervisor's 0.
struct trace_where trace_where_of(const struct pcpu *c, bool guest);
void trace_exits_forget(struct trace_port *p);

#endif
