// SPDX-License-Identifier: Apache-2.0
// Far control transfers (SDM 5.8, 7.3; vol. 2: JMP, CALL, RET, IRET).
#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"

static enum insn_result fault(struct vmx *v, unsigned vector, uint32_t error)
{
    return insn_fault(v->cpu, vector, error);
}

static uint64_t next_rip(const struct vmx *v, const struct uop *u)
{
    return block_running(v)->rip + u->offset + u->length;
}

// The far pointer of the instruction: immediate, or in memory as offset and selector.
static enum insn_result far_pointer(struct vmx *v, const struct uop *u, uint16_t *selector, uint64_t *offset)
{
    uint64_t at = effective_address(v, u), value = 0;
    enum insn_result r = INSN_DONE;

    if (u->kind[0] == OPERAND_IMM) {
        *selector = (uint16_t)u->imm;
        *offset = (uint64_t)u->disp;
        return INSN_DONE;
    }
    r = operand_load(v, u, (enum segment_name)u->segment, at, u->size, offset);
    if (r == INSN_DONE)
        r = operand_load(v, u, (enum segment_name)u->segment, (at + u->size) & size_mask(u->address_size), 2,
                         &value);
    *selector = (uint16_t)value;
    return r;
}

// Offset within a code segment that is about to be loaded.
static bool offset_ok(const struct vmx *v, const struct descriptor *code, uint64_t offset)
{
    if (guest_long(v) && (code->segment.ar & AR_L))
        return x86_canonical(v->cpu, offset);
    return offset <= code->segment.limit;
}

static bool long_code_ok(const struct vmx *v, const struct descriptor *code)
{
    return !guest_long(v) || (code->segment.ar & (AR_L | AR_DB)) != (AR_L | AR_DB);
}

// A code segment by a direct transfer: the same CPL (SDM 5.8.1).
static enum insn_result check_direct(struct vmx *v, uint16_t selector, const struct descriptor *code)
{
    unsigned cpl = segment_cpl(v), rpl = selector & SELECTOR_RPL, dpl = descriptor_dpl(code);
    bool conforming = descriptor_type(code) & TYPE_CONFORMING;

    if (conforming ? dpl > cpl : rpl > cpl || dpl != cpl)
        return fault(v, GP_VECTOR, SELECTOR_ERROR(selector));
    if (!long_code_ok(v, code))
        return fault(v, GP_VECTOR, SELECTOR_ERROR(selector));
    return descriptor_present(code) ? INSN_DONE : fault(v, NP_VECTOR, SELECTOR_ERROR(selector));
}

static enum insn_result arrive(struct vmx *v, uint16_t selector, struct descriptor *code, uint64_t offset,
                               unsigned cpl)
{
    enum insn_result r = descriptor_accessed(v, code);

    if (r != INSN_DONE)
        return r;
    segment_put(v, SEG_CS, (uint16_t)((selector & ~SELECTOR_RPL) | cpl), &code->segment);
    v->rip = offset;
    return INSN_BRANCH;
}

static enum insn_result arrive_real(struct vmx *v, uint16_t selector, uint64_t offset)
{
    if (offset > v->seg[SEG_CS].limit)
        return fault(v, GP_VECTOR, 0);
    segment_put_real(v, SEG_CS, selector);
    v->rip = offset;
    return INSN_BRANCH;
}

// --- JMP and CALL. ---

static enum insn_result push_return(struct vmx *v, const struct uop *u, unsigned size)
{
    uint64_t rsp = v->gpr.r[REG_RSP];
    enum insn_result r = stack_push(v, u, size, v->seg[SEG_CS].selector);

    if (r == INSN_DONE)
        r = stack_push(v, u, size, next_rip(v, u));
    if (r != INSN_DONE && r != INSN_FAULT)
        v->gpr.r[REG_RSP] = rsp;
    return r;
}

