// SPDX-License-Identifier: Apache-2.0
// sweep and show: a scenario run at several values of its fields, and the table that is printed of it.
//
// A sweep names fields by their paths. At each point its values are written into the file's text in place of
// the ones that stand there, and the result is loaded as if it had been written so: whatever a field may be,
// it can be swept.
#include "sim/scenario/load.h"
#include "sim/scenario/quantity.h"
#include <stdlib.h>
#include <string.h>

static int load_axis(struct loader *l, struct scenario *s, size_t at)
{
    const struct yaml_field *field = &l->y.fields[at], *end = l->y.fields + l->y.field_count;
    const char *path = field->path + strlen("sweep.");
    const struct yaml_field *target = yaml_find(&l->y, path);

    if (s->axis_count == SCENARIO_AXES_MAX)
        return load_error(l, field->path, "more than %u fields are swept", SCENARIO_AXES_MAX);
    if (strncmp(path, "sweep", 5) == 0 || strncmp(path, "expect", 6) == 0 || !target || !target->value)
        return load_error(l, field->path,
                          "there is no value `%s` in this scenario; write its usual value where it belongs",
                          path);
    struct scenario_axis *axis = &s->axes[s->axis_count++];

    *axis = (struct scenario_axis){.path = load_copy(path), .line = field->line};
    axis->values = load_array(SCENARIO_POINTS_MAX, sizeof *axis->values);
    for (const struct yaml_field *v = field + 1; v < end && v->depth > field->depth; v++) {
        if (!v->value || v->depth != field->depth + 1)
            return load_error(l, v->path, "expected a value");
        if (axis->value_count == SCENARIO_POINTS_MAX)
            return load_error(l, field->path, "more than %u values", SCENARIO_POINTS_MAX);
        axis->values[axis->value_count++] = load_copy(v->value);
    }
    if (field->value || axis->value_count == 0)
        return load_error(l, field->path, "expected a list of values such as [1GiB, 2GiB]");
    return 0;
}

int load_axes(struct loader *l, struct scenario *s)
{
    const struct yaml_field *sweep = yaml_find(&l->y, "sweep");

    if (!sweep)
        return 0;
    s->axes = load_array(SCENARIO_AXES_MAX, sizeof *s->axes);
    for (size_t i = (size_t)(sweep - l->y.fields) + 1; i < l->y.field_count && l->y.fields[i].depth > 1; i++)
        if (l->y.fields[i].depth == 2 && load_axis(l, s, i))
            return -1;
    if (s->axis_count == 0)
        return load_error(l, "sweep", "expected fields with lists of values (vms[0].memory: [1GiB, 2GiB])");
    if (scenario_point_count(s) > SCENARIO_POINTS_MAX)
        return load_error(l, "sweep", "has more than %u points", SCENARIO_POINTS_MAX);
    return 0;
}

static bool number_of(const char *text, uint64_t *number)
{
    return quantity_number(text, number) || quantity_bytes(text, number) || quantity_ns(text, number);
}

int load_point(struct loader *l, struct scenario *s, uint32_t point)
{
    s->swept = load_array(s->axis_count, sizeof *s->swept);
    s->swept_count = s->axis_count;
    for (uint32_t a = s->axis_count; a-- > 0;) {
        const struct scenario_axis *axis = &s->axes[a];
        struct scenario_swept *to = &s->swept[a];

        to->path = load_copy(axis->path);
        to->value = load_copy(axis->values[point % axis->value_count]);
        to->is_number = number_of(to->value, &to->number);
        point /= axis->value_count;
        if (yaml_replace(&l->y, yaml_find(&l->y, axis->path), to->value, l->e))
            return -1;
    }
    return 0;
}

uint32_t scenario_point_count(const struct scenario *s)
{
    uint64_t count = 1;

    for (uint32_t a = 0; a < s->axis_count; a++)
        count *= s->axes[a].value_count;
    return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

bool sweep_names(const char *path, const char *value, const char *at)
{
    size_t length = strlen(path);

    return strcmp(value, at) == 0 ||
           (strncmp(path, at, length) == 0 && at[length] == '=' && strcmp(value, at + length + 1) == 0);
}

bool scenario_is_at(const struct scenario *s, const char *at)
{
    for (uint32_t i = 0; i < s->swept_count; i++)
        if (sweep_names(s->swept[i].path, s->swept[i].value, at))
            return true;
    return false;
}

int load_shows(struct loader *l, struct scenario *s)
{
    char field[32];

    if (l->raw->show_count > SCENARIO_SHOWS_MAX)
        return load_error(l, "show", "more than %u columns", SCENARIO_SHOWS_MAX);
    s->shows = load_array(l->raw->show_count, sizeof *s->shows);
    for (unsigned i = 0; i < l->raw->show_count; i++) {
        struct scenario_show *to = &s->shows[s->show_count++];

        snprintf(field, sizeof field, "show[%u]", i);
        *to = (struct scenario_show){.as = load_copy(l->raw->show[i].as),
                                     .sql = load_copy(l->raw->show[i].sql),
                                     .line = yaml_line(&l->y, field)};
    }
    return 0;
}

void sweep_free(struct scenario *s)
{
    for (uint32_t a = 0; a < s->axis_count; a++) {
        for (uint32_t v = 0; v < s->axes[a].value_count; v++)
            free(s->axes[a].values[v]);
        free(s->axes[a].values);
        free(s->axes[a].path);
    }
    for (uint32_t i = 0; i < s->swept_count; i++) {
        free(s->swept[i].path);
        free(s->swept[i].value);
    }
    for (uint32_t i = 0; i < s->show_count; i++) {
        free(s->shows[i].as);
        free(s->shows[i].sql);
    }
    free(s->axes), free(s->swept), free(s->shows);
}
