// SPDX-License-Identifier: Apache-2.0
// VM entries: loading the guest (SDM 26.3.2, 26.4) and the start of non-root operation (26.5, 26.6).
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/entry_checks.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/timer/tsc.h"

// CR0 bits that VM entry does not load: ET, CD, NW, and the reserved ones (SDM 26.3.2.1).
#define CR0_KEPT (~(X86_CR0_DEFINED & ~(X86_CR0_ET | X86_CR0_CD | X86_CR0_NW)))

static bool entry_failure(struct pcpu *c, uint32_t reason, uint64_t qualification)
{
    struct vmexit *x = vmx_exit_begin(c, reason | EXIT_REASON_ENTRY_FAILURE);

    x->qualification = qualification;
    return false;
}

static void load_msrs_of_state(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    uint64_t efer = MSR_VALUE(c, IA32_EFER);

    MSR_VALUE(c, IA32_SYSENTER_CS) = vmcs_get(v, GUEST_SYSENTER_CS);
    MSR_VALUE(c, IA32_SYSENTER_ESP) = vmcs_get(v, GUEST_SYSENTER_ESP);
    MSR_VALUE(c, IA32_SYSENTER_EIP) = vmcs_get(v, GUEST_SYSENTER_EIP);
    MSR_VALUE(c, IA32_FS_BASE) = vmcs_get(v, GUEST_FS_BASE);
    MSR_VALUE(c, IA32_GS_BASE) = vmcs_get(v, GUEST_GS_BASE);
    if (v->ctl.entry & ENTRY_LOAD_DEBUG_CONTROLS) {
        c->x86->dr[7] = (vmcs_get(v, GUEST_DR7) & ~X86_DR7_FIXED_0) | X86_DR7_FIXED_1;
        MSR_VALUE(c, IA32_DEBUGCTL) = vmcs_get(v, GUEST_IA32_DEBUGCTL);
        debug_update(c);
    }
    if (v->ctl.entry & ENTRY_LOAD_EFER) {
        efer = vmcs_get(v, GUEST_IA32_EFER);
    } else {
        // LMA follows the control; LME too where paging is on (SDM 26.3.2.1).
        efer &= ~EFER_LMA;
        if (v->ctl.entry & ENTRY_IA32E_MODE_GUEST)
            efer |= EFER_LMA;
        if (c->x86->cr[0] & X86_CR0_PG)
            efer = (efer & ~EFER_LME) | (efer & EFER_LMA ? EFER_LME : 0);
    }
    MSR_VALUE(c, IA32_EFER) = efer;
    if (v->ctl.entry & ENTRY_LOAD_PAT)
        MSR_VALUE(c, IA32_PAT) = vmcs_get(v, GUEST_IA32_PAT);
}

static void load_registers(struct pcpu *c)
{
    struct x86_state *s = c->x86;
    struct vmx *v = &s->vmx;

    s->cr[0] = (s->cr[0] & CR0_KEPT) | (vmcs_get(v, GUEST_CR0) & ~CR0_KEPT);
    s->cr[3] = vmcs_get(v, GUEST_CR3);
    s->cr[4] = vmcs_get(v, GUEST_CR4);
    load_msrs_of_state(c);
    v->rip = vmcs_get(v, GUEST_RIP);
    v->gpr.r[4] = vmcs_get(v, GUEST_RSP);
    v->rflags = vmcs_get(v, GUEST_RFLAGS);
    v->activity = vmcs_get32(v, GUEST_ACTIVITY_STATE);
    v->blocking = vmcs_get32(v, GUEST_INTERRUPTIBILITY_INFO);
    v->pending_debug = vmcs_get(v, GUEST_PENDING_DBG_EXCEPTIONS);
    v->mtf_pending = false;
    v->delivering_info = 0;
}

static void load_tables(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    if (!(v->ctl.cpu2 & CPU2_ENABLE_VPID)) {
        // SDM 28.4.3.1: without VPIDs, entries and exits invalidate those of VPID 0000H.
        tlb_invvpid_single(&c->x86->mmu->tlb, 0, false);
        pcpu_charge_cycles(c, c->uarch->vmx.no_vpid_cycles);
    }
    v->msr_bitmap = vmcs_get(v, MSR_BITMAP);
    v->io_bitmap_a = vmcs_get(v, IO_BITMAP_A);
    v->io_bitmap_b = vmcs_get(v, IO_BITMAP_B);
    v->vapic = v->ctl.cpu & CPU_USE_TPR_SHADOW ? vmcs_get(v, VIRTUAL_APIC_PAGE_ADDR) : VMX_NO_POINTER;
    v->shadow = (struct vmcs_ref){VMX_NO_POINTER, NULL};
    if ((v->ctl.cpu2 & CPU2_VMCS_SHADOWING) && vmcs_get(v, VMCS_LINK_POINTER) != VMX_NO_POINTER)
        v->shadow = vmcs_ref_at(c, vmcs_get(v, VMCS_LINK_POINTER));
}

