// SPDX-License-Identifier: Apache-2.0
/* Walls: which folder may include what, by layers.txt. */
#include "tools/lint/lint.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* First row whose pattern matches the file; NULL if the file is in no room. */
static const struct lint_row *room_of(const struct lint_tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->layers.count; i++) {
        const struct lint_row *row = &tree->layers.rows[i];
        if (strcmp(row->column[0], "group") != 0 && fnmatch(row->column[0], path, 0) == 0) {
            return row;
        }
    }
    return NULL;
}

static void check_include(struct lint_tree *tree, const struct lint_file *file, const struct lint_row *room,
                          int line, const char *target)
{
    if (target[0] != '<' && !lint_find(tree, target)) {
        lint_complain(tree, file->path, line, "layers",
                      "\"%s\" is not a file of the sources; name it from the top folder", target);
        return;
    }
    const bool allowed =
        lint_match_any(tree, room->column[1], target) && !lint_match_any(tree, room->column[2], target);
    if (!allowed) {
        lint_complain(tree, file->path, line, "layers",
                      "%s may not include %s (layers.txt line %d allows: %s%s%s)", room->column[0], target,
                      room->line, room->column[1], *room->column[2] ? " but not " : "", room->column[2]);
    }
}

void check_layers(struct lint_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct lint_file *file = &tree->files[i];
        if (!lint_is_c(file)) {
            continue;
        }
        const struct lint_row *room = room_of(tree, file->path);
        if (!room) {
            lint_complain(tree, file->path, 0, "layers", "this folder has no row in layers.txt");
            continue;
        }
        int line = 1;
        char target[256];
        for (size_t at = 0; at < file->size_bytes; at = lint_next_line(file, at), line++) {
            if (lint_include_at(file, at, target, sizeof(target))) {
                check_include(tree, file, room, line, target);
            }
        }
    }
}
