// SPDX-License-Identifier: Apache-2.0
/* Where things come from: the licence line of every source, manuals by the editions of spec/SOURCES.md,
 * exceptions. */
#include "tools/lint/lint.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char licence[] = "SPDX-License-Identifier: Apache-2.0";

static bool wants_licence(const struct lint_file *file)
{
    static const char *const endings[] = {".S",   ".sh",  ".cmake", ".yaml",         ".yml",
                                          ".sql", ".awk", ".py",    "CMakeLists.txt"};
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (lint_ends_with(file->path, endings[i])) {
            return true;
        }
    }
    return lint_is_c(file) || strncmp(file->raw, "#!", 2) == 0;
}

void check_licence(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct lint_file *file = &tree->files[i];
        if (!wants_licence(file)) {
            continue;
        }
        const size_t first = strncmp(file->raw, "#!", 2) == 0 ? lint_next_line(file, 0) : 0;
        const char *found = strstr(file->raw + first, licence);
        if (!found || found >= file->raw + lint_next_line(file, first)) {
            if (!lint_allowed(tree, "licence", file->path, 0)) {
                lint_complain(tree, file->path, 1, "licence", "the first line does not say %s", licence);
            }
        }
    }
}

/*
 * Ways to name a manual: by its short name before a section, or by document number and edition. Group 1 is
 * what spec/SOURCES.md must contain.
 */
static const char *const citations[] = {
    "(SDM|APM|ARM ARM) +([Vv]ol|[Aa]pp|[Cc]h|[Ss]ection|[Tt]able|[Ff]ig|[0-9A-Z][0-9]*[.][0-9])",
    "(DDI ?[0-9]{4})",
    "(DDI ?[0-9]{4} [A-Z]\\.[a-z])",
    "(IHI ?[0-9]{4})",
    "(IHI ?[0-9]{4} [A-Z])([^A-Z0-9a-z]|$)",
    "(325462-[0-9]{3}(US)?)",
    "(24593 (rev|Rev)[. ]*[0-9.]+)",
};

static void check_cited(struct lint_tree *tree, const struct lint_file *file, const char *sources,
                        const regex_t *form)
{
    regmatch_t match[2];
    const char *s = file->raw;
    while (regexec(form, s, 2, match, 0) == 0) {
        const char *start = s + match[1].rm_so;
        char *name = lint_printf("%.*s", (int)(match[1].rm_eo - match[1].rm_so), start);
        const bool whole = start == file->raw || !isalnum((unsigned char)start[-1]);
        if (whole && !strstr(sources, name) && !lint_allowed(tree, "citations", file->path, 0)) {
            lint_complain(tree, file->path, lint_line_of(file, (size_t)(start - file->raw)), "citations",
                          "cites %s, which spec/SOURCES.md does not list", name);
        }
        free(name);
        s += match[0].rm_eo;
    }
}

void check_citations(struct lint_tree *tree)
{
    const struct lint_file *list = lint_find(tree, "spec/SOURCES.md");
    for (size_t form = 0; form < sizeof(citations) / sizeof(citations[0]); form++) {
        regex_t compiled;
        if (regcomp(&compiled, citations[form], REG_EXTENDED) != 0) {
            fprintf(stderr, "hvsim-lint: bad pattern %s\n", citations[form]);
            exit(70);
        }
        for (size_t i = 0; i < tree->count; i++) {
            const struct lint_file *file = &tree->files[i];
            if (file != list && (lint_is_c(file) || lint_ends_with(file->path, ".md") ||
                                 lint_ends_with(file->path, ".yaml"))) {
                check_cited(tree, file, list ? list->raw : "", &compiled);
            }
        }
        regfree(&compiled);
    }
}

void check_allow(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->allow.count; i++) {
        const struct lint_row *row = &tree->allow.rows[i];
        if (!*row->column[3]) {
            lint_complain(tree, "tools/lint/allow.txt", row->line, "exceptions",
                          "want four columns: check | subject | limit | reason");
        } else if (!row->used) {
            lint_complain(tree, "tools/lint/allow.txt", row->line, "exceptions",
                          "'%s | %s' is no longer needed: remove the line", row->column[0], row->column[1]);
        }
    }
}
