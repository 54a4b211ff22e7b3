// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/inject.h"
#include "hv/x86/exits.h"
#include "hv/x86/lapic.h"
#include "hv/x86/nested.h"

#define CONTRIBUTORY                                                                                         \
    (1u << DE_VECTOR | 1u << TS_VECTOR | 1u << NP_VECTOR | 1u << SS_VECTOR | 1u << GP_VECTOR |               \
     1u << CP_VECTOR)
#define NMIS_PENDING_MAX 2u

// --- Queueing.

enum exception_join join_exceptions(u8 first, u8 second)
{
    bool second_contributes = (CONTRIBUTORY >> second) & 1;

    if (first == DF_VECTOR)
        return JOIN_SHUTDOWN;
    if (((CONTRIBUTORY >> first) & 1) && second_contributes)
        return JOIN_DOUBLE_FAULT;
    if (first == PF_VECTOR && (second == PF_VECTOR || second_contributes))
        return JOIN_DOUBLE_FAULT;
    return JOIN_SECOND;
}

static void queue(struct x86_vcpu *v, const struct x86_exception *new)
{
    struct x86_exception *e = &v->exception;

    make_request(REQ_EVENT, &v->vcpu);
    if (!e->pending && !e->injected) {
        *e = *new;
        return;
    }
    switch (join_exceptions(e->vector, new->vector)) {
    case JOIN_SHUTDOWN:
        *e = (struct x86_exception){0};
        make_request(REQ_TRIPLE_FAULT, &v->vcpu);
        break;
    case JOIN_DOUBLE_FAULT:
        *e = (struct x86_exception){.pending = true, .vector = DF_VECTOR, .has_error_code = true};
        break;
    case JOIN_SECOND: // The first one comes again when the instruction is executed again.
        *e = *new;
        break;
    }
}

void queue_exception(struct x86_vcpu *v, u8 vector)
{
    queue(v, &(struct x86_exception){.pending = true, .vector = vector});
}

void queue_exception_e(struct x86_vcpu *v, u8 vector, u32 error_code)
{
    queue(v, &(struct x86_exception){
                 .pending = true, .vector = vector, .has_error_code = true, .error_code = error_code});
}

void queue_exception_p(struct x86_vcpu *v, u8 vector, u64 payload)
{
    queue(v, &(struct x86_exception){
                 .pending = true, .vector = vector, .has_payload = true, .payload = payload});
}

void queue_page_fault(struct x86_vcpu *v, u64 cr2, u32 error_code)
{
    queue(v, &(struct x86_exception){.pending = true,
                                     .vector = PF_VECTOR,
                                     .has_error_code = true,
                                     .error_code = error_code,
                                     .has_payload = true,
                                     .payload = cr2});
}

void queue_interrupt(struct x86_vcpu *v, u8 vector, bool soft)
{
    v->interrupt = (struct x86_event){.injected = true, .soft = soft, .vector = vector};
}

void inject_nmi(struct x86_vcpu *v)
{
    __atomic_fetch_add(&v->nmi_queued, 1, __ATOMIC_RELAXED);
    make_request(REQ_NMI, &v->vcpu);
    hw_trace(TP_KVM_NMI, v->vcpu.index, 0, 0, 0, 0, 0);
    vcpu_kick(&v->vcpu);
}

void process_nmi(struct x86_vcpu *v)
{
    // One may wait behind a blocked or injected one, as hardware latches; else two (one to be taken at once).
    u32 limit = nmi_masked(v) || v->nmi_injected ? 1 : NMIS_PENDING_MAX;
    u32 pending = v->nmi_pending + __atomic_exchange_n(&v->nmi_queued, 0, __ATOMIC_RELAXED);

    v->nmi_pending = (u8)(pending < limit ? pending : limit);
    make_request(REQ_EVENT, &v->vcpu);
}

// --- Interruptibility (SDM 24.4.2).

