// SPDX-License-Identifier: Apache-2.0
// Store buffers as actors: what the strategies find in small programs under x86-TSO, against all executions
// that there are.
#include "sim/explore/strategy.h"
#include "tests/shim/shim.h"

#include <stdlib.h>
#include <string.h>

enum { CPUS = 3, PLACES = 3, OPS = 4, WAITING = 8 };
enum { END, LOAD, STORE, ADD, FENCE };
struct op {
    int kind;
    unsigned place; // From 1
    unsigned value; // Of a store
};
struct program {
    const char *name;
    unsigned cpus;
    struct op op[CPUS][OPS];
};

static const struct program programs[] = {
    {"store buffering", 2, {{{STORE, 1, 1}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {LOAD, 1, 0}}}},
    {"with a fence", 2, {{{STORE, 1, 1}, {FENCE, 0, 0}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {LOAD, 1, 0}}}},
    {"with fences",
     2,
     {{{STORE, 1, 1}, {FENCE, 0, 0}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {FENCE, 0, 0}, {LOAD, 1, 0}}}},
    {"with locked operations",
     2,
     {{{STORE, 1, 1}, {ADD, 3, 1}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {ADD, 3, 1}, {LOAD, 1, 0}}}},
    {"own stores are seen", // Intel SDM 8.2.3.5
     2,
     {{{STORE, 1, 1}, {LOAD, 1, 0}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {LOAD, 2, 0}, {LOAD, 1, 0}}}},
    {"message passing", 2, {{{STORE, 1, 1}, {STORE, 2, 1}}, {{LOAD, 2, 0}, {LOAD, 1, 0}}}},
    {"R", 2, {{{STORE, 1, 1}, {STORE, 2, 1}}, {{STORE, 2, 2}, {LOAD, 1, 0}}}},
    {"2+2W", 2, {{{STORE, 1, 1}, {STORE, 2, 2}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {STORE, 1, 2}, {LOAD, 1, 0}}}},
    {"own and another's to one place",
     2,
     {{{STORE, 1, 1}, {LOAD, 1, 0}, {LOAD, 1, 0}}, {{STORE, 1, 2}, {LOAD, 1, 0}, {STORE, 1, 3}}}},
    {"stores and a locked operation",
     2,
     {{{STORE, 1, 1}, {STORE, 1, 2}, {LOAD, 2, 0}}, {{ADD, 1, 4}, {STORE, 2, 1}, {LOAD, 1, 0}}}},
    {"three in a circle",
     3,
     {{{STORE, 1, 1}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {LOAD, 3, 0}}, {{STORE, 3, 1}, {LOAD, 1, 0}}}},
    {"seen in one order",
     3,
     {{{STORE, 1, 1}, {LOAD, 2, 0}}, {{STORE, 2, 1}, {LOAD, 1, 0}}, {{LOAD, 1, 0}, {LOAD, 2, 0}}}},
};

struct machine {
    unsigned at[CPUS], memory[PLACES + 1], seen[CPUS][OPS];
    struct {
        unsigned place, value, since;
    } waits[CPUS][WAITING];
    unsigned count[CPUS];
};

static const struct op *op_of(const struct program *p, const struct machine *m, unsigned cpu)
{
    static const struct op end;

    return m->at[cpu] < OPS ? &p->op[cpu][m->at[cpu]] : &end;
}

// Processors first, then buffers, as bits.
static uint32_t ready(const struct program *p, const struct machine *m)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < p->cpus; i++) {
        int kind = op_of(p, m, i)->kind;

        if (kind != END && !((kind == ADD || kind == FENCE) && m->count[i]))
            bits |= 1u << i;
        if (m->count[i])
            bits |= 1u << (p->cpus + i);
    }
    return bits;
}

static void step(const struct program *p, struct machine *m, uint32_t actor, unsigned decisions)
{
    unsigned cpu = actor % p->cpus;

    if (actor >= p->cpus) {
        m->memory[m->waits[cpu][0].place] = m->waits[cpu][0].value;
        memmove(&m->waits[cpu][0], &m->waits[cpu][1], --m->count[cpu] * sizeof m->waits[cpu][0]);
        return;
    }
    const struct op *op = op_of(p, m, cpu);
    unsigned *seen = &m->seen[cpu][m->at[cpu]++];

    *seen = m->memory[op->place];
    if (op->kind == ADD)
        m->memory[op->place] += op->value;
    for (unsigned i = 0; op->kind == LOAD && i < m->count[cpu]; i++)
        if (m->waits[cpu][i].place == op->place)
            *seen = m->waits[cpu][i].value;
    if (op->kind != STORE)
        return;
    *seen = 0;
    m->waits[cpu][m->count[cpu]].place = op->place;
    m->waits[cpu][m->count[cpu]].value = op->value;
    m->waits[cpu][m->count[cpu]++].since = decisions;
}

// --- Outcomes: what was seen, and memory in the end. ---

#define OUTCOMES_MAX 1000
struct outcomes {
    char text[OUTCOMES_MAX][64];
    unsigned count;
};