static enum insn_result direct(struct vmx *v, const struct uop *u, uint16_t selector, struct descriptor *code,
                               uint64_t offset, bool call)
{
    enum insn_result r = check_direct(v, selector, code);

    if (r != INSN_DONE)
        return r;
    if (!offset_ok(v, code, offset))
        return fault(v, GP_VECTOR, 0);
    if (call)
        r = push_return(v, u, u->size);
    return r == INSN_DONE ? arrive(v, selector, code, offset, segment_cpl(v)) : r;
}

// What a call gate to an inner level copies from the outer stack, and pushes (SDM 5.8.5).
static enum insn_result inner_frame(struct vmx *v, const struct uop *u, const struct descriptor *gate,
                                    const struct segment *ss, uint64_t *rsp, unsigned size)
{
    uint64_t values[2 + 31 + 2], mask = ss->ar & AR_DB ? UINT32_MAX : 0xffff;
    unsigned count = 0, parameters = guest_long(v) ? 0 : gate->low >> 32 & 31;
    enum insn_result r = INSN_DONE;

    values[count++] = v->seg[SEG_SS].selector;
    values[count++] = v->gpr.r[REG_RSP];
    for (unsigned i = parameters; i-- > 0 && r == INSN_DONE;)
        r = stack_peek(v, u, size, i * size, &values[count++]);
    values[count++] = v->seg[SEG_CS].selector;
    values[count++] = next_rip(v, u);
    if (guest_long(v))
        mask = UINT64_MAX;
    for (unsigned i = 0; i < count && r == INSN_DONE; i++) {
        *rsp = (*rsp & ~mask) | ((*rsp - size) & mask);
        r = system_write(v, ss->base + (*rsp & mask), size, values[i]);
    }
    return r;
}

static enum insn_result call_inner(struct vmx *v, const struct uop *u, const struct descriptor *gate,
                                   uint16_t selector, struct descriptor *code, unsigned size)
{
    unsigned dpl = descriptor_dpl(code);
    struct descriptor ss = {.segment = {.ar = AR_UNUSABLE | dpl << AR_DPL_SHIFT}};
    uint16_t ss_selector = (uint16_t)dpl;
    uint64_t rsp;
    enum insn_result r;

    if (guest_long(v)) {
        r = tss_stack64(v, dpl, 0, 0, &rsp);
    } else {
        r = tss_stack(v, dpl, 0, &ss_selector, &rsp);
        if (r == INSN_DONE)
            r = stack_segment(v, ss_selector, dpl, TS_VECTOR, 0, &ss);
    }
    if (r != INSN_DONE)
        return r;
    if (!offset_ok(v, code, gate_offset(gate)))
        return fault(v, GP_VECTOR, 0);
    r = inner_frame(v, u, gate, &ss.segment, &rsp, size);
    if (r != INSN_DONE)
        return r;
    segment_put(v, SEG_SS, ss_selector, &ss.segment);
    v->gpr.r[REG_RSP] = rsp;
    return arrive(v, selector, code, gate_offset(gate), dpl);
}

static unsigned gate_size(const struct vmx *v, const struct descriptor *gate)
{
    if (guest_long(v))
        return 8;
    return descriptor_type(gate) == TYPE_CALL_GATE32 ? 4 : 2;
}

