// SPDX-License-Identifier: Apache-2.0
// Decoded blocks: found by where they are in memory, and believed only while memory still has their bytes.
#ifndef MODELS_CPU_X86_INTERP_BLOCK_H
#define MODELS_CPU_X86_INTERP_BLOCK_H

#include "models/cpu/x86/interp/cost.h"
#include "models/cpu/x86/interp/uop.h"

#define BLOCKS_MAX (1u << 14) // Direct-mapped

// A read-modify-write between its two halves.
struct rmw {
    struct guest_rmw access;
    bool locked;
};

struct interp {
    struct block *running; // The block being executed
    struct decoder *decoder;
    struct cost cost;
    struct block **blocks; // By block_slot()
    struct rmw rmw;
    bool exits; // An instruction of the running block made the exit
};

// What decoding depends on: code size, stack size.
uint32_t block_mode(const struct vmx *v);
// The block at v->rip: fetched through the MMU, decoded if need be. NULL: *result says what came of the
// fetch.
struct block *block_find(struct vmx *v, enum insn_result *result);

struct decoder *decoder_create(void);
// A new run begins.
void decoder_reset(struct decoder *d);
// The instruction that decode_one() read last, for its price.
void decoder_price(const struct decoder *d, const struct cost *k, const struct uop *u, struct price_insn *p);
// Writes instruction `u` of the block in words, as Capstone writes them: "mov eax, dword ptr [rbx]".
void decoder_text(const struct decoder *d, const struct block *b, const struct uop *u, char *text,
                  size_t size);
void decoder_destroy(struct decoder *d);

static inline struct block *block_running(const struct vmx *v)
{
    return v->interp->running;
}

#endif
