// SPDX-License-Identifier: Apache-2.0
// Processors: bringing them up, their interrupts, calls from one to another.
#include "hv/core/api.h"
#include "hv/core/arch.h"
#include "hv/core/host.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "spec/msrs.h"

// x2APIC register MSRs (SDM 10.12.1.2, table 10-6) and the interrupt command register (SDM 10.6.1, figure
// 10-28).
#define X2APIC_TPR (MSR_X2APIC_BASE + 0x08)
#define X2APIC_EOI (MSR_X2APIC_BASE + 0x0b)
#define X2APIC_SVR (MSR_X2APIC_BASE + 0x0f)
#define X2APIC_ICR (MSR_X2APIC_BASE + 0x30)
#define X2APIC_LVT_TIMER (MSR_X2APIC_BASE + 0x32)
#define X2APIC_ID (MSR_X2APIC_BASE + 0x02)
#define SVR_ENABLE 0x100u
#define LVT_TIMER_TSC_DEADLINE (2u << 17)
#define ICR_FIXED 0x0000u
#define ICR_NMI 0x0400u
#define ICR_INIT 0x0500u
#define ICR_STARTUP 0x0600u
#define ICR_ASSERT 0x4000u
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_X2APIC (1ull << 10)

// Page of the start-up code below 1 MiB, as the SIPI's vector names it; and how long an AP gets to answer
// one.
#define STARTUP_PAGE 0x9au
#define STARTUP_WAIT_US 200u
#define STARTUP_TRIES 2u

static void wrmsr_known(u32 msr, u64 value)
{
    if (hw_wrmsr(msr, value) != HW_DONE)
        HV_PANIC("WRMSR of a register that every supported processor has raised #GP");
}

int register_vector(struct host *host, unsigned vector, vector_fn fn)
{
    if (vector < 32 || vector >= HOST_VECTORS || fn == NULL)
        return -EINVAL;
    if (host->vectors[vector] != NULL)
        return -EBUSY;
    host->vectors[vector] = fn;
    return 0;
}

void cpu_interrupt(unsigned vector)
{
    struct thread *t = current_thread();
    struct cpu *cpu = t->cpu;
    u64 held = lock_validate_interrupt(t);
    t->preempt_count += PREEMPT_HARDIRQ_OFFSET;
    cpu->interrupts_count++;
    (void)hw_wrmsr(X2APIC_EOI, 0);
    vector_fn fn = t->host->vectors[vector];
    if (likely(fn != NULL))
        fn(cpu, vector);
    else
        hw_trace_violation("unexpected_interrupt", vector, cpu->id);
    t->preempt_count -= PREEMPT_HARDIRQ_OFFSET;
    lock_validate_interrupt_end(t, held);
}

// The IDT's entry: as cpu_interrupt(), and the place where a preempted thread gives way.
static void interrupt_entry(unsigned vector)
{
    cpu_interrupt(vector);
    if (need_resched() && !in_atomic())
        preempt_schedule_irq();
}

static void nmi_entry(void)
{
    struct thread *t = current_thread();
    t->preempt_count += PREEMPT_NMI_OFFSET;
    arch_host_nmi(t->cpu);
    t->preempt_count -= PREEMPT_NMI_OFFSET;
}

// Writes of x2APIC registers wait for nothing (SDM 10.12.3): whatever the handler shall see must be stored
// first.
static void write_icr(u64 icr)
{
    smp_mb();
    (void)hw_wrmsr(X2APIC_ICR, icr);
}

void cpu_send_ipi(struct cpu *to, unsigned vector)
{
    hw_trace(TP_IPI_SEND_CPU, to->id, vector, 0, 0, 0, 0);
    write_icr((u64)to->apic_id << 32 | ICR_ASSERT | ICR_FIXED | vector);
}

void cpu_send_nmi(struct cpu *to)
{
    hw_trace(TP_IPI_SEND_CPU, to->id, 2, 0, 0, 0, 0);
    write_icr((u64)to->apic_id << 32 | ICR_ASSERT | ICR_NMI);
}

