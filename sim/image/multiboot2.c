// SPDX-License-Identifier: Apache-2.0
// Multiboot version 2 (Multiboot2 2.0): the header in the image (3.1), the state of an i386 machine (3.3) and
// the information that the image is handed (3.6). Sections are those of the specification.
#include "sim/image/build.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAGIC 0xe85250d6u
#define HEADER_SEARCH 32768u // The header lies within so many bytes of the file, on a multiple of 8.
#define HEADER_BYTES 16u
#define ARCHITECTURE_I386 0u
#define TAG_ALIGN 8u
#define TAG_BYTES 8u
#define TAG_OPTIONAL 1u

enum header_tag {
    HEADER_END,
    HEADER_REQUEST,
    HEADER_ADDRESSES,
    HEADER_ENTRY,
    HEADER_CONSOLE,
    HEADER_FRAMEBUFFER,
    HEADER_MODULE_ALIGN,
    HEADER_EFI_BOOT_SERVICES,
    HEADER_EFI_ENTRY_32,
    HEADER_EFI_ENTRY_64,
    HEADER_RELOCATABLE,
};
#define CONSOLE_REQUIRED 1u

#define BOOT_MAGIC 0x36d76289u
enum info_tag { INFO_END, INFO_CMDLINE, INFO_LOADER, INFO_MODULE, INFO_MEMORY, INFO_BOOT_DEVICE, INFO_MMAP };
#define INFO_GIVEN                                                                                           \
    (1u << INFO_CMDLINE | 1u << INFO_LOADER | 1u << INFO_MODULE | 1u << INFO_MEMORY | 1u << INFO_MMAP)
#define MMAP_ENTRY_BYTES 24u

bool multiboot2_find(const struct image_file *f, uint64_t *offset)
{
    for (uint64_t at = 0; at + HEADER_BYTES <= HEADER_SEARCH && image_has(f, at, HEADER_BYTES);
         at += TAG_ALIGN)
        if (image_u32(f, at) == HEADER_MAGIC &&
            HEADER_MAGIC + image_u32(f, at + 4) + image_u32(f, at + 8) + image_u32(f, at + 12) == 0) {
            *offset = at;
            return true;
        }
    return false;
}

// --- The header.

// What it says, as far as it is heeded.
struct header {
    uint64_t offset;
    uint64_t addresses, entry; // Offsets of these tags in the file; 0: there is none.
};

// Types of boot information that the image must have (3.1.5).
static int check_request(struct image_build *b, uint64_t tag, uint32_t size)
{
    const struct image_file *f = &b->r->image;

    for (uint32_t at = TAG_BYTES; at + 4 <= size; at += 4) {
        uint32_t type = image_u32(f, tag + at);

        if (type >= 32 || !(INFO_GIVEN >> type & 1))
            return image_error(b,
                               "its multiboot 2 header demands boot information of type %" PRIu32
                               ", which is not given; make the request optional",
                               type);
    }
    return 0;
}

static int take_tag(struct image_build *b, struct header *h, uint64_t tag, uint32_t size)
{
    static const uint8_t least[] = {[HEADER_ADDRESSES] = 24, [HEADER_ENTRY] = 12, [HEADER_CONSOLE] = 12};
    const struct image_file *f = &b->r->image;
    uint16_t type = image_u16(f, tag), optional = image_u16(f, tag + 2) & TAG_OPTIONAL;

    if (type < sizeof least && size < least[type])
        return image_error(
            b, "tag %u of its multiboot 2 header is too small (%" PRIu32 " bytes); build it again", type,
            size);
    switch (type) {
    case HEADER_ADDRESSES:
        h->addresses = tag;
        return 0;
    case HEADER_ENTRY:
        h->entry = tag;
        return 0;
    case HEADER_REQUEST:
        return optional ? 0 : check_request(b, tag, size);
    case HEADER_CONSOLE:
        if (optional || !(image_u32(f, tag + 8) & CONSOLE_REQUIRED))
            return 0;
        return image_error(
            b, "its multiboot 2 header demands a console on a screen, and there is none but the serial "
               "port; make that tag optional");
    case HEADER_FRAMEBUFFER:
        return optional
                   ? 0
                   : image_error(b,
                                 "its multiboot 2 header demands a video mode, and there are none; make that "
                                 "tag optional");
    case HEADER_MODULE_ALIGN:      // They always are.
    case HEADER_EFI_BOOT_SERVICES: // These three speak of EFI only.
    case HEADER_EFI_ENTRY_32:
    case HEADER_EFI_ENTRY_64:
    case HEADER_RELOCATABLE: // It may be moved, but need not.
        return 0;
    default:
        return optional ? 0
                        : image_error(
                              b,
                              "its multiboot 2 header has a tag of type %u, which is not known here; make it "
                              "optional",
                              type);
    }
}

static int read_header(struct image_build *b, struct header *h)
{
    const struct image_file *f = &b->r->image;
    uint32_t length = image_u32(f, h->offset + 8), at = HEADER_BYTES;

    if (image_u32(f, h->offset + 4) != ARCHITECTURE_I386)
        return image_error(
            b, "its multiboot 2 header is for architecture %" PRIu32 ", not for i386; build it for x86",
            image_u32(f, h->offset + 4));
    if (!image_has(f, h->offset, length))
        return image_error(b, "ends inside of its multiboot 2 header of %" PRIu32 " bytes; copy it again",
                           length);
    while (length >= TAG_BYTES && at <= length - TAG_BYTES) {
        uint64_t tag = h->offset + at;
        uint32_t size = image_u32(f, tag + 4);

        if (size < TAG_BYTES || size > length - at)
            break;
        if (image_u16(f, tag) == HEADER_END)
            return 0;
        if (take_tag(b, h, tag, size))
            return -1;
        at += size + (TAG_ALIGN - size % TAG_ALIGN) % TAG_ALIGN;
    }
    return image_error(b,
                       "the tags of its multiboot 2 header go wrong at byte %" PRIu32 " of %" PRIu32
                       " (there is no end tag); build it again",
                       at, length);
}

