// SPDX-License-Identifier: Apache-2.0
// Steps of a pinned order as people write them:
//
//   step    = "cpu" NUMBER  FILE ":" place  [access]  ["x" COUNT]  ["?"]
//   place   = LINE | FUNCTION ["+" LINES]
//   access  = "read" | "write" | "atomic" | "block" | "any" (the default)
#include "models/cpu/native/schedule.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *word;
    uint32_t access;
} accesses[] = {
    {"read", PLACE_READ},   {"write", PLACE_WRITE}, {"atomic", PLACE_ATOMIC},
    {"block", PLACE_BLOCK}, {"any", PLACE_ANY},
};

// The next word of *at, cut to `size`; its length, 0 at the end.
static size_t next_word(const char **at, char *word, size_t size)
{
    while (isspace((unsigned char)**at))
        ++*at;
    size_t n = strcspn(*at, " \t\n");

    snprintf(word, size, "%.*s", (int)n, *at);
    *at += n;
    return n;
}

// A decimal number of at most nine digits that ends the text.
static bool number(const char *text, uint32_t *out)
{
    size_t digits = strspn(text, "0123456789");

    if (!digits || digits > 9 || text[digits])
        return false;
    *out = (uint32_t)strtoul(text, NULL, 10);
    return true;
}

static bool parse_place(char *word, struct schedule_step *out)
{
    char *colon = strrchr(word, ':'), *plus;

    if (!colon || colon == word || !colon[1])
        return false;
    *colon = 0;
    if (strlen(word) >= sizeof out->file || strlen(colon + 1) >= sizeof out->function)
        return false;
    snprintf(out->file, sizeof out->file, "%s", word);
    if (number(colon + 1, &out->line))
        return out->line > 0;
    plus = strchr(colon + 1, '+');
    if (plus) {
        *plus = 0;
        if (!number(plus + 1, &out->line))
            return false;
    }
    snprintf(out->function, sizeof out->function, "%s", colon + 1);
    return *out->function != 0;
}

static bool parse_access(const char *word, uint32_t *out)
{
    for (size_t i = 0; i < sizeof accesses / sizeof *accesses; i++)
        if (strcmp(accesses[i].word, word) == 0) {
            *out = accesses[i].access;
            return true;
        }
    return false;
}

bool schedule_parse(const char *text, struct schedule_step *out, char *error, size_t error_size)
{
    char word[2 * SCHEDULE_NAME_BYTES];

    *out = (struct schedule_step){.access = PLACE_ANY, .count = 1};
    if (next_word(&text, word, sizeof word) < 4 || strncmp(word, "cpu", 3) != 0 ||
        !number(word + 3, &out->cpu)) {
        snprintf(error, error_size,
                 "expected `cpuN FILE:LINE ACCESS`; a step begins with a processor such as cpu1");
        return false;
    }
    if (next_word(&text, word, sizeof word) >= sizeof word || !parse_place(word, out)) {
        snprintf(error, error_size, "expected a place such as hv/mmu/tdp.c:120 or tdp.c:tdp_map+12");
        return false;
    }
    while (next_word(&text, word, sizeof word)) {
        if (strcmp(word, "?") == 0)
            out->optional = true;
        else if (*word == 'x' ? !number(word + 1, &out->count) || !out->count
                              : !parse_access(word, &out->access)) {
            snprintf(error, error_size,
                     "`%s` is not known; expected read, write, atomic, block, any, xCOUNT or ?", word);
            return false;
        }
    }
    return true;
}
