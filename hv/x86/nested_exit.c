// SPDX-License-Identifier: Apache-2.0
// Nested VMX: exits of L2. Whose they are, and how L1 gets them (SDM 25, 27).
#include "hv/x86/guest_walk.h"
#include "hv/x86/lapic.h"
#include "hv/x86/nested_state.h"
#include "hv/x86/pml.h"

// --- Whose exit is it?

static bool pin12(const struct nested *n, u32 bit)
{
    return (V12(n, PIN_BASED_VM_EXEC_CONTROL) & bit) != 0;
}
static bool cpu12(const struct nested *n, u32 bit)
{
    return (V12(n, CPU_BASED_VM_EXEC_CONTROL) & bit) != 0;
}
static bool cpu2_12(const struct nested *n, u32 bit)
{
    return cpu12(n, CPU_ACTIVATE_SECONDARY_CONTROLS) && (V12(n, SECONDARY_VM_EXEC_CONTROL) & bit) != 0;
}

// SDM 25.2: the exception bitmap; for #PF error code, mask and match decide too.
static bool intercepts_exception(const struct nested *n, u8 vector, u32 error_code)
{
    bool bit = (V12(n, EXCEPTION_BITMAP) >> vector) & 1;

    if (vector != PF_VECTOR)
        return bit;
    bool match = (error_code & V12(n, PAGE_FAULT_ERROR_CODE_MASK)) == V12(n, PAGE_FAULT_ERROR_CODE_MATCH);
    return match == bit;
}

static bool reflect_exception_nmi(struct x86_vcpu *v)
{
    u32 info = exit_intr_info(v);

    // NMIs of the host are L0's; those for L1 wait in nmi_pending.
    if ((info & INTR_INFO_TYPE_MASK) == INTR_TYPE_NMI || (info & INTR_INFO_VECTOR_MASK) == MC_VECTOR)
        return false;
    return intercepts_exception(v->nested, info & INTR_INFO_VECTOR_MASK,
                                vmcs_read32(VM_EXIT_INTR_ERROR_CODE));
}

static bool reflect_mov_to_cr(struct x86_vcpu *v, unsigned cr, u64 value)
{
    const struct nested *n = v->nested;

    switch (cr) {
    case 0:
        return (V12(n, CR0_GUEST_HOST_MASK) & (value ^ V12(n, CR0_READ_SHADOW))) != 0;
    case 3:
        for (u64 i = 0; i < V12(n, CR3_TARGET_COUNT) && i < 4; i++)
            if (n->vmcs12->field[V12_CR3_TARGET_VALUE0 + i] == value)
                return false;
        return cpu12(n, CPU_CR3_LOAD_EXITING);
    case 4:
        return (V12(n, CR4_GUEST_HOST_MASK) & (value ^ V12(n, CR4_READ_SHADOW))) != 0;
    default:
        return cpu12(n, CPU_CR8_LOAD_EXITING);
    }
}

// SDM 25.1.3, "MOV to CR", "CLTS", "LMSW".
static bool reflect_cr_access(struct x86_vcpu *v)
{
    const struct nested *n = v->nested;
    u64 q = exit_qualification(v), mask = V12(n, CR0_GUEST_HOST_MASK), shadow = V12(n, CR0_READ_SHADOW);
    unsigned cr = (unsigned)(q & QUAL_CR_NUMBER_MASK),
             reg = (unsigned)((q & QUAL_CR_GPR_MASK) >> QUAL_CR_GPR_SHIFT);
    u64 source = (q & QUAL_CR_LMSW_MASK) >> QUAL_CR_LMSW_SHIFT;

    switch ((q & QUAL_CR_TYPE_MASK) >> QUAL_CR_TYPE_SHIFT) {
    case QUAL_CR_MOV_TO:
        return reflect_mov_to_cr(v, cr, vcpu_gpr(v, reg));
    case QUAL_CR_MOV_FROM:
        return cr == 3 ? cpu12(n, CPU_CR3_STORE_EXITING) : cr == 8 && cpu12(n, CPU_CR8_STORE_EXITING);
    case QUAL_CR_CLTS:
        return (mask & X86_CR0_TS) != 0 && (shadow & X86_CR0_TS) != 0;
    default: // LMSW sets PE but never clears it.
        return (mask & 0xe & (source ^ shadow)) != 0 ||
               ((mask & X86_CR0_PE) != 0 && (shadow & X86_CR0_PE) == 0 && (source & X86_CR0_PE) != 0);
    }
}

