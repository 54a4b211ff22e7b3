// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_KINDS_H
#define HVSIM_TRACES_KINDS_H

/* The kinds of events and of exits by name, from spec/. */

#include <stdint.h>

struct event_kind {
    const char *name;
    uint32_t argc;
    const char *arguments; // their names, comma separated
};
extern const struct event_kind event_kinds[];
extern const uint32_t event_kind_count;

struct exit_kind {
    int64_t arch; // enum trace_arch
    int64_t number;
    const char *name;
};
extern const struct exit_kind exit_kinds[];
extern const uint32_t exit_kind_count;

#endif
