// SPDX-License-Identifier: Apache-2.0
// System instructions: their operands, for models/cpu/x86/insn.h, which carries them out. Each ends its
// block: mode, privilege, translation or time may be others behind it.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

// --- Operands. ---

static struct insn_operand operand_of(const struct vmx *v, const struct uop *u, unsigned n)
{
    struct insn_operand o = {.memory = u->kind[n] == OPERAND_MEMORY, .reg = u->reg[n], .size = u->size};

    if (!o.memory)
        return o;
    o.segment = (enum segment_name)u->segment;
    o.offset = effective_address(v, u);
    o.displacement = (uint64_t)u->disp;
    o.info =
        insn_memory_info(u->base == REG_NONE ? INSN_NO_REG : u->base,
                         u->index == REG_NONE ? INSN_NO_REG : u->index, u->scale, u->address_size, o.segment);
    return o;
}

// `operand` declares `o`, where `call` names it.
#define CARRY_OUT(name, operand, call)                                                                       \
    static enum insn_result name(struct vmx *v, const struct uop *u)                                         \
    {                                                                                                        \
        struct pcpu *c = v->cpu;                                                                             \
        unsigned length = u->length;                                                                         \
        operand;                                                                                             \
                                                                                                             \
        uop_at(v, u);                                                                                        \
        flags_settle(v);                                                                                     \
        return call;                                                                                         \
    }
#define PLAIN(id, form, name, call) CARRY_OUT(name, , call)
#define OPERAND(id, form, name, n, call) CARRY_OUT(name, struct insn_operand o = operand_of(v, u, n), call)
#include "models/cpu/x86/interp/system_ops.def"
CARRY_OUT(mov_to_cr, , insn_mov_to_cr(c, length, u->reg[0], u->reg[1]))
CARRY_OUT(mov_from_cr, , insn_mov_from_cr(c, length, u->reg[1], u->reg[0]))
CARRY_OUT(mov_to_dr, , insn_mov_to_dr(c, length, u->reg[0], u->reg[1]))
CARRY_OUT(mov_from_dr, , insn_mov_from_dr(c, length, u->reg[1], u->reg[0]))
#undef CARRY_OUT

// MONITOR's operand is the byte at rAX, in DS or by override.
static enum insn_result monitor(struct vmx *v, const struct uop *u)
{
    struct insn_operand o = {.memory = true, .segment = (enum segment_name)u->segment, .size = 1};

    o.offset = v->gpr.r[REG_RAX] & size_mask(u->address_size);
    o.info = insn_memory_info(REG_RAX, INSN_NO_REG, 0, u->address_size, o.segment);
    uop_at(v, u);
    flags_settle(v);
    return insn_monitor(v->cpu, u->length, &o);
}

// BOUND: signed index between two bounds in memory.
static enum insn_result bound(struct vmx *v, const struct uop *u)
{
    uint64_t at = effective_address(v, u), low, high;
    int64_t index = sign_extend(reg_read(v, u->reg[0], u->size), u->size);
    enum insn_result r = operand_load(v, u, (enum segment_name)u->segment, at, u->size, &low);

    if (r == INSN_DONE)
        r = operand_load(v, u, (enum segment_name)u->segment, (at + u->size) & size_mask(u->address_size),
                         u->size, &high);
    if (r != INSN_DONE)
        return r;
    if (index >= sign_extend(low, u->size) && index <= sign_extend(high, u->size))
        return INSN_DONE;
    uop_at(v, u);
    flags_settle(v);
    return insn_bound_fault(v->cpu, u->length);
}

// --- Ports. ---

static enum insn_result in(struct vmx *v, const struct uop *u)
{
    bool immediate = u->kind[1] == OPERAND_IMM;

    uop_at(v, u);
    return insn_in(v->cpu, u->length, immediate ? (uint8_t)u->imm : (uint16_t)v->gpr.r[REG_RDX], u->size,
                   immediate);
}

static enum insn_result out(struct vmx *v, const struct uop *u)
{
    bool immediate = u->kind[0] == OPERAND_IMM;

