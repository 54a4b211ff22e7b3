// SPDX-License-Identifier: Apache-2.0
// Multiplication, division and decimal adjustment (SDM vol. 1 7.3.3, 7.3.4).
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

typedef unsigned __int128 wide;
typedef __int128 signed_wide;

// CF and OF: the upper half says something. The others are undefined: of the lower half here.
static void product_flags(struct vmx *v, unsigned size, uint64_t low, bool overflow)
{
    flags_set(v, FLAGS_ARITHMETIC, flags_szp(low, size) | (overflow ? X86_RFLAGS_CF | X86_RFLAGS_OF : 0));
}

// The upper half of a product or dividend: AH, or (R)DX.
static void write_pair(struct vmx *v, unsigned size, uint64_t low, uint64_t high)
{
    reg_write(v, REG_RAX, size, low);
    if (size == 1)
        reg_write(v, REG_RAX | REG_HIGH, 1, high);
    else
        reg_write(v, REG_RDX, size, high);
}

static uint64_t read_high(const struct vmx *v, unsigned size)
{
    return size == 1 ? reg_read(v, REG_RAX | REG_HIGH, 1) : reg_read(v, REG_RDX, size);
}

static enum insn_result mul(struct vmx *v, const struct uop *u)
{
    unsigned size = u->size;
    uint64_t b, low, high;
    enum insn_result r = operand_read(v, u, 0, size, &b);
    wide product;

    if (r != INSN_DONE)
        return r;
    product = (wide)reg_read(v, REG_RAX, size) * b;
    low = (uint64_t)product & size_mask(size);
    high = (uint64_t)(product >> (8 * size));
    write_pair(v, size, low, high);
    product_flags(v, size, low, high != 0);
    return INSN_DONE;
}

static enum insn_result imul_one(struct vmx *v, const struct uop *u)
{
    unsigned size = u->size;
    uint64_t b, low;
    enum insn_result r = operand_read(v, u, 0, size, &b);
    signed_wide product;

    if (r != INSN_DONE)
        return r;
    product = (signed_wide)sign_extend(reg_read(v, REG_RAX, size), size) * sign_extend(b, size);
    low = (uint64_t)product & size_mask(size);
    write_pair(v, size, low, (uint64_t)(product >> (8 * size)) & size_mask(size));
    product_flags(v, size, low, product != sign_extend(low, size));
    return INSN_DONE;
}

// Two and three operands: the destination keeps the lower half.
static enum insn_result imul_more(struct vmx *v, const struct uop *u)
{
    unsigned size = u->size;
    uint64_t a, b, low;
    enum insn_result r = operand_read(v, u, 1, size, &b);
    signed_wide product;

    if (r != INSN_DONE)
        return r;
    a = u->kind[2] ? u->imm : reg_read(v, u->reg[0], size);
    product = (signed_wide)sign_extend(a, size) * sign_extend(b, size);
    low = (uint64_t)product & size_mask(size);
    reg_write(v, u->reg[0], size, low);
    product_flags(v, size, low, product != sign_extend(low, size));
    return INSN_DONE;
}

static uop_fn choose_imul(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)in, (void)row;
    if (u->flags & UOP_LOCK)
        return NULL;
    if (!u->kind[1])
        return imul_one;
    if (u->kind[1] == OPERAND_IMM) { // The two-operand form with an immediate multiplies its register.
        u->kind[2] = OPERAND_IMM;
        u->kind[1] = u->kind[0];
        u->reg[1] = u->reg[0];
    }
    return imul_more;
}

// Quotient beyond its register, or a division by zero: #DE.
static enum insn_result divide(struct vmx *v, const struct uop *u)
{
    unsigned size = u->size;
    uint64_t b;
    enum insn_result r = operand_read(v, u, 0, size, &b);
    wide a;

    if (r != INSN_DONE)
        return r;
    a = (wide)read_high(v, size) << (8 * size) | reg_read(v, REG_RAX, size);
    if (!b || a / b > size_mask(size))
        return uop_fault(v, u, DE_VECTOR, 0);
    write_pair(v, size, (uint64_t)(a / b), (uint64_t)(a % b));
    return INSN_DONE;
}

static enum insn_result idivide(struct vmx *v, const struct uop *u)
{
    unsigned size = u->size;
    uint64_t raw;
    enum insn_result r = operand_read(v, u, 0, size, &raw);
    signed_wide a, b, quotient;

