// SPDX-License-Identifier: Apache-2.0
#include "traces/calls.h"

#include "traces/memory.h"

#include <stdlib.h>

void call_stack_free(struct call_stack *stack)
{
    free(stack->frames);
    *stack = (struct call_stack){0};
}

void call_stack_grow(struct call_stack *stack)
{
    void *frames = stack->frames;

    memory_fit(&frames, &stack->capacity, stack->depth, sizeof *stack->frames);
    stack->frames = frames;
}

void call_stack_off(struct call_stack *stack, uint64_t cycle)
{
    stack->is_off = true;
    stack->off_since = cycle;
    stack->cycle = cycle;
}

void call_stack_on(struct call_stack *stack, uint64_t cycle, uint16_t pcpu)
{
    if (stack->is_off)
        stack->off += cycle - stack->off_since;
    stack->is_off = false;
    stack->pcpu = pcpu;
    stack->cycle = cycle;
}

/*
 * State: pcpu, exit, is_off, [cycle - off_since if off], depth, then per frame from the outermost: function,
 * exit, cycle - begin, child, off cycles so far. All varints, least significant seven bits first.
 */
unsigned char *call_pack_state(unsigned char *p, const struct call_stack *stack)
{
    p = call_put(p, stack->pcpu);
    p = call_put(p, stack->exit);
    p = call_put(p, stack->is_off);
    if (stack->is_off)
        p = call_put(p, stack->cycle - stack->off_since);
    p = call_put(p, stack->depth);
    for (size_t i = 0; i < stack->depth; i++) {
        const struct call_frame *frame = &stack->frames[i];

        p = call_put(p, frame->function);
        p = call_put(p, frame->exit);
        p = call_put(p, stack->cycle - frame->begin);
        p = call_put(p, frame->child);
        p = call_put(p, stack->off - frame->off);
    }
    return p;
}

static bool call_get(struct call_reader *reader, uint64_t *value)
{
    unsigned shift = 0;

    for (*value = 0; reader->pos < reader->end && shift < 64; shift += 7) {
        unsigned char byte = *reader->pos++;

        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool call_unpack_frame(struct call_reader *reader, struct call_stack *stack)
{
    uint64_t function, exit, age, child, off;

    if (!call_get(reader, &function) || !call_get(reader, &exit) || !call_get(reader, &age) ||
        !call_get(reader, &child) || !call_get(reader, &off))
        return false;
    call_stack_begin(stack, (uint32_t)function, stack->cycle);
    struct call_frame *frame = &stack->frames[stack->depth - 1];

    frame->exit = (uint32_t)exit;
    frame->begin = stack->cycle - age;
    frame->child = child;
    frame->off = stack->off - off;
    return true;
}

bool call_unpack_state(struct call_reader *reader, struct call_stack *stack)
{
    uint64_t pcpu, exit, is_off, age = 0, depth;

    if (!call_get(reader, &pcpu) || !call_get(reader, &exit) || !call_get(reader, &is_off) || is_off > 1 ||
        (is_off && !call_get(reader, &age)) || !call_get(reader, &depth))
        return false;
    stack->pcpu = (uint16_t)pcpu;
    stack->exit = (uint32_t)exit;
    stack->is_off = is_off;
    stack->off_since = stack->cycle - age;
    stack->depth = 0;
    for (uint64_t i = 0; i < depth; i++)
        if (!call_unpack_frame(reader, stack))
            return false;
    return true;
}

static enum call_step call_unpack_mark(struct call_reader *reader, struct call_stack *stack, uint64_t cycle)
{
    uint64_t mark, value = 0;

    if (!call_get(reader, &mark) || mark > CALL_MARK_EXIT ||
        (mark != CALL_MARK_OFF && !call_get(reader, &value)))
        return CALL_STEP_DAMAGED;
    if (mark == CALL_MARK_OFF)
        call_stack_off(stack, cycle);
    else if (mark == CALL_MARK_ON)
        call_stack_on(stack, cycle, (uint16_t)value);
    else
        stack->exit = (uint32_t)value;
    stack->cycle = cycle;
    return CALL_STEP_OTHER;
}

enum call_step call_unpack(struct call_reader *reader, struct call_stack *stack, struct call_done *done)
{
    uint64_t op, function;

    if (reader->pos == reader->end)
        return CALL_STEP_END_OF_CHUNK;
    if (!call_get(reader, &op))
        return CALL_STEP_DAMAGED;
    uint64_t cycle = stack->cycle + (op >> 2);

    switch (op & 3) {
    case CALL_OP_BEGIN:
        if (!call_get(reader, &function))
            return CALL_STEP_DAMAGED;
        call_stack_begin(stack, (uint32_t)function, cycle);
        return CALL_STEP_BEGAN;
    case CALL_OP_END:
        return call_stack_end(stack, cycle, done) ? CALL_STEP_DONE : CALL_STEP_DAMAGED;
    case CALL_OP_MARK:
        return call_unpack_mark(reader, stack, cycle);
    default:
        return CALL_STEP_DAMAGED;
    }
}
