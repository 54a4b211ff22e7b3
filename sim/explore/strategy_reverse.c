// SPDX-License-Identifier: Apache-2.0
// Reversals: of two accesses that conflict and came in one order, the first waits for the second.
//
// An execution without any tells which accesses meet. Each pair of places in the code that met is then
// reversed, in an execution of its own: the first actor stands before its access until the second has made
// its own, wherever that one is and whatever else happens meanwhile. What meets there and never did before
// is reversed on top of it, up to `depth` reversals; when all of these are made, they are combined at random.
// Most bugs of two actors need one reversal, however many accesses lie in between (Lu et al., ASPLOS 2008,
// count the accesses of real bugs: four or fewer).
#include "sim/explore/strategy_reverse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void reverse_create(struct strategy *s, void *(*memory)(size_t bytes))
{
    s->reverse = memory(sizeof *s->reverse);
    s->reverse->count = s->reverse->bases[0] = s->reverse->bases[1] = 0;
    s->reverse->grown[0] = s->reverse->grown[1] = true;
}

// --- Which comes next. ---

static void activate(struct reverse *f, uint32_t i, uint32_t depth)
{
    f->timed = f->list[i].timed;
    for (; i != NONE && f->active_count < depth; i = f->list[i].parent) {
        f->active[f->active_count].reversal = i;
        f->active[f->active_count++].state = STATE_WAITS;
    }
}

// One that was not made, rather one of few reversals. False: there is none.
static bool take_untried(struct strategy *s)
{
    struct reverse *f = s->reverse;

    for (uint32_t depth = 0; depth < s->o.depth; depth++) {
        uint32_t *count = &f->untried_count[depth], more = 0;

        for (uint32_t deeper = depth + 1; deeper < s->o.depth; deeper++)
            more += f->untried_count[deeper];
        if (!*count || (more && explore_below(&s->random, 4) == 0))
            continue;
        // Of a few the one whose accesses are made least often: most are met in every loop and well tested.
        uint32_t at = explore_below(&s->random, *count);

        for (uint32_t tries = 1; tries < 4; tries++) {
            uint32_t other = explore_below(&s->random, *count);

            if (f->list[f->untried[depth][other]].often < f->list[f->untried[depth][at]].often)
                at = other;
        }
        uint32_t i = f->untried[depth][at];

        f->untried[depth][at] = f->untried[depth][--*count];
        activate(f, i, s->o.depth);
        f->made++;
        return true;
    }
    return false;
}

// An execution without a reversal, of either kind.
static bool take_base(struct reverse *f, enum strategy_kind kind)
{
    for (uint32_t timed = 2; timed-- > (kind == STRATEGY_INTERRUPT);) {
        if (!f->grown[timed] || f->bases[timed] == BASES_MAX)
            continue;
        f->grown[timed] = false;
        f->bases[timed]++;
        f->timed = timed;
        return true;
    }
    return false;
}

static bool reverse_begin(struct strategy *s)
{
    struct reverse *f = s->reverse;

    f->execution = s->executions + 1;
    f->active_count = f->log_count = f->spins = f->turn = 0;
    f->prefer = f->aside = f->turn_of = EXPLORE_NOBODY;
    f->logged = f->random = false;
    memset(f->own, 0xff, sizeof f->own);
    f->base = take_base(f, s->o.kind);
    if (f->base || take_untried(s))
        return true;
    if (!f->count || s->o.depth < 2)
        return false;
    f->random = true;
    for (uint32_t i = 0; i < 2; i++)
        activate(f, explore_below(&s->random, f->count), s->o.depth);
    f->together++;
    return true;
}

// --- An execution. ---

static struct count *count_of(struct reverse *f, uint32_t actor, const struct explore_access *a)
{
    uint64_t key = reverse_mix(reverse_mix(a->pc, a->place), actor);

    for (uint64_t i = key >> 20, tries = 0; tries < 64; i++, tries++) {
        struct count *c = &f->counts[i % COUNTS_MAX];

        if (c->execution != f->execution)
            *c = (struct count){key, f->execution, 0};
        if (c->key == key)
            return c;
    }
    return NULL; // Too many: this one is not counted.
}

static bool is_event(struct reverse *f, const struct event *e, uint32_t actor, const struct explore_access *a,
                     uint32_t nth)
{
    if (e->actor != actor || e->pc != a->pc || e->place != a->place)
        return false;
    if (nth)
        return e->nth == nth;
    const struct count *c = count_of(f, actor, a);

    return c && c->count + 1 == e->nth;
}

// The actor was held for something that has come.
static void done(struct reverse *f, uint32_t active, uint32_t actor)
{
    const struct reversal *r = &f->list[f->active[active].reversal];

    f->active[active].state = STATE_DONE;
    f->effective++;
    if (r->kind != REVERSE_STAY) {
        f->prefer = r->held.actor;
        f->aside = actor;
    }
}