static void add(const struct program *p, const struct machine *m, struct outcomes *o)
{
    char text[64] = "";
    size_t used = 0;

    for (unsigned i = 0; i < p->cpus; i++)
        for (unsigned k = 0; k < m->at[i]; k++)
            text[used++] = (char)('0' + m->seen[i][k]);
    for (unsigned i = 1; i <= PLACES; i++)
        text[used++] = (char)('0' + m->memory[i]);
    for (unsigned i = 0; i < o->count; i++)
        if (strcmp(o->text[i], text) == 0)
            return;
    ASSERT_TRUE(o->count < OUTCOMES_MAX);
    memcpy(o->text[o->count++], text, sizeof text);
}

// Every execution.
static unsigned all(const struct program *p, const struct machine *m, struct outcomes *o)
{
    uint32_t bits = ready(p, m);
    unsigned executions = 0;

    if (!bits) {
        add(p, m, o);
        return 1;
    }
    for (; bits; bits &= bits - 1) {
        struct machine next = *m;

        step(p, &next, (uint32_t)__builtin_ctz(bits), 0);
        executions += all(p, &next, o);
    }
    return executions;
}

// One execution by a strategy, decided as the pilot does: an access that is nobody else's affair is none.
static bool execute(const struct program *p, struct strategy *s, struct machine *m)
{
    uint32_t current = EXPLORE_NOBODY;

    memset(m, 0, sizeof *m);
    for (unsigned decisions = 0;; decisions++) {
        struct explore_decision d = {.ready = ready(p, m), .buffers_from = p->cpus};

        if (!d.ready)
            return true;
        for (unsigned i = 0; i < p->cpus; i++) {
            const struct op *op = op_of(p, m, i);

            d.next[i] = (struct explore_access){.place = op->kind == LOAD || op->kind == ADD ? op->place : 0,
                                                .writes = op->kind != LOAD,
                                                .empties = op->kind == ADD || op->kind == FENCE};
            d.next[p->cpus + i] = (struct explore_access){
                .place = m->waits[i][0].place, .writes = true, .since = m->waits[i][0].since};
        }
        d.current = current != EXPLORE_NOBODY && (d.ready >> current & 1) ? current : EXPLORE_NOBODY;
        current = strategy_decide(s, &d);
        if (current == EXPLORE_NOBODY)
            return false;
        EXPECT_TRUE(current < EXPLORE_ACTORS_MAX && (d.ready >> current & 1));
        uint32_t stores = current < p->cpus && op_of(p, m, current)->kind == STORE ? p->cpus : 0;

        step(p, m, current, decisions + 1);
        current = current % p->cpus + stores; // A store leaves at once, unless that is delayed.
    }
}

static void *memory(size_t bytes)
{
    return calloc(1, bytes);
}

// How many executions the strategy made, at most `limit`.
static unsigned search(const struct program *p, enum strategy_kind kind, uint32_t depth, unsigned limit,
                       struct outcomes *o)
{
    const struct strategy_options options = {.kind = kind, .depth = depth, .parts = 1};
    struct strategy *s = strategy_create(&options, memory);
    unsigned executions = 0;
    struct machine m;

    while (executions < limit && strategy_begin(s)) {
        bool complete = execute(p, s, &m);

        if (complete)
            add(p, &m, o);
        strategy_end(s, complete);
        executions++;
    }
    return executions;
}

static struct outcomes truth, found;

TEST(StrategyBuffers, DfsShowsEveryOutcomeAndFewExecutions)
{
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const struct program *p = &programs[i];

        test_row("%s", p->name);
        truth.count = found.count = 0;
        unsigned every = all(p, &(struct machine){0}, &truth);
        unsigned made = search(p, STRATEGY_DFS, 0, every, &found);

        EXPECT_EQ(found.count, truth.count);
        EXPECT_TRUE(made <= 3 * truth.count); // Some orders of stores to one place end the same.
    }
}

// The first outcome of store buffering needs both stores to wait.
TEST(StrategyBuffers, OthersFindStoresThatWait)
{
    static const enum strategy_kind kinds[] = {STRATEGY_PCT, STRATEGY_RANDOM, STRATEGY_DELAY};

    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool both = false;

        test_row("%s", strategy_name(kinds[i]));
        found.count = 0;
        search(&programs[0], kinds[i], 3, 500, &found);
        for (unsigned k = 0; k < found.count; k++)
            both |= found.text[k][1] == '0' && found.text[k][3] == '0';
        EXPECT_TRUE(both);
    }
}

// Each store that does not leave at once is a delay: with one, the outcome that needs two cannot be.
TEST(StrategyBuffers, DelaysCountStoresThatWaitToo)
{
    found.count = 0;
    unsigned executions = search(&programs[0], STRATEGY_DELAY, 1, 1000, &found);

    EXPECT_TRUE(executions > 2 && executions < 1000); // All with one delay
    for (unsigned k = 0; k < found.count; k++)
        EXPECT_FALSE(found.text[k][1] == '0' && found.text[k][3] == '0');
}
