// SPDX-License-Identifier: Apache-2.0
// What belongs to one processor: run queue, timers, calls from others, interrupt vectors.
#ifndef HV_CORE_CPU_H
#define HV_CORE_CPU_H

#include "hv/core/hrtimer.h"
#include "hv/core/sched.h"
#include "hv/core/thread.h"

// Vectors of the host, as Linux assigns them.
enum host_vector {
    VECTOR_LAPIC_TIMER = 0xec,
    VECTOR_POSTED_INTR_NESTED = 0xf0,
    VECTOR_POSTED_INTR_WAKEUP = 0xf1,
    VECTOR_POSTED_INTR = 0xf2,
    VECTOR_CALL_FUNCTION = 0xfb,
    VECTOR_RESCHEDULE = 0xfd,
    VECTOR_ERROR = 0xfe,
    VECTOR_SPURIOUS = 0xff,
};

struct cpu_call {
    struct list node;
    void (*fn)(void *arg);
    void *arg;
    u32 pending; // Cleared (release) when fn has run.
};

struct arch_cpu; // hv/x86: VMXON region, current VMCS ...

struct cpu {
    struct host *host;
    u32 id;                    // 0.. in the host.
    u32 apic_id;               // Physical x2APIC id.
    struct vcpu *running_vcpu; // Between sched_in and sched_out of its thread.
    struct arch_cpu *arch;
    u32 idle; // 1 in the idle loop; a thread queued then needs an IPI or its own CPU.
    u32 online;
    struct runqueue rq __cacheline_aligned;
    struct hrtimer_base hrtimers __cacheline_aligned;
    struct hrtimer slice_timer;
    struct spinlock calls_lock __cacheline_aligned; // Interrupts off.
    struct list calls;
    struct cpu_call *call_blocks; // Of cpu_call_mask() on this CPU, one per target.
    u64 interrupts_count;
    struct thread boot_thread; // Becomes the idle thread.
} __cacheline_aligned;

typedef void (*vector_fn)(struct cpu *cpu, unsigned vector);
// Handler of an external vector 32..255; it must not EOI (cpu_interrupt() does that before it calls, as edge
// IPIs allow). -EBUSY if taken, -EINVAL out of range.
int register_vector(struct host *host, unsigned vector, vector_fn fn);
// At boot, per CPU: per-CPU data of CPU `id`; vectors, x2APIC, idle thread for the calling one; the others by
// INIT-SIPI-SIPI.
struct cpu *cpu_create(struct host *host, u32 id, u32 apic_id);
void cpu_init_this(struct cpu *cpu);
void cpu_boot_others(struct host *host);
// Where the IDT's gates lead to, and what the arch calls for an interrupt acknowledged by a VM exit.
// Interrupts disabled. Does not reschedule by itself when preemption is disabled.
void cpu_interrupt(unsigned vector);

// Sends fixed IPI `vector` (SDM 10.12.9, x2APIC ICR).
void cpu_send_ipi(struct cpu *to, unsigned vector);
void cpu_send_nmi(struct cpu *to);
// Runs fn(arg) on `to` in interrupt context and waits for it. Preemption disabled or caller pinned is not
// needed; interrupts must be enabled (deadlock otherwise). On the calling CPU it runs at once with interrupts
// disabled.
void cpu_call(struct cpu *to, void (*fn)(void *), void *arg);
// On the CPUs of the mask (bit per id) but the calling one, at once; returns when all have run.
void cpu_call_mask(struct host *host, const u64 *mask, void (*fn)(void *), void *arg);
// On every online CPU; returns when all have run.
void cpu_call_all(struct host *host, void (*fn)(void *), void *arg);

#endif
