// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/strategy_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t explore_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// --- Random. ---

static uint32_t random_decide(struct strategy *s, const struct explore_decision *d)
{
    uint32_t ready = d->ready, willing = ready & ~(uint32_t)s->yielded;

    if (d->later && d->current != EXPLORE_NOBODY && explore_below(&s->random, 32) == 0)
        return EXPLORE_LATER;
    // Who waits for another in a loop lets the others go first, but not for ever.
    if (willing)
        ready = willing;
    for (uint32_t n = explore_below(&s->random, (uint32_t)__builtin_popcount(ready)); n > 0; n--)
        ready &= ready - 1;
    return (uint32_t)__builtin_ctz(ready);
}

static uint32_t random_choose(struct strategy *s, uint32_t n)
{
    return explore_below(&s->random, n);
}

static void random_established(const struct strategy *s, char *text, size_t size)
{
    const struct strategy_sums sums = strategy_told(s);

    snprintf(text, size, "%" PRIu64 " random executions of up to %u decisions; no bound follows from them",
             sums.executions, sums.decisions_max);
}

static const struct strategy_ops strategy_random = {.name = "random",
                                                    .about = "any ready processor at each access",
                                                    .sharing = SHARED_BY_NUMBER,
                                                    .decide = random_decide,
                                                    .choose = random_choose,
                                                    .established = random_established};

// --- Jitter: the order is the machine's own. ---

static uint32_t jitter_decide(struct strategy *s, const struct explore_decision *d)
{
    (void)s;
    return d->current != EXPLORE_NOBODY ? d->current : (uint32_t)__builtin_ctz(d->ready);
}

static void jitter_established(const struct strategy *s, char *text, size_t size)
{
    const struct strategy_sums sums = strategy_told(s);

    snprintf(text, size,
             "%" PRIu64 " executions with random small delays, each a timing that the machine can have",
             sums.executions);
}

uint32_t strategy_delay_cycles(struct strategy *s)
{
    // Most accesses are not late; some by the time of a cache miss, a few by that of an interrupt.
    uint64_t r = explore_random(&s->random);

    if (r % 8)
        return 0;
    return (uint32_t)((r >> 32) % ((r >> 8) % 16 ? 400u : 10000u));
}

static const struct strategy_ops strategy_jitter = {.name = "jitter",
                                                    .about = "random small delays, nobody is held",
                                                    .sharing = SHARED_BY_NUMBER,
                                                    .decide = jitter_decide,
                                                    .choose = random_choose,
                                                    .established = jitter_established};

static const struct strategy_ops *const table[STRATEGY_COUNT] = {
    [STRATEGY_PCT] = &strategy_pct,       [STRATEGY_RANDOM] = &strategy_random,
    [STRATEGY_DELAY] = &strategy_delay,   [STRATEGY_REVERSE] = &strategy_reverse,
    [STRATEGY_DFS] = &strategy_dfs,       [STRATEGY_INTERRUPT] = &strategy_interrupt,
    [STRATEGY_JITTER] = &strategy_jitter,
};

const char *strategy_name(enum strategy_kind kind)
{
    return table[kind]->name;
}

const char *strategy_about(enum strategy_kind kind)
{
    return table[kind]->about;
}

struct strategy *strategy_create(const struct strategy_options *options, void *(*memory)(size_t bytes))
{
    struct strategy *s = memory(sizeof *s);

    memset(s, 0, sizeof *s);
    s->o = *options;
    if (!s->o.parts)
        s->o.parts = 1;
    if (table[s->o.kind]->create)
        table[s->o.kind]->create(s, memory);
    return s;
}

// Each execution has random numbers of its own, whichever process makes it.
static void strategy_seed(struct strategy *s)
{
    s->random = s->o.seed * 0x9e3779b97f4a7c15ull + s->number;
    explore_random(&s->random);
}

bool strategy_begin(struct strategy *s)
{
    if (s->finished)
        return false;
    s->number = s->learned + s->since * s->o.parts + s->o.part;
    strategy_seed(s);
    s->decisions = 0;
    s->yielded = 0;
    if (table[s->o.kind]->begin && !table[s->o.kind]->begin(s)) {
        s->finished = true;
        return false;
    }
    s->since++;
    return true;
}

uint64_t strategy_number(const struct strategy *s)
{
    return s->number;
}

enum strategy_sharing strategy_sharing(enum strategy_kind kind)
{
    return table[kind]->sharing;
}

void strategy_learn(struct strategy *s)
{
    s->learns = true;
    s->o.part = 0;
    s->o.parts = 1;
}

