// SPDX-License-Identifier: Apache-2.0
// A machine built from a scenario: processors, memory, the hypervisor core's image, guests' streams. Runs one
// variant at a time and starts over for the next inside the same process.
//
// Called from main, outside of simulated time. One machine at a time per OS process (the arena and libhv.so
// have fixed addresses).
#ifndef SIM_MACHINE_MACHINE_H
#define SIM_MACHINE_MACHINE_H

#include "models/cpu/x86/observer.h"
#include "sim/scenario/scenario.h"
#include "traces/trace.h"

struct sim_machine;
struct check;
struct explore;

struct machine_options {
    const char *hv_path;      // libhv.so; NULL: ../lib/libhv.so beside the executable
    const char *uarch_folder; // NULL: ../share/hvsim/uarch beside the executable
    const char *vcd_path;     // NULL: no value changes
    uint64_t quantum_cycles;  // 0: exact order
    uint32_t validate;        // Bit set of enum check_kind (docs/validators.md)
    bool check_tlb; // Compare every hit of a translation cache with the tables (docs/tlb-checker.md)
};

// Builds the machine. NULL with `e`: unknown micro-architecture, unusable libhv.so, stream errors, memory.
struct sim_machine *machine_create(const struct scenario *s, const struct machine_options *options,
                                   struct user_error *e);
void machine_destroy(struct sim_machine *m);

enum machine_end {
    MACHINE_GUESTS_DONE, // Every vCPU's stream came to its end, every image's guest ended itself.
    MACHINE_POWER_OFF,   // The VMM switched the host off (action `stop`).
    MACHINE_TIME_LIMIT,  // run.until was reached.
    MACHINE_IDLE, // Nothing can ever happen again although guests are not done: a lost wake-up or deadlock.
    MACHINE_INTERRUPTED, // machine_interrupt() was called.
};
const char *machine_end_str(enum machine_end end);

// How the guest of a VM with an image ended; GUEST_END_NONE: it has not.
struct machine_guest_end {
    enum guest_end how;
    uint32_t code; // Of GUEST_END_EXIT; 0xffff: that or more.
};

struct machine_run {
    const struct scenario_variant *variant;
    const struct scenario_knob *knobs; // On top of the variant's.
    uint32_t knob_count;
    uint64_t seed;
    uint64_t until_ns;    // Simulated time at which it ends at the latest; 0: the scenario says
    struct trace *trace;  // May be NULL: nothing recorded, no digest.
    const char *resolved; // Text for the run's row, or NULL.
    // Where the trace stores instructions: those that begin from here on and before there, in cycles.
    uint64_t instructions_from, instructions_to;
    // Called about every 10^6 cycles of simulated time while *attention is set; may call machine_interrupt().
    const volatile int *attention;
    void (*on_attention)(void *ctx, uint64_t cycles);
    // A byte that the guest of a VM (its number in the scenario) sends to its console, as it appears. NULL:
    // nobody looks.
    void (*on_console)(void *ctx, uint32_t vm, uint8_t byte);
    void *ctx;
    // Watches the machine code of all guests (models/cpu/x86/observer.h), or NULL. `on_end` is called when
    // nothing more will happen, while processors and memory still are as the end left them; NULL: nobody
    // wants to know.
    struct guest_observer *observer;
    void (*on_end)(void *ctx, enum machine_end end);
    struct explore *explore; // sim/explore/explore.h: searches the run's interleavings, or NULL
    // Out.
    enum machine_end end;
    uint64_t cycles; // Of the core clock, at the end.
    struct machine_guest_end guest_ends[SCENARIO_VMS_MAX];
    struct check *check; // The machine's validators (models/check/check.h), set from the beginning; or NULL
    uint32_t steps, steps_passed; // Of the variant's pinned order; 0 where it has none.
    int64_t run_id;
    struct trace_digest digest;
};

// Runs it from reset to the end. 0; or -1 with `e` (database errors). The trace run is begun and ended by it.
int machine_run(struct sim_machine *m, struct machine_run *run, struct user_error *e);
// Ends the run that is in progress as MACHINE_INTERRUPTED.
void machine_interrupt(struct sim_machine *m);

const char *machine_build_id(const struct sim_machine *m); // Of libhv.so, hexadecimal.
// Its processors and what belongs to them, to be looked at.
const struct machine *machine_hardware(const struct sim_machine *m);
// After a run: what of a console's input or script has not been typed, and why, one sentence. False: nothing
// is left.
bool machine_typing_left(const struct sim_machine *m, uint32_t vm, char *text, size_t size);
// Guest memory of a VM with an image as it was before anything ran. False: there is none at this address.
bool machine_loaded(const struct sim_machine *m, uint32_t vm, uint64_t gpa, void *to, uint64_t size);
const struct uarch *machine_uarch(const struct sim_machine *m);
const struct native_image *machine_image(const struct sim_machine *m);

// Path of a file that belongs to the installation: `relative` to the executable's folder. Caller frees.
char *machine_installed_path(const char *relative);

#endif
