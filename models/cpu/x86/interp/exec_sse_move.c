// SPDX-License-Identifier: Apache-2.0
// SSE: moves, insertion and extraction, masks of signs, MOVNTI, CRC32 (SDM vol. 1 10.4, 11.4, 12).
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"

#define CHECKED(v, u)                                                                                        \
    do {                                                                                                     \
        enum insn_result checked = sse_check(v, u);                                                          \
                                                                                                             \
        if (__builtin_expect(checked != INSN_DONE, 0))                                                       \
            return checked;                                                                                  \
    } while (0)

// --- Sixteen bytes. ---

static inline __attribute__((always_inline)) enum insn_result load_16(struct vmx *v, const struct uop *u,
                                                                      unsigned align)
{
    CHECKED(v, u);
    if (u->kind[1] == OPERAND_MEMORY)
        return memory_load_bytes(v, u, 16, align, v->xmm[u->reg[0]]);
    memcpy(v->xmm[u->reg[0]], v->xmm[u->reg[1]], 16);
    return INSN_DONE;
}

static inline __attribute__((always_inline)) enum insn_result store_16(struct vmx *v, const struct uop *u,
                                                                       unsigned align)
{
    CHECKED(v, u);
    if (u->kind[1] == OPERAND_MEMORY)
        return memory_store_bytes(v, u, 16, align, v->xmm[u->reg[0]]);
    memcpy(v->xmm[u->reg[1]], v->xmm[u->reg[0]], 16);
    return INSN_DONE;
}

static enum insn_result load_aligned(struct vmx *v, const struct uop *u)
{
    return load_16(v, u, 16);
}

static enum insn_result load_any(struct vmx *v, const struct uop *u)
{
    return load_16(v, u, 1);
}

static enum insn_result store_aligned(struct vmx *v, const struct uop *u)
{
    return store_16(v, u, 16);
}

static enum insn_result store_any(struct vmx *v, const struct uop *u)
{
    return store_16(v, u, 1);
}

// --- Scalars: from memory the rest of the register becomes zero, between registers it stays. ---

#define SCALAR(size)                                                                                         \
    static enum insn_result load_scalar_##size(struct vmx *v, const struct uop *u)                           \
    {                                                                                                        \
        uint64_t *to = v->xmm[u->reg[0]], value;                                                             \
        enum insn_result r;                                                                                  \
                                                                                                             \
        CHECKED(v, u);                                                                                       \
        if (u->kind[1] != OPERAND_MEMORY) {                                                                  \
            to[0] = (to[0] & ~size_mask(size)) | (v->xmm[u->reg[1]][0] & size_mask(size));                   \
            return INSN_DONE;                                                                                \
        }                                                                                                    \
        r = memory_load(v, u, size, &value);                                                                 \
        if (r == INSN_DONE) {                                                                                \
            to[0] = value;                                                                                   \
            to[1] = 0;                                                                                       \
        }                                                                                                    \
        return r;                                                                                            \
    }                                                                                                        \
    static enum insn_result store_scalar_##size(struct vmx *v, const struct uop *u)                          \
    {                                                                                                        \
        uint64_t value = v->xmm[u->reg[0]][0], *to = v->xmm[u->reg[1] & 15];                                 \
                                                                                                             \
        CHECKED(v, u);                                                                                       \
        if (u->kind[1] == OPERAND_MEMORY)                                                                    \
            return memory_store(v, u, size, value);                                                          \
        to[0] = (to[0] & ~size_mask(size)) | (value & size_mask(size));                                      \
        return INSN_DONE;                                                                                    \
    }
SCALAR(4)
SCALAR(8)
#undef SCALAR

// --- Halves. ---

static inline __attribute__((always_inline)) enum insn_result load_half(struct vmx *v, const struct uop *u,
                                                                        unsigned half)
{
    uint64_t value;
    enum insn_result r;

    CHECKED(v, u);
    r = memory_load(v, u, 8, &value);
    if (r == INSN_DONE)
        v->xmm[u->reg[0]][half] = value;
    return r;
}

static enum insn_result load_low(struct vmx *v, const struct uop *u)
{
    return load_half(v, u, 0);
}

static enum insn_result load_high(struct vmx *v, const struct uop *u)
{
    return load_half(v, u, 1);
}

