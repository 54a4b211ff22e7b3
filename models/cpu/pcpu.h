// SPDX-License-Identifier: Apache-2.0
// A modelled logical processor: its clock, its interrupts, and the rooms that hang off it.
//
// The state is the chip's. It knows nothing of VMs, vCPUs or threads beyond what an instruction told it. All
// functions run on the simulator's one OS thread, inside a sim process unless said otherwise.
// Time: `now_ticks` is the processor's own count of ticks (1/16 core cycle) since the start of the run. It
// runs ahead of sim_now_ps() up to `limit_ticks`.
#ifndef MODELS_CPU_PCPU_H
#define MODELS_CPU_PCPU_H

#include "hv/hw/board.h"
#include "hv/hw/boot.h"
#include "hv/hw/cpu.h"
#include "sim/sim.h"
#include <stdbool.h>
#include <stdint.h>

struct trace;        // traces/trace.h
struct uarch;        // models/cpu/uarch/uarch.h
struct mem_core;     // models/mem/mem.h: caches, TLB, store buffer of this processor
struct native_state; // models/cpu/native/native.h: current context, image
struct x86_state;    // models/cpu/x86/x86.h: registers, MSRs, VMX
struct lapic;        // models/apic/lapic.h
struct price_map;    // models/cpu/native/price.h
struct machine;
struct pcpu;

#define TICKS_PER_CYCLE 16u
#define TICKS_NEVER UINT64_MAX

enum pcpu_mode { PCPU_OFF, PCPU_HALTED, PCPU_KERNEL, PCPU_USER, PCPU_GUEST, PCPU_MODE_COUNT };

// Things of its own that a processor does at a given tick: one slot each.
enum pcpu_timer_slot {
    PCPU_TIMER_LAPIC,       // LAPIC timer, one-shot, periodic or TSC deadline
    PCPU_TIMER_PREEMPTION,  // VMX-preemption timer while in non-root mode
    PCPU_TIMER_GUEST_LAPIC, // spare for a passed-through timer
    PCPU_TIMER_COUNT
};
struct pcpu;
typedef void (*pcpu_timer_fn)(struct pcpu *c);

// Messages that reach a processor from elsewhere, in order of time.
enum pcpu_message_kind { PCPU_MSG_FIXED, PCPU_MSG_NMI, PCPU_MSG_INIT, PCPU_MSG_SIPI, PCPU_MSG_SMI };
struct pcpu_message {
    uint64_t at_ticks;
    uint8_t kind;   // enum pcpu_message_kind
    uint8_t vector; // FIXED, SIPI
    uint8_t level;  // 1: level-triggered
    uint32_t sequence;
};
#define PCPU_MESSAGES_MAX                                                                                    \
    520u // More than there are different ones: 256 vectors each of FIXED and SIPI, and three.

struct pcpu {
    // Hot: touched at every hook.
    uint64_t now_ticks;
    uint64_t limit_ticks; // At or past it: pcpu_slow_path(), if it is due.
    uint64_t due_ticks;   // The same while nobody watches each access (models/cpu/native/watch.h)
    struct mem_core *mem;
    struct native_state *native;
    const struct price_map *prices; // Of the image's blocks on this processor.

    uint32_t index; // In the machine, 0..; also the tie-break rank and the initial APIC id.
    uint32_t host;  // Which simulated host (arena).
    enum pcpu_mode mode;
    bool irqs_enabled; // RFLAGS.IF in root mode
    bool irq_pending;  // LAPIC has a deliverable vector (kept by models/apic)
    bool nmi_pending;
    bool nmi_blocked;
    bool untimed; // The thread that it executes is in an untimed set-up phase.
    bool init_pending;
    bool sipi_pending; // In non-root operation only: a guest in the wait-for-SIPI state takes it
    uint8_t sipi_vector;
    const struct hw_vectors *vectors;

    struct machine *machine;
    const struct uarch *uarch;
    uint64_t ps_per_ticks, ticks_per_ps; // Picoseconds to ticks as a reduced fraction (pcpu_set_clock()).
    struct trace *trace;
    struct lapic *lapic;
    struct x86_state *x86;

