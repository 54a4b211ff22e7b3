// SPDX-License-Identifier: Apache-2.0
// The kernel of time, in C: processes, events, choices and signals over SystemC.
//
// One OS thread. A *process* is a coroutine with its own stack; it runs until it waits. Time is an unsigned
// count of picoseconds since the start of the run (sim_start_over() begins a new run at 0 inside the same
// SystemC kernel, whose own clock only goes forward). Order is exact: of everything that can run, the
// earliest time goes first; equal times go to sim_choose(SIM_SITE_TIE), whose default is the lowest rank.
//
// A process may run ahead of sim_now_ps() on a clock of its own (a pCPU does), up to sim_horizon_ps().
// Models in plain SystemC take part: what they have due at a time runs, until it settles, before the
// processes of that time. See docs/determinism.md, and sim_mmio.h for how a register access reaches them.
// Does not model: anything. Who calls: models/ and sim/machine; never hv/. Nothing here throws: errors of the
// caller are assertions (status 70), SystemC's reports are turned into a message and status 70.
#ifndef HVSIM_SIM_SIM_H
#define HVSIM_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t sim_ps_t;
#define SIM_PS_NEVER UINT64_MAX

struct sim_process;
struct sim_event;
struct sim_signal;

// --- The run. Called from main, outside any process. ---

// Prepares SystemC, once per OS process; its elaboration ends with the first sim_run(). Idempotent. Returns
// 0, or -1 with a message on stderr.
int sim_init(void);

enum sim_run_result {
    SIM_RUN_STOPPED, // sim_stop() was called.
    SIM_RUN_IDLE,    // Nothing can ever run again: every process waits for an event nobody will notify.
    SIM_RUN_LIMIT,   // `until_ps` was reached. What is due at that very time is left to the next sim_run().
};
// Runs processes until one of the results. May be called again to go on (after SIM_RUN_IDLE: once there is
// something to do again, such as an event notified from outside).
enum sim_run_result sim_run(sim_ps_t until_ps);

// Ends the current sim_run() when the calling process next waits; called by a SystemC model: before the next
// process runs. The horizon moves to the present. Outside of a run it does nothing.
void sim_stop(void);

// Starts over: every process's body must have returned (the pool keeps the coroutines), all pending
// notifications are dropped, time is 0 again, tie order and event ranks are as after sim_init().
// A run after it is indistinguishable from the first one. SystemC's own models are not reset: they keep their
// state and what they have pending. An open VCD file is closed: it shows the first run. Outside of a run.
void sim_start_over(void);

// --- Time. Inside or outside of a process. ---

// The kernel's time in picoseconds since the start of the run.
sim_ps_t sim_now_ps(void);

// The earliest time at which any *other* process or SystemC model will run, or the run's limit if that is
// earlier; SIM_PS_NEVER if none is due. A process that runs ahead must not pass it. Whatever makes something
// due moves it: read it again after sim_event_notify_at(), sim_process_start() and accesses to SystemC
// models.
sim_ps_t sim_horizon_ps(void);

// True if a process whose rank is `rank` and whose own time is `ps` may go on without waiting: nothing else
// is due before it, and among those due at exactly `ps` it is the one that goes first.
bool sim_may_continue(sim_ps_t ps, unsigned rank);

// --- Processes. ---

// Starts `body(arg)` as a process at the current time, taken from the pool (spawned if the pool is empty).
// `rank` breaks ties at equal times (a pCPU's index; devices above 1000). `stack_bytes` at least; the pool
// rounds up to a power of two, at least 64 KiB and at most 1 GiB, with a guard page at the lower end. `name`
// is copied, up to 47 bytes. The result is valid until the body returns: the pool then uses it again.
struct sim_process *sim_process_start(const char *name, unsigned rank, size_t stack_bytes,
                                      void (*body)(void *arg), void *arg);
// Fills the pool, so that the next `count` processes with such stacks make no system call (once a run has
// begun). Changes nothing else.
void sim_process_reserve(size_t stack_bytes, unsigned count);
// The calling process; NULL outside.
struct sim_process *sim_process_self(void);
// Top (highest address, page-aligned) and size of the process's stack. Constant while the body runs; the top
// is NULL before it first ran. The body is called with the stack pointer exactly SIM_STACK_ENTRY_BYTES below
// the top (on x86-64 and AArch64), whichever compiler built the simulator. Where frames further down lie does
// depend on the compiler of those above them: who needs them at fixed offsets takes the top at the call of
// the code in question. A body may leave its own frames by longjmp(); no call of sim.h is on the stack then.
#define SIM_STACK_ENTRY_BYTES 4096
void *sim_process_stack_top(const struct sim_process *p);
size_t sim_process_stack_bytes(const struct sim_process *p);
// Changes the tie-break rank (an hv thread that moves to another pCPU).
void sim_process_set_rank(struct sim_process *p, unsigned rank);