static enum insn_result store_low(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return memory_store(v, u, 8, v->xmm[u->reg[0]][0]);
}

static enum insn_result store_high(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return memory_store(v, u, 8, v->xmm[u->reg[0]][1]);
}

static enum insn_result movhlps(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    v->xmm[u->reg[0]][0] = v->xmm[u->reg[1]][1];
    return INSN_DONE;
}

static enum insn_result movlhps(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    v->xmm[u->reg[0]][1] = v->xmm[u->reg[1]][0];
    return INSN_DONE;
}

// MOVQ between XMM, or with memory: bits 127:64 of a register become zero.
static enum insn_result load_quad(struct vmx *v, const struct uop *u)
{
    uint64_t value = v->xmm[u->reg[1] & 15][0], *to = v->xmm[u->reg[0]];
    enum insn_result r = INSN_DONE;

    CHECKED(v, u);
    if (u->kind[1] == OPERAND_MEMORY)
        r = memory_load(v, u, 8, &value);
    if (r == INSN_DONE) {
        to[0] = value;
        to[1] = 0;
    }
    return r;
}

static enum insn_result store_quad(struct vmx *v, const struct uop *u)
{
    uint64_t value = v->xmm[u->reg[0]][0], *to = v->xmm[u->reg[1] & 15];

    CHECKED(v, u);
    if (u->kind[1] == OPERAND_MEMORY)
        return memory_store(v, u, 8, value);
    to[0] = value;
    to[1] = 0;
    return INSN_DONE;
}

// --- General registers. ---

static enum insn_result from_general(struct vmx *v, const struct uop *u)
{
    uint64_t value = v->gpr.r[u->reg[1] & 15] & size_mask(u->size), *to = v->xmm[u->reg[0]];
    enum insn_result r = INSN_DONE;

    CHECKED(v, u);
    if (u->kind[1] == OPERAND_MEMORY)
        r = memory_load(v, u, u->size, &value);
    if (r == INSN_DONE) {
        to[0] = value;
        to[1] = 0;
    }
    return r;
}

// The general register or memory operand is the destination; the rest of a general register becomes zero.
static enum insn_result give(struct vmx *v, const struct uop *u, unsigned size, uint64_t value)
{
    if (u->kind[1] == OPERAND_MEMORY)
        return memory_store(v, u, size, value);
    reg_write(v, u->reg[1], 8, value & size_mask(size));
    return INSN_DONE;
}

static enum insn_result to_general(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return give(v, u, u->size, v->xmm[u->reg[0]][0]);
}

static enum insn_result movnti(struct vmx *v, const struct uop *u)
{
    return memory_store(v, u, u->size, v->gpr.r[u->reg[0]]);
}

// Element `n` of `size` bytes of a register.
static uint64_t element(const struct vmx *v, unsigned reg, unsigned size, unsigned n)
{
    unsigned at = n * size & 15;

    return v->xmm[reg][at / 8] >> (at % 8 * 8) & size_mask(size);
}

static enum insn_result insert(struct vmx *v, const struct uop *u, unsigned size)
{
    unsigned at = (unsigned)u->imm * size & 15;
    uint64_t value = v->gpr.r[u->reg[1] & 15] & size_mask(size), *to = &v->xmm[u->reg[0]][at / 8];
    enum insn_result r = INSN_DONE;

    CHECKED(v, u);
    if (u->kind[1] == OPERAND_MEMORY)
        r = memory_load(v, u, size, &value);
    if (r == INSN_DONE)
        *to = (*to & ~(size_mask(size) << (at % 8 * 8))) | value << (at % 8 * 8);
    return r;
}

static enum insn_result pinsrb(struct vmx *v, const struct uop *u)
{
    return insert(v, u, 1);
}

static enum insn_result pinsrw(struct vmx *v, const struct uop *u)
{
    return insert(v, u, 2);
}

static enum insn_result pinsr(struct vmx *v, const struct uop *u)
{
    return insert(v, u, u->size);
}

static enum insn_result pextrb(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return give(v, u, 1, element(v, u->reg[0], 1, (unsigned)u->imm & 15));
}

static enum insn_result pextrw(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return give(v, u, 2, element(v, u->reg[0], 2, (unsigned)u->imm & 7));
}

