// SPDX-License-Identifier: Apache-2.0
#include "tools/lint/lint.h"
#include "tools/mutate/mutate.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 64

struct options {
    const char *source, *folder, *pattern, *table;
    unsigned jobs;
    bool list, again;
};

struct work {
    struct options options;
    struct lint_tree tree;
    struct mutate_sites sites;
    struct mutate_detectors detectors;
    struct mutate_build *builds;   // One for each of the detectors
    struct mutate_result *results; // Shared by the workers
    unsigned *next;                // So is this
    uint64_t eyes;                 // A number for all that looks
    char *known;                   // File of results
};

static int usage(void)
{
    fputs("usage: hvsim-mutate SOURCE BUILD [-j N] [--list] [--again] [--table FILE] [PATTERN]\n\n"
          "Takes fences, locks and orderings out of hv/core and hv/lib, one at a time, and tells which of "
          "them\n"
          "are noticed (docs/mutation.md).\n\n"
          "  PATTERN       only places whose name has it (* stands for anything); `none`: the core as it is\n"
          "  -j N          so many at a time (default 1)\n"
          "  --list        list the places and stop\n"
          "  --again       look again at what is known from before\n"
          "  --table FILE  who looks (default: tools/mutate/detectors.txt)\n",
          stderr);
    return 2;
}

static bool parse(struct options *o, int argc, char **argv)
{
    if (argc < 3)
        return false;
    *o = (struct options){.source = argv[1], .folder = argv[2], .pattern = "", .jobs = 1};
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            o->list = true;
        else if (strcmp(argv[i], "--again") == 0)
            o->again = true;
        else if (strcmp(argv[i], "-j") == 0 && i + 1 < argc)
            o->jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--table") == 0 && i + 1 < argc)
            o->table = argv[++i];
        else if (*argv[i] == '-' || *o->pattern)
            return false;
        else
            o->pattern = argv[i];
    }
    return o->jobs >= 1 && o->jobs <= JOBS_MAX;
}

static bool matches_any(const char *patterns, const char *file)
{
    char *copy = mutate_printf("%s", patterns), *rest = copy, *pattern;
    bool matched = false;
    while (!matched && (pattern = strsep(&rest, " ")) != NULL)
        matched = *pattern && fnmatch(pattern, file, 0) == 0;
    free(copy);
    return matched;
}

// --- The places. ---

static void find_sites(struct work *w)
{
    struct mutate_sites all = {0};
    char *pattern = mutate_printf("*%s*", w->options.pattern);
    for (size_t i = 0; i < w->tree.count; i++) {
        const struct lint_file *f = &w->tree.files[i];
        bool test = strstr(f->path, "/tests/") != NULL;
        if ((strncmp(f->path, "hv/", 3) == 0 && test) || strncmp(f->path, "scenarios/", 10) == 0)
            w->eyes = mutate_hash(mutate_hash(w->eyes, f->path), f->raw);
        if (matches_any("hv/core/*.[ch] hv/lib/*.[ch]", f->path))
            mutate_find(&all, f->path, f->raw);
    }
    for (unsigned i = 0; i < all.count; i++)
        if (fnmatch(pattern, all.rows[i].name, 0) == 0) {
            w->sites.rows = realloc(w->sites.rows, (w->sites.count + 1) * sizeof *w->sites.rows);
            if (!w->sites.rows)
                abort();
            w->sites.rows[w->sites.count++] = all.rows[i];
        }
    free(all.rows);
    free(pattern);
}

static void list(const struct work *w)
{
    for (unsigned i = 0; i < w->sites.count; i++) {
        const struct mutate_site *s = &w->sites.rows[i];
        const char *text = lint_find(&w->tree, s->file)->raw;
        printf("%s:%u: %s\n", s->file, s->line, strchr(s->name, ':') + 1);
        for (unsigned j = 0; j < s->edit_count; j++)
            printf("    %.*s -> %s\n", (int)(s->edits[j].end - s->edits[j].start), text + s->edits[j].start,
                   s->edits[j].instead);
    }
    printf("%u places\n", w->sites.count);
}

// --- One after the other. ---

