// SPDX-License-Identifier: Apache-2.0
#include "traces/call_recorder.h"

#include "traces/memory.h"

#include <stdlib.h>

// A chunk is flushed when so many bytes are full; the margin takes the longest operation.
enum { CHUNK_BYTES = 32768, CHUNK_MARGIN = 4 * CALL_VARINT_MAX };

// Everything that a chunk needs to be read by itself goes in front of it.
static void chunk_start(struct call_thread *thread)
{
    size_t state = call_state_size(&thread->stack);
    const struct call_stack *stack = &thread->stack;

    if (thread->capacity < CHUNK_BYTES + state) {
        free(thread->buffer);
        thread->capacity = CHUNK_BYTES + 2 * state;
        thread->buffer = memory_zeroed(thread->capacity, 1);
    }
    thread->chunk.pcpu = stack->pcpu;
    thread->chunk.first_cycle = stack->cycle;
    thread->chunk.first_exit = stack->exit;
    thread->chunk.last_exit = stack->exit;
    thread->chunk.calls = 0;
    thread->pos = call_pack_state(thread->buffer, stack);
    thread->limit = thread->pos + CHUNK_BYTES - state - CHUNK_MARGIN;
    if (state + 2 * CHUNK_MARGIN > CHUNK_BYTES / 2)
        thread->limit = thread->buffer + thread->capacity - CHUNK_MARGIN;
}

static void chunk_flush(struct call_recorder *recorder, struct call_thread *thread)
{
    thread->chunk.last_cycle = thread->stack.cycle;
    store_chunk(recorder->store, &thread->chunk, thread->buffer, (size_t)(thread->pos - thread->buffer));
}

static struct call_thread *recorder_thread_new(struct call_recorder *recorder, uint32_t number, uint64_t tick)
{
    void *threads = recorder->threads;

    memory_fit(&threads, &recorder->thread_capacity, number, sizeof *recorder->threads);
    recorder->threads = threads;
    struct call_thread *thread = recorder->threads[number];

    if (!thread)
        thread = recorder->threads[number] = memory_zeroed(1, sizeof *thread);
    thread->used = true;
    thread->chunk.thread = number;
    thread->tick = tick;
    thread->stack.cycle = tick / TRACE_TICKS_PER_CYCLE;
    thread->stack.pcpu = TRACE_NOBODY;
    chunk_start(thread);
    return thread;
}

static inline struct call_thread *recorder_thread(struct call_recorder *recorder, uint32_t number,
                                                  uint64_t tick)
{
    struct call_thread *thread = number < recorder->thread_capacity ? recorder->threads[number] : NULL;

    return thread && thread->used ? thread : recorder_thread_new(recorder, number, tick);
}

// Room for one operation, at a time that does not fall: charges the function that ran until then, gives the
// operation's cycle and, in *delta, the cycles since the one before.
static inline uint64_t recorder_step(struct call_recorder *recorder, struct call_thread *thread,
                                     uint64_t tick, uint64_t *delta)
{
    const struct call_stack *stack = &thread->stack;

    if (thread->pos > thread->limit) {
        chunk_flush(recorder, thread);
        chunk_start(thread);
    }
    if (tick < thread->tick)
        tick = thread->tick;
    if (stack->depth && !stack->is_off)
        recorder->totals[stack->frames[stack->depth - 1].function].self_ticks += tick - thread->tick;
    thread->tick = tick;
    *delta = tick / TRACE_TICKS_PER_CYCLE - stack->cycle;
    return tick / TRACE_TICKS_PER_CYCLE;
}

// Entries of a function that was never called before.
static void recorder_new_function(struct call_recorder *recorder, struct call_thread *thread, uint32_t name)
{
    void *open = thread->open, *totals = recorder->totals;

    memory_fit(&open, &thread->open_capacity, name, sizeof *thread->open);
    thread->open = open;
    memory_fit(&totals, &recorder->total_capacity, name, sizeof *recorder->totals);
    recorder->totals = totals;
}

void call_recorder_begin(struct call_recorder *recorder, uint32_t number, uint32_t function, uint64_t tick)
{
    struct call_thread *thread = recorder_thread(recorder, number, tick);
    uint64_t delta, cycle = recorder_step(recorder, thread, tick, &delta);
    uint32_t name = (uint32_t)store_text(recorder->store, function);

    thread->pos = call_put(thread->pos, delta << 2 | CALL_OP_BEGIN);
    thread->pos = call_put(thread->pos, name);
    call_stack_begin(&thread->stack, name, cycle);
    if (name >= thread->open_capacity || name >= recorder->total_capacity)
        recorder_new_function(recorder, thread, name);
    thread->open[name]++;
}

