// SPDX-License-Identifier: Apache-2.0
#include "models/check/words.h"
#include "sim/scenario/user_error.h"
#include "tools/hvsim/command.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int complain(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fputs("hvsim: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return STATUS_USAGE;
}

int number_option(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-')
        return complain("%s wants a number, got `%s`", option, text);
    if (*out < min || *out > max)
        return complain("%s wants a number of %" PRIu64 " to %" PRIu64 ", got %s", option, min, max, text);
    return 0;
}

int memory_option(const char *text, enum memory_kind *out)
{
    for (*out = 0; *out < MEMORY_KIND_COUNT; ++*out)
        if (strcmp(text, memory_kind_names[*out]) == 0)
            return 0;
    return complain("--memory wants tso, sc or c11, got `%s`", text);
}

int validate_option(const char *list, uint32_t *kinds)
{
    const char *unknown;
    size_t bytes;

    *kinds = check_parse(list, &unknown, &bytes);
    if (*kinds)
        return 0;
    return complain("--validate: `%.*s` is no validator; expected a list of %s", (int)bytes, unknown,
                    check_words());
}

void usage_print(const struct usage *u)
{
    printf("usage: hvsim %s\n\n%s\n", u->synopsis, u->about);
    if (u->option_count)
        puts("\noptions:");
    for (size_t i = 0; i < u->option_count; i++) {
        char left[64];

        snprintf(left, sizeof left, "%s %s", u->options[i].name,
                 u->options[i].value_name ? u->options[i].value_name : "");
        printf("  %-24s %s\n", left, u->options[i].about);
    }
    printf("  %-24s %s\n", "--help", "this text");
    if (u->examples)
        printf("\nexamples:\n%s", u->examples);
}

// Beside OPTION_WORD and indices of options.
enum { OPTION_END = -2, OPTION_BAD = -3, OPTION_HELP = -4 };

static int unknown_option(const struct usage *u, const char *given)
{
    const char *names[64];
    size_t count = 0;

    for (; count < u->option_count && count < 64; count++)
        names[count] = u->options[count].name;
    const char *near = nearest_word(given, names, count);

    complain("unknown option %s%s%s%s; `hvsim %.*s --help` lists them", given, near ? "; did you mean `" : "",
             near ? near : "", near ? "`" : "", (int)strcspn(u->synopsis, " "), u->synopsis);
    return OPTION_BAD;
}

// The next argument's option, with its value; OPTION_BAD after a message. *at starts at 1.
static int next(const struct usage *u, int argc, char **argv, int *at, const char **value)
{
    if (*at >= argc)
        return OPTION_END;
    char *word = argv[(*at)++];

    *value = word;
    if (word[0] != '-' || word[1] == 0)
        return OPTION_WORD;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        usage_print(u);
        return OPTION_HELP;
    }
    size_t length = strcspn(word, "=");

    for (size_t i = 0; i < u->option_count; i++) {
        const struct option_row *o = &u->options[i];

        if (strlen(o->name) != length || strncmp(o->name, word, length) != 0)
            continue;
        *value = NULL;
        if (!o->value_name && !word[length])
            return (int)i;
        if (!o->value_name) {
            complain("%s takes no value", o->name);
            return OPTION_BAD;
        }
        bool optional = o->value_name[0] == '[';
        bool has_next = *at < argc && (!optional || (argv[*at][0] >= '0' && argv[*at][0] <= '9'));

        *value = word[length] ? word + length + 1 : has_next ? argv[(*at)++] : NULL;
        if (*value || optional)
            return (int)i;
        complain("%s needs a value: %s", o->name, o->value_name);
        return OPTION_BAD;
    }
    return unknown_option(u, word);
}

bool usage_take(const struct usage *u, int argc, char **argv,
                int (*take)(void *ctx, int option, const char *value), void *ctx, int *status)
{
    const char *value;
    int at = 1, option;

    while ((option = next(u, argc, argv, &at, &value)) != OPTION_END) {
        *status = option == OPTION_HELP  ? STATUS_OK
                  : option == OPTION_BAD ? STATUS_USAGE
                                         : take(ctx, option, value);
        if (option == OPTION_HELP || *status != STATUS_OK)
            return false;
    }
    return true;
}