bool interrupt_allowed(struct x86_vcpu *v)
{
    if (unlikely(v->in_guest_mode) && nested_intercepts_interrupts(v))
        return true; // It makes L2 exit, whatever L2's RFLAGS.IF.
    if (!(vcpu_rflags(v) & X86_RFLAGS_IF))
        return false;
    return (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)) == 0;
}

bool nmi_masked(struct x86_vcpu *v)
{
    if (v->vmcs->nmi_known_unmasked)
        return false;
    bool masked = (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY_NMI) != 0;

    v->vmcs->nmi_known_unmasked = !masked;
    return masked;
}

void set_nmi_mask(struct x86_vcpu *v, bool masked)
{
    u32 old = vmcs_read32(GUEST_INTERRUPTIBILITY_INFO);

    v->vmcs->nmi_known_unmasked = !masked;
    vmcs_write(GUEST_INTERRUPTIBILITY_INFO,
               masked ? old | INTERRUPTIBILITY_NMI : old & ~INTERRUPTIBILITY_NMI);
}

bool nmi_allowed(struct x86_vcpu *v)
{
    const u32 blocking = INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_STI | INTERRUPTIBILITY_NMI;

    return !v->nmi_injected && (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & blocking) == 0;
}

bool has_injectable_interrupt(struct x86_vcpu *v)
{
    if (READ_ONCE(v->user_vector) >= 0)
        return true;
    return v->apic != NULL && irqchip_has_injectable(v);
}

// Acknowledges; -1 when it went away meanwhile.
static int take_interrupt(struct x86_vcpu *v)
{
    int vector = READ_ONCE(v->user_vector);

    if (vector >= 0) {
        WRITE_ONCE(v->user_vector, -1);
        return vector;
    }
    return irqchip_get_interrupt(v);
}

// --- Into the entry (SDM 24.8.3).

static bool is_soft_exception(u8 vector)
{
    return vector == BP_VECTOR || vector == OF_VECTOR;
}

static void enter_exception(struct x86_vcpu *v)
{
    const struct x86_exception *e = &v->exception;
    u32 info = e->vector | INTR_INFO_VALID;

    hw_trace(TP_KVM_INJ_EXCEPTION, e->vector, e->has_error_code ? e->error_code : 0, 0, 0, 0, 0);
    if (e->has_error_code) {
        // In real mode no exception pushes an error code, and entry checks refuse one (SDM 26.2.1.3).
        if (vcpu_cr0(v) & X86_CR0_PE) {
            vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, e->error_code & 0xffff);
            info |= INTR_INFO_DELIVER_CODE;
        }
    }
    if (is_soft_exception(e->vector)) {
        vmcs_write(VM_ENTRY_INSTRUCTION_LEN, v->event_insn_len);
        info |= INTR_TYPE_SOFT_EXCEPTION;
    } else {
        info |= INTR_TYPE_HARD_EXCEPTION;
    }
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, info);
}

static void enter_nmi(struct x86_vcpu *v)
{
    v->vmcs->nmi_known_unmasked = false; // The entry blocks further ones.
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, INTR_TYPE_NMI | INTR_INFO_VALID | NMI_VECTOR);
}

static void enter_interrupt(struct x86_vcpu *v, bool reinjected)
{
    u32 info = v->interrupt.vector | INTR_INFO_VALID;

    hw_trace(TP_KVM_INJ_VIRQ, v->interrupt.vector, v->interrupt.soft, reinjected, 0, 0, 0);
    if (v->interrupt.soft) {
        info |= INTR_TYPE_SOFT_INTERRUPT;
        vmcs_write(VM_ENTRY_INSTRUCTION_LEN, v->event_insn_len);
    } else {
        info |= INTR_TYPE_EXTERNAL;
    }
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, info);
}

