// SPDX-License-Identifier: Apache-2.0
// The world switch: VMX on each CPU, loading a vCPU's VMCS, VM entry and exit (SDM 23.7, 26, 27).
#include "hv/core/tlb_change.h"
#include "hv/core/vm.h"
#include "hv/lib/assert.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/emulate.h"
#include "hv/x86/exits.h"
#include "hv/x86/lapic.h"
#include "hv/x86/msr.h"
#include "hv/x86/nested.h"
#include "hv/x86/pml.h"
#include "hv/x86/regs.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"

// --- Processors.

void arch_cpu_enable(struct cpu *cpu)
{
    struct host *host = cpu->host;
    struct x86_host *x = x86_host(host);
    const u64 needed = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUTSIDE_SMX;
    struct hw_cpuid_regs id;
    u64 feature = 0;

    hw_cpuid(1, 0, &id);
    if (!(id.ecx & CPUID_VMX))
        HV_PANIC("this processor has no VMX");
    (void)hw_rdmsr(MSR_IA32_FEATURE_CONTROL, &feature);
    if ((feature & needed) != needed) {
        if ((feature & FEATURE_CONTROL_LOCK) ||
            hw_wrmsr(MSR_IA32_FEATURE_CONTROL, feature | needed) != HW_DONE)
            HV_PANIC("VMX is locked off by firmware (IA32_FEATURE_CONTROL)");
    }
    struct arch_cpu *a = kzalloc(host, sizeof(*a));

    if (a == NULL || (a->vmxon_region = page_alloc_zeroed(host, MEM_KERNEL)) == NULL)
        HV_PANIC("no memory for VMXON");
    list_init(&a->loaded_vmcss);
    list_init(&a->blocked_vcpus);
    spin_lock_init(&a->blocked_lock, LOCK_RANK_BLOCKED_VCPUS);
    for (unsigned i = 0; i < SWITCHED_MSRS; i++)
        a->switched_msr[i] = x->switched_msr[i];
    cpu->arch = a;
    *(u32 *)a->vmxon_region = x->caps.revision;
    if (hw_write_cr(4, hw_read_cr(4) | (x->cr4 & (X86_CR4_VMXE | X86_CR4_OSXSAVE))) != HW_DONE)
        HV_PANIC("CR4.VMXE cannot be set");
    if (x->has_xsave && hw_xsetbv(0, x->xcr0) != HW_DONE) // What entries and exits switch from and to.
        HV_PANIC("XCR0 cannot be set");
    if (hw_vmxon(va_to_hpa(host, a->vmxon_region)) != HW_VMX_OK)
        HV_PANIC("VMXON failed");
    (void)hw_invept(INVEPT_ALL, 0);
}

// --- Loading and unloading.

void arch_vcpu_load(struct vcpu *vcpu, struct cpu *cpu)
{
    struct x86_vcpu *v = to_x86(vcpu);
    struct cpu *active = load_acquire(&v->vmcs->cpu);

    if (active != NULL && active != cpu)
        loaded_vmcs_clear(v->vmcs);
    bool moved = loaded_vmcs_load(v->vmcs, cpu);

    if (moved) {
        // Translations tagged with our VPID or root may have been left behind here by an earlier visit.
        vcpu->mmu->flush_generation = 0;
        if (!tlb_flush_left_out(vcpu->vm, MMU_SKIP_FLUSH_VCPU_MOVE))
            make_request(REQ_TLB_FLUSH, vcpu);
        v->vmcs->host.tr_base = 0;
    }
    vmcs_write_cpu_state(v, cpu);
    u64 gs = hw_rdgsbase();

    if (v->vmcs->host.gs_base != gs) {
        v->vmcs->host.gs_base = gs;
        vmcs_write(HOST_GS_BASE, gs);
    }
    if (unlikely(v->ple_shrink) && x86_host_of(v)->caps.ple)
        ple_window_shrink(v);
    if (v->apic != NULL) {
        apicv_load(v, cpu);
        if (moved)
            guest_timer_load(v, cpu);
    }
    hw_trace_vcpu(vcpu->vm->id, vcpu->index, v->in_guest_mode ? 2 : 1, v->vmcs->hpa);
}

