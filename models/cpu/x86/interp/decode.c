// SPDX-License-Identifier: Apache-2.0
// From bytes to uops. Capstone reads the instruction; here its operands become register numbers and
// addresses, and the table of its mnemonic says who executes it.
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/operand.h"

#include "models/cpu/native/cs_register.h"
#include "models/cpu/native/insn_layout.h"
#include "models/cpu/x86/trace_exit.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

// An instruction as it was decoded: where it comes again, only displacements have to be looked at.
struct decoded {
    struct insn_key key;
    struct uop uop;
    struct price_insn price;
};
#define DECODED_BITS 12u

struct decoder {
    struct decoded *known; // By insn_key_slot()
    csh handle[3];         // By enum code_size
    cs_insn *insn;
    const struct uop_row *row[UOP_IDS];
    bool told[X86_INS_ENDING]; // That it is not modelled
};

struct decoder *decoder_create(void)
{
    static const struct {
        const struct uop_row *rows;
        const unsigned *count;
    } tables[] = {
#define TABLE(name) {exec_##name##_rows, &exec_##name##_count},
        UOP_TABLES(TABLE)
#undef TABLE
    };
    static const cs_mode modes[3] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
    struct decoder *d = calloc(1, sizeof *d);

    if (!d)
        return NULL;
    for (unsigned i = 0; i < 3; i++) {
        if (cs_open(CS_ARCH_X86, modes[i], &d->handle[i]) != CS_ERR_OK)
            abort();
        cs_option(d->handle[i], CS_OPT_DETAIL, CS_OPT_ON);
    }
    d->insn = cs_malloc(d->handle[0]);
    d->known = calloc(1u << DECODED_BITS, sizeof *d->known);
    if (!d->insn || !d->known)
        abort();
    for (unsigned t = 0; t < sizeof tables / sizeof *tables; t++)
        for (unsigned i = 0; i < *tables[t].count; i++) {
            assert(!d->row[tables[t].rows[i].id] && "two rows for one mnemonic");
            d->row[tables[t].rows[i].id] = &tables[t].rows[i];
        }
    return d;
}

void decoder_destroy(struct decoder *d)
{
    if (!d)
        return;
    cs_free(d->insn, 1);
    free(d->known);
    for (unsigned i = 0; i < 3; i++)
        cs_close(&d->handle[i]);
    free(d);
}

void decoder_reset(struct decoder *d)
{
    memset(d->told, 0, sizeof d->told);
}

// --- Operands. ---

static uint8_t general(unsigned reg)
{
    struct cs_register r = cs_register_of(reg);

    return r.kind == CS_REGISTER_GPR    ? r.number
           : r.kind == CS_REGISTER_HIGH ? (uint8_t)(r.number | REG_HIGH)
                                        : REG_NONE;
}

enum segment_name decode_segment(const struct uop *u, const cs_insn *in, enum segment_name without)
{
    static const struct {
        uint8_t prefix, segment;
    } overrides[] = {{X86_PREFIX_CS, SEG_CS}, {X86_PREFIX_SS, SEG_SS}, {X86_PREFIX_DS, SEG_DS},
                     {X86_PREFIX_ES, SEG_ES}, {X86_PREFIX_FS, SEG_FS}, {X86_PREFIX_GS, SEG_GS}};

    for (unsigned i = 0; i < 6; i++)
        // In 64-bit mode only FS and GS override.
        if (in->detail->x86.prefix[1] == overrides[i].prefix &&
            (u->code_size != CODE_64 || overrides[i].segment >= SEG_FS))
            return (enum segment_name)overrides[i].segment;
    return without;
}

unsigned decode_stack_size(const struct uop *u, const cs_insn *in)
{
    bool prefix = in->detail->x86.prefix[2] == X86_PREFIX_OPSIZE;

    if (u->code_size == CODE_64)
        return prefix ? 2 : 8;
    return (u->code_size == CODE_32) != prefix ? 4 : 2;
}

