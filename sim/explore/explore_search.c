// SPDX-License-Identifier: Apache-2.0
// The search, on the explorer's side: what is learned first, then one process's part.
//
// Executions have numbers. Where a strategy can (SHARED_BY_NUMBER), an execution is a function of its number
// and of what the first ones have taught, which every process makes or inherits alike; what a later one finds
// out is forgotten with it. So which executions are made, and which failure is the first one, does not depend
// on how many processes share them.
#include "sim/explore/explore_internal.h"

#include <string.h>

bool explore_set_add(_Atomic uint64_t *set, uint32_t size, uint64_t value)
{
    uint64_t key = value | 1;
    uint64_t at = key >> 6;

    for (uint32_t tried = 0; tried < size / 2; tried++, at++) {
        uint64_t found = atomic_load_explicit(&set[at % size], memory_order_relaxed);

        if (found == 0 && atomic_compare_exchange_strong(&set[at % size], &found, key))
            return true;
        if (found == key)
            return false;
    }
    return false; // As good as full: no more are counted.
}

static bool ends_with_the_first(const struct explore *x)
{
    return !x->o.keep_going && (x->shared->reproduced || x->shared->attempts == EXPLORE_ATTEMPTS);
}

// Is the execution that would come next wanted?
static bool goes_on(const struct explore *x)
{
    uint64_t number = strategy_number(x->shared->strategy);
    const struct explore_signs *signs = x->o.signs;

    if (atomic_load_explicit(&signs->stop, memory_order_relaxed) || number >= x->o.budget)
        return false;
    return x->o.keep_going || number < atomic_load_explicit(&signs->found, memory_order_relaxed);
}

void explore_found(struct explore *x)
{
    uint64_t number = strategy_number(x->shared->strategy);
    uint64_t lowest = atomic_load(&x->o.signs->found);

    while (number < lowest && !atomic_compare_exchange_weak(&x->o.signs->found, &lowest, number))
        ;
}

// The first failure is kept until there is one that its steps alone bring about again.
static void failed(struct explore *x)
{
    struct explore_shared *s = x->shared;

    s->counts.failed++;
    if (s->reproduced || s->attempts == EXPLORE_ATTEMPTS)
        return;
    s->attempts++;
    memcpy(s->failure, s->reason, sizeof s->failure);
    explore_shrink(x);
    if (s->attempts > 1 && !s->reproduced)
        return;
    s->result.found = strategy_number(s->strategy);
    s->result.reproduced = s->reproduced;
    s->result.step_count = s->step_count;
    memcpy(s->result.failure, s->failure, sizeof s->failure);
    memcpy(s->result.steps, s->lines, sizeof s->lines);
}

// One execution. False: there is none, or none is wanted.
static bool execute(struct explore *x, bool keep)
{
    struct explore_shared *s = x->shared;

    if (ends_with_the_first(x) || !strategy_begin(s->strategy) || !goes_on(x))
        return false;
    atomic_store_explicit(&x->slot->number, strategy_number(s->strategy), memory_order_relaxed);

    enum explore_outcome outcome = (enum explore_outcome)rewind_run(MODE_SEARCH);

    strategy_end(s->strategy, outcome == OUTCOME_FINE || outcome == OUTCOME_FAILED);
    s->counts.executions++;
    s->counts.cut_short += outcome == OUTCOME_REDUNDANT;
    s->counts.too_long += outcome == OUTCOME_TOO_LONG;
    s->counts.distinct += explore_set_add(x->board->orders, EXPLORE_ORDERS_MAX, s->memory->order);
    if (outcome == OUTCOME_FAILED || outcome == OUTCOME_TOO_LONG)
        failed(x);
    if (pilot_learn(s->memory, keep)) {
        if (keep)
            strategy_changed(s->strategy);
        x->quiet = 0;
    } else {
        x->quiet++;
    }
    s->counts.pairs = s->memory->pair_count;
    s->counts.shared = s->memory->shared_count;
    x->slot->result.counts = s->counts;
    if (x->o.progress && x->o.jobs == 1 && s->counts.executions % 64 == 0)
        x->o.progress(x->o.ctx, x);
    return true;
}

