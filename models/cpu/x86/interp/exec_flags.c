// SPDX-License-Identifier: Apache-2.0
// Flags as values, and the stack's larger operations (SDM vol. 1 7.3.13, 7.3.1.2).
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

static enum insn_result carry(struct vmx *v, const struct uop *u)
{
    bool cf = u->id == X86_INS_STC || (u->id == X86_INS_CMC && !flags_cf(v));

    flags_set(v, X86_RFLAGS_CF, cf ? X86_RFLAGS_CF : 0);
    return INSN_DONE;
}

// AL from CF, as every processor does (opcode D6, undocumented).
static enum insn_result salc(struct vmx *v, const struct uop *u)
{
    (void)u;
    v->gpr.r[REG_RAX] = (v->gpr.r[REG_RAX] & ~0xffull) | (flags_cf(v) ? 0xff : 0);
    return INSN_DONE;
}

static enum insn_result direction(struct vmx *v, const struct uop *u)
{
    v->rflags = (v->rflags & ~(uint64_t)X86_RFLAGS_DF) | (u->id == X86_INS_STD ? X86_RFLAGS_DF : 0);
    return INSN_DONE;
}

#define LOW_FLAGS (X86_RFLAGS_CF | X86_RFLAGS_PF | X86_RFLAGS_AF | X86_RFLAGS_ZF | X86_RFLAGS_SF)

static enum insn_result lahf(struct vmx *v, const struct uop *u)
{
    (void)u;
    flags_settle(v);
    reg_write(v, REG_RAX | REG_HIGH, 1, (v->rflags & LOW_FLAGS) | X86_RFLAGS_FIXED);
    return INSN_DONE;
}

static enum insn_result sahf(struct vmx *v, const struct uop *u)
{
    (void)u;
    flags_set(v, LOW_FLAGS, reg_read(v, REG_RAX | REG_HIGH, 1));
    return INSN_DONE;
}

// --- PUSHF, POPF (SDM vol. 2). ---

static bool v86(const struct vmx *v)
{
    return v->rflags & X86_RFLAGS_VM;
}

static unsigned iopl(const struct vmx *v)
{
    return (v->rflags & X86_RFLAGS_IOPL) >> X86_RFLAGS_IOPL_SHIFT;
}

static enum insn_result pushf(struct vmx *v, const struct uop *u)
{
    if (v86(v) && iopl(v) < 3)
        return uop_fault(v, u, GP_VECTOR, 0);
    flags_settle(v);
    return stack_push(v, u, u->size, v->rflags & ~(uint64_t)(X86_RFLAGS_VM | X86_RFLAGS_RF));
}

static enum insn_result popf(struct vmx *v, const struct uop *u)
{
    uint64_t value, mask = FLAGS_ARITHMETIC | X86_RFLAGS_TF | X86_RFLAGS_DF | X86_RFLAGS_NT;
    enum insn_result r;

    if (v86(v) && iopl(v) < 3)
        return uop_fault(v, u, GP_VECTOR, 0);
    r = stack_peek(v, u, u->size, 0, &value);
    if (r != INSN_DONE)
        return r;
    if (u->size > 2)
        mask |= X86_RFLAGS_AC | X86_RFLAGS_ID | X86_RFLAGS_RF;
    if (segment_cpl(v) <= iopl(v))
        mask |= X86_RFLAGS_IF;
    if (segment_cpl(v) == 0)
        mask |= X86_RFLAGS_IOPL;
    stack_drop(v, u, u->size);
    flags_set(v, mask, value & ~(uint64_t)X86_RFLAGS_RF);
    guest_space_ac(v->cpu);
    return INSN_DONE;
}

static uop_fn choose_flags(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->size = (uint8_t)decode_stack_size(u, in);
    if (in->id == X86_INS_POPF || in->id == X86_INS_POPFD || in->id == X86_INS_POPFQ)
        u->flags |= UOP_ENDS; // TF or IF may have changed.
    return row->fn;
}

// --- PUSHA, POPA, ENTER, XLAT. ---

static enum insn_result pusha(struct vmx *v, const struct uop *u)
{
    uint64_t rsp = v->gpr.r[REG_RSP];

    for (unsigned i = 0; i < 8; i++) {
        enum insn_result r = stack_push(v, u, u->size, i == REG_RSP ? rsp : v->gpr.r[i]);

        if (r != INSN_DONE) {
            if (r != INSN_FAULT)
                v->gpr.r[REG_RSP] = rsp;
            return r;
        }
    }
    return INSN_DONE;
}

