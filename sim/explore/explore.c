// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/explore_internal.h"

#include "models/cpu/pcpu.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- An execution. ---

static _Noreturn void end_execution(struct explore *x, enum explore_outcome outcome, const char *reason)
{
    snprintf(x->shared->reason, sizeof x->shared->reason, "%s", reason);
    rewind_end((int)outcome);
}

static void give_up(void *ctx, enum pilot_end why)
{
    end_execution(ctx, why == PILOT_REDUNDANT ? OUTCOME_REDUNDANT : OUTCOME_TOO_LONG,
                  "the processors make no progress: accesses without end (a livelock, or too wide a window)");
}

static unsigned choose(void *ctx, enum sim_site site, unsigned n)
{
    struct explore *x = ctx;

    struct pilot_memory *m = x->shared->memory;

    // Ties are what the processors' turns decide already. A value belongs to the access that was carried out
    // last.
    if ((site != SIM_SITE_READ && site != SIM_SITE_ORDER) || !m->step_count)
        return 0;
    unsigned choice = strategy_choose(x->shared->strategy, n < 256 ? n : 255);

    if (choice)
        m->steps[m->step_count - 1].older = (uint8_t)choice;
    return choice;
}

// The photographed process: each return of rewind_begin() is another execution.
static void begin(void *arg)
{
    struct explore *x = arg;

    sim_wait_until(x->o.from_ps);
    int mode = rewind_begin(explore_search_all, x);

    if (mode == REWIND_REFUSED)
        x->shared->refused = true;
    if (mode < 0) {
        x->in_execution = false; // It survived, as all of x does.
        machine_stop_now(x->machine);
        return;
    }
    x->in_execution = true;
    if (mode == MODE_SEARCH) {
        sim_choose_install(choose, x);
        pilot_begin(&x->pilot, x->machine);
        return;
    }
    schedule_begin(explore_schedule(x), x->machine);
}

void explore_arm(struct explore *x)
{
    sim_process_start("explorer", 0, 64u << 10, begin, x);
}

bool explore_in_execution(const struct explore *x)
{
    return x->in_execution;
}

void explore_judged(struct explore *x, const char *reason)
{
    if (x->in_execution)
        end_execution(x, reason ? OUTCOME_FAILED : OUTCOME_FINE, reason ? reason : "");
}

// --- The search: on the explorer's side. ---

static bool seen_before(struct explore_shared *s, uint64_t order)
{
    uint64_t key = order | 1;

    for (uint64_t i = key >> 6;; i++) {
        uint64_t *at = &s->orders[i % EXPLORE_ORDERS_MAX];

        if (*at == key)
            return true;
        if (*at)
            continue;
        if (s->counts.distinct == EXPLORE_ORDERS_MAX / 2)
            return true; // Full: no more are counted.
        *at = key;
        s->counts.distinct++;
        return false;
    }
}

static bool go_on(struct explore *x)
{
    struct explore_shared *s = x->shared;

    s->counts.pairs = s->memory->pair_count;
    s->counts.shared = s->memory->shared_count;
    return !x->o.progress || x->o.progress(x->o.ctx, x);
}

static void keep_failure(struct explore *x)
{
    struct explore_shared *s = x->shared;

    memcpy(s->failure, s->reason, sizeof s->failure);
    s->found_at = s->counts.executions;
}

static void search(struct explore *x)
{
    struct explore_shared *s = x->shared;

    while (s->counts.executions < x->o.budget && strategy_begin(s->strategy)) {
        uint32_t known = s->memory->shared_count;
        enum explore_outcome outcome = (enum explore_outcome)rewind_run(MODE_SEARCH);

        strategy_end(s->strategy, outcome == OUTCOME_FINE || outcome == OUTCOME_FAILED);
        s->counts.executions++;
        s->counts.cut_short += outcome == OUTCOME_REDUNDANT;
        s->counts.too_long += outcome == OUTCOME_TOO_LONG;
        seen_before(s, s->memory->order);
        if (s->memory->shared_count != known)
            strategy_changed(s->strategy);
        if (outcome == OUTCOME_FAILED || outcome == OUTCOME_TOO_LONG) {
            s->counts.failed++;
            // A failure that its steps alone do not bring about again is kept until there is one that they
            // do.
            if (!s->reproduced && s->counts.failed <= EXPLORE_ATTEMPTS) {
                keep_failure(x);
                explore_shrink(x);
            }
            if (!x->o.keep_going && (s->reproduced || s->counts.failed == EXPLORE_ATTEMPTS))
                break;
        }
        if (!go_on(x))
            break;
    }
}

void explore_search_all(void *arg)
{
    struct explore *x = arg;

    search(x);
    go_on(x);
}

// --- Its life. ---

// Blocks are priced when they are first executed: once for all, not in every execution again.
static void price_all(const struct machine *machine)
{
    const struct native_image *image = machine->image;

    for (uint32_t h = 0; h <= HW_ARENA_HOSTS_MAX; h++) {
        struct price_table *t = h < HW_ARENA_HOSTS_MAX ? image->host_prices[h] : image->prices;

        for (size_t i = 0; t && i < price_block_count(t); i++)
            (void)price_block_at(t, i);
    }
}

struct explore *explore_create(const struct explore_options *options, struct machine *machine)
{
    struct explore *x = rewind_alloc(sizeof *x);

    rewind_prepare();
    price_all(machine);
    x->o = *options;
    x->machine = machine;
    x->shared = rewind_alloc(sizeof *x->shared);
    x->shared->memory = rewind_alloc(sizeof *x->shared->memory);
    x->shared->strategy = strategy_create(&options->strategy, rewind_alloc);
    x->pilot = (struct pilot){.strategy = x->shared->strategy,
                              .memory = x->shared->memory,
                              .jitter = options->strategy.kind == STRATEGY_JITTER,
                              .give_up = give_up,
                              .ctx = x};
    return x;
}

void explore_destroy(struct explore *x)
{
    if (x)
        rewind_free();
}

struct explore_counts explore_counts(const struct explore *x)
{
    return x->shared->counts;
}

void explore_established(const struct explore *x, char *text, size_t size)
{
    strategy_established(x->shared->strategy, text, size);
}

const char *explore_failure(const struct explore *x)
{
    return x->shared->counts.failed ? x->shared->failure : NULL;
}

uint32_t explore_steps(const struct explore *x, bool *reproduced)
{
    *reproduced = x->shared->reproduced;
    return x->shared->step_count;
}

const char *explore_step(const struct explore *x, uint32_t i)
{
    return x->shared->lines[i];
}
