// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/operand.h"

#include "models/mem/mem.h"
#include <stdlib.h>

#define PAGE 4096u
#define FETCH_BYTES 15u

uint32_t block_mode(const struct vmx *v)
{
    return (uint32_t)segment_code_size(v) | segment_stack_size(v) << 4;
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

// Linear address of the code at v->rip + offset. SDM 5.3.1: beyond the limit of CS is #GP(0).
static bool code_linear(const struct vmx *v, uint64_t offset, uint64_t *linear)
{
    if (segment_code_size(v) == CODE_64) {
        *linear = offset;
        return true;
    }
    *linear = (uint32_t)(v->seg[SEG_CS].base + offset);
    return offset <= v->seg[SEG_CS].limit;
}

static enum insn_result fetch(struct vmx *v, uint64_t offset, uint64_t *hpa, const unsigned char **bytes)
{
    uint64_t linear;
    enum insn_result r;

    if (!code_linear(v, offset, &linear))
        return insn_fault(v->cpu, GP_VECTOR, 0);
    r = insn_access(guest_translate(v->cpu, linear, EPT_ACCESS_FETCH, hpa));
    if (r == INSN_DONE)
        *bytes = mem_hpa_to_ptr(v->cpu, *hpa, 1);
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
        unsigned here =
            f->first_bytes - at < FETCH_BYTES && at < f->first_bytes ? f->first_bytes - at : FETCH_BYTES;
        unsigned char window[FETCH_BYTES];
        bool crosses = at >= f->first_bytes || f->first_bytes - at < FETCH_BYTES;

        if (at >= f->first_bytes)
            break; // Blocks end with the page, but for an instruction that crosses into the next.
        memcpy(window, f->first + at, here);
        if (!decode_one(x->decoder, u, window, here, b->rip + at, b->mode) && crosses) {
            enum insn_result r = INSN_DONE;

            if (b->uop_count)
                break;
            if (!f->second)
                r = fetch(v, b->rip + f->first_bytes, &f->hpa_second, &f->second);
            if (r != INSN_DONE)
                return r;
            memcpy(window + here, f->second, FETCH_BYTES - here);
            decode_one(x->decoder, u, window, FETCH_BYTES, b->rip + at, b->mode);
        }
        u->offset = (uint16_t)at;
        decoder_price(x->decoder, &x->cost, u, &insns[b->uop_count]);
        memcpy(b->code + at, window, u->length);
        at += u->length;
        b->uop_count++;
        if ((u->flags & UOP_ENDS) || b->uop_count == BLOCK_UOPS_MAX || at + FETCH_BYTES > BLOCK_BYTES_MAX)
            break;
    }
    b->bytes = (uint16_t)at;
    b->bytes_first = (uint16_t)(at < f->first_bytes ? at : f->first_bytes);
    b->hpa_second = f->hpa_second;
    cost_block(&x->cost, b, insns);
    return INSN_DONE;
}

struct block *block_find(struct vmx *v, enum insn_result *result)
{
    struct interp *x = v->interp;
    uint32_t mode = block_mode(v);
    struct fetched f = {NULL, NULL, 0, 0, 0};
    struct block **b;

    *result = fetch(v, v->rip, &f.hpa, &f.first);
    if (*result != INSN_DONE)
        return NULL;
    f.first_bytes = PAGE - (unsigned)(f.hpa & (PAGE - 1));
    if (!f.first) { // Nothing decodes the address: all ones is no instruction.
        *result = insn_fault(v->cpu, UD_VECTOR, 0);
        return NULL;
    }
    b = &x->blocks[slot(f.hpa)];
    if (*b && (*b)->hpa == f.hpa && (*b)->rip == v->rip && (*b)->mode == mode) {
        if ((*b)->bytes_first < (*b)->bytes) {
            *result = fetch(v, v->rip + f.first_bytes, &f.hpa_second, &f.second);
            if (*result != INSN_DONE)
                return NULL;
        }
        if (matches(*b, &f))
            return *b;
    }
    if (!*b)
        *b = calloc(1, sizeof **b);
    (*b)->hpa = f.hpa;
    (*b)->rip = v->rip;
    (*b)->mode = mode;
    *result = decode(v, *b, &f);
    if (*result == INSN_DONE)
        return *b;
    (*b)->hpa = UINT64_MAX; // Half a block is none.
    return NULL;
}
