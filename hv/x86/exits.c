// SPDX-License-Identifier: Apache-2.0
// From a VM exit to its handler.
#include "hv/x86/exits.h"
#include "hv/core/vm.h"
#include "hv/x86/emulate.h"
#include "hv/x86/lapic.h"
#include "hv/x86/msr.h"
#include "hv/x86/nested.h"
#include "hv/x86/pml.h"
#include "spec/msrs.h"

#define PLE_WINDOW_MAX UINT32_MAX
#define PLE_WINDOW_GROW 2u

static const exit_handler handlers[EXIT_REASON_COUNT] = {
#define EXIT_ROW(name, handler) [EXIT_REASON_##name] = handler,
#define EXIT_ROW_SHARED(name, handler) [EXIT_REASON_##name] = handler,
#include "hv/x86/exits.def"
};

exit_handler exit_handler_of(u32 basic_reason)
{
    if (unlikely(basic_reason >= EXIT_REASON_COUNT || handlers[basic_reason] == NULL))
        return handle_unknown;
    return handlers[basic_reason];
}

int userspace_exit(struct x86_vcpu *v, enum hv_exit reason)
{
    v->vcpu.run->exit_reason = reason;
    return 0;
}

__cold int internal_error(struct x86_vcpu *v, enum hv_internal_error suberror, unsigned ndata, u64 d0, u64 d1,
                          u64 d2)
{
    struct hv_run *run = v->vcpu.run;

    run->internal.suberror = suberror;
    run->internal.ndata = ndata;
    run->internal.data[0] = d0;
    run->internal.data[1] = d1;
    run->internal.data[2] = d2;
    return userspace_exit(v, HV_EXIT_INTERNAL_ERROR);
}

__cold int handle_not_modelled(struct x86_vcpu *v)
{
    u64 qualification = exit_qualification(v);

    hw_trace(TP_NOT_MODELLED, v->exit_reason, qualification, trace_rip(v), 0, 0, 0);
    return internal_error(v, HV_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, 2, v->exit_reason, qualification, 0);
}

__cold int handle_unknown(struct x86_vcpu *v)
{
    return handle_not_modelled(v);
}

// SDM 26.8: the entry failed after the checks of controls; or it never began (SDM 30.2).
__cold int handle_entry_failure(struct x86_vcpu *v)
{
    struct hv_run *run = v->vcpu.run;

    run->fail_entry.hardware_entry_failure_reason = v->fail ? v->insn_err : v->exit_reason;
    run->fail_entry.cpu = v->vcpu.cpu->id;
    v->fail = false;
    return userspace_exit(v, HV_EXIT_FAIL_ENTRY);
}

__cold int handle_lost_delivery(struct x86_vcpu *v)
{
    bool misconfig = (v->exit_reason & EXIT_REASON_BASIC_MASK) == EXIT_REASON_EPT_MISCONFIG;

    return internal_error(v, HV_INTERNAL_ERROR_DELIVERY_EV, 3, v->idt_vectoring, v->exit_reason,
                          misconfig ? exit_gpa(v).v : exit_qualification(v));
}

static bool delivery_survives(u32 reason)
{
    switch (reason) {
    case EXIT_REASON_EXCEPTION_NMI:
    case EXIT_REASON_EPT_VIOLATION:
    case EXIT_REASON_PML_FULL:
    case EXIT_REASON_APIC_ACCESS:
    case EXIT_REASON_TASK_SWITCH:
    case EXIT_REASON_EXTERNAL_INTERRUPT:
    case EXIT_REASON_TRIPLE_FAULT:
    case EXIT_REASON_PREEMPTION_TIMER:
        return true;
    default:
        return false;
    }
}

int arch_vcpu_handle_exit(struct vcpu *vcpu, enum exit_fastpath fastpath)
{
    struct x86_vcpu *v = to_x86(vcpu);
    u32 reason = v->exit_reason & EXIT_REASON_BASIC_MASK;

    if (unlikely(v->emulating))
        return handle_invalid_guest_state(v);
    pml_flush(v);
    if (unlikely(v->in_guest_mode) && nested_reflect_exit(v))
        return 1;
    if (unlikely(v->exit_reason & EXIT_REASON_ENTRY_FAILURE))
        return handle_entry_failure(v);
    if (unlikely(v->idt_vectoring & INTR_INFO_VALID) && !delivery_survives(reason))
        return handle_lost_delivery(v);
    if (fastpath != EXIT_FASTPATH_NONE)
        return 1;
    return exit_handler_of(reason)(v);
}

// --- With interrupts disabled.

static enum exit_fastpath fastpath_wrmsr(struct x86_vcpu *v)
{
    u32 msr = (u32)v->gprs.r[GPR_RCX];
    bool done;

    if (v->apic == NULL)
        return EXIT_FASTPATH_NONE;
    if (msr == MSR_IA32_X2APIC_ICR)
        done = lapic_fast_icr(v, vcpu_edx_eax(v));
    else if (msr == MSR_IA32_TSC_DEADLINE)
        done = lapic_fast_tsc_deadline(v, vcpu_edx_eax(v));
    else
        return EXIT_FASTPATH_NONE;
    if (!done)
        return EXIT_FASTPATH_NONE;
    hw_trace(TP_KVM_MSR, 1, msr, vcpu_edx_eax(v), 0, 0, 0);
    skip_instruction(v);
    return msr == MSR_IA32_TSC_DEADLINE ? EXIT_FASTPATH_REENTER_GUEST : EXIT_FASTPATH_EXIT_HANDLED;
}

