// SPDX-License-Identifier: Apache-2.0
// Gives a scenario file's text meaning: units, ranges, references, defaults.
#include "sim/scenario/scenario.h"
#include "models/check/words.h"
#include "sim/explore/strategy.h"
#include "sim/scenario/load.h"
#include "sim/scenario/quantity.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int load_error(struct loader *l, const char *field, const char *format, ...)
{
    char text[700];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return user_error_at(l->e, l->y.path, yaml_line(&l->y, field), field, "%s", text);
}

char *load_copy(const char *text)
{
    char *copy = strdup(text ? text : "");

    if (!copy)
        abort();
    return copy;
}

void *load_array(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);

    if (!p)
        abort();
    return p;
}

int load_number(struct loader *l, const char *field, const char *text, uint64_t min, uint64_t max,
                uint64_t *out)
{
    uint64_t value;

    if (!text)
        return 0;
    if (!quantity_number(text, &value))
        return load_error(l, field, "expected a number such as 4 or 0x60, got `%s`", text);
    if (value < min || value > max)
        return load_error(l, field, "%s is out of range; expected %llu to %llu", text,
                          (unsigned long long)min, (unsigned long long)max);
    *out = value;
    return 0;
}

int load_u32(struct loader *l, const char *field, const char *text, uint64_t min, uint64_t max, uint32_t *out)
{
    uint64_t value = *out;

    if (load_number(l, field, text, min, max, &value))
        return -1;
    *out = (uint32_t)value;
    return 0;
}

int load_bytes(struct loader *l, const char *field, const char *text, uint64_t min, uint64_t max,
               uint64_t *out)
{
    uint64_t value;

    if (!text)
        return 0;
    if (!quantity_bytes(text, &value))
        return load_error(
            l, field, "expected bytes with a unit (B, KiB, MiB, GiB, TiB) such as 512MiB, got `%s`", text);
    if (value < min)
        return load_error(l, field, "%s is too small; expected at least %llu bytes", text,
                          (unsigned long long)min);
    if (value > max)
        return load_error(l, field, "%s is over the limit of %llu MiB", text,
                          (unsigned long long)(max >> 20));
    *out = value;
    return 0;
}

int load_time(struct loader *l, const char *field, const char *text, uint64_t *out_ns)
{
    if (text && !quantity_ns(text, out_ns))
        return load_error(l, field, "expected a time with a unit (ns, us, ms, s) such as 1.5ms, got `%s`",
                          text);
    return 0;
}

int load_rate(struct loader *l, const char *field, const char *text, uint64_t *out)
{
    if (text && !quantity_rate(text, out))
        return load_error(l, field,
                          "expected a rate with a unit (kbit/s, Mbit/s, Gbit/s) such as 10Gbit/s, got `%s`",
                          text);
    return 0;
}

int load_flag(struct loader *l, const char *field, const char *text, uint32_t flag, uint32_t *flags)
{
    bool on;

    if (!text)
        return 0;
    if (!quantity_bool(text, &on))
        return load_error(l, field, "expected on or off, got `%s`", text);
    *flags = on ? *flags | flag : *flags & ~flag;
    return 0;
}

int load_word(struct loader *l, const char *field, const char *text, const char *const *words, size_t count,
              size_t *out)
{
    char all[300] = "";

    if (!text)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return 0;
        }
        if (strlen(all) < 250)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", words[i]);
    }
    const char *near = nearest_word(text, words, count);

    if (near)
        return load_error(l, field, "`%s` is not known; did you mean `%s`? (one of: %s)", text, near, all);
    return load_error(l, field, "`%s` is not known; expected one of: %s", text, all);
}

static int load_validate(struct loader *l, struct scenario *s)
{
    const char *text = l->raw->run->validate, *unknown;
    size_t bytes;

    if (!text)
        return 0;
    s->validate = check_parse(text, &unknown, &bytes);
    if (s->validate)
        return 0;
    return load_error(l, "run.validate", "`%.*s` is no validator; expected a list of %s", (int)bytes, unknown,
                      check_words());
}