static enum insn_result through_gate(struct vmx *v, const struct uop *u, const struct descriptor *gate,
                                     bool call)
{
    uint16_t selector = gate_selector(gate);
    unsigned cpl = segment_cpl(v), dpl, size = gate_size(v, gate);
    struct descriptor code;
    bool conforming;
    enum insn_result r;

    if (SELECTOR_NULL(selector))
        return fault(v, GP_VECTOR, 0);
    r = descriptor_read(v, selector, GP_VECTOR, 0, &code);
    if (r != INSN_DONE)
        return r;
    dpl = descriptor_dpl(&code);
    conforming = descriptor_type(&code) & TYPE_CONFORMING;
    if (!descriptor_code(&code) || dpl > cpl || (!call && !conforming && dpl != cpl))
        return fault(v, GP_VECTOR, SELECTOR_ERROR(selector));
    if (guest_long(v) && (code.segment.ar & (AR_L | AR_DB)) != AR_L)
        return fault(v, GP_VECTOR, SELECTOR_ERROR(selector));
    if (!descriptor_present(&code))
        return fault(v, NP_VECTOR, SELECTOR_ERROR(selector));
    if (call && !conforming && dpl < cpl)
        return call_inner(v, u, gate, selector, &code, size);
    if (!offset_ok(v, &code, gate_offset(gate)))
        return fault(v, GP_VECTOR, 0);
    if (call)
        r = push_return(v, u, size);
    return r == INSN_DONE ? arrive(v, selector, &code, gate_offset(gate), cpl) : r;
}

// A system descriptor: call gate, task gate, TSS.
static enum insn_result through_system(struct vmx *v, const struct uop *u, uint16_t selector,
                                       const struct descriptor *d, bool call)
{
    unsigned type = descriptor_type(d), source = call ? QUAL_TASK_SOURCE_CALL : QUAL_TASK_SOURCE_JMP;
    bool gate = type == TYPE_CALL_GATE32 || (type == TYPE_CALL_GATE16 && !guest_long(v));
    bool task = !guest_long(v) && (type == TYPE_TASK_GATE || type == TYPE_TSS16 || type == TYPE_TSS32);
    unsigned cpl = segment_cpl(v), rpl = selector & SELECTOR_RPL;

    if ((!gate && !task) || descriptor_dpl(d) < cpl || rpl > descriptor_dpl(d))
        return fault(v, GP_VECTOR, SELECTOR_ERROR(selector));
    if (!descriptor_present(d))
        return fault(v, NP_VECTOR, SELECTOR_ERROR(selector));
    if (gate)
        return through_gate(v, u, d, call);
    return task_switch(v, type == TYPE_TASK_GATE ? gate_selector(d) : selector, source, u->length);
}

static enum insn_result transfer(struct vmx *v, const struct uop *u, bool call)
{
    struct descriptor d;
    uint16_t selector;
    uint64_t offset;
    enum insn_result r = far_pointer(v, u, &selector, &offset);

    if (r != INSN_DONE)
        return r;
    uop_at(v, u);
    if (!guest_protected(v)) {
        if (offset > v->seg[SEG_CS].limit)
            return fault(v, GP_VECTOR, 0);
        r = call ? push_return(v, u, u->size) : INSN_DONE;
        return r == INSN_DONE ? arrive_real(v, selector, offset) : r;
    }
    if (SELECTOR_NULL(selector))
        return fault(v, GP_VECTOR, 0);
    r = descriptor_read(v, selector, GP_VECTOR, 0, &d);
    if (r != INSN_DONE)
        return r;
    if (descriptor_code(&d))
        return direct(v, u, selector, &d, offset, call);
    if (!descriptor_system(&d))
        return fault(v, GP_VECTOR, SELECTOR_ERROR(selector));
    return through_system(v, u, selector, &d, call);
}

static enum insn_result jmp_far(struct vmx *v, const struct uop *u)
{
    return transfer(v, u, false);
}

static enum insn_result call_far(struct vmx *v, const struct uop *u)
{
    return transfer(v, u, true);
}

static uop_fn choose_far(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    const cs_x86 *x = &in->detail->x86;

    u->flags |= UOP_ENDS;
    // Operand size by CS and prefixes; in 64-bit mode REX.W makes it 64.
    if (u->code_size == CODE_64)
        u->size = x->rex & 8 ? 8 : x->prefix[2] == X86_PREFIX_OPSIZE ? 2 : 4;
    else
        u->size = (u->code_size == CODE_32) != (x->prefix[2] == X86_PREFIX_OPSIZE) ? 4 : 2;
    if (u->kind[0] == OPERAND_IMM) { // Selector first, then the offset.
        u->imm = (uint64_t)x->operands[0].imm;
        u->disp = (int64_t)((uint64_t)x->operands[1].imm & size_mask(u->size));
    }
    return u->flags & UOP_LOCK ? NULL : row->fn;
}

