// SPDX-License-Identifier: Apache-2.0
// A pinned order in a file of its own (docs/schedules.md), as `hvsim explore` writes it.
#ifndef SIM_SCENARIO_SCHEDULE_FILE_H
#define SIM_SCENARIO_SCHEDULE_FILE_H

#include "sim/scenario/scenario.h"

// What a file may say of where it holds: key, about.
#define SCHEDULE_FILE_KEYS(KEY)                                                                              \
    KEY(scenario) /* Name of the scenario */                                                                 \
    KEY(variant)  /* Name of its variant */                                                                  \
    KEY(memory)   /* Memory model under which it was found: sc, tso or c11 */                                \
    KEY(validate) /* Validators that have to look for it to fail, as --validate has it */

struct schedule_file {
    char *path;
#define KEY(name)                                                                                            \
    char *name; /* NULL: it does not say. */                                                                 \
    uint32_t name##_line;
    SCHEDULE_FILE_KEYS(KEY)
#undef KEY
    uint32_t validators;         // `validate` as bit set of enum check_kind
    struct scenario_step *steps; // In order; the `from` line is the first of them.
    uint32_t step_count;
};

// Reads it. NULL with `e`: file, line, what and cure. Whether the steps can be is seen when the machine is
// built.
struct schedule_file *schedule_file_load(const char *path, struct user_error *e);
void schedule_file_free(struct schedule_file *f); // May be NULL.

// The variant of `s` for which it is: `name` (NULL: not said), the one that the file names, or the only one.
// NULL with `e`: another scenario's order, another variant's, or nothing says which.
const struct scenario_variant *schedule_file_variant(const struct schedule_file *f, const struct scenario *s,
                                                     const char *name, struct user_error *e);
// Gives variant `name` of `s` this order in place of its own.
void schedule_file_apply(const struct schedule_file *f, struct scenario *s, const char *name);

#endif