static bool calls(const struct mutate_detector *d, const char *function)
{
    char *line = mutate_printf("\n%s\n", function);
    bool found = d->functions && strstr(d->functions, line);
    free(line);
    return found;
}

/* A function that is called by itself somewhere matters where it is called; one that the compiler has put
 * into its callers may be anywhere. */
static bool is_called(const struct work *w, const char *function)
{
    for (unsigned i = 0; i < w->detectors.count; i++)
        if (calls(&w->detectors.rows[i], function))
            return true;
    return false;
}

/* The library that detector `i` looks at, without the place, made when somebody first asks for it; NULL: does
 * not compile, or its place is in none of its files. */
static const char *library_for(const struct work *w, unsigned i, const struct mutate_site *s,
                               const char *text, const char *scratch, char **libraries)
{
    for (unsigned k = 0; k < i; k++)
        if (libraries[k] && strcmp(w->detectors.rows[k].name, w->detectors.rows[i].name) == 0)
            return libraries[k];
    if (!s)
        libraries[i] = mutate_printf("%s/%s", w->options.folder, w->builds[i].library);
    else
        libraries[i] = mutate_make(&w->builds[i], scratch, s->file, text);
    return libraries[i];
}

static void ask(struct work *w, unsigned i, const char *library, const char *scratch,
                struct mutate_result *result)
{
    struct mutate_detector *d = &w->detectors.rows[i];
    if (mutate_ask(&w->builds[i], d, scratch, library, result->how, sizeof result->how) != MUTATE_NOTICED)
        return;
    result->outcome = MUTATE_NOTICED;
    snprintf(result->by, sizeof result->by, "%s", d->command);
}

/* All of them look at the core without the place `s`, or as it is, until one notices. */
static void ask_all(struct work *w, const struct mutate_site *s, const char *text, const char *scratch,
                    struct mutate_result *result)
{
    bool called = s && is_called(w, s->function);
    char **libraries = mutate_alloc(w->detectors.count * sizeof *libraries);
    for (unsigned i = 0; i < w->detectors.count && result->outcome != MUTATE_NOTICED; i++) {
        struct mutate_detector *d = &w->detectors.rows[i];
        if (s && (!matches_any(d->files, s->file) || (called && d->functions && !calls(d, s->function))))
            continue;
        const char *library = library_for(w, i, s, text, scratch, libraries);
        if (!library)
            break;
        result->compiled = true;
        ask(w, i, library, scratch, result);
        if (!s)
            mutate_note_functions(d, scratch);
    }
    for (unsigned i = 0; i < w->detectors.count; i++)
        free(libraries[i]);
    free(libraries);
}

static void try_site(struct work *w, unsigned index, const char *scratch)
{
    const struct mutate_site *s = &w->sites.rows[index];
    struct mutate_result *result = &w->results[index];
    char *text = mutate_apply(s, lint_find(&w->tree, s->file)->raw);
    uint64_t key = mutate_hash(mutate_hash(0, s->file), text);
    if (w->options.again || !mutate_recall(w->known, key, w->eyes, result)) {
        *result = (struct mutate_result){.outcome = MUTATE_QUIET};
        ask_all(w, s, text, scratch, result);
        mutate_remember(w->known, key, w->eyes, s->name, result);
    }
    free(text);
    fprintf(stderr, "%u/%u %s: %s\n", index + 1, w->sites.count, s->name,
            !result->compiled                   ? "does not compile"
            : result->outcome == MUTATE_NOTICED ? result->by
                                                : "NOT NOTICED");
}

static void work_on(struct work *w, unsigned worker)
{
    char *scratch = mutate_printf("%s/mutate/%d.%u", w->options.folder, (int)getpid(), worker), *command;
    mkdir(scratch, 0777);
    for (unsigned i; (i = __atomic_fetch_add(w->next, 1, __ATOMIC_RELAXED)) < w->sites.count;)
        try_site(w, i, scratch);
    command = mutate_printf("rm -rf '%s'", scratch);
    if (system(command) != 0)
        fprintf(stderr, "hvsim-mutate: %s stays behind\n", scratch);
    free(command);
    free(scratch);
}

