// SPDX-License-Identifier: Apache-2.0
// APIC virtualization: controls, posted interrupts, RVI and SVI (SDM 29.1, 29.2, 29.6).
#include "hv/x86/apicv.h"

#include "hv/lib/bitmap.h"
#include "hv/lib/string.h"
#include "hv/x86/lapic_state.h"

static bool wanted(const struct x86_vcpu *v)
{
    const struct vm *vm = v->vcpu.vm;
    return v->apic != NULL && lapic_enabled(v->apic) && x86_host(vm->host)->caps.apicv &&
           knob(&vm->host->knobs, KNOB_X86_APICV) != 0 &&
           READ_ONCE(container_of(vm, const struct x86_vm, vm)->apicv_inhibits) == 0;
}

int apicv_create(struct x86_vcpu *v)
{
    v->pi_desc = kzalloc(v->vcpu.vm->host, sizeof *v->pi_desc);
    if (v->pi_desc == NULL)
        return -ENOMEM;
    list_init(&v->blocked_node);
    return 0;
}

void apicv_free(struct x86_vcpu *v)
{
    if (v->pi_desc != NULL)
        kfree(v->vcpu.vm->host, v->pi_desc, sizeof *v->pi_desc);
    v->pi_desc = NULL;
}

void apicv_reset(struct x86_vcpu *v)
{
    for (unsigned w = 0; w < 4; w++)
        __atomic_store_n(&v->pi_desc->pir[w], 0, __ATOMIC_RELAXED);
    __atomic_fetch_and(&v->pi_desc->control, ~POSTED_ON, __ATOMIC_RELAXED);
    WRITE_ONCE(v->apicv_active, wanted(v));
    make_request(REQ_APICV_UPDATE, &v->vcpu);
}

// --- Posting.

static bool usable_descriptor(const struct x86_vcpu *v)
{
    return READ_ONCE(v->apicv_active) && x86_host(v->vcpu.vm->host)->caps.posted_interrupts;
}

bool apicv_post(struct x86_vcpu *v, u8 vector)
{
    struct posted_desc *pi = v->pi_desc;

    if (!usable_descriptor(v))
        return false;
    if (test_and_set_bit(pi->pir, vector))
        return true; // On its way already.
    // PIR before ON (SDM 29.6); whoever set ON first notifies for all.
    if (__atomic_fetch_or(&pi->control, POSTED_ON, __ATOMIC_SEQ_CST) & POSTED_ON)
        return true;
    if (READ_ONCE(v->vcpu.mode) == IN_GUEST_MODE) {
        // On its own processor the vCPU cannot be in the guest: it is here, and looks at ON before it enters.
        if (current_thread()->vcpu != &v->vcpu)
            cpu_send_ipi(v->vcpu.cpu, VECTOR_POSTED_INTR);
    } else {
        vcpu_wake_up(&v->vcpu);
    }
    return true;
}

bool apicv_has_posted(struct x86_vcpu *v)
{
    return (READ_ONCE(v->pi_desc->control) & POSTED_ON) != 0;
}

// Moves PIR to IRR; true if anything moved.
static bool take_posted(struct x86_vcpu *v)
{
    struct posted_desc *pi = v->pi_desc;
    bool any = false;

    __atomic_fetch_and(&pi->control, ~POSTED_ON, __ATOMIC_SEQ_CST);
    for (unsigned w = 0; w < 4; w++) {
        if (READ_ONCE(pi->pir[w]) == 0)
            continue;
        u64 bits = __atomic_exchange_n(&pi->pir[w], 0, __ATOMIC_SEQ_CST);
        for (unsigned half = 0; half < 2; half++) {
            u32 part = (u32)(bits >> (32 * half));
            if (part != 0)
                __atomic_fetch_or(lapic_reg_ptr(v->apic, APIC_IRR0 + (2 * w + half) * 0x10), part,
                                  __ATOMIC_SEQ_CST);
        }
        any |= bits != 0;
    }
    if (any)
        WRITE_ONCE(v->apic->irr_pending, 1);
    return any;
}

static void write_status(u32 mask, u32 value)
{
    u64 status = 0;

    hw_vmread(GUEST_INTR_STATUS, &status);
    u64 next = (status & ~(u64)mask) | value;
    if (next != status)
        hw_vmwrite(GUEST_INTR_STATUS, next);
}