static enum exit_fastpath fastpath_timer(struct x86_vcpu *v)
{
    // An exit that was asked for (immediate exit) or a nested guest's timer is not the guest's deadline.
    if (v->in_guest_mode || v->hv_deadline_tsc == ~0ull || v->immediate_exit)
        return EXIT_FASTPATH_NONE;
    guest_timer_hv_expired(v);
    return EXIT_FASTPATH_REENTER_GUEST;
}

enum exit_fastpath exit_fastpath(struct x86_vcpu *v)
{
    if (!knob(knobs_of(v), KNOB_X86_FASTPATH) || v->in_guest_mode)
        return EXIT_FASTPATH_NONE;
    switch (v->exit_reason) {
    case EXIT_REASON_MSR_WRITE:
        return fastpath_wrmsr(v);
    case EXIT_REASON_PREEMPTION_TIMER:
        return fastpath_timer(v);
    default:
        return EXIT_FASTPATH_NONE;
    }
}

void arch_vcpu_handle_exit_irqoff(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    if (v->exit_reason == EXIT_REASON_EXTERNAL_INTERRUPT) {
        // The exit acknowledged it at the local APIC: nobody else will deliver it (SDM 27.2.2).
        cpu_interrupt(exit_intr_info(v) & INTR_INFO_VECTOR_MASK);
    } else if (v->exit_reason == EXIT_REASON_EXCEPTION_NMI) {
        u32 info = exit_intr_info(v);

        if ((info & (INTR_INFO_TYPE_MASK | INTR_INFO_VALID)) == (INTR_TYPE_NMI | INTR_INFO_VALID)) {
            arch_host_nmi(vcpu->cpu);
            hw_iret();
        }
    }
}

void arch_host_nmi(struct cpu *cpu)
{
    // No source of NMIs wants anything of the host: only what the exit itself did counts.
    cpu->interrupts_count++;
}

int handle_external_interrupt(struct x86_vcpu *v)
{
    (void)v; // arch_vcpu_handle_exit_irqoff() has done it.
    return 1;
}

int handle_triple_fault(struct x86_vcpu *v)
{
    return userspace_exit(v, HV_EXIT_SHUTDOWN);
}

// --- PAUSE-loop exiting (SDM 25.1.3).

void ple_window_grow(struct x86_vcpu *v)
{
    u64 old = v->ple_window, grown = old * PLE_WINDOW_GROW;

    v->ple_window = (u32)min_u64(grown, PLE_WINDOW_MAX);
    if (v->ple_window == old)
        return;
    v->ple_window_dirty = true;
    hw_trace(TP_KVM_PLE_WINDOW_UPDATE, v->vcpu.index, v->ple_window, old, 0, 0, 0);
}

void ple_window_shrink(struct x86_vcpu *v)
{
    u32 old = v->ple_window;

    v->ple_window =
        (u32)knob(knobs_of(v), KNOB_X86_PLE_WINDOW); // Shrinking by less than to the start is optional.
    if (v->ple_window == old)
        return;
    v->ple_window_dirty = true;
    hw_trace(TP_KVM_PLE_WINDOW_UPDATE, v->vcpu.index, v->ple_window, old, 0, 0, 0);
}

int handle_pause(struct x86_vcpu *v)
{
    if (x86_host_of(v)->caps.ple)
        ple_window_grow(v);
    // A vCPU that spins in its kernel waits for a lock whose holder is in the kernel too.
    vcpu_on_spin(&v->vcpu, vcpu_cpl(v) == 0);
    return skip_instruction(v);
}

// --- Exceptions (SDM 25.2). Guests keep their page faults; what is intercepted is in vmcs_setup().

static int handle_debug(struct x86_vcpu *v, u32 type)
{
    u64 bits = exit_qualification(v);

    if (type == INTR_TYPE_PRIV_SOFT_EXCEPTION) {
        // INT1 is a trap, but its exit is on the instruction. Steps are not recognized behind it.
        vcpu_pass_instruction(v, 0);
    } else if (vcpu_interrupt_shadow(v) && (vcpu_rflags(v) & X86_RFLAGS_TF) &&
               !(vmcs_read(GUEST_IA32_DEBUGCTL) & DEBUGCTL_BTF)) {
        // VM entry insists on it, although the exception that it injects takes its place (SDM 26.3.1.5).
        vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS) | X86_DR6_BS);
    }
    // Delivered to the guest. The exit left DR6 alone (SDM 27.1).
    queue_exception_p(v, DB_VECTOR, bits & (15 | X86_DR6_BD | X86_DR6_BS));
    return 1;
}

int handle_exception_nmi(struct x86_vcpu *v)
{
    u32 info = exit_intr_info(v);
    u8 vector = info & INTR_INFO_VECTOR_MASK;

    if ((info & INTR_INFO_TYPE_MASK) == INTR_TYPE_NMI || vector == MC_VECTOR)
        return 1; // The host's; arch_vcpu_handle_exit_irqoff().
    switch (vector) {
    case UD_VECTOR:
        inject_ud(v);
        return 1;
    case DB_VECTOR:
        return handle_debug(v, info & INTR_INFO_TYPE_MASK);
    case AC_VECTOR:
        queue_exception_e(v, AC_VECTOR, vmcs_read32(VM_EXIT_INTR_ERROR_CODE));
        return 1;
    default:
        return internal_error(v, HV_INTERNAL_ERROR_SIMUL_EX, 2, v->idt_vectoring, info, 0);
    }
}
