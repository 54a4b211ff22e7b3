// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/knob_option.h"
#include "tools/hvsim/command.h"
#include <string.h>

int knob_option(struct knob_options *k, const char *text)
{
    const char *equals = strchr(text, '=');
    struct user_error e;
    char name[100];

    if (!equals || equals == text || equals - text >= (int)sizeof name)
        return complain("--knob wants NAME=VALUE, got `%s`", text);
    if (k->count == KNOB_OPTIONS_MAX)
        return complain("more than %u --knob options", KNOB_OPTIONS_MAX);
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    if (scenario_knob_parse(name, equals + 1, "--knob", 0, &k->knobs[k->count++], &e))
        return complain("%s", e.text);
    return 0;
}
