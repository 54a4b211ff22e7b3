// SPDX-License-Identifier: Apache-2.0
#include "sim/kernel.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_kernel sim_kernel = {.until_ps = SIM_PS_NEVER};

enum { EXIT_BUG = 70 };

void sim_bug(const char *format, ...)
{
    va_list args;
    fprintf(stderr, "hvsim: bug: at %" PRIu64 " ps: ", sim_kernel.now_ps);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    // Not exit(): its handlers must not run on a coroutine's stack, amid whatever is broken.
    fflush(NULL);
    _Exit(EXIT_BUG);
}

int sim_init(void)
{
    return carrier_init();
}

sim_ps_t sim_now_ps(void)
{
    return sim_kernel.now_ps;
}

sim_ps_t sim_horizon_ps(void)
{
    if (sim_kernel.stopping) {
        return sim_kernel.now_ps;
    }
    sim_ps_t due = carrier_next_ps();
    const struct sim_node *first = agenda_first();
    if (first && first->ps < due) {
        due = first->ps;
    }
    return due < sim_kernel.until_ps ? due : sim_kernel.until_ps;
}

bool sim_may_continue(sim_ps_t ps, unsigned rank)
{
    if (sim_kernel.stopping || ps >= sim_kernel.until_ps) {
        return false;
    }
    const struct sim_node *first = agenda_first();
    if (first && ps >= first->ps) {
        // Among equals a chooser must be asked, and it is only when the caller waits; who was chosen goes on.
        bool chosen = choose_is_installed() ? sim_kernel.chosen && sim_kernel.chosen == sim_kernel.running &&
                                                  sim_kernel.chosen_ps == ps
                                            : rank + 1 < first->rank;
        if (ps > first->ps || !chosen) {
            return false;
        }
    }
    return ps < carrier_next_ps();
}

enum { TIED_MAX = 64 };

static struct sim_process *choose_tied(void)
{
    struct sim_node *tied[TIED_MAX];
    unsigned n = agenda_tied(tied, TIED_MAX);
    return (struct sim_process *)tied[sim_choose(SIM_SITE_TIE, n)];
}

struct sim_process *kernel_pick(void)
{
    for (;;) {
        struct sim_node *first = agenda_first();
        if (sim_kernel.stopping || !first || first->ps >= sim_kernel.until_ps ||
            first->ps >= carrier_next_ps()) {
            return NULL;
        }
        sim_kernel.now_ps = first->ps;
        if (first->rank == 0) {
            event_fire((struct sim_event *)first);
            continue;
        }
        struct sim_process *p = (struct sim_process *)first;
        if (choose_is_installed() && agenda_first_is_tied()) {
            p = choose_tied();
            sim_kernel.chosen = p;
            sim_kernel.chosen_ps = sim_kernel.now_ps;
        }
        agenda_remove(&p->node);
        event_forget_waiter(p);
        return p;
    }
}

enum sim_run_result sim_run(sim_ps_t until_ps)
{
    SIM_CHECK(!sim_kernel.in_run, "sim_run() within a run");
    SIM_CHECK(until_ps >= sim_kernel.now_ps, "sim_run() until %" PRIu64 " ps", until_ps);
    enum sim_run_result result;
    carrier_elaborate();
    sim_kernel.in_run = true;
    sim_kernel.stopping = false;
    sim_kernel.until_ps = until_ps;
    for (;;) {
        struct sim_process *p = kernel_pick();
        if (p) {
            process_enter(p);
        } else if (sim_kernel.stopping) {
            result = SIM_RUN_STOPPED;
            break;
        } else {
            sim_ps_t models = carrier_next_ps();
            if (!agenda_first() && models == SIM_PS_NEVER) {
                result = SIM_RUN_IDLE;
                break;
            }
            if (models >= until_ps) {
                sim_kernel.now_ps = until_ps;
                result = SIM_RUN_LIMIT;
                break;
            }
            if (models > sim_kernel.now_ps) {
                sim_kernel.now_ps = models;
            }
            carrier_run_models_at(sim_kernel.now_ps);
        }
        while (sim_kernel.wants_clock) {
            p = sim_kernel.wants_clock;
            sim_kernel.wants_clock = NULL;
            carrier_run_models_at(sim_kernel.now_ps);
            process_enter(p);
        }
    }
    sim_kernel.in_run = false;
    sim_kernel.until_ps = SIM_PS_NEVER;
    return result;
}

void sim_stop(void)
{
    sim_kernel.stopping = sim_kernel.in_run;
}

void sim_start_over(void)
{
    SIM_CHECK(!sim_kernel.in_run, "sim_start_over() within a run");
    SIM_CHECK(sim_kernel.live == 0, "sim_start_over() while %" PRIu64 " processes have not returned",
              sim_kernel.live);
    (void)sim_vcd_close(); // It has said what went wrong, if so.
    carrier_start_over();
    sim_kernel.now_ps = 0;
    sim_kernel.seq = 0;
    sim_kernel.run++;
    sim_kernel.stopping = false;
}
