// SPDX-License-Identifier: Apache-2.0
// MMX (SDM vol. 1 ch. 9): the registers are the mantissas of the x87 ones, and each instruction but EMMS
// makes the x87 stack one of eight valid registers with TOP 0.
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"

enum insn_result mmx_check(struct vmx *v, const struct uop *u)
{
    const struct x86_state *s = v->cpu->x86;

    if (s->cr[0] & X86_CR0_EM)
        return uop_fault(v, u, UD_VECTOR, 0);
    if (s->cr[0] & X86_CR0_TS)
        return uop_fault(v, u, NM_VECTOR, 0);
    if (v->x87.status & X87_STATUS_ES)
        return uop_fault(v, u, MF_VECTOR, 0);
    return INSN_DONE;
}

// --- The forms of simd_ops.def. ---

static enum insn_result source(struct vmx *v, const struct uop *u, unsigned size, uint64_t *value)
{
    enum insn_result r = mmx_check(v, u);

    if (r != INSN_DONE)
        return r;
    if (u->kind[1] == OPERAND_MEMORY)
        return memory_load(v, u, size, value);
    *value = mmx_read(&v->x87, u->reg[1]);
    return INSN_DONE;
}

static enum insn_result form_mm(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    enum insn_result r = source(v, u, simd_ops[u->op].bytes, &s.b[0]);

    if (r != INSN_DONE)
        return r;
    s.a[0] = mmx_read(&v->x87, u->reg[0]);
    s.imm = (uint8_t)u->imm;
    simd_execute(v, u, &s);
    mmx_write(&v->x87, u->reg[0], s.a[0]);
    return INSN_DONE;
}

// CVTPI2PS, CVTPI2PD: no MMX instructions if their source is memory. (SDM vol. 2 says so of the second only;
// all processors treat both alike.)
static enum insn_result form_xm(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    bool memory = u->kind[1] == OPERAND_MEMORY;
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE && !memory)
        r = mmx_check(v, u);
    if (r == INSN_DONE && memory)
        r = memory_load(v, u, 8, &s.b[0]);
    else if (r == INSN_DONE)
        s.b[0] = mmx_read(&v->x87, u->reg[1]);
    if (r != INSN_DONE)
        return r;
    memcpy(s.a, v->xmm[u->reg[0]], 16);
    if (!memory)
        mmx_enter(&v->x87);
    r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        memcpy(v->xmm[u->reg[0]], s.a, 16);
    return r;
}

static enum insn_result form_mx(struct vmx *v, const struct uop *u)
{
    struct simd_args s;
    unsigned bytes = simd_ops[u->op].bytes;
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = mmx_check(v, u);
    if (r == INSN_DONE && u->kind[1] == OPERAND_MEMORY)
        r = memory_load_bytes(v, u, bytes, bytes == 16 ? 16 : 1, s.b);
    else
        memcpy(s.b, v->xmm[u->reg[1]], 16);
    if (r != INSN_DONE)
        return r;
    mmx_enter(&v->x87); // #XM leaves it so, too.
    r = simd_execute(v, u, &s);
    if (r == INSN_DONE)
        mmx_write(&v->x87, u->reg[0], s.a[0]);
    return r;
}

uop_fn mmx_choose(const struct simd_op *op)
{
    return op->form == SIMD_XM ? form_xm : op->form == SIMD_MX ? form_mx : form_mm;
}

// --- Moves. ---

static enum insn_result load_quad(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = source(v, u, 8, &value);

    if (r == INSN_DONE)
        mmx_write(&v->x87, u->reg[0], value);
    return r;
}

static enum insn_result store_quad(struct vmx *v, const struct uop *u)
{
    uint64_t value = mmx_read(&v->x87, u->reg[0]);
    enum insn_result r = mmx_check(v, u);

    if (r == INSN_DONE && u->kind[1] == OPERAND_MEMORY)
        r = memory_store(v, u, 8, value);
    if (r != INSN_DONE)
        return r;
    if (u->kind[1] == OPERAND_MEMORY)
        mmx_enter(&v->x87);
    else
        mmx_write(&v->x87, u->reg[1], value);
    return INSN_DONE;
}

static enum insn_result from_general(struct vmx *v, const struct uop *u)
{
    uint64_t value = v->gpr.r[u->reg[1] & 15] & size_mask(u->size);
    enum insn_result r = mmx_check(v, u);

    if (r == INSN_DONE && u->kind[1] == OPERAND_MEMORY)
        r = memory_load(v, u, u->size, &value);
    if (r == INSN_DONE)
        mmx_write(&v->x87, u->reg[0], value);
    return r;
}

static enum insn_result to_general(struct vmx *v, const struct uop *u)
{
    uint64_t value = mmx_read(&v->x87, u->reg[0]);
    enum insn_result r = mmx_check(v, u);

    if (r == INSN_DONE && u->kind[1] == OPERAND_MEMORY)
        r = memory_store(v, u, u->size, value);
    if (r != INSN_DONE)
        return r;
    mmx_enter(&v->x87);
    if (u->kind[1] != OPERAND_MEMORY)
        reg_write(v, u->reg[1], u->size, value);
    return INSN_DONE;
}

static enum insn_result movq2dq(struct vmx *v, const struct uop *u)
{
    uint64_t value = mmx_read(&v->x87, u->reg[1]);
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = mmx_check(v, u);
    if (r != INSN_DONE)
        return r;
    mmx_enter(&v->x87);
    v->xmm[u->reg[0]][0] = value;
    v->xmm[u->reg[0]][1] = 0;
    return INSN_DONE;
}

