// SPDX-License-Identifier: Apache-2.0
// Prefixes, opcode row, ModRM and displacement, immediate (SDM vol. 2, 2.1, 2.2).
#include "hv/x86/decode.h"
#include "hv/lib/compiler.h"

#define REX_W 8u
#define REX_R 4u

enum {
    M = 0x1,
    B = 0x2,
    S = 0x4,
    I8 = 0x8,
    IZ = 0x10,
    O = 0x20,
    SRC8 = 0x40,
    SRC16 = 0x80,
    SUB_SHIFT = 8, // Wanted ModRM.reg plus one; 0: any.
    SUB0 = 0x100,
    SUB1 = 0x200,
    SUB4 = 0x500,
    SUB5 = 0x600,
    SUB6 = 0x700,
    SUB7 = 0x800,
};

struct opcode_row {
    u8 map, opcode, op, form;
    u16 flags;
};
static const struct opcode_row opcodes[] = {
#define OPCODE(map, opcode, op, form, flags) {map, opcode, INSN_##op, form, flags},
#include "hv/x86/opcodes.def"
};

struct cursor {
    const u8 *bytes;
    unsigned count, at;
    bool wide, operand16, address_size, rep;
    u8 rex, modrm;
    bool fail;
};

static u8 next(struct cursor *c)
{
    if (c->at >= c->count) {
        c->fail = true;
        return 0;
    }
    return c->bytes[c->at++];
}

// Little-endian, sign-extended.
static u64 next_signed(struct cursor *c, unsigned bytes)
{
    u64 value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (u64)next(c) << (8 * i);
    unsigned shift = 64 - 8 * bytes;

    return bytes == 0 ? 0 : (u64)((s64)(value << shift) >> shift);
}

// Legacy prefixes, then REX in 64-bit code. Returns the opcode byte.
static u8 skip_prefixes(struct cursor *c)
{
    for (;;) {
        u8 b = next(c);

        switch (b) {
        case 0x66:
            c->operand16 = true;
            break;
        case 0x67:
            c->address_size = true;
            break;
        case 0xf2:
        case 0xf3:
            c->rep = true;
            break;
        case 0xf0: // LOCK
        case 0x26: // Segments.
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
            break;
        default:
            if (!c->wide || (b & 0xf0) != 0x40)
                return b;
            c->rex = b;
            return next(c);
        }
        if (c->fail)
            return 0;
    }
}

// SIB and displacement of 32- and 64-bit addressing. Register operands are not ours.
static void skip_address(struct cursor *c)
{
    unsigned mod = c->modrm >> 6, rm = c->modrm & 7;

    if (mod == 3) {
        c->fail = true;
        return;
    }
    if (!c->wide && c->address_size) { // 16-bit addressing has no SIB.
        (void)next_signed(c, mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
        return;
    }
    bool disp32 = mod == 2 || (mod == 0 && rm == 5);

    if (rm == 4 && (next(c) & 7) == 5 && mod == 0)
        disp32 = true;
    (void)next_signed(c, mod == 1 ? 1 : disp32 ? 4 : 0);
}

static const struct opcode_row *find_row(u8 map, u8 opcode, u8 modrm)
{
    for (unsigned i = 0; i < ARRAY_COUNT(opcodes); i++) {
        const struct opcode_row *r = &opcodes[i];
        unsigned sub = r->flags >> SUB_SHIFT;

        if (r->map == map && r->opcode == opcode && (sub == 0 || sub - 1 == ((modrm >> 3) & 7u)))
            return r;
    }
    return NULL;
}

static void set_sizes(const struct cursor *c, u16 flags, struct decoded *out)
{
    u8 size = flags & B ? 1 : c->rex & REX_W ? 8 : c->operand16 ? 2 : 4;

    out->reg_bytes = size;
    out->mem_bytes = flags & SRC8 ? 1 : flags & SRC16 ? 2 : size;
}

bool decode_insn(const u8 *bytes, unsigned count, bool wide, struct decoded *out)
{
    struct cursor c = {.bytes = bytes, .count = count, .wide = wide};
    u8 map = 0, opcode = skip_prefixes(&c);

    if (opcode == 0x0f) {
        map = 1;
        opcode = next(&c);
    }
    // The byte after the opcode is looked at even if there is no ModRM; only rows with M then use it up.
    c.modrm = c.at < c.count ? c.bytes[c.at] : 0;
    const struct opcode_row *row = c.fail ? NULL : find_row(map, opcode, c.modrm);

    if (row == NULL)
        return false;
    *out = (struct decoded){.op = row->op, .form = row->form, .rep = c.rep, .string = (row->flags & S) != 0};
    out->address32 = wide && c.address_size;
    set_sizes(&c, row->flags, out);
    if (row->flags & M) {
        (void)next(&c);
        out->reg = (u8)(((c.modrm >> 3) & 7) | (c.rex & REX_R ? 8 : 0));
        out->high_byte = out->reg_bytes == 1 && c.rex == 0 && out->reg >= 4;
        skip_address(&c);
    }
    if (row->flags & O)
        (void)next_signed(&c, wide ? (c.address_size ? 4 : 8) : c.address_size ? 2 : 4);
    if (row->flags & I8)
        out->immediate = next_signed(&c, 1);
    else if (row->flags & IZ)
        out->immediate = next_signed(&c, out->mem_bytes == 2 ? 2 : 4);
    out->length = (u8)c.at;
    return !c.fail;
}
