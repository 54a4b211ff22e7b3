// SPDX-License-Identifier: Apache-2.0
// ELF files that are entered directly: by PVH's start information where they have its note, else at their
// entry point, in the mode of their class.
#include "sim/image/build.h"
#include <inttypes.h>
#include <stdlib.h>

// struct hvm_start_info, hvm_modlist_entry, hvm_memmap_table_entry (PVH).
#define START_MAGIC 0x336ec578u
#define START_VERSION 1u
#define START_BYTES 56u
#define MODULE_BYTES 32u
#define MEMMAP_BYTES 24u

static int add_module_list(struct image_build *b, uint64_t *gpa, uint32_t *count)
{
    uint64_t gpas[IMAGE_MODULES_MAX + 1];
    uint8_t *list;

    if (image_add_modules(b, gpas, count))
        return -1;
    if (*count == 0)
        return 0;
    if (image_add_low(b, *count * MODULE_BYTES, "module list", &list, gpa))
        return -1;
    for (uint32_t i = 0; i < *count; i++) {
        uint64_t text;

        if (image_add_text(b, image_name(image_module(b->r, i)), "module's name", &text))
            return -1;
        image_put(list + i * MODULE_BYTES, gpas[i], 8);
        image_put(list + i * MODULE_BYTES + 8, image_module(b->r, i)->size, 8);
        image_put(list + i * MODULE_BYTES + 16, text, 8);
    }
    return 0;
}

static int add_memory_map(struct image_build *b, uint64_t *gpa, uint32_t *count)
{
    struct image_range ranges[IMAGE_RANGES_MAX];
    uint8_t *to;

    *count = image_memory_map(b->r, ranges);
    if (image_add_low(b, *count * MEMMAP_BYTES, "memory map", &to, gpa))
        return -1;
    for (uint32_t i = 0; i < *count; i++) {
        image_put(to + i * MEMMAP_BYTES, ranges[i].base, 8);
        image_put(to + i * MEMMAP_BYTES + 8, ranges[i].size, 8);
        image_put(to + i * MEMMAP_BYTES + 16, ranges[i].type, 4);
    }
    return 0;
}

static int pvh_plan(struct image_build *b, const struct image_elf *elf)
{
    uint64_t start, modules = 0, map, line;
    uint32_t module_count, map_count;
    char *text = image_command_line(b->r, false);
    uint8_t *to;
    int result = image_add_text(b, text, "command line", &line);

    free(text);
    if (elf->pvh_entry >> 32)
        return image_error(b, "its PVH entry %#" PRIx64 " is beyond 4 GiB; build it again", elf->pvh_entry);
    if (result || add_module_list(b, &modules, &module_count) || add_memory_map(b, &map, &map_count) ||
        image_add_low(b, START_BYTES, "start information", &to, &start) || image_add_gdt(b, false))
        return -1;
    image_put(to, START_MAGIC, 4);
    image_put(to + 4, START_VERSION, 4);
    image_put(to + 12, module_count, 4);
    image_put(to + 16, modules, 8);
    image_put(to + 24, line, 8);
    image_put(to + 32, VMM_ACPI_BASE, 8); // The RSDP.
    image_put(to + 40, map, 8);
    image_put(to + 48, map_count, 4);
    b->plan->format = "PVH";
    b->plan->mode = VMM_MODE_PROTECTED;
    b->plan->rip = elf->pvh_entry;
    b->plan->rbx = start;
    return 0;
}

int elf_plan(struct image_build *b)
{
    struct image_elf elf;

    if (elf_load(b, &elf))
        return -1;
    if (elf.has_pvh)
        return pvh_plan(b, &elf);
    if (b->r->initrd.path || b->r->module_count || *b->r->append)
        return image_error(b, "is a plain ELF file, which is told nothing: no command line, modules or "
                              "initrd; leave them out, or give it a multiboot header or a PVH note");
    b->plan->format = elf.is_64 ? "ELF64" : "ELF32";
    b->plan->mode = elf.is_64 ? VMM_MODE_LONG : VMM_MODE_PROTECTED;
    b->plan->rip = elf.entry;
    return image_add_gdt(b, elf.is_64);
}
