// SPDX-License-Identifier: Apache-2.0
/* Budgets: lines of a file and of a function. Tables (.def) are exempt. */
#include "tools/lint/lint.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LINES_MAX = 600, FUNCTION_LINES_MAX = 70 };

/* A line of code: where it starts, how far it is indented, its length without the newline. */
struct line {
    const char *text;
    size_t indent, length;
};

static struct line line_at(const struct lint_file *file, size_t offset)
{
    struct line line = {.text = file->code + offset, .length = strcspn(file->code + offset, "\n")};
    while (line.length > 0 && isspace((unsigned char)line.text[line.length - 1])) {
        line.length--;
    }
    while (line.indent < line.length && isspace((unsigned char)line.text[line.indent])) {
        line.indent++;
    }
    return line;
}

/* A function starts with a brace alone on its line, below a line that ends a parameter list. */
static bool opens_function(struct line previous, struct line line)
{
    static const char *const tails[] = {")", "const", "override", "noexcept"};
    if (line.length != line.indent + 1 || line.text[line.indent] != '{') {
        return false;
    }
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        const size_t n = strlen(tails[i]);
        if (previous.length >= n && memcmp(previous.text + previous.length - n, tails[i], n) == 0) {
            return true;
        }
    }
    return false;
}

/* Name of the function whose header ends just before `offset`: the word before its first parenthesis. */
static void function_name(const struct lint_file *file, size_t offset, char *name, size_t size_bytes)
{
    const char *end = file->code + offset;
    int depth = 0;
    const char *s = end;
    do {
        s--;
        depth += *s == ')' ? 1 : *s == '(' ? -1 : 0;
    } while (s > file->code && (depth > 0 || *s != '('));
    while (s > file->code && isspace((unsigned char)s[-1])) {
        s--;
    }
    const char *last = s;
    while (s > file->code && (isalnum((unsigned char)s[-1]) || s[-1] == '_')) {
        s--;
    }
    // TEST(suite, name) is known by its arguments.
    if (last - s == 4 && memcmp(s, "TEST", 4) == 0) {
        last = strchr(s, ')') + 1;
    }
    snprintf(name, size_bytes, "%.*s", (int)(last - s), s);
}

static void check_function(struct lint_tree *tree, const struct lint_file *file, size_t start, int start_line,
                           int lines)
{
    if (lines <= FUNCTION_LINES_MAX) {
        return;
    }
    char name[128];
    function_name(file, start, name, sizeof(name));
    char *subject = lint_printf("%s:%s", file->path, name);
    if (!lint_allowed(tree, "function-lines", subject, lines)) {
        lint_complain(tree, file->path, start_line, "function-lines", "%s has %d lines; the budget is %d",
                      name, lines, FUNCTION_LINES_MAX);
    }
    free(subject);
}

static void check_file(struct lint_tree *tree, const struct lint_file *file)
{
    int number = 0, start_line = 0;
    size_t start = 0, start_indent = 0;
    struct line previous = {.text = ""};
    for (size_t at = 0; at < file->size_bytes; at = lint_next_line(file, at)) {
        struct line line = line_at(file, at);
        number++;
        if (start_line == 0 && opens_function(previous, line)) {
            start_line = number;
            start = at;
            start_indent = line.indent;
        } else if (start_line && line.length > line.indent && line.indent == start_indent &&
                   line.text[line.indent] == '}') {
            check_function(tree, file, start, start_line, number - start_line - 1);
            start_line = 0;
        }
        if (line.length > line.indent) {
            previous = line;
        }
    }
    if (number > FILE_LINES_MAX && !lint_allowed(tree, "file-lines", file->path, number)) {
        lint_complain(tree, file->path, 0, "file-lines", "%d lines; the budget is %d", number,
                      FILE_LINES_MAX);
    }
}

void check_budgets(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (lint_is_c(&tree->files[i]) && strcmp(tree->files[i].ending, ".def") != 0) {
            check_file(tree, &tree->files[i]);
        }
    }
}
