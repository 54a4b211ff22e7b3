// SPDX-License-Identifier: Apache-2.0
// Hosts, VMs and vCPUs of the architecture: creation, end, and the run path's hooks that are neither entry
// nor exit.
#include "hv/x86/x86.h"
#include "hv/core/tlb_change.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/assigned.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/exits.h"
#include "hv/x86/fpu.h"
#include "hv/x86/inject.h"
#include "hv/x86/lapic.h"
#include "hv/x86/msr.h"
#include "hv/x86/nested.h"
#include "hv/x86/pml.h"
#include "spec/cpuid.h"
#include "spec/msrs.h"

// Extended state that guests may switch on: what the processor has and the core needs not save itself.
#define XCR0_SUPPORTED                                                                                       \
    (XFEATURE_X87 | XFEATURE_SSE | XFEATURE_AVX | XFEATURE_OPMASK | XFEATURE_ZMM_HI256 | XFEATURE_HI16_ZMM | \
     XFEATURE_PKRU)

// --- Host.

static void read_features(struct x86_host *x)
{
    struct hw_cpuid_regs r;

    hw_cpuid(0x80000008, 0, &r);
    x->maxphyaddr = (u8)(r.eax & 0xff);
    hw_cpuid(0x80000001, 0, &r);
    x->has_rdtscp = (r.edx & CPUID_RDTSCP) != 0;
    x->has_1g_pages = (r.edx & CPUID_PDPE1GB) != 0;
    hw_cpuid(1, 0, &r);
    x->has_xsave = (r.ecx & CPUID_XSAVE) != 0;
    hw_cpuid(7, 0, &r);
    x->has_invpcid = (r.ebx & CPUID_INVPCID) != 0;
    x->xcr0 = XFEATURE_X87;
    if (x->has_xsave) {
        hw_cpuid(0xd, 0, &r);
        x->xcr0_supported = r.eax & XCR0_SUPPORTED;
        x->xcr0 = x->xcr0_supported;
    }
    if (x->xcr0_supported == 0)
        x->xcr0_supported = XFEATURE_X87 | XFEATURE_SSE;
}

int arch_host_init(struct host *host)
{
    struct x86_host *x = kzalloc(host, sizeof(*x));

    if (x == NULL)
        return -ENOMEM;
    host->arch = x;
    x->cr0 = hw_read_cr(0);
    (void)hw_rdmsr(MSR_IA32_EFER, &x->efer);
    (void)hw_rdmsr(MSR_IA32_PAT, &x->pat);
    for (unsigned i = 0; i < SWITCHED_MSRS; i++)
        (void)hw_rdmsr(switched_msr_number((enum switched_msr)i), &x->switched_msr[i]);
    read_features(x);
    x->cr4 = hw_read_cr(4) | X86_CR4_VMXE | (x->has_xsave ? X86_CR4_OSXSAVE : 0);
    const char *missing = vmx_caps_read(&x->caps, &host->knobs);

    if (missing != NULL)
        HV_PANIC(missing);
    vmid_host_init(host);
    apicv_host_init(host);
    return assigned_init(host);
}

// --- VM.

u64 arch_vm_bytes(void)
{
    return sizeof(struct x86_vm);
}

int arch_vm_create(struct vm *vm, u64 type)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (type != 0)
        return -EINVAL;
    x->tsc_offset = -hw_rdtsc();
    return mmu_vm_create(vm);
}

void arch_vm_destroy(struct vm *vm)
{
    irqchip_destroy(vm);
    mmu_vm_destroy(vm);
}

// --- vCPU.

u64 arch_vcpu_bytes(void)
{
    return sizeof(struct x86_vcpu);
}

int arch_vcpu_precreate(struct vm *vm, u64 id)
{
    (void)vm;
    return id < VM_VCPUS_MAX ? 0 : -EINVAL; // APIC ids of 8 bits.
}

// VPIDs count from 1 through all vCPUs of a VM, VM by VM; beyond 16 bits a vCPU does without.
static u16 choose_vpid(struct x86_vcpu *v)
{
    u64 vpid = (u64)v->vcpu.vm->id * VM_VCPUS_MAX + v->vcpu.index + 1;

    return x86_host_of(v)->caps.vpid && vpid <= UINT16_MAX ? (u16)vpid : 0;
}

