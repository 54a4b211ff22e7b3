// SPDX-License-Identifier: Apache-2.0
// Loading of segment registers with all checks (SDM 5.5 to 5.8; vol. 2 MOV, JMP, CALL, RET, LLDT, LTR), far
// transfers and real mode's interrupts.
//
// Call gates, task gates, and whatever changes the privilege level are not carried out here: a guest that the
// processor can run does them itself, and those that it cannot run are on their way to one that it can.
#include "hv/hw/guest.h"
#include "hv/lib/string.h"
#include "hv/x86/emulate_internal.h"

#define DESC_TYPE_SHIFT 40
#define DESC_ACCESSED (1ull << DESC_TYPE_SHIFT)
#define DESC_BUSY (2ull << DESC_TYPE_SHIFT)
#define DESC_DPL_SHIFT 45
#define DESC_PRESENT (1ull << 47)
#define GATE_TASK 5u // Of the type; the others are an interrupt gate of 16 bits with:
#define GATE_INTERRUPT_16 6u
#define GATE_IS_TRAP 1u
#define GATE_IS_32 8u
#define SYS_TSS_AVAILABLE_16 1u
#define SYS_TSS_AVAILABLE 9u
#define SELECTOR_ERROR_MASK 0xfffcu

// SDM 3.4.5, figure 3-8.
void emu_segment_from_descriptor(u64 d, u16 selector, struct hv_segment *s)
{
    u32 limit = (u32)(d & 0xffff) | (u32)(d >> 32 & 0xf0000);

    *s = (struct hv_segment){
        .base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
        .selector = selector,
        .type = d >> DESC_TYPE_SHIFT & 15,
        .s = d >> 44 & 1,
        .dpl = d >> 45 & 3,
        .present = d >> 47 & 1,
        .avl = d >> 52 & 1,
        .l = d >> 53 & 1,
        .db = d >> 54 & 1,
        .g = d >> 55 & 1,
    };
    s->limit = s->g ? limit << 12 | 0xfff : limit;
}

bool emu_read_descriptor(struct x86_vcpu *v, u16 selector, u8 vector, u64 *descriptor, u64 *at)
{
    u64 base;
    u32 limit, offset = selector & ~7u;

    *descriptor = 0;
    if (selector & X86_SEL_TI) {
        base = vcpu_segment_base(v, SEG_LDTR);
        limit = vcpu_segment_ar(v, SEG_LDTR) & AR_UNUSABLE ? 0 : vcpu_segment_limit(v, SEG_LDTR);
    } else {
        base = vmcs_read(GUEST_GDTR_BASE);
        limit = vmcs_read32(GUEST_GDTR_LIMIT);
    }
    if (offset + 7 > limit)
        return emu_fault_e(v, vector, selector & SELECTOR_ERROR_MASK);
    *at = vcpu_long_mode(v) ? base + offset : (u32)(base + offset);
    return emu_read(v, *at, descriptor, 8, WALK_IMPLICIT);
}

// --- Checks. True: fine.

static bool code_allowed(const struct hv_segment *s, unsigned rpl, unsigned cpl, enum emu_load kind)
{
    bool conforming = (s->type & X86_SEG_CONFORMING) != 0;

    if (!(s->type & X86_SEG_CODE))
        return false;
    if (kind == LOAD_RET || kind == LOAD_IRET)
        return rpl >= cpl && (conforming ? s->dpl <= rpl : s->dpl == rpl);
    if (kind == LOAD_TASK)
        return conforming ? s->dpl <= rpl : s->dpl == rpl;
    if (kind == LOAD_INTERRUPT)
        return s->dpl <= cpl;
    return conforming ? s->dpl <= cpl : rpl <= cpl && s->dpl == cpl;
}

