// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, STEP, ROUNDS, PAUSE };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [STEP] = {"step", "distance between the words it writes", 512, 8, GiB, GUEST_BYTES},
    [ROUNDS] = {"rounds", "how often it writes and verifies", 2, 1, UINT64_MAX, GUEST_NUMBER},
    [PAUSE] = {"pause", "how long it waits before it verifies", 0, 0, UINT64_MAX >> 20, GUEST_TIME},
};

// What belongs at an offset in a round: no two are likely to be equal.
static uint64_t pattern(uint64_t seed, uint64_t round, uint64_t offset)
{
    uint64_t state = seed ^ (round << 48) ^ offset;

    return guest_random(&state);
}

static void write_all(const struct guest_env *env, struct guest_range range, uint64_t step, uint64_t round)
{
    for (uint64_t at = 0; at < range.bytes; at += step)
        guest_store(guest_word(env, range.start + at), pattern(env->seed, round, at));
}

static void verify(const struct guest_env *env, struct guest_range range, uint64_t step, uint64_t round)
{
    for (uint64_t at = 0; at < range.bytes; at += step) {
        uint64_t found = guest_load(guest_word(env, range.start + at));

        if (found != pattern(env->seed, round, at))
            guest_fail("checksum: memory is not what was written", range.start + at, found);
    }
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], 0);
    uint64_t step = arg[STEP] & ~7ull;

    for (uint64_t round = 0; round < arg[ROUNDS]; round++) {
        guest_mark(2 * round);
        write_all(env, range, step, round);
        guest_work(arg[PAUSE]);
        guest_mark(2 * round + 1);
        verify(env, range, step, round);
    }
}

GUEST_PROGRAM("Writes a pattern and verifies it later; a difference is a violation.", args, run);
