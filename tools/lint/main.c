// SPDX-License-Identifier: Apache-2.0
#include "tools/lint/lint.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* check_allow() must be the last: it sees which exceptions the others needed. */
static void (*const checks[])(struct lint_tree *) = {
    check_layers, check_budgets, check_words,     check_headers,
    check_dead,   check_licence, check_citations, check_allow,
};

void lint_complain(struct lint_tree *tree, const char *path, int line, const char *check, const char *format,
                   ...)
{
    va_list args;
    va_start(args, format);
    if (line > 0) {
        printf("%s:%d: %s: ", path, line, check);
    } else {
        printf("%s: %s: ", path, check);
    }
    vprintf(format, args);
    printf("\n");
    va_end(args);
    tree->complaints++;
}

bool lint_allowed(struct lint_tree *tree, const char *check, const char *subject, long actual)
{
    for (size_t i = 0; i < tree->allow.count; i++) {
        struct lint_row *row = &tree->allow.rows[i];
        if (strcmp(row->column[0], check) == 0 && strcmp(row->column[1], subject) == 0) {
            row->used = true;
            return actual <= atol(row->column[2]);
        }
    }
    return false;
}

/* The list that a row `group | NAME | list` of layers.txt gives to @NAME; "" if there is none. */
static const char *group_list(const struct lint_tree *tree, const char *name)
{
    for (size_t i = 0; i < tree->layers.count; i++) {
        const struct lint_row *row = &tree->layers.rows[i];
        if (strcmp(row->column[0], "group") == 0 && strcmp(row->column[1], name) == 0) {
            return row->column[2];
        }
    }
    return "";
}

bool lint_match_any(const struct lint_tree *tree, const char *patterns, const char *text)
{
    char *copy = lint_printf("%s", patterns), *rest = copy, *pattern;
    bool matched = false;
    while (!matched && (pattern = strsep(&rest, " ")) != NULL) {
        if (*pattern == '@') {
            matched = lint_match_any(tree, group_list(tree, pattern + 1), text);
        } else if (*pattern) {
            matched = fnmatch(pattern, text, 0) == 0;
        }
    }
    free(copy);
    return matched;
}

int lint_line_of(const struct lint_file *file, size_t offset)
{
    int line = 1;
    for (size_t i = 0; i < offset; i++) {
        line += file->raw[i] == '\n';
    }
    return line;
}

size_t lint_next_line(const struct lint_file *file, size_t offset)
{
    const char *newline = strchr(file->raw + offset, '\n');
    return newline ? (size_t)(newline - file->raw) + 1 : file->size_bytes;
}

bool lint_include_at(const struct lint_file *file, size_t line_start, char *buf, size_t size_bytes)
{
    // Told from the code, so that an #include in a comment is none; read from the bytes, where strings still
    // are.
    const char *s = file->code + line_start;
    s += strspn(s, " \t");
    if (*s != '#') {
        return false;
    }
    s += 1 + strspn(s + 1, " \t");
    if (strncmp(s, "include", 7) != 0) {
        return false;
    }
    const char *target = file->raw + (s - file->code) + 7;
    target += strspn(target, " \t");
    if (*target != '"' && *target != '<') {
        return false;
    }
    const size_t length = strcspn(target + 1, *target == '"' ? "\"\n" : ">\n");
    if (*target == '"') {
        snprintf(buf, size_bytes, "%.*s", (int)length, target + 1);
    } else {
        snprintf(buf, size_bytes, "<%.*s>", (int)length, target + 1);
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3 || argv[1][0] == '-') {
        fprintf(stderr, "usage: hvsim-lint SOURCE_FOLDER [FOLDER_OF_TABLES]\n");
        return 2;
    }
    struct lint_tree tree = {0};
    lint_read_tree(&tree, argv[1]);
    char *own = lint_printf("%s/tools/lint", argv[1]);
    const char *tables = argc > 2 ? argv[2] : own;
    lint_read_table(&tree.layers, tables, "layers.txt", false);
    lint_read_table(&tree.words, tables, "words.txt", false);
    // The exceptions are always the tree's own.
    lint_read_table(&tree.allow, own, "allow.txt", true);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        checks[i](&tree);
    }
    if (tree.complaints) {
        printf("hvsim-lint: %u complaints in %zu files\n", tree.complaints, tree.count);
    } else {
        printf("hvsim-lint: %zu files, no complaint\n", tree.count);
    }
    const int status = tree.complaints ? 1 : 0;
    lint_free_tree(&tree);
    free(own);
    return status;
}
