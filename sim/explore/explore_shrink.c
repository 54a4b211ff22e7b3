// SPDX-License-Identifier: Apache-2.0
// From a failing execution to the few steps of a pinned order that make it fail again.
//
// Wherever another processor went on, two steps say so: the access that the one made last, and the one that the
// other made first. All of them together leave no order open. Then steps are taken away, many at once and
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

// How often the actor came to the same place since its step before, this time included.
static uint32_t count_since(const struct pilot_memory *m, uint32_t at, uint32_t since)
{
    uint32_t count = 0;

    for (uint32_t i = since; i <= at; i++)
        count += m->steps[i].actor == m->steps[at].actor && m->steps[i].pc == m->steps[at].pc;
    return count;
}

// The accesses `at` (in order) as steps.
static void steps_at(const struct explore *x, const uint32_t *at, uint32_t count, struct schedule_step *out)
{
    const struct pilot_memory *m = x->shared->memory;
    uint32_t since[EXPLORE_ACTORS_MAX] = {0};

    for (uint32_t i = 0; i < count; i++) {
        const struct pilot_step *from = &m->steps[at[i]];

        out[i] = (struct schedule_step){.cpu = from->actor,
                                        .access = from->access,
                                        .offset = from->pc - x->machine->image->map.text_base,
                                        .count = count_since(m, at[i], since[from->actor])};
        since[from->actor] = at[i] + 1;
    }
}

static bool add_step(struct explore_shared *s, uint32_t at)
{
    if (s->step_count && s->at[s->step_count - 1] == at) // It came for one access only.
        return true;
    if (s->step_count == SCHEDULE_STEPS_MAX)
        return false;
    s->at[s->step_count++] = at;
    return true;
}

void explore_steps_of(struct explore *x)
{
    struct explore_shared *s = x->shared;
    const struct pilot_memory *m = s->memory;

    s->step_count = 0;
    for (uint32_t i = 1; i < m->step_count; i++)
        if (m->steps[i].actor != m->steps[i - 1].actor && (!add_step(s, i - 1) || !add_step(s, i))) {
            s->step_count = 0; // Too many to write down.
            return;
        }
}

// --- Fewer. ---

static bool fails_with(struct explore *x)
{
    struct explore_shared *s = x->shared;

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
    steps_at(x, at, s->trial_count, s->trial);
    if (!fails_with(x))
        return false;
    memcpy(s->at, at, s->trial_count * sizeof *at);
    s->step_count = s->trial_count;
    return true;
}

static void describe(struct explore *x)
{
    struct explore_shared *s = x->shared;

    steps_at(x, s->at, s->step_count, s->trial);
    for (uint32_t i = 0; i < s->step_count; i++)
        snprintf(s->lines[i], sizeof s->lines[i], "cpu%u +%" PRIx64 " x%u", s->trial[i].cpu, s->trial[i].offset,
                 s->trial[i].count);
}

void explore_shrink(struct explore *x)
{
    struct explore_shared *s = x->shared;

    if (!s->step_count)
        return;
    s->reproduced = fails_without(x, 0, 0);
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
    describe(x);
}
