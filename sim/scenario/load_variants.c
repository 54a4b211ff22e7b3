// SPDX-License-Identifier: Apache-2.0
// knobs, variants and what is expected of them.
#include "sim/scenario/load.h"
#include "sim/scenario/quantity.h"
#include <stdlib.h>
#include <string.h>

struct knob_row {
    const char *name, *values;
    enum knob_type type;
};
static const struct knob_row rows[] = {
#define KNOB(id, name, type, values, def, about, source) {name, values, type},
#include "hv/knobs.def"
#undef KNOB
};

// Index of `word` in "a|b|c", or -1.
static int word_index(const char *words, const char *word)
{
    size_t length = strlen(word);

    for (int at = 0; *words; at++) {
        size_t span = strcspn(words, "|");

        if (span == length && strncmp(words, word, length) == 0)
            return at;
        words += span + (words[span] == '|');
    }
    return -1;
}

static int knob_value(const struct knob_row *row, const char *text, uint64_t *out)
{
    uint64_t value;
    bool on;

    switch (row->type) {
    case KNOB_ENUM: {
        int at = word_index(row->values, text);

        *out = (uint64_t)(at < 0 ? 0 : at);
        return at < 0 ? -1 : 0;
    }
    case KNOB_BOOL:
        if (!quantity_bool(text, &on))
            return -1;
        *out = on;
        return 0;
    case KNOB_INT:
        if (!quantity_number(text, &value) || value < strtoull(row->values, NULL, 10) ||
            value > strtoull(strstr(row->values, "..") + 2, NULL, 10))
            return -1;
        *out = value;
        return 0;
    }
    return -1;
}

int scenario_knob_parse(const char *name, const char *value, const char *file, unsigned line,
                        struct scenario_knob *out, struct user_error *e)
{
    const char *names[KNOB_COUNT];

    for (uint32_t i = 0; i < KNOB_COUNT; i++) {
        names[i] = rows[i].name;
        if (strcmp(rows[i].name, name) != 0)
            continue;
        out->knob = i;
        if (knob_value(&rows[i], value, &out->value))
            return user_error_at(e, file, line, name, "`%s` is not a value of this knob; expected %s", value,
                                 rows[i].values);
        return 0;
    }
    const char *near = nearest_word(name, names, KNOB_COUNT);

    return user_error_at(e, file, line, name, "unknown knob%s%s%s; `hvsim knobs` lists them",
                         near ? "; did you mean `" : "", near ? near : "", near ? "`" : "");
}

int load_knobs(struct loader *l, const struct raw_knobs *raw, const char *base, struct scenario_knob *knobs,
               uint32_t *count)
{
    char field[200];

    for (unsigned i = 0; raw && i < KNOB_COUNT; i++) {
        if (!raw->v[i])
            continue;
        snprintf(field, sizeof field, "%.100s.%s", base, rows[i].name);
        struct scenario_knob *to = &knobs[(*count)++];

        if (scenario_knob_parse(rows[i].name, raw->v[i], l->y.path, yaml_line(&l->y, field), to, l->e))
            return -1;
    }
    return 0;
}

// An order that a variant does not give is the scenario's.
static int load_schedule(struct loader *l, const struct raw_variant *raw, struct scenario_variant *v)
{
    bool own = raw && raw->schedule;
    char **texts = own ? raw->schedule : l->raw->schedule;
    unsigned count = own ? raw->schedule_count : l->raw->schedule_count;
    char field[160];

    if (count > SCENARIO_STEPS_MAX)
        return load_error(l, "schedule", "more than %u steps", SCENARIO_STEPS_MAX);
    v->steps = load_array(count, sizeof *v->steps);
    for (; v->step_count < count; v->step_count++) {
        if (own)
            snprintf(field, sizeof field, "variants.%.100s.schedule[%u]", v->name, v->step_count);
        else
            snprintf(field, sizeof field, "schedule[%u]", v->step_count);
        v->steps[v->step_count].text = load_copy(texts[v->step_count]);
        v->steps[v->step_count].line = yaml_line(&l->y, field);
    }
    return 0;
}

