// SPDX-License-Identifier: Apache-2.0
// A scenario written back with every default filled in.
#include "hv/api.h"
#include "models/check/words.h"
#include "sim/explore/strategy.h"
#include "sim/scenario/cpu_features.h"
#include "sim/scenario/scenario.h"
#include "sim/scenario/schema.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const action_words[] = {
#define ACTION(id, word, args, about) word,
#include "hv/vmm/actions.def"
#undef ACTION
};
static const char *const action_params[] = {
#define ACTION(id, word, args, about) args,
#include "hv/vmm/actions.def"
#undef ACTION
};
static const struct {
    const char *values;
    enum knob_type type;
} knob_rows[] = {
#define KNOB(id, name, type, values, def, about, source) {values, type},
#include "hv/knobs.def"
#undef KNOB
};

// Characters that YAML refuses or folds when they stand for themselves, beside those below U+0020: in UTF-8,
// and with the escape that gives them back. `spread`: the last byte may be larger by this.
static const struct {
    const char *utf8;
    unsigned spread, number;
} unprintable[] = {
    {"\x7f", 0, 0x7f},           {"\xc2\x80", 0x1f, 0x80},    {"\xe2\x80\xa8", 1, 0x2028},
    {"\xef\xbb\xbf", 0, 0xfeff}, {"\xef\xbf\xbe", 1, 0xfffe},
};

// Writes an escape; returns how many bytes it stands for, 0: none is needed.
static size_t unprintable_at(FILE *out, const unsigned char *p)
{
    for (size_t i = 0; i < sizeof unprintable / sizeof *unprintable; i++) {
        const unsigned char *first = (const unsigned char *)unprintable[i].utf8;
        size_t last = strlen(unprintable[i].utf8) - 1;

        if (strncmp((const char *)p, unprintable[i].utf8, last) == 0 && p[last] >= first[last] &&
            (unsigned)(p[last] - first[last]) <= unprintable[i].spread) {
            fprintf(out, "\\u%04x", unprintable[i].number + (unsigned)(p[last] - first[last]));
            return last + 1;
        }
    }
    return 0;
}

static void escaped(FILE *out, const char *text)
{
    size_t bytes;

    for (const unsigned char *p = (const unsigned char *)text; *p; p += bytes) {
        bytes = unprintable_at(out, p);
        if (bytes)
            continue;
        bytes = 1;
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p == '\n')
            fputs("\\n", out);
        else if (*p < 0x20)
            fprintf(out, "\\x%02x", *p);
        else
            fputc(*p, out);
    }
}

void scenario_quote(FILE *out, const char *text)
{
    fputc('"', out);
    escaped(out, text);
    fputc('"', out);
}

static void quoted_pair(FILE *out, const char *a, const char *b)
{
    fputc('"', out);
    escaped(out, a);
    fputc('/', out);
    escaped(out, b);
    fputc('"', out);
}

static void field(FILE *out, const char *key, const char *text)
{
    fprintf(out, "%s: ", key);
    scenario_quote(out, text);
    fputc('\n', out);
}

static void pcpu(FILE *out, uint32_t cpu)
{
    if (cpu == VMM_CPU_ANY)
        fputs("pcpu: any", out);
    else
        fprintf(out, "pcpu: %" PRIu32, cpu);
}

static const char *page_word(uint32_t shift)
{
    return shift == 30 ? "1GiB" : shift == 21 ? "2MiB" : "4KiB";
}

static const char *prefault_word(uint32_t flags)
{
    return !(flags & VMM_VM_PREFAULT) ? "off" : flags & VMM_VM_UNTIMED ? "untimed" : "on";
}

static void print_device(FILE *out, const struct vmm_device_config *d)
{
    bool port = d->kind == VMM_DEVICE_PORT;

    fputs("      - { name: ", out);
    scenario_quote(out, d->name);
    fprintf(
        out,
        ", %s: 0x%" PRIx64 ", size: %" PRIu64 "%s, value: 0x%" PRIx64 ", ack: 0x%" PRIx64 ", work: %" PRIu64,
        port ? "port" : "mmio", d->base, d->size, port ? "" : "B", d->value, d->ack_value, d->work_cycles);
    fputs(d->big_lock ? ", big_lock: on" : "", out);
    if (d->gsi != UINT32_MAX)
        fprintf(out, ", gsi: %" PRIu32, d->gsi);
    fputs(" }\n", out);
}

