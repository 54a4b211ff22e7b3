// SPDX-License-Identifier: Apache-2.0
// Binding a vCPU to a thread and CPU.
#include "hv/core/vcpu.h"

#include "hv/core/arch.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"

static void sched_in(struct preempt_notifier *n, struct cpu *cpu)
{
    struct vcpu *vcpu = container_of(n, struct vcpu, notifier);
    WRITE_ONCE(vcpu->preempted, false);
    WRITE_ONCE(vcpu->ready, false);
    WRITE_ONCE(cpu->running_vcpu, vcpu);
    arch_vcpu_load(vcpu, cpu);
    WRITE_ONCE(vcpu->cpu, cpu);
    vcpu->loaded = true;
}

static void sched_out(struct preempt_notifier *n, bool preempted)
{
    struct vcpu *vcpu = container_of(n, struct vcpu, notifier);
    if (preempted) {
        WRITE_ONCE(vcpu->preempted, true);
        WRITE_ONCE(vcpu->ready, true);
        vcpu->stat.preemptions++;
    }
    vcpu->loaded = false;
    arch_vcpu_put(vcpu);
    WRITE_ONCE(vcpu->cpu->running_vcpu, NULL);
}

void vcpu_load(struct vcpu *vcpu)
{
    struct thread *t = current_thread();
    preempt_disable();
    HV_ASSERT(t->vcpu == NULL);
    struct cpu *cpu = this_cpu();
    t->vcpu = vcpu;
    vcpu->thread = t;
    vcpu->notifier.sched_in = sched_in;
    vcpu->notifier.sched_out = sched_out;
    preempt_notifier_register(&vcpu->notifier);
    WRITE_ONCE(cpu->running_vcpu, vcpu);
    arch_vcpu_load(vcpu, cpu);
    WRITE_ONCE(vcpu->cpu, cpu);
    vcpu->loaded = true;
    preempt_enable();
}

void vcpu_put(struct vcpu *vcpu)
{
    struct thread *t = current_thread();
    preempt_disable();
    vcpu->loaded = false;
    arch_vcpu_put(vcpu);
    preempt_notifier_unregister(&vcpu->notifier);
    WRITE_ONCE(this_cpu()->running_vcpu, NULL);
    WRITE_ONCE(vcpu->thread, NULL);
    t->vcpu = NULL;
    preempt_enable();
}

// The processor's pointer, read in two steps: which one, and what runs there. In between the thread must
// stay. What was read stays right afterwards, as the notifiers move it with the thread.
struct vcpu *running_vcpu(void)
{
    bool stay = knob(&this_host()->knobs, KNOB_SCHED_RUNNING_VCPU) == SCHED_RUNNING_VCPU_PREEMPT_OFF;
    if (likely(stay))
        preempt_disable();
    const struct cpu *cpu = this_cpu();
    struct vcpu *vcpu = READ_ONCE(cpu->running_vcpu);
    if (likely(stay))
        preempt_enable();
    return vcpu;
}
