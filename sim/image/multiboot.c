// SPDX-License-Identifier: Apache-2.0
// Multiboot version 1: the header in the image (Multiboot 3.1), the machine state (3.2) and the information
// that the image is handed (3.3).
#include "sim/image/build.h"
#include <inttypes.h>
#include <stdlib.h>

#define HEADER_MAGIC 0x1badb002u
#define HEADER_SEARCH 8192u // The header lies within so many bytes of the file, on a multiple of 4.
#define HEADER_BYTES 12u
#define HEADER_ADDRESS_BYTES 32u
#define FLAG_PAGE_ALIGN 0x1u
#define FLAG_MEMORY 0x2u
#define FLAGS_UNDERSTOOD (FLAG_PAGE_ALIGN | FLAG_MEMORY)
#define FLAGS_REQUIRED 0xffffu // Of those the loader must understand each.
#define FLAG_ADDRESSES 0x10000u

#define BOOT_MAGIC 0x2badb002u
#define INFO_BYTES 120u
#define INFO_MEMORY 0x1u
#define INFO_CMDLINE 0x4u
#define INFO_MODULES 0x8u
#define INFO_MMAP 0x40u
#define INFO_LOADER 0x200u
#define MODULE_BYTES 16u
#define MMAP_BYTES 24u // Its size field does not count itself.

bool multiboot_find(const struct image_file *f, uint64_t *offset)
{
    for (uint64_t at = 0; at + HEADER_BYTES <= HEADER_SEARCH && image_has(f, at, HEADER_BYTES); at += 4)
        if (image_u32(f, at) == HEADER_MAGIC &&
            HEADER_MAGIC + image_u32(f, at + 4) + image_u32(f, at + 8) == 0) {
            *offset = at;
            return true;
        }
    return false;
}

// --- Shared with version 2.

int multiboot_load_by_addresses(struct image_build *b, const struct multiboot_addresses *a)
{
    const struct image_file *f = &b->r->image;
    uint64_t before = a->header - a->load; // Of what is loaded, before the header.

    if (a->load > a->header || before > a->offset || (a->load_end && a->load_end < a->load) ||
        (a->bss_end && a->bss_end < (a->load_end ? a->load_end : a->load)))
        return image_error(b,
                           "the addresses in its multiboot header (header %#" PRIx64 ", load %#" PRIx64
                           " to %#" PRIx64 ", bss to %#" PRIx64 ") contradict each other; build it again",
                           a->header, a->load, a->load_end, a->bss_end);
    uint64_t offset = a->offset - before, size = a->load_end ? a->load_end - a->load : f->size - offset;

    if (!image_has(f, offset, size))
        return image_error(
            b, "ends before what its multiboot header loads (%" PRIu64 " bytes); copy it again", size);
    if (a->entry - a->load >= size)
        return image_error(b,
                           "the entry %#" PRIx64 " in its multiboot header is not in what it loads; build "
                           "it again",
                           a->entry);
    return image_add(
        b, &(struct image_segment){.gpa = a->load,
                                   .bytes = f->bytes + offset,
                                   .size = size,
                                   .zeroes = a->bss_end > a->load + size ? a->bss_end - a->load - size : 0,
                                   .what = "code"});
}

int multiboot_load_elf(struct image_build *b, uint64_t *entry)
{
    struct image_elf elf;

    if (!elf_is(&b->r->image))
        return image_error(b,
                           "has a multiboot header without addresses but is no ELF file; put addresses into "
                           "it or link it as ELF");
    if (elf_load(b, &elf))
        return -1;
    *entry = elf.entry;
    return 0;
}

int multiboot_check_entry(struct image_build *b, uint64_t entry)
{
    if (entry >> 32 == 0)
        return 0;
    return image_error(
        b, "its entry %#" PRIx64 " is beyond 4 GiB, where 32-bit code cannot be; link it lower", entry);
}

int multiboot_check_module(struct image_build *b, const struct image_file *f, uint64_t gpa)
{
    if ((gpa + f->size) >> 32 == 0)
        return 0;
    return image_file_error(
        b, f,
        "does not fit below 4 GiB, where multiboot's modules lie; give the guest more memory "
        "or a smaller module");
}

// --- The image.

