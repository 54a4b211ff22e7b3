// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/window_option.h"

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

int window_option(struct window_option *w, const char *text)
{
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

void window_cycles(const struct window_option *w, uint64_t clock_khz, uint64_t *from, uint64_t *to)
{
    *from = w->from.given ? cycles_of(&w->from, clock_khz) : 0;
    *to = w->to.given ? cycles_of(&w->to, clock_khz) : UINT64_MAX;
}
