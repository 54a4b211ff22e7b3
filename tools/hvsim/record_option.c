// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/record_option.h"

#include "sim/scenario/quantity.h"
#include "tools/hvsim/command.h"
#include <stdio.h>
#include <string.h>

static bool edge(struct window_edge *e, const char *text, size_t length)
{
    char word[40];

    *e = (struct window_edge){.given = length != 0};
    if (!length)
        return true;
    if (length >= sizeof word)
        return false;
    snprintf(word, sizeof word, "%.*s", (int)length, text);
    e->is_time = quantity_ns(word, &e->value);
    return e->is_time || quantity_number(word, &e->value);
}

int record_option_db(struct record_options *r, const char *path)
{
    r->db = path;
    return *path ? 0 : complain("--db wants the name of a file, got ``");
}

int record_option_trace(struct record_options *r, const char *categories)
{
    char message[300];

    return trace_category_parse(categories, &r->store, message, sizeof message)
               ? 0
               : complain("--trace: %s", message);
}

int record_option_window(struct record_options *r, const char *text)
{
    struct window_option *w = &r->window;
    const char *dots = strstr(text, "..");

    if (!dots || !edge(&w->from, text, (size_t)(dots - text)) || !edge(&w->to, dots + 2, strlen(dots + 2)))
        return complain(
            "--window wants FROM..TO in cycles or times, such as 0..50000 or 2ms..2.1ms, got `%s`", text);
    return 0;
}

static uint64_t cycles_of(const struct window_edge *e, uint64_t clock_khz)
{
    __uint128_t cycles = (__uint128_t)e->value * (e->is_time ? clock_khz : 1) / (e->is_time ? 1000000 : 1);

    return cycles > UINT64_MAX ? UINT64_MAX : (uint64_t)cycles;
}

void record_window_cycles(const struct record_options *r, uint64_t clock_khz, uint64_t *from, uint64_t *to)
{
    const struct window_option *w = &r->window;

    *from = w->from.given ? cycles_of(&w->from, clock_khz) : 0;
    *to = w->to.given ? cycles_of(&w->to, clock_khz) : UINT64_MAX;
}

struct trace *record_open(const char *path, uint32_t store)
{
    struct trace_error error;
    struct trace_options o = trace_options_defaults(path);

    o.store = store | TRACE_VIOLATIONS;
    struct trace *trace = trace_open(&o, &error);

    if (!trace)
        complain("%s; %s", error.message, error.hint);
    return trace;
}

int record_close(struct trace *t)
{
    struct trace_error error;

    return trace_close(t, &error) == TRACE_OK ? 0 : complain("%s; %s", error.message, error.hint);
}
