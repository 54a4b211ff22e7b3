// SPDX-License-Identifier: Apache-2.0
// Shifts and rotates (SDM vol. 1 7.3.6). Flags that the manual leaves undefined are those of a count of one,
// extended in the obvious way.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

static unsigned count_mask(unsigned size)
{
    return size == 8 ? 63 : 31;
}

static bool bit(uint64_t value, unsigned n)
{
    return (value >> n) & 1;
}

static void set_shift_flags(struct vmx *v, unsigned size, uint64_t result, bool cf, bool of)
{
    flags_set(v, FLAGS_ARITHMETIC,
              flags_szp(result, size) | (cf ? X86_RFLAGS_CF : 0) | (of ? X86_RFLAGS_OF : 0));
}

static void set_rotate_flags(struct vmx *v, bool cf, bool of)
{
    flags_set(v, X86_RFLAGS_CF | X86_RFLAGS_OF, (cf ? X86_RFLAGS_CF : 0) | (of ? X86_RFLAGS_OF : 0));
}

static uint64_t alu_shl(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    unsigned bits = 8 * size;
    uint64_t result;
    bool cf;

    if (!count)
        return a;
    result = (a << count) & size_mask(size);
    cf = count <= bits && bit(a, bits - (unsigned)count);
    set_shift_flags(v, size, result, cf, bit(result, bits - 1) != cf);
    return result;
}

static uint64_t alu_shr(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    unsigned bits = 8 * size;
    uint64_t result = a >> count;

    if (!count)
        return a;
    set_shift_flags(v, size, result, bit(a >> (count - 1), 0), count == 1 && bit(a, bits - 1));
    return result;
}

static uint64_t alu_sar(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    int64_t wide = sign_extend(a, size);
    uint64_t result = (uint64_t)(wide >> count) & size_mask(size);

    if (!count)
        return a;
    set_shift_flags(v, size, result, (wide >> (count - 1)) & 1, false);
    return result;
}

static uint64_t alu_rol(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    unsigned bits = 8 * size, n = (unsigned)count % bits;
    uint64_t result = n ? ((a << n) | (a >> (bits - n))) & size_mask(size) : a;

    if (count)
        set_rotate_flags(v, bit(result, 0), bit(result, bits - 1) != bit(result, 0));
    return result;
}

static uint64_t alu_ror(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    unsigned bits = 8 * size, n = (unsigned)count % bits;
    uint64_t result = n ? ((a >> n) | (a << (bits - n))) & size_mask(size) : a;

    if (count)
        set_rotate_flags(v, bit(result, bits - 1), bit(result, bits - 1) != bit(result, bits - 2));
    return result;
}

// Through CF: a rotation of bits + 1 bits.
static uint64_t alu_rcl(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    unsigned bits = 8 * size, n = (unsigned)count % (bits + 1);
    bool cf = flags_cf(v);

    for (unsigned i = 0; i < n; i++) {
        bool out = bit(a, bits - 1);

        a = (a << 1 | cf) & size_mask(size);
        cf = out;
    }
    if (n)
        set_rotate_flags(v, cf, bit(a, bits - 1) != cf);
    return a;
}

static uint64_t alu_rcr(struct vmx *v, unsigned size, uint64_t a, uint64_t count)
{
    unsigned bits = 8 * size, n = (unsigned)count % (bits + 1);
    bool cf = flags_cf(v);

    for (unsigned i = 0; i < n; i++) {
        bool out = bit(a, 0);

        a = a >> 1 | (uint64_t)cf << (bits - 1);
        cf = out;
    }
    if (n)
        set_rotate_flags(v, cf, bit(a, bits - 1) != bit(a, bits - 2));
    return a;
}

// Count: an immediate, CL, or the 1 that the encoding implies.
static uint64_t count_of(const struct vmx *v, const struct uop *u, unsigned n)
{
    uint64_t count = u->kind[n] == OPERAND_GPR ? v->gpr.r[REG_RCX] : u->kind[n] == OPERAND_IMM ? u->imm : 1;

    return count & count_mask(u->size);
}

