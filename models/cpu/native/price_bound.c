// SPDX-License-Identifier: Apache-2.0
//
// What a run of instructions costs: the front end's bound, the ports' bound and the bound of its dependency
// chain. The formulas and what they leave out are in docs/timing-model.md, "Block prices".

#include "models/cpu/native/price_internal.h"

#include <string.h>

// Not a port: the divider, busy for busy_cycles of each division; and the bus lock of a LOCK prefix.
#define UNIT_DIVIDER (1u << 14)
#define UNIT_LOCK (1u << 15)
#define VECTOR (PRICE_REGISTERS - PRICE_VECTORS) // The first vector register, behind the others
// Bytes that one uop group of a REP string instruction moves, and the count where it is no constant of its
// block.
#define STRING_UNIT_BYTES 16
#define STRING_COUNT_ASSUMED 8

// -------------------------------------------------------------------------------------------------------------------
// Which sets of ports can be the bottleneck. By Hall's theorem the least time in which uops, each allowed on
// the ports of its mask, can be executed is max over port sets S of (uops whose mask lies in S) / |S|; only
// unions of masks matter.

static void add_mask(struct price_ports *p, uint32_t mask)
{
    for (uint32_t i = 0; i < p->mask_count; i++)
        if (p->mask[i] == mask)
            return;
    if (p->mask_count < PRICE_MASKS_MAX)
        p->mask[p->mask_count++] = mask;
}

static bool has_set(const uint32_t *sets, uint32_t count, uint32_t ports)
{
    for (uint32_t i = 0; i < count; i++)
        if (sets[i] == ports)
            return true;
    return false;
}

// The unions of masks, closed under union.
static uint32_t find_sets(const struct price_ports *p, uint32_t sets[PRICE_SETS_MAX])
{
    uint32_t count = 0;
    for (uint32_t m = 0; m < p->mask_count; m++) {
        uint32_t before = count;
        for (uint32_t i = 0; i < before && count < PRICE_SETS_MAX - 2; i++)
            if (!has_set(sets, count, sets[i] | p->mask[m]))
                sets[count++] = sets[i] | p->mask[m];
        if (!has_set(sets, count, p->mask[m]) && count < PRICE_SETS_MAX - 2)
            sets[count++] = p->mask[m];
    }
    return count;
}

void price_ports_open(struct price_ports *p, const struct uarch *u)
{
    uint32_t sets[PRICE_SETS_MAX];
    memset(p, 0, sizeof *p);
    for (size_t c = 0; c < u->class_count; c++)
        for (uint32_t k = 0; k < u->classes[c].uop_kinds; k++)
            add_mask(p, u->classes[c].uop[k].ports);
    uint32_t count = find_sets(p, sets);
    // The two units stand alone: no uop can choose between them and a port.
    sets[count++] = UNIT_DIVIDER;
    sets[count++] = UNIT_LOCK;
    add_mask(p, UNIT_DIVIDER);
    add_mask(p, UNIT_LOCK);
    for (uint32_t size = 0; size <= UARCH_PORTS_MAX; size++) {
        for (uint32_t i = 0; i < count; i++) {
            if ((uint32_t)__builtin_popcount(sets[i]) != size)
                continue;
            for (uint32_t m = 0; m < p->mask_count; m++)
                p->within[m][p->set_count] = (p->mask[m] & ~sets[i]) == 0 ? -1 : 0;
            p->set_count++;
        }
        p->set_count = (p->set_count + PRICE_SETS_AT_ONCE - 1) / PRICE_SETS_AT_ONCE * PRICE_SETS_AT_ONCE;
        p->size_end[size] = p->set_count;
    }
}

static void load_mask(struct price_load *l, const struct price_ports *p, uint32_t mask, uint32_t count)
{
    const int32_t *within = NULL;
    for (uint32_t m = 0; m < p->mask_count; m++)
        if (p->mask[m] == mask)
            within = p->within[m];
    for (uint32_t s = 0; within != NULL && s < p->set_count; s += PRICE_SETS_AT_ONCE)
        for (uint32_t i = s; i < s + PRICE_SETS_AT_ONCE; i++)
            l->uops[i] += (int32_t)count & within[i];
}

static void load_class(struct price_load *l, const struct price_ports *p, const struct uarch_class *c,
                       uint32_t times)
{
    for (uint32_t k = 0; k < c->uop_kinds; k++)
        load_mask(l, p, c->uop[k].ports, c->uop[k].count * times);
    if (c->busy_cycles > 1)
        load_mask(l, p, UNIT_DIVIDER, c->busy_cycles * times);
    l->fused += c->fused_uops * times;
}

// Copies what is used.
static void load_copy(struct price_load *to, const struct price_load *from, const struct price_ports *p)
{
    memcpy(to->uops, from->uops, p->set_count * sizeof to->uops[0]);
    to->fused = from->fused;
}