    if (r != INSN_DONE)
        return r;
    b = sign_extend(raw, size);
    a = (signed_wide)((wide)(signed_wide)sign_extend(read_high(v, size), size) << (8 * size)) |
        (signed_wide)(wide)reg_read(v, REG_RAX, size);
    if (!b || (b == -1 && a == (signed_wide)((wide)1 << 127)))
        return uop_fault(v, u, DE_VECTOR, 0);
    quotient = a / b;
    if (quotient != sign_extend((uint64_t)quotient & size_mask(size), size))
        return uop_fault(v, u, DE_VECTOR, 0);
    write_pair(v, size, (uint64_t)quotient & size_mask(size), (uint64_t)(a % b) & size_mask(size));
    return INSN_DONE;
}

// MULX: no flags, both halves, the lower one first where they are the same register (SDM vol. 2).
static enum insn_result mulx(struct vmx *v, const struct uop *u)
{
    uint64_t b;
    enum insn_result r = operand_read(v, u, 2, u->size, &b);
    wide product;

    if (r != INSN_DONE)
        return r;
    product = (wide)reg_read(v, REG_RDX, u->size) * b;
    reg_write(v, u->reg[1], u->size, (uint64_t)product);
    reg_write(v, u->reg[0], u->size, (uint64_t)(product >> (8 * u->size)));
    return INSN_DONE;
}

// --- Decimal (SDM vol. 2: AAA, AAD, AAM, AAS, DAA, DAS); not in 64-bit mode, where the decoder knows none.
// ---

static uint8_t al(const struct vmx *v)
{
    return (uint8_t)v->gpr.r[REG_RAX];
}

static bool af(struct vmx *v)
{
    flags_settle(v);
    return v->rflags & X86_RFLAGS_AF;
}

static enum insn_result ascii_adjust(struct vmx *v, const struct uop *u)
{
    bool adjust = (al(v) & 15) > 9 || af(v);
    uint64_t ax = reg_read(v, REG_RAX, 2);

    if (adjust)
        ax = u->id == X86_INS_AAA ? ax + 0x106 : ax - 0x106;
    reg_write(v, REG_RAX, 2, ax & 0xff0f);
    flags_set(v, FLAGS_ARITHMETIC, flags_szp(al(v), 1) | (adjust ? X86_RFLAGS_AF | X86_RFLAGS_CF : 0));
    return INSN_DONE;
}

static enum insn_result decimal_adjust(struct vmx *v, const struct uop *u)
{
    bool subtract = u->id == X86_INS_DAS, cf = flags_cf(v), carry = false;
    uint8_t old = al(v), value = old;
    bool low = (old & 15) > 9 || af(v);

    if (low) {
        carry = cf || (subtract ? old < 6 : old > 0xf9);
        value = (uint8_t)(subtract ? value - 6 : value + 6);
    }
    if (old > 0x99 || cf) {
        value = (uint8_t)(subtract ? value - 0x60 : value + 0x60);
        carry = true;
    }
    reg_write(v, REG_RAX, 1, value);
    flags_set(v, FLAGS_ARITHMETIC,
              flags_szp(value, 1) | (low ? X86_RFLAGS_AF : 0) | (carry ? X86_RFLAGS_CF : 0));
    return INSN_DONE;
}

static enum insn_result aam(struct vmx *v, const struct uop *u)
{
    uint8_t base = u->kind[0] == OPERAND_IMM ? (uint8_t)u->imm : 10;

    if (!base)
        return uop_fault(v, u, DE_VECTOR, 0);
    reg_write(v, REG_RAX, 2, (uint64_t)(al(v) / base) << 8 | al(v) % base);
    flags_set(v, FLAGS_ARITHMETIC, flags_szp(al(v), 1));
    return INSN_DONE;
}

static enum insn_result aad(struct vmx *v, const struct uop *u)
{
    uint8_t base = u->kind[0] == OPERAND_IMM ? (uint8_t)u->imm : 10;
    uint8_t value = (uint8_t)(al(v) + reg_read(v, REG_RAX | REG_HIGH, 1) * base);

    reg_write(v, REG_RAX, 2, value);
    flags_set(v, FLAGS_ARITHMETIC, flags_szp(value, 1));
    return INSN_DONE;
}

const struct uop_row exec_multiply_rows[] = {
    {X86_INS_MUL, NULL, mul},
    {X86_INS_IMUL, choose_imul, NULL},
    {X86_INS_DIV, NULL, divide},
    {X86_INS_IDIV, NULL, idivide},
    {X86_INS_MULX, NULL, mulx},
    {X86_INS_AAA, NULL, ascii_adjust},
    {X86_INS_AAS, NULL, ascii_adjust},
    {X86_INS_DAA, NULL, decimal_adjust},
    {X86_INS_DAS, NULL, decimal_adjust},
    {X86_INS_AAM, NULL, aam},
    {X86_INS_AAD, NULL, aad},
};
const unsigned exec_multiply_count = sizeof exec_multiply_rows / sizeof *exec_multiply_rows;
