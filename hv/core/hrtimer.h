// SPDX-License-Identifier: Apache-2.0
// High resolution timers in TSC cycles: a tree per CPU, the nearest deadline in IA32_TSC_DEADLINE
// (SDM 10.5.4.1).
#ifndef HV_CORE_HRTIMER_H
#define HV_CORE_HRTIMER_H

#include "hv/core/thread.h"
#include "hv/lib/rbtree.h"
#include "hv/lib/spinlock.h"

struct hrtimer {
    struct rb_node node;
    u64 expires_tsc;
    // In interrupt context on the timer's CPU, base lock not held. True: run again at the new expires_tsc
    // (KVM's HRTIMER_RESTART; use hrtimer_forward()).
    bool (*fn)(struct hrtimer *t);
    struct cpu *cpu; // Whose tree; where it was started last.
    u8 state;        // HRTIMER_*
};
enum { HRTIMER_IDLE = 0, HRTIMER_QUEUED = 1, HRTIMER_RUNNING = 2 };

struct hrtimer_base {
    struct spinlock lock; // Interrupts off.
    struct rb_root tree;
    u64 armed_tsc; // What the deadline MSR was given last; 0: disarmed or fired.
    struct hrtimer *running;
};

void hrtimer_init(struct hrtimer *t, bool (*fn)(struct hrtimer *));
// Starts (or restarts) on the calling CPU. A deadline in the past fires as soon as interrupts are enabled.
void hrtimer_start(struct hrtimer *t, u64 expires_tsc);
// 1: it was queued and is idle now; 0: it was idle; -1: its callback runs, try again.
int hrtimer_try_cancel(struct hrtimer *t);
// Idle when it returns, true if it was queued: waits for a callback that runs on another CPU. Not from its
// callback.
bool hrtimer_cancel(struct hrtimer *t);
static inline bool hrtimer_active(const struct hrtimer *t)
{
    return READ_ONCE(t->state) != HRTIMER_IDLE;
}
// Moves the expiry beyond `now` by whole intervals; returns how many (overruns).
u64 hrtimer_forward(struct hrtimer *t, u64 now_tsc, u64 interval_tsc);
// Moves a queued timer to the calling CPU (KVM's migrate_timer at vcpu_load). Idle ones stay idle.
void hrtimer_migrate(struct hrtimer *t);

void hrtimer_init_cpu(struct cpu *cpu);
// The LAPIC timer's interrupt.
void hrtimer_interrupt(struct cpu *cpu);

#endif
