// SPDX-License-Identifier: Apache-2.0
#include "hv/core/hrtimer.h"

#include "hv/core/cpu.h"
#include "hv/lib/assert.h"
#include "spec/msrs.h"

static bool earlier(const struct rb_node *a, const struct rb_node *b)
{
    return rb_entry(a, const struct hrtimer, node)->expires_tsc <
           rb_entry(b, const struct hrtimer, node)->expires_tsc;
}

static struct hrtimer *base_first(const struct hrtimer_base *base)
{
    struct rb_node *n = rb_first(&base->tree);
    return n == NULL ? NULL : rb_entry(n, struct hrtimer, node);
}

// Gives the nearest deadline to the LAPIC of this CPU; 0 disarms (SDM 10.5.4.1). A deadline that has passed
// interrupts at once.
static void program(struct hrtimer_base *base)
{
    struct hrtimer *first = base_first(base);
    u64 deadline = first == NULL ? 0 : max_u64(first->expires_tsc, 1);
    if (deadline == base->armed_tsc)
        return;
    base->armed_tsc = deadline;
    (void)hw_wrmsr(MSR_IA32_TSC_DEADLINE, deadline);
}

void hrtimer_init(struct hrtimer *t, bool (*fn)(struct hrtimer *))
{
    t->expires_tsc = 0;
    t->fn = fn;
    t->cpu = NULL;
    t->state = HRTIMER_IDLE;
}

// Locks the base that the timer belongs to; interrupts are off. A timer that never was started belongs to
// this CPU.
static struct hrtimer_base *lock_base(struct hrtimer *t)
{
    for (;;) {
        struct cpu *cpu = READ_ONCE(t->cpu);
        if (cpu == NULL)
            cpu = this_cpu();
        raw_spin_lock(&cpu->hrtimers.lock);
        struct cpu *now = READ_ONCE(t->cpu);
        if (now == cpu || now == NULL)
            return &cpu->hrtimers;
        raw_spin_unlock(&cpu->hrtimers.lock);
    }
}

static bool is_first(const struct hrtimer_base *base, const struct hrtimer *t)
{
    return rb_first(&base->tree) == &t->node;
}

// Under the base's lock. True if it was queued.
static bool dequeue(struct hrtimer_base *base, struct hrtimer *t)
{
    if (t->state != HRTIMER_QUEUED)
        return false;
    rb_erase(&base->tree, &t->node);
    WRITE_ONCE(t->state, base->running == t ? HRTIMER_RUNNING : HRTIMER_IDLE);
    return true;
}

static void enqueue(struct hrtimer_base *base, struct hrtimer *t)
{
    WRITE_ONCE(t->state, HRTIMER_QUEUED);
    rb_insert(&base->tree, &t->node, earlier);
}

void hrtimer_start(struct hrtimer *t, u64 expires_tsc)
{
    bool flags = irq_save();
    struct cpu *here = this_cpu();
    struct hrtimer_base *base = lock_base(t);
    (void)dequeue(base, t);
    // While its callback runs it stays where it does: that CPU programs its own deadline afterwards. Else it
    // moves here.
    if (base != &here->hrtimers && base->running != t) {
        WRITE_ONCE(t->cpu,
                   NULL); // Nobody finds it on a base between the two locks, since only its owner starts it.
        raw_spin_unlock(&base->lock);
        base = &here->hrtimers;
        raw_spin_lock(&base->lock);
    }
    if (base == &here->hrtimers)
        WRITE_ONCE(t->cpu, here);
    t->expires_tsc = expires_tsc;
    enqueue(base, t);
    if (base == &here->hrtimers && base->running == NULL && is_first(base, t))
        program(base);
    raw_spin_unlock(&base->lock);
    irq_restore(flags);
}

int hrtimer_try_cancel(struct hrtimer *t)
{
    // An idle timer can only be started by its owner, who is here. What its callback did is seen.
    if (load_acquire(&t->state) == HRTIMER_IDLE)
        return 0;
    bool flags = irq_save();
    struct hrtimer_base *base = lock_base(t);
    bool was_first = is_first(base, t);
    int result = -1;
    if (base->running != t) {
        result = dequeue(base, t) ? 1 : 0;
        if (was_first && base == &this_cpu()->hrtimers)
            program(base);
    }
    raw_spin_unlock(&base->lock);
    irq_restore(flags);
    return result;
}

bool hrtimer_cancel(struct hrtimer *t)
{
    int result;
    while ((result = hrtimer_try_cancel(t)) < 0)
        hw_pause();
    return result > 0;
}

u64 hrtimer_forward(struct hrtimer *t, u64 now_tsc, u64 interval_tsc)
{
    HV_ASSERT(interval_tsc != 0);
    if (now_tsc < t->expires_tsc)
        return 0;
    u64 overruns = (now_tsc - t->expires_tsc) / interval_tsc + 1;
    t->expires_tsc += overruns * interval_tsc;
    return overruns;
}

void hrtimer_migrate(struct hrtimer *t)
{
    if (READ_ONCE(t->cpu) == this_cpu() || !hrtimer_active(t))
        return;
    if (hrtimer_cancel(t))
        hrtimer_start(t, t->expires_tsc);
}

void hrtimer_init_cpu(struct cpu *cpu)
{
    spin_lock_init(&cpu->hrtimers.lock, LOCK_RANK_HRTIMER);
    cpu->hrtimers.tree = (struct rb_root){NULL, NULL};
    cpu->hrtimers.armed_tsc = 0;
    cpu->hrtimers.running = NULL;
}

// Runs one expired timer without the lock. It may be started or canceled by others meanwhile: state tells.
static void run_timer(struct hrtimer_base *base, struct hrtimer *t)
{
    rb_erase(&base->tree, &t->node);
    WRITE_ONCE(t->state, HRTIMER_RUNNING);
    base->running = t;
    raw_spin_unlock(&base->lock);
    bool restart = t->fn(t);
    raw_spin_lock(&base->lock);
    if (t->state == HRTIMER_RUNNING) {
        if (restart)
            enqueue(base, t);
        else
            store_release(&t->state, HRTIMER_IDLE); // From here on it may be gone.
    }
    base->running = NULL;
}

void hrtimer_interrupt(struct cpu *cpu)
{
    struct hrtimer_base *base = &cpu->hrtimers;
    struct hrtimer *first;
    raw_spin_lock(&base->lock);
    base->armed_tsc = 0; // The deadline MSR is zero once it fired.
    while ((first = base_first(base)) != NULL && first->expires_tsc <= hw_rdtsc())
        run_timer(base, first);
    program(base);
    raw_spin_unlock(&base->lock);
}