// --- RET far and IRET: back to the same level, or an outer one. ---

// A frame on the current stack; nothing of it is popped before all is well.
static enum insn_result return_frame(struct vmx *v, const struct uop *u, unsigned skip, uint64_t *rip,
                                     uint64_t *cs)
{
    enum insn_result r = stack_peek(v, u, u->size, skip, rip);

    return r == INSN_DONE ? stack_peek(v, u, u->size, skip + u->size, cs) : r;
}

static enum insn_result check_return(struct vmx *v, uint16_t selector, struct descriptor *code)
{
    unsigned cpl = segment_cpl(v), rpl = selector & SELECTOR_RPL;
    uint32_t error = SELECTOR_ERROR(selector);
    enum insn_result r;
    bool conforming;

    if (SELECTOR_NULL(selector))
        return fault(v, GP_VECTOR, 0);
    r = descriptor_read(v, selector, GP_VECTOR, 0, code);
    if (r != INSN_DONE)
        return r;
    conforming = descriptor_type(code) & TYPE_CONFORMING;
    if (!descriptor_code(code) || rpl < cpl ||
        (conforming ? descriptor_dpl(code) > rpl : descriptor_dpl(code) != rpl) || !long_code_ok(v, code))
        return fault(v, GP_VECTOR, error);
    return descriptor_present(code) ? INSN_DONE : fault(v, NP_VECTOR, error);
}

// SS of the level returned to: null is allowed in 64-bit mode but for ring 3.
static enum insn_result return_stack(struct vmx *v, uint16_t ss, unsigned rpl, const struct descriptor *code,
                                     struct descriptor *d)
{
    bool to_64 = guest_long(v) && (code->segment.ar & AR_L);

    if (SELECTOR_NULL(ss) && to_64 && rpl < 3 && (ss & SELECTOR_RPL) == rpl) {
        *d = (struct descriptor){.segment = {.ar = AR_UNUSABLE | rpl << AR_DPL_SHIFT}};
        return INSN_DONE;
    }
    return stack_segment(v, ss, rpl, GP_VECTOR, 0, d);
}

// `skip`: bytes of the stack above CS:IP and flags; `release`: of the outer stack (RET imm).
static enum insn_result return_outer(struct vmx *v, const struct uop *u, uint16_t cs, struct descriptor *code,
                                     uint64_t rip, unsigned skip, uint64_t release)
{
    unsigned rpl = cs & SELECTOR_RPL;
    uint64_t rsp, ss;
    struct descriptor d;
    enum insn_result r = stack_peek(v, u, u->size, skip, &rsp);

    if (r == INSN_DONE)
        r = stack_peek(v, u, u->size, skip + u->size, &ss);
    if (r == INSN_DONE)
        r = return_stack(v, (uint16_t)ss, rpl, code, &d);
    if (r == INSN_DONE)
        r = descriptor_accessed(v, code);
    if (r != INSN_DONE)
        return r;
    segment_put(v, SEG_CS, cs, &code->segment);
    v->rip = rip;
    segment_put(v, SEG_SS, (uint16_t)ss, &d.segment);
    v->seg[SEG_SS].ar = (v->seg[SEG_SS].ar & ~AR_DPL_MASK) | rpl << AR_DPL_SHIFT;
    cpl_changed(v);
    rsp += release;
    // Only as much of ESP as the new stack has is written.
    reg_write(v, REG_RSP, guest_long(v) && (code->segment.ar & AR_L) ? 8 : d.segment.ar & AR_DB ? 4 : 2, rsp);
    segments_check_outer(v);
    return INSN_BRANCH;
}

