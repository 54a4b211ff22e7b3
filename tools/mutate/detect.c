// SPDX-License-Identifier: Apache-2.0
/* Runs and searches that look at a core, and what they say of it. */
#include "tools/mutate/mutate.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 40
#define LOOK_MS 10

void mutate_read_detectors(struct mutate_detectors *d, const char *path)
{
    *d = (struct mutate_detectors){.text = mutate_read(path)};
    if (!d->text) {
        fprintf(stderr, "hvsim-mutate: cannot read %s\n", path);
        exit(2);
    }
    char *copy = mutate_printf("%s", d->text), *rest = copy, *line;
    for (unsigned number = 1; (line = strsep(&rest, "\n")) != NULL; number++) {
        char name[100], command[512], files[512];
        unsigned timeout_s;
        if (!*line || *line == '#')
            continue;
        if (sscanf(line, " %99[^ |] | %511[^|] | %u | %511[^\n]", name, command, &timeout_s, files) != 4 ||
            !timeout_s) {
            fprintf(stderr, "hvsim-mutate: %s:%u: expected `library | command | seconds | files`\n", path,
                    number);
            exit(2);
        }
        d->rows = realloc(d->rows, (d->count + 1) * sizeof *d->rows);
        if (!d->rows)
            abort();
        command[strcspn(command, "\n")] = 0;
        for (size_t n = strlen(command); n && command[n - 1] == ' '; n--)
            command[n - 1] = 0;
        d->rows[d->count++] = (struct mutate_detector){.name = mutate_printf("%s", name),
                                                       .command = mutate_printf("%s", command),
                                                       .timeout_s = timeout_s,
                                                       .files = mutate_printf("%s", files)};
    }
    free(copy);
}

static bool explores(const struct mutate_detector *d)
{
    return strncmp(d->command, "explore", strlen("explore")) == 0;
}

static void become(const struct mutate_build *b, char *const words[], const char *output)
{
    int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0666), in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0 || chdir(b->source) != 0)
        _exit(126);
    setpgid(0, 0);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    execv(words[0], words);
    _exit(126);
}

/* Status as waitpid() gives it; -1 if it was ended as too long. */
static int run_limited(const struct mutate_build *b, char *const words[], const char *output,
                       unsigned timeout_s)
{
    pid_t child = fork();
    int status;
    if (child < 0) {
        perror("hvsim-mutate: fork");
        exit(2);
    }
    if (child == 0)
        become(b, words, output);
    for (uint64_t left = timeout_s * 1000ull / LOOK_MS; left > 0; left--) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000l}, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return -1;
}

/* The first line that says what went wrong. */
static void say_how(const char *output, int status, char *how, size_t how_bytes)
{
    static const char *const marks[] = {
        "violation: ", "FAIL ", "found: ", "failure: ", "assert", "Assert", "panic"};
    char *text = mutate_read(output);
    const char *best = NULL;
    for (size_t i = 0; text && i < sizeof marks / sizeof *marks && !best; i++)
        best = strstr(text, marks[i]);
    if (best)
        snprintf(how, how_bytes, "%.*s", (int)strcspn(best, "\n"), best);
    else if (WIFSIGNALED(status))
        snprintf(how, how_bytes, "signal %d", WTERMSIG(status));
    else
        snprintf(how, how_bytes, "exit status %d", WEXITSTATUS(status));
    for (char *c = how; *c; c++)
        *c = *c == '\t' ? ' ' : *c;
    free(text);
}

enum mutate_outcome mutate_ask(const struct mutate_build *b, const struct mutate_detector *d,
                               const char *scratch, const char *library, char *how, size_t how_bytes)
{
    char *copy = mutate_printf("%s/bin/hvsim %s", b->folder, d->command), *rest = copy, *word,
         *words[WORDS_MAX];
    char *db = mutate_printf("%s/run.db", scratch), *output = mutate_printf("%s/out", scratch);
    char *schedule = mutate_printf("%s/found.sched", scratch);
    unsigned n = 0;
    while ((word = strsep(&rest, " ")) != NULL && n < WORDS_MAX - 6)
        if (*word)
            words[n++] = word;
    words[n++] = "--hv";
    words[n++] = (char *)(uintptr_t)library;
    words[n++] = explores(d) ? "-o" : "--db";
    words[n++] = explores(d) ? schedule : db;
    words[n] = NULL;
    remove(db);
    int status = run_limited(b, words, output, d->timeout_s);
    enum mutate_outcome outcome = MUTATE_NOTICED;
    if (status == -1)
        snprintf(how, how_bytes, "no end within %u s", d->timeout_s);
    else if (status == 0)
        outcome = MUTATE_QUIET;
    else
        say_how(output, status, how, how_bytes);
    // Such as a pinned place that is gone: this one cannot tell.
    if (status != -1 && WIFEXITED(status) && (WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == 126))
        outcome = MUTATE_UNUSABLE;
    free(schedule);
    free(output);
    free(db);
    free(copy);
    return outcome;
}

static int add_function(void *context, int columns, char **row, char **names)
{
    struct mutate_detector *d = context;
    char *longer = mutate_printf("%s%s\n", d->functions, row[0]);
    (void)columns, (void)names;
    free(d->functions);
    d->functions = longer;
    return 0;
}

void mutate_note_functions(struct mutate_detector *d, const char *scratch)
{
    char *path = mutate_printf("%s/run.db", scratch);
    sqlite3 *db = NULL;
    if (explores(d))
        return;
    d->functions = mutate_printf("\n");
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "SELECT DISTINCT function FROM functions WHERE calls > 0", add_function, d, NULL) !=
            SQLITE_OK) {
        free(d->functions);
        d->functions = NULL;
    }
    sqlite3_close(db);
    free(path);
}
