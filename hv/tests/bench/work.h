// SPDX-License-Identifier: Apache-2.0
// Work of user space that keeps the core busy, for `./dev bench ratio`: the same code runs on the processor
// models (work_vmm.c, in the VMM's place) and natively (yardstick.c, on the fake hardware).
#ifndef HV_TESTS_BENCH_WORK_H
#define HV_TESTS_BENCH_WORK_H

#include "hv/hw/types.h"

struct work {
    int vm, vcpu; // Handles.
    u64 memory;   // User address of WORK_BYTES
};
#define WORK_BYTES (8ull << 20)
#define WORK_PAGES (WORK_BYTES / 4096)

// A VM with one vCPU and a slot 0 of WORK_BYTES at 0. False if the core refused something.
bool work_prepare(struct work *w);
// Does `rounds` of the named work; how many were done, -1 for an unknown name.
//  memslot  a slot is created and deleted
//  prefault a page is mapped by HV_PRE_FAULT_MEMORY (each time all are mapped, the slot is made anew)
//  yield    a system call that asks the scheduler for somebody else, in vain
s64 work_do(struct work *w, const char *name, u64 rounds);

#endif
