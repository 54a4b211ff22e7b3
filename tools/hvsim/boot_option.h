// SPDX-License-Identifier: Apache-2.0
// The options that verbs which boot an image share, and what a run's end means for the command.
#ifndef TOOLS_HVSIM_BOOT_OPTION_H
#define TOOLS_HVSIM_BOOT_OPTION_H

#include "sim/machine/machine.h"
#include "tools/hvsim/boot_scenario.h"
#include "tools/hvsim/command.h"
#include "tools/hvsim/knob_option.h"

// A verb's own options follow BOOT_OPTIONS in its table, which begins with the rows of boot_options.def.
enum {
#define BOOT_OPTION(id, name, value, about) BOOT_##id,
#include "tools/hvsim/boot_options.def"
    BOOT_OPTIONS
};

struct boot_arguments {
    struct boot_options boot;
    struct knob_options knobs;
    const char *console, *hv;
};
// Takes option `option` below BOOT_OPTIONS. 0, or STATUS_USAGE after a message.
int boot_option_take(struct boot_arguments *a, int option, const char *value);

// As timeout(1) says it.
#define STATUS_TIME_LIMIT 124

struct outcome {
    int status; // Of the command
    char text[120];
};
struct outcome outcome_of(const struct machine_run *run, unsigned violations);
// "hvsim: IMAGE: TEXT; N cycles (...), N exits, digest D" on standard error.
void outcome_print(const struct outcome *o, const char *name, uint64_t clock_khz,
                   const struct machine_run *run, struct trace *trace);

#endif
