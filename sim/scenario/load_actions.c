// SPDX-License-Identifier: Apache-2.0
// vmm: what the user-space VMM does when. The list of actions is hv/vmm/actions.def.
#include "sim/scenario/load.h"
#include "sim/scenario/quantity.h"
#include <stdlib.h>
#include <string.h>

struct action_row {
    const char *word, *args;
};
static const struct action_row rows[] = {
#define ACTION(id, word, args, about) {word, args},
#include "hv/vmm/actions.def"
#undef ACTION
};
enum { ROWS = sizeof rows / sizeof *rows };

// Position of `name` in "gsi,level?" (0..), or -1. *optional: it may be left out.
static int position(const char *args, const char *name, bool *optional)
{
    size_t length = strlen(name);

    for (int at = 0; *args; at++) {
        size_t span = strcspn(args, ",");

        *optional = span > 0 && args[span - 1] == '?';
        if (span - *optional == length && strncmp(args, name, length) == 0)
            return at;
        args += span + (args[span] == ',');
    }
    return -1;
}

static int load_args(struct loader *l, const struct raw_action *raw, const struct action_row *row,
                     const char *base, struct vmm_action *to)
{
    const char *name;
    char field[128];

    for (unsigned i = 0; (name = schema_action_arg(i)); i++) {
        bool optional;
        int at = position(row->args, name, &optional);

        snprintf(field, sizeof field, "%s.%s", base, name);
        if (at < 0) {
            if (raw->args[i])
                return load_error(l, field, "`%s` has no such parameter; it has: %s", row->word,
                                  *row->args ? row->args : "none");
            continue;
        }
        if (!raw->args[i]) {
            if (!optional)
                return load_error(l, base, "`%s` needs `%s`", row->word, name);
            continue;
        }
        bool bytes = strcmp(name, "size") == 0;

        if (bytes ? load_bytes(l, field, raw->args[i], 0, SCENARIO_MEMORY_MAX, &to->args[at])
                  : load_number(l, field, raw->args[i], 0, UINT64_MAX, &to->args[at]))
            return -1;
    }
    return 0;
}

static int load_action(struct loader *l, const struct scenario *s, const struct raw_action *raw,
                       const char *base, struct vmm_action *to)
{
    const char *words[ROWS], *names[SCENARIO_VMS_MAX];
    char field[128];
    size_t op = 0, vm = 0;

    for (size_t i = 0; i < ROWS; i++)
        words[i] = rows[i].word;
    for (size_t i = 0; i < s->vm_count; i++)
        names[i] = s->vms[i].name;
    if (!raw->at || !raw->op)
        return load_error(l, base, "an action is { at: TIME, do: WORD, ... }");
    snprintf(field, sizeof field, "%s.at", base);
    if (load_time(l, field, raw->at, &to->at_ns))
        return -1;
    snprintf(field, sizeof field, "%s.do", base);
    if (load_word(l, field, raw->op, words, ROWS, &op))
        return -1;
    snprintf(field, sizeof field, "%s.vm", base);
    if (load_word(l, field, raw->vm, names, s->vm_count, &vm))
        return -1;
    to->op = (uint32_t)op;
    to->vm = (uint32_t)vm;
    to->line = yaml_line(&l->y, base);
    return load_args(l, raw, &rows[op], base, to);
}

static int by_time(const void *a, const void *b)
{
    const struct vmm_action *x = a, *y = b;

    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

int load_actions(struct loader *l, struct scenario *s)
{
    char base[32];

    s->actions = load_array(l->raw->vmm_count, sizeof *s->actions);
    for (unsigned i = 0; i < l->raw->vmm_count; i++) {
        snprintf(base, sizeof base, "vmm[%u]", i);
        if (load_action(l, s, &l->raw->vmm[i], base, &s->actions[s->action_count++]))
            return -1;
    }
    qsort(s->actions, s->action_count, sizeof *s->actions, by_time);
    return 0;
}
