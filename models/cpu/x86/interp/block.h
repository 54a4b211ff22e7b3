// SPDX-License-Identifier: Apache-2.0
// Decoded blocks: found by where they are in memory, and believed only while memory still has their bytes.
#ifndef MODELS_CPU_X86_INTERP_BLOCK_H
#define MODELS_CPU_X86_INTERP_BLOCK_H

#include "models/cpu/x86/interp/cost.h"
#include "models/cpu/x86/interp/uop.h"

#define OPERAND_BYTES_MAX 16u // Of one access
#define BLOCKS_MAX (1u << 14) // Direct-mapped

// A read-modify-write between its two halves.
struct rmw {
    struct guest_rmw access;
    bool locked;
    unsigned char *plain; // Not locked, in ordinary memory within a page: there, at `hpa`; else NULL
    uint64_t hpa;
};

struct interp {
    struct block *running; // The block being executed
    // A store at `linear` may be into it if linear - code_from < code_span.
    uint64_t code_from, code_span;
    const unsigned char *code; // Its bytes in memory
    uint32_t plain;            // What segments_plain() was told last
    struct block *scratch;     // Being decoded
    struct decoder *decoder;
    struct cost cost;
    struct block **blocks; // By where they are
    struct rmw rmw;
    bool exits; // An instruction of the running block made the exit
};

// What decoding depends on: enum code_size, stack size << 4.
#define BLOCK_CODE_SIZE 0xfu
static inline uint32_t block_mode(const struct vmx *v)
{
    enum code_size size = segment_code_size_of(v->seg[SEG_CS].ar, MSR_VALUE(v->cpu, IA32_EFER));

    return (uint32_t)size | (size == CODE_64 ? 8u : v->seg[SEG_SS].ar & AR_DB ? 4u : 2u) << 4;
}

// The block at v->rip: fetched through the MMU and the instruction cache, decoded if need be; it is now the
// running one. `mode`: block_mode(). NULL: *result says what came of the fetch.
struct block *block_find(struct vmx *v, uint32_t mode, enum insn_result *result);
static inline uint64_t block_word(const unsigned char *p)
{
    uint64_t value;

    memcpy(&value, p, sizeof value);
    return value;
}

// Are the bytes at `code` still those of a block that has words?
static inline bool block_same(const struct block *b, const unsigned char *code)
{
    unsigned last = b->words - 1u;

    for (unsigned i = 0; i < last; i++)
        if (block_word(b->code + 8 * i) != block_word(code + 8 * i))
            return false;
    return !((block_word(b->code + 8 * last) ^ block_word(code + 8 * last)) & b->last_mask);
}

bool block_create(struct interp *x);

struct decoder *decoder_create(void);
// A new run begins.
void decoder_reset(struct decoder *d);
// Fills *u but `ticks`, and *p, what the instruction is to block prices; u->fn is that of an undefined
// instruction where there is none. `rip` of the instruction. Returns false if the bytes run out before the
// instruction ends. A decoder is always given the same classes.
bool decode_one(struct decoder *d, const struct price_classes *c, struct uop *u, struct price_insn *p,
                const unsigned char *bytes, unsigned count, uint64_t rip, uint32_t mode);
// Writes instruction `u` of the block in words, as Capstone writes them: "mov eax, dword ptr [rbx]".
void decoder_text(const struct decoder *d, const struct block *b, const struct uop *u, char *text,
                  size_t size);
void decoder_destroy(struct decoder *d);

static inline struct block *block_running(const struct vmx *v)
{
    return v->interp->running;
}

#endif