// A bit of a bitmap page in L1's memory; memory of nobody reads as ones.
static bool bitmap_bit(struct x86_vcpu *v, u64 page, u32 bit)
{
    u8 byte = 0xff;
    (void)vm_read_guest(v->vcpu.vm, gpa(page + bit / 8), &byte, 1);
    return (byte >> (bit & 7)) & 1;
}

static bool reflect_io(struct x86_vcpu *v)
{
    const struct nested *n = v->nested;
    u64 q = exit_qualification(v);
    u32 port = (u32)((q & QUAL_IO_PORT_MASK) >> QUAL_IO_PORT_SHIFT), size = (u32)(q & QUAL_IO_SIZE_MASK) + 1;

    if (!cpu12(n, CPU_USE_IO_BITMAPS))
        return cpu12(n, CPU_UNCONDITIONAL_IO_EXITING);
    for (u32 i = 0; i < size; i++) {
        if (port + i > 0xffff)
            return true; // SDM 25.1.3: an access that wraps exits.
        if (bitmap_bit(v, port + i < 0x8000 ? V12(n, IO_BITMAP_A) : V12(n, IO_BITMAP_B), (port + i) & 0x7fff))
            return true;
    }
    return false;
}

static bool reflect_msr(struct x86_vcpu *v, bool write)
{
    const struct nested *n = v->nested;
    u32 msr = (u32)v->gprs.r[GPR_RCX], offset = write ? MSR_BITMAP_WRITE_LOW : MSR_BITMAP_READ_LOW;

    if (!cpu12(n, CPU_USE_MSR_BITMAPS))
        return true;
    if (msr - MSR_BITMAP_HIGH_BASE < MSR_BITMAP_RANGE) {
        offset += MSR_BITMAP_READ_HIGH;
        msr -= MSR_BITMAP_HIGH_BASE;
    } else if (msr >= MSR_BITMAP_RANGE) {
        return true;
    }
    return bitmap_bit(v, V12(n, MSR_BITMAP) + offset, msr);
}
static bool reflect_msr_read(struct x86_vcpu *v)
{
    return reflect_msr(v, false);
}
static bool reflect_msr_write(struct x86_vcpu *v)
{
    return reflect_msr(v, true);
}

static bool reflect_invpcid(struct x86_vcpu *v)
{
    return cpu2_12(v->nested, CPU2_ENABLE_INVPCID) && cpu12(v->nested, CPU_INVLPG_EXITING);
}

enum reflect_rule { REFLECT_UNKNOWN, REFLECT_L0, REFLECT_L1, REFLECT_CPU, REFLECT_CPU2, REFLECT_ASK };
struct reflect_row {
    u8 rule; // enum reflect_rule
    u32 bit;
    bool (*ask)(struct x86_vcpu *v);
};
#define ROW_L0(arg)                                                                                          \
    {                                                                                                        \
        .rule = REFLECT_L0                                                                                   \
    }
#define ROW_L1(arg)                                                                                          \
    {                                                                                                        \
        .rule = REFLECT_L1                                                                                   \
    }
#define ROW_CPU(arg)                                                                                         \
    {                                                                                                        \
        .rule = REFLECT_CPU, .bit = arg                                                                      \
    }
#define ROW_CPU2(arg)                                                                                        \
    {                                                                                                        \
        .rule = REFLECT_CPU2, .bit = arg                                                                     \
    }
#define ROW_ASK(arg)                                                                                         \
    {                                                                                                        \
        .rule = REFLECT_ASK, .ask = reflect_##arg                                                            \
    }
