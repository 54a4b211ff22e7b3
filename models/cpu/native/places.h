// SPDX-License-Identifier: Apache-2.0
// Where source lines lie in libhv.so: its DWARF line table, read once by libdw.
//
// Called outside of simulated time. Addresses are offsets into the priced text (struct price_map), so that
// they compare with what a hook returns to.
#ifndef MODELS_CPU_NATIVE_PLACES_H
#define MODELS_CPU_NATIVE_PLACES_H

#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct places;

// Finds the calls of hooks in the image's text and reads its file's line table. NULL with one line in
// `error`: the file is gone or was built without -g.
struct places *places_open(const struct native_image *image, char *error, size_t error_size);
void places_close(struct places *p);

// The known file that `file` means, a path's tail of whole names ("tdp.c" and "mmu/tdp.c" are hv/mmu/tdp.c);
// NULL: none, or several (*several is then true).
const char *places_file(const struct places *p, const char *file, bool *several);
// The line of `file` on which `function`'s name stands, also if every call of it was inlined; 0: no such
// function in that file.
unsigned places_function_line(const struct places *p, const char *file, const char *function);
// The hook of the function's first block. False: no such function in that file, or every call of it was
// inlined.
bool places_function_entry(const struct places *p, const char *file, const char *function, uint64_t *offset);
// Calls fn for each hook of the line that announces one of `access`, inlined copies included, with the offset
// of the last byte of its call: what it returns to, less one. How many.
unsigned places_of_line(const struct places *p, const char *file, unsigned line, unsigned access,
                        void (*fn)(void *ctx, uint64_t offset), void *ctx);
// The nearest lines of the file that have such a hook: *below < line < *above, 0 where there is none.
void places_near(const struct places *p, const char *file, unsigned line, unsigned access, unsigned *below,
                 unsigned *above);

// Calls fn for every hook, by offset.
void places_each(const struct places *p, void (*fn)(void *ctx, uint64_t offset), void *ctx);

// --- Anchors: the N-th place of a kind in a function, counted as its source has them. ---
//
// A place is a line and column of a function's source where it makes an access of a kind. It is one place
// however often it was compiled (inlined, unrolled) and however many hooks it has (a struct's parts). An
// access belongs to the innermost function of the source.

struct places_anchor {
    const char *file, *function; // As for places_function_line().
    const char *caller; // Only copies inlined into it, over however many functions; the function itself: only
                        // its own code. "": wherever.
    unsigned ordinal;   // Among the function's places that have one of `access`, from 1
    unsigned access;    // enum place_access bits
};
// Calls fn as places_of_line() does for each hook of the place. How many.
unsigned places_of_anchor(const struct places *p, const struct places_anchor *a,
                          void (*fn)(void *ctx, uint64_t offset), void *ctx);
// Of one that has no hook: what is there instead, as one line.
void places_explain_anchor(const struct places *p, const struct places_anchor *a, char *text, size_t size);

// The word for an access in a schedule, and back; NULL and 0: there is none.
const char *places_access_word(unsigned access);
unsigned places_access(const char *word);

#define PLACES_TEXT_BYTES 256u
#define PLACES_FRAMES_MAX 16u
struct place_frame {
    const char *function, *file; // Where the function stands
    unsigned line;               // Where in it; 0: unknown
};
struct place_name {
    char text[PLACES_TEXT_BYTES]; // "hv/core/requests.c:vcpu_request#2@make_all", and
    const char *word;             // the ACCESS with which it means this place: a step is "cpuN TEXT WORD".
    unsigned access;              // enum place_access bits of the hook
    unsigned line, column;        // 0: unknown
    uint32_t frame_count;
    struct place_frame
        frames[PLACES_FRAMES_MAX]; // The innermost function first, then whom it is inlined into
    // How places_means() knows it.
    const struct place *place;
    const char *caller;
    unsigned kind;
};
// The name of what the hook that returns to `pc` announces (struct native_access). The caller is named where
// copies in the code of several functions must be told apart. False: there is no such hook, or no function
// around it. Strings live as long as `p`. Takes microseconds, changes nothing.
bool places_name(const struct places *p, uint64_t pc, struct place_name *out);
// Does the name mean the hook that returns to `pc`, too? Steps count these.
bool places_means(const struct places *p, const struct place_name *name, uint64_t pc);

#endif