static enum insn_result ret_far(struct vmx *v, const struct uop *u)
{
    uint64_t rip, cs, release = u->kind[0] == OPERAND_IMM ? u->imm & 0xffff : 0;
    struct descriptor code;
    enum insn_result r = return_frame(v, u, 0, &rip, &cs);

    if (r != INSN_DONE)
        return r;
    uop_at(v, u);
    if (!guest_protected(v)) {
        r = arrive_real(v, (uint16_t)cs, rip);
        if (r == INSN_BRANCH)
            stack_drop(v, u, 2u * u->size + release);
        return r;
    }
    r = check_return(v, (uint16_t)cs, &code);
    if (r != INSN_DONE)
        return r;
    if (!offset_ok(v, &code, rip))
        return fault(v, GP_VECTOR, 0);
    if ((cs & SELECTOR_RPL) > segment_cpl(v))
        return return_outer(v, u, (uint16_t)cs, &code, rip, 2u * u->size + (unsigned)release, release);
    r = arrive(v, (uint16_t)cs, &code, rip, segment_cpl(v));
    if (r == INSN_BRANCH)
        stack_drop(v, u, 2u * u->size + release);
    return r;
}

// --- IRET (SDM vol. 2). ---

// Flags that IRET at `cpl` may write.
static uint64_t iret_flags(const struct vmx *v, const struct uop *u, unsigned cpl)
{
    uint64_t mask = FLAGS_ARITHMETIC | X86_RFLAGS_TF | X86_RFLAGS_DF | X86_RFLAGS_NT;

    if (u->size > 2)
        mask |= X86_RFLAGS_RF | X86_RFLAGS_AC | X86_RFLAGS_ID;
    if (cpl <= (v->rflags & X86_RFLAGS_IOPL) >> X86_RFLAGS_IOPL_SHIFT)
        mask |= X86_RFLAGS_IF;
    if (cpl == 0)
        mask |= X86_RFLAGS_IOPL | (u->size > 2 ? X86_RFLAGS_VIF | X86_RFLAGS_VIP : 0);
    return mask;
}

static enum insn_result iret_real(struct vmx *v, const struct uop *u, uint64_t rip, uint64_t cs,
                                  uint64_t flags)
{
    uint64_t mask = iret_flags(v, u, 0);
    enum insn_result r;

    if (guest_v86(v)) {
        if ((v->rflags & X86_RFLAGS_IOPL) != X86_RFLAGS_IOPL)
            return fault(v, GP_VECTOR, 0);
        mask &= ~X86_RFLAGS_IOPL;
    }
    r = arrive_real(v, (uint16_t)cs, rip);
    if (r == INSN_BRANCH) {
        stack_drop(v, u, 3u * u->size);
        flags_set(v, mask, flags);
    }
    return r;
}

// Into virtual-8086 mode: six more words of segments and the stack (SDM 20.2.3).
static enum insn_result iret_to_v86(struct vmx *v, const struct uop *u, uint64_t rip, uint64_t cs,
                                    uint64_t flags)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint64_t rsp, ss, data[4];
    enum insn_result r = stack_peek(v, u, 4, 12, &rsp);

    if (r == INSN_DONE)
        r = stack_peek(v, u, 4, 16, &ss);
    for (unsigned i = 0; i < 4 && r == INSN_DONE; i++)
        r = stack_peek(v, u, 4, 20 + 4 * i, &data[i]);
    if (r != INSN_DONE)
        return r;
    flags_set(v, UINT32_MAX & ~X86_RFLAGS_RESERVED_0, flags);
    v->rflags |= X86_RFLAGS_FIXED;
    segment_put_real(v, SEG_CS, (uint16_t)cs);
    segment_put_real(v, SEG_SS, (uint16_t)ss);
    for (unsigned i = 0; i < 4; i++)
        segment_put_real(v, (enum segment_name)order[i], (uint16_t)data[i]);
    cpl_changed(v);
    v->gpr.r[REG_RSP] = (uint32_t)rsp;
    v->rip = rip & 0xffff;
    return INSN_BRANCH;
}