static const struct reflect_row rows[EXIT_REASON_COUNT] = {
#define NESTED_EXIT(name, rule, argument) [EXIT_REASON_##name] = ROW_##rule(argument),
#include "hv/x86/nested_exits.def"
};

static bool is_l1s(struct x86_vcpu *v, u32 reason)
{
    if (reason >= EXIT_REASON_COUNT)
        return false;
    const struct reflect_row *row = &rows[reason];
    switch ((enum reflect_rule)row->rule) {
    case REFLECT_L1:
        return true;
    case REFLECT_CPU:
        return cpu12(v->nested, row->bit);
    case REFLECT_CPU2:
        return cpu2_12(v->nested, row->bit);
    case REFLECT_ASK:
        return row->ask(v);
    case REFLECT_L0:
    case REFLECT_UNKNOWN:
        break;
    }
    return false;
}

// --- To L1.

static bool was_dirty(const struct x86_vcpu *v, enum x86_cached_reg reg)
{
    return (v->regs_dirty & (1u << reg)) != 0;
}

bool nested_pae_paging(struct x86_vcpu *v)
{
    return (vcpu_cr0(v) & X86_CR0_PG) && (vcpu_cr4(v) & X86_CR4_PAE) && !(v->efer & EFER_LMA);
}

// SDM 27.3.1.
static void save_pdptes(struct x86_vcpu *v)
{
    if (nested_ept12(v->nested) && nested_pae_paging(v))
        for (u32 i = 0; i < 4; i++)
            v->nested->vmcs12->field[V12_GUEST_PDPTR0 + i] = vmcs_read(GUEST_PDPTR0 + 2 * i);
}

// L2's state as it is now. vmcs02 is current.
static void save_guest_state(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 entry = V12(n, VM_ENTRY_CONTROLS), exit = V12(n, VM_EXIT_CONTROLS);
    u64 mask0 = V12(n, CR0_GUEST_HOST_MASK), mask4 = V12(n, CR4_GUEST_HOST_MASK);

    if (was_dirty(v, CACHED_RIP))
        vmcs_write(GUEST_RIP, v->cached[CACHED_RIP]);
    if (was_dirty(v, CACHED_RSP))
        vmcs_write(GUEST_RSP, v->cached[CACHED_RSP]);
    v->regs_dirty = 0;
#define COMMON 0
#define RARE 1
#define NESTED_GUEST(name, class)                                                                            \
    if (!(class))                                                                                            \
        V12(n, name) = vmcs_read(name);
#include "hv/x86/nested_guest_fields.def"
#undef COMMON
#undef RARE
    // Bits that L1 intercepts never changed behind its back; the rest is as L2 left it.
    V12(n, GUEST_CR0) = (V12(n, GUEST_CR0) & mask0) | (vcpu_cr0(v) & ~mask0);
    V12(n, GUEST_CR4) = (V12(n, GUEST_CR4) & mask4) | (vcpu_cr4(v) & ~mask4);
    V12(n, GUEST_CR3) = vcpu_cr3(v);
    save_pdptes(v);
    if (v->vcpu.mp_state == MP_STATE_HALTED)
        V12(n, GUEST_ACTIVITY_STATE) = ACTIVITY_HLT; // L0 keeps L2 halted; the processor knows nothing of it.
    V12(n, VM_ENTRY_CONTROLS) =
        v->efer & EFER_LMA ? entry | ENTRY_IA32E_MODE_GUEST : entry & ~(u64)ENTRY_IA32E_MODE_GUEST;
    if (exit & EXIT_SAVE_DEBUG_CONTROLS) {
        V12(n, GUEST_DR7) = v->dr7;
        V12(n, GUEST_IA32_DEBUGCTL) = v->debugctl;
    }
    if (exit & EXIT_SAVE_EFER)
        V12(n, GUEST_IA32_EFER) = v->efer;
    V12(n, VM_ENTRY_INTR_INFO_FIELD) &= ~(u64)INTR_INFO_VALID; // SDM 27.2: bit 31 is cleared.
}

