// SPDX-License-Identifier: Apache-2.0
/*
 * Dead files: a C file that no CMakeLists.txt names, a header or table that nothing includes. In a
 * CMakeLists.txt every word counts as a path from its folder; ${VARIABLE} and file(GLOB ...)'s * stand for
 * anything.
 */
#include "tools/lint/lint.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The word as a pattern for paths from the top: known folders written out, other variables as `*`. */
static char *pattern_of(const char *folder, const char *word)
{
    static const char *const here[] = {"${CMAKE_CURRENT_SOURCE_DIR}/", "${CMAKE_CURRENT_LIST_DIR}/"};
    static const char *const top[] = {"${CMAKE_SOURCE_DIR}/", "${PROJECT_SOURCE_DIR}/"};
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(word, here[i], strlen(here[i])) == 0) {
            word += strlen(here[i]);
        } else if (strncmp(word, top[i], strlen(top[i])) == 0) {
            word += strlen(top[i]);
            folder = "";
        }
    }
    char *pattern = lint_alloc(strlen(folder) + strlen(word) + 1), *to = stpcpy(pattern, folder);
    while (*word) {
        const char *end = strncmp(word, "${", 2) == 0 ? strchr(word, '}') : NULL;
        *to++ = end ? '*' : *word;
        word = end ? end + 1 : word + 1;
    }
    return pattern;
}

/* a/b/../c as a/c, in place. */
static void remove_parents(char *path)
{
    char *up;
    while ((up = strstr(path, "/../")) != NULL && up > path) {
        char *start = up;
        while (start > path && start[-1] != '/') {
            start--;
        }
        memmove(start, up + 4, strlen(up + 4) + 1);
    }
}

/* Does a bare file name (a function may put the folder before it) stand for that file below the folder? */
static bool bare_name(const char *folder, const char *word, const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    return strncmp(path, folder, strlen(folder)) == 0 && strcmp(word, name) == 0;
}

static bool named_in(const struct lint_file *list, const char *path)
{
    char *folder = lint_printf("%s", list->path);
    folder[strlen(folder) - strlen("CMakeLists.txt")] = 0;
    char *text = lint_printf("%s", list->raw), *rest = text, *line;
    bool named = false;
    while (!named && (line = strsep(&rest, "\n")) != NULL) {
        line[strcspn(line, "#")] = 0;
        char *word;
        while (!named && (word = strsep(&line, " \t()\";")) != NULL) {
            if (*word) {
                char *pattern = pattern_of(folder, word);
                remove_parents(pattern);
                // A word that is nothing but variables names no file.
                named =
                    bare_name(folder, word, path) || (strchr(word, '.') && fnmatch(pattern, path, 0) == 0);
                free(pattern);
            }
        }
    }
    free(folder);
    free(text);
    return named;
}

static bool named_by_build(const struct lint_tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (lint_ends_with(tree->files[i].path, "CMakeLists.txt") && named_in(&tree->files[i], path)) {
            return true;
        }
    }
    return false;
}

static bool included(const struct lint_tree *tree, const char *path)
{
    char target[256];
    for (size_t i = 0; i < tree->count; i++) {
        const struct lint_file *file = &tree->files[i];
        for (size_t at = 0; lint_is_c(file) && at < file->size_bytes; at = lint_next_line(file, at)) {
            if (lint_include_at(file, at, target, sizeof(target)) && strcmp(target, path) == 0 &&
                strcmp(file->path, path) != 0) {
                return true;
            }
        }
    }
    return false;
}

void check_dead(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct lint_file *file = &tree->files[i];
        if (!lint_is_c(file) || named_by_build(tree, file->path) || included(tree, file->path) ||
            lint_allowed(tree, "dead", file->path, 0)) {
            continue;
        }
        const bool source = strcmp(file->ending, ".c") == 0 || strcmp(file->ending, ".cpp") == 0;
        lint_complain(tree, file->path, 0, "dead",
                      source ? "no CMakeLists.txt names this file" : "nothing includes this file");
    }
}
