// SPDX-License-Identifier: Apache-2.0
// The thread that runs, and disabling its preemption: what every lock needs, so it stands below hv/lib.
//
// GS base points at the current struct thread (as SP_EL0 does on arm64): unlike a per-CPU pointer it stays
// the same for a thread that is preempted and continued on another processor, so
// `current_thread()->preempt_count++` needs no single instruction. The processor is current_thread()->cpu,
// stable while preemption or interrupts are disabled.
#ifndef HV_CORE_THREAD_H
#define HV_CORE_THREAD_H

#include "hv/hw/cpu.h"
#include "hv/hw/note.h"
#include "hv/hw/thread.h"
#include "hv/lib/compiler.h"
#include "hv/lib/list.h"

struct cpu;
struct host;
struct hostmm;
struct vcpu;

enum thread_state {
    THREAD_RUNNING,  // Runs or stands in a run queue.
    THREAD_SLEEPING, // Waits for wake_up_process().
    THREAD_DEAD,
};
// Static priorities: higher preempts lower at wake-up; equals share by time slices.
enum thread_prio { THREAD_PRIO_IDLE, THREAD_PRIO_NORMAL, THREAD_PRIO_HIGH, THREAD_PRIO_COUNT };

#define CPU_ANY UINT32_MAX

// Told when their thread leaves or enters a processor. No sleeping.
struct preempt_notifier {
    struct list node;
    // Interrupts enabled, preemption disabled.
    void (*sched_in)(struct preempt_notifier *n, struct cpu *cpu);
    // Interrupts disabled, the run queue's lock held: no wake-ups. `preempted`: the thread is still runnable.
    void (*sched_out)(struct preempt_notifier *n, bool preempted);
};

#define PREEMPT_OFFSET 0x1u
#define PREEMPT_HARDIRQ_OFFSET 0x10000u
#define PREEMPT_HARDIRQ_MASK 0xff0000u
#define PREEMPT_NMI_OFFSET 0x1000000u

struct thread {
    // Hot line: the thread's own.
    u32 preempt_count; // Bits 15:0 depth of preempt_disable(), 23:16 of interrupts, 31:24 of NMIs.
    u32 need_resched;  // Set by anybody (relaxed), cleared by schedule().
    struct cpu *cpu;   // Where it runs or ran last.
    struct host *host;
    struct hostmm *mm; // Its process' address space; NULL: kernel thread.
    struct vcpu *vcpu; // That it runs between vcpu_load() and vcpu_put().
    u32 srcu_depth;
    u32 signal_pending; // Leave blocking calls with -EINTR.
    u64 held_ranks;     // HV_VALIDATE: bit per lock_rank held.
    struct list notifiers;

    // Scheduler's; under the run queue's lock.
    struct hw_context context __cacheline_aligned;
    struct list run_node;
    u32 state;      // enum thread_state
    u8 prio;        // enum thread_prio
    bool on_rq;     // Stands in a run queue or runs.
    u32 pinned_cpu; // Or CPU_ANY.
    u64 slice_end_tsc;
    u64 run_cycles; // TSC cycles on processors so far.
    u64 run_since_tsc;
    u32 tid;
    u32 killed; // thread_kill_tid(): set once, by anybody.
    bool user;  // fn runs in user mode.
    void (*fn)(void *arg);
    void *arg;
    struct list all_node;
    char name[24];
};

static inline struct thread *current_thread(void)
{
    return (struct thread *)hw_rdgsbase();
}
static inline struct host *this_host(void)
{
    return current_thread()->host;
}
// Preemption or interrupts must be disabled, or the thread pinned.
static inline struct cpu *this_cpu(void)
{
    struct thread *t = current_thread();
    hw_note_this_cpu(&t->preempt_count, &t->pinned_cpu);
    return t->cpu;
}

// Out of line part of preempt_enable(): reschedules if interrupts are enabled.
void preempt_schedule(void);

static inline void preempt_disable(void)
{
    current_thread()->preempt_count += PREEMPT_OFFSET;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static inline void preempt_enable_no_resched(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    current_thread()->preempt_count -= PREEMPT_OFFSET;
}
static inline void preempt_enable(void)
{
    struct thread *t = current_thread();
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    t->preempt_count -= PREEMPT_OFFSET;
    if (unlikely(READ_ONCE(t->need_resched)) && t->preempt_count == 0)
        preempt_schedule();
}
static inline bool in_atomic(void)
{
    return current_thread()->preempt_count != 0;
}
static inline bool in_interrupt(void)
{
    return current_thread()->preempt_count >= PREEMPT_HARDIRQ_OFFSET;
}
static inline bool thread_killed(void)
{
    return READ_ONCE(current_thread()->killed) != 0;
}
static inline bool need_resched(void)
{
    return READ_ONCE(current_thread()->need_resched) != 0;
}

// Disables interrupts; returns whether they were enabled. Pairs nest.
static inline bool irq_save(void)
{
    bool enabled = hw_irqs_enabled();
    hw_cli();
    return enabled;
}
static inline void irq_restore(bool enabled)
{
    if (enabled)
        hw_sti();
}

#endif
