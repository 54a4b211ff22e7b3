// SPDX-License-Identifier: Apache-2.0
// Guests that the processor cannot run without "unrestricted guest": real mode, protected mode without
// paging, and the steps between modes in which segment registers are not yet what VM entry asks
// (SDM 26.3.1.2). Their instructions are carried out one by one, and events delivered in the processor's
// place (KVM: emulate_invalid_guest_state; KVM runs real mode in virtual-8086 mode and unpaged code on an
// identity map where it can, which is faster).
#include "hv/hw/guest.h"
#include "hv/x86/emulate.h"
#include "hv/x86/emulate_internal.h"
#include "hv/x86/lapic.h"

// Instructions before the run loop looks at everything else again.
#define STRETCH 64u
#define V86_AR 0xf3u

static bool v86_valid(struct x86_vcpu *v)
{
    for (enum x86_segment s = SEG_ES; s <= SEG_GS; s++)
        if (vcpu_segment_base(v, s) != (u64)vcpu_segment_selector(v, s) << 4 ||
            vcpu_segment_limit(v, s) != 0xffff || vcpu_segment_ar(v, s) != V86_AR)
            return false;
    return true;
}

static unsigned dpl_of(u32 ar)
{
    return (ar & AR_DPL_MASK) >> AR_DPL_SHIFT;
}

static bool code_and_stack_valid(struct x86_vcpu *v)
{
    u32 cs = vcpu_segment_ar(v, SEG_CS), ss = vcpu_segment_ar(v, SEG_SS);
    unsigned cs_rpl = vcpu_segment_selector(v, SEG_CS) & X86_SEL_RPL_MASK;
    unsigned ss_rpl = vcpu_segment_selector(v, SEG_SS) & X86_SEL_RPL_MASK, type = cs & AR_TYPE_MASK;

    if ((cs & AR_UNUSABLE) || !(cs & AR_S) || !(cs & AR_P) || (type & 9) != 9)
        return false;
    if (type & X86_SEG_CONFORMING ? dpl_of(cs) > dpl_of(ss) : dpl_of(cs) != dpl_of(ss))
        return false;
    if (cs_rpl != ss_rpl || dpl_of(ss) != ss_rpl)
        return false;
    return (ss & AR_UNUSABLE) ||
           (ss & (AR_TYPE_MASK & ~X86_SEG_EXPAND_DOWN)) == (X86_SEG_WRITABLE | X86_SEG_ACCESSED);
}

static bool data_valid(struct x86_vcpu *v, enum x86_segment s)
{
    u32 ar = vcpu_segment_ar(v, s), type = ar & AR_TYPE_MASK;

    if (ar & AR_UNUSABLE)
        return true;
    if (!(ar & AR_S) || !(ar & AR_P) || ((type & X86_SEG_CODE) && !(type & X86_SEG_READABLE)))
        return false;
    return type > 11 || dpl_of(ar) >= (vcpu_segment_selector(v, s) & X86_SEL_RPL_MASK);
}

static bool system_valid(struct x86_vcpu *v)
{
    u32 tr = vcpu_segment_ar(v, SEG_TR), ldtr = vcpu_segment_ar(v, SEG_LDTR);
    unsigned type = tr & AR_TYPE_MASK;

    if ((tr & AR_UNUSABLE) || (type != X86_SYS_TSS_BUSY && (type != X86_SYS_TSS16_BUSY || vcpu_long_mode(v))))
        return false;
    return (ldtr & AR_UNUSABLE) || (ldtr & AR_TYPE_MASK) == X86_SYS_LDT;
}

bool emulation_required(struct x86_vcpu *v)
{
    const u64 needed = X86_CR0_PE | X86_CR0_PG;

    if (x86_host_of(v)->caps.unrestricted_guest)
        return false;
    if ((vcpu_cr0(v) & needed) != needed)
        return true;
    if (!vcpu_long_mode(v) && (vcpu_rflags(v) & X86_RFLAGS_VM))
        return !v86_valid(v);
    return !(code_and_stack_valid(v) && data_valid(v, SEG_DS) && data_valid(v, SEG_ES) &&
             data_valid(v, SEG_FS) && data_valid(v, SEG_GS) && system_valid(v));
}

// --- Events: what injection has put into the entry that does not take place.

static bool deliver(struct x86_vcpu *v, u32 info)
{
    u32 error_code = vmcs_read32(VM_ENTRY_EXCEPTION_ERROR_CODE), type = info & INTR_INFO_TYPE_MASK;
    u8 vector = info & INTR_INFO_VECTOR_MASK;
    bool soft = type == INTR_TYPE_SOFT_INTERRUPT || type == INTR_TYPE_SOFT_EXCEPTION;
    u64 rip = vcpu_rip(v) + (soft ? vmcs_read32(VM_ENTRY_INSTRUCTION_LEN) : 0);

    if (v->emu.mode == EMU_REAL)
        return emu_real_interrupt(v, vector, rip);
    return emu_protected_interrupt(v, vector, soft, info & INTR_INFO_DELIVER_CODE ? &error_code : NULL, rip);
}

static int deliver_event(struct x86_vcpu *v)
{
    u32 info = vmcs_read32(VM_ENTRY_INTR_INFO_FIELD);

    if (!(info & INTR_INFO_VALID))
        return 1;
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
    emu_begin_task(v, 0);
    if (!deliver(v, info))
        return emu_stopped(v); // A fault joins the event, which is still "being injected".
    emu_commit_task(v);
    if ((info & INTR_INFO_TYPE_MASK) == INTR_TYPE_NMI)
        set_nmi_mask(v, true);
    v->exception.injected = false;
    v->interrupt.injected = false;
    v->nmi_injected = false;
    return 1;
}

// The preemption timer does not run outside of the guest.
static void look_at_timer(struct x86_vcpu *v)
{
    if (v->apic != NULL && v->hv_deadline_tsc != ~0ull && hw_rdtsc() >= v->hv_deadline_tsc)
        guest_timer_hv_expired(v);
}

int handle_invalid_guest_state(struct x86_vcpu *v)
{
    v->emulating = false;
    if (hw_guest_is_stream()) // It has no instructions in memory.
        return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 1, vcpu_cr0(v), 0, 0);
    int result = deliver_event(v);

    look_at_timer(v);
    for (unsigned i = 0; result == 1 && i < STRETCH && emulation_required(v); i++) {
        if (cpu_controls_has(v, CPU_INTERRUPT_WINDOW_EXITING) && interrupt_allowed(v))
            return handle_interrupt_window(v);
        if (cpu_controls_has(v, CPU_NMI_WINDOW_EXITING) && nmi_allowed(v))
            return handle_nmi_window(v);
        if (v->immediate_exit || request_pending(&v->vcpu) || v->vcpu.mp_state != MP_STATE_RUNNABLE)
            break;
        result = emulate_instruction(v);
    }
    return result;
}
