// SPDX-License-Identifier: Apache-2.0
// Data transfer: MOV and its kin, LEA, XCHG, PUSH and POP, conversions (SDM vol. 1 7.3.1, 7.3.2).
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

// --- MOV: by size and operands. ---

#define MOVES(size)                                                                                          \
    static enum insn_result mov_rr_##size(struct vmx *v, const struct uop *u)                                \
    {                                                                                                        \
        reg_write(v, u->reg[0], size, reg_read(v, u->reg[1], size));                                         \
        return INSN_DONE;                                                                                    \
    }                                                                                                        \
    static enum insn_result mov_ri_##size(struct vmx *v, const struct uop *u)                                \
    {                                                                                                        \
        reg_write(v, u->reg[0], size, u->imm);                                                               \
        return INSN_DONE;                                                                                    \
    }                                                                                                        \
    static enum insn_result mov_rm_##size(struct vmx *v, const struct uop *u)                                \
    {                                                                                                        \
        uint64_t value;                                                                                      \
        enum insn_result r = memory_load(v, u, size, &value);                                                \
                                                                                                             \
        if (__builtin_expect(r == INSN_DONE, 1))                                                             \
            reg_write(v, u->reg[0], size, value);                                                            \
        return r;                                                                                            \
    }                                                                                                        \
    static enum insn_result mov_mr_##size(struct vmx *v, const struct uop *u)                                \
    {                                                                                                        \
        return memory_store(v, u, size, reg_read(v, u->reg[1], size));                                       \
    }                                                                                                        \
    static enum insn_result mov_mi_##size(struct vmx *v, const struct uop *u)                                \
    {                                                                                                        \
        return memory_store(v, u, size, u->imm);                                                             \
    }
MOVES(1)
MOVES(2)
MOVES(4)
MOVES(8)
#undef MOVES

// Index of a size in a table: 1, 2, 4, 8.
static unsigned size_index(unsigned size)
{
    return size == 8 ? 3 : size / 2;
}

#define BY_SIZE(name)                                                                                        \
    {                                                                                                        \
        name##_1, name##_2, name##_4, name##_8                                                               \
    }
static uop_fn choose_mov(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    static const uop_fn rr[4] = BY_SIZE(mov_rr), ri[4] = BY_SIZE(mov_ri), rm[4] = BY_SIZE(mov_rm),
                        mr[4] = BY_SIZE(mov_mr), mi[4] = BY_SIZE(mov_mi);
    unsigned size = size_index(u->size);

    (void)in;
    if (u->kind[0] == OPERAND_GPR && u->kind[1] == OPERAND_GPR)
        return rr[size];
    if (u->kind[0] == OPERAND_GPR && u->kind[1] == OPERAND_IMM)
        return ri[size];
    if (u->kind[0] == OPERAND_GPR && u->kind[1] == OPERAND_MEMORY)
        return rm[size];
    if (u->kind[0] == OPERAND_MEMORY && u->kind[1] == OPERAND_GPR)
        return mr[size];
    if (u->kind[0] == OPERAND_MEMORY && u->kind[1] == OPERAND_IMM)
        return mi[size];
    if (u->kind[0] == OPERAND_SEGMENT || u->kind[1] == OPERAND_SEGMENT)
        return segment_choose_mov(u);
    return system_choose_mov(u); // Control and debug registers.
}

// --- Widening. ---

// MOVZX of a byte or a word of memory to 32 or 64 bits, which are the same.
#define WIDENS(size)                                                                                         \
    static enum insn_result movzx_rm_##size(struct vmx *v, const struct uop *u)                              \
    {                                                                                                        \
        uint64_t value;                                                                                      \
        enum insn_result r = memory_load(v, u, size, &value);                                                \
                                                                                                             \
        if (__builtin_expect(r == INSN_DONE, 1))                                                             \
            reg_write(v, u->reg[0], 8, value);                                                               \
        return r;                                                                                            \
    }
WIDENS(1)
WIDENS(2)
#undef WIDENS

static enum insn_result movzx(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, u->source_size, &value);

    if (r == INSN_DONE)
        reg_write(v, u->reg[0], u->size, value);
    return r;
}

static enum insn_result movsx(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, u->source_size, &value);

    if (r == INSN_DONE)
        reg_write(v, u->reg[0], u->size, (uint64_t)sign_extend(value, u->source_size));
    return r;
}

static uop_fn choose_movzx(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)in;
    if (u->flags & UOP_LOCK)
        return NULL;
    if (u->kind[1] == OPERAND_MEMORY && u->size >= 4)
        return u->source_size == 1 ? movzx_rm_1 : movzx_rm_2;
    return row->fn;
}

// Capstone takes the destination for a 64-bit one whatever the prefixes are.
static uop_fn choose_movsxd(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    const cs_x86 *x = &in->detail->x86;

    u->size = x->rex & 8 ? 8 : x->prefix[2] == X86_PREFIX_OPSIZE ? 2 : 4;
    u->source_size = u->size == 2 ? 2 : 4;
    return u->flags & UOP_LOCK ? NULL : row->fn;
}

static enum insn_result lea(struct vmx *v, const struct uop *u)
{
    reg_write(v, u->reg[0], u->size, effective_address(v, u));
    return INSN_DONE;
}

