// SPDX-License-Identifier: Apache-2.0
// Events at instruction boundaries of a guest, in the manual's order of priority, and their delivery
// (SDM 25.2, 6.9).
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/deliver.h"
#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/x86_state.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"

#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)
#define DEBUG_TRAPS (DEBUG_INFO_ENABLED_BREAKPOINT | DEBUG_INFO_BS)

static bool exit_plain(struct pcpu *c, uint32_t reason)
{
    vmx_exit_begin(c, reason);
    return true;
}

void vmx_sync(struct pcpu *c)
{
    if (c->now_ticks >= c->limit_ticks)
        pcpu_slow_path(c, false);
}

// --- Delivery through the guest's IDT. ---

static bool idt_has(const struct vmx *v, unsigned vector)
{
    uint32_t gate = v->ctl.entry & ENTRY_IA32E_MODE_GUEST ? 16 : 8;

    return vector * gate + gate - 1 <= vmcs_get32(v, GUEST_IDTR_LIMIT);
}

// SDM 6.15, interrupt 8, tables 6-4 and 6-5: benign, contributory and page-fault classes.
static bool contributory(unsigned vector)
{
    return vector == DE_VECTOR || (vector >= TS_VECTOR && vector <= GP_VECTOR);
}

// What an exception during the delivery of another event makes of both.
enum escalation { BOTH, DOUBLE_FAULT, SHUTDOWN };
static enum escalation escalation(uint32_t first, unsigned second)
{
    uint32_t vector = first & INTR_INFO_VECTOR_MASK;

    if ((first & INTR_INFO_TYPE_MASK) != INTR_TYPE_HARD_EXCEPTION)
        return BOTH;
    if (vector == DF_VECTOR)
        return SHUTDOWN;
    if (contributory(second) && (contributory(vector) || vector == PF_VECTOR))
        return DOUBLE_FAULT;
    return second == PF_VECTOR && vector == PF_VECTOR ? DOUBLE_FAULT : BOTH;
}

// The gate of the event being delivered lies beyond the IDT's limit.
static bool delivery_faults(struct pcpu *c)
{
    uint32_t info = c->x86->vmx.delivering_info, type = info & INTR_INFO_TYPE_MASK;
    uint32_t error = (info & INTR_INFO_VECTOR_MASK) << 3 | X86_ERROR_IDT;

    // EXT: the event was not caused by the program (SDM 6.13).
    if (type == INTR_TYPE_EXTERNAL || type == INTR_TYPE_NMI || type == INTR_TYPE_HARD_EXCEPTION)
        error |= X86_ERROR_EXT;
    return vmx_exception(c, GP_VECTOR, error, 0);
}

// Debug traps that wait when an event is delivered go with it; behind MOV SS they survive what software
// raises by INT n, INT3 and INTO (SDM 26.6.3).
static void drop_debug_traps(struct vmx *v, uint32_t type)
{
    bool software = type == INTR_TYPE_SOFT_INTERRUPT || type == INTR_TYPE_SOFT_EXCEPTION;

    if (!software || !(v->blocking & INTERRUPTIBILITY_MOV_SS))
        v->pending_debug = 0;
}

void vmx_mwait_end(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    if (v->mwait_asleep)
        pcpu_charge_cycles(c, c->uarch->op.hlt_wake_cycles);
    if (v->mwait)
        mem_monitor_disarm(c);
    v->mwait = v->mwait_asleep = false;
}

