// SPDX-License-Identifier: Apache-2.0
// A halted vCPU: polling for a while, then sleeping; and giving way when it spins.
#include "hv/core/arch.h"
#include "hv/core/requests.h"
#include "hv/core/sched.h"
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"

bool vcpu_check_block(struct vcpu *vcpu)
{
    return arch_vcpu_has_work(vcpu) || test_request(REQ_UNBLOCK, vcpu) || test_request(REQ_VM_DEAD, vcpu) ||
           READ_ONCE(current_thread()->signal_pending) != 0;
}

static u64 poll_max(const struct vcpu *vcpu)
{
    u64 own = READ_ONCE(vcpu->vm->max_halt_poll_ns);
    return own != HALT_POLL_HOST_DEFAULT ? own : knob(&vcpu->vm->host->knobs, KNOB_HALT_POLL_NS);
}

static void set_poll(struct vcpu *vcpu, u64 ns, bool grow)
{
    u64 old = vcpu->halt_poll_ns;
    vcpu->halt_poll_ns = ns;
    hw_trace(TP_KVM_HALT_POLL_NS, grow, vcpu->id, ns, old, 0, 0);
}

static void grow_poll(struct vcpu *vcpu)
{
    const struct knobs *k = &vcpu->vm->host->knobs;
    u64 factor = knob(k, KNOB_HALT_POLL_GROW);
    if (factor == 0)
        return;
    u64 ns = max_u64(vcpu->halt_poll_ns * factor, knob(k, KNOB_HALT_POLL_GROW_START));
    set_poll(vcpu, min_u64(ns, poll_max(vcpu)), true);
}

static void shrink_poll(struct vcpu *vcpu)
{
    const struct knobs *k = &vcpu->vm->host->knobs;
    u64 divisor = knob(k, KNOB_HALT_POLL_SHRINK);
    u64 ns = divisor == 0 ? 0 : vcpu->halt_poll_ns / divisor;
    if (ns < knob(k, KNOB_HALT_POLL_GROW_START))
        ns = 0;
    set_poll(vcpu, ns, false);
}

// After a halt of block_ns in all: would another polling time have done better? Shrinks when the halt was
// longer than any poll, grows when a longer poll would have caught it.
static void adjust_poll(struct vcpu *vcpu, u64 block_ns)
{
    u64 max = poll_max(vcpu);
    if (!vcpu->valid_wakeup)
        shrink_poll(vcpu);
    else if (max == 0)
        vcpu->halt_poll_ns = 0;
    else if (block_ns <= vcpu->halt_poll_ns)
        return;
    else if (vcpu->halt_poll_ns != 0 && block_ns > max)
        shrink_poll(vcpu);
    else if (vcpu->halt_poll_ns < max && block_ns < max)
        grow_poll(vcpu);
}

// Busy until work comes or the time is over, as long as nobody else wants this CPU. True: work came.
static bool poll(struct vcpu *vcpu, u64 end_tsc)
{
    bool found = false;
    hw_trace_span_begin(SPAN_HALT_POLL);
    vcpu->stat.halt_attempted_poll++;
    do {
        if (vcpu_check_block(vcpu)) {
            vcpu->stat.halt_successful_poll++;
            found = true;
            break;
        }
        hw_pause();
    } while (!sched_others_waiting() && !need_resched() && hw_rdtsc() < end_tsc);
    hw_trace_span_end(SPAN_HALT_POLL);
    return found;
}

static bool sleep_until_work(struct vcpu *vcpu)
{
    struct wait_entry e;
    bool slept = false;
    hw_trace_span_begin(SPAN_VCPU_BLOCK);
    wait_entry_init(&e);
    for (;;) {
        prepare_to_wait(&vcpu->wq, &e, false);
        if (vcpu_check_block(vcpu))
            break;
        slept = true;
        schedule();
    }
    finish_wait(&vcpu->wq, &e);
    hw_trace_span_end(SPAN_VCPU_BLOCK);
    return slept;
}

void vcpu_block(struct vcpu *vcpu)
{
    const struct host *host = vcpu->vm->host;
    u64 poll_ns = min_u64(vcpu->halt_poll_ns, poll_max(vcpu));
    u64 start = hw_rdtsc(), polled;
    bool slept = false;
    WRITE_ONCE(vcpu->blocking, 1);
    if (arch_vcpu_blocking(vcpu) == 0) {
        bool found = poll_ns != 0 && poll(vcpu, start + ns_to_tsc(host, poll_ns));
        polled = hw_rdtsc();
        if (poll_ns != 0 && found)
            vcpu->stat.halt_poll_success_ns += tsc_to_ns(host, polled - start);
        else if (poll_ns != 0)
            vcpu->stat.halt_poll_fail_ns += tsc_to_ns(host, polled - start);
        if (!found)
            slept = sleep_until_work(vcpu);
    }
    arch_vcpu_unblocking(vcpu);
    WRITE_ONCE(vcpu->blocking, 0);
    u64 block_ns = tsc_to_ns(host, hw_rdtsc() - start);
    vcpu->valid_wakeup = arch_vcpu_has_work(vcpu);
    if (slept)
        vcpu->stat.halt_wakeup++;
    adjust_poll(vcpu, block_ns);
    hw_trace(TP_KVM_VCPU_WAKEUP, block_ns, slept, vcpu->valid_wakeup, 0, 0, 0);
}

void vcpu_on_spin(struct vcpu *vcpu, bool kernel_mode_only)
{
    struct vm *vm = vcpu->vm;
    struct thread *me = current_thread();
    u32 count = load_acquire(&vm->online_vcpus);
    u32 start = READ_ONCE(vm->last_boosted_vcpu);
    // From the one after the last that was helped, so that everybody gets his turn.
    for (u32 n = 1; n <= count; n++) {
        u32 i = (start + n) % count;
        struct vcpu *v = vm->vcpus[i];
        const struct thread *thread = READ_ONCE(v->thread);
        if (v == vcpu || !READ_ONCE(v->ready) || thread == NULL)
            continue;
        if (kernel_mode_only && READ_ONCE(v->preempted) && !arch_vcpu_in_kernel(v))
            continue;
        if (!sched_yield_to(thread))
            continue;
        WRITE_ONCE(vm->last_boosted_vcpu, i);
        return;
    }
    if (READ_ONCE(me->cpu->rq.nr_running) > 1)
        sched_yield_thread();
}
