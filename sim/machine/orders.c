// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/orders.h"

#include "models/cpu/native/native.h"
#include <assert.h>
#include <stdlib.h>

struct orders {
    struct schedule *of[SCENARIO_VARIANTS_MAX];
    struct schedule_step *steps[SCENARIO_VARIANTS_MAX];
};

static int fault(const struct scenario *s, const struct scenario_step *step, const char *error,
                 struct user_error *e)
{
    return user_error_at(e, s->path, step->line, "schedule", "`%s`: %s", step->text, error);
}

static int create_one(const struct scenario *s, const struct machine *machine, uint32_t variant,
                      const struct places *places, struct orders *o, struct user_error *e)
{
    const struct scenario_variant *v = &s->variants[variant];
    struct schedule_step *steps = calloc(v->step_count, sizeof *steps);
    char error[600];
    uint32_t bad;

    if (!steps)
        abort();
    o->steps[variant] = steps;
    for (uint32_t i = 0; i < v->step_count; i++)
        if (!schedule_parse(v->steps[i].text, &steps[i], error, sizeof error))
            return fault(s, &v->steps[i], error, e);
    o->of[variant] = schedule_create(steps, v->step_count, places, machine, &bad, error, sizeof error);
    return o->of[variant] ? 0 : fault(s, &v->steps[bad], error, e);
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
