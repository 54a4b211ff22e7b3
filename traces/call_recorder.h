// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CALL_RECORDER_H
#define HVSIM_TRACES_CALL_RECORDER_H

/*
 * From the stream of calls to packed chunks (call_chunks) and totals by function (functions). Times come in
 * ticks; a thread's times never fall (one that does is taken as the time before it). A function's own time is
 * summed up in ticks: of thousands of short calls, whole cycles would count the phase of each.
 */

#include "traces/calls.h"
#include "traces/store.h"

struct call_thread {
    struct call_stack stack;
    struct store_chunk chunk;
    struct call_packer packer;
    unsigned char *buffer, *limit;
    size_t capacity;
    uint32_t left;  // operations until the chunk is stored
    uint16_t *open; // open calls by texts.id of the function: recursion counts once in totals
    size_t open_capacity;
    bool used; // in this run
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

// The slow sides of what is inline below: a thread's first record in this run, a function's first call, a
// full chunk.
struct call_thread *call_recorder_thread_new(struct call_recorder *recorder, uint32_t number, uint64_t tick);
void call_recorder_new_function(struct call_recorder *recorder, struct call_thread *thread, uint32_t name);
void call_recorder_next_chunk(struct call_recorder *recorder, struct call_thread *thread);

static inline struct call_thread *call_recorder_thread(struct call_recorder *recorder, uint32_t number,
                                                       uint64_t tick)
{
    struct call_thread *thread = number < recorder->thread_capacity ? recorder->threads[number] : NULL;

    return thread && thread->used ? thread : call_recorder_thread_new(recorder, number, tick);
}

// Room for one operation, at a time that does not fall: charges the function that ran until then. Gives the
// ticks since the operation before.
static inline uint64_t call_recorder_step(struct call_recorder *recorder, struct call_thread *thread,
                                          uint64_t tick)
{
    struct call_stack *stack = &thread->stack;

    if (!thread->left || thread->packer.pos > thread->limit)
        call_recorder_next_chunk(recorder, thread);
    thread->left--;
    uint64_t ticks = tick > stack->tick ? tick - stack->tick : 0;

    if (stack->depth && !stack->is_off)
        recorder->totals[stack->frames[stack->depth - 1].function].self_ticks += ticks;
    stack->tick += ticks;
    return ticks;
}

static inline uint64_t call_recorder_cycle(const struct call_thread *thread)
{
    return thread->stack.tick / TRACE_TICKS_PER_CYCLE;
}

// thread calls the function of that text.
static inline void call_recorder_begin(struct call_recorder *recorder, uint32_t number,
                                       struct text_entry *function, uint64_t tick)
{
    struct call_thread *thread = call_recorder_thread(recorder, number, tick);
    uint64_t ticks = call_recorder_step(recorder, thread, tick);
    uint32_t name = (uint32_t)(function->db_id ? function->db_id : store_text_new(recorder->store, function));

    call_pack(&thread->packer, call_operation(CALL_OP_BEGIN, name), ticks);
    call_stack_begin(&thread->stack, name, call_recorder_cycle(thread));
    if (name >= thread->open_capacity || name >= recorder->total_capacity)
        call_recorder_new_function(recorder, thread, name);
    thread->open[name]++;
}

// thread's innermost function returns.
static inline void call_recorder_end(struct call_recorder *recorder, uint32_t number, uint64_t tick)
{
    struct call_thread *thread = call_recorder_thread(recorder, number, tick);
    struct call_done done;

    // A function that was entered before recording began has no begin.
    if (!thread->stack.depth)
        return;
    uint64_t ticks = call_recorder_step(recorder, thread, tick);

    if (!call_stack_end(&thread->stack, call_recorder_cycle(thread), &done))
        return;
    call_pack(&thread->packer, call_operation(CALL_OP_END, 0), ticks);
    struct call_totals *totals = &recorder->totals[done.function];

    thread->chunk.calls++;
    if (done.exit > thread->chunk.last_exit)
        thread->chunk.last_exit = done.exit;
    totals->calls++;
    if (!--thread->open[done.function])
        totals->total_cycles += done.on_cycles;
}

void call_recorder_switch(struct call_recorder *recorder, uint16_t pcpu, uint32_t prev, uint32_t next,
                          uint64_t tick);
// thread handles exit seq from now on; 0: none.
void call_recorder_exit(struct call_recorder *recorder, uint32_t thread, uint32_t seq, uint64_t tick);

// The run ends at tick: open calls end, chunks and totals are stored, all threads are forgotten.
void call_recorder_finish(struct call_recorder *recorder, uint64_t tick);
void call_recorder_free(struct call_recorder *recorder);

#endif
