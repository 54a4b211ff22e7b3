// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/schedule_file.h"

#include "models/check/words.h"
#include "sim/scenario/input.h"
#include "sim/scenario/load.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEDULE_FILE_BYTES_MAX (1u << 20)
#define BLANKS " \t\r"

static const char *const keys[] = {
#define KEY(name) #name,
    SCHEDULE_FILE_KEYS(KEY)
#undef KEY
};
enum { KEYS = sizeof keys / sizeof *keys };

static char **value_of(struct schedule_file *f, size_t key, uint32_t **line)
{
    char **const values[KEYS] = {
#define KEY(name) &f->name,
        SCHEDULE_FILE_KEYS(KEY)
#undef KEY
    };
    uint32_t *const lines[KEYS] = {
#define KEY(name) &f->name##_line,
        SCHEDULE_FILE_KEYS(KEY)
#undef KEY
    };

    *line = lines[key];
    return values[key];
}

// --- Reading. ---

// The whole file, ended by a zero byte; NULL with `e`.
static char *read_text(const char *path, struct user_error *e)
{
    const char *why;
    int fd = input_open(path, &why);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "rb");

    if (!file) {
        user_error_at(e, path, 0, NULL, "%s; name a file of steps, such as `hvsim explore -o` writes",
                      fd < 0 ? why : strerror(errno));
        return NULL;
    }
    char *text = load_array(SCHEDULE_FILE_BYTES_MAX + 1, 1);
    size_t size = 0, got;

    while ((got = fread(text + size, 1, SCHEDULE_FILE_BYTES_MAX - size, file)) > 0)
        size += got;
    bool failed = ferror(file);

    fclose(file);
    text[size] = 0;
    if (failed)
        user_error_at(e, path, 0, NULL, "cannot be read");
    else if (size == SCHEDULE_FILE_BYTES_MAX)
        user_error_at(e, path, 0, NULL, "is larger than 1 MiB, which no order of %u steps is",
                      SCENARIO_STEPS_MAX);
    else if (memchr(text, 0, size))
        user_error_at(e, path, 0, NULL, "is not text (it has zero bytes); expected steps, one a line");
    else
        return text;
    free(text);
    return NULL;
}

// Takes away blanks around it and a remark behind it.
static char *trim(char *line)
{
    line += strspn(line, BLANKS);
    for (char *at = line; (at = strchr(at, '#')) != NULL; at++)
        if (at == line || strchr(BLANKS, at[-1]))
            *at-- = 0;
    for (size_t n = strlen(line); n && strchr(BLANKS, line[n - 1]);)
        line[--n] = 0;
    return line;
}

static int add_step(struct schedule_file *f, const char *text, uint32_t line, struct user_error *e)
{
    if (f->step_count == SCENARIO_STEPS_MAX)
        return user_error_at(e, f->path, line, NULL, "more than %u steps", SCENARIO_STEPS_MAX);
    f->steps[f->step_count++] = (struct scenario_step){load_copy(text), line};
    return 0;
}

// "key: value"; `from` may be written so, too.
static int add_value(struct schedule_file *f, char *text, size_t key_bytes, uint32_t line,
                     struct user_error *e)
{
    char *value = text + key_bytes + 1;
    uint32_t *at;
    size_t key = 0;

    text[key_bytes] = 0;
    value += strspn(value, BLANKS);
    while (key < KEYS && strcmp(text, keys[key]) != 0)
        key++;
    if (strcmp(text, "from") == 0) {
        char step[200];

        snprintf(step, sizeof step, "from %s", value);
        return add_step(f, step, line, e);
    }
    if (key == KEYS)
        return user_error_at(
            e, f->path, line, text,
            "is not known here; expected scenario, variant, memory, validate, from, or a step such as "
            "`cpu0 hv/mmu/tdp.c:tdp_map#2 write`");
    char **to = value_of(f, key, &at);

    if (*to || !*value)
        return user_error_at(e, f->path, line, text, *to ? "is said twice; once is enough" : "has no value");
    *to = load_copy(value);
    *at = line;
    return 0;
}

static int add_line(struct schedule_file *f, char *text, uint32_t line, struct user_error *e)
{
    size_t word = strcspn(text, ": \t");

    return text[word] == ':' ? add_value(f, text, word, line, e) : add_step(f, text, line, e);
}