// Stream paths as the file had them: relative to the scenario's folder.
static const char *relative(const struct scenario *s, const char *path)
{
    size_t length = strlen(s->folder);

    return strncmp(path, s->folder, length) == 0 && path[length] == '/' ? path + length + 1 : path;
}

static void print_program(const struct scenario *s, const struct scenario_vcpu *v, FILE *out)
{
    fputs(v->stream ? "stream: " : "native: ", out);
    scenario_quote(out, v->stream ? relative(s, v->stream) : v->native);
    if (v->arg_count)
        fputs(", args: { ", out);
    for (uint32_t i = 0; i < v->arg_count; i++) {
        fprintf(out, "%s%s: ", i ? ", " : "", v->args[i].name);
        scenario_quote(out, v->args[i].value);
    }
    if (v->arg_count)
        fputs(" }", out);
}

static void print_image(const struct scenario *s, const struct scenario_program *p, FILE *out)
{
    fputs("\n    program:\n      image: ", out);
    scenario_quote(out, relative(s, p->image));
    fputs("\n      append: ", out);
    scenario_quote(out, p->append);
    if (p->initrd) {
        fputs("\n      initrd: ", out);
        scenario_quote(out, relative(s, p->initrd));
    }
    for (uint32_t i = 0; i < p->module_count; i++) {
        fputs(i ? ", " : "\n      modules: [", out);
        scenario_quote(out, relative(s, p->modules[i]));
    }
    fputs(p->module_count ? "]" : "", out);
    for (uint32_t i = 0; i < p->hide_count; i++) {
        char name[CPU_FEATURE_NAME_BYTES];

        cpu_feature_name(&p->hide[i], name);
        fprintf(out, "%s%s", i ? ", " : "\n      hide: [", name);
    }
    fputs(p->hide_count ? "]" : "", out);
    if (p->input) {
        fputs("\n      input: ", out);
        scenario_quote(out, relative(s, p->input));
    }
    if (p->script) {
        fputs("\n      script: ", out);
        scenario_quote(out, p->script);
    }
    if (p->flat)
        fprintf(out, "\n      load: 0x%" PRIx64, p->load);
}

static void print_vm(const struct scenario *s, const struct scenario_vm *vm, FILE *out)
{
    fputs("  - name: ", out);
    scenario_quote(out, vm->name);
    if (s->host_count > 1) {
        fputs("\n    host: ", out);
        scenario_quote(out, s->hosts[vm->host].name);
    }
    fprintf(out, "\n    memory: %" PRIu64 "B\n    page: %s\n    paging: ", vm->memory_bytes,
            page_word(vm->page_shift));
    fprintf(out, vm->paging_levels ? "%" PRIu32 : "off", vm->paging_levels);
    fprintf(out, "\n    guest_page: %s\n    irqchip: %s\n    nested: %s\n    prefault: %s\n    ",
            page_word(vm->guest_page_shift),
            vm->flags & VMM_VM_IRQCHIP         ? "core"
            : vm->flags & VMM_VM_SPLIT_IRQCHIP ? "split"
                                               : "none",
            vm->flags & VMM_VM_NESTED ? "on" : "off", prefault_word(vm->flags));
    pcpu(out, vm->pcpu);
    for (uint32_t i = 0, count = 0; i < SCENARIO_DISABLE_EXITS; i++)
        if (vm->disabled_exits >> i & 1)
            fprintf(out, "%s%s", count++ ? ", " : "\n    disable_exits: [", scenario_disable_exits[i]);
    fputs(vm->disabled_exits ? "]" : "", out);
    if (vm->program)
        print_image(s, vm->program, out);
    fputs("\n    vcpus:\n", out);
    for (uint32_t v = 0; v < vm->vcpu_count; v++) {
        fputs("      - { ", out);
        if (!vm->program) {
            print_program(s, &vm->vcpus[v], out);
            fputs(", ", out);
        }
        pcpu(out, vm->vcpus[v].pcpu);
        fputs(" }\n", out);
    }
    if (vm->device_count)
        fputs("    devices:\n", out);
    for (uint32_t d = 0; d < vm->device_count; d++)
        print_device(out, &vm->devices[d]);
    if (vm->slot_count)
        fputs("    slots:\n", out);
    for (uint32_t i = 0; i < vm->slot_count; i++)
        fprintf(out,
                "      - { slot: %" PRIu32 ", gpa: 0x%" PRIx64 ", size: %" PRIu64
                "B, page: %s, readonly: %s, log_dirty: %s }\n",
                vm->slots[i].slot, vm->slots[i].gpa, vm->slots[i].size, page_word(vm->slots[i].page_shift),
                vm->slots[i].flags & HV_MEM_READONLY ? "on" : "off",
                vm->slots[i].flags & HV_MEM_LOG_DIRTY_PAGES ? "on" : "off");
}

