// SPDX-License-Identifier: Apache-2.0
// ELF files (ELF, chapters 4 and 5): headers, loadable segments, the PVH note.
#include "sim/image/build.h"
#include <elf.h>
#include <inttypes.h>
#include <string.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18u
#define SEGMENTS_LOOKED_AT 4096u

bool elf_is(const struct image_file *f)
{
    return image_has(f, 0, SELFMAG) && memcmp(f->bytes, ELFMAG, SELFMAG) == 0;
}

// The fields of either class that matter.
struct elf_head {
    bool is_64;
    uint64_t entry, table;
    uint32_t entry_bytes, count;
};
struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, size, memory;
};

static int check_kind(struct image_build *b, const struct image_file *f)
{
    unsigned class = f->bytes[EI_CLASS], type = image_u16(f, 16), machine = image_u16(f, 18);

    if (f->bytes[EI_DATA] != ELFDATA2LSB)
        return image_error(b, "is a big-endian ELF file; build it for x86");
    if (machine != EM_386 && machine != EM_X86_64)
        return image_error(b, "is an ELF file for machine %u, not for x86 (%u or %u); build it for x86",
                           machine, EM_386, EM_X86_64);
    if (class != (machine == EM_386 ? ELFCLASS32 : ELFCLASS64))
        return image_error(b, "is an ELF file of class %u, but machine %u has %s; build it with -m32 or -m64",
                           class, machine, machine == EM_386 ? "32-bit files" : "64-bit files");
    if (type != ET_EXEC)
        return image_error(b,
                           "is an ELF file of type %u, not an executable at fixed addresses (%u); link it "
                           "with -static -no-pie",
                           type, ET_EXEC);
    return 0;
}

static int read_head(struct image_build *b, struct elf_head *h)
{
    const struct image_file *f = &b->r->image;

    if (!image_has(f, 0, sizeof(Elf32_Ehdr)))
        return image_error(b, "ends inside of its ELF header; copy it again");
    h->is_64 = f->bytes[EI_CLASS] == ELFCLASS64;
    if (h->is_64 && !image_has(f, 0, sizeof(Elf64_Ehdr)))
        return image_error(b, "ends inside of its ELF header; copy it again");
    if (check_kind(b, f))
        return -1;
    h->entry = h->is_64 ? image_u64(f, 24) : image_u32(f, 24);
    h->table = h->is_64 ? image_u64(f, 32) : image_u32(f, 28);
    h->entry_bytes = image_u16(f, h->is_64 ? 54 : 42);
    h->count = image_u16(f, h->is_64 ? 56 : 44);
    if (h->count == 0)
        return image_error(b, "is an ELF file without program headers; link it, do not only assemble it");
    if (h->count > SEGMENTS_LOOKED_AT ||
        h->entry_bytes != (h->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return image_error(b,
                           "has %u program headers of %u bytes, which is no sound ELF file; build it again",
                           h->count, h->entry_bytes);
    if (!image_has(f, h->table, (uint64_t)h->count * h->entry_bytes))
        return image_error(b, "ends before its program headers do; copy it again");
    return 0;
}

static struct elf_segment segment_at(const struct image_file *f, const struct elf_head *h, uint32_t index)
{
    uint64_t at = h->table + (uint64_t)index * h->entry_bytes;

    if (h->is_64)
        return (struct elf_segment){image_u32(f, at),      image_u64(f, at + 8),  image_u64(f, at + 16),
                                    image_u64(f, at + 24), image_u64(f, at + 32), image_u64(f, at + 40)};
    return (struct elf_segment){image_u32(f, at),      image_u32(f, at + 4),  image_u32(f, at + 8),
                                image_u32(f, at + 12), image_u32(f, at + 16), image_u32(f, at + 20)};
}

static int load_segment(struct image_build *b, const struct elf_segment *s)
{
    const struct image_file *f = &b->r->image;

    if (s->size > s->memory)
        return image_error(b,
                           "its segment at %#" PRIx64 " has %" PRIu64 " bytes in the file but only %" PRIu64
                           " in memory; build it again",
                           s->paddr, s->size, s->memory);
    if (!image_has(f, s->offset, s->size))
        return image_error(b,
                           "ends before its segment at %#" PRIx64 " does (%" PRIu64 " of %" PRIu64
                           " bytes are there); copy it again",
                           s->paddr, s->offset < f->size ? f->size - s->offset : 0, s->size);
    return image_add(b, &(struct image_segment){.gpa = s->paddr,
                                                .bytes = f->bytes + s->offset,
                                                .size = s->size,
                                                .zeroes = s->memory - s->size,
                                                .what = "segment"});
}

// The descriptor of the PVH note among those of a note segment (PVH: an address of 4 or 8 bytes).
static void find_pvh(const struct image_file *f, const struct elf_segment *s, struct image_elf *elf)
{
    uint64_t at = s->offset, end = s->offset + s->size;

    if (!image_has(f, s->offset, s->size))
        return;
    while (end - at >= 12) {
        uint64_t name = image_u32(f, at), bytes = image_u32(f, at + 4);
        uint32_t type = image_u32(f, at + 8);
        uint64_t name_at = at + 12, desc_at = name_at + ((name + 3) & ~3ull);
        uint64_t next = desc_at + ((bytes + 3) & ~3ull);

        if (desc_at > end || bytes > end - desc_at)
            return;
        if (type == XEN_ELFNOTE_PHYS32_ENTRY && name == 4 && memcmp(f->bytes + name_at, "Xen", 4) == 0 &&
            (bytes == 4 || bytes == 8)) {
            elf->has_pvh = true;
            elf->pvh_entry = bytes == 8 ? image_u64(f, desc_at) : image_u32(f, desc_at);
            return;
        }
        at = next < end ? next : end;
    }
}

// The entry is where the file says, or what is loaded from that virtual address.
static int find_entry(struct image_build *b, const struct elf_head *h, struct image_elf *elf)
{
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < h->count; i++) {
            struct elf_segment s = segment_at(&b->r->image, h, i);
            uint64_t base = pass ? s.vaddr : s.paddr;

            if (s.type != PT_LOAD || h->entry - base >= s.size)
                continue;
            elf->entry = h->entry - base + s.paddr;
            return 0;
        }
    return image_error(
        b, "its entry point %#" PRIx64 " is in none of its loadable segments; name one with -e", h->entry);
}

int elf_load(struct image_build *b, struct image_elf *elf)
{
    struct elf_head h = {0};
    uint32_t loaded = 0;

    *elf = (struct image_elf){0};
    if (read_head(b, &h))
        return -1;
    elf->is_64 = h.is_64;
    for (uint32_t i = 0; i < h.count; i++) {
        struct elf_segment s = segment_at(&b->r->image, &h, i);

        if (s.type == PT_NOTE && !elf->has_pvh)
            find_pvh(&b->r->image, &s, elf);
        if (s.type != PT_LOAD || s.memory == 0)
            continue;
        if (load_segment(b, &s))
            return -1;
        loaded++;
    }
    if (!loaded)
        return image_error(b, "has nothing to load; link it with a loadable segment");
    return find_entry(b, &h, elf);
}
