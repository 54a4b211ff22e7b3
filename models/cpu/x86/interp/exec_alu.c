// SPDX-License-Identifier: Apache-2.0
// Binary arithmetic and logic (SDM vol. 1 7.3.3, 7.3.5).
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

#include "models/mem/mem.h"

// --- What each operation makes of its operands; flags as the manual's page says. ---

static inline __attribute__((always_inline)) uint64_t alu_adc(struct vmx *v, unsigned size, uint64_t a,
                                                              uint64_t b, uint64_t carry)
{
    uint64_t mask = size_mask(size), result = (a + b + carry) & mask;
    uint64_t carries = (a & b) | ((a | b) & ~result);

    flags_result(v, 8 * size, result, carries, (carries >> (8 * size - 1)) & 1);
    return result;
}

static inline __attribute__((always_inline)) uint64_t alu_sbb(struct vmx *v, unsigned size, uint64_t a,
                                                              uint64_t b, uint64_t borrow)
{
    uint64_t mask = size_mask(size), result = (a - b - borrow) & mask;
    uint64_t borrows = (~a & b) | ((~a | b) & result);

    flags_result(v, 8 * size, result, borrows, (borrows >> (8 * size - 1)) & 1);
    return result;
}

static inline __attribute__((always_inline)) uint64_t alu_logic(struct vmx *v, unsigned size, uint64_t result)
{
    flags_result(v, 8 * size, result, 0, false);
    return result;
}

#define ALU(name, expression)                                                                                \
    static inline __attribute__((always_inline))                                                             \
    uint64_t alu_##name(struct vmx *v, unsigned size, uint64_t a, uint64_t b)                                \
    {                                                                                                        \
        return expression;                                                                                   \
    }
ALU(add, alu_adc(v, size, a, b, 0))
ALU(sub, alu_sbb(v, size, a, b, 0))
ALU(addc, alu_adc(v, size, a, b, flags_cf(v)))
ALU(subb, alu_sbb(v, size, a, b, flags_cf(v)))
ALU(and, alu_logic(v, size, a &b))
ALU(or, alu_logic(v, size, a | b))
ALU(xor, alu_logic(v, size, a ^ b))
#undef ALU

// --- Each operation for each size and kind of operands. CMP and TEST write nothing. ---

#define OPERATION(name, size, alu, writes)                                                                   \
    static enum insn_result name##_rr_##size(struct vmx *v, const struct uop *u)                             \
    {                                                                                                        \
        uint64_t result = alu(v, size, reg_read(v, u->reg[0], size), reg_read(v, u->reg[1], size));          \
                                                                                                             \
        if (writes)                                                                                          \
            reg_write(v, u->reg[0], size, result);                                                           \
        return INSN_DONE;                                                                                    \
    }                                                                                                        \
    static enum insn_result name##_ri_##size(struct vmx *v, const struct uop *u)                             \
    {                                                                                                        \
        uint64_t result = alu(v, size, reg_read(v, u->reg[0], size), u->imm & size_mask(size));              \
                                                                                                             \
        if (writes)                                                                                          \
            reg_write(v, u->reg[0], size, result);                                                           \
        return INSN_DONE;                                                                                    \
    }                                                                                                        \
    static enum insn_result name##_rm_##size(struct vmx *v, const struct uop *u)                             \
    {                                                                                                        \
        uint64_t b, result;                                                                                  \
        enum insn_result r = memory_load(v, u, size, &b);                                                    \
                                                                                                             \
        if (r != INSN_DONE)                                                                                  \
            return r;                                                                                        \
        result = alu(v, size, reg_read(v, u->reg[0], size), b);                                              \
        if (writes)                                                                                          \
            reg_write(v, u->reg[0], size, result);                                                           \
        return INSN_DONE;                                                                                    \
    }                                                                                                        \
    static enum insn_result name##_mx_##size(struct vmx *v, const struct uop *u)                             \
    {                                                                                                        \
        uint64_t b = u->kind[1] == OPERAND_GPR ? reg_read(v, u->reg[1], size) : u->imm & size_mask(size);    \
        uint64_t a;                                                                                          \
        enum insn_result r = writes ? memory_rmw_begin(v, u, size, &a) : memory_load(v, u, size, &a);        \
                                                                                                             \
        if (r != INSN_DONE)                                                                                  \
            return r;                                                                                        \
        a = alu(v, size, a, b);                                                                              \
        if (writes)                                                                                          \
            operand_rmw_end(v, u, size, a);                                                                  \
        return INSN_DONE;                                                                                    \
    }
#define ALL_SIZES(name, alu, writes)                                                                         \
    OPERATION(name, 1, alu, writes)                                                                          \
    OPERATION(name, 2, alu, writes)                                                                          \
    OPERATION(name, 4, alu, writes)                                                                          \
    OPERATION(name, 8, alu, writes)

