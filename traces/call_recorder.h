// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CALL_RECORDER_H
#define HVSIM_TRACES_CALL_RECORDER_H

/*
 * From the stream of calls to packed chunks (call_chunks) and totals by function (functions). Times come in
 * ticks; a thread's times never fall (one that does is taken as the time before it). Chunks hold whole
 * cycles. A function's own time is summed up in ticks: of thousands of short calls, whole cycles would count
 * the phase of each.
 */

#include "traces/calls.h"
#include "traces/store.h"

struct call_thread {
    struct call_stack stack;
    struct store_chunk chunk;
    unsigned char *buffer, *pos, *limit;
    size_t capacity;
    uint16_t *open; // open calls by texts.id of the function: recursion counts once in totals
    size_t open_capacity;
    uint64_t tick; // of the last operation
    bool used;     // in this run
};

struct call_totals {
    uint64_t calls, total_cycles, self_ticks;
};

struct call_recorder {
    struct store *store;
    struct call_thread **threads; // by number
    size_t thread_capacity;
    struct call_totals *totals; // by texts.id of the function
    size_t total_capacity;
};

void call_recorder_begin(struct call_recorder *recorder, uint32_t number, uint32_t function, uint64_t tick);
void call_recorder_end(struct call_recorder *recorder, uint32_t number, uint64_t tick);
void call_recorder_switch(struct call_recorder *recorder, uint16_t pcpu, uint32_t prev, uint32_t next,
                          uint64_t tick);
// Thread `number` handles exit `seq` from now on; 0: none.
void call_recorder_exit(struct call_recorder *recorder, uint32_t number, uint32_t seq, uint64_t tick);

// The run ends at tick: open calls end, chunks and totals are stored, all threads are forgotten.
void call_recorder_finish(struct call_recorder *recorder, uint64_t tick);
void call_recorder_free(struct call_recorder *recorder);

#endif
