// SPDX-License-Identifier: Apache-2.0
/*
 * Words that do not belong in a folder, by words.txt. Columns: where (code: outside comments and strings;
 * text: anywhere), word (whole; `name(` wants a call; letters compare exactly in code, in either case in
 * text), in which files, but not in which, what to do instead.
 */
#include "tools/lint/lint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Is the hit of `length` bytes at s a whole word (and, for `name(`, a call of that function, not of a
 * member)? */
static bool whole(const char *start, const char *s, size_t length, bool call)
{
    const char before = s > start ? s[-1] : ' ';
    const bool member = before == '.' || (before == '>' && s - start > 1 && s[-2] == '-');
    if (word_char(before) || word_char(s[length]) || (call && member)) {
        return false;
    }
    return !call || s[length + strspn(s + length, " ")] == '(';
}

static void look_for(struct lint_tree *tree, const struct lint_file *file, const struct lint_row *row)
{
    const bool in_code = strcmp(row->column[0], "code") == 0;
    const char *text = in_code ? file->code : file->raw;
    char *word = lint_printf("%s", row->column[1]);
    const bool call = lint_ends_with(word, "(");
    if (call) {
        word[strlen(word) - 1] = 0;
    }
    const size_t length = strlen(word);
    const char *s = text;
    while ((s = in_code ? strstr(s, word) : strcasestr(s, word)) != NULL) {
        if (whole(text, s, length, call)) {
            char *subject = lint_printf("%s:%s", file->path, word);
            if (!lint_allowed(tree, "words", subject, 0)) {
                lint_complain(tree, file->path, lint_line_of(file, (size_t)(s - text)), "words",
                              "'%s' here; %s", row->column[1], row->column[4]);
            }
            free(subject);
        }
        s += length;
    }
    free(word);
}

void check_words(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct lint_file *file = &tree->files[i];
        for (size_t j = 0; j < tree->words.count; j++) {
            const struct lint_row *row = &tree->words.rows[j];
            const bool looked_at = lint_is_c(file) || strcmp(row->column[0], "text") == 0;
            if (looked_at && lint_match_any(tree, row->column[2], file->path) &&
                !lint_match_any(tree, row->column[3], file->path)) {
                look_for(tree, file, row);
            }
        }
    }
}
