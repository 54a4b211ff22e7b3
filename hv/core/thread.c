// SPDX-License-Identifier: Apache-2.0
// Threads: birth, death, signals, sleeping for a time.
#include "hv/core/host.h"
#include "hv/core/hostmm.h"
#include "hv/core/sched.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

void thread_init(struct thread *t, struct cpu *cpu, const char *name)
{
    memset(t, 0, sizeof(*t));
    t->cpu = cpu;
    t->host = cpu->host;
    t->pinned_cpu = CPU_ANY;
    list_init(&t->notifiers);
    list_init(&t->run_node);
    list_init(&t->all_node);
    str_copy(t->name, name, sizeof(t->name));
}

void thread_adopt(struct thread *t, struct cpu *cpu, const char *name)
{
    thread_init(t, cpu, name);
    t->state = THREAD_RUNNING;
    t->prio = THREAD_PRIO_IDLE;
    t->pinned_cpu = cpu->id;
    t->on_rq = true;
    t->preempt_count = PREEMPT_OFFSET; // Until the scheduler is up.
    hw_context_adopt(&t->context, t->name);
    hw_wrgsbase((u64)t);
}

struct thread *thread_create(struct host *host, const struct thread_options *options, void (*fn)(void *),
                             void *arg)
{
    if (options->pinned_cpu != CPU_ANY && options->pinned_cpu >= host->cpu_count)
        return NULL;
    struct thread *t = kmalloc(host, sizeof(*t));
    if (t == NULL)
        return NULL;
    struct cpu *cpu = options->pinned_cpu == CPU_ANY ? host->cpus[0] : host->cpus[options->pinned_cpu];
    thread_init(t, cpu, options->name);
    t->state = THREAD_SLEEPING;
    t->prio = (u8)options->prio;
    t->pinned_cpu = options->pinned_cpu;
    t->user = options->user;
    t->fn = fn;
    t->arg = arg;
    t->mm = options->mm;
    if (t->mm != NULL)
        hostmm_get(t->mm);
    spin_lock(&host->threads_lock);
    t->tid = ++host->next_tid;
    list_add_tail(&t->all_node, &host->threads);
    spin_unlock(&host->threads_lock);
    hw_context_create(&t->context, t->name, THREAD_STACK_BYTES, thread_start, t);
    return t;
}

// First code of every created thread, switched to with interrupts disabled and the run queue locked.
void thread_start(void *arg)
{
    struct thread *t = arg;
    finish_switch();
    hw_sti();
    if (t->user)
        hw_user_enter(t->fn, t->arg);
    else
        t->fn(t->arg);
    thread_exit();
}

void thread_exit(void)
{
    struct thread *t = current_thread();
    struct host *host = t->host;
    struct hostmm *mm = t->mm;
    HV_ASSERT(t->vcpu == NULL && t->preempt_count == 0);
    spin_lock(&host->threads_lock);
    list_del(&t->all_node);
    spin_unlock(&host->threads_lock);
    t->mm = NULL;
    if (mm != NULL)
        hostmm_put(mm);
    hw_cli();
    t->state = THREAD_DEAD;
    schedule_irqs_off(false);
    HV_PANIC("a dead thread ran");
}

void thread_signal(struct thread *t)
{
    WRITE_ONCE(t->signal_pending, 1);
    if (thread_wake(t))
        return;
    // It runs: if it is in the guest, or about to go there, an interrupt makes it look again.
    struct cpu *cpu = READ_ONCE(t->cpu);
    if (t != current_thread() && READ_ONCE(cpu->rq.curr) == t)
        cpu_send_ipi(cpu, VECTOR_RESCHEDULE);
}

static int signal_tid(struct host *host, u32 tid, bool kill)
{
    int result = -ESRCH;
    spin_lock(&host->threads_lock);
    list_for_each(t, &host->threads, struct thread, all_node)
    {
        if (t->tid == tid) {
            if (kill)
                WRITE_ONCE(t->killed, 1);
            thread_signal(t);
            result = 0;
            break;
        }
    }
    spin_unlock(&host->threads_lock);
    return result;
}

int thread_signal_tid(struct host *host, u32 tid)
{
    return signal_tid(host, tid, false);
}

int thread_kill_tid(struct host *host, u32 tid)
{
    return signal_tid(host, tid, true);
}

// `expired` is set before the wake-up. The timer's own state would not do: while the callback still runs on
// another processor, the woken thread must not go back to sleep.
struct sleeper {
    struct hrtimer timer;
    struct thread *thread;
    u32 expired;
};

static bool sleeper_expired(struct hrtimer *timer)
{
    struct sleeper *sleeper = container_of(timer, struct sleeper, timer);
    WRITE_ONCE(sleeper->expired, 1);
    (void)thread_wake(sleeper->thread);
    return false;
}

static int sleep_tsc(u64 tsc, bool interruptible)
{
    struct sleeper sleeper = {.thread = current_thread()};
    int result = 0;
    might_sleep();
    hrtimer_init(&sleeper.timer, sleeper_expired);
    if (hw_rdtsc() >= tsc)
        return 0;
    hrtimer_start(&sleeper.timer, tsc);
    for (;;) {
        set_current_state(THREAD_SLEEPING);
        if (READ_ONCE(sleeper.expired) != 0)
            break;
        if (interruptible && READ_ONCE(sleeper.thread->signal_pending) != 0) {
            result = -EINTR;
            break;
        }
        schedule();
    }
    set_current_state(THREAD_RUNNING);
    hrtimer_cancel(&sleeper.timer);
    return result;
}

int sleep_until_tsc(u64 tsc)
{
    return sleep_tsc(tsc, true);
}

void sleep_uninterruptible_until_tsc(u64 tsc)
{
    (void)sleep_tsc(tsc, false);
}
