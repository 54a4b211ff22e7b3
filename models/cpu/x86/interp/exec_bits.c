// SPDX-License-Identifier: Apache-2.0
// Bits and bytes (SDM vol. 1 7.3.7; BMI1, BMI2, ADX, MOVBE, CRC32: vol. 2).
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

// --- BT, BTS, BTR, BTC. A register's bit offset reaches beyond a memory operand (SDM vol. 2, BT). ---

static uint64_t changed(const struct uop *u, uint64_t value, uint64_t bit)
{
    switch (u->id) {
    case X86_INS_BTS:
        return value | bit;
    case X86_INS_BTR:
        return value & ~bit;
    case X86_INS_BTC:
        return value ^ bit;
    default:
        return value;
    }
}

static enum insn_result bit_test(struct vmx *v, const struct uop *u)
{
    unsigned bits = 8u * u->size;
    uint64_t index = u->kind[1] == OPERAND_IMM ? u->imm : reg_read(v, u->reg[1], u->size);
    uint64_t bit = 1ull << (index % bits), value, offset;
    enum insn_result r;

    if (u->kind[0] == OPERAND_GPR) {
        value = reg_read(v, u->reg[0], u->size);
        if (u->id != X86_INS_BT)
            reg_write(v, u->reg[0], u->size, changed(u, value, bit));
        flags_set(v, X86_RFLAGS_CF, value & bit ? X86_RFLAGS_CF : 0);
        return INSN_DONE;
    }
    offset = effective_address(v, u);
    if (u->kind[1] == OPERAND_GPR)
        offset += (uint64_t)(sign_extend(index, u->size) >> (u->size == 8   ? 6
                                                             : u->size == 4 ? 5
                                                                            : 4)) *
                  u->size;
    offset &= size_mask(u->address_size);
    if (u->id == X86_INS_BT)
        r = operand_load(v, u, (enum segment_name)u->segment, offset, u->size, &value);
    else
        r = operand_rmw_begin(v, u, offset, u->size, &value);
    if (r != INSN_DONE)
        return r;
    if (u->id != X86_INS_BT)
        operand_rmw_end(v, u, u->size, changed(u, value, bit));
    flags_set(v, X86_RFLAGS_CF, value & bit ? X86_RFLAGS_CF : 0);
    return INSN_DONE;
}

static uop_fn choose_bit_test(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    bool may_lock = u->kind[0] == OPERAND_MEMORY && in->id != X86_INS_BT;

    return (u->flags & UOP_LOCK) && !may_lock ? NULL : row->fn;
}

// --- Scans and counts. ---

static unsigned trailing(uint64_t value)
{
    return (unsigned)__builtin_ctzll(value);
}

// Number of the highest bit set; value != 0.
static unsigned highest(uint64_t value)
{
    return 63 - (unsigned)__builtin_clzll(value);
}

// A source of 0 leaves the destination as it was (undefined by SDM, kept by processors).
static enum insn_result bit_scan(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, u->size, &value);

    if (r != INSN_DONE)
        return r;
    flags_set(v, FLAGS_ARITHMETIC, value ? 0 : X86_RFLAGS_ZF | X86_RFLAGS_PF);
    if (value)
        reg_write(v, u->reg[0], u->size, u->id == X86_INS_BSF ? trailing(value) : highest(value));
    return INSN_DONE;
}

static enum insn_result zero_count(struct vmx *v, const struct uop *u)
{
    unsigned bits = 8u * u->size;
    uint64_t value, result;
    enum insn_result r = operand_read(v, u, 1, u->size, &value);

    if (r != INSN_DONE)
        return r;
    result = !value ? bits : u->id == X86_INS_TZCNT ? trailing(value) : bits - 1 - highest(value);
    reg_write(v, u->reg[0], u->size, result);
    flags_set(v, FLAGS_ARITHMETIC, (value ? 0 : X86_RFLAGS_CF) | (result ? 0 : X86_RFLAGS_ZF));
    return INSN_DONE;
}

static enum insn_result popcnt(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, u->size, &value);

    if (r != INSN_DONE)
        return r;
    reg_write(v, u->reg[0], u->size, (uint64_t)__builtin_popcountll(value));
    flags_set(v, FLAGS_ARITHMETIC, value ? 0 : X86_RFLAGS_ZF);
    return INSN_DONE;
}

// --- Byte order. ---

static uint64_t swapped(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - 8 * size);
}

// 16 bits: undefined by SDM; the register becomes 0.
static enum insn_result bswap(struct vmx *v, const struct uop *u)
{
    uint64_t value = reg_read(v, u->reg[0], u->size);

    reg_write(v, u->reg[0], u->size, u->size == 2 ? 0 : swapped(value, u->size));
    return INSN_DONE;
}

static enum insn_result movbe(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, u->size, &value);

    return r == INSN_DONE ? operand_write(v, u, 0, u->size, swapped(value, u->size)) : r;
}