// An image that says in its header where it belongs, whatever its own format says.
static int load_by_addresses(struct image_build *b, uint64_t header, uint64_t *entry)
{
    const struct image_file *f = &b->r->image;

    if (!image_has(f, header, HEADER_ADDRESS_BYTES))
        return image_error(b, "ends inside of its multiboot header; copy it again");
    *entry = image_u32(f, header + 28);
    return multiboot_load_by_addresses(b, &(struct multiboot_addresses){.offset = header,
                                                                        .header = image_u32(f, header + 12),
                                                                        .load = image_u32(f, header + 16),
                                                                        .load_end = image_u32(f, header + 20),
                                                                        .bss_end = image_u32(f, header + 24),
                                                                        .entry = *entry});
}

static int load(struct image_build *b, uint64_t header, uint64_t *entry)
{
    uint32_t flags = image_u32(&b->r->image, header + 4);

    if (flags & FLAGS_REQUIRED & ~FLAGS_UNDERSTOOD)
        return image_error(b,
                           "its multiboot header demands %#x, of which only %#x can be given (no video "
                           "modes); build it without",
                           flags & FLAGS_REQUIRED, FLAGS_UNDERSTOOD);
    if (flags & FLAG_ADDRESSES)
        return load_by_addresses(b, header, entry);
    return multiboot_load_elf(b, entry) ? -1 : multiboot_check_entry(b, *entry);
}

// --- The information.

static int add_module_list(struct image_build *b, uint8_t *info)
{
    uint64_t gpas[IMAGE_MODULES_MAX + 1], at;
    uint32_t count;
    uint8_t *list;

    if (image_add_modules(b, gpas, &count))
        return -1;
    if (count == 0)
        return 0;
    if (image_add_low(b, count * MODULE_BYTES, "module list", &list, &at))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        const struct image_file *f = image_module(b->r, i);
        uint64_t text;

        if (multiboot_check_module(b, f, gpas[i]) || image_add_text(b, image_name(f), "module's name", &text))
            return -1;
        image_put(list + i * MODULE_BYTES, gpas[i], 4);
        image_put(list + i * MODULE_BYTES + 4, gpas[i] + f->size, 4);
        image_put(list + i * MODULE_BYTES + 8, text, 4);
    }
    image_put(info + 20, count, 4);
    image_put(info + 24, at, 4);
    return 0;
}

static int add_memory_map(struct image_build *b, uint8_t *info)
{
    struct image_range ranges[IMAGE_RANGES_MAX];
    uint32_t count = image_memory_map(b->r, ranges);
    uint64_t at;
    uint8_t *to;

    if (image_add_low(b, count * MMAP_BYTES, "memory map", &to, &at))
        return -1;
    for (uint32_t i = 0; i < count; i++, to += MMAP_BYTES) {
        image_put(to, MMAP_BYTES - 4, 4);
        image_put(to + 4, ranges[i].base, 8);
        image_put(to + 12, ranges[i].size, 8);
        image_put(to + 20, ranges[i].type, 4);
    }
    image_put(info + 44, count * MMAP_BYTES, 4);
    image_put(info + 48, at, 4);
    return 0;
}

int multiboot_plan(struct image_build *b, uint64_t header)
{
    uint64_t entry = 0, info_gpa, line, name, low = image_low_end(b->r);
    uint8_t *info;

    if (load(b, header, &entry) || image_add_low(b, INFO_BYTES, "boot information", &info, &info_gpa))
        return -1;
    char *text = image_command_line(b->r, true);
    int result = image_add_text(b, text, "command line", &line);

    free(text);
    if (result || image_add_text(b, "hvsim", "loader's name", &name) || add_module_list(b, info) ||
        add_memory_map(b, info) || image_add_gdt(b, false))
        return -1;
    image_put(info, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER, 4);
    image_put(info + 4, IMAGE_LOW_END >> 10, 4);
    image_put(info + 8, low > IMAGE_MIB ? (low - IMAGE_MIB) >> 10 : 0, 4);
    image_put(info + 16, line, 4);
    image_put(info + 64, name, 4);
    b->plan->format = "multiboot";
    b->plan->mode = VMM_MODE_PROTECTED;
    b->plan->rip = entry;
    b->plan->rax = BOOT_MAGIC;
    b->plan->rbx = info_gpa;
    return 0;
}
