// SPDX-License-Identifier: Apache-2.0
// Who runs. A CPU's run queue lock is taken before a switch and released after it by whoever came on: so a
// waker that holds the lock knows that the thread's context has been saved.
#include "hv/core/sched.h"

#include "hv/core/host.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"

void set_current_state(enum thread_state state)
{
    __atomic_store_n(&current_thread()->state, state, __ATOMIC_SEQ_CST);
}

void might_sleep(void)
{
    struct thread *t = current_thread();
    if (unlikely(t->preempt_count != 0))
        hw_trace_violation("might_sleep", t->preempt_count, t->tid);
    if (unlikely(READ_ONCE(t->need_resched) != 0))
        cond_resched();
}

// Under the queue's lock; others look at the number, and at runnable_bits, without it.
static void count_running(struct runqueue *rq, int change)
{
    WRITE_ONCE(rq->nr_running, rq->nr_running + (u32)change);
}

static void queue_thread(struct runqueue *rq, struct thread *t, bool front)
{
    if (front)
        list_add(&t->run_node, &rq->queues[t->prio]);
    else
        list_add_tail(&t->run_node, &rq->queues[t->prio]);
    WRITE_ONCE(rq->runnable_bits, rq->runnable_bits | 1u << t->prio);
}

static void dequeue_thread(struct runqueue *rq, struct thread *t)
{
    list_del(&t->run_node);
    if (list_empty(&rq->queues[t->prio]))
        WRITE_ONCE(rq->runnable_bits, rq->runnable_bits & ~(1u << t->prio));
}

// Nothing to do here: takes over a free thread that waits elsewhere. Two run queues are locked, in no fixed
// order, hence only tried; whoever is busy keeps his threads.
static struct thread *steal(struct cpu *cpu)
{
    const struct host *host = cpu->host;
    for (u32 n = 1; n < host->cpu_count; n++) {
        struct cpu *from = host->cpus[(cpu->id + n) % host->cpu_count];
        struct thread *stolen = NULL;
        if (READ_ONCE(from->rq.nr_running) < 2 || !ticket_trylock(&from->rq.lock))
            continue;
        list_for_each(t, &from->rq.queues[THREAD_PRIO_NORMAL], struct thread, run_node)
        {
            if (t->pinned_cpu == CPU_ANY)
                stolen = t;
        }
        if (stolen != NULL) {
            dequeue_thread(&from->rq, stolen);
            count_running(&from->rq, -1);
            count_running(&cpu->rq, 1);
            hw_trace(TP_SCHED_MIGRATE_TASK, stolen->tid, from->id, cpu->id, 0, 0, 0);
            WRITE_ONCE(stolen->cpu, cpu);
        }
        ticket_unlock(&from->rq.lock);
        if (stolen != NULL)
            return stolen;
    }
    return NULL;
}

static struct thread *pick_next(struct cpu *cpu)
{
    struct runqueue *rq = &cpu->rq;
    if (rq->runnable_bits == 0) {
        struct thread *stolen = steal(cpu);
        return stolen != NULL ? stolen : rq->idle;
    }
    unsigned prio = fls64(rq->runnable_bits);
    struct thread *t = list_first(&rq->queues[prio], struct thread, run_node);
    dequeue_thread(rq, t);
    return t;
}

// Somebody of at least the running thread's priority waits: then its slice has an end. On this CPU,
// interrupts off.
static void arm_slice(struct cpu *cpu)
{
    struct runqueue *rq = &cpu->rq;
    if (rq->curr != rq->idle && (rq->runnable_bits >> rq->curr->prio) != 0 &&
        !hrtimer_active(&cpu->slice_timer))
        hrtimer_start(&cpu->slice_timer, rq->curr->slice_end_tsc);
}

static bool slice_expired(struct hrtimer *timer)
{
    struct cpu *cpu = container_of(timer, struct cpu, slice_timer);
    struct runqueue *rq = &cpu->rq;
    bool again = false;
    raw_spin_lock(&rq->lock);
    struct thread *curr = rq->curr;
    if (curr != rq->idle && (rq->runnable_bits >> curr->prio) != 0) {
        if (hw_rdtsc() >= curr->slice_end_tsc) {
            WRITE_ONCE(curr->need_resched, 1);
        } else {
            timer->expires_tsc = curr->slice_end_tsc;
            again = true;
        }
    }
    raw_spin_unlock(&rq->lock);
    return again;
}

void sched_ipi(struct cpu *cpu)
{
    struct runqueue *rq = &cpu->rq;
    if (READ_ONCE(rq->runnable_bits) == 0)
        return;
    raw_spin_lock(&rq->lock);
    arm_slice(cpu);
    raw_spin_unlock(&rq->lock);
}