static int load_machine(struct loader *l, struct scenario *s)
{
    static const char *const arches[] = {"x86"};
    const struct raw_machine *m = l->raw->machine;
    size_t arch, memory = MEMORY_TSO;

    if (m && load_word(l, "machine.arch", m->arch, arches, 1, &arch))
        return -1;
    s->uarch = load_copy(m && m->uarch ? m->uarch : "skylake-sp");
    s->uarch_line = yaml_line(&l->y, "machine.uarch");
    if (load_uarch_name(l, "machine.uarch", s->uarch))
        return -1;
    if (l->raw->run &&
        (load_time(l, "run.until", l->raw->run->until, &s->until_ns) ||
         load_flag(l, "run.check_tlb", l->raw->run->check_tlb, 1, &s->check_tlb) ||
         load_word(l, "run.memory", l->raw->run->memory, memory_kind_names, MEMORY_KIND_COUNT, &memory) ||
         load_validate(l, s)))
        return -1;
    s->memory = (enum memory_kind)memory;
    return 0;
}

static int load_explore(struct loader *l, struct scenario *s)
{
    const struct raw_explore *x = l->raw->explore;
    const char *names[STRATEGY_COUNT];
    size_t strategy = STRATEGY_PCT;

    for (unsigned i = 0; i < STRATEGY_COUNT; i++)
        names[i] = strategy_name((enum strategy_kind)i);
    s->explore = (struct scenario_explore){.strategy = STRATEGY_PCT, .depth = 3, .budget = 10000};
    if (!x)
        return 0;
    if (load_time(l, "explore.from", x->from, &s->explore.from_ns) ||
        load_time(l, "explore.until", x->until, &s->explore.until_ns) ||
        (x->strategy && load_word(l, "explore.strategy", x->strategy, names, STRATEGY_COUNT, &strategy)) ||
        load_number(l, "explore.depth", x->depth, 1, STRATEGY_DEPTH_MAX, &s->explore.depth) ||
        load_number(l, "explore.budget", x->budget, 1, UINT64_MAX, &s->explore.budget))
        return -1;
    s->explore.strategy = (uint32_t)strategy;
    return 0;
}

static int load_recorded(struct loader *l, struct scenario *s)
{
    s->recorded = load_array(l->raw->recorded_count, sizeof *s->recorded);
    for (unsigned i = 0; i < l->raw->recorded_count; i++) {
        const struct raw_recorded *r = &l->raw->recorded[i];
        struct scenario_recorded *to = &s->recorded[s->recorded_count++];
        char field[64];

        to->reason = load_copy(r->reason);
        snprintf(field, sizeof field, "recorded[%u].count", i);
        if (load_number(l, field, r->count, 0, UINT64_MAX, &to->count))
            return -1;
        snprintf(field, sizeof field, "recorded[%u].p50_ns", i);
        if (load_number(l, field, r->p50_ns, 0, UINT64_MAX, &to->p50_ns))
            return -1;
        snprintf(field, sizeof field, "recorded[%u].p99_ns", i);
        if (load_number(l, field, r->p99_ns, 0, UINT64_MAX, &to->p99_ns))
            return -1;
    }
    return 0;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return load_copy(".");
    char *folder = load_copy(path);

    folder[slash == path ? 1 : slash - path] = 0;
    return folder;
}

static int load_all(struct loader *l, struct scenario *s)
{
    s->name = load_copy(l->raw->scenario);
    s->about = load_copy(l->raw->about);
    s->source = load_copy(l->raw->source);
    if (!*s->name || strlen(s->name) > 100)
        return load_error(l, "scenario", "expected a short name");
    if (l->raw->vms_count == 0)
        return load_error(l, "vms", "a scenario needs at least one VM");
    if (load_machine(l, s) || load_hosts(l, s) || load_vms(l, s) || load_actions(l, s) ||
        load_variants(l, s) || load_shows(l, s) || load_expects(l, s))
        return -1;
    return load_explore(l, s) || load_recorded(l, s) ? -1 : 0;
}

// The name in "vms[0].vcpus[1].args.NAME", or NULL.
static const char *guest_arg_of(const char *path)
{
    unsigned vm, vcpu;
    int length = 0;

    sscanf(path, "vms[%u].vcpus[%u].args.%n", &vm, &vcpu, &length);
    return length && !strpbrk(path + length, ".[") ? path + length : NULL;
}

static int load_names(struct loader *l)
{
    struct schema_names *n = &l->names;

    n->variant_count = yaml_keys(&l->y, "variants", n->variants, SCENARIO_VARIANTS_MAX + 1);
    if (n->variant_count > SCENARIO_VARIANTS_MAX)
        return load_error(l, "variants", "more than %u of them", SCENARIO_VARIANTS_MAX);
    for (size_t i = 0; i < l->y.field_count; i++) {
        const char *name = guest_arg_of(l->y.fields[i].path);
        size_t at = 0;

        while (name && at < n->arg_count && strcmp(n->args[at], name) != 0)
            at++;
        if (!name || at < n->arg_count)
            continue;
        if (at == SCHEMA_GUEST_ARGS)
            return load_error(l, l->y.fields[i].path, "more than %u names of arguments in a file",
                              SCHEMA_GUEST_ARGS);
        n->args[n->arg_count++] = name;
    }
    return 0;
}

