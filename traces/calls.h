// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_CALLS_H
#define HVSIM_TRACES_CALLS_H

/*
 * The call stack of one hypervisor thread and its packed form (call_chunks.packed, see docs/trace-schema.md).
 * The recorder applies calls to a stack and packs them; the reader unpacks them and applies them to a stack
 * of its own. Frames are numbered from 0, the outermost.
 *
 * A hypervisor does the same again and again, so an operation is packed against a guess: the one that
 * followed the same few operations the last time. Times are packed in ticks, which repeat where whole cycles
 * do not (their phase differs each time); the stack and what it gives are in whole cycles.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    uint64_t tick;      // of the last operation
    uint64_t cycle;     // the same in whole cycles
    uint64_t off;       // cycles that the thread was not on a pCPU
    uint64_t off_since; // if it is not on one now
    uint32_t exit;      // being handled now, 0 none
    uint32_t last_exit; // being handled now or last
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

// What happens to a stack; the operand is in bits 3 and up of an operation.
enum call_op {
    CALL_OP_BEGIN, // texts.id of the function
    CALL_OP_END,   // 0
    CALL_OP_OFF,   // 0
    CALL_OP_ON,    // number of the pCPU
    CALL_OP_EXIT,  // call_exit_operand()
    CALL_OPS,
};

static inline uint64_t call_operation(enum call_op op, uint64_t operand)
{
    return operand << 3 | op;
}

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
    return (8 + 5 * stack->depth) * CALL_VARINT_MAX;
}

// Packs the stack as it stands, so that a chunk can be read without those before it.
unsigned char *call_pack_state(unsigned char *p, const struct call_stack *stack);

static inline uint64_t call_zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t call_unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ -(value & 1));
}

// Exits are told by how far they are from the one after the thread's last.
static inline uint64_t call_exit_operand(const struct call_stack *stack, uint32_t exit)
{
    return exit ? 1 + call_zigzag((int64_t)exit - stack->last_exit - 1) : 0;
}

static inline void call_stack_exit(struct call_stack *stack, uint32_t exit)
{
    stack->exit = exit;
    if (exit)
        stack->last_exit = exit;
}

// --- Guesses. ---

// CALL_CHUNK_OPS: a chunk has no more operations, which bounds what a damaged one can ask for.
enum { CALL_GUESS_BITS = 12, CALL_CHUNK_OPS = 16384 };

struct call_guesses {
    uint32_t context; // of the last few operations
    struct {
        uint64_t operation, ticks; // since the operation before
    } slots[1u << CALL_GUESS_BITS];
};

// Three bits a step: operations before the last four have left it.
static inline void call_guess_next(struct call_guesses *guesses, uint64_t operation)
{
    uint32_t hash = (uint32_t)operation * 0x9e3779b1u >> (32 - CALL_GUESS_BITS);

    guesses->context = (guesses->context << 3 ^ hash) & ((1u << CALL_GUESS_BITS) - 1);
}

// The lowest two bits of a packed number; what is in the others.
enum call_code {
    CALL_CODE_RUN,  // so many operations as guessed, less 1
    CALL_CODE_TIME, // the operation as guessed, at another time: zigzag of how much later
    CALL_CODE_OTHER // the operation; its ticks follow
};

struct call_packer {
    unsigned char *pos;
    uint64_t run; // operations as guessed that are not yet packed
    struct call_guesses guesses;
};

enum { CALL_PACKED_MAX = 3 * CALL_VARINT_MAX }; // bytes of an operation, with the run before it

static inline void call_pack_start(struct call_packer *packer, unsigned char *pos)
{
    packer->pos = pos;
    packer->run = 0;
    memset(&packer->guesses, 0, sizeof packer->guesses);
}

// The run that is not yet packed, at the end of a chunk or before an operation that is not as guessed.
static inline void call_pack_run(struct call_packer *packer)
{
    if (packer->run)
        packer->pos = call_put(packer->pos, (packer->run - 1) << 2 | CALL_CODE_RUN);
    packer->run = 0;
}

void call_pack_other(struct call_packer *packer, uint64_t operation, uint64_t ticks);
static inline void call_pack(struct call_packer *packer, uint64_t operation, uint64_t ticks)
{
    struct call_guesses *guesses = &packer->guesses;

    if (guesses->slots[guesses->context].operation == operation &&
        guesses->slots[guesses->context].ticks == ticks)
        packer->run++;
    else
        call_pack_other(packer, operation, ticks);
    call_guess_next(guesses, operation);
}

struct call_reader {
    const unsigned char *pos, *end;
    uint64_t run;  // operations as guessed that are left of the last packed number
    uint32_t left; // operations that the chunk may still have
    struct call_guesses guesses;
};

// Starts reading a chunk of size bytes: unpacks what call_pack_state() wrote. stack->cycle must be the
// chunk's first cycle. False if the bytes are damaged.
bool call_unpack_state(struct call_reader *reader, const unsigned char *bytes, size_t size,
                       struct call_stack *stack);

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
