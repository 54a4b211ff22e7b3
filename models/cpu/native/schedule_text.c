// SPDX-License-Identifier: Apache-2.0
// Steps of a pinned order as people write them:
//
//   step    = "cpu" NUMBER  FILE ":" place  [access]  [kind]  ["x" COUNT]  ["?"]  ["#" remark]
//   place   = LINE | FUNCTION ["+" LINES] | FUNCTION "#" ORDINAL ["@" CALLER]
//   access  = "read" | "write" | "atomic" | "block" | "any" (the default; of a drain: "write")
//   kind    = "drain" | "interrupt" | "idle" | "older" K
#include "models/cpu/native/schedule.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// By enum schedule_kind.
static const struct {
    const char *word;
    enum schedule_kind kind;
    unsigned access; // If none is given
} kinds[] = {
    {"any", SCHEDULE_ACCESS, PLACE_ANY},
    {"drain", SCHEDULE_DRAIN, PLACE_WRITE},
    {"interrupt", SCHEDULE_INTERRUPT, PLACE_ANY},
    {"idle", SCHEDULE_IDLE, PLACE_ANY},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

// The next word of *at, cut to `size`; its length, 0 at the end or where a remark begins.
static size_t next_word(const char **at, char *word, size_t size)
{
    while (isspace((unsigned char)**at))
        ++*at;
    size_t n = **at == '#' ? 0 : strcspn(*at, " \t\r\n");

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

static bool parse_function(char *word, struct schedule_step *out)
{
    char *mark = strpbrk(word, "+#"), *at;
    bool ordinal = mark && *mark == '#';

    if (mark)
        *mark++ = 0;
    if (ordinal && (at = strchr(mark, '@')) != NULL) {
        *at++ = 0;
        if (!*at || strlen(at) >= sizeof out->caller)
            return false;
        snprintf(out->caller, sizeof out->caller, "%s", at);
    }
    if (ordinal ? !number(mark, &out->ordinal) || !out->ordinal : mark && !number(mark, &out->line))
        return false;
    snprintf(out->function, sizeof out->function, "%s", word);
    return *word && strlen(word) < sizeof out->function;
}

static bool parse_place(char *word, struct schedule_step *out)
{
    char *colon = strrchr(word, ':');

    if (!colon || colon == word || !colon[1])
        return false;
    *colon = 0;
    if (strlen(word) >= sizeof out->file)
        return false;
    snprintf(out->file, sizeof out->file, "%s", word);
    if (number(colon + 1, &out->line))
        return out->line > 0;
    return parse_function(colon + 1, out);
}

static bool parse_word(const char *word, struct schedule_step *out)
{
    unsigned access = places_access(word);
    size_t kind = 1;

    while (kind < KINDS && strcmp(word, kinds[kind].word) != 0)
        kind++;
    if (strcmp(word, "?") == 0)
        out->optional = true;
    else if (strncmp(word, "older", 5) == 0)
        return number(word + 5, &out->older) && out->older;
    else if (*word == 'x')
        return number(word + 1, &out->count) && out->count;
    else if (access)
        out->access = access;
    else if (kind < KINDS)
        out->kind = kinds[kind].kind;
    else
        return false;
    return true;
}

bool schedule_parse(const char *text, struct schedule_step *out, char *error, size_t error_size)
{
    char word[3 * SCHEDULE_NAME_BYTES];

    *out = (struct schedule_step){0};
    if (next_word(&text, word, sizeof word) < 4 || strncmp(word, "cpu", 3) != 0 ||
        !number(word + 3, &out->cpu)) {
        snprintf(error, error_size,
                 "expected `cpuN FILE:PLACE ACCESS`; a step begins with a processor such as cpu1");
        return false;
    }
    if (next_word(&text, word, sizeof word) >= sizeof word || !parse_place(word, out)) {
        snprintf(error, error_size,
                 "expected a place such as hv/mmu/tdp.c:120, tdp.c:tdp_map+12 or tdp.c:tdp_map#2");
        return false;
    }
    while (next_word(&text, word, sizeof word))
        if (!parse_word(word, out)) {
            snprintf(error, error_size,
                     "`%s` is not known; expected read, write, atomic, block, any, drain, interrupt, "
                     "idle, olderK, xCOUNT or ?",
                     word);
            return false;
        }
    if (!out->access)
        out->access = kinds[out->kind].access;
    if (!out->count && out->kind != SCHEDULE_DRAIN)
        out->count = 1;
    return true;
}

void schedule_step_text(const struct schedule_step *step, char *text, size_t size)
{
    char place[32] = "", count[16] = "", older[24] = "";
    bool plain = step->access == kinds[step->kind].access;
    const char *access = places_access_word(step->access);

    if (step->ordinal)
        snprintf(place, sizeof place, "#%u", step->ordinal);
    else if (step->line)
        snprintf(place, sizeof place, "%s%u", *step->function ? "+" : "", step->line);
    if (step->older)
        snprintf(older, sizeof older, " older%u", step->older);
    if (step->count > (step->kind != SCHEDULE_DRAIN))
        snprintf(count, sizeof count, " x%u", step->count);
    snprintf(text, size, "cpu%u %s:%s%s%s%s%s%s%s%s%s%s%s", step->cpu, step->file, step->function, place,
             *step->caller ? "@" : "", step->caller, plain || !access ? "" : " ",
             plain || !access ? "" : access, step->kind == SCHEDULE_ACCESS ? "" : " ",
             step->kind == SCHEDULE_ACCESS ? "" : kinds[step->kind].word, older, count,
             step->optional ? " ?" : "");
}
