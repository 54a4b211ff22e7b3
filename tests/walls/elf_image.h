// SPDX-License-Identifier: Apache-2.0
/* A shared object read into memory (ELF64, System V ABI 4.1): just what the walls are told from. */
#ifndef TESTS_WALLS_ELF_IMAGE_H
#define TESTS_WALLS_ELF_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_image {
    unsigned char *bytes;
    size_t size_bytes;
    const Elf64_Ehdr *header;
    const Elf64_Shdr *sections;
    const char *section_names;
};

/* Reads path. False (with a reason in `why`) if it is no complete ELF64 file with sections. */
bool elf_image_open(struct elf_image *image, const char *path, const char **why);
void elf_image_close(struct elf_image *image);

/* The section of that name, or NULL. */
const Elf64_Shdr *elf_image_section(const struct elf_image *image, const char *name);
/* The i-th program header, i < header->e_phnum. */
const Elf64_Phdr *elf_image_segment(const struct elf_image *image, unsigned i);
/* Bytes of a section, NULL for one without any. */
const void *elf_image_bytes(const struct elf_image *image, const Elf64_Shdr *section);
const char *elf_image_string(const struct elf_image *image, const Elf64_Shdr *strings, uint64_t offset);

#endif
