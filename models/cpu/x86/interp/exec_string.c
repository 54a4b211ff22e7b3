// SPDX-License-Identifier: Apache-2.0
// String instructions (SDM vol. 1 7.3.9). A repeated one can stop behind any element: registers say how far
// it came, RIP stays on it.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

static uint64_t pointer(const struct vmx *v, const struct uop *u, unsigned reg)
{
    return v->gpr.r[reg] & size_mask(u->address_size);
}

// By DF, backward or forward.
static void advance(struct vmx *v, const struct uop *u, unsigned reg)
{
    uint64_t step = v->rflags & X86_RFLAGS_DF ? 0 - (uint64_t)u->size : u->size;

    reg_write(v, reg, u->address_size, v->gpr.r[reg] + step);
}

static void compare(struct vmx *v, unsigned size, uint64_t a, uint64_t b)
{
    uint64_t result = (a - b) & size_mask(size), borrows = (~a & b) | ((~a | b) & result);

    flags_result(v, 8 * size, result, borrows, (borrows >> (8 * size - 1)) & 1);
}

// --- One element of each. Source: DS:SI or an override; destination always ES:DI. ---

static enum insn_result movs(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r =
        operand_load(v, u, (enum segment_name)u->segment, pointer(v, u, REG_RSI), u->size, &value);

    if (r == INSN_DONE)
        r = operand_store(v, u, SEG_ES, pointer(v, u, REG_RDI), u->size, value);
    if (r != INSN_DONE)
        return r;
    advance(v, u, REG_RSI);
    advance(v, u, REG_RDI);
    return r;
}

static enum insn_result stos(struct vmx *v, const struct uop *u)
{
    enum insn_result r =
        operand_store(v, u, SEG_ES, pointer(v, u, REG_RDI), u->size, reg_read(v, REG_RAX, u->size));

    if (r == INSN_DONE)
        advance(v, u, REG_RDI);
    return r;
}

static enum insn_result lods(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r =
        operand_load(v, u, (enum segment_name)u->segment, pointer(v, u, REG_RSI), u->size, &value);

    if (r != INSN_DONE)
        return r;
    reg_write(v, REG_RAX, u->size, value);
    advance(v, u, REG_RSI);
    return r;
}

static enum insn_result cmps(struct vmx *v, const struct uop *u)
{
    uint64_t a, b;
    enum insn_result r =
        operand_load(v, u, (enum segment_name)u->segment, pointer(v, u, REG_RSI), u->size, &a);

    if (r == INSN_DONE)
        r = operand_load(v, u, SEG_ES, pointer(v, u, REG_RDI), u->size, &b);
    if (r != INSN_DONE)
        return r;
    compare(v, u->size, a, b);
    advance(v, u, REG_RSI);
    advance(v, u, REG_RDI);
    return r;
}

static enum insn_result scas(struct vmx *v, const struct uop *u)
{
    uint64_t b;
    enum insn_result r = operand_load(v, u, SEG_ES, pointer(v, u, REG_RDI), u->size, &b);

    if (r != INSN_DONE)
        return r;
    compare(v, u->size, reg_read(v, REG_RAX, u->size), b);
    advance(v, u, REG_RDI);
    return r;
}

// --- Repetition. ---

// REPE, REPNE: CMPS and SCAS stop at the first element that differs, or does not.
static bool goes_on(const struct vmx *v, const struct uop *u, bool compares)
{
    return !compares || flags_zf(v) == !(u->flags & UOP_REPNE);
}

static inline __attribute__((always_inline)) enum insn_result repeat(struct vmx *v, const struct uop *u,
                                                                     uop_fn one, bool compares)
{
    // A microcoded loop: one unit of 16 bytes a cycle (class string_unit), an element where it compares.
    unsigned ticks = compares ? TICKS_PER_CYCLE : u->size;

    if (!(u->flags & (UOP_REP | UOP_REPNE)))
        return one(v, u);
    while (reg_read(v, REG_RCX, u->address_size)) {
        enum insn_result r = one(v, u);

        if (r != INSN_DONE)
            return r;
        reg_write(v, REG_RCX, u->address_size, v->gpr.r[REG_RCX] - 1);
        v->cpu->now_ticks += ticks;
        if (!goes_on(v, u, compares))
            break;
        if ((v->rflags & X86_RFLAGS_TF) && reg_read(v, REG_RCX, u->address_size)) {
            uop_at(v, u);
            v->element = true;
            return INSN_AGAIN;
        }
    }
    return INSN_DONE;
}

#define STRING(name, compares)                                                                               \
    static enum insn_result name##_any(struct vmx *v, const struct uop *u)                                   \
    {                                                                                                        \
        return repeat(v, u, name, compares);                                                                 \
    }
STRING(movs, false)
STRING(stos, false)
STRING(lods, false)
STRING(cmps, true)
STRING(scas, true)
#undef STRING

static uop_fn choose_string(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    if (u->flags & UOP_LOCK)
        return NULL;
    u->segment = (uint8_t)decode_segment(u, in, SEG_DS);
    u->size = in->detail->x86.operands[0].size;
    return row->fn;
}

const struct uop_row exec_string_rows[] = {
    {X86_INS_MOVSB, choose_string, movs_any}, {X86_INS_MOVSW, choose_string, movs_any},
    {X86_INS_MOVSD, choose_string, movs_any}, {X86_INS_MOVSQ, choose_string, movs_any},
    {X86_INS_STOSB, choose_string, stos_any}, {X86_INS_STOSW, choose_string, stos_any},
    {X86_INS_STOSD, choose_string, stos_any}, {X86_INS_STOSQ, choose_string, stos_any},
    {X86_INS_LODSB, choose_string, lods_any}, {X86_INS_LODSW, choose_string, lods_any},
    {X86_INS_LODSD, choose_string, lods_any}, {X86_INS_LODSQ, choose_string, lods_any},
    {X86_INS_CMPSB, choose_string, cmps_any}, {X86_INS_CMPSW, choose_string, cmps_any},
    {X86_INS_CMPSD, choose_string, cmps_any}, {X86_INS_CMPSQ, choose_string, cmps_any},
    {X86_INS_SCASB, choose_string, scas_any}, {X86_INS_SCASW, choose_string, scas_any},
    {X86_INS_SCASD, choose_string, scas_any}, {X86_INS_SCASQ, choose_string, scas_any},
};
const unsigned exec_string_count = sizeof exec_string_rows / sizeof *exec_string_rows;
