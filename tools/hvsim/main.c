// SPDX-License-Identifier: Apache-2.0
// hvsim: the command.
#include "sim/scenario/user_error.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/import/import.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct verb table[] = {
    {"run", run_main, "run scenarios and check what they expect"},
    {"explore", explore_main, "search orders of accesses for one that fails"},
    {"boot", boot_main, "boot a machine-code image as a guest, its console here"},
    {"gdb", gdb_main, "run machine code under gdb, forward and back"},
    {"list", list_main, "list scenarios and their variants"},
    {"knobs", knobs_main, "list the switches of the hypervisor core"},
    {"explain", explain_main, "tell a VM exit as a story, draw a page walk or a migration"},
    {"import", import_main, "turn a trace recorded on a real host into a scenario"},
    {"export", export_main, "print tables of a run as CSV, JSON or folded stacks"},
};

const struct verb *verbs(size_t *count)
{
    *count = sizeof table / sizeof *table;
    return table;
}

static void help(FILE *to)
{
    fputs("hvsim: a deterministic, cycle-level simulator with a complete hypervisor inside it\n\n"
          "usage: hvsim VERB ...      hvsim VERB --help tells more\n\n",
          to);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        fprintf(to, "  %-10s %s\n", table[i].name, table[i].about);
    fputs("\nexit status: 0 ok, 1 an expectation failed, 2 bad usage or input\n"
          "first steps: hvsim run scenarios/exits/quickstart.yaml\n",
          to);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return STATUS_OK;
    }
    const char *names[sizeof table / sizeof *table];

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        names[i] = table[i].name;
        if (strcmp(argv[1], table[i].name) == 0)
            return table[i].main(argc - 1, argv + 1);
    }
    const char *near = nearest_word(argv[1], names, sizeof table / sizeof *table);

    return complain("unknown verb `%s`%s%s%s; `hvsim --help` lists them", argv[1],
                    near ? "; did you mean `" : "", near ? near : "", near ? "`" : "");
}

int main(int argc, char **argv)
{
    // A limit on the size of files then fails a write, which is told, instead of killing the command.
    signal(SIGXFSZ, SIG_IGN);
    int status = dispatch(argc, argv);

    if (fflush(stdout) || ferror(stdout))
        return complain("standard output: cannot write: %s", strerror(errno));
    return status;
}