// Without an override: SS for what the stack pointers address, DS for the rest (SDM vol. 1 3.7.4).
static void memory_operand(struct uop *u, const cs_insn *in, const x86_op_mem *m, uint64_t rip)
{
    static const uint8_t shift[9] = {[1] = 0, [2] = 1, [4] = 2, [8] = 3};

    u->base = general(m->base);
    u->index = general(m->index);
    u->scale = shift[m->scale & 15 ? m->scale : 1];
    u->disp = m->disp;
    if (m->base == X86_REG_RIP || m->base == X86_REG_EIP) {
        u->disp = (int64_t)(rip + in->size + (uint64_t)m->disp);
        u->flags |= UOP_RIP;
    }
    u->segment = (uint8_t)decode_segment(u, in, u->base == REG_RSP || u->base == REG_RBP ? SEG_SS : SEG_DS);
    if (u->segment == SEG_SS)
        u->flags |= UOP_STACK;
}

static void register_operand(struct uop *u, unsigned i, unsigned reg)
{
    static const uint8_t kinds[] = {[CS_REGISTER_GPR] = OPERAND_GPR,         [CS_REGISTER_HIGH] = OPERAND_GPR,
                                    [CS_REGISTER_SEGMENT] = OPERAND_SEGMENT, [CS_REGISTER_CR] = OPERAND_CR,
                                    [CS_REGISTER_DR] = OPERAND_DR,           [CS_REGISTER_XMM] = OPERAND_XMM,
                                    [CS_REGISTER_MMX] = OPERAND_MMX,         [CS_REGISTER_ST] = OPERAND_ST,
                                    [CS_REGISTER_X87_STATUS] = OPERAND_NONE};
    struct cs_register r = cs_register_of(reg);

    u->kind[i] = kinds[r.kind];
    if (u->kind[i] != OPERAND_NONE)
        u->reg[i] = u->kind[i] == OPERAND_GPR ? general(reg) : r.number;
}

static void operands(struct uop *u, const cs_insn *in, uint64_t rip)
{
    const cs_x86 *x = &in->detail->x86;

    for (unsigned i = 0; i < x->op_count && i < 3; i++) {
        const cs_x86_op *o = &x->operands[i];

        switch (o->type) {
        case X86_OP_REG:
            register_operand(u, i, o->reg);
            break;
        case X86_OP_MEM:
            u->kind[i] = OPERAND_MEMORY;
            memory_operand(u, in, &o->mem, rip);
            break;
        case X86_OP_IMM:
            u->kind[i] = OPERAND_IMM;
            u->imm = (uint64_t)o->imm;
            break;
        default:
            break;
        }
    }
    u->size = x->op_count ? x->operands[0].size : 0;
    u->source_size = x->op_count > 1 ? x->operands[1].size : u->size;
}

// Legacy prefixes from the bytes themselves: Capstone hides those which it takes for a part of the opcode.
static void prefixes(struct uop *u, const unsigned char *bytes)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67};

    for (unsigned i = 0; i < u->length; i++) {
        switch (bytes[i]) {
        case 0xf0:
            u->flags |= UOP_LOCK;
            break;
        case 0xf2:
            u->flags = (uint8_t)((u->flags & ~UOP_REP) | UOP_REPNE);
            break;
        case 0xf3:
            u->flags = (uint8_t)((u->flags & ~UOP_REPNE) | UOP_REP);
            break;
        default:
            if (!memchr(segments, bytes[i], sizeof segments))
                return;
            break;
        }
    }
}

