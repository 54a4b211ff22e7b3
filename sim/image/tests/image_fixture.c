// SPDX-License-Identifier: Apache-2.0
#include "sim/image/tests/image_fixture.h"
#include <string.h>

static char path[] = "some/folder/test.img";

void fixture_put(struct fixture *f, uint32_t offset, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        f->bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    for (uint32_t i = 0x1000; i < FIXTURE_BYTES; i++)
        f->bytes[i] = (uint8_t)(i * 7);
    f->r = (struct image_request){
        .image = {path, f->bytes, FIXTURE_BYTES}, .append = "", .memory_bytes = 64 << 20};
}

static void segment(struct fixture *f, bool is_64, uint32_t index, uint32_t type, const uint64_t *v)
{
    // offset, vaddr, paddr, filesz, memsz
    uint32_t at = is_64 ? 64 + index * 56 : 52 + index * 32;
    unsigned size = is_64 ? 8 : 4;

    fixture_put(f, at, type, 4);
    for (uint32_t i = 0; i < 5; i++)
        fixture_put(f, at + (is_64 ? 8 : 4) + i * size, v[i], size);
}

void fixture_elf(struct fixture *f, bool is_64)
{
    const uint64_t virtual = is_64 ? 0xffffffff80200000ull : 0x80200000u;

    begin(f);
    memcpy(f->bytes, "\177ELF", 4);
    f->bytes[4] = is_64 ? 2 : 1;
    f->bytes[5] = 1;
    f->bytes[6] = 1;
    fixture_put(f, 16, 2, 2); // ET_EXEC
    fixture_put(f, 18, is_64 ? 62 : 3, 2);
    fixture_put(f, 20, 1, 4);
    fixture_put(f, 24, FIXTURE_ENTRY, is_64 ? 8 : 4);
    fixture_put(f, is_64 ? 32 : 28, is_64 ? 64 : 52, 4);
    fixture_put(f, is_64 ? 54 : 42, is_64 ? 56 : 32, 2);
    fixture_put(f, is_64 ? 56 : 44, 1, 2);
    segment(f, is_64, 0, 1, (const uint64_t[]){0x1000, virtual, FIXTURE_BASE, 0x1000, 0x2000});
}

void fixture_multiboot(struct fixture *f, uint32_t flags)
{
    fixture_put(f, FIXTURE_HEADER, 0x1badb002, 4);
    fixture_put(f, FIXTURE_HEADER + 4, flags, 4);
    fixture_put(f, FIXTURE_HEADER + 8, 0u - 0x1badb002u - flags, 4);
}

void fixture_multiboot2_sum(struct fixture *f)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < 12; i++)
        sum += (uint32_t)f->bytes[FIXTURE_HEADER2 + i] << i % 4 * 8;
    fixture_put(f, FIXTURE_HEADER2 + 12, 0u - sum, 4);
}

void fixture_multiboot2(struct fixture *f, const void *tags, uint32_t bytes)
{
    fixture_put(f, FIXTURE_HEADER2, 0xe85250d6, 4);
    fixture_put(f, FIXTURE_HEADER2 + 4, 0, 4);
    fixture_put(f, FIXTURE_HEADER2 + 8, 16 + bytes + 8, 4);
    if (bytes)
        memcpy(f->bytes + FIXTURE_HEADER2 + 16, tags, bytes);
    fixture_put(f, FIXTURE_HEADER2 + 16 + bytes, 0, 4);
    fixture_put(f, FIXTURE_HEADER2 + 16 + bytes + 4, 8, 4);
    fixture_multiboot2_sum(f);
}

void fixture_pvh(struct fixture *f)
{
    bool is_64 = f->bytes[4] == 2;

    fixture_put(f, is_64 ? 56 : 44, 2, 2);
    segment(f, is_64, 1, 4, (const uint64_t[]){0x200, 0, 0, 24, 24});
    fixture_put(f, 0x200, 4, 4);
    fixture_put(f, 0x204, 4, 4);
    fixture_put(f, 0x208, 18, 4);
    memcpy(f->bytes + 0x20c, "Xen", 4);
    fixture_put(f, 0x210, FIXTURE_BASE + 0x20, 4);
    fixture_put(f, 0x214, 1, 4); // Behind the note; the high half of an address of 8 bytes.
}

void fixture_bzimage(struct fixture *f)
{
    begin(f);
    f->bytes[0x1f1] = 2;
    fixture_put(f, 0x1fe, 0xaa55, 2);
    f->bytes[0x200] = 0xeb;
    f->bytes[0x201] = 0x6a;
    memcpy(f->bytes + 0x202, "HdrS", 4);
    fixture_put(f, 0x206, 0x20f, 2);
    f->bytes[0x211] = 1; // Loaded high.
    fixture_put(f, 0x22c, 0x7fffffff, 4);
    fixture_put(f, 0x238, 2047, 4);
    fixture_put(f, 0x258, FIXTURE_KERNEL, 8);
    fixture_put(f, 0x260, 32 << 20, 4);
}

const uint8_t *fixture_at(const struct image_plan *plan, uint64_t gpa, uint64_t size)
{
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const struct image_segment *s = &plan->segments[i];

        if (gpa >= s->gpa && gpa + size <= s->gpa + s->size)
            return s->bytes + (gpa - s->gpa);
    }
    return NULL;
}

uint64_t fixture_number(const struct image_plan *plan, uint64_t gpa, unsigned bytes)
{
    const uint8_t *at = fixture_at(plan, gpa, bytes);
    uint64_t value = 0;

    for (unsigned i = 0; at && i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return at ? value : UINT64_MAX;
}
