// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, SHARED, STRIDE, WRITES, ROUNDS };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [SHARED] = GUEST_ARG_SHARED,
    [STRIDE] = {"stride", "distance between two accesses", 64, 8, GiB, GUEST_BYTES},
    [WRITES] = {"writes", "1: it writes; 0: it reads", 0, 0, 1, GUEST_NUMBER},
    [ROUNDS] = {"rounds", "how often it walks over the range", 2, 1, UINT64_MAX, GUEST_NUMBER},
};

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], arg[SHARED]);

    for (uint64_t round = 0; round < arg[ROUNDS]; round++) {
        guest_mark(round);
        for (uint64_t at = 0; at < range.bytes; at += arg[STRIDE]) {
            guest_u64 *word = guest_word(env, range.start + at);

            if (arg[WRITES])
                guest_store(word, round);
            else
                (void)guest_load(word);
        }
    }
}

GUEST_PROGRAM("Walks over a range with a fixed stride, again and again.", args, run);
