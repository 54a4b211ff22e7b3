// SPDX-License-Identifier: Apache-2.0
// A native guest in execution. Private to models/cpu/x86.
//
// Two sides hand one control back and forth: the processor (replay_run() on an hv thread's stack) and the
// program (on its own). The ops of its replay_guest are slots: slot 0 holds the instruction that the program
// wants, slot n that of the handler which runs on top of n events. A slot with REPLAY_RUNS holds none: the
// program itself is to run. It runs until it fills its slot, or until limit_ticks, and everything that takes
// more than charging time (other processors' turns, events, exits, the end of the run) happens on the
// processor's side.
#ifndef MODELS_CPU_X86_NATIVE_GUEST_RUN_H
#define MODELS_CPU_X86_NATIVE_GUEST_RUN_H

#include "models/cpu/native/price.h"
#include "models/cpu/x86/native_guest.h"
#include "models/cpu/x86/replay_guest.h"

// Where program text appears to the modelled processor, by its link address.
#define NATIVE_TEXT_BASE 0x400000ull
#define NATIVE_STACK_BYTES_GUEST (256u << 10)
#define NATIVE_SLOTS (REPLAY_FRAMES_MAX + 1u)

struct native_program {
    char *path; // Absolute, links followed.
    void *handle;
    const struct guest_program *info;
    uint64_t bias;                                  // Host address - link address
    struct price_table *prices[HW_ARENA_HOSTS_MAX]; // [0]: of every host without its own
    struct price_map maps[HW_ARENA_HOSTS_MAX];
};

struct native_guest {
    // Hot: touched at every hook.
    struct pcpu *cpu; // That executes it now
    struct price_map map;
    bool careful;         // Each access is to be an instruction of its own: single stepping
    uint64_t apart[2];    // Host pages + 1 that are not ordinary memory
    uint64_t load_ticks;  // Of a load that hits the first-level cache
    uint64_t text_offset; // Host address + this is where the modelled processor has it
    uint32_t level;       // The slot of the code that runs
    uint64_t gap_ticks;   // Of guest_work(), on its way to the processor

    struct replay_guest *g;
    struct replay_op slots[NATIVE_SLOTS + 1]; // The last one is END.
    struct replay_program program;
    struct native_guest_config config;
    uint64_t run_seed;
    void (*handlers[256])(unsigned vector);
    struct {
        bool entered; // Delivered, its handler did not begin yet
        uint8_t vector;
    } event[NATIVE_SLOTS]; // By slot

    void *program_sp, *cpu_sp; // Of the side that waits
    char *stack;               // Its lowest byte
    bool begun;
    const void *cpu_stack; // For AddressSanitizer: the processor side's
    size_t cpu_stack_bytes;
};

// The program that executes now, on its stack; NULL: none.
extern struct native_guest *native_running;

// --- Called by replay_run.c and replay.c. ---

// Runs the program until it wants an instruction or limit_ticks is reached.
void native_guest_run(struct pcpu *c, struct replay_guest *g);
// The instruction in the current slot is done.
void native_guest_retire(struct replay_guest *g);
bool native_guest_handles(const struct native_guest *n, unsigned vector);
// The vector's handler is to run on top of g->frame_count events: its slot.
uint32_t native_guest_enter(struct native_guest *n, unsigned vector);
void native_guest_reset(struct native_guest *n, uint64_t run_seed);
void native_guest_free(struct native_guest *n);

// --- Called on the program's stack. ---

// Lets the processor execute `op` and comes back behind it; its results are in the guest's registers. `pc`:
// return address of the call that stands for the instruction.
void native_instruction(struct native_guest *n, const struct replay_op *op, const void *pc);
// Gives the processor its turn where limit_ticks is reached.
void native_turn(struct native_guest *n, const void *pc);

#endif
