// SPDX-License-Identifier: Apache-2.0
/* Reading the source tree and the tables. */
#include "tools/lint/lint.h"

#include <ctype.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *lint_alloc(size_t size_bytes)
{
    void *memory = calloc(1, size_bytes ? size_bytes : 1);
    if (!memory) {
        fprintf(stderr, "hvsim-lint: out of memory\n");
        exit(2);
    }
    return memory;
}

char *lint_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        fprintf(stderr, "hvsim-lint: out of memory\n");
        exit(2);
    }
    va_end(args);
    return text;
}

bool lint_ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

bool lint_is_c(const struct lint_file *file)
{
    static const char *const endings[] = {".c", ".h", ".cpp", ".def"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (strcmp(file->ending, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Bytes of a file and a zero byte; NULL if it cannot be read. */
static char *read_bytes(const char *path, size_t *size_bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        return NULL;
    }
    size_t room = 1 << 16, length = 0, got;
    char *bytes = lint_alloc(room);
    while ((got = fread(bytes + length, 1, room - length - 1, f)) > 0) {
        length += got;
        if (room - length < 2) {
            char *larger = lint_alloc(room * 2);
            memcpy(larger, bytes, length);
            free(bytes);
            bytes = larger;
            room *= 2;
        }
    }
    fclose(f);
    bytes[length] = 0;
    *size_bytes = length;
    return bytes;
}

/* How far the comment, string or character that starts at s goes; 0 if none starts there. */
static size_t literal_length(const char *s)
{
    if (s[0] == '/' && s[1] == '/') {
        return strcspn(s, "\n");
    }
    if (s[0] == '/' && s[1] == '*') {
        const char *end = strstr(s + 2, "*/");
        return end ? (size_t)(end - s) + 2 : strlen(s);
    }
    if (s[0] != '"' && s[0] != '\'') {
        return 0;
    }
    size_t n = 1;
    while (s[n] && s[n] != s[0] && s[n] != '\n') {
        n += s[n] == '\\' && s[n + 1] ? 2 : 1;
    }
    return s[n] == s[0] ? n + 1 : n;
}

void lint_blank_literals(char *code)
{
    char previous = ' ';
    for (char *s = code; *s;) {
        // In 0x1'000 (C++) the quote is not the start of a character.
        size_t n = *s == '\'' && isxdigit((unsigned char)previous) ? 0 : literal_length(s);
        if (n == 0) {
            previous = *s++;
            continue;
        }
        for (; n > 0; n--, s++) {
            if (*s != '\n') {
                *s = ' ';
            }
        }
        previous = ' ';
    }
}

static bool skipped_folder(const char *name, int level)
{
    // .ci is the one hidden folder of the sources.
    return (name[0] == '.' && level > 0 && strcmp(name, ".ci") != 0) ||
           (level == 1 && (strncmp(name, "build", 5) == 0 || strcmp(name, "imported") == 0));
}

static void add_file(struct lint_tree *tree, const char *path)
{
    struct lint_file file = {0};
    char *full = lint_printf("%s/%s", tree->root, path);
    file.raw = read_bytes(full, &file.size_bytes);
    free(full);
    if (!file.raw || strlen(file.raw) != file.size_bytes) { // Not text: none of our business.
        free(file.raw);
        return;
    }
    file.path = lint_printf("%s", path);
    const char *name = strrchr(file.path, '/') ? strrchr(file.path, '/') + 1 : file.path;
    file.ending = strrchr(name, '.') ? strrchr(name, '.') : name;
    file.code = lint_printf("%s", file.raw);
    if (lint_is_c(&file)) {
        lint_blank_literals(file.code);
    }
    if ((tree->count & (tree->count - 1)) == 0) {
        size_t room = tree->count ? tree->count * 2 : 1;
        struct lint_file *larger = lint_alloc(room * sizeof(*larger));
        if (tree->count) {
            memcpy(larger, tree->files, tree->count * sizeof(*larger));
        }
        free(tree->files);
        tree->files = larger;
    }
    tree->files[tree->count++] = file;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct lint_file *)a)->path, ((const struct lint_file *)b)->path);
}

void lint_read_tree(struct lint_tree *tree, const char *root)
{
    char *path = lint_printf("%s", root);
    char *const paths[] = {path, NULL};
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT *entry;
    tree->root = root;
    while (walk && (entry = fts_read(walk)) != NULL) {
        if (entry->fts_info == FTS_D && skipped_folder(entry->fts_name, entry->fts_level)) {
            fts_set(walk, entry, FTS_SKIP);
        } else if (entry->fts_info == FTS_F) {
            add_file(tree, entry->fts_path + strlen(root) + 1);
        }
    }
    if (walk) {
        fts_close(walk);
    }
    free(path);
    if (tree->count == 0) {
        fprintf(stderr, "hvsim-lint: %s: no source tree here\n", root);
        exit(2);
    }
    qsort(tree->files, tree->count, sizeof(tree->files[0]), by_path);
}

void lint_free_tree(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->files[i].path);
        free(tree->files[i].raw);
        free(tree->files[i].code);
    }
    free(tree->files);
    lint_free_table(&tree->layers);
    lint_free_table(&tree->words);
    lint_free_table(&tree->allow);
}

const struct lint_file *lint_find(const struct lint_tree *tree, const char *path)
{
    char *copy = lint_printf("%s", path);
    const struct lint_file key = {.path = copy};
    const struct lint_file *found = bsearch(&key, tree->files, tree->count, sizeof(key), by_path);
    free(copy);
    return found;
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *s)
{
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1])) {
        *--end = 0;
    }
    while (isspace((unsigned char)*s)) {
        s++;
    }
    return s;
}

static void read_row(struct lint_row *row, char *line)
{
    for (int i = 0; i < LINT_COLUMNS_MAX; i++) {
        row->column[i] = "";
    }
    for (int i = 0; i < LINT_COLUMNS_MAX && line; i++) {
        char *bar = strchr(line, '|');
        if (bar) {
            *bar++ = 0;
        }
        row->column[i] = trim(line);
        line = bar;
    }
}

void lint_read_table(struct lint_table *table, const char *folder, const char *name, bool optional)
{
    size_t size_bytes;
    char *path = lint_printf("%s/%s", folder, name);
    table->text = read_bytes(path, &size_bytes);
    if (!table->text) {
        if (!optional) {
            fprintf(stderr, "hvsim-lint: cannot read %s\n", path);
            exit(2);
        }
        free(path);
        return;
    }
    free(path);
    size_t lines = 1;
    for (const char *s = table->text; *s; s++) {
        lines += *s == '\n';
    }
    table->rows = lint_alloc(lines * sizeof(table->rows[0]));
    int number = 0;
    char *rest = table->text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        number++;
        line = trim(line);
        if (*line && *line != '#') {
            table->rows[table->count].line = number;
            read_row(&table->rows[table->count++], line);
        }
    }
}

void lint_free_table(struct lint_table *table)
{
    free(table->text);
    free(table->rows);
}
