// SPDX-License-Identifier: Apache-2.0
//
// Classes of SSE, MMX and x87 instructions.

#include "models/cpu/native/price_internal.h"

#define TO(name) (c->by_id[PRICE_CLASS_##name])

// --- SSE, MMX and x87. A memory operand is a source unless a rule says that it is given something. ---

static void only_load(struct price_insn *p)
{
    p->load |= p->store;
    p->store = false;
}

static void only_store(struct price_insn *p)
{
    p->store |= p->load;
    p->load = false;
}

void classify_vector(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *a = price_operand(in, 0), *b = price_operand(in, 1);
    bool clears = in->id == X86_INS_PXOR || in->id == X86_INS_XORPS || in->id == X86_INS_XORPD;

    only_load(p);
    if (clears && price_is_reg(a) && price_is_reg(b) && a->reg == b->reg) {
        p->class = TO(zero_idiom);
        p->vector_reads = 0;
    }
}

void classify_vector_give(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    (void)in, (void)c;
    only_store(p);
}

static bool is_xmm(const cs_x86_op *o)
{
    return price_is_reg(o) && o->reg >= X86_REG_XMM0 && o->reg < X86_REG_XMM0 + 16;
}

void classify_vector_move(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    const cs_x86_op *a = price_operand(in, 0), *b = price_operand(in, 1);
    bool whole = in->id != X86_INS_MOVSS && in->id != X86_INS_MOVSD && in->id != X86_INS_MOVQ;

    if (p->load || p->store) {
        if (a->type == X86_OP_MEM)
            only_store(p);
        else
            only_load(p);
        // Half a register loaded is merged into the other half.
        if (p->store || in->id < X86_INS_MOVHPD || in->id > X86_INS_MOVLPS)
            p->class = NULL;
    } else if (is_xmm(a) && is_xmm(b)) {
        if (whole && c->u->front_end.move_elimination)
            p->class = TO(move_eliminated);
    } else if (price_is_reg(b) && (price_reg_of(b->reg).bit & 0xffff)) {
        p->class = TO(vector_from_general);
    } else if (price_is_reg(a) && (price_reg_of(a->reg).bit & 0xffff)) {
        p->class = TO(vector_to_general);
    }
}

void classify_vector_shift(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    only_load(p);
    if (price_operand(in, 1)->type != X86_OP_IMM)
        p->class = TO(vector_shift_count);
}

// One after the other: the stack's top is what they have in common.
void classify_x87(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    (void)c;
    only_load(p);
    p->vector_reads |= PRICE_X87;
    p->vector_writes |= PRICE_X87;
    p->writes |= PRICE_OTHER;
    if (in->id == X86_INS_FLD && p->load)
        p->class = NULL;
}

void classify_x87_store(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    (void)c;
    only_store(p);
    p->vector_reads |= PRICE_X87;
    p->vector_writes |= PRICE_X87;
    p->writes |= PRICE_OTHER;
    if (p->store && (in->id == X86_INS_FST || in->id == X86_INS_FSTP))
        p->class = NULL;
}

// Areas of many lines: the class has their loads and stores.
void classify_x87_state(struct price_insn *p, const cs_insn *in, const struct price_classes *c)
{
    (void)in, (void)c;
    p->load = p->store = false;
    p->vector_reads |= PRICE_X87;
    p->vector_writes |= PRICE_X87;
    p->writes |= PRICE_OTHER;
}