void apicv_sync_pir_to_irr(struct x86_vcpu *v)
{
    bool moved = false;

    if (v->apic == NULL || !v->apicv_active)
        return;
    if (apicv_has_posted(v))
        moved = take_posted(v);
    if (v->in_guest_mode) {
        // The processor delivers nothing to L1 while L2 runs: that is an exit to L1, decided at injection.
        if (moved)
            make_request(REQ_EVENT, &v->vcpu);
        return;
    }
    int irr = lapic_highest(v->apic, APIC_IRR0);
    write_status(INTR_STATUS_RVI_MASK, irr < 0 ? 0 : (u32)irr);
}

void apicv_isr_changed(struct x86_vcpu *v)
{
    if (v->in_guest_mode) {
        v->apic->deferred |= LAPIC_DEFER_UPDATE;
        return;
    }
    int isr = lapic_highest(v->apic, APIC_ISR0);
    write_status(INTR_STATUS_SVI_MASK, isr < 0 ? 0 : (u32)isr << 8);
}

// --- Controls.

void apicv_adjust_controls(struct x86_vcpu *v, u32 *pin, u32 *cpu, u32 *cpu2)
{
    enum lapic_mode mode = v->apic != NULL ? v->apic->mode : LAPIC_DISABLED;

    // The APIC-access page is not used: xAPIC accesses are memory of nobody, and emulated.
    *cpu2 &= ~(u32)CPU2_VIRTUALIZE_APIC_ACCESSES;
    if (v->apic == NULL) {
        *cpu &= ~(u32)CPU_USE_TPR_SHADOW;
        *cpu |= x86_host(v->vcpu.vm->host)->caps.cpu & (CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING);
    }
    if (mode != LAPIC_X2APIC || (*cpu & CPU_USE_TPR_SHADOW) == 0)
        *cpu2 &= ~(u32)CPU2_VIRTUALIZE_X2APIC_MODE;
    if (!v->apicv_active || (*cpu & CPU_USE_TPR_SHADOW) == 0) {
        *cpu2 &= ~(u32)(CPU2_APIC_REGISTER_VIRT | CPU2_VIRTUAL_INTR_DELIVERY);
        *pin &= ~(u32)PIN_POSTED_INTERRUPTS;
    }
    // Without virtual-interrupt delivery MSR reads and writes of x2APIC registers other than TPR gain nothing
    // (SDM 29.5), and the TPR alone is served by the shadow.
}

void apicv_vmcs_setup(struct x86_vcpu *v)
{
    if (v->apic == NULL)
        return;
    hw_vmwrite(VIRTUAL_APIC_PAGE_ADDR, v->apic->regs_hpa.v);
    hw_vmwrite(TPR_THRESHOLD, 0);
    v->apic->tpr_threshold = 0;
    if (!x86_host(v->vcpu.vm->host)->caps.apicv)
        return;
    for (u32 i = 0; i < 4; i++)
        hw_vmwrite(EOI_EXIT_BITMAP0 + 2 * i, 0);
    hw_vmwrite(GUEST_INTR_STATUS, 0);
    if (x86_host(v->vcpu.vm->host)->caps.posted_interrupts) {
        hw_vmwrite(POSTED_INTR_NV, VECTOR_POSTED_INTR);
        hw_vmwrite(POSTED_INTR_DESC_ADDR, va_to_hpa(v->vcpu.vm->host, v->pi_desc).v);
    }
}

void apicv_update_msr_bitmap(struct x86_vcpu *v)
{
    bool x2apic = v->apic != NULL && v->apic->mode == LAPIC_X2APIC;
    u32 want = !x2apic ? 0 : v->apicv_active ? 2 : 1;

    if (v->msr_intercept_x2apic == want)
        return;
    v->msr_intercept_x2apic = want;
    for (u32 msr = MSR_X2APIC_BASE; msr < MSR_X2APIC_BASE + 0x100; msr++) {
        u32 offset = (msr - MSR_X2APIC_BASE) * 16;
        // The processor answers reads from the page, whatever there is; the current count is not in the page
        // (SDM 29.5).
        bool read = want != 2 || offset == APIC_TIMER_CURRENT || !lapic_msr_readable(msr);
        bool write = want != 2 || (offset != APIC_EOI && offset != APIC_SELF_IPI);
        if (offset == APIC_TPR)
            read = write = want == 0;
        vmx_set_msr_intercept(v, msr, read, write);
    }
}

void apicv_mode_changed(struct x86_vcpu *v)
{
    make_request(REQ_APICV_UPDATE, &v->vcpu);
    make_request(REQ_SCAN_IOAPIC, &v->vcpu);
}

