// SPDX-License-Identifier: Apache-2.0
// The verbs of the command, and what they share: options, messages, exit status.
#ifndef TOOLS_HVSIM_COMMAND_H
#define TOOLS_HVSIM_COMMAND_H

#include "models/memory/memory.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Exit statuses. A bug of ours aborts with 70.
enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

struct verb {
    const char *name;
    int (*main)(int argc, char **argv); // argv[0] is the verb.
    const char *about;
};
const struct verb *verbs(size_t *count);

int run_main(int argc, char **argv);
int boot_main(int argc, char **argv);
int gdb_main(int argc, char **argv);
int list_main(int argc, char **argv);
int knobs_main(int argc, char **argv);
int explain_main(int argc, char **argv);
int export_main(int argc, char **argv);
int explore_main(int argc, char **argv);

// One option of a verb. `value_name` NULL: a flag.
struct option_row {
    const char *name;       // "--variant"
    const char *value_name; // "NAME"; "[N]": may be left out, and begins with a digit
    const char *about;
};
// A verb's usage and options, made from one table.
struct usage {
    const char *synopsis; // "run SCENARIO... [options]"
    const char *about;
    const struct option_row *options;
    size_t option_count;
    const char *examples; // Lines, or NULL.
};
void usage_print(const struct usage *u);
// Takes a verb's arguments in turn, "--name=value" and "--name value" alike: `take` gets each option's index
// in the table with its value (NULL for a flag), and each operand as OPTION_WORD, and returns 0, or
// STATUS_USAGE after a message. False if the verb ends here, with *status: after that, an unknown option
// (told with the nearest known one) or --help, which prints the usage.
#define OPTION_WORD (-1)
bool usage_take(const struct usage *u, int argc, char **argv,
                int (*take)(void *ctx, int option, const char *value), void *ctx, int *status);

// An option's value as a number (0x for hexadecimal) of min..max. 0, or STATUS_USAGE after a message.
int number_option(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *out);

// The value of --memory.
int memory_option(const char *text, enum memory_kind *out);
// Of --validate: bit set of enum check_kind.
int validate_option(const char *list, uint32_t *kinds);

// "hvsim: MESSAGE" on stderr; returns STATUS_USAGE.
__attribute__((format(printf, 1, 2))) int complain(const char *format, ...);

#endif
