// SPDX-License-Identifier: Apache-2.0
#include "sim/image/build.h"
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- Messages and numbers. ---

static int error_of(struct image_build *b, const struct image_file *f, const char *format, va_list args)
{
    char text[600];

    vsnprintf(text, sizeof text, format, args);
    return user_error_at(b->e, f->path, 0, NULL, "%s", text);
}

int image_error(struct image_build *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int result = error_of(b, &b->r->image, format, args);

    va_end(args);
    return result;
}

int image_file_error(struct image_build *b, const struct image_file *file, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int result = error_of(b, file, format, args);

    va_end(args);
    return result;
}

static uint64_t number_at(const struct image_file *f, uint64_t offset, unsigned bytes)
{
    uint64_t value = 0;

    assert(image_has(f, offset, bytes));
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)f->bytes[offset + i] << 8 * i;
    return value;
}

uint16_t image_u16(const struct image_file *f, uint64_t offset)
{
    return (uint16_t)number_at(f, offset, 2);
}

uint32_t image_u32(const struct image_file *f, uint64_t offset)
{
    return (uint32_t)number_at(f, offset, 4);
}

uint64_t image_u64(const struct image_file *f, uint64_t offset)
{
    return number_at(f, offset, 8);
}

void image_put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

const char *image_name(const struct image_file *f)
{
    const char *slash = strrchr(f->path, '/');

    return slash ? slash + 1 : f->path;
}

// --- Places. ---

uint64_t image_low_end(const struct image_request *r)
{
    return r->memory_bytes < VMM_HOLE ? r->memory_bytes : VMM_HOLE;
}

static bool in_memory(const struct image_request *r, uint64_t gpa, uint64_t bytes)
{
    uint64_t low = image_low_end(r), high = r->memory_bytes - low;

    if (gpa < low)
        return bytes <= low - gpa;
    return gpa >= VMM_ABOVE_HOLE && gpa - VMM_ABOVE_HOLE < high && bytes <= high - (gpa - VMM_ABOVE_HOLE);
}

// A segment that has a byte in common with [gpa, gpa + bytes).
static const struct image_segment *overlapping(const struct image_plan *plan, uint64_t gpa, uint64_t bytes)
{
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct image_segment *s = &plan->segments[i];

        if (gpa < s->gpa + s->size + s->zeroes && s->gpa < gpa + bytes)
            return s;
    }
    return NULL;
}

int image_add(struct image_build *b, const struct image_segment *s)
{
    uint64_t bytes = s->size + s->zeroes;

    if (bytes < s->size || !in_memory(b->r, s->gpa, bytes))
        return image_error(b,
                           "its %s, %" PRIu64 " bytes at %#" PRIx64 ", lies outside of the guest's %" PRIu64
                           " MiB of memory; give the guest more memory, or link the image elsewhere",
                           s->what, bytes, s->gpa, b->r->memory_bytes >> 20);
    const struct image_segment *other = overlapping(b->plan, s->gpa, bytes);

    if (other)
        return image_error(b,
                           "its %s, %" PRIu64 " bytes at %#" PRIx64 ", overlaps its %s at %#" PRIx64
                           "; link it so that parts lie apart",
                           s->what, bytes, s->gpa, other->what, other->gpa);
    if (b->plan->segment_count == IMAGE_SEGMENTS_MAX)
        return image_error(b, "has more than %u parts to load; link it with fewer segments",
                           IMAGE_SEGMENTS_MAX);
    b->plan->segments[b->plan->segment_count++] = *s;
    return 0;
}

static int no_place(struct image_build *b, uint64_t bytes, const char *what)
{
    return image_error(b,
                       "there is no room for its %s, %" PRIu64 " bytes, in the guest's %" PRIu64
                       " MiB of memory; give the guest more memory",
                       what, bytes, b->r->memory_bytes >> 20);
}

int image_place_high(struct image_build *b, uint64_t bytes, uint64_t align, uint64_t low, uint64_t high,
                     const char *what, uint64_t *gpa)
{
    uint64_t end = high < image_low_end(b->r) ? high : image_low_end(b->r);

    while (end >= low && end - low >= bytes) {
        uint64_t at = (end - bytes) & ~(align - 1);
        const struct image_segment *taken = at >= low ? overlapping(b->plan, at, bytes) : NULL;

        if (at < low)
            break;
        *gpa = at;
        if (!taken)
            return 0;
        end = taken->gpa;
    }
    return no_place(b, bytes, what);
}