static void handle_reschedule(struct cpu *cpu, unsigned vector)
{
    (void)vector;
    sched_ipi(cpu);
}

static void handle_timer(struct cpu *cpu, unsigned vector)
{
    (void)vector;
    hrtimer_interrupt(cpu);
}

static void handle_calls(struct cpu *cpu, unsigned vector)
{
    struct list calls;
    (void)vector;
    list_init(&calls);
    raw_spin_lock(&cpu->calls_lock);
    list_splice(&cpu->calls, &calls);
    raw_spin_unlock(&cpu->calls_lock);
    while (!list_empty(&calls)) {
        struct cpu_call *call = list_first(&calls, struct cpu_call, node);
        list_unlink(&call->node);
        call->fn(call->arg);
        store_release(&call->pending, 0); // `call`, on the caller's stack, may be gone now.
    }
}

static void queue_call(struct cpu *to, struct cpu_call *call)
{
    bool flags = spin_lock_irqsave(&to->calls_lock);
    bool was_empty = list_empty(&to->calls);
    call->pending = 1;
    list_add_tail(&call->node, &to->calls);
    spin_unlock_irqrestore(&to->calls_lock, flags);
    // Whoever found the list empty has sent the interrupt that empties it.
    if (was_empty)
        cpu_send_ipi(to, VECTOR_CALL_FUNCTION);
}

static void wait_call(struct cpu_call *call)
{
    while (load_acquire(&call->pending) != 0)
        hw_pause();
}

void cpu_call(struct cpu *to, void (*fn)(void *), void *arg)
{
    preempt_disable();
    if (to == this_cpu()) {
        bool flags = irq_save();
        fn(arg);
        irq_restore(flags);
    } else {
        // Two CPUs that call each other with interrupts off would wait for ever.
        HV_ASSERT(hw_irqs_enabled());
        struct cpu_call call = {.fn = fn, .arg = arg};
        queue_call(to, &call);
        wait_call(&call);
    }
    preempt_enable();
}

void cpu_call_mask(struct host *host, const u64 *mask, void (*fn)(void *), void *arg)
{
    preempt_disable();
    struct cpu *me = this_cpu();
    // One call block per target, in this CPU's data: interrupts that call others do not come here.
    for (u32 i = 0; i < host->cpu_count; i++) {
        struct cpu *cpu = host->cpus[i];
        if (cpu == me || cpu->online == 0 || !bitmap_test(mask, i))
            continue;
        struct cpu_call *call = &me->call_blocks[i];
        call->fn = fn;
        call->arg = arg;
        queue_call(cpu, call);
    }
    for (u32 i = 0; i < host->cpu_count; i++)
        wait_call(&me->call_blocks[i]);
    preempt_enable();
}

void cpu_call_all(struct host *host, void (*fn)(void *), void *arg)
{
    u64 all[BITMAP_WORDS(HW_BOOT_CPUS_MAX)];
    memset(all, 0xff, sizeof(all));
    preempt_disable();
    cpu_call_mask(host, all, fn, arg);
    cpu_call(this_cpu(), fn, arg);
    preempt_enable();
}

struct cpu *cpu_create(struct host *host, u32 id, u32 apic_id)
{
    struct cpu *cpu = kzalloc(host, sizeof(*cpu));
    if (cpu == NULL)
        HV_PANIC("no memory for per-CPU data");
    cpu->call_blocks = kzalloc(host, sizeof(struct cpu_call) * host->cpu_count);
    if (cpu->call_blocks == NULL)
        HV_PANIC("no memory for per-CPU data");
    cpu->host = host;
    cpu->id = id;
    cpu->apic_id = apic_id;
    spin_lock_init(&cpu->calls_lock, LOCK_RANK_IPI_CALLS);
    list_init(&cpu->calls);
    hrtimer_init_cpu(cpu);
    sched_init_cpu(cpu);
    host->cpus[id] = cpu;
    return cpu;
}

