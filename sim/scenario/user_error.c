// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/user_error.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int user_error_at(struct user_error *e, const char *file, unsigned line, const char *field,
                  const char *format, ...)
{
    size_t size = sizeof e->text, at = 0;
    va_list args;

    at += (size_t)snprintf(e->text, size, "%s", file);
    if (line && at < size)
        at += (size_t)snprintf(e->text + at, size - at, ":%u", line);
    if (field && at < size)
        at += (size_t)snprintf(e->text + at, size - at, ": %s", field);
    if (at < size)
        at += (size_t)snprintf(e->text + at, size - at, ": ");
    va_start(args, format);
    if (at < size)
        vsnprintf(e->text + at, size - at, format, args);
    va_end(args);
    return -1;
}

enum { WORD_MAX = 64 };

// Levenshtein distance of two words of at most WORD_MAX characters.
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned row[WORD_MAX + 1];

    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *nearest_word(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    unsigned limit = (unsigned)strlen(word) / 2 + 1, best_distance = limit < 4 ? limit + 1 : 5;

    for (size_t i = 0; i < count; i++) {
        unsigned d = distance(word, words[i]);

        if (d < best_distance) {
            best_distance = d;
            best = words[i];
        }
    }
    return best;
}
