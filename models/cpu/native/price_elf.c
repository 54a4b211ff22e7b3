// SPDX-License-Identifier: Apache-2.0
//
// Reads what pricing needs of an ELF64 x86-64 shared object: .text, function symbols, and the names behind
// the entries of the procedure linkage table. (System V ABI, AMD64 supplement 1.0.)

#include "models/cpu/native/price_internal.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool map_file(struct price_elf *elf, const char *path, char *error, size_t error_size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(error, error_size, "%s: cannot be read; expected a shared object", path);
        if (fd >= 0)
            close(fd);
        return false;
    }
    elf->size = (size_t)st.st_size;
    void *data = elf->size > 0 ? mmap(NULL, elf->size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (data == MAP_FAILED) {
        snprintf(error, error_size, "%s: is empty or cannot be mapped; expected a shared object", path);
        return false;
    }
    elf->data = data;
    return true;
}

// `count` elements of `size` bytes at file offset `offset`, or NULL if they do not lie within the file.
static const void *at(const struct price_elf *elf, uint64_t offset, uint64_t count, uint64_t size)
{
    if (offset > elf->size || size == 0 || count > (elf->size - offset) / size)
        return NULL;
    return elf->data + offset;
}

struct sections {
    const Elf64_Shdr *header;
    size_t count;
    const char *names;
    uint64_t names_bytes;
};

static bool find_sections(const struct price_elf *elf, struct sections *s)
{
    const Elf64_Ehdr *e = at(elf, 0, 1, sizeof *e);
    if (e == NULL || memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_ident[EI_CLASS] != ELFCLASS64 ||
        e->e_ident[EI_DATA] != ELFDATA2LSB || e->e_machine != EM_X86_64 ||
        e->e_shentsize != sizeof(Elf64_Shdr) || e->e_shoff % 8 != 0)
        return false;
    s->header = at(elf, e->e_shoff, e->e_shnum, sizeof(Elf64_Shdr));
    s->count = e->e_shnum;
    if (s->header == NULL || e->e_shstrndx >= e->e_shnum)
        return false;
    const Elf64_Shdr *names = &s->header[e->e_shstrndx];
    s->names = at(elf, names->sh_offset, names->sh_size, 1);
    s->names_bytes = names->sh_size;
    return s->names != NULL && s->names_bytes > 0 && s->names[s->names_bytes - 1] == '\0';
}

static const Elf64_Shdr *section(const struct sections *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->header[i].sh_name < s->names_bytes && strcmp(s->names + s->header[i].sh_name, name) == 0)
            return &s->header[i];
    return NULL;
}

// A symbol table with its strings.
struct symtab {
    const Elf64_Sym *symbol;
    size_t count;
    const char *strings;
    uint64_t strings_bytes;
};

static bool symtab_open(const struct price_elf *elf, const struct sections *s, const Elf64_Shdr *h,
                        struct symtab *t)
{
    if (h == NULL || h->sh_link >= s->count || h->sh_offset % 8 != 0)
        return false;
    const Elf64_Shdr *strings = &s->header[h->sh_link];
    t->count = h->sh_size / sizeof(Elf64_Sym);
    t->symbol = at(elf, h->sh_offset, t->count, sizeof(Elf64_Sym));
    t->strings = at(elf, strings->sh_offset, strings->sh_size, 1);
    t->strings_bytes = strings->sh_size;
    return t->symbol != NULL && t->strings != NULL && t->strings_bytes > 0 &&
           t->strings[t->strings_bytes - 1] == '\0';
}

static const char *symbol_name(const struct symtab *t, size_t index)
{
    if (index >= t->count || t->symbol[index].st_name >= t->strings_bytes)
        return NULL;
    return t->strings + t->symbol[index].st_name;
}

// By address, then by name: the order must not depend on the file's own.
static int symbol_order(const void *a, const void *b)
{
    const struct price_symbol *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void read_symbols(struct price_elf *elf, const struct symtab *t)
{
    elf->symbols = calloc(t->count + 1, sizeof *elf->symbols);
    if (elf->symbols == NULL)
        abort();
    for (size_t i = 0; i < t->count; i++) {
        const Elf64_Sym *s = &t->symbol[i];
        const char *name = symbol_name(t, i);
        if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || name == NULL ||
            s->st_value - elf->text_address >= elf->text_bytes)
            continue;
        elf->symbols[elf->symbol_count++] = (struct price_symbol){s->st_value, s->st_size, name};
    }
    qsort(elf->symbols, elf->symbol_count, sizeof *elf->symbols, symbol_order);
    size_t kept = 0;
    for (size_t i = 0; i < elf->symbol_count; i++)
        if (kept == 0 || elf->symbols[kept - 1].start != elf->symbols[i].start)
            elf->symbols[kept++] = elf->symbols[i];
    elf->symbol_count = kept;
}

