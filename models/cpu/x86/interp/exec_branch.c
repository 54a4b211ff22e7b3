// SPDX-License-Identifier: Apache-2.0
// Near control transfers (SDM vol. 1 7.3.8): jumps, calls, returns, conditions.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

// IP is as wide as the operand size (SDM vol. 1 6.3.1, 7.3.8.1).
static inline uint64_t ip_mask(const struct uop *u)
{
    return u->code_size == CODE_64 ? UINT64_MAX : size_mask(u->size);
}

// Beyond the code segment's limit, or not canonical: #GP(0) in the branch itself.
static inline __attribute__((always_inline)) enum insn_result go(struct vmx *v, const struct uop *u,
                                                                 uint64_t target)
{
    // Canonical for 48 bits is so for 57.
    bool bad = u->code_size != CODE_64
                   ? target > v->seg[SEG_CS].limit
                   : target + (1ull << 47) >= 1ull << 48 && !x86_canonical(v->cpu, target);

    if (__builtin_expect(bad, 0))
        return uop_fault(v, u, GP_VECTOR, 0);
    v->rip = target;
    return INSN_BRANCH;
}

static inline uint64_t next_rip(const struct vmx *v, const struct uop *u)
{
    uint64_t next = block_running(v)->rip + u->offset + u->length;

    return u->code_size == CODE_64 ? next : (uint32_t)next;
}

static inline uint64_t here(const struct vmx *v, const struct uop *u)
{
    return block_running(v)->rip + u->offset;
}

static enum insn_result jmp_direct(struct vmx *v, const struct uop *u)
{
    return go(v, u, u->imm);
}

static enum insn_result jmp_indirect(struct vmx *v, const struct uop *u)
{
    uint64_t target;
    enum insn_result r = operand_read(v, u, 0, u->size, &target);

    if (r != INSN_DONE)
        return r;
    cost_indirect(v->cpu, &v->interp->cost, here(v, u), target);
    return go(v, u, target);
}

static inline __attribute__((always_inline)) enum insn_result jcc(struct vmx *v, const struct uop *u,
                                                                  unsigned cc)
{
    bool taken = flags_condition(v, cc);

    cost_conditional(v->cpu, &v->interp->cost, here(v, u), taken);
    if (taken)
        return go(v, u, u->imm);
    v->rip = next_rip(v, u);
    return INSN_BRANCH;
}

#define CONDITIONS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define JCC(cc)                                                                                              \
    static enum insn_result jcc_##cc(struct vmx *v, const struct uop *u)                                     \
    {                                                                                                        \
        return jcc(v, u, cc);                                                                                \
    }
CONDITIONS(JCC)
#undef JCC

static unsigned opcode_condition(const cs_insn *in)
{
    const uint8_t *opcode = in->detail->x86.opcode;

    return opcode[opcode[0] == 0x0f ? 1 : 0] & 15;
}

static uop_fn choose_jcc(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
#define ROW(cc) jcc_##cc,
    static const uop_fn by_condition[16] = {CONDITIONS(ROW)};
#undef ROW

    u->flags |= UOP_ENDS | UOP_DIRECT;
    u->imm &= u->code_size == CODE_64 ? UINT64_MAX : size_mask(u->size ? u->size : 4);
    return by_condition[opcode_condition(in)];
}

// LOOP, LOOPE, LOOPNE, JCXZ: the counter is as wide as addresses are.
static enum insn_result loop(struct vmx *v, const struct uop *u)
{
    uint64_t count = reg_read(v, REG_RCX, u->address_size);
    bool taken;

    if (u->id == X86_INS_JCXZ || u->id == X86_INS_JECXZ || u->id == X86_INS_JRCXZ) {
        taken = count == 0;
    } else {
        reg_write(v, REG_RCX, u->address_size, --count & size_mask(u->address_size));
        taken = (count & size_mask(u->address_size)) != 0;
        if (u->id == X86_INS_LOOPE)
            taken = taken && flags_zf(v);
        else if (u->id == X86_INS_LOOPNE)
            taken = taken && !flags_zf(v);
    }
    cost_conditional(v->cpu, &v->interp->cost, here(v, u), taken);
    if (taken)
        return go(v, u, u->imm);
    v->rip = next_rip(v, u);
    return INSN_BRANCH;
}

static uop_fn choose_loop(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    (void)in;
    u->flags |= UOP_ENDS | UOP_DIRECT;
    return loop;
}

