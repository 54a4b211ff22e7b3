// SPDX-License-Identifier: Apache-2.0
#include "traces/call_recorder.h"

#include "traces/memory.h"

#include <stdlib.h>

// A chunk is stored when so many bytes are full, or CALL_CHUNK_OPS operations in it.
enum { CHUNK_BYTES = 32768 };

// Everything that a chunk needs to be read by itself goes in front of it.
static void chunk_start(struct call_thread *thread)
{
    const struct call_stack *stack = &thread->stack;
    size_t capacity = call_state_size(stack) + CHUNK_BYTES;

    if (thread->capacity < capacity) {
        free(thread->buffer);
        thread->capacity = capacity + call_state_size(stack);
        thread->buffer = memory_zeroed(thread->capacity, 1);
    }
    thread->chunk.pcpu = stack->pcpu;
    thread->chunk.first_cycle = stack->cycle;
    thread->chunk.first_exit = stack->exit;
    thread->chunk.last_exit = stack->exit;
    thread->chunk.calls = 0;
    call_pack_start(&thread->packer, call_pack_state(thread->buffer, stack));
    thread->limit = thread->packer.pos + CHUNK_BYTES - CALL_PACKED_MAX - CALL_VARINT_MAX;
    thread->left = CALL_CHUNK_OPS;
}

static void chunk_flush(struct call_recorder *recorder, struct call_thread *thread)
{
    call_pack_run(&thread->packer);
    thread->chunk.last_cycle = thread->stack.cycle;
    store_chunk(recorder->store, &thread->chunk, thread->buffer,
                (size_t)(thread->packer.pos - thread->buffer));
}

struct call_thread *call_recorder_thread_new(struct call_recorder *recorder, uint32_t number, uint64_t tick)
{
    void *threads = recorder->threads;

    memory_fit(&threads, &recorder->thread_capacity, number, sizeof *recorder->threads);
    recorder->threads = threads;
    struct call_thread *thread = recorder->threads[number];

    if (!thread)
        thread = recorder->threads[number] = memory_zeroed(1, sizeof *thread);
    thread->used = true;
    thread->chunk.thread = number;
    thread->stack.tick = tick;
    thread->stack.cycle = tick / TRACE_TICKS_PER_CYCLE;
    thread->stack.pcpu = TRACE_NOBODY;
    chunk_start(thread);
    return thread;
}

void call_recorder_new_function(struct call_recorder *recorder, struct call_thread *thread, uint32_t name)
{
    void *open = thread->open, *totals = recorder->totals;

    memory_fit(&open, &thread->open_capacity, name, sizeof *thread->open);
    thread->open = open;
    memory_fit(&totals, &recorder->total_capacity, name, sizeof *recorder->totals);
    recorder->totals = totals;
}

void call_recorder_next_chunk(struct call_recorder *recorder, struct call_thread *thread)
{
    chunk_flush(recorder, thread);
    chunk_start(thread);
}

static void recorder_other(struct call_recorder *recorder, struct call_thread *thread, uint64_t operation,
                           uint64_t tick)
{
    call_pack(&thread->packer, operation, call_recorder_step(recorder, thread, tick));
}

void call_recorder_switch(struct call_recorder *recorder, uint16_t pcpu, uint32_t prev, uint32_t next,
                          uint64_t tick)
{
    if (prev != TRACE_NO_THREAD) {
        struct call_thread *thread = call_recorder_thread(recorder, prev, tick);

        recorder_other(recorder, thread, call_operation(CALL_OP_OFF, 0), tick);
        call_stack_off(&thread->stack, call_recorder_cycle(thread));
    }
    if (next != TRACE_NO_THREAD) {
        struct call_thread *thread = call_recorder_thread(recorder, next, tick);

        recorder_other(recorder, thread, call_operation(CALL_OP_ON, pcpu), tick);
        call_stack_on(&thread->stack, call_recorder_cycle(thread), pcpu);
    }
}

void call_recorder_exit(struct call_recorder *recorder, uint32_t number, uint32_t seq, uint64_t tick)
{
    struct call_thread *thread = call_recorder_thread(recorder, number, tick);

    recorder_other(recorder, thread, call_operation(CALL_OP_EXIT, call_exit_operand(&thread->stack, seq)),
                   tick);
    call_stack_exit(&thread->stack, seq);
    thread->stack.cycle = call_recorder_cycle(thread);
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