// How a parameter's value is written; plain numbers are not here. `words` are those of values from 1 on.
static const struct {
    const char *name, *format, *words[2];
} arg_rows[] = {
    {"size", "%" PRIu64 "B", {NULL}},
    {"downtime_limit", "%" PRIu64 "ns", {NULL}},
    {"max_bandwidth", "%" PRIu64 "bit/s", {NULL}},
    {"verify", "%" PRIu64, {NULL}},
    {"method", NULL, {"precopy", "postcopy"}},
    {"auto_converge", NULL, {"off", "on"}},
};

static void print_arg(const struct scenario *s, const char *name, size_t span, uint64_t value, FILE *out)
{
    const char *format = "0x%" PRIx64, *word = NULL;

    for (size_t i = 0; i < sizeof arg_rows / sizeof *arg_rows; i++) {
        if (strlen(arg_rows[i].name) != span || strncmp(name, arg_rows[i].name, span) != 0)
            continue;
        format = arg_rows[i].format;
        if (!format && value == 0)
            return; // Left to a knob.
        word = format ? NULL : arg_rows[i].words[value - 1];
    }
    fprintf(out, ", %.*s: ", (int)span, name);
    if (span == 2 && strncmp(name, "to", span) == 0)
        scenario_quote(out, s->hosts[value].name);
    else if (word)
        fputs(word, out);
    else
        fprintf(out, format, value);
}

static void print_action(const struct scenario *s, const struct vmm_action *a, FILE *out)
{
    const char *args = action_params[a->op];

    fprintf(out, "  - { at: %" PRIu64 "ns, do: %s, vm: ", a->at_ns, action_words[a->op]);
    scenario_quote(out, s->vms[a->vm].name);
    for (uint32_t i = 0; *args && i < VMM_ACTION_ARGS; i++) {
        print_arg(s, args, strcspn(args, ",?"), a->args[i], out);
        args += strcspn(args, ",");
        args += *args == ',';
    }
    fputs(" }\n", out);
}

static void print_knob(FILE *out, const char *indent, const struct scenario_knob *k)
{
    const char *word = knob_rows[k->knob].values;

    fprintf(out, "%s%s: ", indent, schema_knob_name(k->knob));
    if (knob_rows[k->knob].type == KNOB_INT) {
        fprintf(out, "%" PRIu64 "\n", k->value);
        return;
    }
    for (uint64_t i = 0; i < k->value; i++)
        word += strcspn(word, "|") + 1;
    fprintf(out, "%.*s\n", (int)strcspn(word, "|"), word);
}

// In the order of the parameters, as reading them back gives them; the variant's own come last and count.
static void print_uarch(const struct scenario_uarch_list *list, const char *indent, const char *key,
                        FILE *out)
{
    if (list->count)
        fprintf(out, "%s%s:\n", indent, key);
    for (uint32_t param = 0; param < SCHEMA_UARCH_PARAMS; param++) {
        const struct scenario_uarch *last = NULL;

        for (uint32_t k = 0; k < list->count; k++)
            if (list->rows[k].param == param)
                last = &list->rows[k];
        if (last)
            fprintf(out, "%s  %s: 0x%" PRIx64 "\n", indent, schema_uarch_name(param), last->value);
    }
}

static void print_variant_hosts(const struct scenario *s, const struct scenario_variant *v, FILE *out)
{
    bool any = false;

    for (uint32_t h = 0; h < s->host_count; h++) {
        if (v->replace[h].count == 0)
            continue;
        fputs(any ? "" : "    hosts:\n", out);
        any = true;
        fputs("      - name: ", out);
        scenario_quote(out, s->hosts[h].name);
        fputc('\n', out);
        print_uarch(&v->replace[h], "        ", "replace", out);
    }
}

