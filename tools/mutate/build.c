// SPDX-License-Identifier: Apache-2.0
/* Makes the core without one of its places: one file compiled anew, the rest as the build has it. */
#include "tools/mutate/mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static void no_build(const struct mutate_build *b, const char *what)
{
    fprintf(stderr, "hvsim-mutate: %s: %s; `./dev build` first\n", b->folder, what);
    exit(2);
}

/* `text` with the first `from` made `to`; NULL if it has none. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    return at ? mutate_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) : NULL;
}

static char *word_at(const char *text)
{
    return mutate_printf("%.*s", (int)strcspn(text, " \n"), text);
}

/* cd FOLDER && COMPILER ... -MD -MF DEPS -c ../hvroot/SOURCE -o OBJECT [&& what cmake does then] */
static void learn_compile(struct mutate_build *b, char *line)
{
    char *source = strstr(line, " -c "), *object = source ? strstr(source, " -o ") : NULL,
         *deps = strstr(line, " -MD "), *more = object ? strstr(object, " && ") : NULL,
         *root = source ? strstr(source, "/hvroot/") : NULL;
    if (!object || !deps || !root)
        no_build(b, "objects of the core are not made as expected");
    if (more)
        *more = 0;
    size_t bytes = (b->count + 1) * sizeof(char *);
    b->compile = realloc(b->compile, bytes);
    b->objects = realloc(b->objects, bytes);
    b->sources = realloc(b->sources, bytes);
    if (!b->compile || !b->objects || !b->sources)
        abort();
    b->sources[b->count] = word_at(root + strlen("/hvroot/"));
    b->objects[b->count] = word_at(object + strlen(" -o "));
    b->compile[b->count++] = mutate_printf("%.*s", (int)(deps - line), line);
}

void mutate_learn(struct mutate_build *b, const char *source, const char *folder, const char *name)
{
    *b = (struct mutate_build){
        .source = source, .folder = folder, .library = mutate_printf("lib/lib%s.so", name)};
    char *command = mutate_printf("ninja -C '%s' -t commands '%s'", folder, b->library);
    char *soname = mutate_printf("-soname,lib%s.so", name);
    FILE *commands = popen(command, "r");
    char *line = NULL;
    size_t room = 0;
    if (!commands)
        no_build(b, "no ninja");
    while (getline(&line, &room, commands) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (strstr(line, "/hvroot/") && strstr(line, " -c "))
            learn_compile(b, line);
        else if (strstr(line, soname))
            b->link = mutate_printf("%s", line);
    }
    if (pclose(commands) != 0 || !b->link || !b->count)
        no_build(b, "ninja does not say how the core is made");
    free(line);
    free(soname);
    free(command);
}

static bool depends(const struct mutate_build *b, unsigned object, const char *file)
{
    char *path = mutate_printf("%s.d", b->objects[object]), *deps = mutate_read(path);
    char *in_root = mutate_printf("/hvroot/%s", file);
    bool found = false;
    for (const char *at = deps; at && !found && (at = strstr(at, in_root)) != NULL; at++)
        found = strchr(" \n\\", at[strlen(in_root)]) != NULL;
    free(in_root);
    free(deps);
    free(path);
    return found;
}

static bool shell(const char *scratch, const char *command)
{
    char *whole = mutate_printf("{ %s ; } >'%s/build.log' 2>&1", command, scratch);
    int status = system(whole);
    free(whole);
    if (WIFSIGNALED(status))
        exit(130);
    return status == 0;
}

/* Compiles the object in the scratch folder, where its changed file comes first; the command that links with
 * it. */
static char *compile(const struct mutate_build *b, const char *scratch, unsigned object, const char *file,
                     char *link)
{
    const char *own = strcmp(b->sources[object], file) == 0 ? scratch : "../hvroot";
    const char *cc = strstr(b->compile[object], " && ") + strlen(" && ");
    size_t cc_end = (size_t)(cc - b->compile[object]) + strcspn(cc, " ");
    char *out = mutate_printf("%s/%u.o", scratch, object);
    char *command = mutate_printf("%.*s -I'%s'%s -w -ffile-prefix-map='%s'/= -c '%s/%s' -o '%s'", (int)cc_end,
                                  b->compile[object], scratch, b->compile[object] + cc_end, scratch, own,
                                  b->sources[object], out);
    char *linked = shell(scratch, command) ? replaced(link, b->objects[object], out) : NULL;
    free(command);
    free(out);
    free(link);
    return linked;
}

char *mutate_make(const struct mutate_build *b, const char *scratch, const char *file, const char *text)
{
    char *path = mutate_printf("%s/%s", scratch, file),
         *library = mutate_printf("%s/%s", scratch, strrchr(b->library, '/') + 1);
    char *folder_library = mutate_printf("-o %s/%s", b->folder, b->library),
         *out = mutate_printf("-o '%s'", library);
    char *link = replaced(b->link, folder_library, out);
    mutate_write(path, text);
    for (unsigned i = 0; i < b->count && link; i++)
        if (depends(b, i, file))
            link = compile(b, scratch, i, file, link);
    if (!link || !shell(scratch, link)) {
        free(library);
        library = NULL;
    }
    remove(path);
    free(link);
    free(out);
    free(folder_library);
    free(path);
    return library;
}
