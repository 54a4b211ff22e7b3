// SPDX-License-Identifier: Apache-2.0
// Scheduler: one run queue per CPU, priorities, round robin by time slices among equals, preemption at
// wake-up, interrupt exit, system call exit and preempt_enable().
#ifndef HV_CORE_SCHED_H
#define HV_CORE_SCHED_H

#include "hv/core/thread.h"
#include "hv/lib/spinlock.h"

// Time slice among threads of equal priority, in microseconds.
#define SCHED_SLICE_US 3000u
#define THREAD_STACK_BYTES (64u * 1024)

// A CPU's threads that want to run, without the one that does. Taken with interrupts off.
struct runqueue {
    struct spinlock lock;
    u32 runnable_bits; // Bit p: queues[p] is not empty.
    u32 nr_running;    // Queued and running, without the idle thread.
    struct list queues[THREAD_PRIO_COUNT];
    struct thread *curr;
    struct thread *idle;
    struct thread *dead; // Whom finish_switch() has to free.
    u64 slice_tsc;
};

struct thread_options {
    const char *name;
    enum thread_prio prio;
    u32 pinned_cpu;    // CPU id or CPU_ANY.
    struct hostmm *mm; // Process of a user thread, else NULL. A reference is taken.
    bool user;         // fn runs in user mode.
};
// Creates a sleeping thread; thread_wake() starts it. NULL: no memory, or no such CPU.
struct thread *thread_create(struct host *host, const struct thread_options *options, void (*fn)(void *),
                             void *arg);
// Ends the calling thread. Also happens when a kernel thread's fn returns.
void thread_exit(void) __attribute__((noreturn));
// Makes a sleeping thread runnable; true if it slept. Full barrier before it looks. From any context.
bool thread_wake(struct thread *t);
// Wakes it and makes blocking calls, and HV_RUN, return -EINTR.
void thread_signal(struct thread *t);
// -ESRCH: no such thread.
int thread_signal_tid(struct host *host, u32 tid);
// A fatal signal: a signal that also ends waits which others do not end (thread_killed()).
int thread_kill_tid(struct host *host, u32 tid);

// Gives the processor to another thread, if the caller sleeps or somebody better or equal waits. Preemption
// enabled; reports sched_atomic otherwise.
void schedule(void);
// Marks the caller (full barrier after), to be followed by a look at the condition and schedule().
void set_current_state(enum thread_state state);
// The caller's slice is over: equals go first.
void sched_yield_thread(void);
// Directed yield: `t`, if it waits on this CPU's run queue, runs next. False: it does not.
bool sched_yield_to(const struct thread *t);
// Lets others run at a place where that is safe, if due.
void cond_resched(void);
// Interrupts disabled on entry and return: what interrupt exit calls.
void preempt_schedule_irq(void);
// Interrupts disabled on entry and return; `preempted`: stays runnable whatever its state says.
void schedule_irqs_off(bool preempted);
// What a thread does first after a switch to it.
void finish_switch(void);
void thread_start(void *arg);
// Sleeps until the TSC reaches `tsc`, or a signal: 0 or -EINTR.
int sleep_until_tsc(u64 tsc);
void sleep_uninterruptible_until_tsc(u64 tsc);
// Reports might_sleep{preempt_count} if the caller must not sleep.
void might_sleep(void);
// Asks CPU `cpu` to reschedule (IPI when it is another one).
void resched_cpu(struct cpu *cpu);
// Would the caller share its CPU? (KVM's single_task_running() negated.)
bool sched_others_waiting(void);

// For the current thread, preemption disabled.
void preempt_notifier_register(struct preempt_notifier *n);
void preempt_notifier_unregister(struct preempt_notifier *n);

void sched_init_cpu(struct cpu *cpu);
// A thread struct before it runs: the boot code of a CPU, which becomes its idle thread.
void thread_init(struct thread *t, struct cpu *cpu, const char *name);
// A thread that boot code runs before the scheduler does: adopts the calling code as `t`, interrupts
// disabled.
void thread_adopt(struct thread *t, struct cpu *cpu, const char *name);
// The reschedule IPI: arms the slice timer if somebody waits.
void sched_ipi(struct cpu *cpu);
// The idle thread's loop.
void cpu_idle_loop(void) __attribute__((noreturn));

#endif
