// SPDX-License-Identifier: Apache-2.0
#include "hv/core/requests.h"

#include "hv/core/arch.h"
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"

// See hv/core/requests.h for the two orders that this file keeps.

void make_request_for_data(enum vcpu_request req, struct vcpu *vcpu)
{
    u64 order = knob(&vcpu->vm->host->knobs, KNOB_REQ_WMB);
    if (unlikely(order == REQ_WMB_NONE)) {
        __atomic_fetch_or(&vcpu->requests, 1ull << REQ_BIT(req), __ATOMIC_RELAXED);
        return;
    }
    if (unlikely(order == REQ_WMB_API_AND_CALLER)) {
        smp_wmb(); // As callers did when they did not trust make_request().
        hw_trace_count("req.barriers", 1);
    }
    hw_trace_count("req.barriers", 1);
    make_request(req, vcpu);
}

bool vcpu_wake_up(struct vcpu *vcpu)
{
    if (!waitqueue_active(&vcpu->wq))
        return false;
    if (wake_up_all(&vcpu->wq) == 0)
        return false;
    WRITE_ONCE(vcpu->ready, true);
    return true;
}

u32 vcpu_exiting_guest_mode(struct vcpu *vcpu)
{
    u32 mode = IN_GUEST_MODE;
    (void)__atomic_compare_exchange_n(&vcpu->mode, &mode, EXITING_GUEST_MODE, false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST);
    return mode;
}

// Did the caller become the one who must send the interrupt?
static bool should_kick(struct vcpu *vcpu)
{
    return vcpu_exiting_guest_mode(vcpu) == IN_GUEST_MODE;
}

void vcpu_kick(struct vcpu *vcpu)
{
    if (vcpu_wake_up(vcpu))
        return;
    preempt_disable();
    struct cpu *cpu = READ_ONCE(vcpu->cpu);
    if (cpu != NULL && cpu != this_cpu() && should_kick(vcpu)) {
        hw_trace(TP_KVM_KICK, vcpu->id, cpu->id, 0, 0, 0, 0);
        cpu_send_ipi(cpu, VECTOR_RESCHEDULE);
    }
    preempt_enable();
}

// Must an interrupt reach this vCPU, now that its request bit is set? With REQ_WAIT also one that reads page
// tables without the lock counts: it has interrupts disabled, so the interrupt's return tells that it is
// done.
static bool request_needs_ipi(struct vcpu *vcpu, enum vcpu_request req)
{
    u32 mode = vcpu_exiting_guest_mode(vcpu);
    return (req & REQ_WAIT) != 0 ? mode != OUTSIDE_GUEST_MODE : mode == IN_GUEST_MODE;
}

static void acknowledge(void *arg)
{
    (void)arg;
}

bool make_all_cpus_request(struct vm *vm, enum vcpu_request req)
{
    u64 cpus[HW_BOOT_CPUS_MAX / 64] = {0};
    struct host *host = vm->host;
    struct vcpu *vcpu;
    bool called = false;
    bool mode_first = knob(&host->knobs, KNOB_TLB_REQUEST_ORDER) == TLB_REQUEST_ORDER_MODE_FIRST;
    preempt_disable();
    struct cpu *me = this_cpu();
    vm_for_each_vcpu(i, vcpu, vm)
    {
        // The wrong way round: a vCPU that is outside now may look for requests before there is one.
        bool needed = mode_first && request_needs_ipi(vcpu, req);
        make_request(req, vcpu);
        if ((req & REQ_NO_WAKEUP) == 0 && vcpu_wake_up(vcpu))
            continue;
        struct cpu *cpu = READ_ONCE(vcpu->cpu);
        if (cpu != NULL && cpu != me && (mode_first ? needed : request_needs_ipi(vcpu, req))) {
            cpus[cpu->id / 64] |= 1ull << (cpu->id % 64);
            called = true;
        }
    }
    if (called && (req & REQ_WAIT) != 0) {
        cpu_call_mask(host, cpus, acknowledge, NULL);
    } else if (called) {
        for (u32 i = 0; i < host->cpu_count; i++) {
            if ((cpus[i / 64] >> (i % 64)) & 1)
                cpu_send_ipi(host->cpus[i], VECTOR_RESCHEDULE);
        }
    }
    preempt_enable();
    return called;
}

void flush_remote_tlbs(struct vm *vm)
{
    // Changes counted up to here are covered by this flush; later ones stay counted.
    u64 dirty = load_acquire(&vm->tlbs_dirty);
    hw_trace_span_begin(SPAN_TLB_FLUSH);
    hw_trace(TP_KVM_TLB_FLUSH, 1, 0, 0, 0, 0, 0);
    // With knob tlb.flush_entry = arch_hook whoever forgets to call the architecture first flushes nothing.
    if (knob(&vm->host->knobs, KNOB_TLB_FLUSH_ENTRY) == TLB_FLUSH_ENTRY_UNIFIED)
        arch_prepare_tlb_flush(vm);
    (void)make_all_cpus_request(vm, REQ_TLB_FLUSH);
    __atomic_fetch_add(&vm->remote_tlb_flush_count, 1, __ATOMIC_RELAXED);
    if (knob(&vm->host->knobs, KNOB_TLB_DIRTY_RESET) == TLB_DIRTY_RESET_STORE)
        WRITE_ONCE(vm->tlbs_dirty, 0); // The historical reset: what was counted during the flush is lost.
    else
        (void)__atomic_compare_exchange_n(&vm->tlbs_dirty, &dirty, 0, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED);
    hw_trace_span_end(SPAN_TLB_FLUSH);
}
