// SPDX-License-Identifier: Apache-2.0
// Strategies with a bound: probabilistic concurrency testing and delay bounding.
#include "sim/explore/strategy_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// --- PCT. ---

static bool pct_begin(struct strategy *s)
{
    uint32_t length = s->length ? s->length : s->decisions_max ? s->decisions_max : 1;

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

static void pct_established(const struct strategy *s, const struct strategy_sums *sums, char *text,
                            size_t size)
{
    uint64_t one_in = sums->actors_max;
    uint32_t length = s->length ? s->length : sums->decisions_max;

    for (uint32_t i = 0; i + 1 < s->o.depth; i++)
        if (__builtin_mul_overflow(one_in, (uint64_t)length, &one_in))
            one_in = UINT64_MAX;
    snprintf(text, size,
             "a bug that needs %u orders is found by at least 1 execution in %" PRIu64
             " (%u actors, %u decisions%s); %" PRIu64 " were made",
             s->o.depth, one_in, sums->actors_max, length,
             sums->decisions_max > length ? ", at later ones nothing is changed" : "", sums->executions);
}

const struct strategy_ops strategy_pct = {.name = "pct",
                                          .about = "random priorities, changed at --depth less 1 places",
                                          .begin = pct_begin,
                                          .decide = pct_decide,
                                          .yielded = pct_yielded,
                                          .choose = random_choose,
                                          .established = pct_established};

// --- Delay bounding. ---
//
// Where the next delay is to be tried depends on how long the execution before was. So that parts need not
// know of each other's, the search goes in lanes, as many as the first execution has decisions (at most
// DELAY_LANES_MAX): lane l has the executions whose first delay is at decision l + 1, l + 1 + lanes, and so
// on, all with one delay, then all with two. The lanes take turns; each belongs to one part.

// The next set of places: the last delay moves on; if the execution before did not reach it, the one before.
static bool delay_advance(const struct strategy *s, struct delay_lane *l)
{
    while (l->count) {
        uint32_t last = l->count - 1;

        if (l->used == l->count) { // All took place: the last one may come later, too.
            l->at[last] += last ? 1 : s->lanes;
            return true;
        }
        // It was beyond the end: so would be all later ones.
        l->count = last;
    }
    return false;
}

// False: the lane's search is over.
static bool lane_next(const struct strategy *s, struct delay_lane *l)
{
    if (!delay_advance(s, l) && ++l->level > s->o.depth)
        l->finished = true;
    while (l->count < l->level && !l->finished) {
        l->at[l->count] = l->count ? l->at[l->count - 1] : 1 + (uint32_t)(l - s->lane);
        l->count++;
    }
    l->used = 0;
    return !l->finished;
}

// An execution to learn from: up to `depth` delays anywhere.
static void delay_anywhere(struct strategy *s, struct delay_lane *l)
{
    l->count = s->executions ? 1 + explore_below(&s->random, s->o.depth) : 0;
    l->used = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t place = 1 + explore_below(&s->random, s->decisions_max), k = i;

        for (; k > 0 && l->at[k - 1] > place; k--)
            l->at[k] = l->at[k - 1];
        l->at[k] = place;
    }
}

static void delay_split(struct strategy *s)
{
    memset(s->lane, 0, sizeof s->lane);
    s->lanes = s->first < DELAY_LANES_MAX ? s->first : DELAY_LANES_MAX;
    s->lane_now = 0;
    s->round = 0;
}

static bool delay_begin(struct strategy *s)
{
    s->delay = &s->lane[0];
    if (s->learns) {
        delay_anywhere(s, s->delay);
        return true;
    }
    if (!s->executions) { // Nothing was learned: one without any, then in one lane.
        s->learned = s->lanes = 1;
        return true;
    }
    for (uint32_t left = s->lanes; left > 0; left--) {
        uint32_t lane = s->lane_now++;

        s->number = s->learned + s->round * s->lanes + lane;
        s->delay = &s->lane[lane];
        if (s->lane_now == s->lanes) {
            s->lane_now = 0;
            s->round++;
        }
        if (lane % s->o.parts == s->o.part && !s->delay->finished && lane_next(s, s->delay))
            return true;
    }
    return false;
}

static uint32_t delay_decide(struct strategy *s, const struct explore_decision *d)
{
    struct delay_lane *l = s->delay;
    uint32_t actor = d->current;

    if (actor == EXPLORE_NOBODY || (s->yielded >> actor & 1)) {
        actor = explore_next_ready(d->ready, actor == EXPLORE_NOBODY ? 31 : actor);
        s->yielded &= ~(1ull << actor);
    }
    // Each delay passes the turn on; behind the last of those that are ready are those that come later.
    for (; l->used < l->count && l->at[l->used] == s->decisions; l->used++) {
        uint32_t next =
            actor == EXPLORE_LATER ? (uint32_t)__builtin_ctz(d->ready) : explore_next_ready(d->ready, actor);

        actor = d->later && d->current != EXPLORE_NOBODY && actor != EXPLORE_LATER && next <= actor
                    ? EXPLORE_LATER
                    : next;
    }
    return actor;
}

static uint32_t first_choose(struct strategy *s, uint32_t n)
{
    struct delay_lane *l = s->delay;

    // A choice that is not the default one counts as a delay; each such has a place of its own.
    for (uint32_t i = 1; i < n; i++) {
        s->decisions++;
        if (l->used < l->count && l->at[l->used] == s->decisions) {
            l->used++;
            return i;
        }
    }
    return 0;
}

static uint32_t delay_whole(const struct strategy *s)
{
    uint32_t whole = s->learned && !s->learns ? s->o.depth : 0;

    for (uint32_t i = s->o.part; i < s->lanes; i += s->o.parts) {
        const struct delay_lane *l = &s->lane[i];
        uint32_t done = l->finished ? s->o.depth : l->level ? l->level - 1 : 0;

        whole = done < whole ? done : whole;
    }
    return whole;
}

static void delay_established(const struct strategy *s, const struct strategy_sums *sums, char *text,
                              size_t size)
{
    (void)s;
    snprintf(text, size, "all executions with at most %u delay%s were made%s (%" PRIu64 " executions)",
             sums->delays, sums->delays == 1 ? "" : "s", sums->finished ? "" : ", and some with one more",
             sums->executions);
}

const struct strategy_ops strategy_delay = {.name = "delay",
                                            .about = "every place for one delay, then for two, up to --depth",
                                            .begin = delay_begin,
                                            .split = delay_split,
                                            .delays = delay_whole,
                                            .decide = delay_decide,
                                            .choose = first_choose,
                                            .established = delay_established};
