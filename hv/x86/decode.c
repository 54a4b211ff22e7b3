// SPDX-License-Identifier: Apache-2.0
// Prefixes, opcode row, ModRM and displacement, operands with their immediates (SDM vol. 2, 2.1, 2.2).
#include "hv/x86/decode.h"
#include "hv/lib/compiler.h"
#include "hv/x86/x86.h"

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

// Notations of hv/x86/opcodes.def.
enum notation {
    NOTE__,
    NOTE_Eb,
    NOTE_Ew,
    NOTE_Ed,
    NOTE_Ev,
    NOTE_Esw,
    NOTE_Gb,
    NOTE_Gv,
    NOTE_Gy,
    NOTE_Zb,
    NOTE_Zv,
    NOTE_Ib,
    NOTE_Ibs,
    NOTE_Iw,
    NOTE_Iz,
    NOTE_Iv,
    NOTE_Ie,
    NOTE_Jb,
    NOTE_Jz,
    NOTE_Ob,
    NOTE_Ov,
    NOTE_Ap,
    NOTE_M,
    NOTE_Mp,
    NOTE_Mq,
    NOTE_Mv,
    NOTE_My,
    NOTE_Xb,
    NOTE_Xv,
    NOTE_Xz,
    NOTE_Yb,
    NOTE_Yv,
    NOTE_Yz,
    NOTE_Sw,
    NOTE_Cy,
    NOTE_Dy,
    NOTE_Ry,
    NOTE_Vx,
    NOTE_Wx,
    NOTE_AL,
    NOTE_rAX,
    NOTE_eAX,
    NOTE_CL,
    NOTE_DX,
    NOTE_One,
    NOTE_ES,
    NOTE_CS,
    NOTE_SS,
    NOTE_DS,
    NOTE_FS,
    NOTE_GS,
};
enum group {
    GROUP_NONE,
    GROUP_GRP1A,
    GROUP_GRP3,
    GROUP_GRP4,
    GROUP_GRP5,
    GROUP_GRP6,
    GROUP_GRP7,
    GROUP_GRP8,
    GROUP_GRP9,
    GROUP_GRP11,
    GROUP_MOVU,
    GROUP_MOVA,
    GROUP_MOVI,
    GROUP_MOVNT,
    GROUP_COUNT
};
struct opcode_row {
    u8 op, group;
    u8 a, b, c; // enum notation
    u16 flags;
};

