// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/places_internal.h"

#include <dlfcn.h>
#include <dwarf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- Hooks: calls whose target is one of ours, by way of the image's PLT or straight through its GOT. ---

static const struct {
    const char *prefix;
    unsigned access;
} kinds[] = {
    {"__sanitizer_cov_trace_pc", PLACE_BLOCK},
    {"__tsan_read_write", PLACE_READ | PLACE_WRITE},
    {"__tsan_read", PLACE_READ},
    {"__tsan_unaligned_read", PLACE_READ},
    {"__tsan_volatile_read", PLACE_READ},
    {"__tsan_write", PLACE_WRITE},
    {"__tsan_unaligned_write", PLACE_WRITE},
    {"__tsan_volatile_write", PLACE_WRITE},
    {"__tsan_atomic", PLACE_ATOMIC},
};

static unsigned access_of(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
            continue;
        if (kinds[i].access != PLACE_ATOMIC)
            return kinds[i].access;
        if (strstr(name, "_fence")) // One that only the compiler heeds is no point of order.
            return strstr(name, "_signal") ? 0 : PLACE_ATOMIC;
        return PLACE_ATOMIC | (strstr(name, "_load")    ? PLACE_READ
                               : strstr(name, "_store") ? PLACE_WRITE
                                                        : PLACE_READ | PLACE_WRITE);
    }
    return 0;
}

static int32_t displacement(const unsigned char *at)
{
    int32_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

// What the GOT slot at [rip + displacement] of the instruction that ends at `end` leads to: the image is
// bound at load.
static unsigned access_of_slot(const struct native_image *image, const unsigned char *end, int32_t relative)
{
    const unsigned char *slot = end + relative;
    void *target;
    Dl_info info;

    // Bytes of other instructions may look like a call.
    if ((uint64_t)(uintptr_t)slot - image->base > image->bytes - sizeof target)
        return 0;
    memcpy(&target, slot, sizeof target);
    return dladdr(target, &info) && info.dli_sname && info.dli_saddr == target ? access_of(info.dli_sname)
                                                                               : 0;
}

static int add_place(struct places *p, uint64_t offset, unsigned access)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 4096;
        struct place *rows = realloc(p->rows, capacity * sizeof *rows);

        if (!rows)
            return -1;
        p->rows = rows;
        p->capacity = capacity;
    }
    p->rows[p->count++] = (struct place){.offset = offset, .access = access, .scope = PLACES_NONE};
    return 0;
}

struct plt_entry {
    uint64_t offset; // Of a PLT entry from the text's base, which it may precede.
    unsigned access;
};

// The access of a direct call's target, remembered by target.
static unsigned access_of_plt_entry(const struct native_image *image, struct plt_entry *known,
                                    const unsigned char *text, int64_t target)
{
    struct plt_entry *s = &known[(uint64_t)target / 16 % 256];

    if (s->offset == (uint64_t)target)
        return s->access;
    const unsigned char *at = text + target;

    *s = (struct plt_entry){(uint64_t)target, 0};
    if (at[0] == 0xff && at[1] == 0x25) // JMP [rip + disp32]
        s->access = access_of_slot(image, at + 6, displacement(at + 2));
    return s->access;
}

static int find_hooks(struct places *p)
{
    const unsigned char *text = (const unsigned char *)(uintptr_t)p->text_base;
    struct plt_entry known[256] = {{0}};

    for (uint64_t at = 0; at + 6 <= p->image->map.text_bytes; at++) {
        unsigned access = 0, length = 5;

        if (text[at] == 0xe8) { // CALL rel32
            int64_t target = (int64_t)at + 5 + displacement(text + at + 1);

            // The PLT lies before the text, within the image.
            if (target < 0 && (uint64_t)-target <= p->text_base - p->image->base)
                access = access_of_plt_entry(p->image, known, text, target);
        } else if (text[at] == 0xff && text[at + 1] == 0x15) { // CALL [rip + disp32]
            length = 6;
            access = access_of_slot(p->image, text + at + 6, displacement(text + at + 2));
        }
        if (access && add_place(p, at + length - 1, access))
            return -1;
    }
    return 0;
}

// --- Their lines. ---