static void print_variants(const struct scenario *s, FILE *out)
{
    const struct scenario_variant *first = s->variants; // All have the scenario's own knobs.

    fputs(first->own_count ? "knobs:\n" : "", out);
    for (uint32_t k = 0; k < first->own_count; k++)
        print_knob(out, "  ", &first->knobs[k]);
    fputs("variants:\n", out);
    for (uint32_t i = 0; i < s->variant_count; i++) {
        const struct scenario_variant *v = &s->variants[i];

        fputs("  ", out);
        scenario_quote(out, v->name);
        fputs(":\n    about: ", out);
        scenario_quote(out, v->about);
        fputc('\n', out);
        if (v->violation) {
            fputs("    violation: ", out);
            scenario_quote(out, v->violation);
            fputc('\n', out);
        }
        if (v->step_count)
            fputs("    schedule:\n", out);
        for (uint32_t step = 0; step < v->step_count; step++) {
            fputs("      - ", out);
            scenario_quote(out, v->steps[step].text);
            fputc('\n', out);
        }
        if (v->knob_count > v->own_count)
            fputs("    knobs:\n", out);
        for (uint32_t k = v->own_count; k < v->knob_count; k++)
            print_knob(out, "      ", &v->knobs[k]);
        print_uarch(&v->uarch, "    ", "uarch", out);
        print_variant_hosts(s, v, out);
    }
}

static void print_bounds(FILE *out, const char *indent, const struct scenario_expect *x)
{
    static const char *const words[] = {NULL, "equals", "at_least", "at_most", "between"};

    if (x->kind == EXPECT_TRUE_VALUE)
        return;
    fprintf(out, "%s%s: ", indent, words[x->kind]);
    if (x->kind == EXPECT_BETWEEN) {
        fputc('[', out);
        scenario_quote(out, x->low);
        fputs(", ", out);
        scenario_quote(out, x->high);
        fputs("]\n", out);
        return;
    }
    scenario_quote(out, x->low ? x->low : x->high);
    fputc('\n', out);
}

static void print_sweep(const struct scenario *s, FILE *out)
{
    if (s->swept_count) // A point of it: its values stand in their places.
        return;
    fputs(s->axis_count ? "sweep:\n" : "", out);
    for (uint32_t a = 0; a < s->axis_count; a++) {
        fputs("  ", out);
        scenario_quote(out, s->axes[a].path);
        fputs(": [", out);
        for (uint32_t v = 0; v < s->axes[a].value_count; v++) {
            fputs(v ? ", " : "", out);
            scenario_quote(out, s->axes[a].values[v]);
        }
        fputs("]\n", out);
    }
}

static void print_shows(const struct scenario *s, FILE *out)
{
    fputs(s->show_count ? "show:\n" : "", out);
    for (uint32_t i = 0; i < s->show_count; i++) {
        fputs("  - as: ", out);
        scenario_quote(out, s->shows[i].as);
        fputs("\n    sql: ", out);
        scenario_quote(out, s->shows[i].sql);
        fputc('\n', out);
    }
}

// At a point of a sweep only what is judged there is left.
static bool is_left(const struct scenario *s, const struct scenario_expect *x)
{
    return s->swept_count == 0 || (!x->whole && (!x->at || scenario_is_at(s, x->at)));
}

static void print_expect(const struct scenario *s, const struct scenario_expect *x, FILE *out)
{
    fputs("  - about: ", out);
    scenario_quote(out, x->about);
    fputc('\n', out);
    if (x->at && s->swept_count == 0) {
        fputs("    at: ", out);
        scenario_quote(out, x->at);
        fputc('\n', out);
    }
    if (x->whole)
        fputs("    over: sweep\n", out);
    if (x->numerator) {
        fputs("    compare:\n      ratio: ", out);
        quoted_pair(out, x->numerator, x->denominator);
        fputs("\n      sql: ", out);
        scenario_quote(out, x->sql);
        fputc('\n', out);
        print_bounds(out, "      ", x);
        return;
    }
    if (x->variant)
        field(out, "    variant", x->variant);
    fputs("    sql: ", out);
    scenario_quote(out, x->sql);
    fputc('\n', out);
    print_bounds(out, "    ", x);
}

