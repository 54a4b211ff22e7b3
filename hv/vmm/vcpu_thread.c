// SPDX-License-Identifier: Apache-2.0
// A vCPU's thread in user space: RUN, and what RUN leaves to us.
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"
#include "hv/vmm/ioapic.h"
#include "hv/vmm/vmm.h"

#define VMM_EINTR 4
#define VMM_EAGAIN 11
#define VMM_EBUSY 16

void vmm_big_lock(struct vmm *vmm)
{
    if (vmm_trylock(&vmm->big_lock))
        return;
    hw_trace_span_begin(SPAN_VCPU_STALL);
    vmm_lock(&vmm->big_lock);
    hw_trace_span_end(SPAN_VCPU_STALL);
}

void vmm_big_unlock(struct vmm *vmm)
{
    vmm_unlock(&vmm->big_lock);
}

static void handle_io(struct vmm_vcpu *vcpu)
{
    struct hv_run *run = vcpu->run;
    u8 *data = (u8 *)run + run->io.data_offset;

    for (u32 i = 0; i < run->io.count; i++)
        vmm_port_io(vcpu->vm, run->io.port, run->io.direction == HV_IO_OUT, data + i * run->io.size,
                    run->io.size);
}

// True: run again. False: this vCPU is over.
static bool handle_exit(struct vmm_vcpu *vcpu)
{
    struct hv_run *run = vcpu->run;

    switch ((enum hv_exit)run->exit_reason) {
    case HV_EXIT_IO:
        handle_io(vcpu);
        return true;
    case HV_EXIT_MMIO:
        vmm_mmio(vcpu->vm, run->mmio.phys_addr, run->mmio.is_write, run->mmio.data, run->mmio.len);
        return true;
    case HV_EXIT_DIRTY_RING_FULL:
        return vmm_dirty_collect(vcpu->vm) >= 0;
    case HV_EXIT_IOAPIC_EOI: // Only of the routes of our own I/O APIC.
        vmm_ioapic_eoi(vcpu->vm->ioapic, run->eoi.vector);
        return true;
    case HV_EXIT_HYPERCALL:
        run->hypercall.ret = (u64)-1000; // KVM_ENOSYS: this VMM serves none.
        return true;
    case HV_EXIT_HLT: // Without an irqchip in the core: only another thread's interrupt would help.
    case HV_EXIT_IRQ_WINDOW_OPEN:
    case HV_EXIT_INTR:
    case HV_EXIT_SET_TPR:
        return true;
    case HV_EXIT_SHUTDOWN:
    case HV_EXIT_SYSTEM_EVENT:
        return false;
    case HV_EXIT_FAIL_ENTRY:
        hw_trace_violation("vm entry failed", run->fail_entry.hardware_entry_failure_reason, vcpu->index);
        return false;
    case HV_EXIT_INTERNAL_ERROR:
        hw_trace_violation("internal error", run->internal.suberror, run->internal.data[0]);
        return false;
    default:
        hw_trace_violation("userspace exit without a handler", run->exit_reason, vcpu->index);
        return false;
    }
}

// An access that user space has answered is finished by the next RUN: before the state is looked at.
static void finish_access(struct vmm_vcpu *vcpu)
{
    if (!vcpu->running) // It never ran.
        return;
    vcpu->run->immediate_exit = 1;
    while (hv_ioctl(vcpu->handle, HV_RUN, 0) == 0)
        handle_exit(vcpu);
    vcpu->run->immediate_exit = 0;
}

// A migration wants the guest slower: sleeps for its share, or until a signal comes.
static void sleep_throttled(struct vmm_vcpu *vcpu)
{
    __atomic_fetch_and(&vcpu->paused, ~VMM_PAUSED_THROTTLED, __ATOMIC_ACQUIRE);
    hv_sleep_until(hv_clock_ns() + __atomic_load_n(&vcpu->throttle_ns, __ATOMIC_RELAXED));
}

// Waits until nothing speaks against running.
static void park(struct vmm_vcpu *vcpu)
{
    u32 paused = __atomic_load_n(&vcpu->paused, __ATOMIC_ACQUIRE);

    if (paused == VMM_PAUSED_THROTTLED) {
        sleep_throttled(vcpu);
        return;
    }
    if (paused & VMM_PAUSED_ELSEWHERE)
        finish_access(vcpu);
    __atomic_store_n(&vcpu->parked, 1, __ATOMIC_RELEASE);
    hv_futex_wake(&vcpu->parked, 1);
    while ((paused = __atomic_load_n(&vcpu->paused, __ATOMIC_ACQUIRE)) & ~VMM_PAUSED_THROTTLED)
        hv_futex_wait(&vcpu->paused, paused, 0);
    __atomic_store_n(&vcpu->parked, 0, __ATOMIC_RELEASE);
}