// Every part makes these; the first one counts them. False: the search is over.
static bool learn(struct explore *x, uint32_t part)
{
    struct explore_shared *s = x->shared;
    bool more = true;

    strategy_learn(s->strategy);
    while (more && x->quiet < EXPLORE_LEARN_QUIET && s->counts.executions < EXPLORE_LEARN_MAX)
        more = execute(x, true);
    s->counts.learned = (uint32_t)s->counts.executions;
    if (part)
        s->counts = (struct explore_counts){.learned = s->counts.learned};
    return more;
}

// Its pairs of accesses into the set of all; counted are those that nobody else has put there.
static void count_pairs(struct explore *x)
{
    struct explore_shared *s = x->shared;

    s->counts.pairs = 0;
    for (uint32_t i = 0; i < PILOT_PAIRS_MAX; i++)
        if (s->memory->pairs[i])
            s->counts.pairs += explore_set_add(x->board->pairs, PILOT_PAIRS_MAX, s->memory->pairs[i]);
}

void explore_search_part(struct explore *x, uint32_t part, uint32_t parts)
{
    struct explore_shared *s = x->shared;
    bool learns = strategy_sharing(x->o.strategy.kind) != SHARED_BY_NUMBER;

    strategy_split(s->strategy, part, parts);
    while (execute(x, learns))
        ;
    count_pairs(x);
    s->result.counts = s->counts;
    s->result.sums = strategy_sums(s->strategy);
}

void explore_search_all(void *arg)
{
    struct explore *x = arg;
    struct explore_shared *s = x->shared;
    uint32_t part = x->o.strategy.part, parts = x->o.strategy.parts;

    bool more = strategy_sharing(x->o.strategy.kind) != SHARED_BY_NUMBER || learn(x, part);

    if (more && x->o.jobs > 1)
        explore_search_jobs(x, part, parts);
    else
        explore_search_part(x, part, parts);
    if (x->o.agree)
        x->o.agree(x->o.ctx, &s->result, *s->lost != 0);
    if (strategy_sharing(x->o.strategy.kind) != SHARED_ANYHOW)
        strategy_take_sums(s->strategy, &s->result.sums);
}

// --- What several have done. ---

struct explore_counts explore_counts(const struct explore *x)
{
    struct explore_counts sum = {0};

    for (uint32_t i = 0; i < EXPLORE_JOBS_MAX && (i == 0 || i < x->o.jobs); i++) {
        const struct explore_counts *one = &x->board->slots[i].result.counts;

        sum.executions += one->executions;
        sum.failed += one->failed;
        sum.distinct += one->distinct;
        sum.cut_short += one->cut_short;
        sum.too_long += one->too_long;
        sum.shrinking += one->shrinking;
        sum.pairs = one->pairs > sum.pairs ? one->pairs : sum.pairs;
        sum.shared = one->shared > sum.shared ? one->shared : sum.shared;
    }
    return sum;
}

void explore_result_add(struct explore_result *to, const struct explore_result *of)
{
    struct explore_counts *sum = &to->counts;
    bool better = of->found != EXPLORE_NONE &&
                  (of->reproduced != to->reproduced ? of->reproduced : of->found < to->found);

    sum->executions += of->counts.executions;
    sum->failed += of->counts.failed;
    sum->distinct += of->counts.distinct;
    sum->cut_short += of->counts.cut_short;
    sum->too_long += of->counts.too_long;
    sum->shrinking += of->counts.shrinking;
    sum->pairs += of->counts.pairs;
    sum->shared = of->counts.shared > sum->shared ? of->counts.shared : sum->shared;
    strategy_sums_add(&to->sums, &of->sums);
    if (!better)
        return;
    to->found = of->found;
    to->reproduced = of->reproduced;
    to->step_count = of->step_count;
    memcpy(to->failure, of->failure, sizeof to->failure);
    memcpy(to->steps, of->steps, sizeof to->steps);
}