int image_place_low(struct image_build *b, uint64_t bytes, uint64_t align, uint64_t low, const char *what,
                    uint64_t *gpa)
{
    uint64_t at = (low + align - 1) & ~(align - 1);

    while (in_memory(b->r, at, bytes)) {
        const struct image_segment *taken = overlapping(b->plan, at, bytes);

        *gpa = at;
        if (!taken)
            return 0;
        at = (taken->gpa + taken->size + taken->zeroes + align - 1) & ~(align - 1);
    }
    return no_place(b, bytes, what);
}

// --- What boot loaders leave beside the image. ---

uint8_t *image_make(struct image_build *b, uint64_t bytes)
{
    uint8_t *made = calloc(1, bytes ? bytes : 1);

    assert(made && b->plan->made_count < IMAGE_SEGMENTS_MAX);
    b->plan->made[b->plan->made_count++] = made;
    return made;
}

int image_add_low(struct image_build *b, uint64_t bytes, const char *what, uint8_t **to, uint64_t *gpa)
{
    if (image_place_high(b, bytes, 8, IMAGE_PAGE, IMAGE_LOW_END, what, gpa))
        return -1;
    *to = image_make(b, bytes);
    return image_add(b, &(struct image_segment){.gpa = *gpa, .bytes = *to, .size = bytes, .what = what});
}

int image_add_text(struct image_build *b, const char *text, const char *what, uint64_t *gpa)
{
    uint8_t *to;
    uint64_t bytes = strlen(text) + 1;

    if (image_add_low(b, bytes, what, &to, gpa))
        return -1;
    memcpy(to, text, bytes);
    return 0;
}

int image_add_gdt(struct image_build *b, bool code64)
{
    // Base 0, limit 4 GiB - 1, present, accessed (SDM 3.4.5).
    const uint64_t code = code64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull;
    const uint64_t data = 0x00cf93000000ffffull;
    uint8_t *to;

    if (image_add_low(b, VMM_PROGRAM_GDT_BYTES, "descriptor table", &to, &b->plan->gdt))
        return -1;
    image_put(to + VMM_PROGRAM_CODE, code, 8);
    image_put(to + VMM_PROGRAM_DATA, data, 8);
    return 0;
}

const struct image_file *image_module(const struct image_request *r, uint32_t index)
{
    if (!r->initrd.path)
        return &r->modules[index];
    return index ? &r->modules[index - 1] : &r->initrd;
}

int image_add_modules(struct image_build *b, uint64_t *gpas, uint32_t *count)
{
    uint64_t from = IMAGE_MIB;

    *count = b->r->module_count + (b->r->initrd.path ? 1 : 0);
    // Above everything that is there: guests take memory behind themselves as it comes.
    for (uint32_t i = 0; i < b->plan->segment_count; i++) {
        const struct image_segment *s = &b->plan->segments[i];

        if (s->gpa < image_low_end(b->r) && s->gpa + s->size + s->zeroes > from)
            from = s->gpa + s->size + s->zeroes;
    }
    for (uint32_t i = 0; i < *count; i++) {
        const struct image_file *f = image_module(b->r, i);

        if (image_place_low(b, f->size, IMAGE_PAGE, from, "module", &gpas[i]))
            return image_file_error(b, f,
                                    "does not fit the guest's %" PRIu64
                                    " MiB of memory behind the image; give the guest more memory",
                                    b->r->memory_bytes >> 20);
        if (image_add(b, &(struct image_segment){
                             .gpa = gpas[i], .bytes = f->bytes, .size = f->size, .what = "module"}))
            return -1;
    }
    return 0;
}

char *image_command_line(const struct image_request *r, bool with_name)
{
    char *text = NULL;

    if (asprintf(&text, "%s%s%s", with_name ? image_name(&r->image) : "", with_name && *r->append ? " " : "",
                 r->append) < 0)
        abort();
    return text;
}

uint32_t image_memory_map(const struct image_request *r, struct image_range *ranges)
{
    uint64_t low = image_low_end(r);
    uint32_t n = 0;

    ranges[n++] = (struct image_range){0, IMAGE_LOW_END, 1};
    ranges[n++] = (struct image_range){IMAGE_LOW_END, 0xa0000 - IMAGE_LOW_END, 2};
    ranges[n++] = (struct image_range){VMM_ACPI_BASE, IMAGE_MIB - VMM_ACPI_BASE, 2};
    if (low > IMAGE_MIB)
        ranges[n++] = (struct image_range){IMAGE_MIB, low - IMAGE_MIB, 1};
    if (r->memory_bytes > low)
        ranges[n++] = (struct image_range){VMM_ABOVE_HOLE, r->memory_bytes - low, 1};
    return n;
}
