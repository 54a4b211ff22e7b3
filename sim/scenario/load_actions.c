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
#define DOWNTIME_LIMIT_NS 300000000ull // QEMU's default.
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

static int load_host_name(struct loader *l, const struct scenario *s, const char *field, const char *text,
                          uint64_t *to)
{
    const char *hosts[SCENARIO_HOSTS_MAX];
    size_t word = 0;

    for (uint32_t i = 0; i < s->host_count; i++)
        hosts[i] = s->hosts[i].name;
    if (load_word(l, field, text, hosts, s->host_count, &word))
        return -1;
    *to = word;
    return 0;
}

// Choices are counted from 1: 0 leaves them to a knob.
static int load_choice(struct loader *l, const char *field, const char *text, const char *const *words,
                       uint64_t *to)
{
    size_t word = 0;

    if (load_word(l, field, text, words, 2, &word))
        return -1;
    *to = word + 1;
    return 0;
}

// Parameters that are not plain numbers.
static int load_arg(struct loader *l, const struct scenario *s, const char *field, const char *name,
                    const char *text, uint64_t *to)
{
    static const char *const methods[] = {"precopy", "postcopy"}, *const switches[] = {"off", "on"};
    uint32_t flag = 0;

    if (strcmp(name, "size") == 0)
        return load_bytes(l, field, text, 0, SCENARIO_MEMORY_MAX, to);
    if (strcmp(name, "downtime_limit") == 0)
        return load_time(l, field, text, to);
    if (strcmp(name, "max_bandwidth") == 0)
        return load_rate(l, field, text, to);
    if (strcmp(name, "to") == 0)
        return load_host_name(l, s, field, text, to);
    if (strcmp(name, "method") == 0)
        return load_choice(l, field, text, methods, to);
    if (strcmp(name, "auto_converge") == 0)
        return load_choice(l, field, text, switches, to);
    if (strcmp(name, "verify") != 0)
        return load_number(l, field, text, 0, UINT64_MAX, to);
    if (load_flag(l, field, text, 1, &flag))
        return -1;
    *to = flag;
    return 0;
}

// A migration without a destination goes to the other host.
static int load_migration(struct loader *l, const struct scenario *s, const struct raw_action *raw,
                          const char *base, struct vmm_action *to)
{
    uint32_t home = s->vms[to->vm].host;

    if (s->host_count < 2)
        return load_error(l, base, "`migrate` needs a second host; write `hosts:` with two of them");
    for (unsigned i = 0; schema_action_arg(i); i++) {
        if (strcmp(schema_action_arg(i), "to") == 0 && !raw->args[i])
            to->args[0] = 1 - home;
        if (strcmp(schema_action_arg(i), "downtime_limit") == 0 && !raw->args[i])
            to->args[2] = DOWNTIME_LIMIT_NS;
    }
    return 0;
}

static int load_args(struct loader *l, const struct scenario *s, const struct raw_action *raw,
                     const struct action_row *row, const char *base, struct vmm_action *to)
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
        if (load_arg(l, s, field, name, raw->args[i], &to->args[at]))
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
    if (load_args(l, s, raw, &rows[op], base, to))
        return -1;
    return op == VMM_MIGRATE ? load_migration(l, s, raw, base, to) : 0;
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