static void free_vcpu(struct scenario_vcpu *v)
{
    for (uint32_t i = 0; i < v->arg_count; i++) {
        free(v->args[i].name);
        free(v->args[i].value);
    }
    free(v->args);
    free(v->stream);
    free(v->native);
}

// Loads what the file's text says by now. -1 with the loader's error.
static int load_said(struct loader *l, struct scenario *s)
{
    struct schema *schema = load_array(1, sizeof *schema);
    int result = -1;

    if (!load_names(l)) {
        void *raw;

        schema_make(schema, &l->names);
        if (!yaml_load(&l->y, &schema->root, &raw, l->e)) {
            l->raw = raw;
            result = load_all(l, s);
            cyaml_free(yaml_config(), &schema->root, raw, 0);
        }
    }
    free(schema);
    return result;
}

// The scenario of an opened file, which is closed; `point`: at that point of its sweep, NULL: as written.
static struct scenario *load_opened(struct loader *l, const uint32_t *point)
{
    struct scenario *s = load_array(1, sizeof *s);

    s->path = load_copy(l->y.path);
    s->folder = folder_of(l->y.path);
    if (load_axes(l, s) || (point && load_point(l, s, *point)) || load_said(l, s)) {
        scenario_free(s);
        s = NULL;
    }
    yaml_close(&l->y);
    return s;
}

struct scenario *scenario_load(const char *path, struct user_error *e)
{
    struct loader l = {.e = e};

    return yaml_open(&l.y, path, e) ? NULL : load_opened(&l, NULL);
}

struct scenario *scenario_load_point(const char *path, uint32_t point, struct user_error *e)
{
    struct loader l = {.e = e};

    return yaml_open(&l.y, path, e) ? NULL : load_opened(&l, &point);
}

struct scenario *scenario_load_text(const char *path, const void *text, size_t bytes, struct user_error *e)
{
    struct loader l = {.e = e};

    return yaml_open_text(&l.y, path, text, bytes, e) ? NULL : load_opened(&l, NULL);
}

void scenario_free(struct scenario *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->host_count; i++) {
        free(s->hosts[i].name);
        free(s->hosts[i].knobs);
        free(s->hosts[i].uarch);
        free(s->hosts[i].replace.rows);
    }
    for (uint32_t i = 0; i < s->vm_count; i++) {
        for (uint32_t v = 0; v < s->vms[i].vcpu_count; v++)
            free_vcpu(&s->vms[i].vcpus[v]);
        free(s->vms[i].vcpus);
        program_free(s->vms[i].program);
        free(s->vms[i].devices);
        free(s->vms[i].slots);
        free(s->vms[i].name);
    }
    for (uint32_t i = 0; i < s->variant_count; i++) {
        free(s->variants[i].name);
        free(s->variants[i].about);
        free(s->variants[i].violation);
        free(s->variants[i].knobs);
        free(s->variants[i].uarch.rows);
        for (uint32_t h = 0; h < SCENARIO_HOSTS_MAX; h++)
            free(s->variants[i].replace[h].rows);
        for (uint32_t step = 0; step < s->variants[i].step_count; step++)
            free(s->variants[i].steps[step].text);
        free(s->variants[i].steps);
        free(s->variants[i].schedule_path);
    }
    for (uint32_t i = 0; i < s->expect_count; i++) {
        struct scenario_expect *x = &s->expects[i];

        free(x->about), free(x->variant), free(x->at), free(x->sql), free(x->low), free(x->high);
        free(x->numerator), free(x->denominator);
    }
    for (uint32_t i = 0; i < s->recorded_count; i++)
        free(s->recorded[i].reason);
    sweep_free(s);
    free(s->hosts), free(s->vms), free(s->actions), free(s->variants), free(s->expects), free(s->recorded);
    free(s->path), free(s->folder), free(s->name), free(s->about), free(s->source), free(s->uarch);
    free(s);
}

const struct scenario_variant *scenario_variant_find(const struct scenario *s, const char *name)
{
    for (uint32_t i = 0; i < s->variant_count; i++)
        if (strcmp(s->variants[i].name, name) == 0)
            return &s->variants[i];
    return NULL;
}
