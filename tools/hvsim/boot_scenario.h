// SPDX-License-Identifier: Apache-2.0
// The scenario that `hvsim boot IMAGE` stands for: one VM that boots it, on a machine that has room for it.
#ifndef TOOLS_HVSIM_BOOT_SCENARIO_H
#define TOOLS_HVSIM_BOOT_SCENARIO_H

#include "sim/scenario/scenario.h"

// Options as given; NULL: the default.
struct boot_options {
    const char *image, *append, *initrd, *load;
    const char *hide, *disable_exits; // Names with commas between them.
    const char *modules[SCENARIO_MODULES_MAX];
    uint32_t module_count;
    const char *input, *script; // Files; input `-`: standard input.
    const char *cpus, *memory, *uarch, *until;
    bool nested;
};

// NULL with `e`: what is wrong with which option.
struct scenario *boot_scenario(const struct boot_options *o, struct user_error *e);

#endif
