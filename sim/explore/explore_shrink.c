// SPDX-License-Identifier: Apache-2.0
// From a failing execution to the few steps of a pinned order that make it fail again.
//
// Wherever another processor went on, two steps say so: the access that the one made last, and the one that
// the other made first. A store that left a store buffer is pinned where it is the last of its processor
// before another goes on, and where it had waited while another did. All of them together leave no order
// open. Then steps are taken away, many at once and
// in the end one by one, as long as what is left fails the same way under models/cpu/native/schedule.h.
#include "sim/explore/explore_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct schedule *explore_schedule(struct explore *x)
{
    struct explore_shared *s = x->shared;
    char error[300];
    uint32_t bad;
    struct schedule *order =
        schedule_create(s->trial, s->trial_count, x->o.places, x->machine, &bad, error, sizeof error);

    if (!order) {
        snprintf(s->reason, sizeof s->reason, "step %u: %s", bad, error);
        rewind_end(OUTCOME_NO_SCHEDULE);
    }
    return order;
}

// --- Steps of an execution. ---

static void name_of(const struct explore *x, uint32_t at, struct place_name *out)
{
    if (!places_name(x->o.places, x->shared->memory->steps[at].pc, out))
        snprintf(out->text, sizeof out->text, "?");
}

// How often the actor came to the same place since its step before, this time included. Stores are counted
// for drains.
static uint32_t count_since(const struct explore *x, const struct place_name *name, uint32_t at,
                            uint32_t since, bool stores)
{
    const struct pilot_step *steps = x->shared->memory->steps;
    uint32_t count = 0;

    for (uint32_t i = since; i <= at; i++)
        count += steps[i].actor == steps[at].actor && !steps[i].store && (!steps[i].interrupt || i == at) &&
                 (!stores || (steps[i].access & PLACE_WRITE)) &&
                 (steps[i].pc == steps[at].pc || places_means(x->o.places, name, steps[i].pc));
    return count;
}

static const char *word_of(const struct explore_shared *s, const struct pilot_step *step)
{
    if (step->store)
        return "drain";
    if (step->interrupt)
        return "interrupt";
    return step->idle && s->idle_counts ? "idle" : "";
}

// The accesses and drains `at` (in order) as steps.
static bool steps_at(const struct explore *x, const uint32_t *at, uint32_t count, struct schedule_step *out)
{
    const struct pilot_memory *m = x->shared->memory;
    uint32_t since[EXPLORE_ACTORS_MAX] = {0}, since_drain[EXPLORE_ACTORS_MAX] = {0};

    for (uint32_t i = 0; i < count; i++) {
        const struct pilot_step *from = &m->steps[at[i]];
        uint32_t *after = from->store ? &since_drain[from->actor] : &since[from->actor];
        uint32_t access = from->store ? from->store - 1 : at[i];
        char text[PLACES_TEXT_BYTES + 64], error[200];
        struct place_name name;

        name_of(x, access, &name);
        snprintf(text, sizeof text, "cpu%u %s %s %s x%u", from->actor, name.text, name.word,
                 word_of(x->shared, from), count_since(x, &name, access, *after, from->store != 0));
        if (!schedule_parse(text, &out[i], error, sizeof error))
            return false;
        out[i].older = from->older;
        *after = access + 1;
    }
    return true;
}

// In order, and each once.
static bool add_step(struct explore_shared *s, uint32_t at)
{
    uint32_t i = s->step_count;

    while (i > 0 && s->at[i - 1] > at)
        i--;
    if (i > 0 && s->at[i - 1] == at)
        return true;
    if (s->step_count == SCHEDULE_STEPS_MAX)
        return false;
    memmove(&s->at[i + 1], &s->at[i], (s->step_count++ - i) * sizeof *s->at);
    s->at[i] = at;
    return true;
}

// What pins the accesses [from, to) of one processor between those of others. If it then had nothing to do,
// its last access is the last step: that one waits for all that it drained before.
static bool add_turn(struct explore_shared *s, uint32_t from, uint32_t to)
{
    struct pilot_step *steps = s->memory->steps;
    uint32_t access = to, drain = to, late = to; // The last ones; the first drain of an older store
    bool idle = steps[to - 1].idle && to < s->memory->step_count, fits = true;

    for (uint32_t i = from; i < to; i++) {
        if (steps[i].store && steps[i].store <= from && late == to)
            late = i;
        *(steps[i].store ? &drain : &access) = i;
        steps[i].idle = false;
    }
    for (uint32_t i = from; i < to && fits; i++) {
        bool ends = (i == access || i == drain) && to < s->memory->step_count;
        bool pins = (i == from && from > 0) || i == late || steps[i].older || steps[i].interrupt || ends;

        if (pins && !(idle && i == access))
            fits = add_step(s, i);
    }
    if (idle && access < to) {
        steps[access].idle = true;
        fits = fits && add_step(s, access);
    }
    return fits;
}

// All of them.
static bool take_all_steps(struct explore_shared *s)
{
    const struct pilot_memory *m = s->memory;

    s->step_count = 0;
    s->idle_counts = true;
    for (uint32_t from = 0, to; from < m->step_count; from = to) {
        for (to = from + 1; to < m->step_count && m->steps[to].actor == m->steps[from].actor;)
            to++;
        if (!add_turn(s, from, to))
            return false;
    }
    return s->step_count > 0;
}

