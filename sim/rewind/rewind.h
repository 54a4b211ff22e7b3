// SPDX-License-Identifier: Apache-2.0
// Photographs the running simulator inside its own process and restarts from the photograph, tens of
// thousands of times a second: no serializers, no fork for each execution, no unwinding. x86-64 Linux only.
//
// The photograph is all private writable memory of the process (globals of every library, heap, stacks of all
// coroutines, host physical memory) and the registers of the caller of rewind_begin(). An *execution* goes
// from there to rewind_end(). The *explorer* lives on a stack of its own, in memory that is not restored, and
// has one execution after the other run.
//
//     static void explorer(void *arg)                       int go_on = rewind_begin(explorer, &plan);
//     {                                                     if (go_on >= 0)    // An execution, with its
//     value.
//         for (...)                                             ... and some time later: rewind_end(result);
//             result = rewind_run(value);                   // REWIND_OVER: the explorer has returned.
//     }
//
// Does not restore: what the kernel of the operating system holds (files and their offsets, signal masks,
// handlers, protections of mappings), memory mapped shared. See docs/rewind.md for what an execution may do.
// Who calls: sim/ and tools/; one thread. Takes no simulated time; a timed run never comes here.
#ifndef HVSIM_SIM_REWIND_REWIND_H
#define HVSIM_SIM_REWIND_REWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// NULL if this build can do it on this machine; else a sentence that says why not.
const char *rewind_unsupported(void);

// Tells malloc() never to map or unmap memory by the block and never to give any back, so that an execution
// may free what was allocated before the photograph. rewind_begin() does it as well; a program that is going
// to explore calls it first thing in main(), for blocks of 128 KiB and more that it allocates before that.
void rewind_prepare(void);

// Values of rewind_begin() beside those that rewind_run() hands over.
enum {
    REWIND_OVER = -1, // The explorer has returned; memory is that of the photograph, and is restored no more.
    REWIND_REFUSED = -2, // Nothing was done: the reason is on stderr. (rewind_unsupported(), or two threads.)
};

// Takes the photograph and calls explorer(arg) on the rewinder's stack (8 MiB). From any stack: of a process
// (sim_process_start()) or the main one, not from a signal handler. `arg` is best in rewind_alloc() memory:
// what the explorer writes elsewhere is undone with the next restart, and so is malloc()'s idea of what the
// explorer allocated. (Calls of stdio are fine if they end with fflush().)
// Returns once for each rewind_run() with that call's value, and at last REWIND_OVER.
int rewind_begin(void (*explorer)(void *arg), void *arg);

// In the explorer: puts memory and registers back and lets rewind_begin() return `value` (>= 0). Comes back
// with the value of rewind_end(). What the execution left in memory is there to read until the next call.
// The explorer may fork(): the child goes on exploring on its own, from the same photograph; it and its
// parent share only memory mapped shared (before rewind_begin()).
int rewind_run(int value);

// In an execution, on whatever stack: ends it.
_Noreturn void rewind_end(int value);

// Is an exploration under way (between rewind_begin() and REWIND_OVER)?
bool rewind_active(void);

// Zeroed memory that is never restored, aligned to 64 bytes; up to 64 GiB in all, of which only what is
// written to is really there. May be called before, in and after an exploration, by both sides. Never NULL:
// running out ends the program with status 70.
void *rewind_alloc(size_t bytes);
// Frees all of it. Not during an exploration.
void rewind_free(void);

// Of the exploration under way, or the last one.
struct rewind_stats {
    uint64_t executions;     // Calls of rewind_run().
    uint64_t faults;         // First writes that were caught. Stands still once the dirtied pages are known.
    uint64_t pages;          // Compared at each restart now.
    uint64_t pages_put_back; // In all restarts together: pages that differed.
    uint64_t pages_given_up; // Protected again, because they had not differed for long.
    uint64_t unmapped_bytes; // Of memory that executions mapped.
};
struct rewind_stats rewind_stats(void);

#endif
