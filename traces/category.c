// SPDX-License-Identifier: Apache-2.0
#include "traces/category.h"

#include <stdio.h>

static const struct {
    const char *name;
    uint32_t mask;
} category_rows[] = {
    {"exits", TRACE_EXITS},
    {"events", TRACE_EVENTS},
    {"calls", TRACE_CALLS},
    {"spans", TRACE_SPANS},
    {"irqs", TRACE_IRQS},
    {"walks", TRACE_WALKS},
    {"locks", TRACE_LOCKS},
    {"violations", TRACE_VIOLATIONS},
    {"counters", TRACE_COUNTERS},
    {"dirty", TRACE_DIRTY},
    {"instructions", TRACE_INSTRUCTIONS},
    {"all", TRACE_ALL},
    {"none", 0},
};
enum { CATEGORY_ROWS = sizeof category_rows / sizeof category_rows[0], CATEGORY_NAME_MAX = 32 };

void category_names(uint32_t mask, char *names, size_t size)
{
    size_t used = 0;

    names[0] = 0;
    for (int i = 0; i < CATEGORY_ROWS && used < size; i++)
        if (category_rows[i].mask != TRACE_ALL && category_rows[i].mask & mask)
            used +=
                (size_t)snprintf(names + used, size - used, "%s%s", used ? "," : "", category_rows[i].name);
}

// Levenshtein distance; both texts are shorter than CATEGORY_NAME_MAX.
static size_t category_distance(const char *a, const char *b)
{
    size_t row[CATEGORY_NAME_MAX], length = strlen(b);

    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t change = diagonal + (a[i] != b[j]), best = row[j + 1] < row[j] ? row[j + 1] : row[j];

            diagonal = row[j + 1];
            row[j + 1] = change < best + 1 ? change : best + 1;
        }
    }
    return row[length];
}

static const char *category_nearest(const char *name)
{
    const char *nearest = category_rows[0].name;

    for (int i = 1; i < CATEGORY_ROWS; i++)
        if (category_distance(name, category_rows[i].name) < category_distance(name, nearest))
            nearest = category_rows[i].name;
    return nearest;
}

static bool category_find(const char *name, uint32_t *mask)
{
    for (int i = 0; i < CATEGORY_ROWS; i++)
        if (!strcmp(name, category_rows[i].name)) {
            *mask |= category_rows[i].mask;
            return true;
        }
    return false;
}

bool trace_category_parse(const char *text, uint32_t *mask, char *message, size_t message_size)
{
    char name[CATEGORY_NAME_MAX], all[128];

    *mask = 0;
    for (;; text++) {
        size_t length = strcspn(text, ",");

        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), text);
        if (!category_find(name, mask)) {
            category_names(TRACE_EVERY, all, sizeof all);
            snprintf(message, message_size,
                     "unknown trace category '%s'; nearest is '%s'; categories are %s,all,none", name,
                     category_nearest(name), all);
            return false;
        }
        text += length;
        if (!*text)
            return true;
    }
}
