// SPDX-License-Identifier: Apache-2.0
// Processor state as user space reads and writes it, with KVM's checks. vCPU loaded, vcpu->mutex held.
#include "hv/x86/state.h"
#include "hv/lib/errno.h"
#include "hv/x86/inject.h"
#include "hv/x86/lapic.h"
#include "hv/x86/regs.h"

#define EVENT_FLAG_NMI_PENDING 1u
#define EVENT_FLAG_SIPI_VECTOR 2u
#define EVENT_FLAG_SHADOW 4u
#define EVENT_FLAG_PAYLOAD 0x10u
#define EVENT_FLAG_TRIPLE_FAULT 0x20u
#define EVENT_FLAGS                                                                                          \
    (EVENT_FLAG_NMI_PENDING | EVENT_FLAG_SIPI_VECTOR | EVENT_FLAG_SHADOW | EVENT_FLAG_PAYLOAD |              \
     EVENT_FLAG_TRIPLE_FAULT)

void vcpu_get_regs(struct x86_vcpu *v, struct hv_regs *out)
{
    const u64 *r = v->gprs.r;

    *out = (struct hv_regs){.rax = r[0],
                            .rcx = r[1],
                            .rdx = r[2],
                            .rbx = r[3],
                            .rsp = vcpu_rsp(v),
                            .rbp = r[5],
                            .rsi = r[6],
                            .rdi = r[7],
                            .r8 = r[8],
                            .r9 = r[9],
                            .r10 = r[10],
                            .r11 = r[11],
                            .r12 = r[12],
                            .r13 = r[13],
                            .r14 = r[14],
                            .r15 = r[15],
                            .rip = vcpu_rip(v),
                            .rflags = vcpu_rflags(v)};
}

int vcpu_set_regs(struct x86_vcpu *v, const struct hv_regs *in)
{
    const u64 r[16] = {in->rax, in->rcx, in->rdx, in->rbx, 0,       in->rbp, in->rsi, in->rdi,
                       in->r8,  in->r9,  in->r10, in->r11, in->r12, in->r13, in->r14, in->r15};

    for (unsigned i = 0; i < 16; i++)
        v->gprs.r[i] = r[i];
    vcpu_set_rsp(v, in->rsp);
    vcpu_set_rip(v, in->rip);
    // Reserved bits cannot be loaded, as by POPF (KVM does not refuse them either).
    vcpu_set_rflags(v, (in->rflags & ~X86_RFLAGS_RESERVED_0) | X86_RFLAGS_FIXED);
    v->exception = (struct x86_exception){0};
    return 0;
}

// --- Special registers.

static void get_dtable(u32 base, u32 limit, struct hv_dtable *out)
{
    *out = (struct hv_dtable){.base = vmcs_read(base), .limit = (u16)vmcs_read(limit)};
}

void vcpu_get_sregs(struct x86_vcpu *v, struct hv_sregs *out)
{
    *out = (struct hv_sregs){0};
    struct hv_segment *const segments[SEG_COUNT] = {&out->es, &out->cs, &out->ss,  &out->ds,
                                                    &out->fs, &out->gs, &out->ldt, &out->tr};

    for (enum x86_segment s = SEG_ES; s < SEG_COUNT; s++)
        vcpu_get_segment(v, s, segments[s]);
    get_dtable(GUEST_GDTR_BASE, GUEST_GDTR_LIMIT, &out->gdt);
    get_dtable(GUEST_IDTR_BASE, GUEST_IDTR_LIMIT, &out->idt);
    out->cr0 = vcpu_cr0(v);
    out->cr2 = v->gprs.cr2;
    out->cr3 = vcpu_cr3(v);
    out->cr4 = vcpu_cr4(v);
    out->cr8 = vcpu_cr8(v);
    out->efer = v->efer;
    out->apic_base = v->apic_base;
    if (v->interrupt.injected && !v->interrupt.soft)
        out->interrupt_bitmap[v->interrupt.vector / 64] = 1ull << (v->interrupt.vector % 64);
}

// Combinations that no sequence of instructions reaches.
static bool valid_sregs(struct x86_vcpu *v, const struct hv_sregs *s)
{
    bool paging_long = (s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG);

    if (paging_long) {
        if (!(s->cr4 & X86_CR4_PAE) || !(s->efer & EFER_LMA) || s->cr3 >> v->maxphyaddr)
            return false;
    } else if ((s->efer & EFER_LMA) || s->cs.l) {
        return false;
    }
    if (s->cr4 & v->cr4_reserved)
        return false;
    if (s->cr0 >> 32 || ((s->cr0 & X86_CR0_NW) && !(s->cr0 & X86_CR0_CD)))
        return false;
    if ((s->cr0 & X86_CR0_PG) && !(s->cr0 & X86_CR0_PE))
        return false;
    return (s->efer & ~EFER_DEFINED) == 0 && (s->cr8 & ~X86_CR8_TPR_MASK) == 0;
}

// At most one bit of four words.
static int one_interrupt(const u64 *bitmap)
{
    int vector = -1;

    for (unsigned i = 0; i < 4; i++) {
        if (bitmap[i] == 0)
            continue;
        if (vector >= 0 || (bitmap[i] & (bitmap[i] - 1)))
            return -EINVAL;
        vector = (int)(i * 64) + __builtin_ctzll(bitmap[i]);
    }
    return vector;
}