static const struct opcode_row opcodes[3][256] = {
#define OPCODE(map, opcode, op, a, b, c, flags)                                                              \
    [map][opcode] = {INSN_##op, GROUP_NONE, NOTE_##a, NOTE_##b, NOTE_##c, flags},
#define OPCODE_GROUP(map, opcode, group, a, b, c, flags)                                                     \
    [map][opcode] = {INSN_INVALID, GROUP_##group, NOTE_##a, NOTE_##b, NOTE_##c, flags},
#include "hv/x86/opcodes.def"
};
static const struct opcode_row groups[GROUP_COUNT][8] = {
#define GROUP_ROW(group, index, op, a, b, c, flags)                                                          \
    [GROUP_##group][index] = {INSN_##op, GROUP_NONE, NOTE_##a, NOTE_##b, NOTE_##c, flags},
#include "hv/x86/opcodes.def"
};

struct cursor {
    const u8 *bytes;
    unsigned count, at;
    enum code_width width;
    bool operand_prefix, address_prefix, short_of_bytes;
    u8 rex;
    u8 segment; // Override, or DECODE_NO_REG.
    struct opcode_row row;
    struct decoded *d;
};

static u8 next(struct cursor *c)
{
    if (c->at >= c->count) {
        c->short_of_bytes = true;
        return 0;
    }
    return c->bytes[c->at++];
}

// Little-endian, sign-extended; 0..8 bytes.
static u64 next_signed(struct cursor *c, unsigned bytes)
{
    u64 value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (u64)next(c) << (8 * i);
    unsigned shift = 64 - 8 * bytes;

    return bytes == 0 ? 0 : (u64)((s64)(value << shift) >> shift);
}

// True: `b` is a legacy prefix.
static bool take_prefix(struct cursor *c, u8 b)
{
    static const u8 segments[] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS};

    switch (b) {
    case 0x66:
        c->operand_prefix = true;
        return true;
    case 0x67:
        c->address_prefix = true;
        return true;
    case 0xf0:
        c->d->lock = true;
        return true;
    case 0xf2:
        c->d->repne = true;
        c->d->rep = false;
        return true;
    case 0xf3:
        c->d->rep = true;
        c->d->repne = false;
        return true;
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        if (c->width != CODE_64) // Without a meaning in 64-bit mode.
            c->segment = segments[(b >> 3) & 3];
        return true;
    case 0x64:
    case 0x65:
        c->segment = b == 0x64 ? SEG_FS : SEG_GS;
        return true;
    default:
        return false;
    }
}

// Prefixes in any order; REX counts only right before the opcode. Returns the first opcode byte.
static u8 prefixes(struct cursor *c)
{
    for (;;) {
        u8 b = next(c);

        if (c->short_of_bytes)
            return 0;
        if (take_prefix(c, b))
            c->rex = 0;
        else if (c->width == CODE_64 && (b & 0xf0) == 0x40)
            c->rex = b;
        else
            return b;
    }
}

static void sizes(struct cursor *c)
{
    struct decoded *d = c->d;
    bool small = c->operand_prefix != (c->width == CODE_16);

    d->operand_bytes = small ? 2 : 4;
    if (c->width == CODE_64) {
        d->address_bytes = c->address_prefix ? 4 : 8;
        if ((c->rex & REX_W) || (d->flags & OP_F64) || ((d->flags & OP_D64) && !c->operand_prefix))
            d->operand_bytes = 8;
        return;
    }
    d->address_bytes = c->address_prefix != (c->width == CODE_16) ? 2 : 4;
}

// --- ModRM (SDM vol. 2, tables 2-1 to 2-3).

static void address_16(struct cursor *c)
{
    static const u8 bases[] = {GPR_RBX, GPR_RBX, GPR_RBP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_RBP, GPR_RBX};
    static const u8 indices[] = {GPR_RSI, GPR_RDI, GPR_RSI, GPR_RDI};
    struct decoded_mem *m = &c->d->mem;
    unsigned mod = c->d->modrm >> 6, rm = c->d->modrm & 7;

    m->base = bases[rm];
    m->index = rm < 4 ? indices[rm] : DECODE_NO_REG;
    if (mod == 0 && rm == 6)
        m->base = DECODE_NO_REG;
    m->segment = m->base == GPR_RBP ? SEG_SS : SEG_DS;
    m->displacement = next_signed(c, mod == 1 ? 1 : mod == 2 || (mod == 0 && rm == 6) ? 2 : 0);
}

static void address_32(struct cursor *c)
{
    struct decoded_mem *m = &c->d->mem;
    unsigned mod = c->d->modrm >> 6, rm = c->d->modrm & 7;
    bool disp32 = mod == 2;

    m->index = DECODE_NO_REG;
    m->base = (u8)(rm | (c->rex & REX_B ? 8 : 0));
    if (rm == 4) {
        u8 sib = next(c), index = (u8)(((sib >> 3) & 7) | (c->rex & REX_X ? 8 : 0));

        m->scale = sib >> 6;
        m->index = index == GPR_RSP ? DECODE_NO_REG : index;
        m->base = (u8)((sib & 7) | (c->rex & REX_B ? 8 : 0));
        if (mod == 0 && (sib & 7) == 5) {
            m->base = DECODE_NO_REG;
            disp32 = true;
        }
    } else if (mod == 0 && rm == 5) {
        m->base = DECODE_NO_REG;
        m->rip_relative = c->width == CODE_64;
        disp32 = true;
    }
    m->segment = m->base == GPR_RSP || m->base == GPR_RBP ? SEG_SS : SEG_DS;
    m->displacement = next_signed(c, mod == 1 ? 1 : disp32 ? 4 : 0);
}

static bool is_register_form(const struct cursor *c)
{
    return c->d->modrm >> 6 == 3 || (c->d->flags & OP_REG_ONLY) != 0;
}

static void address(struct cursor *c)
{
    if (is_register_form(c))
        return;
    if (c->d->address_bytes == 2)
        address_16(c);
    else
        address_32(c);
    if (c->segment != DECODE_NO_REG)
        c->d->mem.segment = c->segment;
}

// --- Operands.

static struct operand gpr(const struct cursor *c, unsigned reg, unsigned bytes)
{
    if (bytes == 1 && c->rex == 0 && reg >= 4)
        return (struct operand){OPD_HIGH, (u8)(reg - 4), 1};
    return (struct operand){OPD_REG, (u8)reg, (u8)bytes};
}

static struct operand reg_field(const struct cursor *c, unsigned bytes)
{
    return gpr(c, ((c->d->modrm >> 3) & 7u) | (c->rex & REX_R ? 8 : 0), bytes);
}

static struct operand opcode_reg(const struct cursor *c, unsigned bytes)
{
    return gpr(c, (c->d->opcode & 7u) | (c->rex & REX_B ? 8 : 0), bytes);
}

static struct operand rm_field(const struct cursor *c, unsigned bytes)
{
    if (is_register_form(c))
        return gpr(c, (c->d->modrm & 7u) | (c->rex & REX_B ? 8 : 0), bytes);
    return (struct operand){OPD_MEM, 0, (u8)bytes};
}

static struct operand vector(const struct cursor *c, bool rm)
{
    if (rm && !is_register_form(c))
        return (struct operand){OPD_MEM, 0, 16};
    struct operand o = rm ? rm_field(c, 16) : reg_field(c, 16);

    o.kind = OPD_VEC;
    return o;
}

static struct operand immediate(struct cursor *c, unsigned bytes, unsigned operand_bytes)
{
    c->d->immediate = next_signed(c, bytes);
    return (struct operand){OPD_IMM, 0, (u8)operand_bytes};
}

// MOV with the address in the instruction.
static struct operand offset(struct cursor *c, unsigned bytes)
{
    struct decoded_mem *m = &c->d->mem;

    m->base = m->index = DECODE_NO_REG;
    m->displacement = next_signed(c, c->d->address_bytes);
    return (struct operand){OPD_MEM, 0, (u8)bytes};
}

static struct operand string(enum operand_kind kind, unsigned bytes)
{
    return (struct operand){(u8)kind, 0, (u8)bytes};
}

static struct operand far_pointer(struct cursor *c)
{
    struct operand o = immediate(c, c->d->operand_bytes, c->d->operand_bytes);

    c->d->immediate2 = (u16)next_signed(c, 2);
    return o;
}

static struct operand numbered(const struct cursor *c, enum operand_kind kind, unsigned bytes)
{
    struct operand o = reg_field(c, bytes);

    // Segment registers have three bits, without REX.R.
    o = (struct operand){(u8)kind, kind == OPD_SEG ? o.reg & 7 : o.reg, (u8)bytes};
    return o;
}

static struct operand immediate_operand(struct cursor *c, enum notation n, const struct operand *a)
{
    unsigned v = c->d->operand_bytes, z = v == 2 ? 2 : 4;

    switch (n) {
    case NOTE_Ib:
        return immediate(c, 1, 1);
    case NOTE_Ibs:
        return immediate(c, 1, v);
    case NOTE_Iw:
        return immediate(c, 2, 2);
    case NOTE_Iz:
        return immediate(c, z, v);
    case NOTE_Iv:
        return immediate(c, v, v);
    case NOTE_Ie:
        return a->bytes == 1 ? immediate(c, 1, 1) : immediate(c, z, v);
    case NOTE_Jb:
        return immediate(c, 1, v);
    case NOTE_Jz:
        return immediate(c, z, v);
    case NOTE_Ap:
        return far_pointer(c);
    default:
        return (struct operand){OPD_ONE, 0, 1};
    }
}

static struct operand fixed_operand(const struct cursor *c, enum notation n)
{
    unsigned v = c->d->operand_bytes;

    switch (n) {
    case NOTE_AL:
        return (struct operand){OPD_REG, GPR_RAX, 1};
    case NOTE_rAX:
        return (struct operand){OPD_REG, GPR_RAX, (u8)v};
    case NOTE_eAX:
        return (struct operand){OPD_REG, GPR_RAX, v == 2 ? 2 : 4};
    case NOTE_CL:
        return (struct operand){OPD_REG, GPR_RCX, 1};
    case NOTE_DX:
        return (struct operand){OPD_REG, GPR_RDX, 2};
    default:
        return (struct operand){OPD_SEG, (u8)(SEG_ES + (n - NOTE_ES)), 2};
    }
}

static struct operand memory_operand(struct cursor *c, enum notation n)
{
    unsigned v = c->d->operand_bytes, z = v == 2 ? 2 : 4, y = v == 8 ? 8 : 4;

    switch (n) {
    case NOTE_Ob:
        return offset(c, 1);
    case NOTE_Ov:
        return offset(c, v);
    case NOTE_Xb:
        return string(OPD_SI, 1);
    case NOTE_Xv:
        return string(OPD_SI, v);
    case NOTE_Xz:
        return string(OPD_SI, z);
    case NOTE_Yb:
        return string(OPD_DI, 1);
    case NOTE_Yv:
        return string(OPD_DI, v);
    case NOTE_Yz:
        return string(OPD_DI, z);
    case NOTE_Mp:
        return rm_field(c, v);
    case NOTE_Mq: // CMPXCHG8B, CMPXCHG16B
        return rm_field(c, v == 8 ? 16 : 8);
    case NOTE_Mv:
        return rm_field(c, v);
    case NOTE_My:
        return rm_field(c, y);
    default: // NOTE_M
        return rm_field(c, 0);
    }
}

static struct operand register_operand(struct cursor *c, enum notation n)
{
    unsigned v = c->d->operand_bytes, y = v == 8 ? 8 : 4, native = c->width == CODE_64 ? 8 : 4;

    switch (n) {
    case NOTE_Eb:
        return rm_field(c, 1);
    case NOTE_Ew:
        return rm_field(c, 2);
    case NOTE_Ed:
        return rm_field(c, 4);
    case NOTE_Ev:
        return rm_field(c, v);
    case NOTE_Esw: // A register of operand size, or two bytes of memory.
        return rm_field(c, is_register_form(c) ? v : 2);
    case NOTE_Gb:
        return reg_field(c, 1);
    case NOTE_Gv:
        return reg_field(c, v);
    case NOTE_Gy:
        return reg_field(c, y);
    case NOTE_Zb:
        return opcode_reg(c, 1);
    case NOTE_Zv:
        return opcode_reg(c, v);
    case NOTE_Sw:
        return numbered(c, OPD_SEG, 2);
    case NOTE_Cy:
        return numbered(c, OPD_CR, native);
    case NOTE_Dy:
        return numbered(c, OPD_DR, native);
    case NOTE_Ry:
        return rm_field(c, native);
    default: // NOTE_Vx, NOTE_Wx
        return vector(c, n == NOTE_Wx);
    }
}

static struct operand operand(struct cursor *c, enum notation n, const struct operand *a)
{
    if (n == NOTE__)
        return (struct operand){OPD_NONE, 0, 0};
    if ((n >= NOTE_Ib && n <= NOTE_Jz) || n == NOTE_Ap || n == NOTE_One)
        return immediate_operand(c, n, a);
    if (n >= NOTE_AL)
        return fixed_operand(c, n);
    if ((n >= NOTE_Ob && n <= NOTE_Ov) || (n >= NOTE_M && n <= NOTE_Yz))
        return memory_operand(c, n);
    return register_operand(c, n);
}

// --- The whole.

static bool has_modrm(const struct opcode_row *r)
{
    static const u64 notes = 1ull << NOTE_Eb | 1ull << NOTE_Ew | 1ull << NOTE_Ed | 1ull << NOTE_Ev |
                             1ull << NOTE_Esw | 1ull << NOTE_M | 1ull << NOTE_Mp | 1ull << NOTE_Mq |
                             1ull << NOTE_Mv | 1ull << NOTE_My | 1ull << NOTE_Ry | 1ull << NOTE_Wx;

    return ((notes >> r->a | notes >> r->b) & 1) != 0;
}

// The row, with those of groups merged.
static bool find_row(struct cursor *c, u8 map)
{
    struct decoded *d = c->d;
    struct opcode_row *r = &c->row;

    *r = opcodes[map][d->opcode];
    if (r->op == INSN_INVALID && r->group == GROUP_NONE)
        return false;
    if (has_modrm(r))
        d->modrm = next(c);
    unsigned reg = (d->modrm >> 3) & 7u;

    if (r->group != GROUP_NONE) {
        unsigned prefix = d->repne ? 3 : d->rep ? 2 : c->operand_prefix ? 1 : 0;
        const struct opcode_row *g = &groups[r->group][r->flags & OP_VEX_LIKE ? prefix : reg];

        r->op = g->op;
        r->a = g->a != NOTE__ ? g->a : r->a;
        r->b = g->b != NOTE__ ? g->b : r->b;
        r->flags |= g->flags;
    }
    if (r->flags & OP_BY_REG) {
        r->op = (u8)(r->op + reg);
        if (r->op == INSN_CMP)
            r->flags &= (u16)~OP_LOCK;
    }
    d->op = r->op;
    d->flags = r->flags;
    return r->op != INSN_INVALID;
}

static bool is_invalid(const struct cursor *c)
{
    const struct decoded *d = c->d;
    bool memory = d->a.kind == OPD_MEM;

    if (d->lock && !((d->flags & OP_LOCK) && memory))
        return true;
    if ((d->flags & OP_MEM_ONLY) && is_register_form(c))
        return true;
    if (d->a.kind == OPD_SEG && d->op == INSN_MOV_SREG && d->a.reg == SEG_CS)
        return true;
    if ((d->a.kind == OPD_SEG && d->a.reg > SEG_GS) || (d->b.kind == OPD_SEG && d->b.reg > SEG_GS))
        return true;
    return (d->flags & (c->width == CODE_64 ? OP_I64 : OP_O64)) != 0;
}

enum decode_result decode_insn(const u8 *bytes, unsigned count, enum code_width width, struct decoded *out)
{
    struct cursor c = {.bytes = bytes, .count = count, .width = width, .segment = DECODE_NO_REG, .d = out};
    u8 map = 0;

    *out = (struct decoded){0};
    out->opcode = prefixes(&c);
    if (out->opcode == 0x0f) {
        map = 1;
        out->opcode = next(&c);
        if (out->opcode == 0x38) {
            map = 2;
            out->opcode = next(&c);
        }
    }
    if (c.short_of_bytes)
        return DECODE_SHORT;
    if (!find_row(&c, map))
        return c.short_of_bytes ? DECODE_SHORT : DECODE_UNKNOWN;
    sizes(&c);
    out->mem.segment = c.segment != DECODE_NO_REG ? c.segment : SEG_DS;
    if (has_modrm(&c.row))
        address(&c);
    out->a = operand(&c, c.row.a, &out->a);
    out->b = operand(&c, c.row.b, &out->a);
    out->c = operand(&c, c.row.c, &out->a);
    if (out->op == INSN_ENTER)
        out->immediate2 = next(&c);
    out->length = (u8)c.at;
    if (c.short_of_bytes)
        return DECODE_SHORT;
    return is_invalid(&c) ? DECODE_INVALID : DECODE_OK;
}
