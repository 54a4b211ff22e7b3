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
    thread->stack.tick = tick;
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

// Room for one operation, at a time that does not fall: charges the function that ran until then. Gives the ticks
// since the operation before.
static inline uint64_t recorder_step(struct call_recorder *recorder, struct call_thread *thread, uint64_t tick)
{
    struct call_stack *stack = &thread->stack;

    if (!thread->left || thread->packer.pos > thread->limit) {
        chunk_flush(recorder, thread);
        chunk_start(thread);
    }
    thread->left--;
    uint64_t ticks = tick > stack->tick ? tick - stack->tick : 0;

    if (stack->depth && !stack->is_off)
        recorder->totals[stack->frames[stack->depth - 1].function].self_ticks += ticks;
    stack->tick += ticks;
    return ticks;
}

static inline uint64_t recorder_cycle(const struct call_thread *thread)
{
    return thread->stack.tick / TRACE_TICKS_PER_CYCLE;
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
    uint64_t ticks = recorder_step(recorder, thread, tick);
    uint32_t name = (uint32_t)store_text(recorder->store, function);

    call_pack(&thread->packer, call_operation(CALL_OP_BEGIN, name), ticks);
    call_stack_begin(&thread->stack, name, recorder_cycle(thread));
    if (name >= thread->open_capacity || name >= recorder->total_capacity)
        recorder_new_function(recorder, thread, name);
    thread->open[name]++;
}

void call_recorder_end(struct call_recorder *recorder, uint32_t number, uint64_t tick)
{
    struct call_thread *thread = recorder_thread(recorder, number, tick);
    struct call_done done;

    // A function that was entered before recording began has no begin.
    if (!thread->stack.depth)
        return;
    uint64_t ticks = recorder_step(recorder, thread, tick);

    if (!call_stack_end(&thread->stack, recorder_cycle(thread), &done))
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

static void recorder_other(struct call_recorder *recorder, struct call_thread *thread, uint64_t operation,
                           uint64_t tick)
{
    call_pack(&thread->packer, operation, recorder_step(recorder, thread, tick));
}

void call_recorder_switch(struct call_recorder *recorder, uint16_t pcpu, uint32_t prev, uint32_t next,
                          uint64_t tick)
{
    if (prev != TRACE_NO_THREAD) {
        struct call_thread *thread = recorder_thread(recorder, prev, tick);

        recorder_other(recorder, thread, call_operation(CALL_OP_OFF, 0), tick);
        call_stack_off(&thread->stack, recorder_cycle(thread));
    }
    if (next != TRACE_NO_THREAD) {
        struct call_thread *thread = recorder_thread(recorder, next, tick);

        recorder_other(recorder, thread, call_operation(CALL_OP_ON, pcpu), tick);
        call_stack_on(&thread->stack, recorder_cycle(thread), pcpu);
    }
}

void call_recorder_exit(struct call_recorder *recorder, uint32_t number, uint32_t seq, uint64_t tick)
{
    struct call_thread *thread = recorder_thread(recorder, number, tick);

    recorder_other(recorder, thread, call_operation(CALL_OP_EXIT, call_exit_operand(&thread->stack, seq)),
                   tick);
    call_stack_exit(&thread->stack, seq);
    thread->stack.cycle = recorder_cycle(thread);
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