// Guest values out, host values back. Cheap when user space is not reached between two RUNs' loads.
static void put_guest_msrs(struct x86_vcpu *v, struct cpu *cpu)
{
    const struct x86_host *h = x86_host_of(v);

    if (!v->guest_msrs_loaded)
        return;
    v->guest_msrs_loaded = false;
    for (unsigned i = 0; i < SWITCHED_MSRS; i++) {
        u32 msr = switched_msr_number((enum switched_msr)i);

        if (i == SWITCHED_KERNEL_GS_BASE) // The guest writes it without an exit.
            (void)hw_rdmsr(msr, &v->switched_msr[i]);
        else if (cpu->arch->switched_msr[i] == h->switched_msr[i])
            continue;
        (void)hw_wrmsr(msr, h->switched_msr[i]);
        cpu->arch->switched_msr[i] = h->switched_msr[i];
    }
}

void arch_vcpu_put(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (vcpu->preempted)
        v->preempted_in_kernel = vcpu_cpl(v) == 0;
    // Whoever comes back to the processor starts with a short window again (KVM: sched_in).
    v->ple_shrink = vcpu->preempted || vcpu->mp_state == MP_STATE_HALTED;
    if (v->apic != NULL)
        apicv_put(v);
    put_guest_msrs(v, vcpu->cpu);
    hw_trace_vcpu(vcpu->vm->id, ~0u, 0, hpa(0));
}

void arch_vcpu_prepare_switch(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);
    struct arch_cpu *here = vcpu->cpu->arch;

    if (unlikely(v->has_vmid))
        vmid_renew(v);
    if (likely(v->guest_msrs_loaded))
        return;
    v->guest_msrs_loaded = true;
    for (unsigned i = 0; i < SWITCHED_MSRS; i++) {
        if (i == SWITCHED_TSC_AUX && !x86_host_of(v)->has_rdtscp)
            continue;
        if (here->switched_msr[i] == v->switched_msr[i] && i != SWITCHED_KERNEL_GS_BASE)
            continue;
        here->switched_msr[i] = v->switched_msr[i];
        (void)hw_wrmsr(switched_msr_number((enum switched_msr)i), v->switched_msr[i]);
    }
}

// --- Controls.

void vmx_update_controls(struct x86_vcpu *v)
{
    const struct vmx_caps *caps = &x86_host_of(v)->caps;
    // Windows that injection asked for stay; a VMCS being set up holds the complement of everything.
    const u32 window = v->vmcs->controls.pin == ~caps->pin
                           ? 0
                           : v->vmcs->controls.cpu & (CPU_INTERRUPT_WINDOW_EXITING | CPU_NMI_WINDOW_EXITING);
    u32 pin = caps->pin, cpu = caps->cpu, cpu2 = caps->cpu2;
    u32 off = x86_vm_of(v)->disabled_exits;

    if (off & HV_DISABLE_EXITS_HLT)
        cpu &= ~(u32)CPU_HLT_EXITING;
    if (off & HV_DISABLE_EXITS_MWAIT)
        cpu &= ~(u32)(CPU_MWAIT_EXITING | CPU_MONITOR_EXITING);
    if (off & HV_DISABLE_EXITS_PAUSE)
        cpu2 &= ~(u32)CPU2_PAUSE_LOOP_EXITING;
    if (v->apic != NULL) {
        apicv_adjust_controls(v, &pin, &cpu, &cpu2);
    } else {
        pin &= ~(u32)PIN_POSTED_INTERRUPTS;
        cpu2 &= ~(u32)(CPU2_VIRTUALIZE_APIC_ACCESSES | CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_APIC_REGISTER_VIRT |
                       CPU2_VIRTUAL_INTR_DELIVERY);
        cpu = (cpu & ~(u32)CPU_USE_TPR_SHADOW) | CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING;
    }
    if (!guest_cpuid_has(v, 0x80000001, 0, CPUID_EDX, CPUID_RDTSCP))
        cpu2 &= ~(u32)CPU2_ENABLE_RDTSCP;
    if (!guest_cpuid_has(v, 7, 0, CPUID_EBX, CPUID_INVPCID))
        cpu2 &= ~(u32)CPU2_ENABLE_INVPCID;
    if (!guest_cpuid_has(v, 0xd, 1, CPUID_EAX, CPUID_XSAVES))
        cpu2 &= ~(u32)CPU2_ENABLE_XSAVES;
    // These exits only tell the guest that it has no such instruction.
    if (guest_cpuid_has(v, 1, 0, CPUID_ECX, CPUID_RDRAND))
        cpu2 &= ~(u32)CPU2_RDRAND_EXITING;
    if (guest_cpuid_has(v, 7, 0, CPUID_EBX, CPUID_RDSEED))
        cpu2 &= ~(u32)CPU2_RDSEED_EXITING;
    if (v->vpid == 0)
        cpu2 &= ~(u32)CPU2_ENABLE_VPID;
    if (!pml_wanted(v))
        cpu2 &= ~(u32)CPU2_ENABLE_PML;
    cpu2 |= nested_shadow_controls(v);
    if (v->nested != NULL)
        cpu2 |= nested_shadow_controls(v);
    pin_controls_set(v, pin);
    cpu_controls_set(v, cpu | window);
    cpu2_controls_set(v, cpu2);
}