// x2APIC mode on, timer in TSC-deadline mode (SDM 10.12.1, 10.5.4.1).
static void init_lapic(void)
{
    u64 base;
    if (hw_rdmsr(MSR_IA32_APIC_BASE, &base) != HW_DONE)
        HV_PANIC("no IA32_APIC_BASE");
    if ((base & APIC_BASE_X2APIC) == 0)
        wrmsr_known(MSR_IA32_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    wrmsr_known(X2APIC_TPR, 0);
    wrmsr_known(X2APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    wrmsr_known(X2APIC_LVT_TIMER, LVT_TIMER_TSC_DEADLINE | VECTOR_LAPIC_TIMER);
}

static void handle_ignored(struct cpu *cpu, unsigned vector)
{
    (void)cpu;
    (void)vector;
}

static void ap_entry(u64 argument)
{
    struct host *host = (struct host *)argument;
    u64 apic_id;
    if (hw_rdmsr(X2APIC_ID, &apic_id) != HW_DONE) {
        // Still in xAPIC mode: the initial id of CPUID leaf 0Bh, EDX (SDM 10.12.8.1).
        struct hw_cpuid_regs regs;
        hw_cpuid(0x0b, 0, &regs);
        apic_id = regs.edx;
    }
    for (u32 i = 0; i < host->cpu_count; i++) {
        struct cpu *cpu = host->cpus[i];
        if (cpu->apic_id != apic_id)
            continue;
        thread_adopt(&cpu->boot_thread, cpu, "idle");
        cpu_init_this(cpu);
        cpu_idle_loop();
    }
    HV_PANIC("a processor that nobody started");
}

void cpu_init_this(struct cpu *cpu)
{
    struct host *host = cpu->host;
    if (cpu->id == 0) {
        host->hw_vectors = (struct hw_vectors){.interrupt = interrupt_entry,
                                               .nmi = nmi_entry,
                                               .syscall = syscall_entry,
                                               .ap_entry = ap_entry,
                                               .ap_argument = (u64)host};
        (void)register_vector(host, VECTOR_RESCHEDULE, handle_reschedule);
        (void)register_vector(host, VECTOR_CALL_FUNCTION, handle_calls);
        (void)register_vector(host, VECTOR_LAPIC_TIMER, handle_timer);
        (void)register_vector(host, VECTOR_SPURIOUS, handle_ignored);
        (void)register_vector(host, VECTOR_ERROR, handle_ignored);
    }
    hw_set_vectors(&host->hw_vectors);
    init_lapic();
    if (cpu->id == 0 && arch_host_init(host) != 0)
        HV_PANIC("this machine lacks what the core needs");
    arch_cpu_enable(cpu);
    store_release(&cpu->online, 1);
}

// SDM 8.4.4.1: INIT, then SIPIs. Modern processors need no pause after INIT.
static void boot_one(struct cpu *cpu)
{
    u64 destination = (u64)cpu->apic_id << 32;
    wrmsr_known(X2APIC_ICR, destination | ICR_ASSERT | ICR_INIT);
    for (unsigned i = 0; i < STARTUP_TRIES && load_acquire(&cpu->online) == 0; i++) {
        wrmsr_known(X2APIC_ICR, destination | ICR_ASSERT | ICR_STARTUP | STARTUP_PAGE);
        u64 end = hw_rdtsc() + ns_to_tsc(cpu->host, STARTUP_WAIT_US * 1000);
        while (load_acquire(&cpu->online) == 0 && hw_rdtsc() < end)
            hw_pause();
    }
    if (load_acquire(&cpu->online) == 0)
        HV_PANIC("a processor did not start");
}

void cpu_boot_others(struct host *host)
{
    for (u32 id = 1; id < host->cpu_count; id++)
        boot_one(host->cpus[id]);
}