static void set_segments(struct x86_vcpu *v, const struct hv_sregs *s)
{
    const struct hv_segment *const segments[SEG_COUNT] = {&s->es, &s->cs, &s->ss,  &s->ds,
                                                          &s->fs, &s->gs, &s->ldt, &s->tr};

    for (enum x86_segment i = SEG_ES; i < SEG_COUNT; i++)
        vcpu_set_segment(v, i, segments[i]);
    vmcs_write(GUEST_GDTR_BASE, s->gdt.base);
    vmcs_write(GUEST_GDTR_LIMIT, s->gdt.limit);
    vmcs_write(GUEST_IDTR_BASE, s->idt.base);
    vmcs_write(GUEST_IDTR_LIMIT, s->idt.limit);
}

int vcpu_set_sregs(struct x86_vcpu *v, const struct hv_sregs *in)
{
    int vector = one_interrupt(in->interrupt_bitmap);

    if (vector == -EINVAL || !valid_sregs(v, in))
        return -EINVAL;
    if (in->apic_base != v->apic_base) {
        if (v->apic == NULL)
            v->apic_base = in->apic_base;
        else if (lapic_set_base(v, in->apic_base, true))
            return -EINVAL;
    }
    set_segments(v, in);
    v->gprs.cr2 = in->cr2;
    vcpu_write_cr3(v, in->cr3);
    (void)vcpu_set_cr8(v, in->cr8);
    vcpu_write_efer(v, in->efer);
    vcpu_write_cr0(v, in->cr0);
    vcpu_write_cr4(v, in->cr4);
    vcpu_update_cpuid_runtime(v);
    if (vector >= 0)
        queue_interrupt(v, (u8)vector, false);
    make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    make_request(REQ_EVENT, &v->vcpu);
    return 0;
}

// --- Events.

void vcpu_get_events(struct x86_vcpu *v, struct hv_vcpu_events *out)
{
    const struct x86_exception *e = &v->exception;

    process_nmi(v);
    *out = (struct hv_vcpu_events){
        .exception = {.injected = e->injected,
                      .pending = e->pending,
                      .nr = e->vector,
                      .has_error_code = e->has_error_code,
                      .error_code = e->error_code},
        .interrupt = {.injected = v->interrupt.injected && !v->interrupt.soft, .nr = v->interrupt.vector},
        .nmi = {.injected = v->nmi_injected, .pending = v->nmi_pending != 0, .masked = nmi_masked(v)},
        .flags = EVENT_FLAG_NMI_PENDING | EVENT_FLAG_SHADOW | EVENT_FLAG_PAYLOAD | EVENT_FLAG_TRIPLE_FAULT,
        .exception_has_payload = e->has_payload,
        .exception_payload = e->payload,
        .triple_fault_pending = test_request(REQ_TRIPLE_FAULT, &v->vcpu),
    };
    out->interrupt.shadow = (u8)vcpu_interrupt_shadow(v);
}

int vcpu_set_events(struct x86_vcpu *v, const struct hv_vcpu_events *in)
{
    bool payload = (in->flags & EVENT_FLAG_PAYLOAD) != 0;

    if (in->flags & ~EVENT_FLAGS)
        return -EINVAL;
    if ((in->exception.injected || in->exception.pending) &&
        (in->exception.nr > 31 || in->exception.nr == NMI_VECTOR))
        return -EINVAL;
    if (in->exception.pending && !payload)
        return -EINVAL;
    if (in->interrupt.shadow & ~(INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS))
        return -EINVAL;
    process_nmi(v);
    v->exception = (struct x86_exception){.injected = in->exception.injected,
                                          .pending = in->exception.pending,
                                          .vector = in->exception.nr,
                                          .has_error_code = in->exception.has_error_code,
                                          .error_code = in->exception.error_code,
                                          .has_payload = payload && in->exception_has_payload,
                                          .payload = in->exception_payload};
    v->interrupt = (struct x86_event){
        .injected = in->interrupt.injected, .soft = in->interrupt.soft, .vector = in->interrupt.nr};
    if (in->flags & EVENT_FLAG_SHADOW)
        vcpu_set_interrupt_shadow(v, in->interrupt.shadow);
    v->nmi_injected = in->nmi.injected;
    if (in->flags & EVENT_FLAG_NMI_PENDING)
        v->nmi_pending = in->nmi.pending;
    set_nmi_mask(v, in->nmi.masked);
    if (in->flags & EVENT_FLAG_TRIPLE_FAULT) {
        if (in->triple_fault_pending)
            make_request(REQ_TRIPLE_FAULT, &v->vcpu);
        else
            clear_request(REQ_TRIPLE_FAULT, &v->vcpu);
    }
    make_request(REQ_EVENT, &v->vcpu);
    return 0;
}

// --- Debug registers, mp_state.

void vcpu_get_debugregs(struct x86_vcpu *v, struct hv_debugregs *out)
{
    *out = (struct hv_debugregs){.dr6 = v->dr6, .dr7 = v->dr7};
    for (unsigned i = 0; i < 4; i++)
        out->db[i] = v->db[i];
}

int vcpu_set_debugregs(struct x86_vcpu *v, const struct hv_debugregs *in)
{
    if (in->flags || in->dr6 >> 32 || in->dr7 >> 32)
        return -EINVAL;
    for (unsigned i = 0; i < 4; i++)
        v->db[i] = in->db[i];
    (void)vcpu_set_dr(v, 6, in->dr6);
    (void)vcpu_set_dr(v, 7, in->dr7);
    return 0;
}

int vcpu_set_mp_state(struct x86_vcpu *v, u32 state)
{
    if (state > MP_STATE_SIPI_RECEIVED)
        return -EINVAL;
    // Only a local APIC can take an INIT or SIPI or end a halt.
    if (v->apic == NULL && state != MP_STATE_RUNNABLE)
        return -EINVAL;
    v->vcpu.mp_state = state;
    make_request(REQ_EVENT, &v->vcpu);
    return 0;
}