static enum insn_result pextr(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return give(v, u, u->size, element(v, u->reg[0], u->size, (unsigned)u->imm & (16 / u->size - 1)));
}

static enum insn_result extractps(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    return give(v, u, 4, element(v, u->reg[0], 4, (unsigned)u->imm & 3));
}

// The form of SSE2: the general register is the first operand.
static enum insn_result pextrw_register(struct vmx *v, const struct uop *u)
{
    CHECKED(v, u);
    reg_write(v, u->reg[0], 8, element(v, u->reg[1], 2, (unsigned)u->imm & 7));
    return INSN_DONE;
}

static enum insn_result signs(struct vmx *v, const struct uop *u, unsigned size)
{
    uint64_t mask = 0;

    CHECKED(v, u);
    for (unsigned i = 0; i < 16 / size; i++)
        mask |= (element(v, u->reg[1], size, i) >> (8 * size - 1)) << i;
    reg_write(v, u->reg[0], 8, mask);
    return INSN_DONE;
}

static enum insn_result movmskps(struct vmx *v, const struct uop *u)
{
    return signs(v, u, 4);
}

static enum insn_result movmskpd(struct vmx *v, const struct uop *u)
{
    return signs(v, u, 8);
}

static enum insn_result pmovmskb(struct vmx *v, const struct uop *u)
{
    return signs(v, u, 1);
}

// --- Shifts by an immediate: 66 0F 71 to 73, by the opcode extension. ---

bool shift_exists(unsigned size, unsigned extension)
{
    return extension == 2 || extension == 6 || (extension == 4 && size != 8);
}

static uint64_t shift_element(uint64_t value, unsigned size, unsigned extension, unsigned count)
{
    unsigned bits = 8 * size;

    if (extension == 4)
        return (uint64_t)(sign_extend(value, size) >> (count < bits ? count : bits - 1)) & size_mask(size);
    if (count >= bits)
        return 0;
    return extension == 2 ? value >> count : value << count & size_mask(size);
}

uint64_t shift_elements(uint64_t value, unsigned size, unsigned extension, unsigned count)
{
    uint64_t result = 0;

    for (unsigned at = 0; at < 64; at += 8 * size)
        result |= shift_element(value >> at & size_mask(size), size, extension, count) << at;
    return result;
}

static enum insn_result shift(struct vmx *v, const struct uop *u, unsigned size)
{
    unsigned extension = u->reg[0] & 7;
    uint64_t *to = v->xmm[u->reg[1]];

    CHECKED(v, u);
    if (!shift_exists(size, extension))
        return uop_fault(v, u, UD_VECTOR, 0);
    for (unsigned half = 0; half < 2; half++)
        to[half] = shift_elements(to[half], size, extension, (unsigned)u->imm);
    return INSN_DONE;
}

static enum insn_result shift_words(struct vmx *v, const struct uop *u)
{
    return shift(v, u, 2);
}

static enum insn_result shift_doublewords(struct vmx *v, const struct uop *u)
{
    return shift(v, u, 4);
}

// PSRLDQ and PSLLDQ count bytes.
static enum insn_result shift_quadwords(struct vmx *v, const struct uop *u)
{
    unsigned extension = u->reg[0] & 7, count = u->imm < 16 ? (unsigned)u->imm : 16;
    unsigned char from[48] = {0};

    if (extension != 3 && extension != 7)
        return shift(v, u, 8);
    CHECKED(v, u);
    memcpy(from + 16, v->xmm[u->reg[1]], 16);
    memcpy(v->xmm[u->reg[1]], extension == 3 ? from + 16 + count : from + 16 - count, 16);
    return INSN_DONE;
}

// MASKMOVDQU: bytes whose mask has its sign bit set, to rDI; each on its own, as far as faults go.
static enum insn_result maskmovdqu(struct vmx *v, const struct uop *u)
{
    const unsigned char *mask = (const unsigned char *)v->xmm[u->reg[1]];

    CHECKED(v, u);
    return store_masked(v, u, 16, (const unsigned char *)v->xmm[u->reg[0]], mask);
}

// --- CRC32: polynomial 11EDC6F41H, bits reflected (SDM vol. 2). ---

