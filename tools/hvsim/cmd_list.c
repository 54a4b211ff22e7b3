// SPDX-License-Identifier: Apache-2.0
// hvsim list: the scenarios below a folder.
#include "sim/scenario/scenario.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/report.h"
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>

static const struct option_row options[] = {{"--json", NULL, "one JSON array"}};
static const struct usage usage = {.synopsis = "list [FOLDER] [options]",
                                   .about =
                                       "Lists the scenarios (*.yaml) below FOLDER, by default `scenarios`.",
                                   .options = options,
                                   .option_count = 1};

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

int list_main(int argc, char **argv)
{
    const char *value, *folder = "scenarios";
    bool json = false;
    int at = 1, option, shown = 0, status = STATUS_OK;

    while ((option = usage_next(&usage, argc, argv, &at, &value)) != OPTION_END) {
        if (option == OPTION_HELP)
            return STATUS_OK;
        if (option == OPTION_BAD)
            return STATUS_USAGE;
        if (option == OPTION_WORD)
            folder = value;
        else
            json = true;
    }
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
