// SPDX-License-Identifier: Apache-2.0
// VM exits (SDM ch. 27): exit information, saved guest state, loaded host state.
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/observer.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/trace_exit.h"
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/timer/tsc.h"

struct vmexit *vmx_exit_begin(struct pcpu *c, uint32_t reason)
{
    struct vmx *v = &c->x86->vmx;

    vmx_mwait_end(c);
    memset(&v->exit, 0, sizeof v->exit);
    v->exit.reason = reason;
    v->exit_pending = true;
    v->exit_begin_ticks = c->now_ticks;
    // Of an event whose delivery this exit interrupts (SDM 27.2.4).
    v->exit.idt_info = v->delivering_info;
    v->exit.idt_error = v->delivering_error;
    if (v->delivering_info)
        v->exit.insn_length = v->delivering_length;
    v->delivering_info = 0;
    return &v->exit;
}

// SDM 27.2: fields that an exit does not define keep their values, which is one of the manual's "undefined".
static void write_information(struct pcpu *c, const struct vmexit *x)
{
    const struct vmx *v = &c->x86->vmx;

    vmcs_put(v, VM_EXIT_REASON, x->reason);
    vmcs_put(v, EXIT_QUALIFICATION, x->qualification);
    if (x->reason & EXIT_REASON_ENTRY_FAILURE)
        return; // All others are unmodified (SDM 26.8).
    vmcs_put(v, VM_EXIT_INTR_INFO, x->intr_info);
    vmcs_put(v, VM_EXIT_INTR_ERROR_CODE, x->intr_error);
    vmcs_put(v, IDT_VECTORING_INFO_FIELD, x->idt_info);
    vmcs_put(v, IDT_VECTORING_ERROR_CODE, x->idt_error);
    vmcs_put(v, VM_EXIT_INSTRUCTION_LEN, x->insn_length);
    vmcs_put(v, VMX_INSTRUCTION_INFO, x->insn_info);
    if (x->has_linear)
        vmcs_put(v, GUEST_LINEAR_ADDRESS, x->linear);
    if (x->has_gpa)
        vmcs_put(v, GUEST_PHYSICAL_ADDRESS, x->gpa);
    // Every exit but an entry failure ends the injection (SDM 24.8.3).
    vmcs_put(v, VM_ENTRY_INTR_INFO_FIELD, vmcs_get(v, VM_ENTRY_INTR_INFO_FIELD) & ~(uint64_t)INTR_INFO_VALID);
}

static void save_msrs_of_state(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    uint32_t exit = v->ctl.exit;

    vmcs_put(v, GUEST_SYSENTER_CS, MSR_VALUE(c, IA32_SYSENTER_CS));
    vmcs_put(v, GUEST_SYSENTER_ESP, MSR_VALUE(c, IA32_SYSENTER_ESP));
    vmcs_put(v, GUEST_SYSENTER_EIP, MSR_VALUE(c, IA32_SYSENTER_EIP));
    vmcs_put(v, GUEST_FS_BASE, MSR_VALUE(c, IA32_FS_BASE));
    vmcs_put(v, GUEST_GS_BASE, MSR_VALUE(c, IA32_GS_BASE));
    if (exit & EXIT_SAVE_DEBUG_CONTROLS) {
        vmcs_put(v, GUEST_DR7, c->x86->dr[7]);
        vmcs_put(v, GUEST_IA32_DEBUGCTL, MSR_VALUE(c, IA32_DEBUGCTL));
    }
    if (exit & EXIT_SAVE_PAT)
        vmcs_put(v, GUEST_IA32_PAT, MSR_VALUE(c, IA32_PAT));
    if (exit & EXIT_SAVE_EFER)
        vmcs_put(v, GUEST_IA32_EFER, MSR_VALUE(c, IA32_EFER));
}

// SDM 27.3.
static void save_guest(struct pcpu *c)
{
    const struct x86_state *s = c->x86;
    const struct vmx *v = &s->vmx;
    uint64_t entry = vmcs_get(v, VM_ENTRY_CONTROLS);

    mem_monitor_disarm(c); // SDM 27.5.6
    vmcs_put(v, GUEST_CR0, s->cr[0]);
    vmcs_put(v, GUEST_CR3, s->cr[3]);
    vmcs_put(v, GUEST_CR4, s->cr[4]);
    guest_pdptes_save(c);
    save_msrs_of_state(c);
    if (!v->guest)
        segments_save(c);
    vmcs_put(v, GUEST_RIP, v->rip);
    vmcs_put(v, GUEST_RSP, v->gpr.r[4]);
    vmcs_put(v, GUEST_RFLAGS, v->rflags);
    vmcs_put(v, GUEST_ACTIVITY_STATE, v->activity);
    vmcs_put(v, GUEST_INTERRUPTIBILITY_INFO, v->blocking);
    vmcs_put(v, GUEST_PENDING_DBG_EXCEPTIONS, v->pending_debug);
    if (v->ctl.exit & EXIT_SAVE_PREEMPTION_TIMER)
        vmcs_put(v, VMX_PREEMPTION_TIMER_VALUE,
                 preemption_left(v->timer_start_tsc, v->exit_tsc, (unsigned)c->uarch->vmx.preemption_shift,
                                 v->timer_value));
    // IA32_VMX_MISC bit 5: the "IA-32e mode guest" control follows IA32_EFER.LMA (SDM 27.2).
    if (c->uarch->vmx_cap.misc & VMX_MISC_STORE_LMA) {
        entry &= ~(uint64_t)ENTRY_IA32E_MODE_GUEST;
        if (MSR_VALUE(c, IA32_EFER) & EFER_LMA)
            entry |= ENTRY_IA32E_MODE_GUEST;
        vmcs_put(v, VM_ENTRY_CONTROLS, entry);
    }
}