// Payloads reach DR6 and CR2 when the exception is delivered, not when it is queued (catalogue 004-B).
static void deliver_payload(struct x86_vcpu *v)
{
    struct x86_exception *e = &v->exception;

    if (!e->has_payload)
        return;
    e->has_payload = false;
    if (e->vector == DB_VECTOR) {
        v->dr6 = (v->dr6 & ~15ull) | X86_DR6_RESET | (e->payload & ~X86_DR6_RTM);
        v->dr6 ^= e->payload & X86_DR6_RTM;
    } else if (e->vector == PF_VECTOR) {
        v->gprs.cr2 = e->payload;
    }
}

static void inject_exception(struct x86_vcpu *v)
{
    struct x86_exception *e = &v->exception;
    const u32 traps = 1u << DB_VECTOR | 1u << BP_VECTOR | 1u << OF_VECTOR | 1u << DF_VECTOR | 1u << MC_VECTOR;

    deliver_payload(v);
    // Faults: the pushed RFLAGS have RF set, so that an instruction breakpoint does not hit again
    // (SDM 17.3.1.1).
    if (!((traps >> e->vector) & 1))
        vcpu_set_rflags(v, vcpu_rflags(v) | X86_RFLAGS_RF);
    if (e->vector == DB_VECTOR && (v->dr7 & X86_DR7_GD))
        (void)vcpu_set_dr(v, 7, v->dr7 & ~X86_DR7_GD);
    enter_exception(v);
    e->pending = false;
    e->injected = true;
    clear_request(REQ_EVENT, &v->vcpu); // RFLAGS was written for this very event.
}

// What the last exit interrupted goes first.
static bool reinject(struct x86_vcpu *v)
{
    if (v->exception.injected) {
        enter_exception(v);
        return true;
    }
    if (v->exception.pending) // It replaces the rest: delivery raised it.
        return false;
    if (v->nmi_injected) {
        enter_nmi(v);
        return true;
    }
    if (v->interrupt.injected) {
        enter_interrupt(v, true);
        return true;
    }
    return false;
}

static void open_interrupt_window(struct x86_vcpu *v)
{
    cpu_controls_setbit(v, CPU_INTERRUPT_WINDOW_EXITING);
}

static void inject_interrupts(struct x86_vcpu *v, bool can_inject)
{
    if (can_inject && interrupt_allowed(v)) {
        int vector = take_interrupt(v);

        if (vector >= 0) {
            queue_interrupt(v, (u8)vector, false);
            enter_interrupt(v, false);
        }
    }
    if (has_injectable_interrupt(v))
        open_interrupt_window(v);
}

static bool inject_nmis(struct x86_vcpu *v, bool can_inject)
{
    if (can_inject && nmi_allowed(v)) {
        v->nmi_pending--;
        v->nmi_injected = true;
        enter_nmi(v);
        can_inject = false;
    }
    if (v->nmi_pending) {
        // While STI blocks, an NMI window would open at once: wait by the interrupt window (SDM 25.2).
        if (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY_STI)
            open_interrupt_window(v);
        else
            cpu_controls_setbit(v, CPU_NMI_WINDOW_EXITING);
    }
    return can_inject;
}

int arch_vcpu_inject_pending(struct vcpu *vcpu, bool *immediate_exit)
{
    struct x86_vcpu *v = to_x86(vcpu);
    bool can_inject = true;

    if (v->apic != NULL)
        guest_timer_inject_pending(v);
    can_inject = !reinject(v);
    if (unlikely(v->in_guest_mode)) {
        int result = nested_check_events(v, immediate_exit);

        if (result < 0)
            return result;
        if (*immediate_exit)
            return 1;
    }
    if (v->exception.pending) {
        if (!can_inject) { // An event with a new exception behind it: enter, leave, look again.
            *immediate_exit = true;
            return 1;
        }
        inject_exception(v);
        can_inject = false;
    }
    if (v->nmi_pending)
        can_inject = inject_nmis(v, can_inject);
    if (has_injectable_interrupt(v)) {
        if (unlikely(v->in_guest_mode) && nested_intercepts_interrupts(v))
            *immediate_exit = true; // Something else went first; L1 gets it before L2's next instruction.
        else
            inject_interrupts(v, can_inject);
    } else if (vcpu->run->request_interrupt_window && v->apic == NULL) {
        open_interrupt_window(v);
    }
    if (v->apic != NULL && !v->apicv_active)
        lapic_update_cr8_intercept(v);
    return 1;
}

