// SPDX-License-Identifier: Apache-2.0
// Which function of the source each hook belongs to, inlined or not, from the image's DWARF entries.
#include "models/cpu/native/places_internal.h"

#include <assert.h>
#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

static bool grow(void **rows, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    uint32_t more = *capacity ? 2 * *capacity : 1024;
    void *bigger = realloc(*rows, more * size);

    if (!bigger)
        return false;
    *rows = bigger;
    *capacity = more;
    return true;
}

// --- Functions. ---

static uint32_t hash(const char *text, uint32_t line)
{
    uint32_t h = 2166136261u ^ line; // FNV-1a

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 16777619u;
    return h;
}

// Its number, given if it is new. A header's function is one for all units that include it.
static uint32_t intern(struct places *p, const struct place_function *f)
{
    uint32_t slot = hash(f->name, f->line) % PLACES_SLOTS;

    for (; p->function_slots[slot]; slot = (slot + 1) % PLACES_SLOTS) {
        const struct place_function *have = &p->functions[p->function_slots[slot] - 1];

        if (have->line == f->line && strcmp(have->name, f->name) == 0 && strcmp(have->file, f->file) == 0)
            return p->function_slots[slot] - 1;
    }
    assert(p->function_count < PLACES_SLOTS / 2);
    if (!grow((void **)&p->functions, p->function_count, &p->function_capacity, sizeof *p->functions))
        abort();
    p->functions[p->function_count] = *f;
    p->function_slots[slot] = ++p->function_count;
    return p->function_count - 1;
}

// The function that the entry is a declaration, definition or copy of; PLACES_NONE: it says of none where.
static uint32_t function_of(struct places *p, Dwarf_Die *die)
{
    struct place_function f = {dwarf_diename(die), dwarf_decl_file(die), 0};
    int line = 0;

    if (!f.name || !f.file || dwarf_decl_line(die, &line) != 0 || line <= 0)
        return PLACES_NONE;
    f.line = (unsigned)line;
    return intern(p, &f);
}

uint32_t places_function_find(const struct places *p, const char *file, const char *name)
{
    for (uint32_t i = 0; i < p->function_count; i++)
        if (strcmp(p->functions[i].name, name) == 0 && places_is_tail(p->functions[i].file, file))
            return i;
    return PLACES_NONE;
}

// --- Scopes. ---

static unsigned call_line(Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    Dwarf_Word line = 0;

    if (!dwarf_attr(die, DW_AT_call_line, &attribute) || dwarf_formudata(&attribute, &line) != 0)
        return 0;
    return (unsigned)line;
}

// The hooks within the entry's code are its own, until an entry within it claims them.
static void claim(struct places *p, Dwarf_Die *die, uint32_t scope)
{
    Dwarf_Addr base, begin, end;
    ptrdiff_t at = 0;

    while ((at = dwarf_ranges(die, at, &base, &begin, &end)) > 0) {
        if (end <= p->text_base)
            continue;
        for (size_t i = places_row(p, begin > p->text_base ? begin - p->text_base : 0);
             i < p->count && p->rows[i].offset + p->text_base < end; i++)
            p->rows[i].scope = scope;
    }
}

static uint32_t add_scope(struct places *p, struct place_scope scope)
{
    if (!grow((void **)&p->scopes, p->scope_count, &p->scope_capacity, sizeof *p->scopes))
        abort();
    p->scopes[p->scope_count] = scope;
    return p->scope_count++;
}

// `scope`: what the entry lies in.
static void read_entry(struct places *p, Dwarf_Die *die, uint32_t scope)
{
    int tag = dwarf_tag(die);
    Dwarf_Die child;

    if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine) {
        // What was inlined everywhere is there once more, without code.
        if (tag == DW_TAG_subprogram && !dwarf_hasattr(die, DW_AT_low_pc) &&
            !dwarf_hasattr(die, DW_AT_ranges)) {
            if (!dwarf_hasattr(die, DW_AT_declaration))
                function_of(p, die);
            return;
        }
        uint32_t function = function_of(p, die), parent = tag == DW_TAG_subprogram ? PLACES_NONE : scope;

        if (function != PLACES_NONE)
            scope = add_scope(p, (struct place_scope){function, parent, call_line(die)});
        claim(p, die, scope);
    } else if (tag != DW_TAG_lexical_block && tag != DW_TAG_compile_unit) {
        return;
    }
    if (dwarf_child(die, &child) != 0)
        return;
    do
        read_entry(p, &child, scope);
    while (dwarf_siblingof(&child, &child) == 0);
}

// --- Their order. ---

// First what stands in the function's own file: macros of other files may be in it.
int places_compare(const struct place *a, const struct place *b)
{
    if (a->function != b->function)
        return a->function < b->function ? -1 : 1;
    if (a->foreign != b->foreign)
        return a->foreign ? 1 : -1;
    if (a->foreign && strcmp(a->file, b->file) != 0)
        return strcmp(a->file, b->file);
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return (a->column > b->column) - (a->column < b->column);
}

static int compare_rows(const void *a, const void *b)
{
    const struct place *i = *(const struct place *const *)a, *j = *(const struct place *const *)b;
    int order = places_compare(i, j);

    return order ? order : (i > j) - (i < j);
}

static bool sort_rows(struct places *p)
{
    uint32_t count = 0, f = 0;

    p->order = calloc(p->count + 1, sizeof(*p->order));
    p->first = calloc(p->function_count + 1, sizeof *p->first);
    if (!p->order || !p->first)
        return false;
    for (size_t i = 0; i < p->count; i++) {
        struct place *at = &p->rows[i];

        if (at->scope == PLACES_NONE)
            continue;
        at->function = p->scopes[at->scope].function;
        at->foreign = at->file && strcmp(at->file, p->functions[at->function].file) != 0;
        p->order[count++] = at;
    }
    qsort(p->order, count, sizeof(*p->order), compare_rows);
    for (uint32_t i = 0; i < count; i++)
        while (f <= p->order[i]->function)
            p->first[f++] = i;
    while (f <= p->function_count)
        p->first[f++] = count;
    return true;
}

// Where the compiler made one function of several equal ones, the entry with the code may be lost; the symbol
// is not.
static void claim_by_symbol(struct places *p, struct place *at)
{
    uint16_t symbol = p->image->function_at[at->offset];
    uint32_t function =
        at->file && symbol
            ? places_function_find(p, at->file, price_symbol_at(p->image->prices, symbol - 1u)->name)
            : PLACES_NONE;

    if (function == PLACES_NONE)
        return;
    at->scope = add_scope(p, (struct place_scope){function, PLACES_NONE, 0});
}

bool places_read_scopes(struct places *p)
{
    Dwarf_CU *unit = NULL;
    Dwarf_Die die;

    p->function_slots = calloc(PLACES_SLOTS, sizeof *p->function_slots);
    if (!p->function_slots)
        return false;
    while (dwarf_get_units(p->dwarf, unit, &unit, NULL, NULL, &die, NULL) == 0)
        read_entry(p, &die, PLACES_NONE);
    for (size_t i = 0; i < p->count; i++)
        if (p->rows[i].scope == PLACES_NONE)
            claim_by_symbol(p, &p->rows[i]);
    return sort_rows(p);
}

void places_free_scopes(struct places *p)
{
    free(p->functions);
    free(p->function_slots);
    free(p->scopes);
    free(p->order);
    free(p->first);
}
