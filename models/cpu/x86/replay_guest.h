// SPDX-License-Identifier: Apache-2.0
// A guest program in execution. Private to models/cpu/x86.
//
// Where a program stands is a property of the program, not of a processor: vCPUs move. The cursor points at
// an op and how much of the gap before it is left. An instruction that exits leaves the cursor on its op; at
// the next VM entry GUEST_RIP says what software did: behind the instruction, it is done; on it, it runs
// again with the registers that software left; elsewhere, the program goes on at the op that stands there.
#ifndef MODELS_CPU_X86_REPLAY_GUEST_H
#define MODELS_CPU_X86_REPLAY_GUEST_H

#include "hv/hw/vmx.h"
#include "models/cpu/pcpu.h"
#include "models/cpu/x86/replay_run.h"

#define REPLAY_FRAMES_MAX 32u
#define REPLAY_GPA_BITS 46u // Of guest-physical addresses, and so of linear ones.
// Guest-linear address of the current instruction's memory operand.
#define REPLAY_OPERAND_LINEAR 0x00007ffffffef000ull

// A flag of an op of a native guest: there is no instruction to execute, the program itself runs on.
#define REPLAY_RUNS 0x8000u

// A position in the program's own ops, or in those that stand for a handler it does not have.
struct replay_position {
    const struct replay_op *ops; // The program's, or a built-in handler's
    uint32_t op;
    uint64_t gap_left_ticks;
    bool started;    // The op's registers are set up, it has begun
    uint64_t detour; // rip of the built-in handler, 0 in the program
};

struct replay_frame {
    struct replay_position back;
    bool interrupts;    // RFLAGS.IF before
    struct hw_gprs gpr; // A handler saves and restores them
    unsigned char operand[16];
    uint64_t operand_bytes;
};

struct replay_guest {
    uint64_t idtr_base;
    const struct replay_program *program;
    struct native_guest *native; // native_guest_run.h; NULL: a stream's
    uint64_t *rip;               // Of each op
    uint32_t *loop_end;          // LOOP: index of its ENDLOOP; ENDLOOP: of its LOOP
    uint64_t *loop_left;         // Rounds left of each LOOP
    uint32_t *text;              // Trace text of each op, 0: not made yet
    struct replay_position at;
    struct replay_frame frames[REPLAY_FRAMES_MAX];
    uint32_t frame_count;
    uint64_t rip_saved;         // RIP at the last exit or entry
    bool fresh;                 // Has never been entered
    bool done;                  // END was reached
    uint64_t seen[2];           // Exit reasons since the last op that is not AWAIT
    uint64_t await_until_ticks; // 0: not waiting
    uint64_t pauses_left;
    unsigned char operand[16]; // Repeats up to operand_bytes (REP OUTS)
    uint64_t operand_bytes;
    // A hypervisor's: its guest's general registers, which it finds at an exit and loads again before
    // VMRESUME.
    struct hw_gprs nested_gpr;
};

struct replay_set {
    struct replay_guest **guests; // Sorted by idtr_base
    size_t count, capacity;
    replay_done_fn done;
    void *done_ctx;
};

// The guest whose IDTR base this is, positioned by v->rip. NULL: no such
// program, the guest is machine code.
struct replay_guest *replay_enter(struct pcpu *c, uint64_t idtr_base);
// An exit was made.
void replay_leave(struct pcpu *c, struct replay_guest *g);
// Event delivery: remembers where the guest was, goes on in its handler. `length` of the instruction that
// raised a software event.
void replay_deliver(struct pcpu *c, struct replay_guest *g, uint32_t info, uint32_t length);
// Runs the guest until an exit is in v->exit.
void replay_run(struct pcpu *c);
struct replay_guest *replay_find(const struct machine *m, uint64_t idtr_base);

static inline const struct replay_op *replay_current(const struct replay_guest *g)
{
    return &g->at.ops[g->at.op];
}
// Bytes of the op's instruction.
unsigned replay_length(const struct replay_op *op);
// RIP of the op at the cursor.
uint64_t replay_rip(const struct replay_guest *g);

// --- Used by the instructions (replay_exec*.c). ---

enum replay_step {
    STEP_RETIRED, // The instruction is done: the cursor moves on
    STEP_EXIT,    // v->exit is to be made; the cursor stays
    STEP_FAULT,   // An exception was delivered or a position taken: nothing more to do
    STEP_EVENT,   // Not an instruction, done: the cursor moves on, no trap follows
};
typedef enum replay_step (*replay_exec_fn)(struct pcpu *c, struct replay_guest *g,
                                           const struct replay_op *op);
extern const replay_exec_fn replay_exec[REPLAY_OP_COUNT];

// Moves behind the current op, through control ops, to the next one; sets v->rip.
void replay_advance(struct pcpu *c, struct replay_guest *g);
void replay_goto(struct pcpu *c, struct replay_guest *g, uint32_t op);
// IRET: takes up where the last event interrupted. False: nothing was interrupted.
bool replay_return(struct pcpu *c, struct replay_guest *g);
// BRANCH: the value is in RAX. Moves on or to the label.
void replay_branch(struct pcpu *c, struct replay_guest *g, const struct replay_op *op);

// Instruction bytes of an op (replay_bytes.c); at most 15. Registers as replay_exec*.c use them.
unsigned replay_encode(const struct replay_op *op, unsigned char bytes[15]);
// Text for traces: "wrmsr IA32_TSC_DEADLINE".
void replay_text(const struct replay_op *op, char *text, size_t size);

#endif
