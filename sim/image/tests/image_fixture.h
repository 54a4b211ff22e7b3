// SPDX-License-Identifier: Apache-2.0
// Images made in memory, for tests: a sound one of each format, to be looked at or to be spoilt.
#ifndef SIM_IMAGE_TESTS_IMAGE_FIXTURE_H
#define SIM_IMAGE_TESTS_IMAGE_FIXTURE_H

#include "sim/image/image.h"

#define FIXTURE_BYTES 0x3000u

// A file of FIXTURE_BYTES in static memory, and a request for it with 64 MiB of guest memory.
struct fixture {
    uint8_t bytes[FIXTURE_BYTES];
    struct image_request r;
};
void fixture_put(struct fixture *f, uint32_t offset, uint64_t value, unsigned bytes);

// ELF: one segment, file offset 0x1000, 0x1000 bytes of it and as many zeroes, at physical 2 MiB, entry 0x10
// within. The virtual address is 0x80000000 higher (class 32) or -2 GiB + 2 MiB (class 64).
void fixture_elf(struct fixture *f, bool is_64);
#define FIXTURE_BASE 0x200000u
#define FIXTURE_ENTRY (FIXTURE_BASE + 0x10u)
// A multiboot header with these flags at offset 0x1004 of the file.
void fixture_multiboot(struct fixture *f, uint32_t flags);
#define FIXTURE_HEADER 0x1004u
// A multiboot 2 header at offset FIXTURE_HEADER2 of the file, with the tags at `tags`, each 8-byte aligned,
// and an end tag behind them.
void fixture_multiboot2(struct fixture *f, const void *tags, uint32_t bytes);
#define FIXTURE_HEADER2 0x1800u
void fixture_multiboot2_sum(struct fixture *f); // After a change.
// The PVH note as a second program header, entry at FIXTURE_BASE + 0x20.
void fixture_pvh(struct fixture *f);
// A bzImage of protocol 2.15: 2 setup sectors, loaded at 16 MiB, 32 MiB of memory wanted.
void fixture_bzimage(struct fixture *f);
#define FIXTURE_KERNEL 0x1000000u

// The bytes at a guest-physical address of a plan, `size` of them in one segment; NULL: none.
const uint8_t *fixture_at(const struct image_plan *plan, uint64_t gpa, uint64_t size);
uint64_t fixture_number(const struct image_plan *plan, uint64_t gpa, unsigned bytes);

#endif
