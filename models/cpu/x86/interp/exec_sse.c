// SPDX-License-Identifier: Apache-2.0
// SSE instructions: found by their opcodes, checked, and carried out by the table of simd_ops.def.
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"

// --- Faults (SDM vol. 1 13.1.3; vol. 2 2.4). ---

enum insn_result sse_check(struct vmx *v, const struct uop *u)
{
    const struct x86_state *s = v->cpu->x86;

    if ((s->cr[0] & X86_CR0_EM) || !(s->cr[4] & X86_CR4_OSFXSR))
        return uop_fault(v, u, UD_VECTOR, 0);
    if (s->cr[0] & X86_CR0_TS)
        return uop_fault(v, u, NM_VECTOR, 0);
    return INSN_DONE;
}

// Is an element of the result too small for a normal number? Scalars have one.
static bool tiny(const struct simd_op *op, const struct simd_args *s)
{
    const char *end = op->name + strlen(op->name);
    unsigned count = end[-2] == 's' ? 1 : end[-1] == 's' ? 4 : 2;

    for (unsigned i = 0; i < count; i++) {
        uint64_t single = s->a[i / 2] >> (i % 2 * 32) & 0x7fffffff, whole = s->a[i % 2] << 1;

        if (end[-1] == 's' ? single && single < 0x800000 : whole && whole < 1ull << 53)
            return true;
    }
    return false;
}

// --- PE where overflow or underflow is not masked. ---

static uint64_t element(const uint64_t *from, bool wide, unsigned i, uint32_t mxcsr)
{
    uint64_t value = wide ? from[i & 1] : from[i / 2 & 1] >> (i % 2 * 32) & UINT32_MAX;
    uint64_t magnitude = wide ? value << 1 : value << 33;

    // DAZ: denormal operands are zeros.
    if ((mxcsr & MXCSR_DAZ) && magnitude < (wide ? 1ull << 53 : 1ull << 56))
        value &= wide ? 1ull << 63 : 1ull << 31;
    return value;
}

// Lanes of operations that can overflow or underflow, by the operation's name.
static const struct {
    const char *prefix;
    uint8_t lane, odd; // Of even elements of the result and odd ones
    bool horizontal;   // Its operands are neighbours
} lanes[] = {
    {"add", SIMD_LANE_ADD, SIMD_LANE_ADD, false},
    {"sub", SIMD_LANE_SUB, SIMD_LANE_SUB, false},
    {"mul", SIMD_LANE_MUL, SIMD_LANE_MUL, false},
    {"div", SIMD_LANE_DIV, SIMD_LANE_DIV, false},
    {"hadd", SIMD_LANE_ADD, SIMD_LANE_ADD, true},
    {"hsub", SIMD_LANE_SUB, SIMD_LANE_SUB, true},
    {"addsub", SIMD_LANE_SUB, SIMD_LANE_ADD, false},
    {"cvtpd2ps", SIMD_LANE_CONVERT, SIMD_LANE_CONVERT, false},
    {"cvtsd2ss", SIMD_LANE_CONVERT, SIMD_LANE_CONVERT, false},
};

// `before`: the destination as it was.
static bool inexact(const struct simd_op *op, const uint64_t *before, const struct simd_args *s,
                    uint32_t mxcsr)
{
    const char *end = op->name + strlen(op->name);
    bool wide = end[-1] == 'd';
    unsigned count = end[-2] == 's' ? 1 : wide ? 2 : 4, row = 0;
    bool result = false;

    for (unsigned i = 0; i < sizeof lanes / sizeof *lanes; i++)
        if (!strncmp(op->name, lanes[i].prefix, strlen(lanes[i].prefix)))
            row = i; // ADDSUB behind ADD.
    for (unsigned i = 0; i < count; i++) {
        enum simd_lane what = (enum simd_lane)(i & 1 ? lanes[row].odd : lanes[row].lane);
        const uint64_t *a = before, *b = s->b;
        unsigned at = i, with = i;

        if (what == SIMD_LANE_CONVERT) {
            result |= i < 2 && simd_lane_inexact(what, false, mxcsr, element(s->b, true, i, mxcsr), 0);
            continue;
        }
        if (lanes[row].horizontal) { // The first half of the result is of the destination.
            a = b = i < count / 2 ? before : s->b;
            at = 2 * (i % (count / 2));
            with = at + 1;
        }
        result |=
            simd_lane_inexact(what, wide, mxcsr, element(a, wide, at, mxcsr), element(b, wide, with, mxcsr));
    }
    return result;
}