    uint64_t timer_at_ticks[PCPU_TIMER_COUNT];
    pcpu_timer_fn timer_fn[PCPU_TIMER_COUNT];
    struct pcpu_message inbox[PCPU_MESSAGES_MAX]; // Sorted by (at_ticks, sequence).
    uint32_t inbox_count;
    uint64_t next_local_ticks; // min of timers and inbox

    struct sim_event *wake; // Notified at a message's time while the processor sleeps.
    bool sleeps;            // Waits for `wake` or a time, halted or in guest code.
    bool held;              // It sleeps in pcpu_hold().
    bool woken;             // pcpu_wake() was called since pcpu_pass_time() began.
    struct sim_signal *vcd_mode;
    struct sim_signal *vcd_irq;
    bool vcd_late; // They are not what they should be yet.

    // What software said last through hw_trace_vcpu(); recorded, never acted upon.
    uint32_t note_vm, note_vcpu, note_level;

    uint64_t mode_ticks[PCPU_MODE_COUNT]; // Time spent in each mode, settled at mode changes.
    uint64_t mode_since_ticks;
};

// The processor that executes now; NULL outside of hv code (start-up, module constructors).
extern struct pcpu *pcpu_current;
// The same for the compiler's hooks: NULL as well while the thread on it is in an untimed set-up phase
// (hv/hw/setup.h), so that they charge nothing and touch no caches.
extern struct pcpu *pcpu_hooked;

static inline void pcpu_set_current(struct pcpu *c)
{
    pcpu_current = c;
    pcpu_hooked = c && !c->untimed ? c : NULL;
}

// One chip (or several hosts' chips) under one scenario.
struct machine {
    struct pcpu **cpus; // All hosts' processors; index order.
    uint32_t cpu_count;
    uint32_t host_count;
    uint32_t hosts_off; // Bit h: host h was switched off; nothing of it executes any more.
    const struct uarch *uarch;
    struct trace *trace;
    const struct native_image *image; // libhv.so
    struct replay_set *replays;       // models/cpu/x86/replay.h: guest programs by IDTR base
    struct trace_port *trace_port;    // models/cpu/x86/trace_port.h
    struct link *link;                // models/dev/link.h: between two hosts; NULL: none
    struct mmu_check *tlb_check;      // models/mmu/check.h: compares hits of translation caches; NULL: off
    struct assigned_msi *assigned;    // models/apic/assigned_msi.h: the device that `msi` ops belong to
    uint64_t seed;
    bool exact; // false: `quantum_ticks` of run-ahead are allowed beyond the horizon
    uint64_t quantum_ticks;
    struct memory *memory; // models/memory/memory.h: values of hv code's atomics; NULL: what memory holds
    struct native_watch
        *watch;         // models/cpu/native/watch.h: who looks at every access of hv code; NULL: nobody
    bool blocks_unseen; // There is somebody, but nobody looks at basic blocks.
    bool stopping;      // The run is over: every hv context unwinds at its next hook.
    // Instructions of machine code are recorded from here on and before there; to == 0: none are.
    uint64_t instructions_from_ticks, instructions_to_ticks;
    uint64_t end_ticks; // Simulated time at which it ends at the latest; TICKS_NEVER: open
    // Somebody outside of simulated time wants to be heard (Ctrl-C, progress): looked at every
    // PCPU_LOOK_TICKS.
    const volatile int *attention;
    void (*on_attention)(struct machine *machine, uint64_t now_ticks);
    // What a host's board does (hv/hw/board.h): its power switch, a byte on the console of a VM, what is
    // typed there (as port INPUT says it), the end of a VM's guest. Each may be NULL.
    void (*power_off)(struct machine *machine, uint32_t host);
    void (*console)(struct machine *machine, uint32_t vm, uint8_t byte);
    uint32_t (*console_input)(struct machine *machine, uint32_t vm);
    void (*guest_end)(struct machine *machine, uint32_t vm, enum guest_end how, uint32_t code);
    void *owner; // Of the callbacks.
};
#define PCPU_LOOK_TICKS (1u << 24)

// Switches one host off: nothing of hv executes there after the hooks that its processors are in.
void machine_host_off(struct machine *machine, uint32_t host);
// Ends the run: nothing of hv executes after the hooks that the processors are in.
void machine_stop_now(struct machine *machine);