void apicv_state_changed(struct x86_vcpu *v)
{
    make_request(REQ_APICV_UPDATE, &v->vcpu);
}

void apicv_update(struct x86_vcpu *v)
{
    if (v->apic == NULL)
        return;
    bool active = wanted(v);
    if (v->apicv_active && !active)
        take_posted(v); // What was posted is injected from IRR from now on.
    WRITE_ONCE(v->apicv_active, active);
    if (v->in_guest_mode) {
        v->apic->deferred |= LAPIC_DEFER_UPDATE;
        return;
    }
    if (active) {
        v->apic->irr_pending = 1;
        apicv_isr_changed(v);
        apicv_load_eoi_exitmap(v);
        if (v->apic->tpr_threshold != 0) {
            v->apic->tpr_threshold = 0;
            hw_vmwrite(TPR_THRESHOLD, 0);
        }
    }
    vmx_update_controls(v);
    apicv_update_msr_bitmap(v);
    make_request(REQ_EVENT, &v->vcpu);
}

void apicv_set_inhibit(struct vm *vm, u32 bit, bool inhibit)
{
    struct x86_vm *x = to_x86_vm(vm);
    u32 before = inhibit ? __atomic_fetch_or(&x->apicv_inhibits, bit, __ATOMIC_SEQ_CST)
                         : __atomic_fetch_and(&x->apicv_inhibits, ~bit, __ATOMIC_SEQ_CST);
    u32 after = inhibit ? before | bit : before & ~bit;

    if ((before == 0) != (after == 0))
        make_all_cpus_request(vm, REQ_APICV_UPDATE);
}

void apicv_load_eoi_exitmap(struct x86_vcpu *v)
{
    if (v->apic == NULL || !v->apicv_active)
        return;
    if (v->in_guest_mode) {
        v->apic->deferred |= LAPIC_DEFER_EOI_MAP;
        return;
    }
    for (u32 i = 0; i < 4; i++)
        hw_vmwrite(EOI_EXIT_BITMAP0 + 2 * i, v->eoi_exit_bitmap[i]);
}

// --- Scheduling. The descriptor names the processor that a notification goes to.

void apicv_load(struct x86_vcpu *v, struct cpu *cpu)
{
    if (v->pi_desc == NULL || !usable_descriptor(v))
        return;
    if (READ_ONCE(v->pi_desc->ndst) != cpu->apic_id)
        WRITE_ONCE(v->pi_desc->ndst, cpu->apic_id);
    u32 control = (u32)VECTOR_POSTED_INTR << POSTED_NV_SHIFT;
    u32 old = READ_ONCE(v->pi_desc->control);
    // SN off, NV set; ON as it is.
    while ((old & ~POSTED_ON) != control &&
           !__atomic_compare_exchange_n(&v->pi_desc->control, &old, (old & POSTED_ON) | control, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
}

void apicv_put(struct x86_vcpu *v)
{
    // A preempted vCPU needs no notification: it looks at PIR when it runs again (VT-d's SN).
    if (v->pi_desc != NULL && usable_descriptor(v) && v->vcpu.preempted)
        __atomic_fetch_or(&v->pi_desc->control, POSTED_SN, __ATOMIC_SEQ_CST);
}

int apicv_blocking(struct x86_vcpu *v)
{
    if (v->pi_desc == NULL || !usable_descriptor(v))
        return 0;
    // Senders here see that the vCPU is not in the guest and wake its thread (vcpu_wake_up, full barrier); a
    // vector posted before that must keep it from sleeping.
    smp_mb();
    return apicv_has_posted(v) ? 1 : 0;
}

void apicv_unblocking(struct x86_vcpu *v)
{
    (void)v; // Nothing was moved at blocking.
}

// A notification that arrives outside of the guest: the vCPU looks at ON before its next entry.
static void posted_interrupt(struct cpu *cpu, unsigned vector)
{
    (void)cpu;
    (void)vector;
}

void apicv_leave_l2(struct x86_vcpu *v)
{
    if (v->apic == NULL || v->apic->deferred == 0)
        return;
    u32 deferred = v->apic->deferred;
    v->apic->deferred = 0;
    if (deferred & LAPIC_DEFER_UPDATE)
        apicv_update(v);
    else
        apicv_load_eoi_exitmap(v);
}

void apicv_host_init(struct host *host)
{
    register_vector(host, VECTOR_POSTED_INTR, posted_interrupt);
    register_vector(host, VECTOR_POSTED_INTR_NESTED, posted_interrupt);
}