// SDM 24.6.9.
void vmx_set_msr_intercept(struct x86_vcpu *v, u32 msr, bool read, bool write)
{
    u8 *map = v->vmcs01.msr_bitmap;
    u32 offset = 0;

    if (msr - MSR_BITMAP_HIGH_BASE < MSR_BITMAP_RANGE) {
        offset = MSR_BITMAP_READ_HIGH;
        msr -= MSR_BITMAP_HIGH_BASE;
    } else if (msr >= MSR_BITMAP_RANGE) {
        return;
    }
    u8 bit = (u8)(1u << (msr % 8));
    u8 *r = &map[offset + msr / 8], *w = &map[offset + MSR_BITMAP_WRITE_LOW + msr / 8];

    *r = (u8)(read ? *r | bit : *r & ~bit);
    *w = (u8)(write ? *w | bit : *w & ~bit);
}

// --- Preemption timer (SDM 25.5.1).

bool vmx_set_hv_timer(struct x86_vcpu *v, u64 deadline_tsc)
{
    const struct vmx_caps *caps = &x86_host_of(v)->caps;

    if (deadline_tsc == ~0ull) {
        v->hv_deadline_tsc = ~0ull;
        return true;
    }
    if (!caps->preemption_timer)
        return false;
    u64 now = hw_rdtsc();

    if (deadline_tsc > now && (deadline_tsc - now) >> caps->preemption_shift >= UINT32_MAX)
        return false;
    v->hv_deadline_tsc = deadline_tsc;
    return true;
}

static void write_hv_timer(struct x86_vcpu *v, u32 value)
{
    vmcs_write(VMX_PREEMPTION_TIMER_VALUE, value);
    v->vmcs->hv_timer_armed = value != UINT32_MAX;
}

static void update_hv_timer(struct x86_vcpu *v, bool immediate_exit)
{
    if (immediate_exit) {
        u64 tsc = v->in_guest_mode ? nested_immediate_exit_tsc(v) : 0;

        write_hv_timer(v, (u32)min_u64(tsc >> x86_host_of(v)->caps.preemption_shift, UINT32_MAX - 1));
        return;
    }
    if (v->hv_deadline_tsc != ~0ull) {
        u64 now = hw_rdtsc();
        u64 delta = v->hv_deadline_tsc > now
                        ? (v->hv_deadline_tsc - now) >> x86_host_of(v)->caps.preemption_shift
                        : 0;

        write_hv_timer(v, delta < UINT32_MAX ? (u32)delta : UINT32_MAX - 1);
        return;
    }
    if (v->vmcs->hv_timer_armed)
        write_hv_timer(v, UINT32_MAX);
}

// --- Entry.

// Everything that the VMCS must hold and the caches know better.
static void write_back(struct x86_vcpu *v)
{
    u32 dirty = v->regs_dirty;

    v->regs_dirty = 0;
    if (dirty & (1u << CACHED_RSP))
        vmcs_write(GUEST_RSP, v->cached[CACHED_RSP]);
    if (dirty & (1u << CACHED_RIP))
        vmcs_write(GUEST_RIP, v->cached[CACHED_RIP]);
    if (unlikely(v->ple_window_dirty)) {
        v->ple_window_dirty = false;
        vmcs_write(PLE_WINDOW, v->ple_window);
    }
    // The stack on which the exit arrives: it belongs to the thread, so the thread's own address stands for
    // it here.
    u64 rsp = (u64)&current_thread()->context;

    if (unlikely(v->vmcs->host.rsp != rsp)) {
        v->vmcs->host.rsp = rsp;
        v->vmcs->vmwrite_host_rsp++;
        vmcs_write(HOST_RSP, rsp);
    }
}

// Code that HOST_RIP names. The processor model returns from hw_vmlaunch() and hw_vmresume() instead.
void vmx_exit_landing(void) {}

