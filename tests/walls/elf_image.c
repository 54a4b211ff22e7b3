// SPDX-License-Identifier: Apache-2.0
#include "tests/walls/elf_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_file(struct elf_image *image, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        return false;
    }
    long size = -1;
    if (fseek(f, 0, SEEK_END) == 0) {
        size = ftell(f);
    }
    rewind(f);
    if (size > 0) {
        image->size_bytes = (size_t)size;
        image->bytes = malloc(image->size_bytes);
    }
    const bool whole = image->bytes && fread(image->bytes, 1, image->size_bytes, f) == image->size_bytes;
    fclose(f);
    return whole;
}

static bool inside(const struct elf_image *image, uint64_t offset, uint64_t size_bytes)
{
    return offset <= image->size_bytes && size_bytes <= image->size_bytes - offset;
}

static const char *map_headers(struct elf_image *image)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)(const void *)image->bytes;
    if (!inside(image, 0, sizeof(*header)) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64) {
        return "not an ELF64 file";
    }
    if (!inside(image, header->e_shoff, (uint64_t)header->e_shnum * sizeof(Elf64_Shdr)) ||
        !inside(image, header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr)) ||
        header->e_shstrndx >= header->e_shnum) {
        return "its headers do not lie in the file";
    }
    image->header = header;
    image->sections = (const Elf64_Shdr *)(const void *)(image->bytes + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *section = &image->sections[i];
        if (section->sh_type != SHT_NOBITS && !inside(image, section->sh_offset, section->sh_size)) {
            return "a section does not lie in the file";
        }
    }
    image->section_names = (const char *)image->bytes + image->sections[header->e_shstrndx].sh_offset;
    return NULL;
}

bool elf_image_open(struct elf_image *image, const char *path, const char **why)
{
    *image = (struct elf_image){0};
    *why = read_file(image, path) ? map_headers(image) : "cannot be read";
    if (*why) {
        elf_image_close(image);
    }
    return *why == NULL;
}

void elf_image_close(struct elf_image *image)
{
    free(image->bytes);
    *image = (struct elf_image){0};
}

const Elf64_Shdr *elf_image_section(const struct elf_image *image, const char *name)
{
    for (unsigned i = 0; i < image->header->e_shnum; i++) {
        if (strcmp(image->section_names + image->sections[i].sh_name, name) == 0) {
            return &image->sections[i];
        }
    }
    return NULL;
}

const Elf64_Phdr *elf_image_segment(const struct elf_image *image, unsigned i)
{
    return (const Elf64_Phdr *)(const void *)(image->bytes + image->header->e_phoff) + i;
}

const void *elf_image_bytes(const struct elf_image *image, const Elf64_Shdr *section)
{
    return section->sh_type == SHT_NOBITS ? NULL : image->bytes + section->sh_offset;
}

const char *elf_image_string(const struct elf_image *image, const Elf64_Shdr *strings, uint64_t offset)
{
    return offset < strings->sh_size ? (const char *)image->bytes + strings->sh_offset + offset : "";
}
