// SPDX-License-Identifier: Apache-2.0
// A Linux kernel as its build leaves it (Linux boot): the protected-mode part at its address, boot_params
// (the "zero page") filled, the 32-bit entry.
#include "sim/image/build.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// Offsets in the file and in boot_params alike (Linux boot, "The Real-Mode Kernel Header").
#define SETUP_SECTS 0x1f1u
#define VID_MODE 0x1fau
#define BOOT_FLAG 0x1feu
#define HEADER_JUMP 0x201u
#define HEADER_MAGIC 0x202u
#define VERSION 0x206u
#define TYPE_OF_LOADER 0x210u
#define LOADFLAGS 0x211u
#define RAMDISK_IMAGE 0x218u
#define RAMDISK_SIZE 0x21cu
#define CMD_LINE_PTR 0x228u
#define INITRD_ADDR_MAX 0x22cu
#define CMDLINE_SIZE 0x238u
#define PREF_ADDRESS 0x258u
#define INIT_SIZE 0x260u
#define HEADER_END 0x290u // Of boot_params: what follows is the loader's.
// Of boot_params only (Linux boot, zero page).
#define ALT_MEM_K 0x1e0u
#define E820_ENTRIES 0x1e8u
#define E820_TABLE 0x2d0u
#define E820_BYTES 20u
#define BOOT_PARAMS_BYTES 4096u

#define SECTOR 512u
#define HEADER_MAGIC_VALUE 0x53726448u // "HdrS"
#define LOADED_HIGH 0x1u
#define LOADER_UNKNOWN 0xffu // "unassigned"
#define VID_MODE_NORMAL 0xffffu
#define VERSION_MIN 0x206u  // Command lines of a length that the kernel names.
#define VERSION_PREF 0x20au // pref_address and init_size.

bool bzimage_is(const struct image_file *f)
{
    return image_has(f, 0, VERSION + 2) && image_u16(f, BOOT_FLAG) == 0xaa55 &&
           image_u32(f, HEADER_MAGIC) == HEADER_MAGIC_VALUE;
}

static int check(struct image_build *b, uint64_t setup_bytes)
{
    const struct image_file *f = &b->r->image;
    unsigned version = image_u16(f, VERSION);

    if (version < VERSION_MIN)
        return image_error(b,
                           "is a Linux kernel of boot protocol %u.%02u, older than 2.06; take one of 2.6.22 "
                           "or later",
                           version >> 8, version & 0xff);
    if (!image_has(f, 0, HEADER_END) || !image_has(f, 0, setup_bytes + 1))
        return image_error(b, "ends before its protected-mode code begins at %" PRIu64 "; copy it again",
                           setup_bytes);
    if (!(f->bytes[LOADFLAGS] & LOADED_HIGH))
        return image_error(b, "is a zImage, which is loaded low; build a bzImage");
    if (b->r->module_count)
        return image_error(b, "a Linux kernel takes an initrd, not modules; use `initrd`");
    if (strlen(b->r->append) > image_u32(f, CMDLINE_SIZE))
        return image_error(b, "takes command lines of at most %u characters; shorten `append`",
                           image_u32(f, CMDLINE_SIZE));
    return 0;
}

static int load_kernel(struct image_build *b, uint64_t setup_bytes)
{
    const struct image_file *f = &b->r->image;
    bool pref = image_u16(f, VERSION) >= VERSION_PREF;
    uint64_t at = pref ? image_u64(f, PREF_ADDRESS) : IMAGE_MIB, size = f->size - setup_bytes;
    uint64_t memory = pref && image_u32(f, INIT_SIZE) > size ? image_u32(f, INIT_SIZE) : size;

    if (at >> 32)
        return image_error(b, "wants to be loaded at %#" PRIx64 ", beyond 4 GiB; build it again", at);
    b->plan->rip = at;
    return image_add(b, &(struct image_segment){.gpa = at,
                                                .bytes = f->bytes + setup_bytes,
                                                .size = size,
                                                .zeroes = memory - size,
                                                .what = "kernel"});
}

// As high as the kernel can reach it.
static int load_initrd(struct image_build *b, uint8_t *params)
{
    const struct image_file *f = &b->r->initrd;
    uint64_t at, end = (uint64_t)image_u32(&b->r->image, INITRD_ADDR_MAX) + 1;

    if (!f->path)
        return 0;
    if (image_place_high(b, f->size, IMAGE_PAGE, IMAGE_MIB, end, "initrd", &at))
        return image_file_error(b, f,
                                "does not fit the guest's %" PRIu64
                                " MiB of memory beside the kernel; give the guest more memory",
                                b->r->memory_bytes >> 20);
    image_put(params + RAMDISK_IMAGE, at, 4);
    image_put(params + RAMDISK_SIZE, f->size, 4);
    return image_add(
        b, &(struct image_segment){.gpa = at, .bytes = f->bytes, .size = f->size, .what = "initrd"});
}

static void fill_memory_map(const struct image_request *r, uint8_t *params)
{
    struct image_range ranges[IMAGE_RANGES_MAX];
    uint32_t count = image_memory_map(r, ranges);
    uint64_t low = image_low_end(r);

    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = params + E820_TABLE + i * E820_BYTES;

        image_put(to, ranges[i].base, 8);
        image_put(to + 8, ranges[i].size, 8);
        image_put(to + 16, ranges[i].type, 4);
    }
    params[E820_ENTRIES] = (uint8_t)count;
    image_put(params + ALT_MEM_K, low > IMAGE_MIB ? (low - IMAGE_MIB) >> 10 : 0, 4);
}

int bzimage_plan(struct image_build *b)
{
    const struct image_file *f = &b->r->image;
    uint64_t sectors = f->bytes[SETUP_SECTS] ? f->bytes[SETUP_SECTS] : 4, setup = (sectors + 1) * SECTOR;
    uint64_t params_gpa, line;
    uint8_t *params;

    if (check(b, setup) || load_kernel(b, setup) ||
        image_add_low(b, BOOT_PARAMS_BYTES, "boot parameters", &params, &params_gpa) ||
        image_add_text(b, b->r->append, "command line", &line) || image_add_gdt(b, false))
        return -1;
    // The header's end is given by its first jump.
    uint64_t end = HEADER_MAGIC + f->bytes[HEADER_JUMP];

    end = end < HEADER_END ? end : HEADER_END;
    memcpy(params + SETUP_SECTS, f->bytes + SETUP_SECTS, end - SETUP_SECTS);
    params[TYPE_OF_LOADER] = LOADER_UNKNOWN;
    image_put(params + VID_MODE, VID_MODE_NORMAL, 2);
    image_put(params + CMD_LINE_PTR, line, 4);
    fill_memory_map(b->r, params);
    b->plan->format = "bzImage";
    b->plan->mode = VMM_MODE_PROTECTED;
    b->plan->rsi = params_gpa;
    return load_initrd(b, params);
}