size_t places_row(const struct places *p, uint64_t offset)
{
    size_t low = 0, high = p->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (p->rows[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Row i of a compilation unit reaches to the address of row i + 1, unless it ends a sequence.
static void read_unit(struct places *p, Dwarf_Lines *lines, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        Dwarf_Line *line = dwarf_onesrcline(lines, i), *next = dwarf_onesrcline(lines, i + 1);
        Dwarf_Addr begin, end;
        bool ends = false;
        int number = 0, column = 0;

        if (dwarf_lineendsequence(line, &ends) || ends || dwarf_lineaddr(line, &begin) ||
            dwarf_lineaddr(next, &end) || dwarf_lineno(line, &number) || number <= 0)
            continue;
        dwarf_linecol(line, &column);
        for (size_t at = places_row(p, begin > p->text_base ? begin - p->text_base : 0);
             at < p->count && p->rows[at].offset + p->text_base < end; at++) {
            p->rows[at].file = dwarf_linesrc(line, NULL, NULL);
            p->rows[at].line = (unsigned)number;
            p->rows[at].column = column > 0 ? (unsigned)column : 0;
        }
    }
}

static bool read_lines(struct places *p)
{
    Dwarf_CU *unit = NULL;
    Dwarf_Die die;
    bool any = false;

    while (dwarf_get_units(p->dwarf, unit, &unit, NULL, NULL, &die, NULL) == 0) {
        Dwarf_Lines *lines;
        size_t count;

        if (dwarf_getsrclines(&die, &lines, &count) != 0)
            continue;
        any |= count > 0;
        read_unit(p, lines, count);
    }
    return any;
}

struct places *places_open(const struct native_image *image, char *error, size_t error_size)
{
    struct places *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->fd = open(image->path, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0) {
        snprintf(error, error_size, "%s: %m", image->path);
        free(p);
        return NULL;
    }
    p->image = image;
    p->text_base = image->map.text_base;
    p->dwarf = dwarf_begin(p->fd, DWARF_C_READ);
    if (!p->dwarf || find_hooks(p) || !read_lines(p)) {
        snprintf(error, error_size, "%s: has no line numbers; a schedule needs a core built with -g",
                 image->path);
        places_close(p);
        return NULL;
    }
    if (!places_read_scopes(p))
        abort();
    return p;
}

void places_close(struct places *p)
{
    if (!p)
        return;
    if (p->dwarf)
        dwarf_end(p->dwarf);
    close(p->fd);
    places_free_scopes(p);
    free(p->rows);
    free(p);
}

bool places_is_tail(const char *full, const char *tail)
{
    size_t n = strlen(full), m = strlen(tail);

    return m && n >= m && strcmp(full + n - m, tail) == 0 && (n == m || full[n - m - 1] == '/');
}

const char *places_file(const struct places *p, const char *file, bool *several)
{
    const char *found = NULL;

    *several = false;
    for (size_t i = 0; i < p->count; i++) {
        if (p->rows[i].file == found || !p->rows[i].file || !places_is_tail(p->rows[i].file, file))
            continue;
        if (found && strcmp(found, p->rows[i].file) != 0) {
            *several = true;
            return NULL;
        }
        found = p->rows[i].file;
    }
    return found;
}

unsigned places_function_line(const struct places *p, const char *file, const char *function)
{
    uint32_t at = places_function_find(p, file, function);

    return at == PLACES_NONE ? 0 : p->functions[at].line;
}

// The compiler's copies of a function have a suffix: name.isra.0.
static bool is_copy(const char *symbol, const char *function)
{
    size_t n = strcspn(symbol, ".");

    return n == strlen(function) && strncmp(symbol, function, n) == 0;
}

bool places_function_entry(const struct places *p, const char *file, const char *function, uint64_t *offset)
{
    for (size_t s = 0; s < price_symbol_count(p->image->prices); s++) {
        const struct price_symbol *symbol = price_symbol_at(p->image->prices, s);
        uint64_t start = symbol->start - p->text_base;

        if (!is_copy(symbol->name, function))
            continue;
        for (size_t i = 0; i < p->count; i++) {
            const struct place *at = &p->rows[i];

            if (at->offset - start >= symbol->size || !(at->access & PLACE_BLOCK))
                continue;
            if (!at->file || !places_is_tail(at->file, file))
                break;
            *offset = at->offset;
            return true;
        }
    }
    return false;
}

static bool is_at(const struct place *at, const char *file, unsigned access)
{
    return at->file && (at->access & access) && places_is_tail(at->file, file);
}

unsigned places_of_line(const struct places *p, const char *file, unsigned line, unsigned access,
                        void (*fn)(void *ctx, uint64_t offset), void *ctx)
{
    unsigned count = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (p->rows[i].line != line || !is_at(&p->rows[i], file, access))
            continue;
        fn(ctx, p->rows[i].offset);
        count++;
    }
    return count;
}

void places_near(const struct places *p, const char *file, unsigned line, unsigned access, unsigned *below,
                 unsigned *above)
{
    *below = *above = 0;
    for (size_t i = 0; i < p->count; i++) {
        unsigned at = p->rows[i].line;

        if (!is_at(&p->rows[i], file, access))
            continue;
        if (at < line && at > *below)
            *below = at;
        if (at > line && (!*above || at < *above))
            *above = at;
    }
}
