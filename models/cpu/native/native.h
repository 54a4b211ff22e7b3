// SPDX-License-Identifier: Apache-2.0
// Natively compiled hypervisor code on a modelled processor: the image, its contexts, the hooks.
//
// libhv.so is compiled with gcc's TSan and trace-pc instrumentation against our runtime: each basic block,
// access, atomic and function calls a hook here, which charges time, keeps order and makes the hardware's
// part happen. hv code runs on stacks of sim processes. Each entry into hv (thread start, interrupt, system
// call) begins at a fixed offset of its stack, so that stack addresses do not depend on how the simulator was
// compiled.
#ifndef MODELS_CPU_NATIVE_NATIVE_H
#define MODELS_CPU_NATIVE_NATIVE_H

#include "hv/hw/thread.h"
#include "models/cpu/native/price.h"
#include "models/cpu/pcpu.h"
#include <setjmp.h>

#define NATIVE_CONTEXTS_MAX 4096u
#define NATIVE_LEVELS_MAX 8u           // thread, system call, interrupts on top of each other, NMI
#define NATIVE_LEVEL_BYTES (32u << 10) // of stack for each
#define NATIVE_STACK_BYTES (512u << 10)
#define NATIVE_STACK_HPA_STRIDE (1u << 20)

struct native_image {
    char *path; // Absolute, links followed.
    void *handle;
    uint64_t base, bytes; // Of the mapped file.
    char build_id[41];    // Hexadecimal.
    hw_boot_entry boot;
    struct price_table *prices;
    struct price_map map;
    struct price_table *host_prices[HW_ARENA_HOSTS_MAX]; // Of hosts that have their own; NULL: `prices`.
    // Function of each byte of the text: index of price_symbol_at() + 1, 0 if none.
    uint16_t *function_at;
    uint32_t *function_text; // trace_text() ids by that index; filled at the start of a run.
};

struct native_context {
    uint32_t index; // Lowest free number at creation: names stack region and trace thread. 0 is not used.
    bool live, dead;
    bool untimed; // In a set-up phase (hv/hw/setup.h).
    bool reaped;  // Unwinding was asked for by native_stop(), which waits for control to come back.
    char name[32];
    struct sim_process *process;
    void (*entry)(void *arg);
    void *arg;
    jmp_buf unwind;
    char *stack_top; // Host address of the fixed start, page aligned.
    uint32_t level;  // Entries into hv on this stack.
    uint32_t trace_thread;
    uint64_t mode_ticks[PCPU_MODE_COUNT]; // On a processor, by its mode.
    uint64_t off_ticks;                   // Switched out.
    uint64_t since_ticks;
    struct native_context *next_on_exit;
};

struct native_state {
    struct native_context *current;
};

// Opens libhv.so at `path` and prices it for `u`. NULL with one line in `error` (no such file, not an
// instrumented build, address HW_IMAGE_BASE taken). Outside of simulated time. One image per OS process at a
// time.
struct native_image *native_image_open(const char *path, const struct uarch *u, char *error,
                                       size_t error_size);
// Prices it for the processors of `host` alone. -1 with `error`. Before their native_state_create().
int native_image_price(struct native_image *image, uint32_t host, const struct uarch *u, char *error,
                       size_t error_size);
void native_image_close(struct native_image *image);
// Interns the function names in the run's trace. Before the run.
void native_image_intern(struct native_image *image, struct trace *trace);
// Calls are not recorded in this run: nobody will read them, nor the digest. After native_image_intern().
void native_calls_unseen(void);

struct native_state *native_state_create(struct pcpu *c);
void native_state_destroy(struct native_state *n);

// Starts the boot processor in the image with `info` (in the arena). Outside of processes, before sim_run().
void native_boot(struct pcpu *c, const struct hw_bootinfo *info);
// SIPI: starts an application processor at `at_ticks`.
void native_start_ap(struct pcpu *c, uint64_t at_ticks);
// Delivers the interrupt or NMI that is pending. Returns on whatever processor the context then runs.
void native_take_interrupt(struct pcpu *c);
void native_take_nmi(struct pcpu *c);
// Leaves all hv frames of the calling context. Does not return.
_Noreturn void native_unwind(struct pcpu *c);
// After a run: unwinds every context, until all processes are back in the pool. From main; machine->stopping
// set.
void native_stop(struct machine *machine);
// The next `count` threads that the core creates make no system call.
void native_reserve(unsigned count);
// Forgets contexts; after native_stop().
void native_reset(void);

// Times of the current context since its creation, in ticks, settled to now.
void native_context_times(struct pcpu *c, uint64_t *kernel, uint64_t *user, uint64_t *off);
uint32_t native_context_thread(const struct pcpu *c); // Its number in traces.
// Adds the time since the last call to the current context and the processor's mode counters.
void native_settle(struct pcpu *c);

// Simulated physical address of any pointer that hv code uses.
uint64_t native_pointer_hpa(struct pcpu *c, const void *p);
// The same for an image or stack pointer. Anything else is a bug of hv (`wild_pointer`). `pc`: what the
// access's hook returns to; 0: not known.
uint64_t native_ptr_to_hpa(struct pcpu *c, const void *p, uint64_t pc);
// Name of the function of the image that `pc` is in; "?": none.
const char *native_function_name(const struct native_image *image, uint64_t pc);
// A bug of hv, after which it cannot go on: a violation of this kind, and the run ends here. Outside of the
// run (untimed set-up of the simulator itself, `c` NULL) the program ends, with status 70.
_Noreturn void native_core_bug(struct pcpu *c, const char *kind, uint64_t address, const char *detail);

#endif
