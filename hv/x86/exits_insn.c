// SPDX-License-Identifier: Apache-2.0
// Exits of single instructions (SDM 25.1).
#include "hv/core/introspection.h"
#include "hv/core/vm.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/exits.h"
#include "hv/x86/guest_access.h"
#include "hv/x86/lapic.h"
#include "hv/x86/msr.h"
#include "hv/x86/nested.h"
#include "spec/cpuid.h"

// Numbers and errors of KVM's hypercalls.
#define KVM_HC_VAPIC_POLL_IRQ 1u
#define KVM_HC_KICK_CPU 5u
#define KVM_HC_SEND_IPI 10u
#define KVM_HC_SCHED_YIELD 11u
#define KVM_ENOSYS 1000
#define KVM_EPERM 1

int handle_skip(struct x86_vcpu *v)
{
    return skip_instruction(v);
}

int handle_invalid_op(struct x86_vcpu *v)
{
    inject_ud(v);
    return 1;
}

int handle_cpuid(struct x86_vcpu *v)
{
    u32 leaf = (u32)v->gprs.r[GPR_RAX], subleaf = (u32)v->gprs.r[GPR_RCX];
    struct hw_cpuid_regs r;

    guest_cpuid(v, leaf, subleaf, &r);
    v->gprs.r[GPR_RAX] = r.eax;
    v->gprs.r[GPR_RBX] = r.ebx;
    v->gprs.r[GPR_RCX] = r.ecx;
    v->gprs.r[GPR_RDX] = r.edx;
    hw_trace(TP_KVM_CPUID, leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
    return skip_instruction(v);
}

int emulate_halt(struct x86_vcpu *v)
{
    if (v->apic == NULL)
        return userspace_exit(v, HV_EXIT_HLT);
    v->vcpu.mp_state = MP_STATE_HALTED;
    return 1;
}

int handle_hlt(struct x86_vcpu *v)
{
    skip_instruction(v);
    return emulate_halt(v);
}

// --- Hypercalls.

static void hypercall_kick(struct x86_vcpu *v, u64 apic_id)
{
    struct vcpu *target = vm_vcpu_by_id(v->vcpu.vm, (u32)apic_id);

    if (target == NULL)
        return;
    WRITE_ONCE(to_x86(target)->pv_unhalted, true);
    make_request(REQ_EVENT, target);
    vcpu_kick(target);
}

static void hypercall_yield(struct x86_vcpu *v, u64 apic_id)
{
    struct vcpu *target = vm_vcpu_by_id(v->vcpu.vm, (u32)apic_id);

    // Only a preempted one gains from it.
    if (target != NULL && target != &v->vcpu && READ_ONCE(target->preempted))
        vcpu_on_spin(&v->vcpu, false);
}

static u64 hypercall(struct x86_vcpu *v, u64 nr, const u64 *a)
{
    switch (nr) {
    case KVM_HC_VAPIC_POLL_IRQ:
        return 0;
    case KVM_HC_KICK_CPU:
        if (!guest_cpuid_has(v, 0x40000001, 0, CPUID_EAX, CPUID_KVM_PV_UNHALT))
            return (u64)-KVM_ENOSYS;
        hypercall_kick(v, a[1]);
        hypercall_yield(v, a[1]);
        return 0;
    case KVM_HC_SEND_IPI:
        if (v->apic == NULL || !guest_cpuid_has(v, 0x40000001, 0, CPUID_EAX, CPUID_KVM_PV_SEND_IPI))
            return (u64)-KVM_ENOSYS;
        return (u64)lapic_pv_send_ipi(v->vcpu.vm, a[0], a[1], a[2], a[3], vcpu_64bit(v));
    case KVM_HC_SCHED_YIELD:
        if (!guest_cpuid_has(v, 0x40000001, 0, CPUID_EAX, CPUID_KVM_PV_SCHED_YIELD))
            return (u64)-KVM_ENOSYS;
        hypercall_yield(v, a[0]);
        return 0;
    default:
        return (u64)-KVM_ENOSYS;
    }
}

int handle_vmcall(struct x86_vcpu *v)
{
    bool wide = vcpu_64bit(v);
    u64 mask = wide ? ~0ull : UINT32_MAX;
    u64 nr = v->gprs.r[GPR_RAX] & mask;
    u64 a[4] = {v->gprs.r[GPR_RBX] & mask, v->gprs.r[GPR_RCX] & mask, v->gprs.r[GPR_RDX] & mask,
                v->gprs.r[GPR_RSI] & mask};

    hw_trace(TP_KVM_HYPERCALL, nr, a[0], a[1], a[2], a[3], 0);
    u64 result = vcpu_cpl(v) == 0 ? hypercall(v, nr, a) : (u64)-KVM_EPERM;

    v->gprs.r[GPR_RAX] = result & mask;
    return skip_instruction(v);
}

int handle_vmx_instruction(struct x86_vcpu *v)
{
    if (!nested_allowed(v)) {
        inject_ud(v);
        return 1;
    }
    return nested_handle_insn(v, v->exit_reason & EXIT_REASON_BASIC_MASK);
}

// --- MSRs.

int handle_msr_read(struct x86_vcpu *v)
{
    u32 msr = (u32)v->gprs.r[GPR_RCX];
    u64 value = 0;
    int fault = msr_read(v, msr, &value, false);

    hw_trace(TP_KVM_MSR, 0, msr, value, (u64)fault, 0, 0);
    if (fault) {
        inject_gp(v, 0);
        return 1;
    }
    vcpu_set_edx_eax(v, value);
    return skip_instruction(v);
}

int handle_msr_write(struct x86_vcpu *v)
{
    u32 msr = (u32)v->gprs.r[GPR_RCX];
    u64 value = vcpu_edx_eax(v);
    int told = introspection_event(&v->vcpu, HV_KVMI_EVENT_MSR, msr, value);

    if (unlikely(told < 0))
        return told; // Not done: the instruction is executed again if the vCPU ever is.
    int fault = msr_write(v, msr, value, false);

    hw_trace(TP_KVM_MSR, 1, msr, value, (u64)fault, 0, 0);
    if (fault) {
        inject_gp(v, 0);
        return 1;
    }
    return skip_instruction(v);
}

// --- Time, counters, extended state.

int handle_rdtsc(struct x86_vcpu *v)
{
    vcpu_set_edx_eax(v, guest_tsc(v, hw_rdtsc()));
    return skip_instruction(v);
}

int handle_rdtscp(struct x86_vcpu *v)
{
    if (!guest_cpuid_has(v, 0x80000001, 0, CPUID_EDX, CPUID_RDTSCP)) {
        inject_ud(v);
        return 1;
    }
    v->gprs.r[GPR_RCX] = (u32)v->switched_msr[SWITCHED_TSC_AUX];
    return handle_rdtsc(v);
}

// A vCPU without performance counters: none of them exists (SDM vol. 2 RDPMC).
int handle_rdpmc(struct x86_vcpu *v)
{
    inject_gp(v, 0);
    return 1;
}

int handle_xsetbv(struct x86_vcpu *v)
{
    if (vcpu_cpl(v) != 0 || (u32)v->gprs.r[GPR_RCX] != 0 || vcpu_set_xcr0(v, vcpu_edx_eax(v))) {
        inject_gp(v, 0);
        return 1;
    }
    return skip_instruction(v);
}

// --- Address spaces. With EPT the guest's INVLPG does not exit; with VPID INVPCID neither, if enabled.

int handle_invlpg(struct x86_vcpu *v)
{
    mmu_invlpg(v, exit_qualification(v));
    return skip_instruction(v);
}

// Descriptor of INVPCID: bits 11:0 PCID, 63:12 zero, then the linear address (SDM vol. 2 INVPCID).
int handle_invpcid(struct x86_vcpu *v)
{
    struct {
        u64 pcid, linear;
    } d = {0};

    if (!guest_cpuid_has(v, 7, 0, CPUID_EBX, CPUID_INVPCID)) {
        inject_ud(v);
        return 1;
    }
    if (!vcpu_require_cpl0(v))
        return 1;
    u32 info = vmcs_read32(VMX_INSTRUCTION_INFO);
    u64 type = vcpu_gpr(v, (info & INSN_INFO_REG2_MASK) >> INSN_INFO_REG2_SHIFT);

    if (!guest_read_operand(v, info, &d, sizeof(d)))
        return 1;
    if (type > 3 || d.pcid >> 12 || (type == 0 && !is_canonical(d.linear))) {
        inject_gp(v, 0);
        return 1;
    }
    if (type == 0)
        mmu_invlpg(v, d.linear);
    else
        make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    return skip_instruction(v);
}

// --- Interrupt controller.

int handle_tpr_below_threshold(struct x86_vcpu *v)
{
    make_request(REQ_EVENT, &v->vcpu); // A waiting interrupt may now be of a higher class.
    return 1;
}

int handle_eoi_induced(struct x86_vcpu *v)
{
    // Trap-like: RIP is already behind the write (SDM 29.1.4).
    return lapic_handle_eoi_induced(v, (u8)(exit_qualification(v) & 0xff));
}

int handle_apic_write(struct x86_vcpu *v)
{
    return lapic_handle_apic_write(v, (u32)(exit_qualification(v) & 0xfff));
}

int handle_preemption_timer(struct x86_vcpu *v)
{
    // An immediate exit has done its work by exiting.
    if (v->immediate_exit || v->apic == NULL || v->hv_deadline_tsc == ~0ull)
        return 1;
    guest_timer_hv_expired(v);
    return 1;
}