// What the operation raises beyond, or less than, the flags of its masked response (SDM vol.
// 1 11.5.2, 4.9.1).
static uint32_t unmasked_response(const struct simd_op *op, const uint64_t *before, const struct simd_args *s,
                                  uint32_t mxcsr, uint32_t flags)
{
    uint32_t masks = mxcsr >> MXCSR_MASK_SHIFT;

    // Without a mask a tiny result is an underflow even if it is exact.
    if (op->flt == SIMD_UNDERFLOWS && !(masks & FP_UE) && tiny(op, s))
        flags |= FP_UE;
    // Operands are looked at first: with a fault there nothing is computed.
    if (flags & ~masks & (FP_IE | FP_DE | FP_ZE))
        return flags & (FP_IE | FP_DE | FP_ZE);
    if ((flags & ~masks & (FP_OE | FP_UE)) && !(flags & masks & (FP_OE | FP_UE)) && op->form == SIMD_XX &&
        !inexact(op, before, s, mxcsr))
        flags &= ~(uint32_t)FP_PE;
    return flags;
}

enum insn_result simd_execute(struct vmx *v, const struct uop *u, struct simd_args *s)
{
    const struct simd_op *op = &simd_ops[u->op];
    simd_fn fn = u->size == 8 && op->fn64 ? op->fn64 : op->fn;
    uint32_t mxcsr = v->mxcsr, flags;
    uint64_t before[2] = {s->a[0], s->a[1]};

    if (op->flt == SIMD_INTEGER) {
        fn(s);
        return INSN_DONE;
    }
    if (!(mxcsr >> MXCSR_MASK_SHIFT & FP_UE)) // Flushing to zero is a part of the masked response.
        mxcsr &= ~MXCSR_FTZ;
    flags = simd_float_run(fn, s, mxcsr);
    if (__builtin_expect((v->mxcsr & MXCSR_MASKS) != MXCSR_MASKS, 0))
        flags = unmasked_response(op, before, s, mxcsr, flags);
    v->mxcsr |= flags;
    if (__builtin_expect((flags & ~(mxcsr >> MXCSR_MASK_SHIFT)) != 0, 0))
        return uop_fault(v, u, v->cpu->x86->cr[4] & X86_CR4_OSXMMEXCPT ? XM_VECTOR : UD_VECTOR, 0);
    return INSN_DONE;
}

// --- The forms. ---

static enum insn_result source(struct vmx *v, const struct uop *u, unsigned align, struct simd_args *s)
{
    if (u->kind[1] != OPERAND_MEMORY) {
        memcpy(s->b, v->xmm[u->reg[1]], 16);
        return INSN_DONE;
    }
    return memory_load_bytes(v, u, simd_ops[u->op].form == SIMD_STRING ? 16 : simd_ops[u->op].bytes, align,
                             s->b);
}

static inline __attribute__((always_inline)) enum insn_result begin(struct vmx *v, const struct uop *u,
                                                                    struct simd_args *s)
{
    enum insn_result r = sse_check(v, u);

    if (r != INSN_DONE)
        return r;
    memcpy(s->a, v->xmm[u->reg[0]], 16);
    return source(v, u, simd_ops[u->op].bytes == 16 ? 16 : 1, s);
}

static enum insn_result form_xx(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    enum insn_result r = begin(v, u, &s);

    s.imm = (uint8_t)u->imm;
    if (r == INSN_DONE)
        r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        memcpy(v->xmm[u->reg[0]], s.a, 16);
    return r;
}

static enum insn_result form_xx0(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    enum insn_result r = begin(v, u, &s);

    memcpy(s.mask, v->xmm[0], 16);
    if (r == INSN_DONE)
        r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        memcpy(v->xmm[u->reg[0]], s.a, 16);
    return r;
}

static enum insn_result form_xg(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = u->kind[1] == OPERAND_MEMORY ? memory_load(v, u, u->size, &s.gpr) : INSN_DONE;
    if (r != INSN_DONE)
        return r;
    if (u->kind[1] != OPERAND_MEMORY)
        s.gpr = v->gpr.r[u->reg[1]];
    memcpy(s.a, v->xmm[u->reg[0]], 16);
    r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        memcpy(v->xmm[u->reg[0]], s.a, 16);
    return r;
}

static enum insn_result form_gx(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = source(v, u, 1, &s);
    if (r == INSN_DONE)
        r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        reg_write(v, u->reg[0], u->size, s.gpr);
    return r;
}

static enum insn_result form_cx(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    enum insn_result r = begin(v, u, &s);

    if (r == INSN_DONE)
        r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        flags_set(v, FLAGS_ARITHMETIC,
                  (s.cf ? X86_RFLAGS_CF : 0) | (s.zf ? X86_RFLAGS_ZF : 0) | (s.pf ? X86_RFLAGS_PF : 0));
    return r;
}