static int load(struct image_build *b, const struct header *h, uint64_t *entry)
{
    const struct image_file *f = &b->r->image;

    if (!h->addresses) {
        if (multiboot_load_elf(b, entry))
            return -1;
        if (h->entry)
            *entry = image_u32(f, h->entry + 8);
        return multiboot_check_entry(b, *entry);
    }
    if (!h->entry)
        return image_error(b, "its multiboot 2 header has addresses but no entry; add that tag");
    struct multiboot_addresses a = {.offset = h->offset,
                                    .header = image_u32(f, h->addresses + 8),
                                    .load = image_u32(f, h->addresses + 12),
                                    .load_end = image_u32(f, h->addresses + 16),
                                    .bss_end = image_u32(f, h->addresses + 20),
                                    .entry = image_u32(f, h->entry + 8)};

    if (a.load == UINT32_MAX) // From the file's beginning on.
        a.load = a.header - a.offset;
    *entry = a.entry;
    return multiboot_load_by_addresses(b, &a);
}

// --- The information.

struct info {
    uint8_t *bytes;
    uint64_t size;
};

// Appends a tag with `size` bytes of its own behind type and size; returns them, zeroed.
static uint8_t *add_tag(struct info *i, enum info_tag type, uint64_t size)
{
    uint64_t bytes = TAG_BYTES + size, padded = (bytes + TAG_ALIGN - 1) & ~(uint64_t)(TAG_ALIGN - 1);
    uint8_t *tag;

    i->bytes = realloc(i->bytes, i->size + padded);
    if (!i->bytes)
        abort();
    tag = i->bytes + i->size;
    i->size += padded;
    memset(tag, 0, padded);
    image_put(tag, type, 4);
    image_put(tag + 4, bytes, 4);
    return tag + TAG_BYTES;
}

static void add_string(struct info *i, enum info_tag type, const char *text)
{
    memcpy(add_tag(i, type, strlen(text) + 1), text, strlen(text));
}

static int add_modules(struct image_build *b, struct info *info)
{
    uint64_t gpas[IMAGE_MODULES_MAX + 1];
    uint32_t count;

    if (image_add_modules(b, gpas, &count))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        const struct image_file *f = image_module(b->r, i);
        const char *name = image_name(f);

        if (multiboot_check_module(b, f, gpas[i]))
            return -1;
        uint8_t *tag = add_tag(info, INFO_MODULE, 8 + strlen(name) + 1);

        image_put(tag, gpas[i], 4);
        image_put(tag + 4, gpas[i] + f->size, 4);
        memcpy(tag + 8, name, strlen(name));
    }
    return 0;
}

static void add_memory(struct image_build *b, struct info *info)
{
    struct image_range ranges[IMAGE_RANGES_MAX];
    uint32_t count = image_memory_map(b->r, ranges);
    uint64_t low = image_low_end(b->r);
    uint8_t *tag = add_tag(info, INFO_MEMORY, 8);

    image_put(tag, IMAGE_LOW_END >> 10, 4);
    image_put(tag + 4, low > IMAGE_MIB ? (low - IMAGE_MIB) >> 10 : 0, 4);
    tag = add_tag(info, INFO_MMAP, 8 + count * MMAP_ENTRY_BYTES);
    image_put(tag, MMAP_ENTRY_BYTES, 4);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *entry = tag + 8 + i * MMAP_ENTRY_BYTES;

        image_put(entry, ranges[i].base, 8);
        image_put(entry + 8, ranges[i].size, 8);
        image_put(entry + 16, ranges[i].type, 4);
    }
}

static int make_info(struct image_build *b, struct info *info)
{
    // Unlike in version 1, the command line is what stands behind the image's name (3.6.3).
    char *line = image_command_line(b->r, false);

    add_string(info, INFO_CMDLINE, line);
    free(line);
    add_string(info, INFO_LOADER, "hvsim");
    add_memory(b, info);
    if (add_modules(b, info))
        return -1;
    add_tag(info, INFO_END, 0);
    image_put(info->bytes, info->size, 4);
    return 0;
}

int multiboot2_plan(struct image_build *b, uint64_t offset)
{
    struct header h = {.offset = offset};
    uint64_t entry = 0, gpa = 0;
    uint8_t *to;

    if (read_header(b, &h) || load(b, &h, &entry))
        return -1;
    struct info info = {.bytes = calloc(1, TAG_BYTES), .size = TAG_BYTES}; // Total size, reserved.

    if (!info.bytes)
        abort();
    int result = make_info(b, &info);

    if (result == 0)
        result = image_add_low(b, info.size, "boot information", &to, &gpa);
    if (result == 0) {
        memcpy(to, info.bytes, info.size);
        result = image_add_gdt(b, false);
    }
    free(info.bytes);
    b->plan->format = "multiboot 2";
    b->plan->mode = VMM_MODE_PROTECTED;
    b->plan->rip = entry;
    b->plan->rax = BOOT_MAGIC;
    b->plan->rbx = gpa;
    return result;
}
