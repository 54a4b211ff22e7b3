// SPDX-License-Identifier: Apache-2.0
// x87 control: words, environments, whole states (SDM vol. 1 8.1.10, 8.3.11).
#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/interp/exec_x87.h"
#include "models/cpu/x86/interp/operand.h"

#define EXPONENT 0x7fffu
#define REGISTER_BYTES 10u
#define STATE_BYTES_MAX 108u

uint16_t x87_tags(const struct x87 *x)
{
    enum { VALID, ZERO, SPECIAL, EMPTY };
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        unsigned physical = x87_physical(x, i), tag = SPECIAL;
        uint64_t mantissa = x->st[i][0], exponent = x->st[i][1] & EXPONENT;

        if (!(x->valid >> physical & 1))
            tag = EMPTY;
        else if (!exponent && !mantissa)
            tag = ZERO;
        else if (exponent && exponent != EXPONENT && mantissa >> 63)
            tag = VALID;
        tags |= (uint16_t)(tag << (2 * physical));
    }
    return tags;
}

static void set_tags(struct x87 *x, uint16_t tags)
{
    x->valid = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> (2 * i) & 3) != 3)
            x->valid |= (uint8_t)(1u << i);
}

// --- Environments: 7 words of 16 or 32 bits, in a form for protected and one for real-address mode. ---

static void put(unsigned char *p, unsigned word, unsigned n, uint32_t value)
{
    memcpy(p + n * word, &value, word);
}

static uint32_t get(const unsigned char *p, unsigned word, unsigned n)
{
    uint32_t value = 0;

    memcpy(&value, p + n * word, word);
    return value;
}

// Unused halves of 32-bit words are ones.
static void environment(const struct x87 *x, unsigned word, bool real, unsigned char *p)
{
    uint32_t unused = word == 4 ? 0xffff0000u : 0, ip = (uint32_t)x->ip, dp = (uint32_t)x->dp;

    put(p, word, 0, unused | x->control);
    put(p, word, 1, unused | x->status);
    put(p, word, 2, unused | x87_tags(x));
    if (real) {
        put(p, word, 3, unused | (ip & 0xffff));
        put(p, word, 4, (ip >> 16) << 12 | x->opcode);
        put(p, word, 5, unused | (dp & 0xffff));
        put(p, word, 6, (dp >> 16) << 12);
    } else {
        put(p, word, 3, ip);
        put(p, word, 4, word == 4 ? (uint32_t)x->opcode << 16 : 0);
        put(p, word, 5, dp);
        put(p, word, 6, unused);
    }
}

static void set_environment(struct x87 *x, unsigned word, bool real, const unsigned char *p)
{
    uint32_t fourth = get(p, word, 4), sixth = get(p, word, 6);

    x->control = (uint16_t)((get(p, word, 0) & X87_CONTROL_DEFINED) | X87_CONTROL_FIXED);
    x->status = (uint16_t)get(p, word, 1);
    set_tags(x, (uint16_t)get(p, word, 2));
    x->ip = get(p, word, 3);
    x->dp = get(p, word, 5);
    if (real) {
        x->ip = (x->ip & 0xffff) | (uint64_t)(fourth >> 12 & 0xffff) << 16;
        x->dp = (x->dp & 0xffff) | (uint64_t)(sixth >> 12 & 0xffff) << 16;
        x->opcode = fourth & 0x7ff;
    } else {
        x->opcode = word == 4 ? fourth >> 16 & 0x7ff : 0;
    }
    x87_summarize(x);
}

static bool real_format(const struct vmx *v)
{
    return !guest_protected(v);
}

static enum insn_result fnstenv(struct vmx *v, const struct uop *u)
{
    unsigned char bytes[STATE_BYTES_MAX];
    enum insn_result r = x87_available(v, u);

    if (r != INSN_DONE)
        return r;
    environment(&v->x87, u->size, real_format(v), bytes);
    r = memory_store_bytes(v, u, 7u * u->size, 1, bytes);
    if (r != INSN_DONE)
        return r;
    v->x87.control |= X87_EXCEPTIONS;
    x87_summarize(&v->x87);
    return INSN_DONE;
}

static enum insn_result fldenv(struct vmx *v, const struct uop *u)
{
    unsigned char bytes[STATE_BYTES_MAX];
    enum insn_result r = x87_check(v, u);