void strategy_split(struct strategy *s, uint32_t part, uint32_t parts)
{
    s->learns = false;
    s->learned = s->executions;
    s->since = 0;
    s->length = s->decisions_max;
    s->o.part = part;
    s->o.parts = parts;
    if (table[s->o.kind]->split)
        table[s->o.kind]->split(s);
}

uint32_t strategy_decide(struct strategy *s, const struct explore_decision *d)
{
    uint32_t actor;

    if (!(d->ready & (d->ready - 1)) && !(d->later && d->current != EXPLORE_NOBODY) &&
        s->o.kind != STRATEGY_DFS && !s->reverse) {
        actor = (uint32_t)__builtin_ctz(d->ready);
    } else {
        uint32_t above = 32 - (uint32_t)__builtin_clz(d->ready);

        s->actors_max = above > s->actors_max ? above : s->actors_max;
        s->decisions++;
        actor = table[s->o.kind]->decide(s, d);
    }
    if (actor < EXPLORE_ACTORS_MAX && actor != d->current)
        s->yielded &= ~(1ull << actor);
    return actor;
}

bool strategy_made(struct strategy *s, uint32_t actor, const struct explore_access *a)
{
    return table[s->o.kind]->made && table[s->o.kind]->made(s, actor, a);
}

bool strategy_timed(const struct strategy *s)
{
    return table[s->o.kind]->timed && table[s->o.kind]->timed(s);
}

bool strategy_listens(const struct strategy *s)
{
    return table[s->o.kind]->made;
}

bool strategy_wants_all(const struct strategy *s)
{
    return table[s->o.kind]->wants_all && table[s->o.kind]->wants_all(s);
}

enum explore_stand strategy_stands(struct strategy *s, uint32_t actor, const struct explore_access *a)
{
    return table[s->o.kind]->stands(s, actor, a);
}

bool strategy_idle(struct strategy *s, uint32_t actor)
{
    return table[s->o.kind]->idle(s, actor);
}

void strategy_handed_over(struct strategy *s, uint64_t place, uint64_t places)
{
    if (table[s->o.kind]->handed_over)
        table[s->o.kind]->handed_over(s, place, places);
}

void strategy_late(struct strategy *s, uint32_t actor)
{
    if (table[s->o.kind]->late)
        table[s->o.kind]->late(s, actor);
}

void strategy_changed(struct strategy *s)
{
    if (table[s->o.kind]->changed)
        table[s->o.kind]->changed(s);
}

uint32_t strategy_choose(struct strategy *s, uint32_t n)
{
    return table[s->o.kind]->choose(s, n);
}

void strategy_yielded(struct strategy *s, uint32_t actor)
{
    s->yields++;
    s->yielded |= 1ull << actor;
    if (table[s->o.kind]->yielded)
        table[s->o.kind]->yielded(s, actor);
}

void strategy_end(struct strategy *s, bool complete)
{
    if (s->decisions > s->decisions_max)
        s->decisions_max = s->decisions;
    if (!s->executions)
        s->first = s->decisions;
    if (table[s->o.kind]->end)
        table[s->o.kind]->end(s, complete);
    s->executions++;
}

// --- What was done. ---

struct strategy_sums strategy_sums(const struct strategy *s)
{
    // What all parts made alike before, the first one counts.
    return (struct strategy_sums){.executions = s->executions - (s->o.part ? s->learned : 0),
                                  .decisions_max = s->decisions_max,
                                  .actors_max = s->actors_max,
                                  .delays = table[s->o.kind]->delays ? table[s->o.kind]->delays(s) : 0,
                                  .finished = s->finished};
}

void strategy_sums_add(struct strategy_sums *sums, const struct strategy_sums *of)
{
    sums->executions += of->executions;
    sums->decisions_max = of->decisions_max > sums->decisions_max ? of->decisions_max : sums->decisions_max;
    sums->actors_max = of->actors_max > sums->actors_max ? of->actors_max : sums->actors_max;
    sums->delays = of->delays < sums->delays ? of->delays : sums->delays;
    sums->finished &= of->finished;
}

void strategy_take_sums(struct strategy *s, const struct strategy_sums *sums)
{
    s->sums = *sums;
    s->summed = true;
}

struct strategy_sums strategy_told(const struct strategy *s)
{
    return s->summed ? s->sums : strategy_sums(s);
}

void strategy_established(const struct strategy *s, char *text, size_t size)
{
    table[s->o.kind]->established(s, text, size);
}