// Mnemonic, function, whether it writes its first operand.
#define OPERATIONS(X)                                                                                        \
    X(ADD, add, alu_add, true)                                                                               \
    X(SUB, sub, alu_sub, true)                                                                               \
    X(ADC, adc, alu_addc, true)                                                                              \
    X(SBB, sbb, alu_subb, true)                                                                              \
    X(AND, and, alu_and, true)                                                                               \
    X(OR, or, alu_or, true)                                                                                  \
    X(XOR, xor, alu_xor, true)                                                                               \
    X(CMP, cmp, alu_sub, false)                                                                              \
    X(TEST, test, alu_and, false)
#define DEFINE(id, name, alu, writes) ALL_SIZES(name, alu, writes)
OPERATIONS(DEFINE)
#undef DEFINE

struct forms {
    uint16_t id;
    bool writes;
    uop_fn rr[4], ri[4], rm[4], mx[4];
};

#define BY_SIZE(name, form)                                                                                  \
    {                                                                                                        \
        name##_##form##_1, name##_##form##_2, name##_##form##_4, name##_##form##_8                           \
    }
static const struct forms forms[] = {
#define ROW(id, name, alu, writes)                                                                           \
    {X86_INS_##id, writes, BY_SIZE(name, rr), BY_SIZE(name, ri), BY_SIZE(name, rm), BY_SIZE(name, mx)},
    OPERATIONS(ROW)
#undef ROW
};

static uop_fn choose_alu(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)row;
    const struct forms *f = forms;
    unsigned size = u->size == 8 ? 3 : u->size / 2;

    while (f->id != in->id)
        f++;
    if (u->kind[0] == OPERAND_MEMORY)
        return (u->flags & UOP_LOCK) && !f->writes ? NULL : f->mx[size];
    if (u->flags & UOP_LOCK)
        return NULL;
    if (u->kind[1] == OPERAND_MEMORY)
        return f->rm[size];
    return u->kind[1] == OPERAND_IMM ? f->ri[size] : f->rr[size];
}

// --- One operand. INC and DEC leave CF alone. ---

static inline __attribute__((always_inline)) uint64_t alu_inc(struct vmx *v, unsigned size, uint64_t a,
                                                              uint64_t unused)
{
    bool cf = flags_cf(v);
    uint64_t result = alu_adc(v, size, a, 1, 0);

    (void)unused;
    v->lazy.cf = cf;
    return result;
}

static inline __attribute__((always_inline)) uint64_t alu_dec(struct vmx *v, unsigned size, uint64_t a,
                                                              uint64_t unused)
{
    bool cf = flags_cf(v);
    uint64_t result = alu_sbb(v, size, a, 1, 0);

    (void)unused;
    v->lazy.cf = cf;
    return result;
}

static uint64_t alu_neg(struct vmx *v, unsigned size, uint64_t a, uint64_t unused)
{
    (void)unused;
    return alu_sbb(v, size, 0, a, 0);
}

static uint64_t alu_not(struct vmx *v, unsigned size, uint64_t a, uint64_t unused)
{
    (void)v, (void)unused;
    return ~a & size_mask(size);
}

