// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, SHARED, PAGES, PER, DURATION, RANDOM, OFFSET };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [SHARED] = GUEST_ARG_SHARED,
    [PAGES] = {"pages", "how many pages it writes in each period", 100, 1, UINT64_MAX, GUEST_NUMBER},
    [PER] = {"per", "the period", 1000000, 1000, 1000000000, GUEST_TIME},
    [DURATION] = {"duration", "how long it goes on; 0: for ever", 10000000, 0, UINT64_MAX >> 20, GUEST_TIME},
    [RANDOM] = {"random", "1: pages at random; 0: one after the other", 0, 0, 1, GUEST_NUMBER},
    [OFFSET] = {"offset", "how far behind its place the range begins", 0, 0, UINT64_MAX, GUEST_BYTES},
};

static void write_pages(const struct guest_env *env, const uint64_t *arg, struct guest_range range,
                        uint64_t *next, uint64_t *state)
{
    uint64_t pages = range.bytes / GUEST_PAGE;

    for (uint64_t i = 0; i < arg[PAGES]; i++) {
        uint64_t page = arg[RANDOM] ? guest_below(state, pages) : *next;

        guest_store(guest_word(env, range.start + page * GUEST_PAGE), ++*state);
        *next = *next + 1 < pages ? *next + 1 : 0;
    }
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], arg[SHARED]);
    uint64_t state = env->seed, next = 0, begin = guest_rdtsc(), due = begin;

    range.start += arg[OFFSET] & ~(uint64_t)(GUEST_PAGE - 1);
    if (range.bytes == 0)
        return;
    if (range.start + range.bytes > guest_memory_bytes(env)) {
        guest_fail("guest program: the range ends behind the memory", range.start, range.bytes);
        return;
    }
    while (!arg[DURATION] || due - begin < arg[DURATION]) {
        write_pages(env, arg, range, &next, &state);
        due += arg[PER];
        guest_work_until(due);
    }
}

GUEST_PROGRAM("Dirties pages at a given rate.", args, run);