uint32_t vmx_store_msrs(struct pcpu *c, uint64_t area, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t head = mem_read64(c, area + i * 16ull);
        uint32_t msr = (uint32_t)head;
        uint64_t value;

        pcpu_charge_cycles(c, c->uarch->vmx.msr_store_cycles);
        if (head >> 32 || (msr >= MSR_X2APIC_BASE && msr <= 0x8ff) || msrs_read(c, msr, &value) != HW_DONE)
            return i + 1;
        mem_write64(c, area + i * 16ull + 8, value, false);
    }
    return 0;
}

// SDM 27.5.
static void load_host(struct pcpu *c)
{
    struct x86_state *s = c->x86;
    const struct vmx *v = &s->vmx;
    uint32_t exit = vmcs_get32(v, VM_EXIT_CONTROLS);
    uint64_t efer = MSR_VALUE(c, IA32_EFER);

    s->cr[0] = vmcs_get(v, HOST_CR0);
    s->cr[3] = vmcs_get(v, HOST_CR3);
    s->cr[4] = vmcs_get(v, HOST_CR4);
    s->dr[7] = X86_DR7_RESET;
    debug_update(c);
    s->rsp = vmcs_get(v, HOST_RSP);
    s->rflags = X86_RFLAGS_FIXED;
    MSR_VALUE(c, IA32_DEBUGCTL) = 0;
    MSR_VALUE(c, IA32_SYSENTER_CS) = vmcs_get(v, HOST_IA32_SYSENTER_CS);
    MSR_VALUE(c, IA32_SYSENTER_ESP) = vmcs_get(v, HOST_IA32_SYSENTER_ESP);
    MSR_VALUE(c, IA32_SYSENTER_EIP) = vmcs_get(v, HOST_IA32_SYSENTER_EIP);
    MSR_VALUE(c, IA32_FS_BASE) = vmcs_get(v, HOST_FS_BASE);
    MSR_VALUE(c, IA32_GS_BASE) = vmcs_get(v, HOST_GS_BASE);
    if (exit & EXIT_LOAD_EFER)
        efer = vmcs_get(v, HOST_IA32_EFER);
    else if (exit & EXIT_HOST_ADDR_SPACE_SIZE)
        efer |= EFER_LMA | EFER_LME;
    MSR_VALUE(c, IA32_EFER) = efer;
    if (exit & EXIT_LOAD_PAT)
        MSR_VALUE(c, IA32_PAT) = vmcs_get(v, HOST_IA32_PAT);
    if (!(v->ctl.cpu2 & CPU2_ENABLE_VPID)) {
        tlb_invvpid_single(&s->mmu->tlb, 0, false);
        pcpu_charge_cycles(c, c->uarch->vmx.no_vpid_cycles);
    }
}

// SDM 27.7: the processor goes to shutdown; nothing wakes it but a reset of the run.
static void vmx_abort(struct pcpu *c, uint32_t indicator)
{
    vmcs_set_header32(&c->x86->vmx.current, VMCS_ABORT_OFFSET, indicator);
    trace_vmx_violation(c, "VMX abort", indicator, c->x86->vmx.current.hpa);
    pcpu_set_mode(c, PCPU_OFF);
    for (;;)
        pcpu_pass_time(c, TICKS_NEVER);
}

void vmx_do_exit(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    bool failed_entry = v->exit.reason & EXIT_REASON_ENTRY_FAILURE;

    if (v->observer && !failed_entry && !v->guest)
        v->observer->left(v->observer, c, v->exit.reason & EXIT_REASON_BASIC_MASK);
    v->exit_tsc = pcpu_tsc(c);
    pcpu_charge_cycles(c, c->uarch->vmx.exit_cycles);
    write_information(c, &v->exit);
    if (!failed_entry) {
        save_guest(c);
        replay_leave(c, v->guest);
        if (vmx_store_msrs(c, vmcs_get(v, VM_EXIT_MSR_STORE_ADDR), vmcs_get32(v, VM_EXIT_MSR_STORE_COUNT)))
            vmx_abort(c, VMX_ABORT_SAVE_GUEST_MSR);
    }
    v->in_guest = false;
    v->exit_pending = false;
    load_host(c);
    if (vmx_load_msrs(c, vmcs_get(v, VM_EXIT_MSR_LOAD_ADDR), vmcs_get32(v, VM_EXIT_MSR_LOAD_COUNT), true))
        vmx_abort(c, VMX_ABORT_LOAD_HOST_MSR);
    // After an exit due to an NMI further ones are blocked until IRET (SDM 27.5.5).
    if ((v->exit.reason & EXIT_REASON_BASIC_MASK) == EXIT_REASON_EXCEPTION_NMI &&
        (v->exit.intr_info & INTR_INFO_TYPE_MASK) == INTR_TYPE_NMI && !failed_entry)
        c->nmi_blocked = true;
    c->irqs_enabled = false;
    pcpu_set_mode(c, PCPU_KERNEL);
    v->exit_count++;
    trace_vm_exit(c, v->exit_begin_ticks);
}