static bool data_allowed(const struct hv_segment *s, unsigned rpl, unsigned cpl)
{
    bool code = (s->type & X86_SEG_CODE) != 0;

    if (code && !(s->type & X86_SEG_READABLE))
        return false;
    return (code && (s->type & X86_SEG_CONFORMING)) || (rpl <= s->dpl && cpl <= s->dpl);
}

static bool type_allowed(struct x86_vcpu *v, const struct hv_segment *s, enum x86_segment which,
                         enum emu_load kind, unsigned cpl)
{
    unsigned rpl = s->selector & X86_SEL_RPL_MASK;

    switch (which) {
    case SEG_CS:
        return s->s && code_allowed(s, rpl, cpl, kind) && !(vcpu_long_mode(v) && s->l && s->db);
    case SEG_SS:
        return s->s && !(s->type & X86_SEG_CODE) && (s->type & X86_SEG_WRITABLE) && rpl == cpl &&
               s->dpl == cpl;
    case SEG_LDTR:
        return !s->s && s->type == X86_SYS_LDT;
    case SEG_TR:
        return !s->s &&
               (s->type == SYS_TSS_AVAILABLE || (s->type == SYS_TSS_AVAILABLE_16 && !vcpu_long_mode(v)));
    default:
        return s->s && data_allowed(s, rpl, cpl);
    }
}

static bool null_selector(struct x86_vcpu *v, u16 selector, enum x86_segment which, u8 vector, unsigned cpl,
                          struct hv_segment *out)
{
    bool allowed = which != SEG_CS && which != SEG_TR;

    if (which == SEG_SS)
        allowed = v->emu.mode == EMU_LONG && cpl != 3 && (selector & X86_SEL_RPL_MASK) == cpl;
    if (!allowed)
        return emu_fault_e(v, vector, 0);
    *out = (struct hv_segment){.selector = selector, .unusable = 1};
    return true;
}

// Real mode keeps what is not the selector's; virtual-8086 mode has fixed attributes (SDM 20.1.1, 20.2.1).
static void real_segment(struct x86_vcpu *v, u16 selector, enum x86_segment which, struct hv_segment *out)
{
    vcpu_get_segment(v, which, out);
    out->selector = selector;
    out->base = (u64)selector << 4;
    if (v->emu.mode == EMU_V86)
        *out = (struct hv_segment){.base = out->base,
                                   .selector = selector,
                                   .limit = 0xffff,
                                   .type = 3,
                                   .s = 1,
                                   .dpl = 3,
                                   .present = 1};
}

// The descriptor's own mark that it is in use.
static bool mark(struct x86_vcpu *v, u64 at, u64 descriptor, enum x86_segment which, struct hv_segment *s)
{
    u64 wanted = descriptor | (which == SEG_TR ? DESC_BUSY : s->s ? DESC_ACCESSED : 0);

    s->type = wanted >> DESC_TYPE_SHIFT & 15;
    return wanted == descriptor || emu_write(v, at, &wanted, 8, WALK_IMPLICIT);
}

// System descriptors of IA-32e mode have 16 bytes (SDM 7.2.3).
static bool read_high_base(struct x86_vcpu *v, u64 at, struct hv_segment *s)
{
    u64 high = 0;

    if (!vcpu_long_mode(v) || s->s)
        return true;
    if (!emu_read(v, at + 8, &high, 8, WALK_IMPLICIT))
        return false;
    s->base |= high << 32;
    return is_canonical(s->base) || emu_fault_e(v, GP_VECTOR, s->selector & SELECTOR_ERROR_MASK);
}

