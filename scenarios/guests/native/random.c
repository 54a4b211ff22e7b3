// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, SHARED, ACCESSES, WRITES, STEP };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [SHARED] = GUEST_ARG_SHARED,
    [ACCESSES] = GUEST_ARG_ACCESSES,
    [WRITES] = GUEST_ARG_WRITES,
    [STEP] = {"step", "distance between the words it chooses from; 8: every one", 8, 8, GiB, GUEST_BYTES},
};

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], arg[SHARED]);
    uint64_t words = range.bytes / arg[STEP], state = env->seed;

    for (uint64_t i = 0; words && i < arg[ACCESSES]; i++)
        guest_touch(guest_word(env, range.start + guest_below(&state, words) * arg[STEP]), &state,
                    arg[WRITES]);
}

GUEST_PROGRAM("Accesses words of a range at random, each as likely as any other.", args, run);
