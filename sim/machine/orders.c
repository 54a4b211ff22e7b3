// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/orders.h"

#include "models/cpu/native/native.h"
#include "sim/scenario/quantity.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct orders {
    struct schedule *of[SCENARIO_VARIANTS_MAX];
    struct schedule_step *steps[SCENARIO_VARIANTS_MAX];
};

static int fault(const struct scenario *s, const struct scenario_variant *v, const struct scenario_step *step,
                 const char *error, struct user_error *e)
{
    return user_error_at(e, v->schedule_path ? v->schedule_path : s->path, step->line, "schedule", "`%s`: %s",
                         step->text, error);
}

// A line `from TIME`, before the steps. False: the line is a step.
static bool read_from(const char *text, uint64_t *ps, const char **why)
{
    uint64_t ns;

    *why = NULL;
    if (strncmp(text, "from", 4) != 0 || !strchr(" \t", text[4]))
        return false;
    text += 4;
    text += strspn(text, " \t");
    if (!quantity_ns(text, &ns) || ns > UINT64_MAX / 1000)
        *why = "expected a time, such as `from 2ms`";
    else
        *ps = ns * 1000;
    return true;
}

static int create_one(const struct scenario *s, const struct machine *machine, uint32_t variant,
                      const struct places *places, struct orders *o, struct user_error *e)
{
    const struct scenario_variant *v = &s->variants[variant];
    const struct scenario_step *lines = v->steps;
    uint32_t count = v->step_count, bad;
    uint64_t from_ps = 0;
    const char *why;
    char error[600];

    if (count && read_from(lines->text, &from_ps, &why)) {
        if (why)
            return fault(s, v, lines, why, e);
        lines++, count--;
    }
    if (count > SCHEDULE_STEPS_MAX)
        return fault(s, v, &lines[SCHEDULE_STEPS_MAX], "is one step too many; the most is 255", e);
    struct schedule_step *steps = calloc(count + 1, sizeof *steps);

    if (!steps)
        abort();
    o->steps[variant] = steps;
    for (uint32_t i = 0; i < count; i++)
        if (read_from(lines[i].text, &from_ps, &why))
            return fault(s, v, &lines[i], "stands once, before all steps", e);
        else if (!schedule_parse(lines[i].text, &steps[i], error, sizeof error))
            return fault(s, v, &lines[i], error, e);
    o->of[variant] = schedule_create(steps, count, places, machine, &bad, error, sizeof error);
    if (!o->of[variant])
        return fault(s, v, &lines[bad], error, e);
    schedule_from(o->of[variant], from_ps);
    return 0;
}

int orders_create(const struct scenario *s, const struct machine *machine, struct orders **out,
                  struct user_error *e)
{
    struct places *places = NULL;
    struct orders *o = NULL;
    char error[600];
    int result = 0;

    *out = NULL;
    for (uint32_t i = 0; i < s->variant_count && result == 0; i++) {
        if (!s->variants[i].step_count)
            continue;
        if (!o) {
            o = calloc(1, sizeof *o);
            places = places_open(machine->image, error, sizeof error);
            if (!o)
                abort();
            if (!places) {
                result = user_error_at(e, s->path, s->variants[i].steps[0].line, "schedule", "%s", error);
                break;
            }
        }
        result = create_one(s, machine, i, places, o, e);
    }
    places_close(places);
    if (result) {
        orders_destroy(o);
        return result;
    }
    *out = o;
    return 0;
}

void orders_destroy(struct orders *o)
{
    if (!o)
        return;
    for (uint32_t i = 0; i < SCENARIO_VARIANTS_MAX; i++) {
        schedule_destroy(o->of[i]);
        free(o->steps[i]);
    }
    free(o);
}

struct schedule *orders_of(const struct orders *o, const struct scenario *s, const struct scenario_variant *v)
{
    assert(v >= s->variants && v < s->variants + s->variant_count);
    return o ? o->of[v - s->variants] : NULL;
}