static enum insn_result movdq2q(struct vmx *v, const struct uop *u)
{
    enum insn_result r = sse_check(v, u);

    if (r == INSN_DONE)
        r = mmx_check(v, u);
    if (r == INSN_DONE)
        mmx_write(&v->x87, u->reg[0], v->xmm[u->reg[1]][0]);
    return r;
}

// --- Insertion, extraction, masks. ---

static enum insn_result pinsrw(struct vmx *v, const struct uop *u)
{
    uint64_t word = v->gpr.r[u->reg[1] & 15] & 0xffff, old = mmx_read(&v->x87, u->reg[0]);
    unsigned shift = 16 * (u->imm & 3);
    enum insn_result r = mmx_check(v, u);

    if (r == INSN_DONE && u->kind[1] == OPERAND_MEMORY)
        r = memory_load(v, u, 2, &word);
    if (r == INSN_DONE)
        mmx_write(&v->x87, u->reg[0], (old & ~(0xffffull << shift)) | word << shift);
    return r;
}

static enum insn_result pextrw(struct vmx *v, const struct uop *u)
{
    uint64_t value = mmx_read(&v->x87, u->reg[1]) >> (16 * (u->imm & 3)) & 0xffff;
    enum insn_result r = mmx_check(v, u);

    if (r != INSN_DONE)
        return r;
    mmx_enter(&v->x87);
    reg_write(v, u->reg[0], 8, value);
    return INSN_DONE;
}

static enum insn_result pmovmskb(struct vmx *v, const struct uop *u)
{
    uint64_t from = mmx_read(&v->x87, u->reg[1]), mask = 0;
    enum insn_result r = mmx_check(v, u);

    if (r != INSN_DONE)
        return r;
    for (unsigned i = 0; i < 8; i++)
        mask |= (from >> (8 * i + 7) & 1) << i;
    mmx_enter(&v->x87);
    reg_write(v, u->reg[0], 8, mask);
    return INSN_DONE;
}

enum insn_result store_masked(struct vmx *v, const struct uop *u, unsigned size, const unsigned char *bytes,
                              const unsigned char *mask)
{
    for (unsigned i = 0; i < size; i++) {
        uint64_t offset = (v->gpr.r[REG_RDI] + i) & size_mask(u->address_size);
        enum insn_result r;

        if (!(mask[i] & 0x80))
            continue;
        r = operand_store(v, u, (enum segment_name)u->segment, offset, 1, bytes[i]);
        if (r != INSN_DONE)
            return r;
    }
    return INSN_DONE;
}

static enum insn_result maskmovq(struct vmx *v, const struct uop *u)
{
    uint64_t bytes = mmx_read(&v->x87, u->reg[0]), mask = mmx_read(&v->x87, u->reg[1]);
    enum insn_result r = mmx_check(v, u);

    if (r == INSN_DONE)
        r = store_masked(v, u, 8, (const unsigned char *)&bytes, (const unsigned char *)&mask);
    if (r == INSN_DONE)
        mmx_enter(&v->x87);
    return r;
}

// --- Shifts by an immediate: 0F 71 to 73. ---

static enum insn_result shift(struct vmx *v, const struct uop *u, unsigned size)
{
    unsigned extension = u->reg[0] & 7;
    uint64_t value = mmx_read(&v->x87, u->reg[1]);
    enum insn_result r = shift_exists(size, extension) ? mmx_check(v, u) : uop_fault(v, u, UD_VECTOR, 0);

    if (r == INSN_DONE)
        mmx_write(&v->x87, u->reg[1], shift_elements(value, size, extension, (unsigned)u->imm));
    return r;
}

static enum insn_result shift_words(struct vmx *v, const struct uop *u)
{
    return shift(v, u, 2);
}

static enum insn_result shift_doublewords(struct vmx *v, const struct uop *u)
{
    return shift(v, u, 4);
}

static enum insn_result shift_quadwords(struct vmx *v, const struct uop *u)
{
    return shift(v, u, 8);
}

#define N (1 << NP)
#define ANY (SIMD_MEMORY | SIMD_REGISTER)
const struct simd_row exec_mmx_rows[] = {
    {N, 0, 0x6f, ANY, load_quad},
    {N, 0, 0x7f, ANY, store_quad},
    {N, 0, 0xe7, SIMD_MEMORY, store_quad},
    {N, 0, 0x6e, ANY, from_general},
    {N, 0, 0x7e, ANY, to_general},
    {1 << PF3, 0, 0xd6, SIMD_REGISTER, movq2dq},
    {1 << PF2, 0, 0xd6, SIMD_REGISTER, movdq2q},
    {N, 0, 0xc4, ANY, pinsrw},
    {N, 0, 0xc5, SIMD_REGISTER, pextrw},
    {N, 0, 0xd7, SIMD_REGISTER, pmovmskb},
    {N, 0, 0xf7, SIMD_REGISTER, maskmovq},
    {N, 0, 0x71, SIMD_REGISTER, shift_words},
    {N, 0, 0x72, SIMD_REGISTER, shift_doublewords},
    {N, 0, 0x73, SIMD_REGISTER, shift_quadwords},
};
const unsigned exec_mmx_count = sizeof exec_mmx_rows / sizeof *exec_mmx_rows;
