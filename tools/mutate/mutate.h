// SPDX-License-Identifier: Apache-2.0
/*
 * hvsim-mutate: takes fences, locks and orderings out of the core, one at a time, and tells which of them
 * somebody notices (docs/mutation.md).
 */
#ifndef TOOLS_MUTATE_MUTATE_H
#define TOOLS_MUTATE_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the program does without memory is nothing: these end it. */
void *mutate_alloc(size_t size_bytes);
char *mutate_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A file's bytes and a zero byte; NULL if it cannot be read. */
char *mutate_read(const char *path);
/* Writes a text to a file, making the folders on the way; ends the program if it cannot. */
void mutate_write(const char *path, const char *text);
uint64_t mutate_hash(uint64_t start, const char *text);
/* Of its bytes; `start` if it cannot be read. */
uint64_t mutate_hash_file(uint64_t start, const char *path);

// --- Places (sites.c). ---

/* A piece of a file, and what stands there instead. */
struct mutate_edit {
    size_t start, end;
    char *instead;
};

/* A fence, a lock, an ordering. */
struct mutate_site {
    const char *kind; // Of operators.def, or what order an atomic has
    char *file;       // From the top folder
    char *function;
    unsigned line;
    char *name; // FILE:FUNCTION KIND WORD#ORDINAL
    struct mutate_edit *edits;
    unsigned edit_count;
};

struct mutate_sites {
    struct mutate_site *rows;
    unsigned count;
};

/* Appends the places of a file's text, in the order in which they stand there. */
void mutate_find(struct mutate_sites *sites, const char *file, const char *text);
/* The text without them. */
char *mutate_apply(const struct mutate_site *site, const char *text);
void mutate_free(struct mutate_sites *sites);

// --- The core without one of them (build.c). ---

/* How one of the core's libraries is made. */
struct mutate_build {
    const char *source, *folder; // The tree, and its build
    char *library;               // lib/libNAME.so
    char **compile, **objects, **sources;
    char *link;
    unsigned count;
};

/* Learns from ninja how lib/libNAME.so is made. Ends the program with status 2 if it cannot. */
void mutate_learn(struct mutate_build *b, const char *source, const char *folder, const char *name);
/* Makes a library of the text in place of the file; all of its own files are in `scratch`. NULL: does not
 * compile. */
char *mutate_make(const struct mutate_build *b, const char *scratch, const char *file, const char *text);

// --- Who notices (detect.c). ---

struct mutate_detector {
    char *name;    // Of the library that it looks at: hv, ...
    char *command; // run or explore, and its arguments
    unsigned timeout_s;
    char *files;     // That it is asked about: patterns, separated by blanks
    char *functions; // That its run called, each between line ends; NULL: not known
};

struct mutate_detectors {
    struct mutate_detector *rows;
    unsigned count;
    char *text;
};

/* Reads the table; ends the program with status 2 if it cannot. */
void mutate_read_detectors(struct mutate_detectors *d, const char *path);

enum mutate_outcome { MUTATE_QUIET, MUTATE_NOTICED, MUTATE_UNUSABLE };
/* Notes which functions the detector's last run in `scratch` called. */
void mutate_note_functions(struct mutate_detector *d, const char *scratch);
/* Lets a detector look at a library. `how` gets what it said, in a line. */
enum mutate_outcome mutate_ask(const struct mutate_build *b, const struct mutate_detector *d,
                               const char *scratch, const char *library, char *how, size_t how_bytes);

// --- What is known (results.c). ---

struct mutate_result {
    enum mutate_outcome outcome;
    bool compiled;
    char by[200], how[400]; // Command of who noticed, and what he said
};

/* What was found of a place before, in `path`; `eyes` is a number for all that looks. False: nothing that
 * still holds. */
bool mutate_recall(const char *path, uint64_t key, uint64_t eyes, struct mutate_result *result);
void mutate_remember(const char *path, uint64_t key, uint64_t eyes, const char *name,
                     const struct mutate_result *result);

#endif