    uop_at(v, u);
    return insn_out(v->cpu, u->length, immediate ? (uint8_t)u->imm : (uint16_t)v->gpr.r[REG_RDX], u->size,
                    immediate);
}

static enum insn_result string_io(struct vmx *v, const struct uop *u)
{
    struct insn_string_io io = {.size = u->size,
                                .address_size = u->address_size,
                                .rep = u->flags & (UOP_REP | UOP_REPNE),
                                .segment = (enum segment_name)u->segment};
    bool ins = u->id == X86_INS_INSB || u->id == X86_INS_INSW || u->id == X86_INS_INSD;

    uop_at(v, u);
    flags_settle(v);
    return ins ? insn_ins(v->cpu, u->length, &io) : insn_outs(v->cpu, u->length, &io);
}

// --- Choosing. ---

static uop_fn choose_ends(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)in;
    u->flags |= UOP_ENDS;
    return u->flags & UOP_LOCK ? NULL : row->fn;
}

static uop_fn choose_memory(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool memory = u->kind[0] == OPERAND_MEMORY || u->kind[1] == OPERAND_MEMORY;

    return memory ? choose_ends(u, in, row) : NULL;
}

// LGDT and its like: a pseudo-descriptor as wide as addresses are (SDM vol. 2).
static uop_fn choose_table(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    if (u->code_size == CODE_64)
        u->size = 8;
    else
        u->size = (u->code_size == CODE_32) != (in->detail->x86.prefix[2] == X86_PREFIX_OPSIZE) ? 4 : 2;
    return choose_memory(u, in, row);
}

static uop_fn choose_rex(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->size = in->detail->x86.rex & 8 ? 8 : 4;
    return choose_ends(u, in, row);
}

static uop_fn choose_segment(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->segment = (uint8_t)decode_segment(u, in, SEG_DS);
    return choose_ends(u, in, row);
}

// The data's size: AL, AX or EAX for IN and OUT, the memory operand's for INS and OUTS.
static uop_fn choose_io(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool first = u->kind[0] == OPERAND_GPR && (u->reg[0] & 15) == REG_RAX;

    u->size = in->detail->x86.operands[first ? 0 : 1].size;
    return choose_ends(u, in, row);
}

static uop_fn choose_string_io(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool byte = u->id == X86_INS_INSB || u->id == X86_INS_OUTSB;
    bool word = u->id == X86_INS_INSW || u->id == X86_INS_OUTSW;

    u->size = byte ? 1 : word ? 2 : 4;
    return choose_segment(u, in, row);
}

uop_fn system_choose_mov(struct uop *u)
{
    u->flags |= UOP_ENDS;
    if (u->kind[0] == OPERAND_CR)
        return mov_to_cr;
    if (u->kind[1] == OPERAND_CR)
        return mov_from_cr;
    if (u->kind[0] == OPERAND_DR)
        return mov_to_dr;
    return u->kind[1] == OPERAND_DR ? mov_from_dr : NULL;
}

const struct uop_row exec_system_rows[] = {
#define PLAIN(id, form, name, call) {id, choose_##form, name},
#define OPERAND(id, form, name, n, call) PLAIN(id, form, name, call)
#include "models/cpu/x86/interp/system_ops.def"
    {X86_INS_MONITOR, choose_segment, monitor},
    {X86_INS_BOUND, choose_memory, bound},
    {X86_INS_IN, choose_io, in},
    {X86_INS_OUT, choose_io, out},
    {X86_INS_INSB, choose_string_io, string_io},
    {X86_INS_INSW, choose_string_io, string_io},
    {X86_INS_INSD, choose_string_io, string_io},
    {X86_INS_OUTSB, choose_string_io, string_io},
    {X86_INS_OUTSW, choose_string_io, string_io},
    {X86_INS_OUTSD, choose_string_io, string_io},
};
const unsigned exec_system_count = sizeof exec_system_rows / sizeof *exec_system_rows;
