// SPDX-License-Identifier: Apache-2.0
// --knob NAME=VALUE, as verbs that run something share it.
#ifndef TOOLS_HVSIM_KNOB_OPTION_H
#define TOOLS_HVSIM_KNOB_OPTION_H

#include "sim/scenario/scenario.h"

#define KNOB_OPTIONS_MAX 64u

struct knob_options {
    struct scenario_knob knobs[KNOB_OPTIONS_MAX];
    uint32_t count;
};

// Adds one. 0, or STATUS_USAGE after a message.
int knob_option(struct knob_options *k, const char *text);

#endif