static int load_variant_hosts(struct loader *l, const struct scenario *s, const struct raw_variant *raw,
                              struct scenario_variant *v)
{
    const char *names[SCENARIO_HOSTS_MAX];
    char field[200];
    size_t at = 0;

    for (uint32_t h = 0; h < s->host_count; h++)
        names[h] = s->hosts[h].name;
    for (unsigned i = 0; raw && i < raw->hosts_count; i++) {
        snprintf(field, sizeof field, "variants.%.100s.hosts[%u].name", v->name, i);
        if (load_word(l, field, raw->hosts[i].name, names, s->host_count, &at))
            return -1;
        snprintf(field, sizeof field, "variants.%.100s.hosts[%u].replace", v->name, i);
        if (load_uarch(l, raw->hosts[i].replace, field, &v->replace[at]))
            return -1;
    }
    return 0;
}

int load_variants(struct loader *l, struct scenario *s)
{
    size_t count = l->names.variant_count ? l->names.variant_count : 1;

    s->variants = load_array(count, sizeof *s->variants);
    for (size_t i = 0; i < count; i++) {
        struct scenario_variant *v = &s->variants[s->variant_count++];
        const struct raw_variant *raw = l->names.variant_count ? l->raw->variants[i] : NULL;
        char base[160];

        v->name = load_copy(l->names.variant_count ? l->names.variants[i] : "default");
        v->about = load_copy(raw ? raw->about : "");
        v->violation = raw && raw->violation ? load_copy(raw->violation) : NULL;
        v->knobs = load_array(2 * KNOB_COUNT, sizeof *v->knobs);
        snprintf(base, sizeof base, "variants.%.100s.knobs", v->name);
        if (load_knobs(l, l->raw->knobs, "knobs", v->knobs, &v->knob_count))
            return -1;
        v->own_count = v->knob_count;
        if (load_knobs(l, raw ? raw->knobs : NULL, base, v->knobs, &v->knob_count) ||
            load_schedule(l, raw, v))
            return -1;
        snprintf(base, sizeof base, "variants.%.100s.uarch", v->name);
        if (load_uarch(l, l->raw->uarch, "uarch", &v->uarch) ||
            load_uarch(l, raw ? raw->uarch : NULL, base, &v->uarch) || load_variant_hosts(l, s, raw, v))
            return -1;
    }
    return 0;
}

// --- Expectations. ---

// Does some axis have what `at` names?
static bool axis_has(const struct scenario *s, const char *at)
{
    for (uint32_t a = 0; a < s->axis_count; a++)
        for (uint32_t v = 0; v < s->axes[a].value_count; v++)
            if (sweep_names(s->axes[a].path, s->axes[a].values[v], at))
                return true;
    return false;
}

struct bounds {
    const char *equals, *at_least, *at_most;
    char **between;
    unsigned between_count;
};

static int load_bounds(struct loader *l, const struct bounds *b, const char *base, struct scenario_expect *x)
{
    int given = (b->equals != NULL) + (b->at_least != NULL) + (b->at_most != NULL) + (b->between != NULL);

    if (given > 1)
        return load_error(l, base, "give one of equals, at_least, at_most, between");
    if (b->between && b->between_count != 2)
        return load_error(l, base, "`between` needs two values: [low, high]");
    x->kind = b->equals     ? EXPECT_EQUALS
              : b->at_least ? EXPECT_AT_LEAST
              : b->at_most  ? EXPECT_AT_MOST
              : b->between  ? EXPECT_BETWEEN
                            : EXPECT_TRUE_VALUE;
    const char *low = b->equals ? b->equals : b->at_least ? b->at_least : b->between ? b->between[0] : NULL;
    const char *high = b->at_most ? b->at_most : b->between ? b->between[1] : NULL;

    x->low = low ? load_copy(low) : NULL;
    x->high = high ? load_copy(high) : NULL;
    return 0;
}

