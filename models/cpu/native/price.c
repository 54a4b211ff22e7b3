// SPDX-License-Identifier: Apache-2.0
//
// Puts block prices together: decides which instructions run between one trace-pc call and the next, prices
// them when the block is first asked for, and keeps the table that the runtime looks prices up in.
//
// Which code belongs to a hook. GCC puts a call of __sanitizer_cov_trace_pc into each basic block of its
// middle end, but later passes move instructions in front of it (a function's pushes), and make machine
// blocks of their own without one (tails shared by two paths, loops of an inlined memset). So:
//   - A hook has the code behind it up to the next hook or the end of its machine block.
//   - The first hook of a machine block also has the code of that block in front of it.
//   - Code of machine blocks without a hook, reached from the end of a block: see next_block().

#include "models/cpu/native/price.h"

#include "models/cpu/native/price_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Instructions of one price; more can only be a mistake.
#define RUN_MAX 4096
#define PATH_MAX_BLOCKS 16

// The run of instructions that one hook stands for.
struct run {
    const struct price_insn *insn[RUN_MAX];
    size_t count;
    uint32_t left_out;
    uint32_t atomics;
    uint64_t end;
    bool loop;
};

struct price_table {
    struct price_map map;
    uint64_t load_bias;
    struct price_elf elf;
    struct price_classes classes;
    struct price_ports ports;
    struct price_code code;
    struct price_run bounds;
    struct run run;
    struct price_block *blocks;   // Of each of code.starts; start is 0 while it has no price
    uint16_t *ticks;              // by offset into the text
    struct price_symbol *symbols; // with the load bias
    bool complete;                // Everything has its price, and the rest is filled in
    size_t uncharged_count;
    char (*unknown)[32];
    size_t unknown_count;
};

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count + 1, size);
    if (p == NULL)
        abort();
    return p;
}

// -------------------------------------------------------------------------------------------------------------------
// The run of instructions that one hook stands for.

// A machine block: one of a region.
struct place {
    struct price_region *region;
    uint32_t machine;
};

static bool same(struct place a, struct place b)
{
    return a.region == b.region && a.machine == b.machine;
}

static const struct price_machine *machine(struct place p)
{
    return &p.region->machine[p.machine];
}

static void run_add(struct run *r, struct price_insn *p)
{
    r->end = p->address + p->size;
    r->atomics += p->hook == PRICE_HOOK_ATOMIC;
    if (p->left_out) {
        r->left_out++;
    } else if (r->count < RUN_MAX) {
        r->insn[r->count++] = p;
        p->charged = true;
    }
}

// Nowhere: no region.
static struct place place_of(struct price_table *t, uint64_t address)
{
    struct price_region *region = price_code_region(&t->code, address);
    uint32_t insn = region != NULL ? price_region_insn(region, address) : PRICE_NONE;
    if (insn == PRICE_NONE)
        return (struct place){NULL, 0};
    return (struct place){region, price_region_machine(region, insn)};
}

// The machine block without a hook which control goes to from the end of m, or nowhere. A jump is followed to
// its target. A conditional branch goes where static prediction says: backward taken, forward not taken
// (Intel 248966, 3.4.1.3); the other side, where it has no hook, is not charged. Never into another function,
// nor where the target is not known.
static struct place next_block(struct price_table *t, struct place m)
{
    const struct price_insn *last = &m.region->insns[machine(m)->first + machine(m)->count - 1];
    bool taken = last->jump && (!last->conditional || last->target <= last->address);
    struct place next = {NULL, 0};
    if (taken && last->target != 0)
        next = place_of(t, last->target);
    else if (!taken && !last->ends)
        next = place_of(t, last->address + last->size);
    if (next.region == NULL || machine(next)->hooks > 0 || (next.machine == 0 && next.region->function))
        return (struct place){NULL, 0};
    return next;
}

static void run_follow(struct price_table *t, struct run *r, struct place m)
{
    struct place path[PATH_MAX_BLOCKS];
    uint32_t length = 0;
    while (length < PATH_MAX_BLOCKS) {
        path[length++] = m;
        m = next_block(t, m);
        for (uint32_t i = 0; i < length; i++)
            if (same(path[i], m))
                return;
        if (m.region == NULL)
            return;
        for (uint32_t i = 0; i < machine(m)->count; i++)
            run_add(r, &m.region->insns[machine(m)->first + i]);
    }
}