/* Who looks must see nothing in the core as it is. */
static bool quiet_as_it_is(struct work *w)
{
    struct mutate_result result = {.outcome = MUTATE_QUIET, .compiled = true};
    char *scratch = mutate_printf("%s/mutate/none", w->options.folder);
    mkdir(scratch, 0777);
    ask_all(w, NULL, NULL, scratch, &result);
    if (result.outcome == MUTATE_NOTICED)
        printf("none: noticed by %s: %s\n", result.by, result.how);
    free(scratch);
    return result.outcome != MUTATE_NOTICED;
}

// --- What came out. ---

static void print_kind(const struct work *w, const char *kind)
{
    unsigned count = 0, noticed = 0;
    for (unsigned i = 0; i < w->sites.count; i++)
        if (!kind || strcmp(w->sites.rows[i].kind, kind) == 0) {
            count++;
            noticed += w->results[i].outcome == MUTATE_NOTICED;
        }
    if (count)
        printf("%-8s %4u of %4u noticed, %u.%u %%\n", kind ? kind : "all", noticed, count,
               noticed * 100 / count, noticed * 1000 / count % 10);
}

static void print_results(const struct work *w)
{
    for (unsigned i = 0; i < w->sites.count; i++) {
        const struct mutate_site *s = &w->sites.rows[i];
        const struct mutate_result *r = &w->results[i];
        printf("%s:%u\t%s\t%s\t%s\n", s->file, s->line, strchr(s->name, ':') + 1,
               !r->compiled                   ? "-"
               : r->outcome == MUTATE_NOTICED ? r->by
                                              : "-",
               !r->compiled ? "does not compile" : r->how);
    }
    putchar('\n');
    static const char *const kinds[] = {"fence", "release", "acquire", "acq_rel", "seq_cst",
                                        "lock",  "srcu",    "preempt", "irq"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        print_kind(w, kinds[i]);
    print_kind(w, NULL);
}

static void run_workers(struct work *w)
{
    for (unsigned i = 0; i < w->options.jobs; i++) {
        pid_t child = fork();
        if (child < 0) {
            perror("hvsim-mutate: fork");
            exit(2);
        }
        if (child == 0) {
            work_on(w, i);
            exit(0);
        }
    }
    for (unsigned i = 0; i < w->options.jobs; i++)
        wait(NULL);
}

static void *shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static void learn_builds(struct work *w)
{
    const struct mutate_detector *rows = w->detectors.rows;
    w->builds = mutate_alloc(w->detectors.count * sizeof *w->builds);
    for (unsigned i = 0, k; i < w->detectors.count; i++) {
        for (k = 0; strcmp(rows[k].name, rows[i].name) != 0; k++)
            ;
        if (k < i)
            w->builds[i] = w->builds[k];
        else
            mutate_learn(&w->builds[i], w->options.source, w->options.folder, rows[i].name);
    }
}

int main(int argc, char **argv)
{
    struct work w = {0};
    if (!parse(&w.options, argc, argv))
        return usage();
    bool as_it_is = strcmp(w.options.pattern, "none") == 0;
    lint_read_tree(&w.tree, w.options.source);
    find_sites(&w);
    if (w.options.list) {
        list(&w);
        return 0;
    }
    char *folder = mutate_printf("%s/mutate", w.options.folder);
    char *table = mutate_printf("%s/tools/mutate/detectors.txt", w.options.source);
    char *simulator = mutate_printf("%s/bin/hvsim", w.options.folder);
    mkdir(folder, 0777);
    w.known = mutate_printf("%s/results", folder);
    mutate_read_detectors(&w.detectors, w.options.table ? w.options.table : table);
    learn_builds(&w);
    w.eyes = mutate_hash_file(mutate_hash(w.eyes, w.detectors.text), simulator);
    w.results = shared(w.sites.count * sizeof *w.results);
    w.next = shared(sizeof *w.next);
    if (!quiet_as_it_is(&w))
        return 1;
    if (as_it_is) {
        puts("none: nobody notices anything");
        return 0;
    }
    run_workers(&w);
    print_results(&w);
    return 0;
}
