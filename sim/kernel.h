// SPDX-License-Identifier: Apache-2.0
// Inside sim/: the state behind sim.h, and the carrier that SystemC is to it. Nobody outside sim/ includes
// this.
//
// The order of everything is decided here, in C, on an agenda of our own. SystemC carries the decision out:
// its threads are our coroutines, its clock is caught up with ours whenever somebody could look at it, and
// what its own models have pending takes part in the order (see docs/determinism.md).
#ifndef HVSIM_SIM_KERNEL_H
#define HVSIM_SIM_KERNEL_H

#include "sim/sim.h"

#ifdef __cplusplus
extern "C" {
#endif

// --- Bugs of the caller or of ours. ---

// Prints "hvsim: bug: ..." with the run's time and ends the program with status 70. Never returns.
void sim_bug(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define SIM_CHECK(cond, ...) ((cond) ? (void)0 : sim_bug(__VA_ARGS__))

// --- The agenda: a binary heap of what is due. ---

// Order: time, then rank, then seq. Events have rank 0 and so come before the processes of their time.
struct sim_node {
    sim_ps_t ps;
    uint64_t seq;  // Counts up in a run: equal ranks go in the order in which they began to wait.
    uint32_t rank; // 0: an event's notification. Else a process's rank + 1.
    uint32_t slot; // Place in the heap + 1; 0 when not in it.
};

void agenda_add(struct sim_node *n);
void agenda_remove(struct sim_node *n);
static inline bool agenda_holds(const struct sim_node *n)
{
    return n->slot != 0;
}
// The first node, NULL if nothing is due.
struct sim_node *agenda_first(void);
// Are two or more processes due at the first node's time? (Meant for when the first node is a process.)
bool agenda_first_is_tied(void);
// Copies up to `max` nodes that are due at the first node's time, in order. Returns how many there are.
unsigned agenda_tied(struct sim_node **out, unsigned max);

// --- Processes and events. ---

enum sim_process_state {
    PROCESS_FREE,    // In the pool: no body.
    PROCESS_WAITING, // Waits for a time, an event or both.
    PROCESS_PARKED,  // Waits for a hand-over.
    PROCESS_RUNNING, // The one that runs.
    PROCESS_SYSTEMC, // Runs or waits inside a SystemC model that it called.
    PROCESS_EXITING, // Has handed over for good; its body returns next.
};

enum { PROCESS_NAME_BYTES = 48 };

struct sim_process {
    struct sim_node node; // First: a process node of the agenda is its process.
    enum sim_process_state state;
    bool by_event;           // Why the last wait ended.
    struct sim_event *event; // Waited for, with `waiter_next` the list of its waiters.
    struct sim_process *waiter_next, *waiter_prev;
    void (*body)(void *arg);
    void *arg;
    struct sim_process *successor; // Runs when this one's body has returned (PROCESS_EXITING).
    struct sim_process *pool_next;
    struct carrier_thread *thread;
    unsigned stack_class;
    char name[PROCESS_NAME_BYTES];
};

struct sim_event {
    struct sim_node node; // First: an event node of the agenda is its event. In the agenda if somebody waits.
    sim_ps_t pending_ps;  // Of the notification; meaningful if `pending_run` is the current run.
    uint64_t pending_run;
    struct sim_process *first_waiter, *last_waiter; // In order of waiting.
    const char *name;
};

struct sim_kernel {
    sim_ps_t now_ps;
    sim_ps_t until_ps; // Of the current sim_run().
    uint64_t seq;
    uint64_t run;     // Counts sim_start_over().
    uint64_t outside; // Counts returns of control to sim_run().
    uint64_t live;    // Processes whose body has not returned.
    struct sim_process *running;
    struct sim_process *chosen; // The last that a chooser took of several tied ones, and when.
    sim_ps_t chosen_ps;
    struct sim_process *wants_clock; // Waits until SystemC's clock has caught up with now_ps.
    bool in_run, stopping;
};
extern struct sim_kernel sim_kernel;

// The next process that may run now, taken off the agenda, with now_ps moved to its time. NULL if SystemC's
// models are due first, the run's limit or sim_stop() says no, or there is none.
struct sim_process *kernel_pick(void);
// Makes the notification `ev`, which is due, happen: its waiters become due now.
void event_fire(struct sim_event *ev);
// Makes `p` the last waiter of `ev`.
void event_add_waiter(struct sim_event *ev, struct sim_process *p);
// Takes `p` out of the waiters of the event that it waits for, if any.
void event_forget_waiter(struct sim_process *p);
// In the running process: lets SystemC's clock catch up with now_ps and its models settle.
void kernel_catch_up(void);
// From outside: runs `p` and whom it hands over to, until nobody of ours can go on.
void process_enter(struct sim_process *p);
// Puts `p` on the agenda at `ps`, behind those of its rank that wait already.
void process_due_at(struct sim_process *p, sim_ps_t ps);

// Brackets a call out of the running process into a SystemC model, which may wait in SystemC's own way. Both
// take no simulated time of their own. Between the two, sim_process_self() is NULL.
struct sim_process *kernel_enter_systemc(void);
void kernel_leave_systemc(struct sim_process *self);

// Has someone replaced sim_choose()'s default?
bool choose_is_installed(void);

// Calls fn(arg) with the stack pointer at `sp` (16-byte aligned, within the current stack, below the caller's
// frame), so that its frame is where `sp` says whichever compiler built the caller.
void stack_call_at(void *sp, void (*fn)(void *), void *arg);

// --- The carrier: SystemC, in systemc/carrier.cpp. Times are picoseconds since the start of the run. ---

struct carrier_thread;

int carrier_init(void);
// Ends SystemC's elaboration, once: from here on no module and no trace can be added.
void carrier_elaborate(void);
bool carrier_is_elaborated(void);
// SystemC's clock. It lags behind now_ps while nobody could see it.
sim_ps_t carrier_now_ps(void);
// A coroutine that will call loop(arg), which never returns, when first entered or switched to.
struct carrier_thread *carrier_thread_create(size_t stack_bytes, void (*loop)(void *), void *arg);
void *carrier_thread_stack_top(const struct carrier_thread *t);
// From outside: runs `to` until some coroutine leaves.
void carrier_enter(struct carrier_thread *to);
// From a coroutine: runs `to`, directly. Returns when somebody switches back or enters it.
void carrier_switch(struct carrier_thread *from, struct carrier_thread *to);
// From a coroutine: back to outside. Returns as carrier_switch() does.
void carrier_leave(struct carrier_thread *from);
// When SystemC's own models are next due; SIM_PS_NEVER if they are not.
sim_ps_t carrier_next_ps(void);
// From outside: moves SystemC's clock to `ps` (not if it is there) and runs its models until they settle.
void carrier_run_models_at(sim_ps_t ps);
// Makes SystemC's present the new run's time 0.
void carrier_start_over(void);

#ifdef __cplusplus
}
#endif
#endif
