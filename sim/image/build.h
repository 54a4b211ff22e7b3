// SPDX-License-Identifier: Apache-2.0
// Inside of sim/image: what the formats share. Functions that can fail return 0, or -1 with the error filled.
#ifndef SIM_IMAGE_BUILD_H
#define SIM_IMAGE_BUILD_H

#include "sim/image/image.h"

#define IMAGE_PAGE 4096ull
#define IMAGE_MIB (1ull << 20)
#define IMAGE_LOW_END 0x9fc00ull // Of base memory; what firmware keeps for itself follows (EBDA).

struct image_build {
    const struct image_request *r;
    struct image_plan *plan;
    struct user_error *e;
};

// An error of the image file, or of `file`.
__attribute__((format(printf, 2, 3))) int image_error(struct image_build *b, const char *format, ...);
__attribute__((format(printf, 3, 4))) int
image_file_error(struct image_build *b, const struct image_file *file, const char *format, ...);

// Little-endian numbers of a file at an offset; the caller has checked that they are there.
uint16_t image_u16(const struct image_file *f, uint64_t offset);
uint32_t image_u32(const struct image_file *f, uint64_t offset);
uint64_t image_u64(const struct image_file *f, uint64_t offset);
void image_put(uint8_t *at, uint64_t value, unsigned bytes);
// Are `bytes` at `offset` inside of the file?
static inline bool image_has(const struct image_file *f, uint64_t offset, uint64_t bytes)
{
    return offset <= f->size && bytes <= f->size - offset;
}
// Last part of a path: what the guest is told of it.
const char *image_name(const struct image_file *f);

// Adds a segment where the format wants it: refuses what is outside of memory or overlaps.
int image_add(struct image_build *b, const struct image_segment *s);
// Finds `bytes` of free memory, aligned: the highest place that ends at or below `high` (at least `low`), or
// the lowest at or above `low`. -1: none.
int image_place_high(struct image_build *b, uint64_t bytes, uint64_t align, uint64_t low, uint64_t high,
                     const char *what, uint64_t *gpa);
int image_place_low(struct image_build *b, uint64_t bytes, uint64_t align, uint64_t low, const char *what,
                    uint64_t *gpa);
// Zeroed bytes that belong to the plan.
uint8_t *image_make(struct image_build *b, uint64_t bytes);
// Bytes that belong to the plan, as high as they fit in base memory (8-byte aligned). *to: to be filled.
int image_add_low(struct image_build *b, uint64_t bytes, const char *what, uint8_t **to, uint64_t *gpa);
int image_add_text(struct image_build *b, const char *text, const char *what, uint64_t *gpa);
// A GDT for flat 32-bit code and data (64-bit code if `code64`); sets plan->gdt.
int image_add_gdt(struct image_build *b, bool code64);
// All modules, and the initrd before them, above what is there: page aligned. gpas[]: by module.
int image_add_modules(struct image_build *b, uint64_t *gpas, uint32_t *count);
const struct image_file *image_module(const struct image_request *r, uint32_t index);
// "NAME ARGS", as boot loaders pass it. The caller frees.
char *image_command_line(const struct image_request *r, bool with_name);
// End of memory below 4 GiB.
uint64_t image_low_end(const struct image_request *r);

// The memory map: firmware's E820h list (ACPI 6.4, 15). Types: 1 memory, 2 reserved.
struct image_range {
    uint64_t base, size;
    uint32_t type;
};
#define IMAGE_RANGES_MAX 8u
uint32_t image_memory_map(const struct image_request *r, struct image_range *ranges);

// ELF: checks the file and adds its loadable segments at their physical addresses.
struct image_elf {
    bool is_64;
    uint64_t entry; // Physical.
    bool has_pvh;   // XEN_ELFNOTE_PHYS32_ENTRY
    uint64_t pvh_entry;
};
bool elf_is(const struct image_file *f);
int elf_load(struct image_build *b, struct image_elf *elf);

// Multiboot, both versions: a header at `offset` of the file that says where it is and what goes with it; end
// 0: the file's, none. Each loads the image, or checks that a 32-bit guest reaches something.
struct multiboot_addresses {
    uint64_t offset, header, load, load_end, bss_end, entry;
};
int multiboot_load_by_addresses(struct image_build *b, const struct multiboot_addresses *a);
int multiboot_load_elf(struct image_build *b, uint64_t *entry);
int multiboot_check_entry(struct image_build *b, uint64_t entry);
int multiboot_check_module(struct image_build *b, const struct image_file *f, uint64_t gpa);

// One for each format. _find() looks for its mark; _plan() does the rest.
bool multiboot_find(const struct image_file *f, uint64_t *offset);
int multiboot_plan(struct image_build *b, uint64_t offset);
bool multiboot2_find(const struct image_file *f, uint64_t *offset);
int multiboot2_plan(struct image_build *b, uint64_t offset);
bool bzimage_is(const struct image_file *f);
int bzimage_plan(struct image_build *b);
int elf_plan(struct image_build *b); // PVH too.
int flat_plan(struct image_build *b);

#endif