bool emu_check_segment(struct x86_vcpu *v, u16 selector, enum x86_segment which, enum emu_load kind,
                       unsigned cpl, struct hv_segment *out)
{
    u8 vector = kind == LOAD_TASK ? TS_VECTOR : GP_VECTOR;
    u32 error = selector & SELECTOR_ERROR_MASK;
    u64 descriptor, at;

    if (!emu_protected(v) && which <= SEG_GS) {
        real_segment(v, selector, which, out);
        return true;
    }
    if (error == 0)
        return null_selector(v, selector, which, vector, cpl, out);
    if ((which == SEG_LDTR || which == SEG_TR) && (selector & X86_SEL_TI))
        return emu_fault_e(v, vector, error);
    if (!emu_read_descriptor(v, selector, vector, &descriptor, &at))
        return false;
    emu_segment_from_descriptor(descriptor, selector, out);
    if (which == SEG_CS && !out->s && kind <= LOAD_CALL)
        return emu_unhandled(v); // A gate, or a task.
    if (!type_allowed(v, out, which, kind, cpl))
        return emu_fault_e(v, vector, error);
    if (!out->present) {
        u8 absent = which == SEG_LDTR && kind == LOAD_TASK ? TS_VECTOR : NP_VECTOR;

        return emu_fault_e(v, which == SEG_SS ? SS_VECTOR : absent, error);
    }
    if (which == SEG_CS && (kind <= LOAD_CALL || kind == LOAD_INTERRUPT))
        out->selector = (u16)(error | cpl);
    return read_high_base(v, at, out) && mark(v, at, descriptor, which, out);
}

bool emu_load_segment(struct x86_vcpu *v, u16 selector, enum x86_segment which, enum emu_load kind,
                      unsigned cpl)
{
    struct hv_segment s;

    if (!emu_check_segment(v, selector, which, kind, cpl, &s))
        return false;
    vcpu_set_segment(v, which, &s);
    return true;
}

// --- Far transfers.

// Checks the target; emu_far_commit() goes there.
static bool far_target(struct x86_vcpu *v, u16 selector, u64 offset, enum emu_load kind,
                       struct hv_segment *cs)
{
    if (!emu_check_segment(v, selector, SEG_CS, kind, v->emu.cpl, cs))
        return false;
    if (kind == LOAD_RET && emu_protected(v) && (selector & X86_SEL_RPL_MASK) != v->emu.cpl)
        return emu_unhandled(v);
    if (vcpu_long_mode(v) && cs->l)
        return is_canonical(offset) || emu_fault_e(v, GP_VECTOR, 0);
    return offset <= cs->limit || emu_fault_e(v, GP_VECTOR, 0);
}

static void far_commit(struct x86_vcpu *v, const struct hv_segment *cs, u64 offset)
{
    vcpu_set_segment(v, SEG_CS, cs);
    v->emu.rip = offset;
}

// The pointer operand: in the instruction, or offset and then selector in memory.
bool emu_far_pointer(struct x86_vcpu *v, const struct operand *o, u16 *selector, u64 *offset)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.operand_bytes;
    u8 buffer[10];
    struct operand whole = *o;
    u64 linear;

    *offset = 0;
    if (o->kind == OPD_IMM) {
        *offset = e->d.immediate & size_mask(bytes);
        *selector = (u16)e->d.immediate2;
        return true;
    }
    whole.bytes = (u8)(bytes + 2);
    if (!emu_operand_linear(v, &whole, 0, &linear) || !emu_read(v, linear, buffer, bytes + 2, 0))
        return false;
    memcpy(offset, buffer, bytes);
    memcpy(selector, buffer + bytes, 2);
    return true;
}

bool emu_jmp_far(struct x86_vcpu *v)
{
    struct hv_segment cs;
    u16 selector;
    u64 offset;

    if (!emu_far_pointer(v, &v->emu.d.a, &selector, &offset) ||
        !far_target(v, selector, offset, LOAD_JMP, &cs))
        return false;
    far_commit(v, &cs, offset);
    return true;
}

bool emu_call_far(struct x86_vcpu *v)
{
    unsigned bytes = v->emu.d.operand_bytes;
    struct hv_segment cs;
    u16 selector;
    u64 offset;

    if (!emu_far_pointer(v, &v->emu.d.a, &selector, &offset) ||
        !far_target(v, selector, offset, LOAD_CALL, &cs) ||
        !emu_push_value(v, vcpu_segment_selector(v, SEG_CS), bytes) || !emu_push_value(v, v->emu.rip, bytes))
        return false;
    far_commit(v, &cs, offset);
    return true;
}