static uint32_t ceil_div(uint64_t a, uint64_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

static int32_t most(const int32_t *uops, uint32_t count)
{
    int32_t best[PRICE_SETS_AT_ONCE] = {0}, result = 0;
    for (uint32_t s = 0; s < count; s += PRICE_SETS_AT_ONCE)
        for (uint32_t i = 0; i < PRICE_SETS_AT_ONCE; i++)
            best[i] = uops[s + i] > best[i] ? uops[s + i] : best[i];
    for (uint32_t i = 0; i < PRICE_SETS_AT_ONCE; i++)
        result = best[i] > result ? best[i] : result;
    return result;
}

static uint32_t port_ticks(const struct price_load *l, const struct price_ports *p)
{
    uint32_t worst = 0;
    for (uint32_t size = 1; size <= UARCH_PORTS_MAX; size++) {
        uint32_t first = p->size_end[size - 1];
        uint64_t ticks = (uint64_t)most(l->uops + first, p->size_end[size] - first) * UARCH_TICKS_PER_CYCLE;
        if (ticks > (uint64_t)worst * size)
            worst = ceil_div(ticks, size);
    }
    return worst;
}

// -------------------------------------------------------------------------------------------------------------------
// Uops.

// Intel 248966, 3.4.2.2: TEST and AND fuse with every Jcc, CMP, ADD and SUB not with those that test SF, PF
// or OF alone, INC and DEC further not with those that test CF.
bool price_macro_fused(const struct uarch *u, const struct price_insn *a, const struct price_insn *b)
{
    // By condition code: o no b ae e ne be a s ns p np l ge le g.
    static const bool compare[16] = {0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1};
    static const bool step[16] = {0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1};
    if (!u->front_end.macro_fusion || !b->conditional)
        return false;
    return a->fuse_all || (a->fuse_compare && compare[b->condition]) || (a->fuse_step && step[b->condition]);
}

// How often the class of an instruction counts: once, or for REP by the bytes that it moves.
static uint32_t repeat_count(const struct price_run *r, const struct price_insn *p)
{
    return p->start
               ? (uint32_t)((r->string_count * p->element_bytes + STRING_UNIT_BYTES - 1) / STRING_UNIT_BYTES)
               : 1;
}

// The memory operand: a load micro-fuses with the uops beside it, a store is one fused uop of its own.
static void load_memory(struct price_load *l, const struct price_run *r, const struct price_insn *p)
{
    const struct price_classes *c = r->classes;
    uint32_t fused = l->fused;
    if (p->load)
        load_class(l, r->ports, c->by_id[PRICE_CLASS_load], 1);
    if (p->load && p->class != NULL && p->class->fused_uops > 0)
        l->fused = fused;
    if (!p->store)
        return;
    load_class(l, r->ports,
               c->by_id[p->indexed ? PRICE_CLASS_store_address_indexed : PRICE_CLASS_store_address], 1);
    load_class(l, r->ports, c->by_id[PRICE_CLASS_store_data], 1);
}

static void load_insn(struct price_load *l, const struct price_run *r, const struct price_insn *p)
{
    const struct price_classes *c = r->classes;
    load_memory(l, r, p);
    if (p->start)
        load_class(l, r->ports, c->by_id[PRICE_CLASS_string_start], 1);
    if (p->class != NULL)
        load_class(l, r->ports, p->class, repeat_count(r, p));
    if (p->locked)
        load_mask(l, r->ports, UNIT_LOCK, (uint32_t)c->u->op.rmw_cycles);
    l->fused += p->extra_fused;
}

// The first half of a macro-fused pair: only its load remains, micro-fused with the branch.
static void load_fused_half(struct price_load *l, const struct price_run *r, const struct price_insn *p)
{
    uint32_t fused = l->fused;
    if (p->load)
        load_class(l, r->ports, r->classes->by_id[PRICE_CLASS_load], 1);
    l->fused = fused + p->extra_fused;
}

// -------------------------------------------------------------------------------------------------------------------
// The dependency chain, in cycles. ready[r]: when register r can be read. Memory is not followed (a load does
// not wait for an earlier store), the stack pointer is renamed by the stack engine, and branches are
// predicted.

static uint32_t latest(const uint32_t *ready, uint32_t registers)
{
    uint32_t cycle = 0;
    for (registers &= ~(PRICE_RSP | PRICE_OTHER); registers != 0; registers &= registers - 1)
        if (ready[__builtin_ctz(registers)] > cycle)
            cycle = ready[__builtin_ctz(registers)];
    return cycle;
}

static uint32_t latest_vector(const uint32_t *ready, uint32_t registers)
{
    uint32_t cycle = 0;
    for (; registers != 0; registers &= registers - 1)
        if (ready[VECTOR + __builtin_ctz(registers)] > cycle)
            cycle = ready[VECTOR + __builtin_ctz(registers)];
    return cycle;
}

static uint32_t chain_step(uint32_t *ready, const struct price_classes *c, const struct price_insn *p)
{
    uint32_t start = latest(ready, p->load || p->store ? p->address_reads : 0);
    if (p->load)
        start += c->by_id[PRICE_CLASS_load]->latency_cycles;
    uint32_t others =
        latest(ready, p->load && p->class == NULL ? 0 : p->reads & (p->load ? ~p->address_reads : ~0u));
    uint32_t vectors = latest_vector(ready, p->load && p->class == NULL ? 0 : p->vector_reads);
    if (vectors > others)
        others = vectors;
    if (p->load && p->class != NULL && others > start)
        start = others;
    if (!p->load && others > start)
        start = others;
    uint32_t end = start + (p->class != NULL ? p->class->latency_cycles : 0);
    for (uint32_t w = p->writes & ~PRICE_OTHER; w != 0; w &= w - 1)
        ready[__builtin_ctz(w)] = end;
    for (uint32_t w = p->vector_writes; w != 0; w &= w - 1)
        ready[VECTOR + __builtin_ctz(w)] = end;
    return end;
}

static uint32_t chain_pass(uint32_t *ready, const struct price_classes *c,
                           const struct price_insn *const *insns, size_t count)
{
    uint32_t end = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t cycle = chain_step(ready, c, insns[i]);
        if (cycle > end)
            end = cycle;
    }
    return end;
}