// SDM 26.4: reasons for which an entry of the MSR-load area fails.
static bool msr_load_forbidden(uint32_t msr, bool exit)
{
    if (msr >= MSR_X2APIC_BASE && msr <= 0x8ff)
        return true;
    if (msr == MSR_IA32_SMM_MONITOR_CTL || msr == MSR_IA32_SMBASE)
        return true;
    if (msr == MSR_IA32_BIOS_UPDT_TRIG || msr == MSR_IA32_BIOS_SIGN_ID)
        return true;
    return !exit && (msr == MSR_IA32_FS_BASE || msr == MSR_IA32_GS_BASE);
}

uint32_t vmx_load_msrs(struct pcpu *c, uint64_t area, uint32_t count, bool exit)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t head = mem_read64(c, area + i * 16ull);
        uint64_t value = mem_read64(c, area + i * 16ull + 8);
        uint32_t msr = (uint32_t)head;
        bool forbidden =
            msr_load_forbidden(msr, exit) || (exit && (msr == MSR_IA32_FS_BASE || msr == MSR_IA32_GS_BASE));

        pcpu_charge_cycles(c, c->uarch->vmx.msr_load_cycles);
        // IA32_EFER is loaded as VM entry loads it: no check against CR0.PG.
        if (head >> 32 || forbidden)
            return i + 1;
        if (msr == MSR_IA32_EFER) {
            // With paging on, LME is what makes LMA.
            if ((value & ~EFER_DEFINED) || ((c->x86->cr[0] & X86_CR0_PG) &&
                                            !!(value & EFER_LME) != !!(MSR_VALUE(c, IA32_EFER) & EFER_LMA)))
                return i + 1;
            MSR_VALUE(c, IA32_EFER) = (value & ~EFER_LMA) | (MSR_VALUE(c, IA32_EFER) & EFER_LMA);
        } else if (msrs_write(c, msr, value) != HW_DONE) {
            return i + 1;
        }
    }
    return 0;
}

// Guests without NMI exiting or with virtual NMIs: what bit 3 of the interruptibility state blocks
// (SDM 26.6.1).
static void load_nmi_blocking(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    c->nmi_blocked = !(v->ctl.pin & PIN_VIRTUAL_NMIS) && (v->blocking & INTERRUPTIBILITY_NMI);
}

static void start_timer(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    v->timer_at_ticks = TICKS_NEVER;
    if (!(v->ctl.pin & PIN_PREEMPTION_TIMER))
        return;
    v->timer_value = vmcs_get32(v, VMX_PREEMPTION_TIMER_VALUE);
    v->timer_start_tsc = pcpu_tsc(c);
    if (v->timer_value == 0)
        v->timer_at_ticks = c->now_ticks;
    else
        v->timer_at_ticks = pcpu_tsc_to_ticks(
            c, preemption_expiry_tsc(v->timer_start_tsc, (unsigned)c->uarch->vmx.preemption_shift,
                                     v->timer_value));
}

bool vmx_load_guest(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    const struct entry_rule *broken = entry_check_guest(c);
    uint32_t failed;

    if (broken)
        return entry_failure(c, EXIT_REASON_INVALID_STATE, broken->qualification);
    v->ctl = entry_controls(v);
    load_registers(c);
    load_tables(c);
    failed =
        vmx_load_msrs(c, vmcs_get(v, VM_ENTRY_MSR_LOAD_ADDR), vmcs_get32(v, VM_ENTRY_MSR_LOAD_COUNT), false);
    if (failed)
        return entry_failure(c, EXIT_REASON_MSR_LOAD_FAIL, failed);
    load_nmi_blocking(c);
    v->in_guest = true;
    v->exit_pending = false;
    c->irqs_enabled = false; // Of root mode: no interrupt may be taken through hv's vectors now.
    mem_store_before_guest(c);
    pcpu_set_mode(c, PCPU_GUEST);
    start_timer(c);
    v->guest = replay_enter(c, vmcs_get(v, GUEST_IDTR_BASE));
    v->linear = !v->guest || v->guest->program->linear;
    if (!v->guest)
        segments_load(c);
    guest_pdptes_load(c);
    guest_space_cpl(c, (vmcs_get32(v, GUEST_SS_AR_BYTES) & AR_DPL_MASK) >> AR_DPL_SHIFT);
    guest_space_load(c);
    return true;
}