// SDM 30.2: the instruction itself failed, nothing of the guest ran.
static __cold void entry_failed(struct x86_vcpu *v, enum hw_vmx_status status)
{
    u64 error = 0;

    if (status == HW_VMX_FAIL_VALID)
        (void)hw_vmread(VM_INSTRUCTION_ERROR, &error);
    v->fail = true;
    v->fail_status = (u8)status;
    v->insn_err = (u32)error;
    v->exit_reason = EXIT_REASON_ENTRY_FAILURE;
    v->idt_vectoring = 0;
    hw_trace(TP_VM_FAIL, v->vmcs->launched ? EXIT_REASON_VMRESUME : EXIT_REASON_VMLAUNCH, error, 0, 0, 0, 0);
}

#define REGS_CLEARED_AT_EXIT ((1u << CACHED_REGS) - 1)

static void load_guest_debug(struct x86_vcpu *v)
{
    for (unsigned i = 0; i < 4; i++)
        (void)hw_write_dr(i, v->db[i]);
    (void)hw_write_dr(6, v->dr6);
}

// The guest had the debug registers for itself: take them back and intercept them again.
static void save_guest_debug(struct x86_vcpu *v)
{
    for (unsigned i = 0; i < 4; i++)
        v->db[i] = hw_read_dr(i);
    v->dr6 = hw_read_dr(6);
    v->dr7 = vmcs_read(GUEST_DR7);
    (void)hw_write_dr(7, X86_DR7_RESET);
    cpu_controls_setbit(v, CPU_MOV_DR_EXITING);
}

static inline void switch_xcr0(struct x86_vcpu *v, u64 from, u64 to)
{
    if (unlikely(from != to) && x86_host_of(v)->has_xsave && (v->cached[CACHED_CR4] & X86_CR4_OSXSAVE))
        (void)hw_xsetbv(0, to);
}

enum exit_fastpath arch_vcpu_enter(struct vcpu *vcpu, bool immediate_exit)
{
    struct x86_vcpu *v = to_x86(vcpu);
    const u64 host_xcr0 = x86_host_of(v)->xcr0;
    v->immediate_exit = immediate_exit;
    if (unlikely(!x86_host_of(v)->caps.unrestricted_guest)) {
        v->emulating = emulation_required(v);
        if (v->emulating) {
            v->exit_reason = EXIT_REASON_INVALID_STATE;
            v->idt_vectoring = 0;
            return EXIT_FASTPATH_NONE;
        }
    }
    bool own_debug = !cpu_controls_has(v, CPU_MOV_DR_EXITING) || unlikely(v->dr7 & 0xff);

    hw_trace(TP_KVM_ENTRY, vcpu->index, trace_rip(v), 0, 0, 0, 0);
    write_back(v);
    if (likely(v->vmcs->controls.pin & PIN_PREEMPTION_TIMER))
        update_hv_timer(v, immediate_exit);
    else if (immediate_exit)
        cpu_send_ipi(vcpu->cpu, VECTOR_RESCHEDULE); // Stays pending until the guest is entered, and ends it.
    if (unlikely(own_debug))
        load_guest_debug(v);
    switch_xcr0(v, host_xcr0, v->xcr0);
    enum hw_vmx_status status = likely(v->vmcs->launched) ? hw_vmresume(&v->gprs) : hw_vmlaunch(&v->gprs);

    switch_xcr0(v, v->xcr0, host_xcr0);
    v->regs_avail &= ~REGS_CLEARED_AT_EXIT;
    v->segs.avail = 0;
    if (unlikely(own_debug))
        save_guest_debug(v);
    if (unlikely(status != HW_VMX_OK)) {
        entry_failed(v, status);
        return EXIT_FASTPATH_NONE;
    }
    v->exit_reason = vmcs_read32(VM_EXIT_REASON);
    if (unlikely(v->exit_reason & EXIT_REASON_ENTRY_FAILURE)) {
        v->idt_vectoring = 0;
        return EXIT_FASTPATH_NONE;
    }
    v->vmcs->launched = true;
    v->idt_vectoring = vmcs_read32(IDT_VECTORING_INFO_FIELD);
    complete_interrupts(v);
    return exit_fastpath(v);
}

bool arch_vcpu_in_kernel(struct vcpu *vcpu)
{
    // Asked about vCPUs of other CPUs, whose VMCS cannot be read here.
    return to_x86(vcpu)->preempted_in_kernel;
}

unsigned arch_vcpu_address_space(struct vcpu *vcpu)
{
    (void)vcpu; // System-management mode would use the second one.
    return 0;
}
