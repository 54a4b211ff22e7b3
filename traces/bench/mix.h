// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_BENCH_MIX_H
#define HVSIM_TRACES_BENCH_MIX_H

/*
 * A synthetic busy VM for measuring and testing traces/: nothing is simulated, but every category gets
 * records in the proportions of a VM that exits for CPUID, MSRs, I/O and EPT violations on four vCPUs. The
 * same numbers on every host.
 */

#include "traces/trace.h"

enum { MIX_VCPUS = 4, MIX_FUNCTIONS = 160, MIX_CALLS = 20 };

struct mix {
    struct trace *trace;
    uint64_t tick, random;
    uint32_t functions[MIX_FUNCTIONS], instr[4], path[3], route, lock, kind, span[3], hit, result;
    uint32_t vcpu;
};

// After trace_open(); interns the texts.
void mix_init(struct mix *mix, struct trace *trace);

// One VM exit and what belongs to it. The first call per run also puts the threads on their pCPUs.
void mix_exit(struct mix *mix);

#endif
