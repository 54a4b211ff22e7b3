// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, SHARED, ACCESSES, WRITES };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [SHARED] = GUEST_ARG_SHARED,
    [ACCESSES] = GUEST_ARG_ACCESSES,
    [WRITES] = GUEST_ARG_WRITES,
};

// A rank below `n` whose probability falls as 1/(rank + 1): octaves of ranks are equally likely, and so are
// the ranks of an octave.
static uint64_t zipf(uint64_t *state, uint64_t n)
{
    unsigned octaves = 64 - (unsigned)__builtin_clzll(n);
    uint64_t rank;

    do {
        unsigned octave = (unsigned)guest_below(state, octaves);

        rank = (1ull << octave) - 1 + guest_below(state, 1ull << octave);
    } while (rank >= n);
    return rank;
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], arg[SHARED]);
    uint64_t pages = range.bytes / GUEST_PAGE, state = env->seed;

    for (uint64_t i = 0; pages && i < arg[ACCESSES]; i++) {
        // Neighbours in rank are no neighbours in memory.
        uint64_t page = zipf(&state, pages) * 0x9e3779b1u % pages;
        uint64_t word = guest_below(&state, GUEST_PAGE / sizeof(guest_u64));

        guest_touch(guest_word(env, range.start + page * GUEST_PAGE + word * sizeof(guest_u64)), &state,
                    arg[WRITES]);
    }
}

GUEST_PROGRAM("Accesses pages of a range as keys of a cache are: the n-th most popular one as 1/n.", args,
              run);
