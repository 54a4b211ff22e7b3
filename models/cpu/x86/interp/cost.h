// SPDX-License-Identifier: Apache-2.0
// What guest code costs: the prices of hypervisor code (models/cpu/native/price.h), block by block, and
// mispredicted branches.
#ifndef MODELS_CPU_X86_INTERP_COST_H
#define MODELS_CPU_X86_INTERP_COST_H

#include "models/cpu/native/price_internal.h"

struct block;
struct pcpu;

#define COST_PREDICTORS 4096u
struct cost {
    struct price_classes classes;
    struct price_ports ports;
    uint8_t taken[COST_PREDICTORS];   // Two-bit counters of conditional branches, by address
    uint64_t target[COST_PREDICTORS]; // Of indirect branches
};

// False: the micro-architecture lacks an instruction class.
bool cost_open(struct cost *k, const struct pcpu *c);
void cost_reset(struct cost *k);
// Fills `ticks` of the block's uops; insns[i] is uop i.
void cost_block(struct cost *k, struct block *b, const struct price_insn *insns);
// A branch of this kind at `rip` was carried out: charges what a misprediction costs.
void cost_conditional(struct pcpu *c, struct cost *k, uint64_t rip, bool taken);
void cost_indirect(struct pcpu *c, struct cost *k, uint64_t rip, uint64_t target);

#endif