// CRC-32C, polynomial 11EDC6F41H, bits reflected.
static enum insn_result crc32(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    uint32_t crc = (uint32_t)v->gpr.r[u->reg[0]];
    enum insn_result r = operand_read(v, u, 1, u->source_size, &value);

    if (r != INSN_DONE)
        return r;
    for (unsigned i = 0; i < u->source_size; i++) {
        crc ^= (uint8_t)(value >> (8 * i));
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    reg_write(v, u->reg[0], 8, crc);
    return INSN_DONE;
}

// --- BMI1, BMI2. ---

static void set_logic_flags(struct vmx *v, unsigned size, uint64_t result, bool cf)
{
    flags_set(v, FLAGS_ARITHMETIC, flags_szp(result, size) | (cf ? X86_RFLAGS_CF : 0));
}

static enum insn_result andn(struct vmx *v, const struct uop *u)
{
    uint64_t b, result;
    enum insn_result r = operand_read(v, u, 2, u->size, &b);

    if (r != INSN_DONE)
        return r;
    result = ~reg_read(v, u->reg[1], u->size) & b;
    reg_write(v, u->reg[0], u->size, result);
    set_logic_flags(v, u->size, result, false);
    return INSN_DONE;
}

static enum insn_result lowest_bit(struct vmx *v, const struct uop *u)
{
    uint64_t a, result;
    enum insn_result r = operand_read(v, u, 1, u->size, &a);
    bool cf = false;

    if (r != INSN_DONE)
        return r;
    switch (u->id) {
    case X86_INS_BLSI:
        result = a & (0 - a);
        cf = a != 0;
        break;
    case X86_INS_BLSR:
        result = a & (a - 1);
        cf = a == 0;
        break;
    default: // BLSMSK
        result = a ^ (a - 1);
        cf = a == 0;
        break;
    }
    reg_write(v, u->reg[0], u->size, result);
    set_logic_flags(v, u->size, result & size_mask(u->size), cf);
    return INSN_DONE;
}

static enum insn_result bextr(struct vmx *v, const struct uop *u)
{
    uint64_t a, control = reg_read(v, u->reg[2], u->size), result;
    unsigned first = control & 0xff, count = (control >> 8) & 0xff, bits = 8u * u->size;
    enum insn_result r = operand_read(v, u, 1, u->size, &a);

    if (r != INSN_DONE)
        return r;
    result = first < bits ? a >> first : 0;
    if (count < 64)
        result &= (1ull << count) - 1;
    reg_write(v, u->reg[0], u->size, result);
    flags_set(v, FLAGS_ARITHMETIC, result & size_mask(u->size) ? 0 : X86_RFLAGS_ZF);
    return INSN_DONE;
}

static enum insn_result bzhi(struct vmx *v, const struct uop *u)
{
    uint64_t a, result;
    unsigned n = (uint8_t)v->gpr.r[u->reg[2]], bits = 8u * u->size;
    enum insn_result r = operand_read(v, u, 1, u->size, &a);

    if (r != INSN_DONE)
        return r;
    result = n < bits ? a & ((1ull << n) - 1) : a;
    reg_write(v, u->reg[0], u->size, result);
    set_logic_flags(v, u->size, result, n >= bits);
    return INSN_DONE;
}

static enum insn_result deposit_extract(struct vmx *v, const struct uop *u)
{
    uint64_t mask, source = reg_read(v, u->reg[1], u->size), result = 0;
    enum insn_result r = operand_read(v, u, 2, u->size, &mask);
    unsigned n = 0;

    if (r != INSN_DONE)
        return r;
    for (unsigned i = 0; i < 8u * u->size; i++) {
        if (!((mask >> i) & 1))
            continue;
        if (u->id == X86_INS_PDEP)
            result |= ((source >> n) & 1) << i;
        else
            result |= ((source >> i) & 1) << n;
        n++;
    }
    reg_write(v, u->reg[0], u->size, result);
    return INSN_DONE;
}

// ADCX adds with CF alone, ADOX with OF alone.
static enum insn_result add_carry_x(struct vmx *v, const struct uop *u)
{
    uint64_t flag = u->id == X86_INS_ADCX ? X86_RFLAGS_CF : X86_RFLAGS_OF, b;
    enum insn_result r = operand_read(v, u, 1, u->size, &b);
    unsigned __int128 sum;

    if (r != INSN_DONE)
        return r;
    flags_settle(v);
    sum = (unsigned __int128)reg_read(v, u->reg[0], u->size) + b + ((v->rflags & flag) != 0);
    reg_write(v, u->reg[0], u->size, (uint64_t)sum);
    flags_set(v, flag, (uint64_t)(sum >> (8 * u->size)) & 1 ? flag : 0);
    return INSN_DONE;
}

const struct uop_row exec_bits_rows[] = {
    {X86_INS_BT, choose_bit_test, bit_test},
    {X86_INS_BTS, choose_bit_test, bit_test},
    {X86_INS_BTR, choose_bit_test, bit_test},
    {X86_INS_BTC, choose_bit_test, bit_test},
    {X86_INS_BSF, NULL, bit_scan},
    {X86_INS_BSR, NULL, bit_scan},
    {X86_INS_TZCNT, NULL, zero_count},
    {X86_INS_LZCNT, NULL, zero_count},
    {X86_INS_POPCNT, NULL, popcnt},
    {X86_INS_BSWAP, NULL, bswap},
    {X86_INS_MOVBE, NULL, movbe},
    {X86_INS_CRC32, NULL, crc32},
    {X86_INS_ANDN, NULL, andn},
    {X86_INS_BLSI, NULL, lowest_bit},
    {X86_INS_BLSR, NULL, lowest_bit},
    {X86_INS_BLSMSK, NULL, lowest_bit},
    {X86_INS_BEXTR, NULL, bextr},
    {X86_INS_BZHI, NULL, bzhi},
    {X86_INS_PDEP, NULL, deposit_extract},
    {X86_INS_PEXT, NULL, deposit_extract},
    {X86_INS_ADCX, NULL, add_carry_x},
    {X86_INS_ADOX, NULL, add_carry_x},
};
const unsigned exec_bits_count = sizeof exec_bits_rows / sizeof *exec_bits_rows;