static int create_parts(struct x86_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    int result = loaded_vmcs_alloc(vm->host, &v->vmcs01);

    if (result == 0)
        result = mmu_vcpu_create(v);
    if (result == 0)
        result = pml_create(v);
    if (result == 0 && irqchip_in_kernel(vm))
        result = lapic_create(v);
    return result;
}

int arch_vcpu_create(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);
    int result;

    v->vmcs = &v->vmcs01;
    v->vpid = choose_vpid(v);
    v->has_vmid = v->vpid != 0 && x86_host_of(v)->vmids.bits != 0;
    v->user_vector = -1;
    v->hv_deadline_tsc = ~0ull;
    v->tsc_offset = to_x86_vm(vcpu->vm)->tsc_offset;
    v->cr0_guest_owned = X86_CR0_TS;
    v->maxphyaddr = 36;
    v->apic_base = APIC_BASE_RESET_ADDR | APIC_BASE_EN | (vcpu->id == 0 ? APIC_BASE_BSP : 0);
    result = create_parts(v);
    if (result != 0) {
        arch_vcpu_destroy(vcpu);
        return result;
    }
    v->cr4_reserved = vcpu_cr4_reserved_bits(v);
    msr_bitmap_init(v);
    vcpu_load(vcpu);
    vmcs_setup(v);
    arch_vcpu_reset(vcpu, false);
    vcpu_put(vcpu);
    // The boot processor runs at once; others wait to be started if there is somebody to start them.
    vcpu->mp_state = v->apic == NULL || vcpu->id == 0 ? (u32)MP_STATE_RUNNABLE : (u32)MP_STATE_UNINITIALIZED;
    return 0;
}

void arch_vcpu_postcreate(struct vcpu *vcpu)
{
    lapic_online(to_x86(vcpu));
}

void arch_vcpu_destroy(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);
    struct host *host = vcpu->vm->host;

    fpu_free(v);
    nested_free(v);
    lapic_free(v);
    mmu_vcpu_destroy(v);
    pml_free(v);
    loaded_vmcs_free(host, &v->vmcs01);
    kfree(host, v->cpuid, v->cpuid_count * sizeof(*v->cpuid));
}

void arch_vcpu_reset(struct vcpu *vcpu, bool init_event)
{
    struct x86_vcpu *v = to_x86(vcpu);

    v->exception = (struct x86_exception){0};
    v->interrupt = (struct x86_event){0};
    v->nmi_injected = false;
    v->nmi_pending = 0;
    v->complete = NULL;
    nested_reset(v);
    if (v->apic != NULL)
        lapic_reset(v, init_event);
    vcpu_reset_registers(v, init_event);
    msr_reset(v, init_event);
    make_request(REQ_TLB_FLUSH_GUEST, vcpu);
    make_request(REQ_EVENT, vcpu);
}

// --- Run path.

int arch_vcpu_pre_run(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (v->apic == NULL && vcpu_set_cr8(v, vcpu->run->cr8))
        return -EINVAL;
    if (v->complete == NULL)
        return 1;
    int (*finish)(struct x86_vcpu *) = v->complete;

    v->complete = NULL;
    return finish(v);
}

bool arch_vcpu_running(struct vcpu *vcpu)
{
    return vcpu->mp_state == MP_STATE_RUNNABLE;
}

// SDM vol. 2, HLT: what ends it, with RFLAGS.IF and blocking as they are.
static bool ends_halt(struct x86_vcpu *v)
{
    if (READ_ONCE(v->pv_unhalted) || v->exception.pending || v->user_vector >= 0)
        return true;
    if (v->nmi_pending && nmi_allowed(v))
        return true;
    return v->apic != NULL && irqchip_has_interrupt(v) && interrupt_allowed(v);
}

bool arch_vcpu_has_work(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (v->apic != NULL && (lapic_has_events(v) || guest_timer_has_pending(v)))
        return true;
    if (READ_ONCE(v->nmi_queued))
        return true;
    return vcpu->mp_state == MP_STATE_HALTED && ends_halt(v);
}

