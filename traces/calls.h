// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CALLS_H
#define HVSIM_TRACES_CALLS_H

/*
 * The call stack of one hypervisor thread and its packed form (call_chunks.packed, see docs/trace-schema.md).
 * The recorder applies calls to a stack and packs them; the reader unpacks them and applies them to a stack
 * of its own. Times are cycles. Frames are numbered from 0, the outermost.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct call_frame {
    uint32_t function;
    uint32_t exit; // exits.seq that was being handled when it began, 0 none
    uint64_t begin;
    uint64_t child; // cycles on a pCPU in calls that it made and that ended
    uint64_t off;   // call_stack.off when it began
};

struct call_stack {
    struct call_frame *frames;
    size_t depth, capacity;
    uint64_t cycle;     // of the last operation
    uint64_t off;       // cycles that the thread was not on a pCPU
    uint64_t off_since; // if it is not on one now
    uint32_t exit;      // being handled now, 0 none
    uint16_t pcpu;
    bool is_off;
};

// A call that ended.
struct call_done {
    uint32_t function, exit;
    size_t depth;
    uint64_t begin, cycles; // begin to end
    uint64_t on_cycles;     // of these, on a pCPU
    uint64_t self_cycles;   // of these, not in calls that it made
};

// Lowest two bits of a packed operation; the rest is the time since the operation before, in cycles.
enum call_op { CALL_OP_BEGIN, CALL_OP_END, CALL_OP_MARK };
// What follows CALL_OP_MARK.
enum call_mark { CALL_MARK_OFF, CALL_MARK_ON, CALL_MARK_EXIT };

void call_stack_free(struct call_stack *stack);
void call_stack_grow(struct call_stack *stack);

// Inline, as are the ends: tens of them belong to each exit.
static inline void call_stack_begin(struct call_stack *stack, uint32_t function, uint64_t cycle)
{
    if (stack->depth >= stack->capacity)
        call_stack_grow(stack);
    stack->frames[stack->depth++] =
        (struct call_frame){.function = function, .exit = stack->exit, .begin = cycle, .off = stack->off};
    stack->cycle = cycle;
}

// False if no call is open.
static inline bool call_stack_end(struct call_stack *stack, uint64_t cycle, struct call_done *done)
{
    if (!stack->depth)
        return false;
    const struct call_frame *frame = &stack->frames[--stack->depth];
    // A call may end with the run while its thread is switched out.
    uint64_t off = stack->off + (stack->is_off ? cycle - stack->off_since : 0);

    done->function = frame->function;
    done->exit = frame->exit;
    done->depth = stack->depth;
    done->begin = frame->begin;
    done->cycles = cycle - frame->begin;
    done->on_cycles = done->cycles - (off - frame->off);
    done->self_cycles = done->on_cycles - frame->child;
    if (stack->depth)
        stack->frames[stack->depth - 1].child += done->on_cycles;
    stack->cycle = cycle;
    return true;
}

void call_stack_off(struct call_stack *stack, uint64_t cycle);
void call_stack_on(struct call_stack *stack, uint64_t cycle, uint16_t pcpu);

enum { CALL_VARINT_MAX = 10 };

static inline unsigned char *call_put(unsigned char *p, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *p++ = (unsigned char)(value | 0x80);
    *p++ = (unsigned char)value;
    return p;
}

// Bytes that call_pack_state() needs at most for a stack of this depth.
static inline size_t call_state_size(const struct call_stack *stack)
{
    return (6 + 5 * stack->depth) * CALL_VARINT_MAX;
}

// Packs the stack as it stands, so that a chunk can be read without those before it.
unsigned char *call_pack_state(unsigned char *p, const struct call_stack *stack);

struct call_reader {
    const unsigned char *pos, *end;
};

// Unpacks what call_pack_state() wrote; stack->cycle must be the chunk's first cycle. False if the bytes are
// damaged.
bool call_unpack_state(struct call_reader *reader, struct call_stack *stack);

enum call_step {
    CALL_STEP_END_OF_CHUNK,
    CALL_STEP_DAMAGED,
    CALL_STEP_OTHER,
    CALL_STEP_BEGAN,
    CALL_STEP_DONE
};

// Applies the next operation to stack; *done is filled with CALL_STEP_DONE.
enum call_step call_unpack(struct call_reader *reader, struct call_stack *stack, struct call_done *done);

#endif