const uint8_t *decode_opcode(const struct uop *u, const cs_insn *in, uint8_t *rex)
{
    static const uint8_t legacy[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    const uint8_t *p = in->bytes, *end = p + in->size;

    while (p < end && memchr(legacy, *p, sizeof legacy))
        p++;
    *rex = u->code_size == CODE_64 && p < end && (*p & 0xf0) == 0x40 ? *p++ : 0;
    return p;
}

static enum insn_result undefined(struct vmx *v, const struct uop *u)
{
    return uop_fault(v, u, UD_VECTOR, 0);
}

// An instruction that the guest may take for granted. It is said once in a run.
static enum insn_result not_modelled(struct vmx *v, const struct uop *u)
{
    struct decoder *d = v->interp->decoder;
    char text[64];

    if (!d->told[u->id]) {
        d->told[u->id] = true;
        snprintf(text, sizeof text, "not modelled: instruction %s", cs_insn_name(d->handle[0], u->id));
        uop_at(v, u);
        trace_vmx_violation(v->cpu, text, v->rip, 0);
    }
    return undefined(v, u);
}

// Bytes that are no instruction, or end before it does: all `count` that were looked at say so.
static void decode_undefined(struct uop *u, unsigned count)
{
    u->fn = undefined;
    u->length = (uint8_t)count;
    u->flags |= UOP_ENDS;
}

// Instructions that Capstone does not know, by their opcode behind prefixes. Some have a register operand in
// the ModRM byte.
static const struct {
    uint8_t prefix; // That it must have; 0: none
    uint8_t bytes[3], count;
    uint8_t modrm_mask, modrm; // Of the byte behind them, if mask is not 0
    uint16_t id;
    const char *name;
} own[] = {
    {0, {0x0f, 0x01, 0xee}, 3, 0, 0, UOP_RDPKRU, "rdpkru"},
    {0, {0x0f, 0x01, 0xef}, 3, 0, 0, UOP_WRPKRU, "wrpkru"},
    {0, {0x0f, 0x01, 0xe8}, 3, 0, 0, UOP_SERIALIZE, "serialize"},
    {0xf3, {0x0f, 0xc7}, 2, 0xf8, 0xf8, UOP_RDPID, "rdpid"},
    {0, {0x0f, 0xb9}, 2, 0, 0, UOP_UD1, "ud1"},
    {0, {0x0f, 0xff}, 2, 0, 0, UOP_UD0, "ud0"},
};

static unsigned own_length(unsigned i, const unsigned char *bytes, unsigned count, uint8_t prefix)
{
    unsigned need = own[i].count + (own[i].modrm_mask ? 1u : 0);

    if (prefix != own[i].prefix || count < need || memcmp(bytes, own[i].bytes, own[i].count))
        return 0;
    return own[i].modrm_mask && (bytes[own[i].count] & own[i].modrm_mask) != own[i].modrm ? 0 : need;
}

// The row of `own` that the bytes are, with the instruction's length and REX prefix; -1: none.
static int find_own(const struct uop *u, const unsigned char *bytes, unsigned count, unsigned *size,
                    uint8_t *rex)
{
    unsigned skip = 0;
    uint8_t prefix = 0;

    *rex = 0;
    if (count && (bytes[0] == 0xf3 || bytes[0] == 0xf2 || bytes[0] == 0x66))
        prefix = bytes[skip++];
    if (u->code_size == CODE_64 && skip < count && (bytes[skip] & 0xf0) == 0x40)
        *rex = bytes[skip++];
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++) {
        unsigned length = own_length(i, bytes + skip, count - skip, prefix);

        if (length) {
            *size = skip + length;
            return (int)i;
        }
    }
    return -1;
}

static bool decode_own(const struct decoder *d, struct uop *u, const unsigned char *bytes, unsigned count)
{
    unsigned length;
    uint8_t rex;
    int i = find_own(u, bytes, count, &length, &rex);
    const struct uop_row *row = i < 0 ? NULL : d->row[own[i].id];

    if (!row)
        return false;
    u->length = (uint8_t)length;
    u->reg[0] = (uint8_t)((bytes[length - 1] & 7) | (rex & 1) << 3);
    u->size = u->code_size == CODE_64 ? 8 : 4;
    u->flags |= UOP_ENDS;
    u->fn = row->fn;
    return true;
}

