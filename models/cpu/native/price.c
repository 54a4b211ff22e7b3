// SPDX-License-Identifier: Apache-2.0
//
// Puts block prices together: finds the machine basic blocks of the text, decides which instructions run
// between one trace-pc call and the next, and keeps the table that the runtime looks prices up in.
//
// Which code belongs to a hook. GCC puts a call of __sanitizer_cov_trace_pc into each basic block of its
// middle end, but later passes move instructions in front of it (a function's pushes), and make machine
// blocks of their own without one (tails shared by two paths, loops of an inlined memset). So:
//   - A hook has the code behind it up to the next hook or the end of its machine block.
//   - The first hook of a machine block also has the code of that block in front of it.
//   - Code of machine blocks without a hook, reached from the end of a block: see next_block().

#include "models/cpu/native/price.h"

#include "models/cpu/native/price_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
// Instructions of one price; more can only be a mistake.
#define RUN_MAX 4096
#define PATH_MAX_BLOCKS 16

// A machine basic block: instructions first .. first + count - 1.
struct machine_block {
    uint32_t first;
    uint32_t count;
    uint32_t first_hook; // index of the first trace-pc call, or NONE
    uint32_t hooks;
};

struct price_table {
    struct price_map map;
    uint64_t load_bias;
    struct price_elf elf;
    struct price_classes classes;
    struct price_ports ports;
    struct price_run run;
    struct price_insn *insns;
    size_t insn_count;
    uint32_t *insn_at; // by offset into the text: index into insns, or NONE
    struct machine_block *machine;
    size_t machine_count;
    uint32_t *machine_of; // by instruction
    bool *charged;        // by instruction: part of some price
    size_t uncharged_count;
    struct price_block *blocks;
    uint32_t *block_hook; // instruction index of the hook of each block
    size_t block_count;
    uint32_t *all_ticks; // by offset into the text, both
    uint16_t *ticks;
    struct price_symbol *symbols; // with the load bias
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

static uint32_t insn_index(const struct price_table *t, uint64_t address)
{
    uint64_t offset = address - t->elf.text_address;
    return offset < t->elf.text_bytes ? t->insn_at[offset] : NONE;
}

static bool starts_function(const struct price_table *t, uint64_t address)
{
    const struct price_symbol *s = price_elf_function(&t->elf, address);
    return s != NULL && s->start == address;
}

// -------------------------------------------------------------------------------------------------------------------
// Machine basic blocks.

static void find_leaders(struct price_table *t)
{
    t->insn_at = allocate(t->elf.text_bytes, sizeof *t->insn_at);
    memset(t->insn_at, 0xff, t->elf.text_bytes * sizeof *t->insn_at);
    for (size_t i = 0; i < t->insn_count; i++)
        t->insn_at[t->insns[i].address - t->elf.text_address] = (uint32_t)i;
    for (size_t i = 0; i < t->elf.symbol_count; i++) {
        uint32_t index = insn_index(t, t->elf.symbols[i].start);
        if (index != NONE)
            t->insns[index].leader = true;
    }
    for (size_t i = 0; i < t->insn_count; i++) {
        const struct price_insn *p = &t->insns[i];
        uint32_t target = p->jump && p->target != 0 ? insn_index(t, p->target) : NONE;
        if (target != NONE)
            t->insns[target].leader = true;
        if ((p->jump || p->ends) && i + 1 < t->insn_count)
            t->insns[i + 1].leader = true;
    }
    if (t->insn_count > 0)
        t->insns[0].leader = true;
}

static void cut_machine_blocks(struct price_table *t)
{
    t->machine = allocate(t->insn_count, sizeof *t->machine);
    t->machine_of = allocate(t->insn_count, sizeof *t->machine_of);
    for (size_t i = 0; i < t->insn_count; i++) {
        if (t->insns[i].leader)
            t->machine[t->machine_count++] = (struct machine_block){(uint32_t)i, 0, NONE, 0};
        struct machine_block *m = &t->machine[t->machine_count - 1];
        m->count++;
        t->machine_of[i] = (uint32_t)(t->machine_count - 1);
        if (t->insns[i].hook == PRICE_HOOK_BLOCK) {
            m->hooks++;
            if (m->first_hook == NONE)
                m->first_hook = (uint32_t)i;
        }
    }
    for (size_t m = 0; m < t->machine_count; m++)
        price_slice(t->insns + t->machine[m].first, t->machine[m].count);
}

// Frames, function by function.
static void drop_frames(struct price_table *t)
{
    size_t first = 0;
    while (first < t->insn_count) {
        size_t end = first + 1;
        while (end < t->insn_count && !starts_function(t, t->insns[end].address))
            end++;
        price_frame(t->insns + first, end - first);
        first = end;
    }
}

// -------------------------------------------------------------------------------------------------------------------
// The run of instructions that one hook stands for.

struct run {
    const struct price_insn *insn[RUN_MAX];
    size_t count;
    uint32_t left_out;
    uint32_t atomics;
    uint64_t end;
    bool loop;
};

static void run_add(struct run *r, const struct price_insn *p)
{
    r->end = p->address + p->size;
    r->atomics += p->hook == PRICE_HOOK_ATOMIC;
    if (p->left_out)
        r->left_out++;
    else if (r->count < RUN_MAX)
        r->insn[r->count++] = p;
}

static uint32_t block_of(const struct price_table *t, uint64_t address)
{
    uint32_t index = insn_index(t, address);
    return index != NONE ? t->machine_of[index] : NONE;
}

// The machine block without a hook which control goes to from the end of m, or NONE. A jump is followed to
// its target. A conditional branch goes where static prediction says: backward taken, forward not taken
// (Intel 248966, 3.4.1.3); the other side, where it has no hook, is not charged. Never into another function,
// nor where the target is not known.
static uint32_t next_block(const struct price_table *t, uint32_t m)
{
    const struct price_insn *last = &t->insns[t->machine[m].first + t->machine[m].count - 1];
    bool taken = last->jump && (!last->conditional || last->target <= last->address);
    uint32_t next = NONE;
    if (taken)
        next = last->target != 0 ? block_of(t, last->target) : NONE;
    else if (!last->ends)
        next = block_of(t, last->address + last->size);
    if (next == NONE || t->machine[next].hooks > 0 ||
        starts_function(t, t->insns[t->machine[next].first].address))
        return NONE;
    return next;
}

static void run_follow(const struct price_table *t, struct run *r, uint32_t m)
{
    uint32_t path[PATH_MAX_BLOCKS];
    uint32_t length = 0;
    while (length < PATH_MAX_BLOCKS) {
        path[length++] = m;
        m = next_block(t, m);
        for (uint32_t i = 0; i < length; i++)
            if (path[i] == m)
                return;
        if (m == NONE)
            return;
        for (uint32_t i = 0; i < t->machine[m].count; i++)
            run_add(r, &t->insns[t->machine[m].first + i]);
    }
}

static void run_collect(const struct price_table *t, struct run *r, uint32_t hook)
{
    uint32_t m = t->machine_of[hook];
    const struct machine_block *b = &t->machine[m];
    uint32_t end = b->first + b->count;
    r->count = r->left_out = r->atomics = 0;
    r->loop = false;
    if (b->first_hook == hook)
        for (uint32_t i = b->first; i < hook; i++)
            run_add(r, &t->insns[i]);
    run_add(r, &t->insns[hook]);
    for (uint32_t i = hook + 1; i < end; i++) {
        if (t->insns[i].hook == PRICE_HOOK_BLOCK)
            return;
        run_add(r, &t->insns[i]);
    }
    run_follow(t, r, m);
    const struct price_insn *last = r->count > 0 ? r->insn[r->count - 1] : NULL;
    r->loop = last != NULL && last->jump && b->hooks == 1 && last->target == t->insns[b->first].address;
    for (size_t i = 0; i < r->count; i++)
        r->loop &= !r->insn[i]->call; // What the callee does lies between two turns.
}

// -------------------------------------------------------------------------------------------------------------------

static void price_one(struct price_table *t, struct run *r, uint32_t hook)
{
    struct price_block *b = &t->blocks[t->block_count];
    struct price_bound bound;
    const struct price_insn *p = &t->insns[hook];
    uint64_t start = p->address + p->size;
    run_collect(t, r, hook);
    for (size_t i = 0; i < r->count; i++)
        t->charged[r->insn[i] - t->insns] = true;
    price_run_begin(&t->run, &t->classes, &t->ports);
    for (size_t i = 0; i < r->count; i++)
        price_run_add(&t->run, r->insn[i]);
    price_run_bound(&t->run, &bound, r->loop ? r->insn : NULL);
    const struct price_symbol *s = price_elf_function(&t->elf, p->address);
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
    t->block_hook[t->block_count++] = hook;
    uint64_t offset = start - t->elf.text_address;
    if (offset < t->elf.text_bytes) {
        t->all_ticks[offset] = b->ticks;
        t->ticks[offset] = b->ticks < PRICE_TICKS_LONG ? (uint16_t)b->ticks : PRICE_TICKS_LONG;
    }
}

static void price_all(struct price_table *t)
{
    size_t hooks = 0;
    struct run *r = allocate(1, sizeof *r);
    for (size_t i = 0; i < t->insn_count; i++)
        hooks += t->insns[i].hook == PRICE_HOOK_BLOCK;
    t->blocks = allocate(hooks, sizeof *t->blocks);
    t->block_hook = allocate(hooks, sizeof *t->block_hook);
    t->all_ticks = allocate(t->elf.text_bytes, sizeof *t->all_ticks);
    t->ticks = allocate(t->elf.text_bytes, sizeof *t->ticks);
    t->charged = allocate(t->insn_count, sizeof *t->charged);
    for (size_t i = 0; i < t->insn_count; i++)
        if (t->insns[i].hook == PRICE_HOOK_BLOCK)
            price_one(t, r, (uint32_t)i);
    for (size_t i = 0; i < t->insn_count; i++)
        t->uncharged_count += !t->charged[i] && !t->insns[i].left_out && t->insns[i].id != X86_INS_NOP;
    free(r);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

// The mnemonics of instructions without a class. Alignment between functions is never run and does not count.
static void list_unknown(struct price_table *t)
{
    csh handle;
    bool seen[X86_INS_ENDING] = {0};
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK)
        abort();
    t->unknown = allocate(X86_INS_ENDING, sizeof *t->unknown);
    for (size_t i = 0; i < t->insn_count; i++) {
        const struct price_insn *p = &t->insns[i];
        if (!p->unknown || p->left_out || p->id >= X86_INS_ENDING || seen[p->id])
            continue;
        seen[p->id] = true;
        const char *name = cs_insn_name(handle, p->id);
        snprintf(t->unknown[t->unknown_count++], sizeof t->unknown[0], "%s", name != NULL ? name : "?");
    }
    qsort(t->unknown, t->unknown_count, sizeof t->unknown[0], name_order);
    cs_close(&handle);
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
    if (!price_decode(&t->elf, &t->classes, &t->insns, &t->insn_count, why, sizeof why)) {
        snprintf(error, error_size, "%s: %s", path, why);
        price_elf_close(&t->elf);
        free(t);
        return NULL;
    }
    t->load_bias = load_bias;
    price_ports_open(&t->ports, u);
    find_leaders(t);
    cut_machine_blocks(t);
    drop_frames(t);
    price_all(t);
    list_unknown(t);
    t->symbols = allocate(t->elf.symbol_count, sizeof *t->symbols);
    for (size_t i = 0; i < t->elf.symbol_count; i++) {
        t->symbols[i] = t->elf.symbols[i];
        t->symbols[i].start += load_bias;
    }
    t->map = (struct price_map){t->ticks, t->all_ticks, t->elf.text_address + load_bias, t->elf.text_bytes};
    return t;
}

void price_close(struct price_table *t)
{
    if (t == NULL)
        return;
    price_elf_close(&t->elf);
    free(t->insns);
    free(t->insn_at);
    free(t->machine);
    free(t->machine_of);
    free(t->blocks);
    free(t->block_hook);
    free(t->ticks);
    free(t->all_ticks);
    free(t->symbols);
    free(t->charged);
    free(t->unknown);
    free(t);
}

const struct price_map *price_map(const struct price_table *t)
{
    return &t->map;
}

size_t price_block_count(const struct price_table *t)
{
    return t->block_count;
}

const struct price_block *price_block_at(const struct price_table *t, size_t index)
{
    return index < t->block_count ? &t->blocks[index] : NULL;
}

const struct price_block *price_block_find(const struct price_table *t, uint64_t pc)
{
    size_t low = 0, high = t->block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->blocks[middle].start == pc)
            return &t->blocks[middle];
        if (t->blocks[middle].start < pc)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

size_t price_uncharged_count(const struct price_table *t)
{
    return t->uncharged_count;
}

size_t price_unknown_count(const struct price_table *t)
{
    return t->unknown_count;
}

const char *price_unknown_at(const struct price_table *t, size_t index)
{
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

size_t price_block_text(const struct price_table *t, const struct price_block *b, char *text, size_t size)
{
    csh handle;
    size_t used = 0;
    struct run *r = allocate(1, sizeof *r);
    if (size > 0)
        text[0] = '\0';
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK)
        abort();
    cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
    run_collect(t, r, t->block_hook[b - t->blocks]);
    for (size_t i = 0; i < r->count; i++) {
        char line[256];
        int length = price_insn_text(handle, &t->elf, r->insn[i], line, sizeof line);
        snprintf(used < size ? text + used : NULL, used < size ? size - used : 0, "%s", line);
        used += (size_t)length;
    }
    cs_close(&handle);
    free(r);
    return used;
}
