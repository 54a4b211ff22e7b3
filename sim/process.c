// SPDX-License-Identifier: Apache-2.0
#include "sim/kernel.h"

#include <stdlib.h>
#include <string.h>

// Stacks come in powers of two from 64 KiB, so that what sim_process_stack_bytes() says follows from what was
// asked for and not from what happened to be in the pool.
enum { STACK_CLASS_MIN_SHIFT = 16, STACK_CLASS_COUNT = 15 };

static struct sim_process *pool[STACK_CLASS_COUNT];

static unsigned stack_class_of(size_t bytes)
{
    for (unsigned c = 0; c < STACK_CLASS_COUNT; c++) {
        if (bytes <= (size_t)1 << (STACK_CLASS_MIN_SHIFT + c)) {
            return c;
        }
    }
    sim_bug("a stack of %zu bytes", bytes);
}

static struct sim_process *self_checked(const char *who)
{
    SIM_CHECK(sim_kernel.running, "%s outside of a process", who);
    return sim_kernel.running;
}

// --- Control from one to the next. Whoever returns from these runs. ---

static void run(struct sim_process *p)
{
    p->state = PROCESS_RUNNING;
    sim_kernel.running = p;
}

static void switch_to(struct sim_process *from, struct sim_process *to)
{
    run(to);
    carrier_switch(from->thread, to->thread);
}

// The caller has put itself where it waits; the next that is due runs.
static void give_way(struct sim_process *self)
{
    struct sim_process *next = kernel_pick();
    if (next == self) {
        run(self);
    } else if (next) {
        switch_to(self, next);
    } else {
        sim_kernel.running = NULL;
        carrier_leave(self->thread);
    }
}

void process_enter(struct sim_process *p)
{
    run(p);
    carrier_enter(p->thread);
    sim_kernel.running = NULL;
    sim_kernel.outside++;
}

void process_due_at(struct sim_process *p, sim_ps_t ps)
{
    p->state = PROCESS_WAITING;
    p->node.ps = ps;
    p->node.seq = sim_kernel.seq++;
    agenda_add(&p->node);
}

void kernel_catch_up(void)
{
    struct sim_process *self = self_checked(__func__);
    if (carrier_now_ps() == sim_kernel.now_ps && carrier_next_ps() > sim_kernel.now_ps) {
        return;
    }
    sim_kernel.wants_clock = self;
    self->state = PROCESS_WAITING;
    sim_kernel.running = NULL;
    carrier_leave(self->thread);
}

struct sim_process *kernel_enter_systemc(void)
{
    struct sim_process *self = self_checked(__func__);
    kernel_catch_up();
    self->state = PROCESS_SYSTEMC;
    self->node.seq = sim_kernel.outside; // Free for us: it is not in the agenda.
    sim_kernel.running = NULL;
    return self;
}

void kernel_leave_systemc(struct sim_process *self)
{
    if (self->node.seq != sim_kernel.outside) {
        // The model waited, and others ran since: this one gets in line.
        process_due_at(self, sim_kernel.now_ps);
        carrier_leave(self->thread);
        return;
    }
    run(self);
    kernel_catch_up();
}

// --- The pool. ---

static void retire(struct sim_process *self)
{
    struct sim_process *successor = self->successor;
    SIM_CHECK(sim_kernel.running == self || self->state == PROCESS_EXITING, "%s ends while it does not run",
              self->name);
    self->state = PROCESS_FREE;
    self->successor = NULL;
    self->pool_next = pool[self->stack_class];
    pool[self->stack_class] = self;
    sim_kernel.live--;
    if (successor) {
        switch_to(self, successor);
    } else {
        give_way(self);
    }
}

// What a coroutine does for ever: each round is a process.
static void serve(void *arg)
{
    struct sim_process *self = arg;
    char *top = carrier_thread_stack_top(self->thread);
    for (;;) {
        stack_call_at(top - SIM_STACK_ENTRY_BYTES, self->body, self->arg);
        retire(self);
    }
}

static struct sim_process *make(unsigned c)
{
    struct sim_process *p = calloc(1, sizeof *p);
    SIM_CHECK(p, "out of memory for a process");
    p->stack_class = c;
    p->thread = carrier_thread_create((size_t)1 << (STACK_CLASS_MIN_SHIFT + c), serve, p);
    return p;
}