int arch_vcpu_unblocked(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);
    bool immediate_exit = false;

    if (v->apic != NULL && !v->in_guest_mode && lapic_has_events(v)) {
        lapic_accept_events(v);
        return 1;
    }
    if (READ_ONCE(v->nmi_queued))
        process_nmi(v);
    if (v->apic != NULL)
        guest_timer_inject_pending(v);
    if (unlikely(v->in_guest_mode)) { // An exit of a halted L2 tells L1 that it was halted (SDM 27.3.4).
        if (v->apicv_active)
            apicv_sync_pir_to_irr(v);
        if (nested_check_events(v, &immediate_exit) < 0)
            return -EINTR;
    }
    if (vcpu->mp_state == MP_STATE_HALTED && ends_halt(v)) {
        v->pv_unhalted = false;
        vcpu->mp_state = MP_STATE_RUNNABLE;
        make_request(REQ_EVENT, vcpu);
    }
    return 1;
}

int arch_vcpu_blocking(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (v->apic == NULL)
        return 0;
    guest_timer_blocking(v);
    return apicv_blocking(v);
}

void arch_vcpu_unblocking(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (v->apic == NULL)
        return;
    apicv_unblocking(v);
    guest_timer_unblocking(v);
}

// Interrupt-controller requests; only with a controller in the core. 1, or 0 to user space.
static int apic_requests(struct x86_vcpu *v)
{
    struct vcpu *vcpu = &v->vcpu;

    if (check_request(REQ_APICV_UPDATE, vcpu))
        apicv_update(v);
    if (check_request(REQ_SCAN_IOAPIC, vcpu))
        ioapic_scan(v);
    if (check_request(REQ_LOAD_EOI_EXITMAP, vcpu))
        apicv_load_eoi_exitmap(v);
    if (check_request(REQ_IOAPIC_EOI_EXIT, vcpu))
        return lapic_eoi_user_exit(v);
    if (check_request(REQ_MIGRATE_TIMER, vcpu))
        guest_timer_load(v, vcpu->cpu);
    return 1;
}

int arch_vcpu_handle_requests(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (check_request(REQ_MMU_RELOAD, vcpu))
        vcpu->mmu->root_loaded = false;
    bool all = check_request(REQ_TLB_FLUSH, vcpu), current = check_request(REQ_TLB_FLUSH_CURRENT, vcpu);

    if (all && !tlb_flush_left_out(vcpu->vm, MMU_SKIP_FLUSH_REQUEST))
        mmu_flush_requested(v);
    if (current)
        mmu_flush_all(v);
    if (check_request(REQ_TLB_FLUSH_GUEST, vcpu) &&
        !tlb_flush_left_out(vcpu->vm, MMU_SKIP_FLUSH_GUEST_REQUEST))
        mmu_flush_guest(v);
    if (check_request(REQ_UPDATE_DIRTY_LOGGING, vcpu))
        pml_update(v);
    if (check_request(REQ_TRIPLE_FAULT, vcpu))
        return userspace_exit(v, HV_EXIT_SHUTDOWN);
    if (check_request(REQ_NMI, vcpu))
        process_nmi(v);
    return v->apic != NULL ? apic_requests(v) : 1;
}

bool arch_vcpu_accept_events(struct vcpu *vcpu)
{
    lapic_accept_events(to_x86(vcpu));
    return arch_vcpu_running(vcpu);
}

void arch_vcpu_sync_posted(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (unlikely(v->has_vmid) && !vmid_load(v))
        make_request(REQ_UNBLOCK, vcpu); // Nothing to do but to come here again.
    if (v->apic == NULL)
        return;
    if (v->apicv_active)
        apicv_sync_pir_to_irr(v);
    guest_timer_wait_expire(v);
}

void arch_vcpu_post_run(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);
    struct hv_run *run = vcpu->run;

    run->if_flag = (vcpu_rflags(v) & X86_RFLAGS_IF) != 0;
    run->cr8 = vcpu_cr8(v);
    run->apic_base = v->apic_base;
    run->ready_for_interrupt_injection =
        v->apic != NULL || (v->user_vector < 0 && !event_reinjected(v) && interrupt_allowed(v));
}
