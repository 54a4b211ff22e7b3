// SPDX-License-Identifier: Apache-2.0
// hvsim knobs: hv/knobs.def for people and for machines.
#include "hv/knobs.h"
#include "tools/hvsim/command.h"
#include <stdio.h>
#include <string.h>

struct row {
    const char *name, *values, *about, *source;
    enum knob_type type;
    unsigned long long value;
};
static const struct row rows[] = {
#define KNOB(id, name, type, values, def, about, source) {name, values, about, source, type, def},
#include "hv/knobs.def"
#undef KNOB
};

static const struct option_row options[] = {{"--json", NULL, "one JSON array"}};
static const struct usage usage = {
    .synopsis = "knobs [NAME] [options]",
    .about =
        "Lists the named switches of the hypervisor core: values, default, meaning, source. The default is "
        "always\n"
        "the fixed, fast behaviour; a scenario's variants (or --knob on the command line) choose others.",
    .options = options,
    .option_count = 1,
    .examples =
        "  hvsim knobs irq\n  hvsim run scenarios/interrupts/eoi-storm.yaml --knob irq.storm_count=100\n"};

static void default_text(const struct row *r, char *text, size_t size)
{
    const char *word = r->values;

    if (r->type == KNOB_INT) {
        snprintf(text, size, "%llu", r->value);
        return;
    }
    for (unsigned long long i = 0; i < r->value; i++)
        word += strcspn(word, "|") + 1;
    snprintf(text, size, "%.*s", (int)strcspn(word, "|"), word);
}

struct arguments {
    const char *filter;
    bool json;
};

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;

    if (option == OPTION_WORD)
        a->filter = value;
    else
        a->json = true;
    return 0;
}

int knobs_main(int argc, char **argv)
{
    struct arguments a = {.filter = ""};
    int shown = 0, status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        char text[64];

        if (!strstr(r->name, a.filter))
            continue;
        if (!shown && a.json)
            puts("[");
        else if (!shown)
            printf("%-22s %-16s %-38s %s\n", "knob", "default", "values", "about");
        default_text(r, text, sizeof text);
        if (a.json)
            printf("%s  {\"name\": \"%s\", \"default\": \"%s\", \"values\": \"%s\", \"about\": \"%s\", "
                   "\"source\": \"%s\"}",
                   shown ? ",\n" : "", r->name, text, r->values, r->about, r->source);
        else
            printf("%-22s %-16s %-38s %s [%s]\n", r->name, text, r->values, r->about, r->source);
        shown++;
    }
    if (a.json && shown)
        puts("\n]");
    return shown ? STATUS_OK : complain("no knob's name contains `%s`; `hvsim knobs` lists all", a.filter);
}