static bool operand_prefix(const cs_insn *in)
{
    return in->detail->x86.prefix[2] == X86_PREFIX_OPSIZE;
}

// Operand size of a near branch: 64 bits in 64-bit mode whatever the prefix (Intel), else by CS and prefix.
static unsigned branch_size(const struct uop *u, const cs_insn *in)
{
    if (u->code_size == CODE_64)
        return 8;
    return (u->code_size == CODE_32) != operand_prefix(in) ? 4 : 2;
}

static enum insn_result call_to(struct vmx *v, const struct uop *u, uint64_t target)
{
    uint64_t rsp = v->gpr.r[REG_RSP];
    enum insn_result r = stack_push(v, u, u->size, next_rip(v, u));

    if (r != INSN_DONE)
        return r;
    r = go(v, u, target);
    if (r == INSN_EXIT)
        v->gpr.r[REG_RSP] = rsp;
    if (r == INSN_BRANCH)
        cost_call(&v->interp->cost, next_rip(v, u));
    return r;
}

static enum insn_result call_direct(struct vmx *v, const struct uop *u)
{
    return call_to(v, u, u->imm);
}

static enum insn_result call_indirect(struct vmx *v, const struct uop *u)
{
    uint64_t target;
    enum insn_result r = operand_read(v, u, 0, u->size, &target);

    if (r != INSN_DONE)
        return r;
    cost_indirect(v->cpu, &v->interp->cost, here(v, u), target);
    return call_to(v, u, target);
}

static uop_fn choose_near(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    bool call = in->id == X86_INS_CALL;

    u->flags |= UOP_ENDS;
    u->size = (uint8_t)branch_size(u, in);
    if (u->kind[0] != OPERAND_IMM)
        return call ? call_indirect : jmp_indirect;
    u->imm &= ip_mask(u);
    u->flags |= UOP_DIRECT;
    return call ? call_direct : jmp_direct;
}

static enum insn_result ret(struct vmx *v, const struct uop *u)
{
    uint64_t target;
    enum insn_result r = stack_peek(v, u, u->size, 0, &target);

    if (r != INSN_DONE)
        return r;
    cost_return(v->cpu, &v->interp->cost, target);
    r = go(v, u, target);
    if (r == INSN_BRANCH)
        stack_drop(v, u, u->size + (u->kind[0] == OPERAND_IMM ? u->imm & 0xffff : 0));
    return r;
}

static uop_fn choose_ret(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    u->flags |= UOP_ENDS;
    u->size = (uint8_t)branch_size(u, in);
    return ret;
}

// --- Conditions as values. ---

static enum insn_result setcc(struct vmx *v, const struct uop *u)
{
    return operand_write(v, u, 0, 1, flags_condition(v, u->condition));
}

// The source is read, and a 32-bit destination zero-extended, whatever the condition says.
static enum insn_result cmov(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, u->size, &value);

    if (r == INSN_DONE)
        reg_write(v, u->reg[0], u->size,
                  flags_condition(v, u->condition) ? value : reg_read(v, u->reg[0], u->size));
    return r;
}

static uop_fn choose_setcc(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    u->condition = (uint8_t)opcode_condition(in);
    return setcc;
}

static uop_fn choose_cmov(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    u->condition = (uint8_t)opcode_condition(in);
    return cmov;
}

#define EACH_CONDITION(X)                                                                                    \
    X(O) X(NO) X(B) X(AE) X(E) X(NE) X(BE) X(A) X(S) X(NS) X(P) X(NP) X(L) X(GE) X(LE) X(G)
const struct uop_row exec_branch_rows[] = {
#define ROW(cc)                                                                                              \
    {X86_INS_J##cc, choose_jcc, NULL}, {X86_INS_SET##cc, choose_setcc, NULL},                                \
        {X86_INS_CMOV##cc, choose_cmov, NULL},
    EACH_CONDITION(ROW)
#undef ROW
        {X86_INS_JMP, choose_near, NULL},
    {X86_INS_CALL, choose_near, NULL},
    {X86_INS_RET, choose_ret, NULL},
    {X86_INS_LOOP, choose_loop, NULL},
    {X86_INS_LOOPE, choose_loop, NULL},
    {X86_INS_LOOPNE, choose_loop, NULL},
    {X86_INS_JCXZ, choose_loop, NULL},
    {X86_INS_JECXZ, choose_loop, NULL},
    {X86_INS_JRCXZ, choose_loop, NULL},
};
const unsigned exec_branch_count = sizeof exec_branch_rows / sizeof *exec_branch_rows;