static void run_notifiers_in(struct thread *t)
{
    // With interrupts on: loading a vCPU may have to wait for another CPU.
    t->preempt_count += PREEMPT_OFFSET;
    hw_sti();
    list_for_each(n, &t->notifiers, struct preempt_notifier, node) n->sched_in(n, t->cpu);
    hw_cli();
    t->preempt_count -= PREEMPT_OFFSET;
}

void finish_switch(void)
{
    struct thread *t = current_thread();
    struct runqueue *rq = &t->cpu->rq;
    struct thread *dead = rq->dead;
    rq->dead = NULL;
    ticket_unlock(&rq->lock);
    if (unlikely(dead != NULL))
        kfree(t->host, dead, sizeof(*dead));
    if (!list_empty(&t->notifiers))
        run_notifiers_in(t);
}

// Run queue locked.
static void switch_to(struct cpu *cpu, struct thread *prev, struct thread *next, u64 now)
{
    list_for_each(n, &prev->notifiers, struct preempt_notifier, node) n->sched_out(n, prev->on_rq);
    struct runqueue *rq = &cpu->rq;
    bool dead = prev->state == THREAD_DEAD;
    prev->run_cycles += now - prev->run_since_tsc;
    next->run_since_tsc = now;
    next->slice_end_tsc = now + rq->slice_tsc;
    WRITE_ONCE(rq->curr, next);
    arm_slice(cpu);
    hw_trace(TP_SCHED_SWITCH, prev->tid, next->tid, 0, 0, 0, 0);
    hw_wrgsbase((u64)next);
    if (unlikely(dead)) {
        rq->dead = prev;
        hw_switch_to_and_exit(&prev->context, &next->context);
    }
    hw_switch_to(&prev->context, &next->context);
    finish_switch();
}

void schedule_irqs_off(bool preempted)
{
    struct thread *prev = current_thread();
    struct cpu *cpu = prev->cpu;
    struct runqueue *rq = &cpu->rq;
    ticket_lock(&rq->lock);
    u64 now = hw_rdtsc();
    WRITE_ONCE(prev->need_resched, 0);
    if (prev == rq->idle) {
        // Never queued.
    } else if (!preempted && READ_ONCE(prev->state) != THREAD_RUNNING) {
        prev->on_rq = false;
        count_running(rq, -1);
    } else {
        // Whoever was displaced before its slice ended goes on first.
        queue_thread(rq, prev, preempted && now < prev->slice_end_tsc);
    }
    struct thread *next = pick_next(cpu);
    if (next == prev) {
        if (now >= prev->slice_end_tsc)
            prev->slice_end_tsc = now + rq->slice_tsc;
        ticket_unlock(&rq->lock);
        return;
    }
    switch_to(cpu, prev, next, now);
}

void schedule(void)
{
    struct thread *t = current_thread();
    if (unlikely(t->preempt_count != 0))
        hw_trace_violation("sched_atomic", t->preempt_count, t->tid);
    bool flags = irq_save();
    schedule_irqs_off(false);
    irq_restore(flags);
}

void cond_resched(void)
{
    struct thread *t = current_thread();
    if (READ_ONCE(t->need_resched) != 0 && t->preempt_count == 0)
        preempt_schedule();
}

void preempt_schedule_irq(void)
{
    do {
        schedule_irqs_off(true);
    } while (need_resched());
}

void preempt_schedule(void)
{
    if (!hw_irqs_enabled())
        return; // Whoever disabled them looks again when they are enabled.
    hw_cli();
    if (need_resched())
        preempt_schedule_irq();
    hw_sti();
}

void sched_yield_thread(void)
{
    struct thread *t = current_thread();
    bool flags = irq_save();
    t->slice_end_tsc = 0;
    schedule_irqs_off(false);
    irq_restore(flags);
}

bool sched_yield_to(const struct thread *t)
{
    bool flags = irq_save();
    struct thread *me = current_thread();
    struct runqueue *rq = &me->cpu->rq;
    struct thread *found = NULL;
    raw_spin_lock(&rq->lock);
    // By comparing pointers: `t` may have ended, and its memory be anything.
    list_for_each(other, &rq->queues[me->prio], struct thread, run_node)
    {
        if (other == t)
            found = other;
    }
    if (found != NULL) {
        list_move(&found->run_node, &rq->queues[me->prio]);
        me->slice_end_tsc = 0;
    }
    raw_spin_unlock(&rq->lock);
    if (found != NULL)
        schedule_irqs_off(false);
    irq_restore(flags);
    return found != NULL;
}