static int check_variant(struct loader *l, const struct scenario *s, const char *field, const char *name)
{
    const char *names[SCENARIO_VARIANTS_MAX];
    size_t at;

    for (uint32_t i = 0; i < s->variant_count; i++)
        names[i] = s->variants[i].name;
    return load_word(l, field, name, names, s->variant_count, &at);
}

static int load_compare(struct loader *l, const struct scenario *s, const struct raw_compare *raw,
                        const char *base, struct scenario_expect *x)
{
    char field[128];
    const char *slash = strchr(raw->ratio, '/');
    struct bounds b = {NULL, raw->at_least, raw->at_most, raw->between, raw->between_count};

    snprintf(field, sizeof field, "%s.compare.ratio", base);
    if (!slash)
        return load_error(l, field, "expected two variants such as before/after, got `%s`", raw->ratio);
    x->sql = load_copy(raw->sql);
    x->numerator = load_copy(raw->ratio);
    x->numerator[slash - raw->ratio] = 0;
    x->denominator = load_copy(slash + 1);
    if (check_variant(l, s, field, x->numerator) || check_variant(l, s, field, x->denominator))
        return -1;
    snprintf(field, sizeof field, "%s.compare", base);
    if (load_bounds(l, &b, field, x))
        return -1;
    if (x->kind == EXPECT_TRUE_VALUE)
        return load_error(l, field, "needs at_least, at_most or between");
    return 0;
}

// Where in a sweep it is judged.
static int load_place(struct loader *l, const struct scenario *s, const struct raw_expect *raw,
                      const char *base, struct scenario_expect *x)
{
    static const char *const words[] = {"sweep"};
    char field[128];
    size_t word;

    snprintf(field, sizeof field, "%s.over", base);
    if (load_word(l, field, raw->over, words, 1, &word))
        return -1;
    x->whole = raw->over != NULL;
    x->at = raw->at ? load_copy(raw->at) : NULL;
    if ((raw->over || raw->at) && s->axis_count == 0)
        return load_error(l, base, "`at` and `over` are for scenarios with a `sweep`");
    if (x->whole && (raw->at || raw->variant || raw->compare))
        return load_error(l, field,
                          "goes with neither `at`, `variant` nor `compare`: the query sees every run");
    snprintf(field, sizeof field, "%s.at", base);
    if (raw->at && !axis_has(s, raw->at))
        return load_error(l, field, "`%s` is no value of the sweep; expected VALUE or PATH=VALUE", raw->at);
    return 0;
}

static int load_expect(struct loader *l, const struct scenario *s, const struct raw_expect *raw,
                       const char *base, struct scenario_expect *x)
{
    char field[128];
    struct bounds b = {raw->equals, raw->at_least, raw->at_most, raw->between, raw->between_count};

    x->about = load_copy(raw->about);
    x->line = yaml_line(&l->y, base);
    if (load_place(l, s, raw, base, x))
        return -1;
    if (!raw->sql == !raw->compare)
        return load_error(l, base, "an expectation has either `sql` or `compare`");
    if (raw->compare)
        return load_compare(l, s, raw->compare, base, x);
    x->sql = load_copy(raw->sql);
    x->variant = raw->variant ? load_copy(raw->variant) : NULL;
    snprintf(field, sizeof field, "%s.variant", base);
    return check_variant(l, s, field, raw->variant) || load_bounds(l, &b, base, x) ? -1 : 0;
}

int load_expects(struct loader *l, struct scenario *s)
{
    char base[32];

    s->expects = load_array(l->raw->expect_count, sizeof *s->expects);
    for (unsigned i = 0; i < l->raw->expect_count; i++) {
        snprintf(base, sizeof base, "expect[%u]", i);
        if (load_expect(l, s, &l->raw->expect[i], base, &s->expects[s->expect_count++]))
            return -1;
    }
    return 0;
}