bool vmx_deliver(struct pcpu *c, uint32_t info, uint32_t error, uint32_t length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t type = info & INTR_INFO_TYPE_MASK, vector = info & INTR_INFO_VECTOR_MASK;
    bool exception = type == INTR_TYPE_HARD_EXCEPTION || type >= INTR_TYPE_PRIV_SOFT_EXCEPTION;

    v->delivering_info = info & ~INTR_INFO_UNBLOCK_NMI;
    v->delivering_error = info & INTR_INFO_DELIVER_CODE ? error : 0;
    v->delivering_length = length;
    if (v->guest && !idt_has(v, vector))
        return delivery_faults(c);
    pcpu_charge_cycles(c, exception ? c->uarch->op.exception_cycles : c->uarch->op.interrupt_cycles);
    drop_debug_traps(v, type);
    vmx_mwait_end(c);
    v->activity = ACTIVITY_ACTIVE;
    v->blocking &= ~(uint32_t)STI_OR_MOV_SS;
    if (type == INTR_TYPE_NMI) {
        v->blocking |= INTERRUPTIBILITY_NMI;
        if (!(v->ctl.pin & PIN_VIRTUAL_NMIS))
            c->nmi_blocked = true;
    }
    if (v->guest) {
        replay_deliver(c, v->guest, info, length);
    } else {
        enum insn_result r = idt_deliver(c, info, error, length);

        if (r != INSN_DONE)
            return r == INSN_EXIT;
    }
    v->delivering_info = 0;
    v->delivered = true;
    if (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG)
        v->mtf_pending = true; // Follows the delivery (SDM 25.5.2).
    return false;
}

void vmx_unblock_nmi(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    if (!(v->ctl.pin & PIN_VIRTUAL_NMIS) && (v->ctl.pin & PIN_NMI_EXITING))
        return;
    v->blocking &= ~INTERRUPTIBILITY_NMI;
    v->behind = true;
    if (!(v->ctl.pin & PIN_VIRTUAL_NMIS)) {
        c->nmi_blocked = false;
        pcpu_update_limit(c);
    }
}

// --- Exceptions of instructions. ---

static bool exception_exits(const struct vmx *v, unsigned vector, uint32_t error)
{
    bool bit = (v->ctl.exceptions >> vector) & 1;
    bool match;

    if (vector != PF_VECTOR)
        return bit;
    match = (error & vmcs_get32(v, PAGE_FAULT_ERROR_CODE_MASK)) == vmcs_get32(v, PAGE_FAULT_ERROR_CODE_MATCH);
    return match == bit; // SDM 25.2.
}

static uint32_t exception_info(unsigned vector)
{
    uint32_t info = INTR_INFO_VALID | vector;

    if (vector == BP_VECTOR || vector == OF_VECTOR)
        return info | INTR_TYPE_SOFT_EXCEPTION;
    info |= INTR_TYPE_HARD_EXCEPTION;
    return vector < 32 && ((X86_VECTORS_WITH_ERROR_CODE >> vector) & 1) ? info | INTR_INFO_DELIVER_CODE
                                                                        : info;
}

// An exception as `info` says. `length` of the instruction, of software exceptions.
static bool raise(struct pcpu *c, uint32_t info, uint32_t error, uint64_t detail, uint32_t length)
{
    unsigned vector = info & INTR_INFO_VECTOR_MASK;

    if (exception_exits(&c->x86->vmx, vector, error)) {
        struct vmexit *x = vmx_exit_begin(c, EXIT_REASON_EXCEPTION_NMI);

        x->intr_info = info;
        x->intr_error = info & INTR_INFO_DELIVER_CODE ? error : 0;
        if (vector == PF_VECTOR || vector == DB_VECTOR)
            x->qualification = detail;
        if (length)
            x->insn_length = length;
        return true;
    }
    if (vector == PF_VECTOR)
        c->x86->cr[2] = detail;
    if (vector == DB_VECTOR && (info & INTR_INFO_TYPE_MASK) == INTR_TYPE_HARD_EXCEPTION)
        debug_delivered(c, detail);
    return vmx_deliver(c, info, error, length);
}

bool vmx_software_exception(struct pcpu *c, uint32_t type, unsigned vector, unsigned length)
{
    return raise(c, INTR_INFO_VALID | type | vector, 0, 0, length);
}