#define SHIFT(name)                                                                                          \
    static enum insn_result name(struct vmx *v, const struct uop *u)                                         \
    {                                                                                                        \
        return operand_modify(v, u, alu_##name, count_of(v, u, 1));                                          \
    }
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
#undef SHIFT

// --- SHLD, SHRD: bits come in from the second operand. Counts above 16 of 16-bit operands take them from
// there and, beyond, from the first again, as processors do. ---

static uint64_t double_shift(struct vmx *v, const struct uop *u, uint64_t a, uint64_t count, bool left)
{
    unsigned size = u->size, bits = 8 * size;
    uint64_t b = reg_read(v, u->reg[1], size), result = a;
    bool cf = false;

    if (!count)
        return a;
    for (unsigned i = 0; i < count; i++) {
        if (left) {
            cf = bit(result, bits - 1);
            result = (result << 1 | bit(b, bits - 1)) & size_mask(size);
            b = (b << 1 | bit(a, bits - 1)) & size_mask(size);
            a <<= 1;
        } else {
            cf = bit(result, 0);
            result = result >> 1 | (uint64_t)bit(b, 0) << (bits - 1);
            b = b >> 1 | (uint64_t)bit(a, 0) << (bits - 1);
            a >>= 1;
        }
    }
    set_shift_flags(v, size, result, cf,
                    left ? bit(result, bits - 1) != cf : bit(result, bits - 1) != bit(result, bits - 2));
    return result;
}

static enum insn_result shift_double(struct vmx *v, const struct uop *u)
{
    bool left = u->id == X86_INS_SHLD;
    uint64_t a, count = count_of(v, u, 2);
    enum insn_result r;

    if (u->kind[0] == OPERAND_GPR) {
        a = reg_read(v, u->reg[0], u->size);
        reg_write(v, u->reg[0], u->size, double_shift(v, u, a, count, left));
        return INSN_DONE;
    }
    r = memory_rmw_begin(v, u, u->size, &a);
    if (r == INSN_DONE)
        operand_rmw_end(v, u, u->size, double_shift(v, u, a, count, left));
    return r;
}

// --- Without flags: BMI2 (SDM vol. 2, RORX, SARX/SHLX/SHRX). ---

static enum insn_result shift_x(struct vmx *v, const struct uop *u)
{
    uint64_t a, count, result;
    enum insn_result r = operand_read(v, u, 1, u->size, &a);

    if (r != INSN_DONE)
        return r;
    count = (u->id == X86_INS_RORX ? u->imm : reg_read(v, u->reg[2], u->size)) & count_mask(u->size);
    if (u->id == X86_INS_SHLX)
        result = a << count;
    else if (u->id == X86_INS_SHRX)
        result = a >> count;
    else if (u->id == X86_INS_SARX)
        result = (uint64_t)(sign_extend(a, u->size) >> count);
    else
        result = count ? a >> count | a << (8 * u->size - count) : a;
    reg_write(v, u->reg[0], u->size, result);
    return INSN_DONE;
}

const struct uop_row exec_shift_rows[] = {
    {X86_INS_SHL, NULL, shl},           {X86_INS_SAL, NULL, shl},      {X86_INS_SHR, NULL, shr},
    {X86_INS_SAR, NULL, sar},           {X86_INS_ROL, NULL, rol},      {X86_INS_ROR, NULL, ror},
    {X86_INS_RCL, NULL, rcl},           {X86_INS_RCR, NULL, rcr},      {X86_INS_SHLD, NULL, shift_double},
    {X86_INS_SHRD, NULL, shift_double}, {X86_INS_SHLX, NULL, shift_x}, {X86_INS_SHRX, NULL, shift_x},
    {X86_INS_SARX, NULL, shift_x},      {X86_INS_RORX, NULL, shift_x},
};
const unsigned exec_shift_count = sizeof exec_shift_rows / sizeof *exec_shift_rows;