void vmm_guest_end(struct vmm_vm *vm, enum guest_end how, u64 code)
{
    if (__atomic_exchange_n(&vm->ended, 1, __ATOMIC_ACQ_REL))
        return;
    hw_trace(TP_GUEST_END, vm->config->number, how, code, 0, 0, 0);
    vmm_require(hv_syscall(HV_SYS_GUEST_END, vm->config->number, how, code, 0), "GUEST_END");
    if (__atomic_sub_fetch(&vm->vmm->vcpus_left, vm->config->vcpu_count, __ATOMIC_ACQ_REL) == 0)
        hv_syscall(HV_SYS_POWER_OFF, 0, 0, 0, 0);
    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        __atomic_fetch_or(&vm->vcpus[i].paused, VMM_PAUSED_ENDED, __ATOMIC_RELEASE);
        hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)vm->vcpus[i].thread, 0, 0, 0);
    }
}

// The guest of a PC cannot go on: what the last RUN says of it.
static enum guest_end end_of(const struct vmm_vcpu *vcpu)
{
    if (vcpu->result < 0)
        return GUEST_END_ERROR;
    return vcpu->run->exit_reason == HV_EXIT_SHUTDOWN       ? GUEST_END_TRIPLE_FAULT
           : vcpu->run->exit_reason == HV_EXIT_SYSTEM_EVENT ? GUEST_END_POWER_OFF
                                                            : GUEST_END_ERROR;
}

// Its guest is through. The thread stays only if there is a link: the VM may come back with a guest that is
// not.
static void end(struct vmm_vcpu *vcpu)
{
    if (vcpu->vm->pc) {
        vmm_guest_end(vcpu->vm, end_of(vcpu), 0);
        return;
    }
    // Nobody is left to wait for: a guest that shut down ends the run in good order.
    if (__atomic_sub_fetch(&vcpu->vm->vmm->vcpus_left, 1, __ATOMIC_ACQ_REL) == 0)
        hv_syscall(HV_SYS_POWER_OFF, 0, 0, 0, 0);
    if (!vcpu->vm->migration)
        hv_exit();
    __atomic_fetch_or(&vcpu->paused, VMM_PAUSED_ENDED, __ATOMIC_RELEASE);
}

void vmm_kick_all(struct vmm_vm *vm)
{
    __atomic_store_n(&vm->kicking, 1, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        struct vmm_vcpu *vcpu = &vm->vcpus[i];
        u32 seen = __atomic_load_n(&vcpu->running, __ATOMIC_SEQ_CST);

        if (!(seen & 1))
            continue;
        hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)vcpu->thread, 0, 0, 0);
        while (__atomic_load_n(&vcpu->running, __ATOMIC_ACQUIRE) == seen)
            hv_futex_wait(&vcpu->running, seen, 0);
    }
    __atomic_store_n(&vm->kicking, 0, __ATOMIC_RELEASE);
}

void vmm_vcpu_thread(void *arg)
{
    struct vmm_vcpu *vcpu = arg;

    for (;;) {
        while (__atomic_load_n(&vcpu->paused, __ATOMIC_ACQUIRE))
            park(vcpu);
        __atomic_add_fetch(&vcpu->running, 1, __ATOMIC_RELEASE);
        vcpu->result = hv_ioctl(vcpu->handle, HV_RUN, 0);
        __atomic_add_fetch(&vcpu->running, 1, __ATOMIC_SEQ_CST); // Before the look: or the waiter sees it.
        if (__atomic_load_n(&vcpu->vm->kicking, __ATOMIC_ACQUIRE))
            hv_futex_wake(&vcpu->running, UINT32_MAX);
        if (__atomic_load_n(&vcpu->vm->killed, __ATOMIC_ACQUIRE)) {
            __atomic_store_n(&vcpu->gone, 1, __ATOMIC_RELEASE);
            hv_futex_wake(&vcpu->gone, 1);
            hv_exit();
        }
        // Busy: another thread of ours prefaults this vCPU's memory right now.
        if (vcpu->result == -VMM_EINTR || vcpu->result == -VMM_EAGAIN || vcpu->result == -VMM_EBUSY)
            continue;
        if (vcpu->result < 0) {
            hw_trace_violation("RUN failed", (u64)-vcpu->result, vcpu->index);
            end(vcpu);
        } else if (!handle_exit(vcpu)) {
            end(vcpu);
        }
    }
}