void call_recorder_end(struct call_recorder *recorder, uint32_t number, uint64_t tick)
{
    struct call_thread *thread = recorder_thread(recorder, number, tick);
    uint64_t delta, cycle = recorder_step(recorder, thread, tick, &delta);
    struct call_done done;

    // A function that was entered before recording began has no begin.
    if (!call_stack_end(&thread->stack, cycle, &done))
        return;
    struct call_totals *totals = &recorder->totals[done.function];

    thread->pos = call_put(thread->pos, delta << 2 | CALL_OP_END);
    thread->chunk.calls++;
    if (done.exit > thread->chunk.last_exit)
        thread->chunk.last_exit = done.exit;
    totals->calls++;
    if (!--thread->open[done.function])
        totals->total_cycles += done.on_cycles;
}

// Gives the cycle of the mark.
static uint64_t recorder_mark(struct call_recorder *recorder, struct call_thread *thread, enum call_mark mark,
                              uint64_t value, uint64_t tick)
{
    uint64_t delta, cycle = recorder_step(recorder, thread, tick, &delta);

    thread->pos = call_put(thread->pos, delta << 2 | CALL_OP_MARK);
    thread->pos = call_put(thread->pos, mark);
    if (mark != CALL_MARK_OFF)
        thread->pos = call_put(thread->pos, value);
    return cycle;
}

void call_recorder_switch(struct call_recorder *recorder, uint16_t pcpu, uint32_t prev, uint32_t next,
                          uint64_t tick)
{
    if (prev != TRACE_NO_THREAD) {
        struct call_thread *thread = recorder_thread(recorder, prev, tick);

        call_stack_off(&thread->stack, recorder_mark(recorder, thread, CALL_MARK_OFF, 0, tick));
    }
    if (next != TRACE_NO_THREAD) {
        struct call_thread *thread = recorder_thread(recorder, next, tick);

        call_stack_on(&thread->stack, recorder_mark(recorder, thread, CALL_MARK_ON, pcpu, tick), pcpu);
    }
}

void call_recorder_exit(struct call_recorder *recorder, uint32_t number, uint32_t seq, uint64_t tick)
{
    struct call_thread *thread = recorder_thread(recorder, number, tick);

    thread->stack.cycle = recorder_mark(recorder, thread, CALL_MARK_EXIT, seq, tick);
    thread->stack.exit = seq;
}

static void recorder_store_totals(struct call_recorder *recorder)
{
    for (size_t i = 0; i < recorder->total_capacity; i++) {
        const struct call_totals *totals = &recorder->totals[i];
        const int64_t cells[] = {recorder->store->run, (int64_t)i, (int64_t)totals->calls,
                                 (int64_t)totals->total_cycles,
                                 (int64_t)(totals->self_ticks / TRACE_TICKS_PER_CYCLE)};
        const struct store_value values[] = {{.integer = &cells[0]},
                                             {.integer = &cells[1]},
                                             {.integer = &cells[2]},
                                             {.integer = &cells[3]},
                                             {.integer = &cells[4]}};

        if (totals->calls)
            store_execute(
                recorder->store,
                "INSERT INTO main.functions SELECT ?1, text, ?3, ?4, ?5 FROM main.texts WHERE id = ?2",
                values, 5);
    }
    free(recorder->totals);
    recorder->totals = NULL;
    recorder->total_capacity = 0;
}

void call_recorder_finish(struct call_recorder *recorder, uint64_t tick)
{
    for (size_t i = 0; i < recorder->thread_capacity; i++) {
        struct call_thread *thread = recorder->threads[i];

        if (!thread || !thread->used)
            continue;
        while (thread->stack.depth)
            call_recorder_end(recorder, (uint32_t)i, tick);
        chunk_flush(recorder, thread);
        struct call_stack stack = {.frames = thread->stack.frames, .capacity = thread->stack.capacity};

        thread->stack = stack;
        thread->used = false;
    }
    recorder_store_totals(recorder);
}

void call_recorder_free(struct call_recorder *recorder)
{
    for (size_t i = 0; i < recorder->thread_capacity; i++) {
        if (!recorder->threads[i])
            continue;
        call_stack_free(&recorder->threads[i]->stack);
        free(recorder->threads[i]->buffer);
        free(recorder->threads[i]->open);
        free(recorder->threads[i]);
    }
    free(recorder->threads);
    free(recorder->totals);
}