static enum insn_result crc32(struct vmx *v, const struct uop *u, unsigned size)
{
    uint64_t value = 0;
    uint32_t crc = (uint32_t)v->gpr.r[u->reg[0]];
    enum insn_result r = INSN_DONE;

    if (u->kind[1] == OPERAND_MEMORY)
        r = memory_load(v, u, size, &value);
    else
        value = reg_read(v, u->reg[1], size);
    if (r != INSN_DONE)
        return r;
    for (unsigned i = 0; i < 8 * size; i++) {
        bool out = (crc ^ (uint32_t)(value >> i)) & 1;

        crc = crc >> 1 ^ (out ? 0x82f63b78u : 0);
    }
    reg_write(v, u->reg[0], 8, crc);
    return INSN_DONE;
}

static enum insn_result crc32_byte(struct vmx *v, const struct uop *u)
{
    return crc32(v, u, 1);
}

static enum insn_result crc32_wide(struct vmx *v, const struct uop *u)
{
    return crc32(v, u, u->source_size);
}

#define N (1 << NP)
#define O (1 << P66)
#define F2 (1 << PF2)
#define F3 (1 << PF3)
#define ANY (SIMD_MEMORY | SIMD_REGISTER)
#define M SIMD_MEMORY
#define R SIMD_REGISTER
const struct simd_row exec_sse_move_rows[] = {
    {N | O, 0, 0x10, ANY, load_any},
    {N | O, 0, 0x11, ANY, store_any},
    {F3, 0, 0x10, ANY, load_scalar_4},
    {F3, 0, 0x11, ANY, store_scalar_4},
    {F2, 0, 0x10, ANY, load_scalar_8},
    {F2, 0, 0x11, ANY, store_scalar_8},
    {N | O, 0, 0x12, M, load_low},
    {N, 0, 0x12, R, movhlps},
    {N | O, 0, 0x13, M, store_low},
    {N | O, 0, 0x16, M, load_high},
    {N, 0, 0x16, R, movlhps},
    {N | O, 0, 0x17, M, store_high},
    {N | O, 0, 0x28, ANY, load_aligned},
    {N | O, 0, 0x29, ANY, store_aligned},
    {N | O, 0, 0x2b, M, store_aligned},
    {O, 0, 0x6f, ANY, load_aligned},
    {F3, 0, 0x6f, ANY, load_any},
    {O, 0, 0x7f, ANY, store_aligned},
    {F3, 0, 0x7f, ANY, store_any},
    {O, 0, 0xe7, M, store_aligned},
    {F2, 0, 0xf0, M, load_any},
    {O, 1, 0x2a, M, load_aligned},
    {F3, 0, 0x7e, ANY, load_quad},
    {O, 0, 0xd6, ANY, store_quad},
    {O, 0, 0x6e, ANY, from_general},
    {O, 0, 0x7e, ANY, to_general},
    {N, 0, 0xc3, M, movnti},
    {O, 0, 0xc4, ANY, pinsrw},
    {O, 2, 0x20, ANY, pinsrb},
    {O, 2, 0x22, ANY, pinsr},
    {O, 0, 0xc5, R, pextrw_register},
    {O, 2, 0x14, ANY, pextrb},
    {O, 2, 0x15, ANY, pextrw},
    {O, 2, 0x16, ANY, pextr},
    {O, 2, 0x17, ANY, extractps},
    {N, 0, 0x50, R, movmskps},
    {O, 0, 0x50, R, movmskpd},
    {O, 0, 0xd7, R, pmovmskb},
    {O, 0, 0x71, R, shift_words},
    {O, 0, 0x72, R, shift_doublewords},
    {O, 0, 0x73, R, shift_quadwords},
    {O, 0, 0xf7, R, maskmovdqu},
    {F2, 1, 0xf0, ANY, crc32_byte},
    {F2, 1, 0xf1, ANY, crc32_wide},
    {N, 0, 0x53, ANY, sse_rcp_packed},
    {F3, 0, 0x53, ANY, sse_rcp_scalar},
    {N, 0, 0x52, ANY, sse_rsqrt_packed},
    {F3, 0, 0x52, ANY, sse_rsqrt_scalar},
};
const unsigned exec_sse_move_count = sizeof exec_sse_move_rows / sizeof *exec_sse_move_rows;
