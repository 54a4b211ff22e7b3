// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { BYTES, STEPS };
enum { CELL = 64 };

static const struct guest_arg args[] = {
    [BYTES] = GUEST_ARG_BYTES,
    [STEPS] = {"steps", "how many pointers it follows; 0: each of the range once", 0, 0, UINT64_MAX,
               GUEST_NUMBER},
};

// Each cache line holds the offset of the next. One cycle through all of them, by Sattolo's shuffle: every
// line is exchanged with an earlier one.
static void make_cycle(const struct guest_env *env, struct guest_range range, uint64_t cells)
{
    uint64_t state = env->seed;

    for (uint64_t i = 0; i < cells; i++)
        guest_store(guest_word(env, range.start + i * CELL), range.start + i * CELL);
    for (uint64_t i = cells - 1; i > 0; i--) {
        guest_u64 *a = guest_word(env, range.start + i * CELL);
        guest_u64 *b = guest_word(env, range.start + guest_below(&state, i) * CELL);
        uint64_t kept = guest_load(a);

        guest_store(a, guest_load(b));
        guest_store(b, kept);
    }
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    struct guest_range range = guest_range(env, arg[BYTES], 0);
    uint64_t cells = range.bytes / CELL, steps = arg[STEPS] ? arg[STEPS] : cells, at = range.start;

    if (!cells)
        return;
    guest_mark(0);
    make_cycle(env, range, cells);
    guest_mark(1);
    for (uint64_t i = 0; i < steps; i++)
        at = guest_load(guest_word(env, at));
    guest_mark(2);
    if ((at == range.start) != (steps % cells == 0))
        guest_fail("chase: the cycle does not close where it began", at, steps);
}

GUEST_PROGRAM(
    "Follows pointers through a range in random order: no access can begin before the one before it ends.",
    args, run);
