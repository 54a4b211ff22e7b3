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

// Does the set hang together by the masks within it? If not, it is two sets without a mask between them, one
// of which has at least as many uops for each of its ports: the set limits nothing that this one does not.
static bool connected(const struct price_ports *p, uint32_t set)
{
    uint32_t reached = 0, before;
    for (uint32_t m = 0; m < p->mask_count && reached == 0; m++)
        if ((p->mask[m] & ~set) == 0)
            reached = p->mask[m];
    do {
        before = reached;
        for (uint32_t m = 0; m < p->mask_count; m++)
            if ((p->mask[m] & ~set) == 0 && (p->mask[m] & reached))
                reached |= p->mask[m];
    } while (reached != before);
    return reached == set;
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
    for (uint32_t i = 0; i < count; i++) {
        if (!connected(p, sets[i]))
            continue;
        for (uint32_t m = 0; m < p->mask_count; m++)
            if ((p->mask[m] & ~sets[i]) == 0)
                p->around[m].set[p->around[m].count++] = (uint16_t)p->set_count;
        p->size[p->set_count++] = (uint32_t)__builtin_popcount(sets[i]);
    }
}

static uint32_t ceil_div(uint64_t a, uint64_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

// `count` uops for the ports of `mask` come to the run, or go if it is negative.
static void load_mask(struct price_run *r, uint32_t mask, int32_t count)
{
    const struct price_ports *p = r->ports;
    uint32_t m = 0;
    while (m < p->mask_count && p->mask[m] != mask)
        m++;
    if (m == p->mask_count)
        return;
    for (uint32_t i = 0; i < p->around[m].count; i++) {
        uint32_t s = p->around[m].set[i];
        r->uops[s] += count;
        uint64_t ticks = (uint64_t)r->uops[s] * UARCH_TICKS_PER_CYCLE;
        if (ticks > (uint64_t)r->now.port_ticks * p->size[s])
            r->now.port_ticks = ceil_div(ticks, p->size[s]);
    }
}

static void load_class(struct price_run *r, const struct uarch_class *c, int32_t times)
{
    for (uint32_t k = 0; k < c->uop_kinds; k++)
        load_mask(r, c->uop[k].ports, c->uop[k].count * times);
    if (c->busy_cycles > 1)
        load_mask(r, UNIT_DIVIDER, (int32_t)c->busy_cycles * times);
    r->now.fused_uops += c->fused_uops * (uint32_t)times;
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
static int32_t repeat_count(const struct price_run *r, const struct price_insn *p)
{
    if (!p->start)
        return 1;
    return (int32_t)((r->string_count * p->element_bytes + STRING_UNIT_BYTES - 1) / STRING_UNIT_BYTES);
}

// The memory operand: a load micro-fuses with the uops beside it, a store is one fused uop of its own. `sign`
// of these: 1, or -1 to take them back.
static void load_memory(struct price_run *r, const struct price_insn *p, int32_t sign)
{
    const struct price_classes *c = r->classes;
    uint32_t fused = r->now.fused_uops;
    if (p->load)
        load_class(r, c->by_id[PRICE_CLASS_load], sign);
    if (p->load && p->class != NULL && p->class->fused_uops > 0)
        r->now.fused_uops = fused;
    if (!p->store)
        return;
    load_class(r, c->by_id[p->indexed ? PRICE_CLASS_store_address_indexed : PRICE_CLASS_store_address], sign);
    load_class(r, c->by_id[PRICE_CLASS_store_data], sign);
}

static void load_insn(struct price_run *r, const struct price_insn *p, int32_t sign)
{
    load_memory(r, p, sign);
    if (p->start)
        load_class(r, r->classes->by_id[PRICE_CLASS_string_start], sign);
    if (p->class != NULL)
        load_class(r, p->class, sign * repeat_count(r, p));
    if (p->locked)
        load_mask(r, UNIT_LOCK, sign * (int32_t)r->classes->u->op.rmw_cycles);
    r->now.fused_uops += p->extra_fused;
}

// The last instruction turns out to be the first half of a macro-fused pair: only its load remains,
// micro-fused with the branch.
static void load_only_half(struct price_run *r)
{
    const struct price_insn *p = r->last;
    load_insn(r, p, -1);
    r->now = r->before;
    if (p->load)
        load_class(r, r->classes->by_id[PRICE_CLASS_load], 1);
    r->now.fused_uops = r->before.fused_uops + p->extra_fused;
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
    memset(r->uops, 0, ports->set_count * sizeof r->uops[0]);
    r->now = (struct price_bounds){0, 0};
    memset(r->ready, 0, sizeof r->ready);
    r->chain = r->instructions = r->branches = r->calls = 0;
    r->string_count = STRING_COUNT_ASSUMED;
}

void price_run_add(struct price_run *r, const struct price_insn *p)
{
    if (r->last != NULL && price_macro_fused(r->classes->u, r->last, p))
        load_only_half(r);
    r->before = r->now;
    load_insn(r, p, 1);
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
    *out =
        (struct price_bound){.instructions = r->instructions, .calls = r->calls, .uops = r->now.fused_uops};
    out->front_ticks =
        ceil_div((uint64_t)r->now.fused_uops * UARCH_TICKS_PER_CYCLE, u->front_end.fused_width);
    out->port_ticks = r->now.port_ticks;
    // A taken branch ends what can be fetched in a cycle, so a loop's turn takes one at least.
    if (turn != NULL && out->front_ticks < UARCH_TICKS_PER_CYCLE)
        out->front_ticks = UARCH_TICKS_PER_CYCLE;
    out->chain_ticks = turn != NULL ? loop_ticks(r, turn) : chain_ticks(r, out->front_ticks);
    out->branch_ticks = (uint32_t)(r->branches * UARCH_TICKS_PER_CYCLE * u->branch.mispredict_permille *
                                   u->branch.mispredict_cycles / 1000);
}
