// SPDX-License-Identifier: Apache-2.0
// Strategies with a bound: probabilistic concurrency testing and delay bounding.
#include "sim/explore/strategy_internal.h"

#include <inttypes.h>
#include <stdio.h>

// --- PCT. ---

static bool pct_begin(struct strategy *s)
{
    uint32_t length = s->decisions_max ? s->decisions_max : 1;

    for (uint32_t i = 0; i < EXPLORE_ACTORS_MAX; i++)
        s->priority[i] = (int64_t)(explore_random(&s->random) >> 2);
    for (uint32_t i = 0; i + 1 < s->o.depth; i++)
        s->change_at[i] = 1 + explore_below(&s->random, length);
    s->lowest = 0;
    return true;
}

static uint32_t pct_decide(struct strategy *s, const struct explore_decision *d)
{
    uint32_t best = EXPLORE_NOBODY;

    for (uint32_t i = 0; i + 1 < s->o.depth; i++) {
        if (s->change_at[i] != s->decisions || d->current == EXPLORE_NOBODY)
            continue;
        s->priority[d->current] = --s->lowest;
        if (d->ready == 1u << d->current) // Behind those, too, that come only later.
            return EXPLORE_LATER;
    }
    for (uint32_t ready = d->ready; ready; ready &= ready - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(ready);

        if (best == EXPLORE_NOBODY || s->priority[i] > s->priority[best])
            best = i;
    }
    return best;
}

static void pct_yielded(struct strategy *s, uint32_t actor)
{
    s->priority[actor] = --s->lowest;
}

static uint32_t random_choose(struct strategy *s, uint32_t n)
{
    // Mostly what happens by default: an execution differs from it in few places, as a bug of small depth
    // does.
    return explore_below(&s->random, 4) ? 0 : explore_below(&s->random, n);
}

static void pct_established(const struct strategy *s, char *text, size_t size)
{
    uint64_t one_in = s->actors_max;

    for (uint32_t i = 0; i + 1 < s->o.depth; i++)
        if (__builtin_mul_overflow(one_in, (uint64_t)s->decisions_max, &one_in))
            one_in = UINT64_MAX;
    snprintf(text, size,
             "a bug that needs %u orders is found by at least 1 execution in %" PRIu64
             " (%u actors, %u decisions); %" PRIu64 " were made",
             s->o.depth, one_in, s->actors_max, s->decisions_max, s->executions);
}

const struct strategy_ops strategy_pct = {.name = "pct",
                                          .about = "random priorities, changed at --depth less 1 places",
                                          .begin = pct_begin,
                                          .decide = pct_decide,
                                          .yielded = pct_yielded,
                                          .choose = random_choose,
                                          .established = pct_established};

// --- Delay bounding. ---

// The next set of places: the last delay moves on; if the execution before did not reach it, the one before.
static bool delay_advance(struct strategy *s)
{
    while (s->delays) {
        uint32_t last = s->delays - 1;

        if (s->delays_used == s->delays) { // All took place: the last one may come later, too.
            s->delay_at[last] += last ? 1 : s->o.parts;
            return true;
        }
        // It was beyond the end: so would be all later ones.
        s->delays = last;
    }
    return false;
}

static void delay_place(struct strategy *s, uint32_t count)
{
    while (s->delays < count) {
        s->delay_at[s->delays] = s->delays ? s->delay_at[s->delays - 1] : 1 + s->o.part;
        s->delays++;
    }
}

static bool delay_begin(struct strategy *s)
{
    if (s->executions > 0) {
        if (s->delays_done == 0 && s->delays == 0) {
            s->delays_done = 1; // None: made. Now with one.
            delay_place(s, 1);
        } else if (delay_advance(s)) {
            delay_place(s, s->delays_done);
        } else if (s->delays_done < s->o.depth) {
            delay_place(s, ++s->delays_done);
        } else {
            return false;
        }
    }
    s->delays_used = 0;
    return true;
}

// Whose turn comes when: each processor right behind its store buffer.
static uint32_t turn_of(const struct explore_decision *d, uint32_t actor)
{
    uint32_t cpu = explore_processor(d->buffers_from, actor);

    return d->buffers_from ? 2 * cpu + (cpu == actor) : actor;
}

static uint32_t next_in_turn(const struct explore_decision *d, uint32_t from)
{
    uint32_t turns = d->buffers_from ? 2 * d->buffers_from : EXPLORE_ACTORS_MAX;
    uint32_t at = from == EXPLORE_NOBODY ? turns - 1 : turn_of(d, from), best = EXPLORE_NOBODY, wait = turns;

    for (uint32_t rest = d->ready; rest; rest &= rest - 1) {
        uint32_t actor = (uint32_t)__builtin_ctz(rest);
        uint32_t until = (turn_of(d, actor) + turns - 1 - at) % turns;

        if (until < wait) {
            best = actor;
            wait = until;
        }
    }
    return best;
}

static uint32_t delay_decide(struct strategy *s, const struct explore_decision *d)
{
    uint32_t actor = d->current;

    if (actor == EXPLORE_NOBODY || (s->yielded >> actor & 1)) {
        actor = next_in_turn(d, actor);
        s->yielded &= ~(1ull << actor);
    }
    // Each delay passes the turn on; behind the last of those that are ready are those that come later.
    for (; s->delays_used < s->delays && s->delay_at[s->delays_used] == s->decisions; s->delays_used++) {
        uint32_t next = next_in_turn(d, actor == EXPLORE_LATER ? EXPLORE_NOBODY : actor);

        actor = d->later && d->current != EXPLORE_NOBODY && actor != EXPLORE_LATER &&
                        turn_of(d, next) <= turn_of(d, actor)
                    ? EXPLORE_LATER
                    : next;
    }
    return actor;
}

static uint32_t first_choose(struct strategy *s, uint32_t n)
{
    // A choice that is not the default one counts as a delay; each such has a place of its own.
    for (uint32_t i = 1; i < n; i++) {
        s->decisions++;
        if (s->delays_used < s->delays && s->delay_at[s->delays_used] == s->decisions) {
            s->delays_used++;
            return i;
        }
    }
    return 0;
}

static void delay_established(const struct strategy *s, char *text, size_t size)
{
    uint32_t whole = s->finished ? s->o.depth : s->delays_done ? s->delays_done - 1 : 0;

    snprintf(text, size, "all executions with at most %u delay%s were made%s (%" PRIu64 " executions)", whole,
             whole == 1 ? "" : "s", s->finished ? "" : ", and some with one more", s->executions);
}

const struct strategy_ops strategy_delay = {.name = "delay",
                                            .about = "every place for one delay, then for two, up to --depth",
                                            .begin = delay_begin,
                                            .decide = delay_decide,
                                            .choose = first_choose,
                                            .established = delay_established};
