// SPDX-License-Identifier: Apache-2.0
#include "traces/calls.h"

#include "traces/memory.h"
#include "traces/trace.h"

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
 * State: ticks past the first cycle, pcpu, exit, last_exit, is_off, [cycle - off_since if off], depth, then
 * per frame from the outermost: function, exit, cycle - begin, child, off cycles so far. All varints, least
 * significant seven bits first.
 */
unsigned char *call_pack_state(unsigned char *p, const struct call_stack *stack)
{
    p = call_put(p, stack->tick % TRACE_TICKS_PER_CYCLE);
    p = call_put(p, stack->pcpu);
    p = call_put(p, stack->exit);
    p = call_put(p, stack->last_exit);
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

void call_pack_other(struct call_packer *packer, uint64_t operation, uint64_t ticks)
{
    struct call_guesses *guesses = &packer->guesses;
    uint64_t guess = guesses->slots[guesses->context].ticks;

    call_pack_run(packer);
    if (guesses->slots[guesses->context].operation == operation) {
        uint64_t later = call_zigzag((int64_t)(ticks - guess));

        packer->pos = call_put(packer->pos, later << 2 | CALL_CODE_TIME);
    } else {
        packer->pos = call_put(packer->pos, operation << 2 | CALL_CODE_OTHER);
        packer->pos = call_put(packer->pos, ticks);
    }
    guesses->slots[guesses->context].operation = operation;
    guesses->slots[guesses->context].ticks = ticks;
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

bool call_unpack_state(struct call_reader *reader, const unsigned char *bytes, size_t size,
                       struct call_stack *stack)
{
    uint64_t ticks, pcpu, exit, last_exit, is_off, age = 0, depth;

    reader->pos = bytes;
    reader->end = bytes + size;
    reader->run = 0;
    reader->left = CALL_CHUNK_OPS;
    memset(&reader->guesses, 0, sizeof reader->guesses);
    if (!call_get(reader, &ticks) || ticks >= TRACE_TICKS_PER_CYCLE || !call_get(reader, &pcpu) ||
        !call_get(reader, &exit) || !call_get(reader, &last_exit) || !call_get(reader, &is_off) ||
        is_off > 1 || (is_off && !call_get(reader, &age)) || !call_get(reader, &depth))
        return false;
    stack->tick = stack->cycle * TRACE_TICKS_PER_CYCLE + ticks;
    stack->last_exit = (uint32_t)last_exit;
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

// The next packed number, which is not a run's: the operation and its ticks.
static bool call_get_operation(struct call_reader *reader, uint64_t code, uint64_t *operation,
                               uint64_t *ticks)
{
    struct call_guesses *guesses = &reader->guesses;

    *operation = guesses->slots[guesses->context].operation;
    *ticks = guesses->slots[guesses->context].ticks;
    if ((code & 3) == CALL_CODE_TIME)
        *ticks += (uint64_t)call_unzigzag(code >> 2);
    else if ((code & 3) != CALL_CODE_OTHER || !call_get(reader, ticks))
        return false;
    else
        *operation = code >> 2;
    guesses->slots[guesses->context].operation = *operation;
    guesses->slots[guesses->context].ticks = *ticks;
    return true;
}

static inline enum call_step call_apply(struct call_stack *stack, uint64_t operation, uint64_t ticks,
                                        struct call_done *done)
{
    uint64_t operand = operation >> 3;

    stack->tick += ticks;
    uint64_t cycle = stack->tick / TRACE_TICKS_PER_CYCLE;

    switch (operation & 7) {
    case CALL_OP_BEGIN:
        call_stack_begin(stack, (uint32_t)operand, cycle);
        return CALL_STEP_BEGAN;
    case CALL_OP_END:
        return call_stack_end(stack, cycle, done) ? CALL_STEP_DONE : CALL_STEP_DAMAGED;
    case CALL_OP_OFF:
        call_stack_off(stack, cycle);
        return CALL_STEP_OTHER;
    case CALL_OP_ON:
        call_stack_on(stack, cycle, (uint16_t)operand);
        return CALL_STEP_OTHER;
    case CALL_OP_EXIT:
        call_stack_exit(stack, operand ? (uint32_t)(stack->last_exit + 1 + call_unzigzag(operand - 1)) : 0);
        stack->cycle = cycle;
        return CALL_STEP_OTHER;
    default:
        return CALL_STEP_DAMAGED;
    }
}

enum call_step call_unpack(struct call_reader *reader, struct call_stack *stack, struct call_done *done)
{
    struct call_guesses *guesses = &reader->guesses;
    uint64_t operation = guesses->slots[guesses->context].operation;
    uint64_t ticks = guesses->slots[guesses->context].ticks, code;

    if (!reader->run) {
        if (reader->pos == reader->end)
            return CALL_STEP_END_OF_CHUNK;
        if (!call_get(reader, &code))
            return CALL_STEP_DAMAGED;
        if ((code & 3) != CALL_CODE_RUN && !call_get_operation(reader, code, &operation, &ticks))
            return CALL_STEP_DAMAGED;
        reader->run = (code & 3) == CALL_CODE_RUN ? (code >> 2) + 1 : 1;
    }
    if (!reader->left--)
        return CALL_STEP_DAMAGED;
    reader->run--;
    call_guess_next(guesses, operation);
    return call_apply(stack, operation, ticks, done);
}