// What the chain costs. In a loop: the cycles by which each further turn ends later (the recurrence).
static uint32_t loop_ticks(const struct price_run *r, const struct price_insn *const *insns)
{
    uint32_t ready[PRICE_REGISTERS];
    uint32_t turn[8];
    memcpy(ready, r->ready, sizeof ready);
    for (size_t i = 0; i < 8; i++)
        turn[i] = chain_pass(ready, r->classes, insns, r->instructions);
    return (turn[7] - turn[3]) * UARCH_TICKS_PER_CYCLE / 4;
}

// Elsewhere: while the chain runs, rename goes on with what follows until the scheduler is full, which takes
// entries / width cycles; what the chain is longer than that stalls it.
static uint32_t chain_ticks(const struct price_run *r, uint32_t front_ticks)
{
    const struct uarch_front_end *f = &r->classes->u->front_end;
    uint32_t covered = (uint32_t)(f->scheduler_entries * UARCH_TICKS_PER_CYCLE / f->fused_width);
    uint32_t ticks = r->chain * UARCH_TICKS_PER_CYCLE;
    return ticks > covered ? front_ticks + ticks - covered : 0;
}

// -------------------------------------------------------------------------------------------------------------------

void price_run_begin(struct price_run *r, const struct price_classes *c, const struct price_ports *ports)
{
    r->classes = c;
    r->ports = ports;
    r->last = NULL;
    memset(r->load.uops, 0, ports->set_count * sizeof r->load.uops[0]);
    r->load.fused = 0;
    memset(r->ready, 0, sizeof r->ready);
    r->chain = r->instructions = r->branches = r->calls = 0;
    r->string_count = STRING_COUNT_ASSUMED;
}

void price_run_add(struct price_run *r, const struct price_insn *p)
{
    // Until now the last one was alone.
    if (r->last != NULL && price_macro_fused(r->classes->u, r->last, p)) {
        load_fused_half(&r->before, r, r->last);
        load_copy(&r->load, &r->before, r->ports);
    } else {
        load_copy(&r->before, &r->load, r->ports);
    }
    load_insn(&r->load, r, p);
    uint32_t end = chain_step(r->ready, r->classes, p);
    if (end > r->chain)
        r->chain = end;
    if (p->writes & PRICE_RCX)
        r->string_count = p->constant && p->immediate >= 0 && p->immediate <= 1 << 16 ? (uint64_t)p->immediate
                                                                                      : STRING_COUNT_ASSUMED;
    r->branches += p->conditional;
    r->calls += p->call;
    r->instructions++;
    r->last = p;
}

void price_run_bound(const struct price_run *r, struct price_bound *out, const struct price_insn *const *turn)
{
    const struct uarch *u = r->classes->u;
    *out = (struct price_bound){.instructions = r->instructions, .calls = r->calls, .uops = r->load.fused};
    out->front_ticks = ceil_div((uint64_t)r->load.fused * UARCH_TICKS_PER_CYCLE, u->front_end.fused_width);
    out->port_ticks = port_ticks(&r->load, r->ports);
    // A taken branch ends what can be fetched in a cycle, so a loop's turn takes one at least.
    if (turn != NULL && out->front_ticks < UARCH_TICKS_PER_CYCLE)
        out->front_ticks = UARCH_TICKS_PER_CYCLE;
    out->chain_ticks = turn != NULL ? loop_ticks(r, turn) : chain_ticks(r, out->front_ticks);
    out->branch_ticks = (uint32_t)(r->branches * UARCH_TICKS_PER_CYCLE * u->branch.mispredict_permille *
                                   u->branch.mispredict_cycles / 1000);
}
