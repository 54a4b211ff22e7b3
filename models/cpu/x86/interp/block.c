// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/operand.h"

#include "models/mem/core.h"
#include <stdlib.h>

#define PAGE 4096u
#define FETCH_BYTES 15u

bool block_create(struct interp *x)
{
    x->blocks = calloc(BLOCKS_MAX, sizeof(struct block *));
    x->scratch = malloc(sizeof *x->scratch + (BLOCK_UOPS_MAX + 1) * sizeof x->scratch->uops[0]);
    return x->blocks && x->scratch;
}

static unsigned slot(uint64_t hpa)
{
    return (unsigned)(hpa ^ hpa >> 14) % BLOCKS_MAX;
}

// The bytes that decoding may look at: from one page, or two.
struct fetched {
    const unsigned char *first, *second;
    uint64_t hpa, hpa_second;
    unsigned first_bytes; // Up to the end of the page
};

// Linear address of the code at `offset`. SDM 5.3.1: beyond the limit of CS is #GP(0).
static inline bool code_linear(const struct vmx *v, uint32_t mode, uint64_t offset, uint64_t *linear)
{
    if ((mode & BLOCK_CODE_SIZE) == CODE_64) {
        *linear = offset;
        return true;
    }
    *linear = (uint32_t)(v->seg[SEG_CS].base + offset);
    return offset <= v->seg[SEG_CS].limit;
}

static enum insn_result fetch(struct vmx *v, uint32_t mode, uint64_t offset, uint64_t *linear, uint64_t *hpa,
                              const unsigned char **bytes)
{
    struct pcpu *c = v->cpu;
    enum insn_result r;

    if (!code_linear(v, mode, offset, linear))
        return insn_fault(c, GP_VECTOR, 0);
    *bytes = mmu_ordinary(c->x86->mmu, *linear, 1, EPT_ACCESS_FETCH, hpa);
    if (__builtin_expect(*bytes != NULL, 1))
        return INSN_DONE;
    r = insn_access(guest_translate(c, *linear, EPT_ACCESS_FETCH, hpa));
    if (r == INSN_DONE)
        *bytes = mem_hpa_to_ptr(c, *hpa, 1);
    return r;
}

static bool matches(const struct block *b, const struct fetched *f)
{
    if (memcmp(b->code, f->first, b->bytes_first))
        return false;
    return b->bytes_first == b->bytes ||
           (f->second && b->hpa_second == f->hpa_second &&
            !memcmp(b->code + b->bytes_first, f->second, b->bytes - b->bytes_first));
}

// Decodes from v->rip on; the second page is fetched only when an instruction needs it.
static enum insn_result decode(struct vmx *v, struct block *b, struct fetched *f)
{
    struct interp *x = v->interp;
    struct price_insn insns[BLOCK_UOPS_MAX];
    unsigned at = 0;

    b->uop_count = 0;
    for (;;) {
        struct uop *u = &b->uops[b->uop_count];
        struct price_insn *p = &insns[b->uop_count];
        unsigned here =
            f->first_bytes - at < FETCH_BYTES && at < f->first_bytes ? f->first_bytes - at : FETCH_BYTES;
        unsigned char window[FETCH_BYTES];
        bool crosses = at >= f->first_bytes || f->first_bytes - at < FETCH_BYTES;

        if (at >= f->first_bytes)
            break; // Blocks end with the page, but for an instruction that crosses into the next.
        memcpy(window, f->first + at, here);
        if (!decode_one(x->decoder, &x->cost.classes, u, p, window, here, b->rip + at, b->mode) && crosses) {
            enum insn_result r = INSN_DONE;
            uint64_t linear;

            if (b->uop_count)
                break;
            if (!f->second)
                r = fetch(v, b->mode, b->rip + f->first_bytes, &linear, &f->hpa_second, &f->second);
            if (r != INSN_DONE)
                return r;
            memcpy(window + here, f->second, FETCH_BYTES - here);
            decode_one(x->decoder, &x->cost.classes, u, p, window, FETCH_BYTES, b->rip + at, b->mode);
        }
        u->offset = (uint16_t)at;
        memcpy(b->code + at, window, u->length);
        at += u->length;
        b->uop_count++;
        if ((u->flags & UOP_ENDS) || b->uop_count == BLOCK_UOPS_MAX || at + FETCH_BYTES > BLOCK_BYTES_MAX)
            break;
    }
    b->bytes = (uint16_t)at;
    b->bytes_first = (uint16_t)(at < f->first_bytes ? at : f->first_bytes);
    b->hpa_second = f->hpa_second;
    b->words = (uint8_t)((at + 7) / 8 * 8 <= f->first_bytes ? (at + 7) / 8 : 0);
    b->last_mask = UINT64_MAX >> (64 - 8 * at) % 64;
    cost_block(&x->cost, b, insns);
    return INSN_DONE;
}