static int check_validate(struct schedule_file *f, struct user_error *e)
{
    const char *unknown;
    size_t bytes;

    f->validators = check_parse(f->validate, &unknown, &bytes);
    if (f->validators)
        return 0;
    return user_error_at(e, f->path, f->validate_line, "validate",
                         "`%.*s` is no validator; expected a list of %s", (int)bytes, unknown, check_words());
}

static int check(struct schedule_file *f, struct user_error *e)
{
    static const char *const models[] = {"sc", "tso", "c11"};

    for (size_t i = 0; f->memory; i++) {
        if (i == sizeof models / sizeof *models)
            return user_error_at(e, f->path, f->memory_line, "memory",
                                 "`%s` is no memory model; expected sc, tso or c11", f->memory);
        if (strcmp(models[i], f->memory) == 0)
            break;
    }
    if (f->validate && check_validate(f, e))
        return -1;
    if (!f->step_count)
        return user_error_at(e, f->path, 0, NULL,
                             "has no step; expected lines such as `cpu0 hv/mmu/tdp.c:tdp_map#2 write`");
    return 0;
}

struct schedule_file *schedule_file_load(const char *path, struct user_error *e)
{
    char *text = read_text(path, e), *at = text, *line;
    struct schedule_file *f = text ? load_array(1, sizeof *f) : NULL;
    int result = 0;

    if (!f)
        return NULL;
    f->path = load_copy(path);
    f->steps = load_array(SCENARIO_STEPS_MAX, sizeof *f->steps);
    for (uint32_t number = 1; result == 0 && at; number++) {
        char *end = strchr(at, '\n');

        if (end)
            *end = 0;
        line = trim(at);
        if (*line)
            result = add_line(f, line, number, e);
        at = end ? end + 1 : NULL;
    }
    if (result == 0)
        result = check(f, e);
    free(text);
    if (result == 0)
        return f;
    schedule_file_free(f);
    return NULL;
}

void schedule_file_free(struct schedule_file *f)
{
    if (!f)
        return;
    for (uint32_t i = 0; i < f->step_count; i++)
        free(f->steps[i].text);
    free(f->steps);
#define KEY(name) free(f->name);
    SCHEDULE_FILE_KEYS(KEY)
#undef KEY
    free(f->path);
    free(f);
}

// --- For which variant. ---

const struct scenario_variant *schedule_file_variant(const struct schedule_file *f, const struct scenario *s,
                                                     const char *name, struct user_error *e)
{
    const char *wanted = f->variant              ? f->variant
                         : name                  ? name
                         : s->variant_count == 1 ? s->variants[0].name
                                                 : NULL;
    const struct scenario_variant *v = wanted ? scenario_variant_find(s, wanted) : NULL;

    if (f->scenario && strcmp(f->scenario, s->name) != 0)
        user_error_at(e, f->path, f->scenario_line, "scenario", "this order is of `%s`, and %s is `%s`",
                      f->scenario, s->path, s->name);
    else if (f->variant && name && strcmp(f->variant, name) != 0)
        user_error_at(
            e, f->path, f->variant_line, "variant",
            "this order is of variant `%s`, and --variant says `%s`; leave the option or the line out",
            f->variant, name);
    else if (!wanted)
        user_error_at(
            e, f->path, 0, NULL,
            "does not say for which variant of %s it is; name one with --variant, or here: `variant: %s`",
            s->path, s->variants[0].name);
    else if (!v)
        user_error_at(e, f->variant ? f->path : s->path, f->variant ? f->variant_line : 0, "variant",
                      "%s has no variant `%s`; its first is `%s`", s->path, wanted, s->variants[0].name);
    else
        return v;
    return NULL;
}

void schedule_file_apply(const struct schedule_file *f, struct scenario *s, const char *name)
{
    struct scenario_variant *v = NULL;

    for (uint32_t i = 0; i < s->variant_count; i++)
        if (strcmp(s->variants[i].name, name) == 0)
            v = &s->variants[i];
    if (!v)
        return;
    for (uint32_t i = 0; i < v->step_count; i++)
        free(v->steps[i].text);
    free(v->steps);
    free(v->schedule_path);
    v->schedule_path = load_copy(f->path);
    v->steps = load_array(f->step_count, sizeof *v->steps);
    for (v->step_count = 0; v->step_count < f->step_count; v->step_count++)
        v->steps[v->step_count] =
            (struct scenario_step){load_copy(f->steps[v->step_count].text), f->steps[v->step_count].line};
}
