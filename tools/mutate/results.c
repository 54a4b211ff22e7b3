// SPDX-License-Identifier: Apache-2.0
/*
 * What was found, a line each: key, who could look, outcome, name, who noticed, how. Lines are only added;
 * the last one counts. What was noticed stays noticed; what was not is asked again when there is somebody new
 * to ask.
 */
#include "tools/mutate/mutate.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool parse(char *line, uint64_t *key, uint64_t *eyes, struct mutate_result *result)
{
    char *field[6] = {0};
    for (size_t i = 0; i < 6; i++)
        if ((field[i] = strsep(&line, "\t")) == NULL)
            return false;
    *key = strtoull(field[0], NULL, 16);
    *eyes = strtoull(field[1], NULL, 16);
    *result = (struct mutate_result){.outcome = *field[2] == 'n' ? MUTATE_NOTICED : MUTATE_QUIET,
                                     .compiled = *field[2] != 'x'};
    snprintf(result->by, sizeof result->by, "%s", field[4]);
    snprintf(result->how, sizeof result->how, "%s", field[5]);
    return true;
}

bool mutate_recall(const char *path, uint64_t key, uint64_t eyes, struct mutate_result *result)
{
    char *text = mutate_read(path), *rest = text, *line;
    bool known = false;
    while (rest && (line = strsep(&rest, "\n")) != NULL) {
        uint64_t its_key, its_eyes;
        struct mutate_result its;
        if (!parse(line, &its_key, &its_eyes, &its) || its_key != key)
            continue;
        known = its.outcome == MUTATE_NOTICED || its_eyes == eyes;
        *result = its;
    }
    free(text);
    return known;
}

void mutate_remember(const char *path, uint64_t key, uint64_t eyes, const char *name,
                     const struct mutate_result *result)
{
    const char *outcome = !result->compiled ? "x" : result->outcome == MUTATE_NOTICED ? "noticed" : "quiet";
    char *line = mutate_printf("%016" PRIx64 "\t%016" PRIx64 "\t%s\t%s\t%s\t%s\n", key, eyes, outcome, name,
                               result->by, result->how);
    int f = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (f < 0 || write(f, line, strlen(line)) != (ssize_t)strlen(line)) {
        fprintf(stderr, "hvsim-mutate: cannot write %s\n", path);
        exit(2);
    }
    close(f);
    free(line);
}