bool emu_ret_far(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.operand_bytes, stack = emu_stack_bytes(v);
    struct hv_segment cs;
    u64 offset, selector;

    if (!emu_pop_value(v, bytes, &offset) || !emu_pop_value(v, bytes, &selector) ||
        !far_target(v, (u16)selector, offset, LOAD_RET, &cs))
        return false;
    if (e->d.a.kind == OPD_IMM)
        emu_set_reg(v, GPR_RSP, stack, emu_reg(v, GPR_RSP) + (u16)e->d.immediate);
    far_commit(v, &cs, offset);
    return true;
}

// --- Interrupts.

bool emu_real_interrupt(struct x86_vcpu *v, u8 vector, u64 rip)
{
    struct emulation *e = &v->emu;
    u64 entry = 0, at = vmcs_read(GUEST_IDTR_BASE) + 4u * vector;

    if (4u * vector + 3 > vmcs_read32(GUEST_IDTR_LIMIT))
        return emu_fault_e(v, GP_VECTOR, 8u * vector | X86_ERROR_IDT);
    if (!emu_read(v, (u32)at, &entry, 4, WALK_IMPLICIT) || !emu_push_value(v, e->rflags, 2) ||
        !emu_push_value(v, vcpu_segment_selector(v, SEG_CS), 2) || !emu_push_value(v, rip, 2))
        return false;
    struct hv_segment cs;

    real_segment(v, (u16)(entry >> 16), SEG_CS, &cs);
    far_commit(v, &cs, entry & 0xffff);
    e->rflags &= ~(X86_RFLAGS_IF | X86_RFLAGS_TF | X86_RFLAGS_AC | X86_RFLAGS_RF);
    return true;
}

// An interrupt or trap gate of protected mode that leads to the same privilege (SDM 6.12.1).
static bool read_gate(struct x86_vcpu *v, u8 vector, bool soft, u64 *gate)
{
    u32 error = 8u * vector | X86_ERROR_IDT | (soft ? 0 : X86_ERROR_EXT);
    u64 at = vmcs_read(GUEST_IDTR_BASE) + 8u * vector;

    *gate = 0;
    if (8u * vector + 7 > vmcs_read32(GUEST_IDTR_LIMIT))
        return emu_fault_e(v, GP_VECTOR, error);
    if (!emu_read(v, (u32)at, gate, 8, WALK_IMPLICIT))
        return false;
    unsigned type = *gate >> DESC_TYPE_SHIFT & 0x1f, dpl = *gate >> DESC_DPL_SHIFT & 3;

    if (type == GATE_TASK)
        return emu_unhandled(v);
    if ((type & ~(GATE_IS_32 | GATE_IS_TRAP)) != GATE_INTERRUPT_16 || (soft && v->emu.cpl > dpl))
        return emu_fault_e(v, GP_VECTOR, error);
    return (*gate & DESC_PRESENT) || emu_fault_e(v, NP_VECTOR, error);
}