// An event whose delivery to L2 was interrupted: L1 gets to know (SDM 27.2.4), L0 forgets it.
static void save_vectoring(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u32 info = 0;

    if (v->exception.injected) {
        info = v->exception.vector | INTR_INFO_VALID;
        info |= v->exception.vector == BP_VECTOR || v->exception.vector == OF_VECTOR
                    ? INTR_TYPE_SOFT_EXCEPTION
                    : INTR_TYPE_HARD_EXCEPTION;
        if (v->exception.has_error_code) {
            info |= INTR_INFO_DELIVER_CODE;
            V12(n, IDT_VECTORING_ERROR_CODE) = v->exception.error_code;
        }
    } else if (v->nmi_injected) {
        info = NMI_VECTOR | INTR_TYPE_NMI | INTR_INFO_VALID;
    } else if (v->interrupt.injected) {
        info = v->interrupt.vector | INTR_INFO_VALID |
               (v->interrupt.soft ? (u32)INTR_TYPE_SOFT_INTERRUPT : (u32)INTR_TYPE_EXTERNAL);
    }
    V12(n, IDT_VECTORING_INFO_FIELD) = info;
    v->exception = (struct x86_exception){0};
    v->interrupt = (struct x86_event){0};
    v->nmi_injected = false;
}

// AR bytes of the segments that a VM exit loads (SDM 27.5.2).
#define AR_CODE64 (11u | AR_S | AR_P | AR_L | AR_G)
#define AR_CODE32 (11u | AR_S | AR_P | AR_DB | AR_G)
#define AR_DATA (3u | AR_S | AR_P | AR_DB | AR_G)
#define AR_TSS (11u | AR_P)

static void load_data_segment(u32 selector_field, u32 base_field, u32 limit_field, u32 ar_field, u64 selector,
                              u64 base)
{
    vmcs_write(selector_field, selector);
    vmcs_write(base_field, base);
    vmcs_write(limit_field, 0xffffffff);
    vmcs_write(ar_field, selector == 0 ? (u32)AR_UNUSABLE : (u32)AR_DATA);
}

void nested_cr4_changed(struct x86_vcpu *v, u64 old)
{
    if ((vcpu_cr4(v) ^ old) & (X86_CR4_OSXSAVE | X86_CR4_PKE))
        vcpu_update_cpuid_runtime(v);
}