// INC and DEC of whole registers.
#define COUNT(name, size)                                                                                    \
    static enum insn_result name##_r_##size(struct vmx *v, const struct uop *u)                              \
    {                                                                                                        \
        reg_write(v, u->reg[0], size, alu_##name(v, size, reg_read(v, u->reg[0], size), 0));                 \
        return INSN_DONE;                                                                                    \
    }
COUNT(inc, 4)
COUNT(inc, 8)
COUNT(dec, 4)
COUNT(dec, 8)
#undef COUNT

static enum insn_result inc(struct vmx *v, const struct uop *u)
{
    return operand_modify(v, u, alu_inc, 0);
}

static enum insn_result dec(struct vmx *v, const struct uop *u)
{
    return operand_modify(v, u, alu_dec, 0);
}

static enum insn_result neg(struct vmx *v, const struct uop *u)
{
    return operand_modify(v, u, alu_neg, 0);
}

static enum insn_result not(struct vmx * v, const struct uop *u) { return operand_modify(v, u, alu_not, 0); }

// XADD: the sum goes to the destination, the old value to the source.
static enum insn_result xadd(struct vmx *v, const struct uop *u)
{
    uint64_t a, b = reg_read(v, u->reg[1], u->size);
    enum insn_result r;

    if (u->kind[0] == OPERAND_GPR) {
        a = reg_read(v, u->reg[0], u->size);
        reg_write(v, u->reg[1], u->size, a);
        reg_write(v, u->reg[0], u->size, alu_add(v, u->size, a, b));
        return INSN_DONE;
    }
    r = memory_rmw_begin(v, u, u->size, &a);
    if (r != INSN_DONE)
        return r;
    operand_rmw_end(v, u, u->size, alu_add(v, u->size, a, b));
    reg_write(v, u->reg[1], u->size, a);
    return INSN_DONE;
}

// CMPXCHG: memory is written in any case (SDM vol. 2).
static enum insn_result cmpxchg(struct vmx *v, const struct uop *u)
{
    uint64_t old, expected = reg_read(v, REG_RAX, u->size), source = reg_read(v, u->reg[1], u->size);
    enum insn_result r = INSN_DONE;

    if (u->kind[0] == OPERAND_GPR)
        old = reg_read(v, u->reg[0], u->size);
    else
        r = memory_rmw_begin(v, u, u->size, &old);
    if (r != INSN_DONE)
        return r;
    alu_sub(v, u->size, expected, old);
    if (u->kind[0] == OPERAND_MEMORY)
        operand_rmw_end(v, u, u->size, expected == old ? source : old);
    else if (expected == old)
        reg_write(v, u->reg[0], u->size, source);
    if (expected != old)
        reg_write(v, REG_RAX, u->size, old);
    return INSN_DONE;
}

// CMPXCHG8B, CMPXCHG16B: (R)DX:(R)AX against memory; the latter wants 16-byte alignment. Always one access,
// which LOCK makes no stronger here.
static enum insn_result cmpxchg_pair(struct vmx *v, const struct uop *u)
{
    unsigned half = u->size / 2;
    struct guest_rmw rmw = {.size = u->size};
    uint64_t old[2] = {0, 0}, source[2] = {reg_read(v, REG_RBX, half), reg_read(v, REG_RCX, half)};
    enum insn_result r = operand_linear(v, u, (enum segment_name)u->segment, effective_address(v, u), u->size,
                                        EPT_ACCESS_WRITE, &rmw.address);
    bool equal;

    if (r != INSN_DONE)
        return r;
    if (u->size == 16 && (rmw.address & 15))
        return uop_fault(v, u, GP_VECTOR, 0);
    if (!operand_in_turn(v, u))
        return INSN_AGAIN;
    uop_at(v, u);
    r = insn_access(guest_rmw_begin(v->cpu, rmw.address, rmw.size, &rmw));
    if (r != INSN_DONE)
        return r;
    memcpy(&old[0], rmw.p, half);
    memcpy(&old[1], rmw.p + half, half);
    equal = old[0] == reg_read(v, REG_RAX, half) && old[1] == reg_read(v, REG_RDX, half);
    if (equal) {
        memcpy(rmw.p, &source[0], half);
        memcpy(rmw.p + half, &source[1], half);
    }
    guest_rmw_end(v->cpu, &rmw);
    operand_stored(v, rmw.address, rmw.size);
    if (!equal) {
        reg_write(v, REG_RAX, half, old[0]);
        reg_write(v, REG_RDX, half, old[1]);
    }
    flags_set(v, X86_RFLAGS_ZF, equal ? X86_RFLAGS_ZF : 0);
    return INSN_DONE;
}

static uop_fn choose_pair(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    u->size = in->id == X86_INS_CMPXCHG16B ? 16 : 8;
    return u->kind[0] == OPERAND_MEMORY ? row->fn : NULL;
}

// Orders what the model lets out of order: stores that others cannot see yet (SDM 8.2.5).
static enum insn_result fence(struct vmx *v, const struct uop *u)
{
    (void)u;
    mem_store_drain(v->cpu);
    return INSN_DONE;
}

static enum insn_result nop(struct vmx *v, const struct uop *u)
{
    (void)v, (void)u;
    return INSN_DONE;
}

// LOCK is for memory only (SDM 8.1.2.2).
static uop_fn choose_one(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)in;
    return (u->flags & UOP_LOCK) && u->kind[0] != OPERAND_MEMORY ? NULL : row->fn;
}

static uop_fn choose_count(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool up = in->id == X86_INS_INC;

    if (u->kind[0] != OPERAND_GPR || (u->flags & UOP_LOCK) || u->size < 4)
        return choose_one(u, in, row);
    if (u->size == 4)
        return up ? inc_r_4 : dec_r_4;
    return up ? inc_r_8 : dec_r_8;
}

const struct uop_row exec_alu_rows[] = {
#define ROW(id, name, alu, writes) {X86_INS_##id, choose_alu, NULL},
    OPERATIONS(ROW)
#undef ROW
        {X86_INS_INC, choose_count, inc},
    {X86_INS_DEC, choose_count, dec},
    {X86_INS_NEG, choose_one, neg},
    {X86_INS_NOT, choose_one, not },
    {X86_INS_XADD, choose_one, xadd},
    {X86_INS_CMPXCHG, choose_one, cmpxchg},
    {X86_INS_CMPXCHG8B, choose_pair, cmpxchg_pair},
    {X86_INS_CMPXCHG16B, choose_pair, cmpxchg_pair},
    {X86_INS_NOP, NULL, nop},
    {X86_INS_ENDBR32, NULL, nop},
    {X86_INS_ENDBR64, NULL, nop},
    {X86_INS_PREFETCH, NULL, nop},
    {X86_INS_PREFETCHNTA, NULL, nop},
    {X86_INS_PREFETCHT0, NULL, nop},
    {X86_INS_PREFETCHT1, NULL, nop},
    {X86_INS_PREFETCHT2, NULL, nop},
    {X86_INS_PREFETCHW, NULL, nop},
    {X86_INS_MFENCE, NULL, fence},
    {X86_INS_LFENCE, NULL, nop},
    {X86_INS_SFENCE, NULL, nop},
};
const unsigned exec_alu_count = sizeof exec_alu_rows / sizeof *exec_alu_rows;
