// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, SHARED, STEP, WRITES };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [SHARED] = GUEST_ARG_SHARED,
    [STEP] = {"step", "distance between the words it touches", GUEST_PAGE, 8, GiB, GUEST_BYTES},
    [WRITES] = {"writes", "1: it writes them; 0: it reads them", 1, 0, 1, GUEST_NUMBER},
};

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], arg[SHARED]);

    guest_mark(0);
    for (uint64_t at = 0; at < range.bytes; at += arg[STEP]) {
        guest_u64 *word = guest_word(env, range.start + at);

        if (arg[WRITES])
            guest_store(word, at);
        else
            (void)guest_load(word);
    }
    guest_mark(1);
}

GUEST_PROGRAM("Touches each page of a range once.", args, run);
