// SPDX-License-Identifier: Apache-2.0
// hvsim list: the scenarios below a folder; the native guests there are.
#include "sim/machine/guests.h"
#include "sim/scenario/scenario.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/report.h"
#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OPT_JSON, OPT_GUESTS };
static const struct option_row options[] = {
    [OPT_JSON] = {"--json", NULL, "one JSON array"},
    [OPT_GUESTS] = {"--guests", NULL, "the programs of native guests and their arguments instead"}};
static const struct usage usage = {.synopsis = "list [FOLDER] [options]",
                                   .about =
                                       "Lists the scenarios (*.yaml) below FOLDER, by default `scenarios`.",
                                   .options = options,
                                   .option_count = 2};

static void print_json(const struct scenario *s, int shown)
{
    printf("%s  {\"path\": ", shown ? ",\n" : "");
    report_json_text(s->path);
    printf(", \"name\": ");
    report_json_text(s->name);
    printf(", \"variants\": [");
    for (uint32_t i = 0; i < s->variant_count; i++) {
        printf("%s", i ? ", " : "");
        report_json_text(s->variants[i].name);
    }
    printf("], \"about\": ");
    report_json_text(s->about);
    printf("}");
}

static void print_row(const struct scenario *s)
{
    char variants[200] = "";

    for (uint32_t i = 0; i < s->variant_count; i++)
        snprintf(variants + strlen(variants), sizeof variants - strlen(variants), "%s%.60s", i ? ", " : "",
                 s->variants[i].name);
    printf("%-44s %-26s %.*s\n", s->path, variants, (int)strcspn(s->about, "\n"), s->about);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

// --- Native guests. ---

static const char *const units[] = {[GUEST_NUMBER] = "", [GUEST_BYTES] = "B", [GUEST_TIME] = "ns"};

static void print_guest_json(const char *name, const struct guest_program *g, int shown)
{
    printf("%s  {\"name\": ", shown ? ",\n" : "");
    report_json_text(name);
    printf(", \"about\": ");
    report_json_text(g->about);
    printf(", \"args\": [");
    for (uint32_t i = 0; i < g->arg_count; i++) {
        const struct guest_arg *a = &g->args[i];

        printf("%s{\"name\": ", i ? ", " : "");
        report_json_text(a->name);
        printf(", \"default\": %" PRIu64 ", \"unit\": \"%s\", \"about\": ", a->fallback, units[a->kind]);
        report_json_text(a->about);
        printf("}");
    }
    printf("]}");
}

static void print_guest(const char *name, const struct guest_program *g)
{
    printf("%s: %s\n", name, g->about);
    for (uint32_t i = 0; i < g->arg_count; i++) {
        char value[40];

        snprintf(value, sizeof value, "%" PRIu64 "%s", g->args[i].fallback, units[g->args[i].kind]);
        printf("    %-10s %-12s %s\n", g->args[i].name, value, g->args[i].about);
    }
}

static int list_guests(bool json)
{
    char **names = guest_names();
    int status = STATUS_OK, shown = 0;

    for (char **at = names; *at; at++) {
        struct user_error e;
        struct native_program *p = guest_open(*at, &e);

        if (!p) {
            status = complain("%s", e.text);
            continue;
        }
        if (!shown && json)
            puts("[");
        if (json)
            print_guest_json(*at, native_program_info(p), shown);
        else
            print_guest(*at, native_program_info(p));
        shown++;
        native_program_close(p);
    }
    guest_names_free(names);
    if (json && shown)
        puts("\n]");
    if (!shown && status == STATUS_OK)
        return complain("there are no native guests beside this command (../lib/guests)");
    return status;
}

// --- Scenarios. ---

static int list_scenarios(const char *folder, bool json)
{
    int shown = 0, status = STATUS_OK;
    char *paths[] = {(char *)(uintptr_t)folder, NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT *entry;

    while (tree && (entry = fts_read(tree))) {
        size_t length = strlen(entry->fts_path);
        struct user_error e;

        if (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR)
            status = complain("%s: %s", entry->fts_path, strerror(entry->fts_errno));
        if (entry->fts_info != FTS_F || length < 5 || strcmp(entry->fts_path + length - 5, ".yaml") != 0)
            continue;
        struct scenario *s = scenario_load(entry->fts_path, &e);

        if (!s) {
            status = complain("%s", e.text);
            continue;
        }
        // Nothing goes to standard output before there is something to list.
        if (!shown)
            json ? (void)puts("[") : (void)printf("%-44s %-26s %s\n", "scenario", "variants", "about");
        if (json)
            print_json(s, shown);
        else
            print_row(s);
        shown++;
        scenario_free(s);
    }
    if (tree)
        fts_close(tree);
    if (json && shown)
        puts("\n]");
    if (!shown && status == STATUS_OK)
        return complain("no scenario below `%s`", folder);
    return status;
}

struct arguments {
    const char *folder;
    bool json, guests;
};

static int take_option(void *ctx, int option, const char *value)
{
    struct arguments *a = ctx;

    if (option == OPTION_WORD)
        a->folder = value;
    a->json |= option == OPT_JSON;
    a->guests |= option == OPT_GUESTS;
    return 0;
}

int list_main(int argc, char **argv)
{
    struct arguments a = {.folder = NULL};
    int status;

    if (!usage_take(&usage, argc, argv, take_option, &a, &status))
        return status;
    if (a.guests && a.folder)
        return complain("`list --guests` takes no folder");
    return a.guests ? list_guests(a.json) : list_scenarios(a.folder ? a.folder : "scenarios", a.json);
}
