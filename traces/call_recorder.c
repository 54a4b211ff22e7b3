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

static struct call_thread *recorder_thread_new(struct call_recorder *recorder, uint32_t number,
                                               uint64_t cycle)
{
    void *threads = recorder->threads;

    memory_fit(&threads, &recorder->thread_capacity, number, sizeof *recorder->threads);
    recorder->threads = threads;
    struct call_thread *thread = recorder->threads[number];

    if (!thread)
        thread = recorder->threads[number] = memory_zeroed(1, sizeof *thread);
    thread->used = true;
    thread->chunk.thread = number;
    thread->stack.cycle = cycle;
    thread->stack.pcpu = TRACE_NOBODY;
    chunk_start(thread);
    return thread;
}

static inline struct call_thread *recorder_thread(struct call_recorder *recorder, uint32_t number,
                                                  uint64_t cycle)
{
    struct call_thread *thread = number < recorder->thread_capacity ? recorder->threads[number] : NULL;

    return thread && thread->used ? thread : recorder_thread_new(recorder, number, cycle);
}

// Room for one operation at a time that does not fall; gives the time since the one before.
static inline uint64_t recorder_step(struct call_recorder *recorder, struct call_thread *thread,
                                     uint64_t *cycle)
{
    if (thread->pos > thread->limit) {
        chunk_flush(recorder, thread);
        chunk_start(thread);
    }
    if (*cycle < thread->stack.cycle)
        *cycle = thread->stack.cycle;
    return *cycle - thread->stack.cycle;
}

void call_recorder_begin(struct call_recorder *recorder, uint32_t number, uint32_t function, uint64_t cycle)
{
    struct call_thread *thread = recorder_thread(recorder, number, cycle);
    uint64_t delta = recorder_step(recorder, thread, &cycle);
    uint32_t name = (uint32_t)store_text(recorder->store, function);

    thread->pos = call_put(thread->pos, delta << 2 | CALL_OP_BEGIN);
    thread->pos = call_put(thread->pos, name);
    call_stack_begin(&thread->stack, name, cycle);
    if (name >= thread->open_capacity) {
        void *open = thread->open;

        memory_fit(&open, &thread->open_capacity, name, sizeof *thread->open);
        thread->open = open;
    }
    thread->open[name]++;
}

static void recorder_total(struct call_recorder *recorder, struct call_thread *thread,
                           const struct call_done *done)
{
    if (done->function >= recorder->total_capacity) {
        void *totals = recorder->totals;

        memory_fit(&totals, &recorder->total_capacity, done->function, sizeof *recorder->totals);
        recorder->totals = totals;
    }
    struct call_totals *totals = &recorder->totals[done->function];

    totals->calls++;
    totals->self_cycles += done->self_cycles;
    if (!--thread->open[done->function])
        totals->total_cycles += done->on_cycles;
}

void call_recorder_end(struct call_recorder *recorder, uint32_t number, uint64_t cycle)
{
    struct call_thread *thread = recorder_thread(recorder, number, cycle);
    uint64_t delta = recorder_step(recorder, thread, &cycle);
    struct call_done done;

    // A function that was entered before recording began has no begin.
    if (!call_stack_end(&thread->stack, cycle, &done))
        return;
    thread->pos = call_put(thread->pos, delta << 2 | CALL_OP_END);
    thread->chunk.calls++;
    if (done.exit > thread->chunk.last_exit)
        thread->chunk.last_exit = done.exit;
    recorder_total(recorder, thread, &done);
}

static void recorder_mark(struct call_recorder *recorder, struct call_thread *thread, enum call_mark mark,
                          uint64_t value, uint64_t *cycle)
{
    uint64_t delta = recorder_step(recorder, thread, cycle);

    thread->pos = call_put(thread->pos, delta << 2 | CALL_OP_MARK);
    thread->pos = call_put(thread->pos, mark);
    if (mark != CALL_MARK_OFF)
        thread->pos = call_put(thread->pos, value);
}

void call_recorder_switch(struct call_recorder *recorder, uint16_t pcpu, uint32_t prev, uint32_t next,
                          uint64_t cycle)
{
    uint64_t now = cycle;

    if (prev != TRACE_NO_THREAD) {
        struct call_thread *thread = recorder_thread(recorder, prev, cycle);

        recorder_mark(recorder, thread, CALL_MARK_OFF, 0, &now);
        call_stack_off(&thread->stack, now);
    }
    now = cycle;
    if (next != TRACE_NO_THREAD) {
        struct call_thread *thread = recorder_thread(recorder, next, cycle);

        recorder_mark(recorder, thread, CALL_MARK_ON, pcpu, &now);
        call_stack_on(&thread->stack, now, pcpu);
    }
}

void call_recorder_exit(struct call_recorder *recorder, uint32_t number, uint32_t seq, uint64_t cycle)
{
    struct call_thread *thread = recorder_thread(recorder, number, cycle);

    recorder_mark(recorder, thread, CALL_MARK_EXIT, seq, &cycle);
    thread->stack.exit = seq;
    thread->stack.cycle = cycle;
}

static void recorder_store_totals(struct call_recorder *recorder)
{
    for (size_t i = 0; i < recorder->total_capacity; i++) {
        const struct call_totals *totals = &recorder->totals[i];
        const int64_t cells[] = {recorder->store->run, (int64_t)i, (int64_t)totals->calls,
                                 (int64_t)totals->total_cycles, (int64_t)totals->self_cycles};
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

void call_recorder_finish(struct call_recorder *recorder, uint64_t cycle)
{
    for (size_t i = 0; i < recorder->thread_capacity; i++) {
        struct call_thread *thread = recorder->threads[i];

        if (!thread || !thread->used)
            continue;
        while (thread->stack.depth)
            call_recorder_end(recorder, (uint32_t)i, cycle);
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