// Capstone 4 does not see an operand-size prefix in front of REP of a string instruction: it gets REP first,
// which means the same. Returns `bytes`, or `copy` with the first `count` (at most 15) of them in that order.
static const unsigned char *rep_first(const unsigned char *bytes, size_t count, unsigned char copy[15])
{
    static const unsigned char legacy[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    static const unsigned char strings[] = {0x6c, 0x6d, 0x6e, 0x6f, 0xa4, 0xa5, 0xa6,
                                            0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    size_t at = 0, rep = 0;

    for (; at < count && memchr(legacy, bytes[at], sizeof legacy); at++)
        if (bytes[at] == 0xf2 || bytes[at] == 0xf3)
            rep = at;
    if (!rep || at == count)
        return bytes;
    if (!memchr(strings, bytes[at], sizeof strings) &&
        !((bytes[at] & 0xf0) == 0x40 && at + 1 < count && memchr(strings, bytes[at + 1], sizeof strings)))
        return bytes;
    memcpy(copy, bytes, count);
    copy[0] = bytes[rep];
    memcpy(copy + 1, bytes, rep);
    return copy;
}

static bool disassemble(const struct decoder *d, unsigned code_size, const unsigned char *bytes, size_t count,
                        uint64_t rip)
{
    unsigned char copy[15];
    const uint8_t *p;

    count = count < sizeof copy ? count : sizeof copy;
    p = rep_first(bytes, count, copy);
    return cs_disasm_iter(d->handle[code_size], &p, &count, &rip, d->insn);
}

void decoder_text(const struct decoder *d, const struct block *b, const struct uop *u, char *text,
                  size_t size)
{
    const uint8_t *p = b->code + u->offset;
    size_t left = b->bytes - u->offset;
    uint64_t address = b->rip + u->offset;
    unsigned length;
    uint8_t rex;
    int i = find_own(u, p, (unsigned)left, &length, &rex);

    if (i >= 0)
        snprintf(text, size, "%s", own[i].name);
    else if (disassemble(d, u->code_size, p, left, address))
        snprintf(text, size, "%s%s%s", d->insn->mnemonic, *d->insn->op_str ? " " : "", d->insn->op_str);
    else
        snprintf(text, size, "(undefined, 0x%02x...)", *p);
}

// 0F 18 to 0F 1F are hints, whatever Capstone knows of them: without what they are for they do nothing
// (SDM vol. 2 appendix A, table A-3; ENDBR32 and RDSSP of processors without CET).
static bool decode_hint(const struct decoder *d, struct uop *u, const unsigned char *bytes, unsigned count)
{
    struct insn_layout l;

    if (!insn_layout(&l, bytes, count, (enum insn_mode)u->code_size) || memchr(bytes, 0xf0, l.opcode_at) ||
        bytes[l.opcode_at] != 0x0f || (bytes[l.opcode_at + 1] & 0xf8) != 0x18)
        return false;
    u->length = l.length;
    u->fn = d->row[X86_INS_NOP]->fn;
    return true;
}

// Is it of an extension that CPUID does not give to machine-code guests (hv/vmm/cpuid_hidden.def), or of
// another vendor? Then #UD is the whole answer.
static bool excluded(const cs_insn *in)
{
    static const uint8_t groups[] = {X86_GRP_3DNOW, X86_GRP_AES,   X86_GRP_AVX, X86_GRP_AVX2,  X86_GRP_AVX512,
                                     X86_GRP_ERI,   X86_GRP_F16C,  X86_GRP_FMA, X86_GRP_FMA4,  X86_GRP_HLE,
                                     X86_GRP_PFI,   X86_GRP_RTM,   X86_GRP_SHA, X86_GRP_SSE4A, X86_GRP_TBM,
                                     X86_GRP_XOP,   X86_GRP_CDI,   X86_GRP_BWI, X86_GRP_DQI,   X86_GRP_VLX,
                                     X86_GRP_SGX,   X86_GRP_PCLMUL};
    static const uint16_t amd[] = {X86_INS_VMMCALL, X86_INS_VMRUN, X86_INS_VMLOAD, X86_INS_VMSAVE,
                                   X86_INS_STGI,    X86_INS_CLGI,  X86_INS_SKINIT, X86_INS_INVLPGA};

    for (unsigned i = 0; i < sizeof amd / sizeof *amd; i++)
        if (in->id == amd[i])
            return true;

    for (unsigned i = 0; i < in->detail->groups_count; i++)
        if (memchr(groups, in->detail->groups[i], sizeof groups))
            return true;
    return false;
}

static uop_fn by_opcode(struct uop *u, const cs_insn *in, bool *found)
{
    uop_fn fn = simd_decode(u, in, found);

    return *found ? fn : x87_decode(u, in, found);
}

// By Capstone; what decode_one() says, but for the price.
static bool decode_new(struct decoder *d, struct uop *u, const unsigned char *bytes, unsigned count,
                       uint64_t rip, uint32_t mode)
{
    const struct uop_row *row;
    bool found;

    memset(u, 0, sizeof *u);
    u->code_size = (uint8_t)(mode & 3);
    u->stack_size = (uint8_t)(mode >> 4 & 15);
    u->base = u->index = REG_NONE;
    if (decode_own(d, u, bytes, count))
        return true;
    if (!disassemble(d, u->code_size, bytes, count, rip)) {
        if (decode_hint(d, u, bytes, count))
            return true;
        decode_undefined(u, count);
        return count >= 15;
    }
    row = d->insn->id < X86_INS_ENDING ? d->row[d->insn->id] : NULL;
    u->id = (uint16_t)d->insn->id;
    u->length = (uint8_t)d->insn->size;
    u->address_size = d->insn->detail->x86.addr_size;
    u->address_mask = UINT64_MAX >> (64 - 8 * u->address_size) % 64;
    operands(u, d->insn, rip);
    prefixes(u, bytes);
    u->fn = by_opcode(u, d->insn, &found);
    if (!found)
        u->fn = !row                  ? NULL
                : row->choose         ? row->choose(u, d->insn, row)
                : u->flags & UOP_LOCK ? NULL
                                      : row->fn;
    if (u->fn)
        return true;
    decode_undefined(u, u->length);
    if (!found && !row && !excluded(d->insn))
        u->fn = not_modelled;
    return true;
}

static void price_new(const struct decoder *d, const struct price_classes *c, const struct uop *u,
                      struct price_insn *p)
{
    *p = (struct price_insn){.size = u->length};
    if (!u->id)
        return;
    price_insn_decode(p, d->handle[u->code_size], d->insn, c);
    if (p->start)
        p->class = NULL; // Elements are charged as they are carried out.
}

// What is not in the key of a known instruction. (simd_decode() takes the last byte for an immediate, also
// where it is a displacement's and nobody looks at it: that may be another instruction's.)
static void decode_displacements(struct uop *u, struct price_insn *p, const struct insn_layout *l,
                                 const unsigned char *bytes, uint64_t rip)
{
    uint64_t next = rip + l->length;

    if (l->disp_bytes)
        u->disp = insn_layout_value(bytes + l->disp_at, l->disp_bytes) + (int64_t)(l->rip ? next : 0);
    if (l->relative)
        u->imm = next + (uint64_t)insn_layout_value(bytes + l->imm_at, l->imm_bytes);
    if (p->jump || p->call)
        p->target = u->imm;
}

bool decode_one(struct decoder *d, const struct price_classes *c, struct uop *u, struct price_insn *p,
                const unsigned char *bytes, unsigned count, uint64_t rip, uint32_t mode)
{
    enum insn_mode size = (enum insn_mode)(mode & 3);
    struct decoded *known = NULL;
    struct insn_layout l;
    struct insn_key key;
    bool varies, whole;

    if (insn_layout(&l, bytes, count, size) &&
        insn_key_of(&key, &l, bytes, size, (mode >> 4 & 15) == 4, &varies)) {
        known = &d->known[insn_key_slot(&key, DECODED_BITS)];
        if (insn_key_equal(&known->key, &key)) {
            *u = known->uop;
            *p = known->price;
            if (u->id)
                p->address = rip;
            if (varies)
                decode_displacements(u, p, &l, bytes, rip);
            return true;
        }
    }
    whole = decode_new(d, u, bytes, count, rip, mode);
    price_new(d, c, u, p);
    if (known && whole && u->length == l.length) {
        struct uop again = *u;
        struct price_insn price = *p;

        if (varies)
            decode_displacements(&again, &price, &l, bytes, rip);
        if (again.imm == u->imm && again.disp == u->disp && price.target == p->target)
            *known = (struct decoded){key, *u, *p};
    }
    return whole;
}
