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

#endif
