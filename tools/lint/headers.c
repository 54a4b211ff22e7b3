// SPDX-License-Identifier: Apache-2.0
/* Every header compiles alone, as the first thing a file includes. */
#include "tools/lint/lint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A shell word that stands for s itself. */
static char *quoted(const char *s)
{
    char *word = lint_alloc(strlen(s) * 4 + 3), *to = word;
    *to++ = '\'';
    for (; *s; s++) {
        if (*s == '\'') {
            to = stpcpy(to, "'\\''");
        } else {
            *to++ = *s;
        }
    }
    *to = '\'';
    return word;
}

/* The compiler's first complaint about the header, "" if it has none. */
static void first_error(const char *root, const char *path, char *buf, size_t size_bytes)
{
    // The one room of C++ (tests/shim/shim.h is for C and C++).
    const char *compiler_words = strncmp(path, "sim/systemc/", strlen("sim/systemc/")) == 0
                                     ? "${HVSIM_LINT_CXX:-c++} -std=c++17 -x c++"
                                     : "${HVSIM_LINT_CC:-cc} -std=c11 -x c";
    char *folder = quoted(root), *line = lint_printf("#include \"%s\"", path), *text = quoted(line);
    char *command = lint_printf("cd %s && printf '%%s\\n' %s | %s -D_GNU_SOURCE -fsyntax-only -I. - 2>&1",
                                folder, text, compiler_words);
    char reply[512];
    buf[0] = 0;
    FILE *compiler = popen(command, "r");
    while (compiler && fgets(reply, sizeof(reply), compiler)) {
        reply[strcspn(reply, "\n")] = 0;
        if (!buf[0] && strstr(reply, "error:")) {
            snprintf(buf, size_bytes, "%s", strstr(reply, "error:") + strlen("error: "));
        }
    }
    const int status = compiler ? pclose(compiler) : -1;
    if (status != 0 && !buf[0]) {
        snprintf(buf, size_bytes, "the compiler failed (HVSIM_LINT_CC and HVSIM_LINT_CXX name others)");
    }
    free(folder);
    free(line);
    free(text);
    free(command);
}

void check_headers(struct lint_tree *tree)
{
    char message[512];
    for (size_t i = 0; i < tree->count; i++) {
        const struct lint_file *file = &tree->files[i];
        if (strcmp(file->ending, ".h") != 0) {
            continue;
        }
        first_error(tree->root, file->path, message, sizeof(message));
        if (message[0] && !lint_allowed(tree, "headers", file->path, 0)) {
            lint_complain(tree, file->path, 0, "headers", "does not compile alone: %s", message);
        }
    }
}
