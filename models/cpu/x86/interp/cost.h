// SPDX-License-Identifier: Apache-2.0
// What guest code costs: the prices of hypervisor code (models/cpu/native/price.h), block by block, and
// mispredicted branches.
#ifndef MODELS_CPU_X86_INTERP_COST_H
#define MODELS_CPU_X86_INTERP_COST_H

#include "models/cpu/native/price_internal.h"

struct block;
struct pcpu;

#define COST_PREDICTORS 4096u
#define COST_RETURNS 16u // Agner Fog, microarchitecture, 3.7: entries of Intel's return stack buffer
struct cost {
    struct price_classes classes;
    struct price_ports ports;
    struct price_run run;             // The block that is being priced
    uint8_t taken[COST_PREDICTORS];   // Two-bit counters of conditional branches, by address
    uint64_t target[COST_PREDICTORS]; // Of indirect branches: the last
    uint64_t returns[COST_RETURNS];   // Where calls return to, a ring
    unsigned return_at;               // The latest
};

// False: the micro-architecture lacks an instruction class.
bool cost_open(struct cost *k, const struct pcpu *c);
void cost_reset(struct cost *k);
// Fills `ticks` of the block's uops; insns[i] is uop i.
void cost_block(struct cost *k, struct block *b, const struct price_insn *insns);
void cost_mispredicted(struct pcpu *c);

static inline unsigned cost_predictor(uint64_t rip)
{
    return (unsigned)(rip ^ rip >> 12) % COST_PREDICTORS;
}

// A branch of this kind at `rip` was carried out: charges what a misprediction costs.
static inline void cost_conditional(struct pcpu *c, struct cost *k, uint64_t rip, bool taken)
{
    uint8_t *counter = &k->taken[cost_predictor(rip)], was = *counter;

    if ((was >= 2) != taken)
        cost_mispredicted(c);
    *counter = (uint8_t)(taken ? was + (was < 3) : was - (was > 0));
}
static inline void cost_indirect(struct pcpu *c, struct cost *k, uint64_t rip, uint64_t target)
{
    uint64_t *last = &k->target[cost_predictor(rip)];

    if (*last != target)
        cost_mispredicted(c);
    *last = target;
}
// A near call, which returns to `next`; a near return to `target`.
static inline void cost_call(struct cost *k, uint64_t next)
{
    k->return_at = (k->return_at + 1) % COST_RETURNS;
    k->returns[k->return_at] = next;
}
static inline void cost_return(struct pcpu *c, struct cost *k, uint64_t target)
{
    if (k->returns[k->return_at] != target)
        cost_mispredicted(c);
    k->return_at = (k->return_at - 1) % COST_RETURNS;
}

#endif