bool vmx_exception(struct pcpu *c, unsigned vector, uint32_t error, uint64_t detail)
{
    struct vmx *v = &c->x86->vmx;
    bool soft = vector == BP_VECTOR || vector == OF_VECTOR;

    if (vector == PF_VECTOR && v->delivering_info && !exception_exits(v, vector, error))
        c->x86->cr[2] = detail; // Also of one that becomes a double fault.
    if (v->delivering_info) {
        switch (escalation(v->delivering_info, vector)) {
        case SHUTDOWN:
            return exit_plain(c, EXIT_REASON_TRIPLE_FAULT);
        case DOUBLE_FAULT:
            vector = DF_VECTOR;
            error = 0;
            break;
        case BOTH:
            break;
        }
    }
    return raise(c, exception_info(vector), error, detail, soft ? 1 : 0);
}

// --- Boundaries. ---

static bool debug_trap(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t pending = v->pending_debug;

    if (!(pending & DEBUG_TRAPS) || (v->blocking & INTERRUPTIBILITY_MOV_SS))
        return false;
    v->pending_debug = 0;
    return vmx_exception(c, DB_VECTOR, 0, pending & ~DEBUG_INFO_ENABLED_BREAKPOINT);
}

static bool tpr_below_threshold(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    if (!v->tpr_check)
        return false;
    v->tpr_check = false;
    if ((vapic_read(c, 0x80) >> 4 & 0xf) >= (vmcs_get32(v, TPR_THRESHOLD) & TPR_THRESHOLD_MASK))
        return false;
    return exit_plain(c, EXIT_REASON_TPR_BELOW_THRESHOLD);
}

static bool nmi(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    struct vmexit *x;

    if (!c->nmi_pending || c->nmi_blocked || (v->blocking & INTERRUPTIBILITY_MOV_SS))
        return false;
    c->nmi_pending = false;
    pcpu_update_limit(c);
    if (!(v->ctl.pin & PIN_NMI_EXITING))
        return vmx_deliver(c, INTR_INFO_VALID | INTR_TYPE_NMI | NMI_VECTOR, 0, 0);
    x = vmx_exit_begin(c, EXIT_REASON_EXCEPTION_NMI);
    x->intr_info = INTR_INFO_VALID | INTR_TYPE_NMI | NMI_VECTOR;
    return true;
}

static bool interruptible(const struct vmx *v)
{
    return (v->rflags & X86_RFLAGS_IF) && !(v->blocking & STI_OR_MOV_SS);
}

static bool external_exits(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;
    struct vmexit *x;
    uint8_t vector;

    if (!(v->ctl.exit & EXIT_ACK_INTERRUPT_ON_EXIT))
        return exit_plain(c, EXIT_REASON_EXTERNAL_INTERRUPT);
    vector = lapic_ack(c);
    if ((v->ctl.pin & PIN_POSTED_INTERRUPTS) && vector == vmcs_get(v, POSTED_INTR_NV)) {
        lapic_eoi(c);
        vapic_posted(c);
        c->x86->vmx.look_again = true;
        return false;
    }
    x = vmx_exit_begin(c, EXIT_REASON_EXTERNAL_INTERRUPT);
    x->intr_info = INTR_INFO_VALID | INTR_TYPE_EXTERNAL | vector;
    return true;
}

static bool external(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    if (!c->irq_pending || v->activity == ACTIVITY_SHUTDOWN)
        return false;
    // With the control on, RFLAGS.IF does not block; a one-instruction shadow does (SDM 25.3).
    if (v->blocking & STI_OR_MOV_SS)
        return false;
    if (v->ctl.pin & PIN_EXTERNAL_INTERRUPT_EXITING)
        return external_exits(c);
    if (!interruptible(v))
        return false;
    return vmx_deliver(c, INTR_INFO_VALID | INTR_TYPE_EXTERNAL | lapic_ack(c), 0, 0);
}

static bool interrupt_window(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    if (!interruptible(v) || v->activity > ACTIVITY_HLT || !(v->ctl.cpu & CPU_INTERRUPT_WINDOW_EXITING))
        return false;
    return exit_plain(c, EXIT_REASON_INTERRUPT_WINDOW);
}