bool sched_others_waiting(void)
{
    return READ_ONCE(READ_ONCE(current_thread()->cpu)->rq.nr_running) > 1; // A hint: it may move meanwhile.
}

void resched_cpu(struct cpu *cpu)
{
    struct thread *curr = READ_ONCE(cpu->rq.curr);
    WRITE_ONCE(curr->need_resched, 1);
    if (cpu != this_cpu())
        cpu_send_ipi(cpu, VECTOR_RESCHEDULE);
}

// Where a woken thread shall run: where it did if that CPU is idle, else the first idle one, else where it
// did.
static struct cpu *select_cpu(struct thread *t)
{
    struct host *host = t->host;
    if (t->pinned_cpu != CPU_ANY)
        return host->cpus[t->pinned_cpu];
    if (READ_ONCE(t->cpu->rq.nr_running) == 0 || host->cpu_count == 1)
        return t->cpu;
    for (u32 i = 0; i < host->cpu_count; i++) {
        struct cpu *cpu = host->cpus[i];
        if (READ_ONCE(cpu->online) != 0 && READ_ONCE(cpu->rq.nr_running) == 0)
            return cpu;
    }
    return t->cpu;
}

// Run queue of `cpu` locked: queues t and interrupts who runs there, if t is better or its slice shall end.
static void enqueue_and_preempt(struct cpu *cpu, struct thread *t)
{
    struct runqueue *rq = &cpu->rq;
    struct thread *curr = rq->curr;
    bool here = cpu == this_cpu();
    t->on_rq = true;
    count_running(rq, 1);
    queue_thread(rq, t, false);
    if (t->prio > curr->prio)
        WRITE_ONCE(curr->need_resched, 1);
    else if (here)
        arm_slice(cpu);
    else if (t->prio < curr->prio)
        return;
    if (!here)
        cpu_send_ipi(cpu, VECTOR_RESCHEDULE);
}

bool thread_wake(struct thread *t)
{
    struct cpu *cpu;
    bool woken = false;
    preempt_disable();
    bool flags = irq_save();
    smp_mb(); // The caller's stores before our look at the state.
    for (;;) {
        cpu = READ_ONCE(t->cpu);
        raw_spin_lock(&cpu->rq.lock);
        if (likely(READ_ONCE(t->cpu) == cpu))
            break;
        raw_spin_unlock(&cpu->rq.lock);
    }
    if (READ_ONCE(t->state) != THREAD_SLEEPING)
        goto out;
    WRITE_ONCE(t->state, THREAD_RUNNING);
    woken = true;
    hw_trace(TP_SCHED_WAKING, t->tid, 0, 0, 0, 0, 0);
    if (t->on_rq)
        goto out; // It had not left yet.
    struct cpu *target = select_cpu(t);
    if (target != cpu) {
        hw_trace(TP_SCHED_MIGRATE_TASK, t->tid, cpu->id, target->id, 0, 0, 0);
        WRITE_ONCE(t->cpu, target);
        raw_spin_unlock(&cpu->rq.lock);
        cpu = target;
        raw_spin_lock(&cpu->rq.lock);
    }
    enqueue_and_preempt(cpu, t);
out:
    raw_spin_unlock(&cpu->rq.lock);
    irq_restore(flags);
    preempt_enable();
    return woken;
}

void preempt_notifier_register(struct preempt_notifier *n)
{
    list_add(&n->node, &current_thread()->notifiers);
}

void preempt_notifier_unregister(struct preempt_notifier *n)
{
    list_del(&n->node);
}

void sched_init_cpu(struct cpu *cpu)
{
    struct runqueue *rq = &cpu->rq;
    spin_lock_init(&rq->lock, LOCK_RANK_RUNQUEUE);
    for (unsigned p = 0; p < THREAD_PRIO_COUNT; p++)
        list_init(&rq->queues[p]);
    rq->slice_tsc = ns_to_tsc(cpu->host, SCHED_SLICE_US * 1000ull);
    rq->idle = &cpu->boot_thread;
    rq->curr = rq->idle;
    hrtimer_init(&cpu->slice_timer, slice_expired);
}

void cpu_idle_loop(void)
{
    struct thread *t = current_thread();
    HV_ASSERT(t == t->cpu->rq.idle && t->preempt_count == PREEMPT_OFFSET);
    t->preempt_count = 0;
    for (;;) {
        hw_cli();
        if (need_resched()) {
            schedule_irqs_off(true);
            hw_sti();
        } else {
            // An interrupt that queues somebody switches to him before the halt returns.
            hw_sti_hlt();
        }
    }
}
