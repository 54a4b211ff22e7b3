// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/explore_internal.h"

#include "models/cpu/native/native.h"
#include "models/cpu/pcpu.h"
#include "sim/kernel.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Threads that an execution can create without mapping a stack, which costs some 100 us.
#define EXPLORE_THREADS_AHEAD 16u

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
    native_reserve(EXPLORE_THREADS_AHEAD);
    if (x->o.before_photograph)
        x->o.before_photograph(x->o.ctx);
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

static void *map_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    SIM_CHECK(p != MAP_FAILED, "explore: %zu bytes of shared memory cannot be mapped", bytes);
    return p;
}

struct explore_signs *explore_signs_create(void)
{
    struct explore_signs *signs = map_shared(sizeof *signs);

    atomic_init(&signs->found, EXPLORE_NONE);
    atomic_init(&signs->stop, false);
    return signs;
}

struct explore *explore_create(const struct explore_options *options, struct machine *machine)
{
    struct explore *x = rewind_alloc(sizeof *x);

    rewind_prepare();
    price_all(machine);
    x->o = *options;
    x->machine = machine;
    x->board = map_shared(sizeof *x->board);
    x->slot = &x->board->slots[0];
    x->shared = rewind_alloc(sizeof *x->shared);
    x->shared->result.found = EXPLORE_NONE;
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
    if (!x)
        return;
    munmap(x->board, sizeof *x->board);
    rewind_free();
}

const char *explore_lost(const struct explore *x)
{
    return *x->shared->lost ? x->shared->lost : NULL;
}

const struct explore_result *explore_result(const struct explore *x)
{
    return &x->shared->result;
}

void explore_established(const struct explore *x, char *text, size_t size)
{
    strategy_established(x->shared->strategy, text, size);
}