// The block is going to run: its time in the instruction cache.
static inline __attribute__((always_inline)) struct block *enter(struct vmx *v, struct block *b,
                                                                 uint64_t linear, const unsigned char *code)
{
    struct interp *x = v->interp;

    mem_fetch(v->cpu, b->hpa, b->bytes_first);
    if (__builtin_expect(b->bytes_first < b->bytes, 0))
        mem_fetch(v->cpu, b->hpa_second & ~(uint64_t)(PAGE - 1), b->bytes - b->bytes_first);
    x->running = b;
    x->code = code;
    x->code_from = linear - OPERAND_BYTES_MAX + 1;
    x->code_span = b->bytes + OPERAND_BYTES_MAX - 1;
    return b;
}

// Decodes what is at `f`, into a block for `at`.
static struct block *decode_new(struct vmx *v, struct block **at, uint32_t mode, struct fetched *f,
                                enum insn_result *result)
{
    struct block *b = v->interp->scratch;
    size_t bytes;

    b->hpa = f->hpa;
    b->rip = v->rip;
    b->mode = mode;
    *result = decode(v, b, f);
    if (*result != INSN_DONE)
        return NULL;
    bytes = sizeof *b + b->uop_count * sizeof b->uops[0];
    *at = realloc(*at, bytes);
    return memcpy(*at, b, bytes);
}

static __attribute__((noinline)) struct block *search(struct vmx *v, uint32_t mode, enum insn_result *result)
{
    struct fetched f = {NULL, NULL, 0, 0, 0};
    struct block **at, *b;
    uint64_t linear;

    *result = fetch(v, mode, v->rip, &linear, &f.hpa, &f.first);
    if (*result != INSN_DONE)
        return NULL;
    if (!f.first) { // Nothing decodes the address: all ones is no instruction.
        *result = insn_fault(v->cpu, UD_VECTOR, 0);
        return NULL;
    }
    at = &v->interp->blocks[slot(f.hpa)];
    b = *at;
    if (__builtin_expect(b && b->hpa == f.hpa && b->rip == v->rip && b->mode == mode, 1)) {
        if (__builtin_expect(b->words && block_same(b, f.first), 1))
            return enter(v, b, linear, f.first);
        if (b->bytes_first < b->bytes) {
            uint64_t second;

            *result = fetch(v, mode, v->rip + b->bytes_first, &second, &f.hpa_second, &f.second);
            if (*result != INSN_DONE)
                return NULL;
        }
        if (matches(b, &f))
            return enter(v, b, linear, f.first);
    }
    f.first_bytes = PAGE - (unsigned)(f.hpa & (PAGE - 1));
    b = decode_new(v, at, mode, &f, result);
    return b ? enter(v, b, linear, f.first) : NULL;
}

struct block *block_find(struct vmx *v, uint32_t mode, enum insn_result *result)
{
    struct mmu *m = v->cpu->x86->mmu;
    const struct mmu_near *n;
    struct block *b;
    uint64_t linear, hpa;

    // The usual case in place: nothing that needs a search.
    if (code_linear(v, mode, v->rip, &linear)) {
        n = mmu_near_find(m, linear, 1, EPT_ACCESS_FETCH);
        hpa = n ? n->hpa + (linear & (PAGE - 1)) : 0;
        b = n ? v->interp->blocks[slot(hpa)] : NULL;
        if (__builtin_expect(b && b->hpa == hpa && b->rip == v->rip && b->mode == mode && b->words &&
                                 block_same(b, n->host + (linear & (PAGE - 1))),
                             1)) {
            mmu_near_use(m, n, EPT_ACCESS_FETCH);
            *result = INSN_DONE;
            return enter(v, b, linear, n->host + (linear & (PAGE - 1)));
        }
    }
    return search(v, mode, result);
}