// Every place where another processor went on within so many accesses of one that stood although it could
// have gone on; and those that stood. False: too many to write down.
static bool take_steps(struct explore *x, uint32_t around)
{
    struct explore_shared *s = x->shared;
    const struct pilot_memory *m = s->memory;
    uint32_t stood = 0, next = 0; // The last one and the one that comes, + 1

    if (around == UINT32_MAX)
        return take_all_steps(s);
    s->step_count = 0;
    s->idle_counts = false;
    for (uint32_t i = 0; i < m->step_count; i++) {
        uint32_t after = m->steps[i].after;
        bool fits = true;

        stood = after ? i + 1 : stood;
        for (next = next > i ? next : i + 1; next < m->step_count && !m->steps[next - 1].after;)
            next++;
        bool near = (stood && i - (stood - 1) < around) || (next < m->step_count && next - 1 - i < around);

        if (near && i > 0 && m->steps[i].actor != m->steps[i - 1].actor)
            fits = add_step(s, i - 1) && add_step(s, i);
        if (after)
            fits &= add_step(s, after - 1) && add_step(s, i);
        if (m->steps[i].older || m->steps[i].interrupt)
            fits &= add_step(s, i);
        if (!fits)
            return false;
    }
    return s->step_count > 0;
}

// --- Fewer. ---

static bool fails_with(struct explore *x)
{
    struct explore_shared *s = x->shared;

    if (atomic_load_explicit(&x->o.signs->stop, memory_order_relaxed)) // What there is so far has to do.
        return false;
    s->counts.shrinking++;
    return rewind_run(MODE_REPLAY) == OUTCOME_FAILED && strcmp(s->reason, s->failure) == 0;
}

// Does it fail without the steps [from, from + count)? Then they are gone for good.
static bool fails_without(struct explore *x, uint32_t from, uint32_t count)
{
    struct explore_shared *s = x->shared;
    uint32_t at[SCHEDULE_STEPS_MAX];

    s->trial_count = 0;
    for (uint32_t i = 0; i < s->step_count; i++)
        if (i < from || i >= from + count)
            at[s->trial_count++] = s->at[i];
    if (!steps_at(x, at, s->trial_count, s->trial) || !fails_with(x))
        return false;
    memcpy(s->at, at, s->trial_count * sizeof *at);
    s->step_count = s->trial_count;
    return true;
}

// A step with what it is about: the line, and through which functions it came there.
static void describe(struct explore *x)
{
    struct explore_shared *s = x->shared;

    if (!steps_at(x, s->at, s->step_count, s->trial)) {
        s->step_count = 0;
        return;
    }
    for (uint32_t i = 0; i < s->step_count; i++) {
        struct place_name name;
        char step[PLACES_TEXT_BYTES + 64];
        char *line = s->lines[i];

        name_of(x, s->at[i], &name);
        schedule_step_text(&s->trial[i], step, sizeof step);
        int used = snprintf(line, EXPLORE_STEP_BYTES, "%-60s # line %u", step, name.line);

        for (uint32_t f = 1; f < name.frame_count && f < 3 && used > 0 && used < (int)EXPLORE_STEP_BYTES; f++)
            used += snprintf(line + used, EXPLORE_STEP_BYTES - (size_t)used, ", in %s:%u",
                             name.frames[f].function, name.frames[f].line);
        if (s->memory->steps[s->at[i]].store && used > 0 && used < (int)EXPLORE_STEP_BYTES)
            used += snprintf(line + used, EXPLORE_STEP_BYTES - (size_t)used, "; its store becomes visible");
        if (s->trial[i].older && used > 0 && used < (int)EXPLORE_STEP_BYTES)
            snprintf(line + used, EXPLORE_STEP_BYTES - (size_t)used, "; %s %u older than the newest",
                     s->memory->steps[s->at[i]].access & PLACE_READ ? "reads a value"
                                                                    : "its store goes to a place",
                     s->trial[i].older);
    }
}

// Steps after which their processor is to be idle: does it fail also if the others need not wait for that?
static void shorten(struct explore *x)
{
    struct explore_shared *s = x->shared;

    for (uint32_t i = 0; i < s->step_count && s->idle_counts; i++) {
        struct pilot_step *step = &s->memory->steps[s->at[i]];

        if (!step->idle)
            continue;
        step->idle = false;
        step->idle = !fails_without(x, 0, 0);
    }
}

void explore_shrink(struct explore *x)
{
    // Those who stood may be all that matters; if not, what happened around them may be.
    static const uint32_t around[] = {0, 30, 300, UINT32_MAX};
    struct explore_shared *s = x->shared;

    for (uint32_t i = 0; i < sizeof around / sizeof *around && !s->reproduced; i++)
        s->reproduced = take_steps(x, around[i]) && fails_without(x, 0, 0);
    if (s->reproduced)
        explore_found(x);
    for (uint32_t chunk = s->step_count / 2; s->reproduced && chunk > 0; chunk = chunk / 2) {
        bool again = true;

        while (again) {
            again = false;
            for (uint32_t from = 0; from < s->step_count;) {
                if (fails_without(x, from, chunk))
                    again = chunk == 1;
                else
                    from += chunk;
            }
        }
    }
    if (s->reproduced)
        shorten(x);
    else
        s->step_count = 0;
    describe(x);
}