static enum insn_result iret_protected(struct vmx *v, const struct uop *u, uint64_t rip, uint64_t cs,
                                       uint64_t flags)
{
    unsigned cpl = segment_cpl(v);
    uint64_t mask = iret_flags(v, u, cpl);
    struct descriptor code;
    enum insn_result r;

    if (!guest_long(v) && (v->rflags & X86_RFLAGS_NT)) {
        uint64_t link;

        r = system_read(v, v->seg[SEG_TR].base, 2, &link);
        return r == INSN_DONE ? task_switch(v, (uint16_t)link, QUAL_TASK_SOURCE_IRET, u->length) : r;
    }
    if (guest_long(v) && (v->rflags & X86_RFLAGS_NT))
        return fault(v, GP_VECTOR, 0);
    if (!guest_long(v) && u->size == 4 && (flags & X86_RFLAGS_VM) && cpl == 0)
        return iret_to_v86(v, u, rip, cs, flags);
    r = check_return(v, (uint16_t)cs, &code);
    if (r != INSN_DONE)
        return r;
    if (!offset_ok(v, &code, rip))
        return fault(v, GP_VECTOR, 0);
    // 64-bit mode always pops SS:RSP.
    if (u->code_size == CODE_64 || (cs & SELECTOR_RPL) > cpl) {
        r = return_outer(v, u, (uint16_t)cs, &code, rip, 3u * u->size, 0);
    } else {
        r = arrive(v, (uint16_t)cs, &code, rip, cpl);
        if (r == INSN_BRANCH)
            stack_drop(v, u, 3u * u->size);
    }
    if (r == INSN_BRANCH)
        flags_set(v, mask, flags);
    return r;
}

static enum insn_result iret(struct vmx *v, const struct uop *u)
{
    struct pcpu *c = v->cpu;
    uint64_t rip, cs, flags;
    enum insn_result r = return_frame(v, u, 0, &rip, &cs);

    if (r == INSN_DONE)
        r = stack_peek(v, u, u->size, 2u * u->size, &flags);
    if (r != INSN_DONE)
        return r;
    uop_at(v, u);
    flags_settle(v);
    pcpu_charge_cycles(c, c->uarch->op.iret_cycles);
    r = guest_protected(v) ? iret_protected(v, u, rip, cs, flags) : iret_real(v, u, rip, cs, flags);
    if (r == INSN_BRANCH) {
        vmx_unblock_nmi(c);
        cpl_changed(v); // And RFLAGS.AC.
    }
    return r;
}

static uop_fn choose_return(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    const cs_x86 *x = &in->detail->x86;

    u->flags |= UOP_ENDS;
    if (in->id == X86_INS_RETFQ || in->id == X86_INS_IRETQ || (u->code_size == CODE_64 && (x->rex & 8)))
        u->size = 8;
    else if (u->code_size == CODE_16)
        u->size = x->prefix[2] == X86_PREFIX_OPSIZE ? 4 : 2;
    else
        u->size = x->prefix[2] == X86_PREFIX_OPSIZE ? 2 : 4;
    return u->flags & UOP_LOCK ? NULL : row->fn;
}

const struct uop_row exec_far_rows[] = {
    {X86_INS_LJMP, choose_far, jmp_far},    {X86_INS_LCALL, choose_far, call_far},
    {X86_INS_RETF, choose_return, ret_far}, {X86_INS_RETFQ, choose_return, ret_far},
    {X86_INS_IRET, choose_return, iret},    {X86_INS_IRETD, choose_return, iret},
    {X86_INS_IRETQ, choose_return, iret},
};
const unsigned exec_far_count = sizeof exec_far_rows / sizeof *exec_far_rows;