// Explicit lengths are those of RAX and RDX with REX.W: beyond 16 (8) elements they saturate, so that the
// host's 32-bit form does for both. Indices go to ECX, masks to XMM0 (SDM vol. 2, 4.1).
static enum insn_result form_string(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    int64_t a = (int64_t)v->gpr.r[REG_RAX], d = (int64_t)v->gpr.r[REG_RDX];
    bool index = simd_ops[u->op].opcode & 1;
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = source(v, u, 1, &s);
    if (r != INSN_DONE)
        return r;
    memcpy(s.a, v->xmm[u->reg[0]], 16);
    memcpy(s.mask, v->xmm[0], 16);
    s.gpr = v->gpr.r[REG_RCX];
    s.imm = (uint8_t)u->imm;
    s.eax = u->size == 8 && (a > 16 || a < -16) ? 16 : (uint64_t)a;
    s.edx = u->size == 8 && (d > 16 || d < -16) ? 16 : (uint64_t)d;
    simd_execute(v, u, &s);
    if (index)
        reg_write(v, REG_RCX, 4, s.gpr);
    else
        memcpy(v->xmm[0], s.mask, 16);
    flags_set(v, FLAGS_ARITHMETIC,
              (s.cf ? X86_RFLAGS_CF : 0) | (s.zf ? X86_RFLAGS_ZF : 0) | (s.sf ? X86_RFLAGS_SF : 0) |
                  (s.of ? X86_RFLAGS_OF : 0));
    return INSN_DONE;
}

// --- Decoding. ---

static void parse(struct simd_bytes *b, const struct uop *u, const cs_insn *in)
{
    uint8_t rex;
    const uint8_t *end = in->bytes + in->size, *p = decode_opcode(u, in, &rex);

    *b = (struct simd_bytes){.prefix = u->flags & UOP_REPNE ? PF2 : u->flags & UOP_REP ? PF3 : NP};
    b->word = memchr(in->bytes, 0x66, (size_t)(p - in->bytes)) != NULL;
    if (b->word && b->prefix == NP)
        b->prefix = P66;
    b->map = 0xff;
    if (end - p < 3 || *p++ != 0x0f)
        return;
    b->map = *p == 0x38 ? 1 : *p == 0x3a ? 2 : 0;
    p += b->map ? 1 : 0;
    if (end - p < 2)
        b->map = 0xff;
    b->opcode = p[0];
    b->modrm = p[1];
    b->imm = end[-1];
    b->memory = b->modrm < 0xc0;
    b->reg = (uint8_t)((b->modrm >> 3 & 7) | (rex & 4) << 1);
    b->rm = (uint8_t)((b->modrm & 7) | (rex & 1) << 3);
    b->rex = rex != 0;
    b->rex_w = rex & 8;
}

static const struct simd_row *find_row(const struct simd_bytes *b)
{
    const struct simd_row *rows[] = {exec_sse_move_rows, exec_mmx_rows};
    const unsigned counts[] = {exec_sse_move_count, exec_mmx_count};

    for (unsigned t = 0; t < 2; t++)
        for (unsigned i = 0; i < counts[t]; i++)
            if (rows[t][i].map == b->map && rows[t][i].opcode == b->opcode &&
                (rows[t][i].prefix >> b->prefix & 1) &&
                (rows[t][i].operands & (b->memory ? SIMD_MEMORY : SIMD_REGISTER)))
                return &rows[t][i];
    return NULL;
}

static uop_fn choose_op(struct uop *u, const struct simd_bytes *b)
{
    static const uop_fn forms[SIMD_FORMS] = {
        [SIMD_XX] = form_xx, [SIMD_XXI] = form_xx, [SIMD_XX0] = form_xx0,      [SIMD_XG] = form_xg,
        [SIMD_GX] = form_gx, [SIMD_CX] = form_cx,  [SIMD_STRING] = form_string};

    for (unsigned i = 0; i < simd_op_count; i++) {
        const struct simd_op *op = &simd_ops[i];

        if (op->prefix != b->prefix || op->map != b->map || op->opcode != b->opcode)
            continue;
        u->op = (uint16_t)i;
        return forms[op->form] ? forms[op->form] : mmx_choose(op);
    }
    return NULL;
}

uop_fn simd_decode(struct uop *u, const cs_insn *in, bool *found)
{
    struct simd_bytes b;
    const struct simd_row *row;
    uop_fn fn;

    *found = false;
    parse(&b, u, in);
    if (b.map == 0xff)
        return NULL;
    row = find_row(&b);
    fn = row ? row->fn : NULL;
    if (fn || (fn = choose_op(u, &b))) {
        *found = true;
        u->kind[0] = OPERAND_XMM;
        u->kind[1] = b.memory ? OPERAND_MEMORY : OPERAND_XMM;
        u->reg[0] = b.reg;
        u->reg[1] = b.rm;
        u->size = b.rex_w ? 8 : 4;
        u->source_size = b.word ? 2 : u->size;
        u->imm = b.imm;
        if (!b.memory && !b.rex && b.rm >= 4 && b.map == 1 && b.opcode == 0xf0) // CRC32 of AH to BH.
            u->reg[1] = (uint8_t)((b.rm & 3) | REG_HIGH);
        // From memory INSERTPS has one element, whatever its immediate selects.
        if (b.map == 2 && b.opcode == 0x21 && b.memory)
            u->imm &= 0x3f;
    }
    return u->flags & UOP_LOCK ? NULL : fn;
}
