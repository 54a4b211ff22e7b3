// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, SHARED, ACCESSES, WRITES, SET, PHASES };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [SHARED] = GUEST_ARG_SHARED,
    [ACCESSES] = GUEST_ARG_ACCESSES,
    [WRITES] = GUEST_ARG_WRITES,
    [SET] = {"set", "size of the working set of a phase", MiB, GUEST_PAGE, UINT64_MAX, GUEST_BYTES},
    [PHASES] = {"phases", "how many there are", 8, 1, UINT64_MAX, GUEST_NUMBER},
};

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], arg[SHARED]);
    uint64_t set = arg[SET] < range.bytes ? arg[SET] : range.bytes, state = env->seed;
    uint64_t words = set / sizeof(guest_u64), places = (range.bytes - set) / GUEST_PAGE + 1;

    for (uint64_t phase = 0; words && phase < arg[PHASES]; phase++) {
        uint64_t start = range.start + guest_below(&state, places) * GUEST_PAGE;

        guest_mark(phase);
        for (uint64_t i = 0; i < arg[ACCESSES]; i++)
            guest_touch(guest_word(env, start + guest_below(&state, words) * sizeof(guest_u64)), &state,
                        arg[WRITES]);
    }
}

GUEST_PROGRAM("Works at random on a small part of a range, then on another one.", args, run);
