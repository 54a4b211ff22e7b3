// SPDX-License-Identifier: Apache-2.0
/*
 * hvsim-lint: the agreements of this project that a program can check.
 *
 * It reads a source tree once, hands it to each check and prints what they complain about as
 * `path:line: check: message`. What is allowed stands in tables beside this file, not in the code:
 *
 *   layers.txt   which folder may include what (the table of docs/architecture.md)
 *   words.txt    words that do not belong in a folder, and what to use instead
 *   allow.txt    known exceptions, each with its reason; one that is no longer needed is itself an error
 */
#ifndef TOOLS_LINT_LINT_H
#define TOOLS_LINT_LINT_H

#include <stdbool.h>
#include <stddef.h>

/* One file of the tree. */
struct lint_file {
    char *path;         // From the tree's root, no leading "./".
    const char *ending; // ".c", ".h", ...; the file's name where it has no ending.
    char *raw;          // Its bytes, ended by a zero byte.
    char *code;         // Same length; in C files comments, strings and characters are blanks. Newlines stay.
    size_t size_bytes;
};

#define LINT_COLUMNS_MAX 6

/* A row of a table: columns separated by `|`, blanks around them removed; missing ones are "". */
struct lint_row {
    const char *column[LINT_COLUMNS_MAX];
    int line;
    bool used; // For allow.txt: an exception that applied.
};

struct lint_table {
    char *text;
    struct lint_row *rows;
    size_t count;
};

struct lint_tree {
    const char *root;
    struct lint_file *files; // Sorted by path.
    size_t count;
    struct lint_table layers, words, allow;
    unsigned complaints;
};

void check_layers(struct lint_tree *tree);
void check_budgets(struct lint_tree *tree);
void check_words(struct lint_tree *tree);
void check_headers(struct lint_tree *tree);
void check_dead(struct lint_tree *tree);
void check_licence(struct lint_tree *tree);
void check_citations(struct lint_tree *tree);
/* Runs last: sees which rows of allow.txt the others needed. */
void check_allow(struct lint_tree *tree);

/* Reads every file below root but build folders, hidden folders and what git would not keep. Exits 2 on
 * failure. */
void lint_read_tree(struct lint_tree *tree, const char *root);
void lint_free_tree(struct lint_tree *tree);
/* Makes comments, strings and characters of a C text blanks; newlines stay. */
void lint_blank_literals(char *code);

/* Reads a table; a file that is not there is an empty one if `optional`, else exit status 2. */
void lint_read_table(struct lint_table *table, const char *folder, const char *name, bool optional);
void lint_free_table(struct lint_table *table);

/* The file of that path, or NULL. */
const struct lint_file *lint_find(const struct lint_tree *tree, const char *path);

/* Prints a complaint and counts it. line 0: about the whole file. */
void lint_complain(struct lint_tree *tree, const char *path, int line, const char *check, const char *format,
                   ...) __attribute__((format(printf, 5, 6)));

/*
 * Does allow.txt (columns: check, subject, limit, reason) let `subject` have `actual` of what `check` counts?
 * Checks that do not count pass 0.
 */
bool lint_allowed(struct lint_tree *tree, const char *check, const char *subject, long actual);

/* fnmatch() of `text` with any of the patterns in a list separated by blanks; @NAME stands for a group's
 * list. */
bool lint_match_any(const struct lint_tree *tree, const char *patterns, const char *text);

bool lint_is_c(const struct lint_file *file);
bool lint_ends_with(const char *text, const char *ending);
/* Line of a place in a file, counted from 1. */
int lint_line_of(const struct lint_file *file, size_t offset);
/* If an #include starts at the line's first byte: its target with <> for system headers, into buf. */
bool lint_include_at(const struct lint_file *file, size_t line_start, char *buf, size_t size_bytes);
/* Offset of the next line's first byte, or size_bytes. */
size_t lint_next_line(const struct lint_file *file, size_t offset);

void *lint_alloc(size_t size_bytes);
char *lint_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