// The actor comes to what somebody waits for.
static void meet(struct reverse *f, uint32_t actor, const struct explore_access *a)
{
    for (uint32_t i = 0; i < f->active_count; i++) {
        const struct reversal *r = &f->list[f->active[i].reversal];

        if (f->active[i].state == STATE_HOLDS && r->kind == REVERSE_MEET &&
            is_event(f, &r->until, actor, a, 0))
            done(f, i, actor);
    }
}

// Those of the ready ones that stand for somebody else's access.
static uint32_t held(struct reverse *f, const struct explore_decision *d)
{
    uint32_t actors = 0;

    for (uint32_t i = 0; i < f->active_count; i++) {
        const struct reversal *r = &f->list[f->active[i].reversal];
        uint32_t x = r->held.actor;

        if (f->active[i].state > STATE_LEAVES || r->kind == REVERSE_OLDER || !(d->ready >> x & 1) ||
            !is_event(f, &r->held, x, &d->next[x], 0))
            continue;
        if (f->active[i].state == STATE_WAITS)
            f->active[i].state = STATE_HOLDS;
        if (r->kind == REVERSE_TAKE && d->next[x].interrupted) {
            f->active[i].state = STATE_DONE;
            f->takes = true;
            continue;
        }
        actors |= 1u << x;
    }
    return actors;
}

static void let_go(struct reverse *f, uint32_t actor)
{
    for (uint32_t i = 0; i < f->active_count; i++)
        if ((f->active[i].state == STATE_HOLDS || f->active[i].state == STATE_LEAVES) &&
            f->list[f->active[i].reversal].held.actor == actor)
            f->active[i].state = STATE_BROKEN;
}

static uint32_t reverse_decide(struct strategy *s, const struct explore_decision *d)
{
    struct reverse *f = s->reverse;
    if (d->current != EXPLORE_NOBODY)
        meet(f, d->current, &d->next[d->current]);
    uint32_t stand = held(f, d), ready = d->ready & ~stand, willing;

    if (!ready) {
        if (d->later && f->spins < SPINS_MAX)
            return EXPLORE_LATER;
        uint32_t first = (uint32_t)__builtin_ctz(stand);

        let_go(f, first);
        return first;
    }
    if (f->prefer != EXPLORE_NOBODY && (ready >> f->prefer & 1)) {
        uint32_t actor = f->prefer;

        f->prefer = EXPLORE_NOBODY;
        return actor;
    }
    willing = ready & ~(uint32_t)s->yielded;
    if (d->current != EXPLORE_NOBODY && (willing >> d->current & 1))
        return d->current;
    // The next one in turn.
    uint32_t of = willing ? willing : ready;
    uint32_t above = d->current == EXPLORE_NOBODY || d->current >= 31 ? 0 : of & ~((2u << d->current) - 1);

    return (uint32_t)__builtin_ctz(above ? above : of);
}

static bool reverse_made(struct strategy *s, uint32_t actor, const struct explore_access *a)
{
    struct reverse *f = s->reverse;
    struct count *c = count_of(f, actor, a);
    bool goes_on = false;

    f->turn += actor != f->turn_of;
    f->turn_of = actor;
    f->logged = c && f->log_count < LOG_MAX;
    if (!c)
        return false;
    c->count++;
    for (uint32_t i = 0; i < f->active_count; i++) {
        const struct reversal *r = &f->list[f->active[i].reversal];
        enum state *state = &f->active[i].state;

        if (r->kind == REVERSE_OLDER || *state > STATE_LEAVES || r->until.actor != actor)
            continue;
        if (*state == STATE_LEAVES ? a->pc != 0 : is_event(f, &r->until, actor, a, c->count)) {
            if (*state == STATE_WAITS)
                *state = STATE_DONE; // Before the first: nobody had to stand.
            else if (!a->pc)
                *state = STATE_LEAVES;
            else
                done(f, i, actor);
            goes_on |= *state == STATE_DONE;
        }
    }
    if (f->logged && a->pc)
        f->own[actor] = f->log_count;
    if (f->logged)
        f->log[f->log_count++] = (struct logged){.e = {a->pc, a->place, c->count, actor},
                                                 .locks = a->locks,
                                                 .exclusive = a->exclusive,
                                                 .writes = a->writes,
                                                 .of_lock = a->of_lock,
                                                 .interruptible = a->interruptible,
                                                 .own = f->own[actor],
                                                 .turn = f->turn};
    return goes_on;
}

static bool reverse_timed(const struct strategy *s)
{
    return s->reverse->timed;
}

static bool reverse_wants_all(const struct strategy *s)
{
    const struct reverse *f = s->reverse;
    bool takes = f->base && s->o.kind == STRATEGY_INTERRUPT;

    for (uint32_t i = 0; i < f->active_count; i++)
        takes |= f->list[f->active[i].reversal].kind == REVERSE_TAKE;
    return takes;
}