    if (r == INSN_DONE)
        r = memory_load_bytes(v, u, 7u * u->size, 1, bytes);
    if (r == INSN_DONE)
        set_environment(&v->x87, u->size, real_format(v), bytes);
    return r;
}

static enum insn_result fnsave(struct vmx *v, const struct uop *u)
{
    unsigned char bytes[STATE_BYTES_MAX];
    unsigned at = 7u * u->size;
    enum insn_result r = x87_available(v, u);

    if (r != INSN_DONE)
        return r;
    environment(&v->x87, u->size, real_format(v), bytes);
    for (unsigned i = 0; i < 8; i++)
        memcpy(bytes + at + i * REGISTER_BYTES, v->x87.st[i], REGISTER_BYTES);
    r = memory_store_bytes(v, u, at + 8 * REGISTER_BYTES, 1, bytes);
    if (r != INSN_DONE)
        return r;
    x87_set_top(&v->x87, 0);
    x87_init(&v->x87);
    return INSN_DONE;
}

static enum insn_result frstor(struct vmx *v, const struct uop *u)
{
    unsigned char bytes[STATE_BYTES_MAX];
    unsigned at = 7u * u->size;
    enum insn_result r = x87_check(v, u);

    if (r == INSN_DONE)
        r = memory_load_bytes(v, u, at + 8 * REGISTER_BYTES, 1, bytes);
    if (r != INSN_DONE)
        return r;
    memset(v->x87.st, 0, sizeof v->x87.st);
    for (unsigned i = 0; i < 8; i++)
        memcpy(v->x87.st[i], bytes + at + i * REGISTER_BYTES, REGISTER_BYTES);
    set_environment(&v->x87, u->size, real_format(v), bytes);
    return INSN_DONE;
}

// --- Words. ---

static enum insn_result fldcw(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = x87_check(v, u);

    if (r == INSN_DONE)
        r = memory_load(v, u, 2, &value);
    if (r != INSN_DONE)
        return r;
    v->x87.control = (uint16_t)((value & X87_CONTROL_DEFINED) | X87_CONTROL_FIXED);
    x87_summarize(&v->x87);
    return INSN_DONE;
}

static enum insn_result fnstcw(struct vmx *v, const struct uop *u)
{
    enum insn_result r = x87_available(v, u);

    return r == INSN_DONE ? memory_store(v, u, 2, v->x87.control) : r;
}

static enum insn_result fnstsw(struct vmx *v, const struct uop *u)
{
    enum insn_result r = x87_available(v, u);

    if (r != INSN_DONE)
        return r;
    if (u->kind[0] == OPERAND_MEMORY)
        return memory_store(v, u, 2, v->x87.status);
    reg_write(v, REG_RAX, 2, v->x87.status);
    return INSN_DONE;
}

static enum insn_result fninit(struct vmx *v, const struct uop *u)
{
    enum insn_result r = x87_available(v, u);

    if (r != INSN_DONE)
        return r;
    x87_set_top(&v->x87, 0);
    x87_init(&v->x87);
    return INSN_DONE;
}

static enum insn_result fnclex(struct vmx *v, const struct uop *u)
{
    enum insn_result r = x87_available(v, u);

    // Flags, stack fault, summary, busy.
    if (r == INSN_DONE)
        v->x87.status &= 0x7f00;
    return r;
}

// --- Decoding. ---

static const struct {
    uint16_t op; // Opcode byte << 8 | ModRM.reg << 3, or the whole of a register form
    uop_fn fn;
} rows[] = {
    {0xd920, fldenv}, {0xd928, fldcw},  {0xd930, fnstenv}, {0xd938, fnstcw}, {0xdd20, frstor},
    {0xdd30, fnsave}, {0xdd38, fnstsw}, {0xdfe0, fnstsw},  {0xdbe2, fnclex}, {0xdbe3, fninit},
};

uop_fn x87_choose_memory(struct uop *u, const cs_insn *in)
{
    uint8_t rex;
    const uint8_t *p = decode_opcode(u, in, &rex);
    bool prefix = memchr(in->bytes, 0x66, (size_t)(p - in->bytes)) != NULL;

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].op != (u->op & 0xff38))
            continue;
        u->size = (u->code_size == CODE_16) != prefix ? 2 : 4;
        return rows[i].fn;
    }
    return NULL;
}

uop_fn x87_choose_register(const struct uop *u)
{
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].op == u->op)
            return rows[i].fn;
    return NULL;
}