static struct sim_process *take(const char *name, unsigned rank, size_t stack_bytes, void (*body)(void *),
                                void *arg)
{
    unsigned c = stack_class_of(stack_bytes + SIM_STACK_ENTRY_BYTES);
    SIM_CHECK(rank < UINT32_MAX, "rank %u of process %s", rank, name);
    struct sim_process *p = pool[c];
    if (p) {
        pool[c] = p->pool_next;
    } else {
        p = make(c);
    }
    size_t length = strnlen(name, sizeof p->name - 1);
    memcpy(p->name, name, length);
    p->name[length] = 0;
    p->node.rank = rank + 1;
    p->body = body;
    p->arg = arg;
    sim_kernel.live++;
    return p;
}

// --- sim.h ---

void sim_process_reserve(size_t stack_bytes, unsigned count)
{
    unsigned c = stack_class_of(stack_bytes + SIM_STACK_ENTRY_BYTES);
    for (struct sim_process *p = pool[c]; p && count; p = p->pool_next) {
        count--;
    }
    while (count-- > 0) {
        struct sim_process *p = make(c);
        p->pool_next = pool[c];
        pool[c] = p;
    }
}

struct sim_process *sim_process_start(const char *name, unsigned rank, size_t stack_bytes,
                                      void (*body)(void *arg), void *arg)
{
    struct sim_process *p = take(name, rank, stack_bytes, body, arg);
    process_due_at(p, sim_kernel.now_ps);
    return p;
}

struct sim_process *sim_process_create_parked(const char *name, unsigned rank, size_t stack_bytes,
                                              void (*body)(void *arg), void *arg)
{
    struct sim_process *p = take(name, rank, stack_bytes, body, arg);
    p->state = PROCESS_PARKED;
    return p;
}

struct sim_process *sim_process_self(void)
{
    return sim_kernel.running;
}

void *sim_process_stack_top(const struct sim_process *p)
{
    return carrier_thread_stack_top(p->thread);
}

size_t sim_process_stack_bytes(const struct sim_process *p)
{
    return (size_t)1 << (STACK_CLASS_MIN_SHIFT + p->stack_class);
}

void sim_process_set_rank(struct sim_process *p, unsigned rank)
{
    bool listed = agenda_holds(&p->node);
    if (listed) {
        agenda_remove(&p->node);
    }
    p->node.rank = rank + 1;
    if (listed) {
        agenda_add(&p->node);
    }
}

void sim_wait_until(sim_ps_t ps)
{
    struct sim_process *self = self_checked(__func__);
    SIM_CHECK(ps >= sim_kernel.now_ps && ps != SIM_PS_NEVER, "%s waits until %llu ps", self->name,
              (unsigned long long)ps);
    if (sim_may_continue(ps, self->node.rank - 1)) {
        sim_kernel.now_ps = ps;
        return;
    }
    process_due_at(self, ps);
    give_way(self);
}

bool sim_wait_event_until(struct sim_event *ev, sim_ps_t ps)
{
    struct sim_process *self = self_checked(__func__);
    SIM_CHECK(ps >= sim_kernel.now_ps, "%s waits for %s until %llu ps", self->name, ev->name,
              (unsigned long long)ps);
    self->by_event = false;
    if (ps == SIM_PS_NEVER) {
        self->state = PROCESS_WAITING;
        self->node.seq = sim_kernel.seq++;
    } else {
        process_due_at(self, ps);
    }
    event_add_waiter(ev, self);
    give_way(self);
    return self->by_event;
}

void sim_process_wake(struct sim_process *p)
{
    SIM_CHECK((p->state == PROCESS_WAITING && p != sim_kernel.wants_clock) || p->state == PROCESS_PARKED,
              "%s is woken while it neither waits nor is parked", p->name);
    if (agenda_holds(&p->node)) {
        agenda_remove(&p->node);
    }
    event_forget_waiter(p);
    p->by_event = false;
    process_due_at(p, sim_kernel.now_ps);
}

static void check_hand_over(const struct sim_process *self, const struct sim_process *to)
{
    SIM_CHECK(to->state == PROCESS_PARKED, "%s hands over to %s, which is not parked", self->name, to->name);
}

void sim_process_hand_over(struct sim_process *to)
{
    struct sim_process *self = self_checked(__func__);
    check_hand_over(self, to);
    self->state = PROCESS_PARKED;
    switch_to(self, to);
}

void sim_process_park(void)
{
    struct sim_process *self = self_checked(__func__);
    self->state = PROCESS_PARKED;
    give_way(self);
}

void sim_process_hand_over_and_exit(struct sim_process *to)
{
    struct sim_process *self = self_checked(__func__);
    check_hand_over(self, to);
    self->state = PROCESS_EXITING;
    self->successor = to;
    sim_kernel.running = NULL;
}
