// SPDX-License-Identifier: Apache-2.0
// A virtual processor: arch-neutral half. The arch's struct begins with this one (as KVM's vcpu_vmx does).
#ifndef HV_CORE_VCPU_H
#define HV_CORE_VCPU_H

#include "hv/api.h"
#include "hv/core/cpu.h"
#include "hv/core/dirty_ring.h"
#include "hv/core/thread.h"
#include "hv/lib/mutex.h"
#include "hv/lib/wait.h"

struct vm;
struct mmu_vcpu; // hv/mmu

enum vcpu_mode { OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE, READING_SHADOW_PAGE_TABLES };
// Values of the API (HV_MP_STATE).
enum mp_state {
    MP_STATE_RUNNABLE = 0,
    MP_STATE_UNINITIALIZED = 1,
    MP_STATE_INIT_RECEIVED = 2,
    MP_STATE_HALTED = 3,
    MP_STATE_SIPI_RECEIVED = 4,
};

struct vcpu_stat {
    u64 exits, halt_successful_poll, halt_attempted_poll, halt_wakeup, halt_poll_success_ns,
        halt_poll_fail_ns;
    u64 signal_exits, request_irq_exits, preemptions;
};

struct vcpu {
    // Read and written by others at any time.
    u64 requests; // Bits of requests.def.
    u32 mode;     // enum vcpu_mode
    u32 blocking; // 1 while the thread polls or sleeps in vcpu_block().
    struct waitqueue wq;

    // The running thread's own.
    struct vm *vm __cacheline_aligned;
    struct hv_run *run; // Page shared with user space.
    struct cpu *cpu;    // Where loaded, or where loaded last; NULL: nowhere yet.
    bool entry_mb;      // Knob req.entry_mb.
    bool loaded;    // Its thread runs and vcpu_load() is in force: written by notifiers with interrupts off.
    bool preempted; // Scheduled out while runnable.
    bool ready;     // Woken, not yet running (directed yield).
    bool valid_wakeup; // Set by vcpu_block()'s end: work was there when it woke.
    u32 srcu_index;    // Of the read section held around handlers.
    u32 mp_state;      // enum mp_state; the arch changes it.
    struct mmu_vcpu *mmu;
    struct preempt_notifier notifier;
    struct thread *thread; // That loaded it.
    u64 halt_poll_ns;      // Grown and shrunk.
    u32 index;             // In the VM, by creation.
    u32 id;                // Given by user space; on x86 the APIC id.
    int handle;
    struct mutex mutex;   // An ioctl or RUN works on it.
    u64 slot_cache_index; // Last used memslot.
    u64 slot_cache_generation;
    struct vcpu_stat stat;
    struct dirty_ring dirty_ring;
};

// Binds the vCPU to the calling thread and CPU, with arch_vcpu_load(); and back. Sleepable context.
void vcpu_load(struct vcpu *vcpu);
void vcpu_put(struct vcpu *vcpu);
// The vCPU that the current thread has loaded; NULL in other threads.
struct vcpu *running_vcpu(void);

// HV_RUN: enters the guest until user space is needed. 0: run->exit_reason is valid; -EINTR: signal or
// immediate_exit; -EIO, -EINVAL from the arch; -EBUSY: it runs elsewhere.
int vcpu_ioctl_run(struct vcpu *vcpu);
// Halt with polling, until arch_vcpu_runnable(), a signal, or a kick that set UNBLOCK. Called by the arch's
// run loop part when mp_state is not runnable, with the srcu section released.
void vcpu_block(struct vcpu *vcpu);
// May the vCPU leave a halt? Also clears nothing.
bool vcpu_check_block(struct vcpu *vcpu);
// PAUSE-loop exit: gives way to a preempted vCPU of the same VM on this CPU, else to anybody.
void vcpu_on_spin(struct vcpu *vcpu, bool kernel_mode_only);

// NULL beyond the online vCPUs.
struct vcpu *vm_vcpu_by_index(struct vm *vm, u32 index);
struct vcpu *vm_vcpu_by_id(struct vm *vm, u32 id);

#endif
