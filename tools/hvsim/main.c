// SPDX-License-Identifier: Apache-2.0
// hvsim: the command.
#include "sim/scenario/user_error.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/import/import.h"
#include <stdio.h>
#include <string.h>

static const struct verb table[] = {
    {"run", run_main, "run scenarios and check what they expect"},
    {"list", list_main, "list scenarios and their variants"},
    {"knobs", knobs_main, "list the switches of the hypervisor core"},
    {"explain", explain_main, "tell one VM exit of a run as a story"},
    {"import", import_main, "turn a trace recorded on a real host into a scenario"},
    {"export", export_main, "print tables of a run as CSV, JSON or folded stacks"},
};

const struct verb *verbs(size_t *count)
{
    *count = sizeof table / sizeof *table;
    return table;
}

static void help(void)
{
    puts("hvsim: a deterministic, cycle-level simulator with a complete hypervisor inside it\n\n"
         "usage: hvsim VERB ...      hvsim VERB --help tells more\n");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        printf("  %-10s %s\n", table[i].name, table[i].about);
    puts("\nexit status: 0 ok, 1 an expectation failed, 2 bad usage or input\n"
         "first steps: hvsim run scenarios/exits/quickstart.yaml");
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help();
        return argc < 2 ? STATUS_USAGE : STATUS_OK;
    }
    const char *names[sizeof table / sizeof *table];

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        names[i] = table[i].name;
        if (strcmp(argv[1], table[i].name) == 0)
            return table[i].main(argc - 1, argv + 1);
    }
    const char *near = nearest_word(argv[1], names, sizeof table / sizeof *table);

    return complain("unknown verb %s%s%s; `hvsim --help` lists them", argv[1], near ? "; did you mean " : "",
                    near ? near : "");
}