// Waits until `ps` (>= now). Costs no switch if the caller may continue: sim_may_continue(). Inside a
// process.
void sim_wait_until(sim_ps_t ps);
// Waits until the event is notified or `ps` comes (SIM_PS_NEVER: no limit). True if by the event, which also
// wins if both are at one time. The wait begins at sim_now_ps(): who ran ahead waits for its own time first.
bool sim_wait_event_until(struct sim_event *ev, sim_ps_t ps);

// Hands control from the calling process to `to`, which must be waiting in sim_process_park() or not have
// started yet; the caller parks. Takes no simulated time, and no third process runs in between.
void sim_process_hand_over(struct sim_process *to);
// Parks the caller until somebody hands over to it.
void sim_process_park(void);
// Creates a process in the parked state: its body starts with the first sim_process_hand_over() to it.
struct sim_process *sim_process_create_parked(const char *name, unsigned rank, size_t stack_bytes,
                                              void (*body)(void *arg), void *arg);
// Makes `p`, which waits or is parked, due now whatever it waits for: its sim_wait_event_until() gives false,
// its wait, park or hand-over returns, a body not yet started starts. For running bodies out to their end
// before sim_start_over(). Inside or outside of a process.
void sim_process_wake(struct sim_process *p);
// Hands control to `to` and ends the calling process's body for good (it must then return at once).
void sim_process_hand_over_and_exit(struct sim_process *to);

// --- Events. One waiter or many; a notification is not remembered when nobody waits. ---
//
// A notification for a later time happens before any process of that time runs; who begins to wait at that
// very time is too late for it. All waiters are due at its time and go in the usual order.

struct sim_event *sim_event_create(const char *name);
void sim_event_destroy(struct sim_event *ev);
// Notifies at `ps` (>= now). An earlier pending notification stays, a later one is replaced.
void sim_event_notify_at(struct sim_event *ev, sim_ps_t ps);
void sim_event_cancel(struct sim_event *ev);

// --- Choices: the only source of nondeterminism. ---

enum sim_site {
    SIM_SITE_TIE,         // Which of n runnable at the same time goes first.
    SIM_SITE_PREEMPT,     // At a scheduling point of hv code: 0 goes on, i hands over to the i-th other.
    SIM_SITE_STORE_DRAIN, // Whether a buffered store becomes visible now.
    SIM_SITE_MODEL,       // An order that a model leaves open.
    SIM_SITE_READ,        // Which store an atomic load reads: 0 is the newest (models/memory).
    SIM_SITE_ORDER,       // Where a store goes in its location's modification order: 0 is the end.
    SIM_SITE_COUNT
};
// Returns a number below n (n >= 1). The default implementation returns 0.
unsigned sim_choose(enum sim_site site, unsigned n);
// Replaces the implementation (NULL: the default). It is asked for every choice with n > 1, at
// SIM_SITE_TIE in rank order of the tied (the first 64 of them).
typedef unsigned (*sim_choose_fn)(void *ctx, enum sim_site site, unsigned n);
void sim_choose_install(sim_choose_fn fn, void *ctx);

// --- Signals for VCD (SystemC's own tracing). ---

// Opens the file `path` for value changes, in picoseconds; before the first sim_run(). Returns 0 or -1
// (message names file and reason). Until it is closed the file is at `path` if that ends in ".vcd", else at
// `path`.part.vcd. Equal runs write equal files. A forked child must not run on with an open file.
int sim_vcd_open(const char *path);
// Writes what is left and closes. Outside of a run; does nothing if none is open. Returns 0 or -1 as above.
int sim_vcd_close(void);
bool sim_vcd_is_open(void);
// A signal of 1..64 bits. `name` may contain dots for hierarchy ("cpu0.mode"). Signals are kept over runs:
// asked for again, the same one, at its reset value. While a file is open, new ones only before the first
// sim_run().
struct sim_signal *sim_signal_create(const char *name, unsigned bits, uint64_t reset);
// Sets the value at the kernel's current time. A process that runs ahead waits for its own time first when
// sim_vcd_is_open(); that never changes the order of anything.
void sim_signal_set(struct sim_signal *s, uint64_t value);

#ifdef __cplusplus
}
#endif
#endif