// --- Time. ---

// Charges whole cycles of the core clock; no scheduling point by itself.
static inline void pcpu_charge_cycles(struct pcpu *c, uint64_t cycles)
{
    c->now_ticks += cycles * TICKS_PER_CYCLE;
}
// A scheduling point: fires due timers and messages, hands over to whoever is earlier, and takes a pending
// interrupt if `take_interrupts` and interrupts are enabled. May not return to the caller's context when the
// run is stopping (it unwinds to the context's start).
void pcpu_slow_path(struct pcpu *c, bool take_interrupts);
// Every access is looked at: hooks may not pass over their slow path, though nothing may be due.
static inline bool pcpu_is_watched(const struct pcpu *c)
{
    return c->machine->watch && c->mode != PCPU_GUEST;
}
static inline void pcpu_checkpoint(struct pcpu *c)
{
    if (__builtin_expect(c->now_ticks >= c->limit_ticks, 0) &&
        (!pcpu_is_watched(c) || c->now_ticks >= c->due_ticks))
        pcpu_slow_path(c, true);
}
// Recomputes limit_ticks from the horizon, own timers, pending interrupts. After anything that may move them.
void pcpu_update_limit(struct pcpu *c);
// Halts until an interrupt, NMI, INIT or SIPI is pending; time passes. Interrupts are taken if enabled.
void pcpu_halt(struct pcpu *c);
// Lets time pass in the current mode up to `until_ticks`, or less when something pending stops it: returns at
// the first time >= now at which a message or timer was delivered (looked at by the caller) or pcpu_wake()
// was called, or at `until_ticks`. Interrupts are not taken. This is how guest time passes.
void pcpu_pass_time(struct pcpu *c, uint64_t until_ticks);

// Ends the pcpu_pass_time() in which `c` is, at `at_ticks` of the calling processor (equal clocks), or at its
// own time if that is later.
void pcpu_wake(struct pcpu *c, uint64_t at_ticks);

// Stands still, interrupts and own timers waiting, until somebody releases it, but not beyond `until_ticks`.
// May return early: the caller looks whether it may go on, and calls pcpu_slow_path() before it does
// anything.
void pcpu_hold(struct pcpu *c, uint64_t until_ticks);
// A held processor goes on at `at_ticks` of the releasing one (equal clocks) or at its own time, if that is
// later.
void pcpu_release(struct pcpu *held, uint64_t at_ticks);

// Derives the clock ratio from c->uarch. Before any time passes.
void pcpu_set_clock(struct pcpu *c);
uint64_t pcpu_ticks_to_ps(const struct pcpu *c, uint64_t ticks); // Rounds down.
uint64_t pcpu_ps_to_ticks(const struct pcpu *c, uint64_t ps);    // Rounds up.
// TSC of this processor at its `now_ticks`: ticks * tsc_khz / (clock_khz * 16), plus TSC_ADJUST.
uint64_t pcpu_tsc(const struct pcpu *c);
// First tick at which the TSC is >= tsc; TICKS_NEVER if beyond range.
uint64_t pcpu_tsc_to_ticks(const struct pcpu *c, uint64_t tsc);

// --- Events of its own and from elsewhere. ---

void pcpu_timer_arm(struct pcpu *c, enum pcpu_timer_slot slot, uint64_t at_ticks, pcpu_timer_fn fn);
void pcpu_timer_disarm(struct pcpu *c, enum pcpu_timer_slot slot);
// Sends a message to `to`, due at `to`'s tick `at_ticks`. From any processor or device process. Where
// there are PCPU_MESSAGES_MAX undelivered ones, equal ones merge (as IRR bits do).
void pcpu_send(struct pcpu *to, enum pcpu_message_kind kind, uint8_t vector, bool level, uint64_t at_ticks);

// Changes the mode: settles mode_ticks, VCD.
void pcpu_set_mode(struct pcpu *c, enum pcpu_mode mode);
// Shows mode and pending interrupt in the VCD file, if there is one. After a change of either.
void pcpu_show(struct pcpu *c);

#endif