// The name of the symbol whose address the dynamic linker stores in the word at `slot`.
static const char *slot_name(const struct price_elf *elf, const struct sections *s, uint64_t slot)
{
    for (size_t i = 0; i < s->count; i++) {
        const Elf64_Shdr *h = &s->header[i];
        struct symtab t;
        if (h->sh_type != SHT_RELA || h->sh_link >= s->count || h->sh_offset % 8 != 0 ||
            !symtab_open(elf, s, &s->header[h->sh_link], &t))
            continue;
        size_t count = h->sh_size / sizeof(Elf64_Rela);
        const Elf64_Rela *rela = at(elf, h->sh_offset, count, sizeof *rela);
        for (size_t r = 0; rela != NULL && r < count; r++)
            if (rela[r].r_offset == slot && ELF64_R_SYM(rela[r].r_info) != 0)
                return symbol_name(&t, ELF64_R_SYM(rela[r].r_info));
    }
    return NULL;
}

static void add_import(struct price_elf *elf, uint64_t address, const char *name)
{
    elf->imports = realloc(elf->imports, (elf->import_count + 1) * sizeof *elf->imports);
    if (elf->imports == NULL)
        abort();
    elf->imports[elf->import_count++] = (struct price_import){address, name};
}

// An entry is `jmp *slot(%rip)` (FF 25 disp32), alone or behind endbr64 (F3 0F 1E FA), perhaps with a BND
// prefix (F2).
static void read_imports(struct price_elf *elf, const struct sections *s, const Elf64_Shdr *h)
{
    const uint8_t *code = h != NULL ? at(elf, h->sh_offset, h->sh_size, 1) : NULL;
    if (code == NULL)
        return;
    for (uint64_t i = 0; i + 6 <= h->sh_size; i++) {
        int32_t displacement;
        if (code[i] != 0xff || code[i + 1] != 0x25)
            continue;
        memcpy(&displacement, code + i + 2, 4);
        uint64_t start = i;
        if (start >= 1 && code[start - 1] == 0xf2)
            start -= 1;
        if (start >= 4 && memcmp(code + start - 4, "\xf3\x0f\x1e\xfa", 4) == 0)
            start -= 4;
        const char *name = slot_name(elf, s, h->sh_addr + i + 6 + (uint64_t)(int64_t)displacement);
        if (name != NULL)
            add_import(elf, h->sh_addr + start, name);
        i += 5;
    }
}

static int import_order(const void *a, const void *b)
{
    const struct price_import *x = a, *y = b;
    return x->address < y->address ? -1 : x->address > y->address;
}

// The entry of a linkage table comes before a function: both names are looked up as a call's would be.
static void note_block_hook(struct price_elf *elf, uint64_t address)
{
    const char *name = price_elf_target(elf, address);
    if (name != NULL && price_name_is_block_hook(name) && elf->block_hook_count < PRICE_BLOCK_HOOKS_MAX &&
        !price_elf_is_block_hook(elf, address))
        elf->block_hooks[elf->block_hook_count++] = address;
}

bool price_elf_open(struct price_elf *elf, const char *path, char *error, size_t error_size)
{
    struct sections s;
    struct symtab t;
    *elf = (struct price_elf){0};
    if (!map_file(elf, path, error, error_size))
        return false;
    const Elf64_Shdr *text = NULL;
    if (find_sections(elf, &s))
        text = section(&s, ".text");
    elf->text = text != NULL ? at(elf, text->sh_offset, text->sh_size, 1) : NULL;
    if (elf->text == NULL) {
        snprintf(error, error_size, "%s: is no ELF64 x86-64 file with a .text section", path);
        price_elf_close(elf);
        return false;
    }
    elf->text_address = text->sh_addr;
    elf->text_bytes = text->sh_size;
    if (!symtab_open(elf, &s, section(&s, ".symtab"), &t) &&
        !symtab_open(elf, &s, section(&s, ".dynsym"), &t)) {
        snprintf(error, error_size, "%s: has no symbol table; expected one that is not stripped", path);
        price_elf_close(elf);
        return false;
    }
    read_symbols(elf, &t);
    read_imports(elf, &s, section(&s, ".plt"));
    read_imports(elf, &s, section(&s, ".plt.sec"));
    read_imports(elf, &s, section(&s, ".plt.got"));
    if (elf->import_count > 0)
        qsort(elf->imports, elf->import_count, sizeof *elf->imports, import_order);
    for (size_t i = 0; i < elf->import_count; i++)
        note_block_hook(elf, elf->imports[i].address);
    for (size_t i = 0; i < elf->symbol_count; i++)
        note_block_hook(elf, elf->symbols[i].start);
    return true;
}

void price_elf_close(struct price_elf *elf)
{
    if (elf->data != NULL)
        munmap((void *)(uintptr_t)elf->data, elf->size);
    free(elf->symbols);
    free(elf->imports);
    *elf = (struct price_elf){0};
}

const struct price_symbol *price_elf_function(const struct price_elf *elf, uint64_t address)
{
    size_t low = 0, high = elf->symbol_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (elf->symbols[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct price_symbol *s = &elf->symbols[low - 1];
    return s->size == 0 || address - s->start < s->size ? s : NULL;
}

bool price_elf_is_block_hook(const struct price_elf *elf, uint64_t address)
{
    for (size_t i = 0; i < elf->block_hook_count; i++)
        if (elf->block_hooks[i] == address)
            return true;
    return false;
}

const char *price_elf_target(const struct price_elf *elf, uint64_t address)
{
    size_t low = 0, high = elf->import_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (elf->imports[middle].address == address)
            return elf->imports[middle].name;
        if (elf->imports[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct price_symbol *s = price_elf_function(elf, address);
    return s != NULL && s->start == address ? s->name : NULL;
}