// Of the hook that is instruction `hook` of a machine block.
static void run_collect(struct price_table *t, struct run *r, struct place m, uint32_t hook)
{
    const struct price_machine *b = machine(m);
    struct price_insn *insns = m.region->insns;
    uint32_t end = b->first + b->count;
    r->count = r->left_out = r->atomics = 0;
    r->loop = false;
    if (b->first_hook == hook)
        for (uint32_t i = b->first; i < hook; i++)
            run_add(r, &insns[i]);
    run_add(r, &insns[hook]);
    for (uint32_t i = hook + 1; i < end; i++) {
        if (insns[i].hook == PRICE_HOOK_BLOCK)
            return;
        run_add(r, &insns[i]);
    }
    run_follow(t, r, m);
    const struct price_insn *last = r->count > 0 ? r->insn[r->count - 1] : NULL;
    r->loop = last != NULL && last->jump && b->hooks == 1 && last->target == insns[b->first].address;
    for (size_t i = 0; i < r->count; i++)
        r->loop &= !r->insn[i]->call; // What the callee does lies between two turns.
}

// The run behind the hook that returns to `start`, a file address; the hook.
static const struct price_insn *run_of(struct price_table *t, uint64_t start)
{
    struct price_region *region = price_code_region(&t->code, start - 1);
    uint32_t hook = (start < region->end ? price_region_insn(region, start) : region->count) - 1;
    assert(region->insns[hook].hook == PRICE_HOOK_BLOCK && "an instruction's layout is not what it is");
    struct place m = {region, price_region_machine(region, hook)};
    run_collect(t, &t->run, m, hook);
    return &region->insns[hook];
}

// -------------------------------------------------------------------------------------------------------------------

static struct price_block *price_one(struct price_table *t, size_t index)
{
    struct price_block *b = &t->blocks[index];
    struct run *r = &t->run;
    struct price_bound bound;
    uint64_t start = t->code.starts[index];
    if (b->start != 0)
        return b;
    const struct price_insn *hook = run_of(t, start);
    price_run_begin(&t->bounds, &t->classes, &t->ports);
    for (size_t i = 0; i < r->count; i++)
        price_run_add(&t->bounds, r->insn[i]);
    price_run_bound(&t->bounds, &bound, r->loop ? r->insn : NULL);
    const struct price_symbol *s = price_elf_function(&t->elf, hook->address);
    *b = (struct price_block){.start = start + t->load_bias,
                              .end = r->end + t->load_bias,
                              .function = s != NULL ? s->name : "?",
                              .ticks = price_bound_ticks(&bound) + bound.branch_ticks,
                              .instructions = bound.instructions,
                              .left_out = r->left_out,
                              .uops = bound.uops,
                              .front_ticks = bound.front_ticks,
                              .port_ticks = bound.port_ticks,
                              .chain_ticks = bound.chain_ticks,
                              .branch_ticks = bound.branch_ticks,
                              .atomics = r->atomics,
                              .calls = bound.calls,
                              .loop = r->loop};
    if (b->ticks < PRICE_TICKS_LONG)
        t->ticks[start - t->elf.text_address] = (uint16_t)b->ticks;
    return b;
}

static size_t find_start(const struct price_table *t, uint64_t pc)
{
    uint64_t start = pc - t->load_bias;
    size_t low = 0, high = t->code.start_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->code.starts[middle] < start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->code.start_count && t->code.starts[low] == start ? low : SIZE_MAX;
}

const struct price_block *price_block_find(struct price_table *t, uint64_t pc)
{
    size_t index = find_start(t, pc);
    return index != SIZE_MAX ? price_one(t, index) : NULL;
}