static uop_fn choose_lea(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    (void)in;
    return u->kind[1] == OPERAND_MEMORY ? lea : NULL;
}

// CBW, CWDE, CDQE: the accumulator's lower half into all of it. CWD, CDQ, CQO: its sign into (R)DX.
static enum insn_result convert(struct vmx *v, const struct uop *u)
{
    reg_write(v, REG_RAX, u->size, (uint64_t)sign_extend(reg_read(v, REG_RAX, u->size / 2), u->size / 2));
    return INSN_DONE;
}

static enum insn_result convert_double(struct vmx *v, const struct uop *u)
{
    uint64_t value = reg_read(v, REG_RAX, u->size);

    reg_write(v, REG_RDX, u->size, sign_extend(value, u->size) < 0 ? UINT64_MAX : 0);
    return INSN_DONE;
}

// The size is that of the prefixes: Capstone's mnemonics are those of 32-bit code also in 16-bit code.
static uop_fn choose_convert(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    const cs_x86 *x = &in->detail->x86;
    bool narrow = (x->prefix[2] == X86_PREFIX_OPSIZE) != (u->code_size == CODE_16);

    u->size = x->rex & 8 ? 8 : narrow ? 2 : 4;
    return row->fn;
}

// --- XCHG: locked with memory, prefix or not. ---

static enum insn_result xchg_rr(struct vmx *v, const struct uop *u)
{
    uint64_t a = reg_read(v, u->reg[0], u->size), b = reg_read(v, u->reg[1], u->size);

    reg_write(v, u->reg[0], u->size, b);
    reg_write(v, u->reg[1], u->size, a);
    return INSN_DONE;
}

static enum insn_result xchg_memory(struct vmx *v, const struct uop *u)
{
    unsigned reg = u->reg[u->kind[0] == OPERAND_GPR ? 0 : 1];
    uint64_t old;
    enum insn_result r = memory_rmw_begin(v, u, u->size, &old);

    if (r != INSN_DONE)
        return r;
    operand_rmw_end(v, u, u->size, reg_read(v, reg, u->size));
    reg_write(v, reg, u->size, old);
    return INSN_DONE;
}

static uop_fn choose_xchg(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    (void)in;
    if (u->kind[0] != OPERAND_MEMORY && u->kind[1] != OPERAND_MEMORY)
        return u->flags & UOP_LOCK ? NULL : xchg_rr;
    u->flags |= UOP_LOCK;
    return xchg_memory;
}

// --- The stack. ---

static enum insn_result push(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 0, u->size, &value);

    return r == INSN_DONE ? stack_push(v, u, u->size, value) : r;
}

// POP to memory computes its address with the new RSP (SDM vol. 2, POP).
static enum insn_result pop(struct vmx *v, const struct uop *u)
{
    uint64_t value, rsp = v->gpr.r[REG_RSP];
    enum insn_result r = stack_peek(v, u, u->size, 0, &value);

    if (r != INSN_DONE)
        return r;
    stack_drop(v, u, u->size);
    r = operand_write(v, u, 0, u->size, value);
    if (r != INSN_DONE && r != INSN_FAULT)
        v->gpr.r[REG_RSP] = rsp;
    return r;
}

static uop_fn choose_stack(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    u->size = (uint8_t)decode_stack_size(u, in);
    if (u->kind[0] == OPERAND_SEGMENT)
        return segment_choose_stack(u, in->id == X86_INS_POP);
    return in->id == X86_INS_PUSH ? push : pop;
}

static enum insn_result leave(struct vmx *v, const struct uop *u)
{
    uint64_t frame = reg_read(v, REG_RBP, u->stack_size), value;
    enum insn_result r = operand_load(v, u, SEG_SS, frame, u->size, &value);

    if (r != INSN_DONE)
        return r;
    stack_set(v, u, frame + u->size);
    reg_write(v, REG_RBP, u->size, value);
    return INSN_DONE;
}

static uop_fn choose_leave(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    u->size = (uint8_t)decode_stack_size(u, in);
    return leave;
}

const struct uop_row exec_move_rows[] = {
    {X86_INS_MOV, choose_mov, NULL},
    {X86_INS_MOVABS, choose_mov, NULL},
    {X86_INS_MOVZX, choose_movzx, movzx},
    {X86_INS_MOVSX, NULL, movsx},
    {X86_INS_MOVSXD, choose_movsxd, movsx},
    {X86_INS_LEA, choose_lea, NULL},
    {X86_INS_CBW, choose_convert, convert},
    {X86_INS_CWDE, choose_convert, convert},
    {X86_INS_CDQE, choose_convert, convert},
    {X86_INS_CWD, choose_convert, convert_double},
    {X86_INS_CDQ, choose_convert, convert_double},
    {X86_INS_CQO, choose_convert, convert_double},
    {X86_INS_XCHG, choose_xchg, NULL},
    {X86_INS_PUSH, choose_stack, NULL},
    {X86_INS_POP, choose_stack, NULL},
    {X86_INS_LEAVE, choose_leave, NULL},
};
const unsigned exec_move_count = sizeof exec_move_rows / sizeof *exec_move_rows;