// SDM 29.2.2.
static bool virtual_interrupt(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    if (!v->virtual_interrupt || !interruptible(v) || v->activity > ACTIVITY_HLT)
        return false;
    return vapic_deliver(c);
}

static bool nmi_window(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    if (!(v->ctl.cpu & CPU_NMI_WINDOW_EXITING) ||
        (v->blocking & (INTERRUPTIBILITY_NMI | INTERRUPTIBILITY_MOV_SS)))
        return false;
    return exit_plain(c, EXIT_REASON_NMI_WINDOW);
}

static bool wait_for_sipi(struct pcpu *c)
{
    struct vmexit *x;

    if (!c->sipi_pending)
        return false;
    c->sipi_pending = false;
    x = vmx_exit_begin(c, EXIT_REASON_SIPI_SIGNAL);
    x->qualification = c->sipi_vector;
    return true;
}

static bool init_signal(struct pcpu *c)
{
    if (!c->init_pending)
        return false;
    c->init_pending = false;
    return exit_plain(c, EXIT_REASON_INIT_SIGNAL);
}

static bool monitor_trap(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    if (!v->mtf_pending)
        return false;
    v->mtf_pending = false;
    return exit_plain(c, EXIT_REASON_MONITOR_TRAP_FLAG);
}

static bool preemption_timer(struct pcpu *c)
{
    return c->now_ticks >= c->x86->vmx.timer_at_ticks && exit_plain(c, EXIT_REASON_PREEMPTION_TIMER);
}

// From the highest priority down (SDM 25.2, 25.5.1, 25.5.2, 6.9).
static bool look(struct pcpu *c)
{
    static bool (*const order[])(struct pcpu *) = {
        init_signal, monitor_trap, tpr_below_threshold, debug_trap,        preemption_timer,
        nmi_window,  nmi,          interrupt_window,    virtual_interrupt, external};
    struct vmx *v = &c->x86->vmx;

    if (v->activity == ACTIVITY_WAIT_SIPI)
        return wait_for_sipi(c);
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) {
        if (order[i](c))
            return true;
        if (v->delivered || v->look_again)
            return false;
    }
    return false;
}

bool vmx_boundary(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    do {
        v->delivered = v->look_again = v->behind = false;
        vmx_sync(c);
        if (look(c))
            return true;
        // Of lower priority than all of these: faults of the instruction that would be next (SDM table 6-2).
        if (!v->delivered && !v->look_again && !v->guest && v->activity == ACTIVITY_ACTIVE &&
            debug_instruction(c))
            return true;
    } while (v->delivered || v->look_again);
    return false;
}

// --- The end of an instruction. ---

// SDM 17.3.1.4; 17.4.3: with IA32_DEBUGCTL.BTF only branches are followed by the trap.
static void single_step(struct pcpu *c, bool branched)
{
    struct vmx *v = &c->x86->vmx;

    if (branched || !(MSR_VALUE(c, IA32_DEBUGCTL) & DEBUGCTL_BTF))
        v->pending_debug |= DEBUG_INFO_BS;
}

bool vmx_retired(struct pcpu *c, uint32_t blocking, uint64_t rflags, bool branched)
{
    struct vmx *v = &c->x86->vmx;

    v->blocking &= ~(blocking & STI_OR_MOV_SS);
    if (rflags & X86_RFLAGS_RF) // RF hides breakpoints for one instruction (SDM 17.3.1.1).
        v->rflags &= ~X86_RFLAGS_RF;
    if (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG)
        v->mtf_pending = true;
    if ((rflags & X86_RFLAGS_TF) && !v->trap_held)
        single_step(c, branched);
    v->trap_held = false;
    if (!v->trap_exit)
        return false;
    vmx_exit_begin(c, v->trap_exit)->qualification = v->trap_qualification;
    v->trap_exit = 0;
    return true;
}