uint32_t price_ticks_look_up(const struct price_map *m, uint64_t pc)
{
    const struct price_block *b = price_block_find(m->table, pc);
    return b != NULL ? b->ticks : 0;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

// The mnemonics of instructions without a class. Alignment between functions is never run and does not count.
static void list_unknown(struct price_table *t, const struct price_region *r, bool seen[X86_INS_ENDING])
{
    for (size_t i = 0; i < r->count; i++) {
        const struct price_insn *p = &r->insns[i];
        if (!p->unknown || p->left_out || p->id >= X86_INS_ENDING || seen[p->id])
            continue;
        seen[p->id] = true;
        const char *name = cs_insn_name(t->code.handle, p->id);
        snprintf(t->unknown[t->unknown_count++], sizeof t->unknown[0], "%s", name != NULL ? name : "?");
    }
}

// Whoever wants to know something of all of the text has all of it priced.
static void complete(struct price_table *t)
{
    bool seen[X86_INS_ENDING] = {0};
    if (t->complete)
        return;
    for (size_t i = 0; i < t->code.start_count; i++)
        price_one(t, i);
    t->unknown = allocate(X86_INS_ENDING, sizeof *t->unknown);
    for (size_t i = 0; i < t->code.region_count; i++) {
        const struct price_region *r = price_code_region(&t->code, t->code.regions[i].start);
        list_unknown(t, r, seen);
        for (uint32_t k = 0; k < r->count; k++)
            t->uncharged_count +=
                !r->insns[k].charged && !r->insns[k].left_out && r->insns[k].id != X86_INS_NOP;
    }
    qsort(t->unknown, t->unknown_count, sizeof t->unknown[0], name_order);
    t->complete = true;
}

struct price_table *price_open(const char *path, uint64_t load_bias, const struct uarch *u, char *error,
                               size_t error_size)
{
    char why[256];
    struct price_table *t = allocate(1, sizeof *t);
    if (!price_classes_open(&t->classes, u, error, error_size) ||
        !price_elf_open(&t->elf, path, error, error_size)) {
        free(t);
        return NULL;
    }
    if (!price_code_open(&t->code, &t->elf, &t->classes, why, sizeof why)) {
        snprintf(error, error_size, "%s: %s", path, why);
        price_elf_close(&t->elf);
        free(t);
        return NULL;
    }
    t->load_bias = load_bias;
    price_ports_open(&t->ports, u);
    t->blocks = allocate(t->code.start_count, sizeof *t->blocks);
    t->ticks = allocate(t->elf.text_bytes, sizeof *t->ticks);
    for (size_t i = 0; i < t->code.start_count; i++)
        if (t->code.starts[i] - t->elf.text_address < t->elf.text_bytes)
            t->ticks[t->code.starts[i] - t->elf.text_address] = PRICE_TICKS_LONG;
    t->symbols = allocate(t->elf.symbol_count, sizeof *t->symbols);
    for (size_t i = 0; i < t->elf.symbol_count; i++) {
        t->symbols[i] = t->elf.symbols[i];
        t->symbols[i].start += load_bias;
    }
    t->map = (struct price_map){t->ticks, t, t->elf.text_address + load_bias, t->elf.text_bytes};
    return t;
}

void price_close(struct price_table *t)
{
    if (t == NULL)
        return;
    price_code_close(&t->code);
    price_elf_close(&t->elf);
    free(t->blocks);
    free(t->ticks);
    free(t->symbols);
    free(t->unknown);
    free(t);
}

const struct price_map *price_map(const struct price_table *t)
{
    return &t->map;
}

size_t price_block_count(const struct price_table *t)
{
    return t->code.start_count;
}

const struct price_block *price_block_at(struct price_table *t, size_t index)
{
    return index < t->code.start_count ? price_one(t, index) : NULL;
}

size_t price_uncharged_count(struct price_table *t)
{
    complete(t);
    return t->uncharged_count;
}

size_t price_unknown_count(struct price_table *t)
{
    complete(t);
    return t->unknown_count;
}

const char *price_unknown_at(struct price_table *t, size_t index)
{
    complete(t);
    return index < t->unknown_count ? t->unknown[index] : NULL;
}

size_t price_symbol_count(const struct price_table *t)
{
    return t->elf.symbol_count;
}

const struct price_symbol *price_symbol_at(const struct price_table *t, size_t index)
{
    return index < t->elf.symbol_count ? &t->symbols[index] : NULL;
}

const char *price_function_of(const struct price_table *t, uint64_t pc, uint64_t *offset)
{
    const struct price_symbol *s = price_elf_function(&t->elf, pc - t->load_bias);
    if (offset != NULL)
        *offset = s != NULL ? pc - t->load_bias - s->start : 0;
    return s != NULL ? s->name : "?";
}

size_t price_block_text(struct price_table *t, const struct price_block *b, char *text, size_t size)
{
    size_t used = 0;
    if (size > 0)
        text[0] = '\0';
    run_of(t, b->start - t->load_bias);
    for (size_t i = 0; i < t->run.count; i++) {
        char line[256];
        int length = price_insn_text(t->code.handle, &t->elf, t->run.insn[i], line, sizeof line);
        snprintf(used < size ? text + used : NULL, used < size ? size - used : 0, "%s", line);
        used += (size_t)length;
    }
    return used;
}