static void print_hosts(const struct scenario *s, FILE *out)
{
    const struct scenario_link *k = &s->link;

    if (s->host_count == 1 && s->hosts[0].knob_count == 0 && !s->hosts[0].uarch &&
        s->hosts[0].replace.count == 0 && strcmp(s->hosts[0].name, "host") == 0) {
        fputs("machine: { arch: x86, uarch: ", out);
        scenario_quote(out, s->uarch);
        fprintf(out, ", cpus: %" PRIu32 ", memory: %" PRIu64 "B, overcommit: %s }\n", s->hosts[0].cpus,
                s->hosts[0].memory_bytes, s->overcommit ? "on" : "off");
        return;
    }
    fputs("machine: { arch: x86, uarch: ", out);
    scenario_quote(out, s->uarch);
    fprintf(out, ", overcommit: %s }\nhosts:\n", s->overcommit ? "on" : "off");
    for (uint32_t i = 0; i < s->host_count; i++) {
        const struct scenario_host *h = &s->hosts[i];

        fputs("  - name: ", out);
        scenario_quote(out, h->name);
        fprintf(out, "\n    cpus: %" PRIu32 "\n    memory: %" PRIu64 "B\n", h->cpus, h->memory_bytes);
        if (h->knob_count)
            fputs("    knobs:\n", out);
        for (uint32_t n = 0; n < h->knob_count; n++)
            print_knob(out, "      ", &h->knobs[n]);
        if (h->uarch)
            field(out, "    uarch", h->uarch);
        print_uarch(&h->replace, "    ", "replace", out);
    }
    if (s->host_count > 1)
        fprintf(out,
                "link: { bandwidth: %" PRIu64 "bit/s, latency: %" PRIu64 "ns, mtu: %" PRIu32
                ", packet: %" PRIu64 "ns, queue: %" PRIu64 "B }\n",
                k->bits_per_second, k->latency_ns, k->mtu_bytes, k->packet_ns, k->queue_bytes);
}

static void print_recorded(const struct scenario_recorded *r, FILE *out)
{
    fputs("  - { reason: ", out);
    scenario_quote(out, r->reason);
    fprintf(out, ", count: %" PRIu64 ", p50_ns: %" PRIu64 ", p99_ns: %" PRIu64 " }\n", r->count, r->p50_ns,
            r->p99_ns);
}

static void print_run(const struct scenario *s, FILE *out)
{
    const char *between = "run: {";

    if (s->until_ns) {
        fprintf(out, "%s until: %" PRIu64 "ns", between, s->until_ns);
        between = ",";
    }
    if (s->check_tlb) {
        fprintf(out, "%s check_tlb: on", between);
        between = ",";
    }
    if (s->memory != MEMORY_TSO) {
        fprintf(out, "%s memory: %s", between, memory_kind_names[s->memory]);
        between = ",";
    }
    if (s->validate) {
        char list[CHECK_LIST_BYTES];

        check_list(s->validate, list);
        fprintf(out, "%s validate: \"%s\"", between, list);
        between = ",";
    }
    if (*between == ',')
        fputs(" }\n", out);
}

static void print_explore(const struct scenario *s, FILE *out)
{
    fprintf(out,
            "explore: { from: %" PRIu64 "ns, until: %" PRIu64 "ns, strategy: %s, depth: %" PRIu64
            ", budget: %" PRIu64 " }\n",
            s->explore.from_ns, s->explore.until_ns, strategy_name((enum strategy_kind)s->explore.strategy),
            s->explore.depth, s->explore.budget);
}

void scenario_print_resolved(const struct scenario *s, FILE *out)
{
    field(out, "scenario", s->name);
    field(out, "about", s->about);
    field(out, "source", s->source);
    print_hosts(s, out);
    fputs("vms:\n", out);
    for (uint32_t i = 0; i < s->vm_count; i++)
        print_vm(s, &s->vms[i], out);
    if (s->action_count)
        fputs("vmm:\n", out);
    for (uint32_t i = 0; i < s->action_count; i++)
        print_action(s, &s->actions[i], out);
    print_run(s, out);
    print_explore(s, out);
    print_sweep(s, out);
    print_variants(s, out);
    print_shows(s, out);
    bool any = false;

    for (uint32_t i = 0; i < s->expect_count; i++) {
        if (!is_left(s, &s->expects[i]))
            continue;
        fputs(any ? "" : "expect:\n", out);
        any = true;
        print_expect(s, &s->expects[i], out);
    }
    if (s->recorded_count)
        fputs("recorded:\n", out);
    for (uint32_t i = 0; i < s->recorded_count; i++)
        print_recorded(&s->recorded[i], out);
}

char *scenario_resolved_text(const struct scenario *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        abort();
    scenario_print_resolved(s, out);
    fclose(out);
    return text;
}