static void load_segments(const struct nested *n)
{
    bool wide = (V12(n, VM_EXIT_CONTROLS) & EXIT_HOST_ADDR_SPACE_SIZE) != 0;

    vmcs_write(GUEST_CS_SELECTOR, V12(n, HOST_CS_SELECTOR));
    vmcs_write(GUEST_CS_BASE, 0);
    vmcs_write(GUEST_CS_LIMIT, 0xffffffff);
    vmcs_write(GUEST_CS_AR_BYTES, wide ? AR_CODE64 : AR_CODE32);
#define LOAD(s, base)                                                                                        \
    load_data_segment(GUEST_##s##_SELECTOR, GUEST_##s##_BASE, GUEST_##s##_LIMIT, GUEST_##s##_AR_BYTES,       \
                      V12(n, HOST_##s##_SELECTOR), base)
    LOAD(SS, 0);
    LOAD(DS, 0);
    LOAD(ES, 0);
    LOAD(FS, V12(n, HOST_FS_BASE));
    LOAD(GS, V12(n, HOST_GS_BASE));
#undef LOAD
    vmcs_write(GUEST_TR_SELECTOR, V12(n, HOST_TR_SELECTOR));
    vmcs_write(GUEST_TR_BASE, V12(n, HOST_TR_BASE));
    vmcs_write(GUEST_TR_LIMIT, 0x67);
    vmcs_write(GUEST_TR_AR_BYTES, AR_TSS);
    vmcs_write(GUEST_LDTR_SELECTOR, 0);
    vmcs_write(GUEST_LDTR_AR_BYTES, AR_UNUSABLE);
    vmcs_write(GUEST_GDTR_BASE, V12(n, HOST_GDTR_BASE));
    vmcs_write(GUEST_GDTR_LIMIT, 0xffff);
    vmcs_write(GUEST_IDTR_BASE, V12(n, HOST_IDTR_BASE));
    vmcs_write(GUEST_IDTR_LIMIT, 0xffff);
}

void nested_load_host_state(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 exit = V12(n, VM_EXIT_CONTROLS), efer = v->efer;

    if (exit & EXIT_LOAD_EFER)
        efer = V12(n, HOST_IA32_EFER);
    else if (exit & EXIT_HOST_ADDR_SPACE_SIZE)
        efer |= EFER_LMA | EFER_LME;
    else
        efer &= ~(u64)(EFER_LMA | EFER_LME);
    vcpu_write_efer(v, efer);
    vcpu_write_cr0(v, V12(n, HOST_CR0));
    vcpu_write_cr4(v, V12(n, HOST_CR4));
    vcpu_write_cr3(v, V12(n, HOST_CR3));
    load_segments(n);
    vmcs_write(GUEST_SYSENTER_CS, V12(n, HOST_IA32_SYSENTER_CS));
    vmcs_write(GUEST_SYSENTER_ESP, V12(n, HOST_IA32_SYSENTER_ESP));
    vmcs_write(GUEST_SYSENTER_EIP, V12(n, HOST_IA32_SYSENTER_EIP));
    if (exit & EXIT_LOAD_PAT) {
        v->pat = V12(n, HOST_IA32_PAT);
        vmcs_write(GUEST_IA32_PAT, v->pat);
    }
    (void)vcpu_set_dr(v, 7, X86_DR7_FIXED_1);
    v->debugctl = 0;
    vmcs_write(GUEST_IA32_DEBUGCTL, 0);
    vmcs_write(GUEST_INTERRUPTIBILITY_INFO, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
    vcpu_set_rflags(v, X86_RFLAGS_FIXED);
    vcpu_set_rsp(v, V12(n, HOST_RSP));
    vcpu_set_rip(v, V12(n, HOST_RIP));
    v->segs.avail = 0;
    if (nested_pae_paging(v) && !guest_load_pdptrs(v, vcpu_cr3(v))) { // SDM 27.5.4.
        nested_abort(v, VMX_ABORT_HOST_PDPTE);
        return;
    }
    if (nested_msrs_load(v, V12(n, VM_EXIT_MSR_LOAD_ADDR), V12(n, VM_EXIT_MSR_LOAD_COUNT)) != 0)
        nested_abort(v, VMX_ABORT_LOAD_HOST_MSR);
}

// SDM 27.2.2: with "acknowledge interrupt on exit" the exit itself takes the interrupt. vmcs01 is current.
static void acknowledge_interrupt(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    int vector = v->user_vector;

    V12(n, VM_EXIT_INTR_INFO) = 0;
    if ((V12(n, VM_EXIT_CONTROLS) & EXIT_ACK_INTERRUPT_ON_EXIT) == 0)
        return;
    if (vector >= 0)
        v->user_vector = -1;
    else
        vector = irqchip_get_interrupt(v);
    HV_ASSERT(vector >= 0);
    V12(n, VM_EXIT_INTR_INFO) = (u32)vector | INTR_TYPE_EXTERNAL | INTR_INFO_VALID;
}

// What an exit out of L2 saves, but an entry that failed does not (SDM 26.8).
static void save(struct x86_vcpu *v, u32 intr_info)
{
    struct nested *n = v->nested;

    n->vmcs12->launched = 1;
    save_guest_state(v);
    save_vectoring(v);
    V12(n, VM_EXIT_INTR_INFO) = intr_info;
    V12(n, VM_EXIT_INSTRUCTION_LEN) = vmcs_read(VM_EXIT_INSTRUCTION_LEN);
    V12(n, VMX_INSTRUCTION_INFO) = vmcs_read(VMX_INSTRUCTION_INFO);
    V12(n, GUEST_LINEAR_ADDRESS) = vmcs_read(GUEST_LINEAR_ADDRESS);
    if (intr_info & INTR_INFO_DELIVER_CODE)
        V12(n, VM_EXIT_INTR_ERROR_CODE) = vmcs_read(VM_EXIT_INTR_ERROR_CODE);
    if (nested_msrs_store(v, V12(n, VM_EXIT_MSR_STORE_ADDR), V12(n, VM_EXIT_MSR_STORE_COUNT)) != 0)
        nested_abort(v, VMX_ABORT_SAVE_GUEST_MSR);
}

void nested_vmexit(struct x86_vcpu *v, u32 reason, u32 intr_info, u64 qualification)
{
    struct nested *n = v->nested;
    u64 rip;

    u64 cr4 = vcpu_cr4(v);
    if (likely((reason & EXIT_REASON_ENTRY_FAILURE) == 0))
        save(v, intr_info);
    rip = V12(n, GUEST_RIP);
    V12(n, VM_EXIT_REASON) = reason;
    V12(n, EXIT_QUALIFICATION) = qualification;
    v->in_guest_mode = false;
    v->vcpu.mp_state = MP_STATE_RUNNABLE;
    n->run_pending = n->enters_halt = false;
    nested_ept_leave(v);
    v->tsc_offset = n->l1_tsc_offset;
    v->cr0_guest_owned = n->l1_cr0_owned;
    v->cr4_guest_owned = n->l1_cr4_owned;
    nested_switch_vmcs(v, &v->vmcs01);
    pml_update(v);
    nested_load_host_state(v);
    nested_cr4_changed(v, cr4);
    if (reason == EXIT_REASON_EXTERNAL_INTERRUPT)
        acknowledge_interrupt(v);
    hw_trace(TP_KVM_NESTED_VMEXIT_INJECT, rip, reason, qualification, V12(n, IDT_VECTORING_INFO_FIELD),
             V12(n, VM_EXIT_INTR_INFO), V12(n, VM_EXIT_INTR_ERROR_CODE));
    apicv_leave_l2(v);
    nested_shadow_load(v);
    make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    make_request(REQ_EVENT, &v->vcpu);
}

// The first exit of an L2 that was entered halted. If no event has woken it, L0 halts it as one that executed
// HLT.
static void stay_halted(struct x86_vcpu *v)
{
    v->nested->enters_halt = false;
    if (vmcs_read32(GUEST_ACTIVITY_STATE) != ACTIVITY_HLT)
        return;
    vmcs_write(GUEST_ACTIVITY_STATE, ACTIVITY_ACTIVE);
    v->vcpu.mp_state = MP_STATE_HALTED;
}

bool nested_reflect_exit(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u32 reason = v->exit_reason & EXIT_REASON_BASIC_MASK;

    n->run_pending = false;
    if (unlikely(v->fail))
        HV_PANIC("VM entry into L2 failed: vmcs02 was merged wrongly");
    u32 info = exit_intr_info(v);
    hw_trace(TP_KVM_NESTED_VMEXIT, vcpu_rip(v), v->exit_reason, exit_qualification(v), v->idt_vectoring, info,
             info & INTR_INFO_DELIVER_CODE ? vmcs_read(VM_EXIT_INTR_ERROR_CODE) : 0);
    if (!is_l1s(v, reason)) {
        if (unlikely(n->enters_halt))
            stay_halted(v);
        return false;
    }
    nested_vmexit(v, v->exit_reason, reason == EXIT_REASON_EXCEPTION_NMI ? info : 0, exit_qualification(v));
    return true;
}

// --- Events for L1 while L2 runs.

static bool exception_exit(struct x86_vcpu *v)
{
    struct x86_exception *e = &v->exception;
    u32 info = e->vector | INTR_INFO_VALID;
    u64 qualification = e->has_payload ? e->payload : 0;

    if (!e->pending || !intercepts_exception(v->nested, e->vector, e->error_code))
        return false;
    info |= e->vector == BP_VECTOR || e->vector == OF_VECTOR ? INTR_TYPE_SOFT_EXCEPTION
                                                             : INTR_TYPE_HARD_EXCEPTION;
    if (e->has_error_code)
        info |= INTR_INFO_DELIVER_CODE;
    u32 code = e->error_code;
    nested_vmexit(v, EXIT_REASON_EXCEPTION_NMI, info, qualification);
    V12(v->nested, VM_EXIT_INTR_ERROR_CODE) = code;
    nested_shadow_load(v);
    return true;
}

int nested_check_events(struct x86_vcpu *v, bool *immediate_exit)
{
    struct nested *n = v->nested;
    // SDM 26.7: an entry under way, and an event being delivered, come first; L1's turn is right behind them.
    bool blocked = n->run_pending || event_reinjected(v);

    // A halted L2 is entered only so far that the processor checks its state and delivers L1's event.
    if (unlikely(n->enters_halt))
        *immediate_exit = true;
    if (unlikely(lapic_init_pending(v))) { // SDM 6.9: nothing but a machine check is more urgent.
        if (blocked)
            *immediate_exit = true;
        else if (lapic_take_event(v, LAPIC_EVENT_INIT))
            nested_vmexit(v, EXIT_REASON_INIT_SIGNAL, 0, 0);
        return 0;
    }
    // Not waiting for one: lost (SDM 10.6.1).
    (void)lapic_take_event(v, LAPIC_EVENT_SIPI);
    // The entry carries an event of L1's choice: nothing else fits in.
    if (n->run_pending && (V12(n, VM_ENTRY_INTR_INFO_FIELD) & INTR_INFO_VALID) &&
        (v->exception.pending || v->nmi_pending || has_injectable_interrupt(v))) {
        *immediate_exit = true;
        return 0;
    }
    if (v->exception.pending) {
        if (blocked && intercepts_exception(n, v->exception.vector, v->exception.error_code))
            *immediate_exit = true;
        else if (!blocked)
            (void)exception_exit(v);
        return 0; // L2's own goes in first; what waits for L1 then makes the entry leave at once.
    }
    if (v->nmi_pending && pin12(n, PIN_NMI_EXITING)) {
        if (blocked) {
            *immediate_exit = true;
            return 0;
        }
        v->nmi_pending--;
        nested_vmexit(v, EXIT_REASON_EXCEPTION_NMI, NMI_VECTOR | INTR_TYPE_NMI | INTR_INFO_VALID, 0);
        set_nmi_mask(v, true); // The exit was caused by the NMI: it blocks further ones (SDM 27.5.5).
        return 0;
    }
    if (!pin12(n, PIN_EXTERNAL_INTERRUPT_EXITING) || !has_injectable_interrupt(v))
        return 0;
    if (blocked) {
        *immediate_exit = true;
        return 0;
    }
    hw_trace(TP_KVM_NESTED_INTR_VMEXIT, vcpu_rip(v), 0, 0, 0, 0, 0);
    nested_vmexit(v, EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0);
    return 0;
}

bool nested_intercepts_interrupts(const struct x86_vcpu *v)
{
    return pin12(v->nested, PIN_EXTERNAL_INTERRUPT_EXITING);
}

u64 nested_immediate_exit_tsc(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    const struct knobs *k = knobs_of(v);

    if (knob(k, KNOB_IRQ_STORM_GUARD) != IRQ_STORM_GUARD_IMMEXIT_THROTTLE)
        return 0;
    u64 rip = V12(n, GUEST_RIP); // Where L2 would go on.
    if (rip != n->throttle_rip) {
        n->throttle_rip = rip;
        n->throttle_count = 0;
    }
    if (++n->throttle_count < knob(k, KNOB_IRQ_THROTTLE_N))
        return 0;
    n->throttle_count = 0;
    hw_trace_count("throttled_exits", 1);
    return knob(k, KNOB_IRQ_THROTTLE_TSC);
}