bool emu_protected_interrupt(struct x86_vcpu *v, u8 vector, bool soft, const u32 *error_code, u64 rip)
{
    struct emulation *e = &v->emu;
    struct hv_segment cs;
    u64 gate;

    if (vcpu_long_mode(v) || e->mode == EMU_V86)
        return emu_unhandled(v);
    if (!read_gate(v, vector, soft, &gate))
        return false;
    unsigned bytes = gate & (u64)GATE_IS_32 << DESC_TYPE_SHIFT ? 4 : 2;
    u64 target = (gate & 0xffff) | (bytes == 4 ? gate >> 32 & 0xffff0000 : 0);

    if (!emu_check_segment(v, (u16)(gate >> 16), SEG_CS, LOAD_INTERRUPT, e->cpl, &cs))
        return false;
    if (!(cs.type & X86_SEG_CONFORMING) && cs.dpl != e->cpl)
        return emu_unhandled(v); // To another stack.
    if (target > cs.limit)
        return emu_fault_e(v, GP_VECTOR, soft ? 0 : X86_ERROR_EXT);
    if (!emu_push_value(v, e->rflags, bytes) || !emu_push_value(v, vcpu_segment_selector(v, SEG_CS), bytes) ||
        !emu_push_value(v, rip, bytes) || (error_code != NULL && !emu_push_value(v, *error_code, bytes)))
        return false;
    far_commit(v, &cs, target);
    e->rflags &= ~(X86_RFLAGS_TF | X86_RFLAGS_NT | X86_RFLAGS_RF | X86_RFLAGS_VM |
                   (gate & (u64)GATE_IS_TRAP << DESC_TYPE_SHIFT ? 0 : X86_RFLAGS_IF));
    return true;
}

static bool soft_interrupt(struct x86_vcpu *v, u8 vector)
{
    return v->emu.mode == EMU_REAL ? emu_real_interrupt(v, vector, v->emu.rip)
                                   : emu_protected_interrupt(v, vector, true, NULL, v->emu.rip);
}

bool emu_int(struct x86_vcpu *v)
{
    return soft_interrupt(v, v->emu.d.op == INSN_INT3 ? BP_VECTOR : (u8)v->emu.d.immediate);
}

bool emu_into(struct x86_vcpu *v)
{
    return !(v->emu.rflags & X86_RFLAGS_OF) || soft_interrupt(v, OF_VECTOR);
}

#define IRET_FLAGS                                                                                           \
    (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF | X86_RFLAGS_TF |         \
     X86_RFLAGS_DF | X86_RFLAGS_OF | X86_RFLAGS_NT)

// Flags that IRET and POPF of `bytes` may write at this privilege (SDM vol. 2 POPF, table 4-15).
u64 emu_writable_flags(struct x86_vcpu *v, unsigned bytes)
{
    const struct emulation *e = &v->emu;
    unsigned iopl = (unsigned)((e->rflags & X86_RFLAGS_IOPL) >> X86_RFLAGS_IOPL_SHIFT);
    u64 flags = IRET_FLAGS | (bytes > 2 ? X86_RFLAGS_AC | X86_RFLAGS_ID : 0);

    if (e->cpl == 0)
        flags |= X86_RFLAGS_IOPL;
    return e->cpl <= iopl ? flags | X86_RFLAGS_IF : flags;
}

bool emu_iret(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.operand_bytes;
    u64 offset, selector, flags, mask = emu_writable_flags(v, bytes) | (bytes > 2 ? X86_RFLAGS_RF : 0);
    struct hv_segment cs;

    if (e->mode == EMU_LONG || (emu_protected(v) && (e->rflags & X86_RFLAGS_NT)))
        return emu_unhandled(v);
    if (e->mode == EMU_V86 && (e->rflags & X86_RFLAGS_IOPL) != X86_RFLAGS_IOPL)
        return emu_fault_e(v, GP_VECTOR, 0);
    if (!emu_pop_value(v, bytes, &offset) || !emu_pop_value(v, bytes, &selector) ||
        !emu_pop_value(v, bytes, &flags))
        return false;
    if (emu_protected(v) && (flags & X86_RFLAGS_VM) && bytes > 2)
        return emu_unhandled(v);
    if (!far_target(v, (u16)selector, offset, LOAD_RET, &cs))
        return false;
    far_commit(v, &cs, offset);
    e->rflags = (e->rflags & ~mask) | (flags & mask) | X86_RFLAGS_FIXED;
    set_nmi_mask(v, false); // SDM 6.7.1.
    return true;
}