static enum insn_result popa(struct vmx *v, const struct uop *u)
{
    uint64_t value[8];

    for (unsigned i = 0; i < 8; i++) {
        enum insn_result r = stack_peek(v, u, u->size, i * u->size, &value[7 - i]);

        if (r != INSN_DONE)
            return r;
    }
    stack_drop(v, u, 8u * u->size);
    for (unsigned i = 0; i < 8; i++)
        if (i != REG_RSP)
            reg_write(v, i, u->size, value[i]);
    return INSN_DONE;
}

// Pushes the frame pointer, and those of `levels` - 1 outer frames (SDM vol. 2, ENTER).
static enum insn_result enter_nested(struct vmx *v, const struct uop *u, unsigned levels, uint64_t frame)
{
    uint64_t bp = reg_read(v, REG_RBP, u->stack_size);

    for (unsigned i = 1; i < levels; i++) {
        uint64_t outer;
        enum insn_result r =
            operand_load(v, u, SEG_SS, (bp - i * u->size) & size_mask(u->stack_size), u->size, &outer);

        if (r == INSN_DONE)
            r = stack_push(v, u, u->size, outer);
        if (r != INSN_DONE)
            return r;
    }
    return levels ? stack_push(v, u, u->size, frame) : INSN_DONE;
}

static enum insn_result enter(struct vmx *v, const struct uop *u)
{
    uint64_t rsp = v->gpr.r[REG_RSP], frame, unused;
    enum insn_result r = stack_push(v, u, u->size, v->gpr.r[REG_RBP]);

    frame = v->gpr.r[REG_RSP];
    if (r == INSN_DONE)
        r = enter_nested(v, u, (unsigned)u->disp & 31, frame);
    // The new frame's end is touched as by a store.
    if (r == INSN_DONE)
        r = operand_load(v, u, SEG_SS, stack_offset(v, u, -(int64_t)u->imm), u->size, &unused);
    if (r != INSN_DONE) {
        if (r != INSN_FAULT)
            v->gpr.r[REG_RSP] = rsp;
        return r;
    }
    reg_write(v, REG_RBP, u->size, frame);
    stack_drop(v, u, 0 - u->imm);
    return INSN_DONE;
}

static uop_fn choose_enter(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->size = (uint8_t)decode_stack_size(u, in);
    u->imm = (uint64_t)in->detail->x86.operands[0].imm & 0xffff;
    u->disp = in->detail->x86.operands[1].imm & 0xff;
    return row->fn;
}

static enum insn_result xlat(struct vmx *v, const struct uop *u)
{
    uint64_t value, at = v->gpr.r[REG_RBX] + (uint8_t)v->gpr.r[REG_RAX];
    enum insn_result r =
        operand_load(v, u, (enum segment_name)u->segment, at & size_mask(u->address_size), 1, &value);

    if (r == INSN_DONE)
        reg_write(v, REG_RAX, 1, value);
    return r;
}

static uop_fn choose_xlat(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->segment = (uint8_t)decode_segment(u, in, SEG_DS);
    return row->fn;
}

const struct uop_row exec_flags_rows[] = {
    {X86_INS_CLC, NULL, carry},
    {X86_INS_STC, NULL, carry},
    {X86_INS_CMC, NULL, carry},
    {X86_INS_SALC, NULL, salc},
    {X86_INS_CLD, NULL, direction},
    {X86_INS_STD, NULL, direction},
    {X86_INS_LAHF, NULL, lahf},
    {X86_INS_SAHF, NULL, sahf},
    {X86_INS_PUSHF, choose_flags, pushf},
    {X86_INS_PUSHFD, choose_flags, pushf},
    {X86_INS_PUSHFQ, choose_flags, pushf},
    {X86_INS_POPF, choose_flags, popf},
    {X86_INS_POPFD, choose_flags, popf},
    {X86_INS_POPFQ, choose_flags, popf},
    {X86_INS_PUSHAW, choose_flags, pusha},
    {X86_INS_PUSHAL, choose_flags, pusha},
    {X86_INS_POPAW, choose_flags, popa},
    {X86_INS_POPAL, choose_flags, popa},
    {X86_INS_ENTER, choose_enter, enter},
    {X86_INS_XLATB, choose_xlat, xlat},
};
const unsigned exec_flags_count = sizeof exec_flags_rows / sizeof *exec_flags_rows;
