// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/interp/cost.h"
#include "models/cpu/x86/interp/block.h"

#include "models/cpu/uarch/uarch.h"

bool cost_open(struct cost *k, const struct pcpu *c)
{
    char error[256];

    if (!price_classes_open(&k->classes, c->uarch, error, sizeof error))
        return false;
    price_ports_open(&k->ports, c->uarch);
    return true;
}

void cost_reset(struct cost *k)
{
    memset(k->taken, 1, sizeof k->taken); // Weakly not taken.
    memset(k->target, 0, sizeof k->target);
    memset(k->returns, 0, sizeof k->returns);
    k->return_at = 0;
}

// Each uop is charged what the block costs more with it than without it.
void cost_block(struct cost *k, struct block *b, const struct price_insn *insns)
{
    const struct price_insn *turn[BLOCK_UOPS_MAX];
    const struct uop *last = &b->uops[b->uop_count - 1];
    struct price_bound bound;
    uint32_t charged = 0;

    b->loops = (last->flags & UOP_DIRECT) && last->imm == b->rip;
    price_run_begin(&k->run, &k->classes, &k->ports);
    for (unsigned i = 0; i < b->uop_count; i++) {
        uint32_t total;

        turn[i] = &insns[i];
        price_run_add(&k->run, turn[i]);
        price_run_bound(&k->run, &bound, b->loops && i + 1 == b->uop_count ? turn : NULL);
        total = price_bound_ticks(&bound);
        b->uops[i].ticks = total > charged ? total - charged : 0;
        charged += b->uops[i].ticks;
    }
}

void cost_mispredicted(struct pcpu *c)
{
    pcpu_charge_cycles(c, c->uarch->branch.mispredict_cycles);
}
