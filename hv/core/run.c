// SPDX-License-Identifier: Apache-2.0
// HV_RUN: the loop between guest and core.
#include "hv/core/arch.h"
#include "hv/core/requests.h"
#include "hv/core/sched.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"

static int handle_requests(struct vcpu *vcpu)
{
    if (check_request(REQ_VM_DEAD, vcpu))
        return -EIO;
    clear_request(REQ_UNBLOCK, vcpu);
    clear_request(REQ_UNHALT, vcpu);
    if (check_request(REQ_DIRTY_RING_FULL, vcpu) && dirty_ring_must_exit(vcpu))
        return 0;
    return arch_vcpu_handle_requests(vcpu);
}

static bool must_not_enter(struct vcpu *vcpu, struct thread *t)
{
    return READ_ONCE(vcpu->mode) == EXITING_GUEST_MODE || request_pending(vcpu) ||
           READ_ONCE(t->need_resched) != 0 || READ_ONCE(t->signal_pending) != 0;
}

// With interrupts disabled. Returns false if something came up that has to be looked at first. Then nothing
// was entered, the srcu section is held again and interrupts are on.
static bool commit_to_guest(struct vcpu *vcpu, struct thread *t)
{
    // Before the requests are looked at for the last time, with a full barrier in between: a kicker sees
    // IN_GUEST_MODE, or we see his request.
    if (likely(vcpu->entry_mb)) {
        WRITE_ONCE(vcpu->mode, IN_GUEST_MODE);
        srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_index);
        smp_mb_after_srcu_read_unlock();
    } else {
        srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_index);
        WRITE_ONCE(vcpu->mode, IN_GUEST_MODE);
    }
    arch_vcpu_sync_posted(vcpu);
    if (likely(!must_not_enter(vcpu, t)))
        return true;
    WRITE_ONCE(vcpu->mode, OUTSIDE_GUEST_MODE);
    smp_wmb();
    hw_sti();
    preempt_enable();
    vcpu->srcu_index = srcu_read_lock(&vcpu->vm->srcu);
    arch_vcpu_cancel_injection(vcpu);
    return false;
}

static int enter_guest(struct vcpu *vcpu)
{
    struct thread *t = current_thread();
    // Taken first: a request that stays pending keeps the guest from being entered.
    bool immediate_exit = check_request(REQ_IMMEDIATE_EXIT, vcpu);
    int result = 1;
    if (request_pending(vcpu)) {
        result = handle_requests(vcpu);
        if (result <= 0)
            return result;
    }
    if (check_request(REQ_EVENT, vcpu) || READ_ONCE(vcpu->run->request_interrupt_window) != 0) {
        if (unlikely(!arch_vcpu_accept_events(vcpu)))
            return 1; // It waits for a SIPI from here on.
        result = arch_vcpu_inject_pending(vcpu, &immediate_exit);
        if (result <= 0)
            return result;
    }
    result = arch_vcpu_mmu_reload(vcpu);
    if (unlikely(result <= 0)) {
        arch_vcpu_cancel_injection(vcpu);
        return result;
    }
    preempt_disable();
    arch_vcpu_prepare_switch(vcpu);
    hw_cli();
    if (!commit_to_guest(vcpu, t))
        return 1;
    if (immediate_exit)
        make_request(REQ_EVENT, vcpu); // What could not be injected now is looked at again after the exit.
    enum exit_fastpath fastpath;
    for (;;) {
        fastpath = arch_vcpu_enter(vcpu, immediate_exit);
        if (fastpath != EXIT_FASTPATH_REENTER_GUEST)
            break;
        arch_vcpu_sync_posted(vcpu); // What the fast path itself has posted.
        if (must_not_enter(vcpu, t))
            break;
    }

    __atomic_store_n(&vcpu->mode, OUTSIDE_GUEST_MODE, __ATOMIC_RELEASE);
    vcpu->stat.exits++;
    arch_vcpu_handle_exit_irqoff(vcpu);
    hw_sti();
    preempt_enable();
    vcpu->srcu_index = srcu_read_lock(&vcpu->vm->srcu);
    return arch_vcpu_handle_exit(vcpu, fastpath);
}

// Halted, or waiting for INIT or SIPI. 1: look again.
static int block(struct vcpu *vcpu)
{
    struct srcu *srcu = &vcpu->vm->srcu;
    if (!arch_vcpu_has_work(vcpu)) {
        srcu_read_unlock(srcu, vcpu->srcu_index);
        vcpu_block(vcpu);
        vcpu->srcu_index = srcu_read_lock(srcu);
    }
    if (check_request(REQ_VM_DEAD, vcpu))
        return -EIO;
    clear_request(REQ_UNBLOCK, vcpu);
    clear_request(REQ_UNHALT, vcpu);
    return arch_vcpu_unblocked(vcpu);
}

static int run_loop(struct vcpu *vcpu)
{
    struct thread *t = current_thread();
    struct hv_run *run = vcpu->run;
    int result;
    vcpu->srcu_index = srcu_read_lock(&vcpu->vm->srcu);
    for (;;) {
        result = arch_vcpu_running(vcpu) ? enter_guest(vcpu) : block(vcpu);
        if (result <= 0)
            break;
        if (READ_ONCE(run->request_interrupt_window) != 0 && arch_vcpu_irq_window_open(vcpu)) {
            run->exit_reason = HV_EXIT_IRQ_WINDOW_OPEN;
            vcpu->stat.request_irq_exits++;
            result = 0;
            break;
        }
        if (READ_ONCE(t->signal_pending) != 0) {
            run->exit_reason = HV_EXIT_INTR;
            vcpu->stat.signal_exits++;
            result = -EINTR;
            break;
        }
        if (READ_ONCE(t->need_resched) != 0) {
            // Sleepers inside a read section hold up every writer: leave it while others run.
            srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_index);
            cond_resched();
            vcpu->srcu_index = srcu_read_lock(&vcpu->vm->srcu);
        }
    }
    srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_index);
    return result;
}

static int run_loaded(struct vcpu *vcpu)
{
    struct thread *t = current_thread();
    if (READ_ONCE(vcpu->vm->dead))
        return -EIO;
    // Port and memory I/O that user space carried out is finished even if the guest is not entered.
    vcpu->srcu_index = srcu_read_lock(&vcpu->vm->srcu);
    int result = arch_vcpu_pre_run(vcpu);
    srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_index);
    if (result <= 0)
        return result;
    if (READ_ONCE(vcpu->run->immediate_exit) != 0 || READ_ONCE(t->signal_pending) != 0) {
        vcpu->run->exit_reason = HV_EXIT_INTR;
        return -EINTR;
    }
    return run_loop(vcpu);
}

int vcpu_ioctl_run(struct vcpu *vcpu)
{
    if (!mutex_trylock(&vcpu->mutex))
        return -EBUSY;
    hw_trace_span_begin(SPAN_VCPU_RUN);
    vcpu_load(vcpu);
    int result = run_loaded(vcpu);
    arch_vcpu_post_run(vcpu);
    vcpu_put(vcpu);
    hw_trace(TP_KVM_USERSPACE_EXIT, vcpu->run->exit_reason, (u64)(s64)(result < 0 ? -result : 0), 0, 0, 0, 0);
    hw_trace_span_end(SPAN_VCPU_RUN);
    mutex_unlock(&vcpu->mutex);
    return result;
}
