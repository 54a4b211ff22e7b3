// SPDX-License-Identifier: Apache-2.0
// Inside of places*.c: what is known of each hook's call.
#ifndef MODELS_CPU_NATIVE_PLACES_INTERNAL_H
#define MODELS_CPU_NATIVE_PLACES_INTERNAL_H

#include "models/cpu/native/places.h"
#include <elfutils/libdw.h>

#define PLACES_NONE UINT32_MAX
#define PLACES_SLOTS (1u << 15) // A power of two, more than a core has functions.

// A call of a hook.
struct place {
    uint64_t offset;       // Of its last byte in the text.
    const char *file;      // Of libdw's memory; NULL: no line is known.
    unsigned line, column; // 0: unknown
    unsigned access;       // enum place_access bits
    uint32_t scope;        // The innermost one it lies in, or PLACES_NONE.
    uint32_t function;     // That scope's.
    bool foreign;          // Its line is not in the function's file.
};

// A function of the source, once however often it was compiled.
struct place_function {
    const char *name, *file; // Of libdw's memory.
    unsigned line;
};

// A piece of code that was one function's in the source: the function itself, or a copy inlined into
// `parent`.
struct place_scope {
    uint32_t function, parent; // PLACES_NONE: it was not inlined
    unsigned call_line;        // In the parent's function
};

struct places {
    Dwarf *dwarf;
    int fd;
    const struct native_image *image;
    uint64_t text_base;
    struct place *rows; // By offset.
    size_t count, capacity;
    struct place_function *functions;
    uint32_t function_count, function_capacity;
    uint32_t *function_slots; // A hash table of PLACES_SLOTS: index + 1; 0: free
    struct place_scope *scopes;
    uint32_t scope_count, scope_capacity;
    const struct place **order; // Rows that have a scope: by function, then as they stand in its source.
    uint32_t *first;            // By function: its first in `order`; one more for the end.
};

// The first row at or behind an offset.
size_t places_row(const struct places *p, uint64_t offset);
// Does the path `full` end with the whole names of `tail`?
bool places_is_tail(const char *full, const char *tail);

// The function of that name in the file that `file` means; PLACES_NONE: there is none.
uint32_t places_function_find(const struct places *p, const char *file, const char *name);

// Which stands first in the source; 0: the same place, however often it was compiled. Both have a scope.
int places_compare(const struct place *a, const struct place *b);

// Reads functions and what was inlined where, and puts the rows into their order. False: no memory.
bool places_read_scopes(struct places *p);
void places_free_scopes(struct places *p);

#endif
