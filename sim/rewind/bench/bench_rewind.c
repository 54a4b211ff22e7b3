// SPDX-License-Identifier: Apache-2.0
// How fast a restart is, by pages that an execution dirties. Prints a table.
#include "sim/rewind/rewind.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE_BYTES = 4096, ROUNDS = 7 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct plan {
    unsigned pages, lines, restarts;
    uint64_t best_ns;
};

static void explorer(void *arg)
{
    struct plan *plan = arg;

    plan->best_ns = UINT64_MAX;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns();
        for (unsigned i = 0; i < plan->restarts; i++) {
            rewind_run(1);
        }
        uint64_t ns = now_ns() - begin;
        if (round && ns < plan->best_ns) { // The first one learns.
            plan->best_ns = ns;
        }
    }
}

int main(void)
{
    // Pages, lines of 64 bytes written in each (64: all of it), restarts.
    static const struct plan plans[] = {
        {5, 2, 200000, 0},  {10, 2, 200000, 0}, {10, 64, 100000, 0}, {50, 2, 40000, 0},
        {50, 64, 20000, 0}, {500, 2, 4000, 0},  {500, 64, 2000, 0},  {5000, 2, 200, 0},
    };
    const size_t bytes = (size_t)5000 * 3 * PAGE_BYTES;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct plan *plan = rewind_alloc(sizeof *plan);

    if (rewind_unsupported() || memory == MAP_FAILED) {
        fprintf(stderr, "bench_rewind: %s\n", rewind_unsupported());
        return 1;
    }
    for (unsigned i = 0; i < sizeof plans / sizeof *plans; i++) {
        *plan = plans[i];
        if (rewind_begin(explorer, plan) == 1) {
            for (unsigned page = 0; page < plan->pages; page++) {
                for (unsigned line = 0; line < plan->lines; line++) {
                    memory[(size_t)page * 3 * PAGE_BYTES + (line * 37 % 64) * 64] ^= 1;
                }
            }
            rewind_end(0);
        }
        struct rewind_stats stats = rewind_stats();
        printf("%4u pages dirtied, %2u lines in each (%4llu compared) %9llu restarts/s  %7llu ns\n",
               plan->pages, plan->lines, (unsigned long long)stats.pages,
               (unsigned long long)(plan->restarts * 1000000000ull / plan->best_ns),
               (unsigned long long)(plan->best_ns / plan->restarts));
    }
    rewind_free();
    return 0;
}