static enum explore_stand reverse_stands(struct strategy *s, uint32_t actor, const struct explore_access *a)
{
    struct reverse *f = s->reverse;
    struct explore_decision d = {.ready = 1u << actor};

    d.next[actor] = *a;
    f->takes = false;
    meet(f, actor, a);
    if (held(f, &d) || (f->prefer != EXPLORE_NOBODY && f->aside == actor))
        return EXPLORE_STANDS;
    return f->takes ? EXPLORE_TAKES : EXPLORE_GOES_ON;
}

// Whoever was to go first has nothing more to do.
static bool reverse_idle(struct strategy *s, uint32_t actor)
{
    struct reverse *f = s->reverse;

    if (f->prefer != actor)
        return false;
    f->prefer = f->aside = EXPLORE_NOBODY;
    return true;
}

static void reverse_handed_over(struct strategy *s, uint64_t place, uint64_t places)
{
    struct reverse *f = s->reverse;

    f->logged = false;
    if (f->log_count < LOG_MAX && places <= HANDED_OVER_MAX)
        f->log[f->log_count++] = (struct logged){.e = {.place = place}, .handed_over = places};
}

static void reverse_yielded(struct strategy *s, uint32_t actor)
{
    struct reverse *f = s->reverse;

    for (uint32_t i = 0; i < f->active_count; i++)
        f->spins += f->active[i].state == STATE_HOLDS;
    for (uint32_t i = 0; i < f->active_count && f->spins >= SPINS_MAX; i++)
        let_go(f, f->list[f->active[i].reversal].held.actor);
    if (f->timed)
        reverse_idle(s, actor);
}

static void reverse_late(struct strategy *s, uint32_t actor)
{
    struct reverse *f = s->reverse;

    let_go(f, actor);
    if (f->aside == actor)
        f->prefer = f->aside = EXPLORE_NOBODY;
}

static uint32_t reverse_choose(struct strategy *s, uint32_t n)
{
    struct reverse *f = s->reverse;

    if (!f->logged)
        return 0;
    struct logged *last = &f->log[f->log_count - 1];

    last->choices = n;
    for (uint32_t i = 0; i < f->active_count; i++) {
        const struct reversal *r = &f->list[f->active[i].reversal];
        const struct explore_access a = {.pc = last->e.pc, .place = last->e.place};

        if (r->kind != REVERSE_OLDER || !is_event(f, &r->held, last->e.actor, &a, last->e.nth))
            continue;
        f->active[i].state = STATE_DONE;
        return r->older < n ? r->older : n - 1;
    }
    return 0;
}

static void reverse_end(struct strategy *s, bool complete)
{
    struct reverse *f = s->reverse;

    (void)complete;
    if (f->active_count < s->o.depth && !f->random)
        reverse_look(s);
}

static void reverse_changed(struct strategy *s)
{
    if (s->reverse->base)
        s->reverse->grown[s->reverse->timed] = true;
}

static void reverse_established(const struct strategy *s, char *text, size_t size)
{
    const struct reverse *f = s->reverse;
    uint64_t rest = 0;

    for (uint32_t i = 0; i < STRATEGY_DEPTH_MAX; i++)
        rest += f->untried_count[i];
    snprintf(text, size,
             "%u reversals of accesses that met are known: %" PRIu64 " were tried, %" PRIu64
             " are left (%u of the first ones), %" PRIu64 " executions with several at random",
             f->count, f->made, rest, f->untried_count[0], f->together);
}

const struct strategy_ops strategy_reverse = {.name = "reverse",
                                              .about = "each pair of accesses that met, the other way round",
                                              .sharing = SHARED_ANYHOW,
                                              .create = reverse_create,
                                              .begin = reverse_begin,
                                              .yielded = reverse_yielded,
                                              .late = reverse_late,
                                              .made = reverse_made,
                                              .timed = reverse_timed,
                                              .wants_all = reverse_wants_all,
                                              .stands = reverse_stands,
                                              .idle = reverse_idle,
                                              .handed_over = reverse_handed_over,
                                              .end = reverse_end,
                                              .changed = reverse_changed,
                                              .decide = reverse_decide,
                                              .choose = reverse_choose,
                                              .established = reverse_established};

const struct strategy_ops strategy_interrupt = {
    .name = "interrupt",
    .about = "an interrupt before each access, then pairs as reverse does",
    .sharing = SHARED_ANYHOW,
    .create = reverse_create,
    .begin = reverse_begin,
    .yielded = reverse_yielded,
    .late = reverse_late,
    .made = reverse_made,
    .timed = reverse_timed,
    .wants_all = reverse_wants_all,
    .stands = reverse_stands,
    .idle = reverse_idle,
    .handed_over = reverse_handed_over,
    .end = reverse_end,
    .changed = reverse_changed,
    .decide = reverse_decide,
    .choose = reverse_choose,
    .established = reverse_established};