// --- After an exit.

// SDM 27.2.3: an exit during IRET's page faults came after NMI unblocking; the guest's IRET will run again.
static void recover_nmi_blocking(struct x86_vcpu *v)
{
    if (likely(v->vmcs->nmi_known_unmasked))
        return;
    u32 info = exit_intr_info(v);
    bool vectoring = (v->idt_vectoring & INTR_INFO_VALID) != 0;

    if ((info & INTR_INFO_VALID) && (info & INTR_INFO_UNBLOCK_NMI) &&
        (info & INTR_INFO_VECTOR_MASK) != DF_VECTOR && !vectoring)
        vmcs_write(GUEST_INTERRUPTIBILITY_INFO,
                   vmcs_read(GUEST_INTERRUPTIBILITY_INFO) | INTERRUPTIBILITY_NMI);
    else
        v->vmcs->nmi_known_unmasked = !(vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY_NMI);
}

static void take_back(struct x86_vcpu *v, u32 info, u32 length_field, u32 error_field)
{
    u8 vector = info & INTR_INFO_VECTOR_MASK;

    v->nmi_injected = false;
    v->exception.injected = false;
    v->interrupt.injected = false;
    if (likely(!(info & INTR_INFO_VALID)))
        return;
    make_request(REQ_EVENT, &v->vcpu);
    switch (info & INTR_INFO_TYPE_MASK) {
    case INTR_TYPE_NMI:
        v->nmi_injected = true;
        // Delivering it again sets blocking again; it must not be blocked now (SDM 26.3.1.5).
        set_nmi_mask(v, false);
        break;
    case INTR_TYPE_SOFT_EXCEPTION:
    case INTR_TYPE_PRIV_SOFT_EXCEPTION:
        v->event_insn_len = (u8)vmcs_read(length_field);
        // fall through
    case INTR_TYPE_HARD_EXCEPTION:
        v->exception = (struct x86_exception){.injected = true, .vector = vector};
        if (info & INTR_INFO_DELIVER_CODE) {
            v->exception.has_error_code = true;
            v->exception.error_code = vmcs_read32(error_field);
        }
        break;
    case INTR_TYPE_SOFT_INTERRUPT:
        v->event_insn_len = (u8)vmcs_read(length_field);
        queue_interrupt(v, vector, true);
        break;
    case INTR_TYPE_EXTERNAL:
        queue_interrupt(v, vector, false);
        break;
    default:
        break;
    }
}

void complete_interrupts(struct x86_vcpu *v)
{
    recover_nmi_blocking(v);
    take_back(v, v->idt_vectoring, VM_EXIT_INSTRUCTION_LEN, IDT_VECTORING_ERROR_CODE);
}

void arch_vcpu_cancel_injection(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    take_back(v, vmcs_read32(VM_ENTRY_INTR_INFO_FIELD), VM_ENTRY_INSTRUCTION_LEN,
              VM_ENTRY_EXCEPTION_ERROR_CODE);
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
}

int handle_interrupt_window(struct x86_vcpu *v)
{
    cpu_controls_clearbit(v, CPU_INTERRUPT_WINDOW_EXITING);
    make_request(REQ_EVENT, &v->vcpu);
    return 1;
}

int handle_nmi_window(struct x86_vcpu *v)
{
    cpu_controls_clearbit(v, CPU_NMI_WINDOW_EXITING);
    make_request(REQ_EVENT, &v->vcpu);
    return 1;
}

bool arch_vcpu_irq_window_open(struct vcpu *vcpu)
{
    struct x86_vcpu *v = to_x86(vcpu);

    return vcpu->run->request_interrupt_window && v->user_vector < 0 && !event_reinjected(v) &&
           interrupt_allowed(v);
}
