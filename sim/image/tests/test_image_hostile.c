// SPDX-License-Identifier: Apache-2.0
// Images that cannot be booted: each is refused with a message that says why and what helps.
#include "sim/image/tests/image_fixture.h"
#include "tests/shim/shim.h"
#include <stdlib.h>
#include <string.h>

enum kind { ELF32, ELF64, MULTIBOOT, MULTIBOOT2, PVH_FILE, LINUX, FLAT };

// One number of a sound image, replaced.
static const struct row {
    const char *name;
    enum kind kind;
    uint32_t offset;
    uint64_t value;
    unsigned bytes;
    const char *says, *cure;
} rows[] = {
    {"no mark at all", ELF32, 0, 0, 4, "is no image that can be booted", "load address"},
    {"class 64 of machine 386", ELF32, 4, 2, 1, "of class 2, but machine 3 has 32-bit", "-m32"},
    {"class 0", ELF32, 4, 0, 1, "of class 0", "-m32"},
    {"class 32 of x86-64", ELF32, 18, 62, 2, "of class 1, but machine 62 has 64-bit", "-m64"},
    {"machine arm64", ELF64, 18, 183, 2, "for machine 183, not for x86", "build it for x86"},
    {"big-endian", ELF32, 5, 2, 1, "big-endian", "build it for x86"},
    {"object file", ELF64, 16, 1, 2, "of type 1, not an executable", "-no-pie"},
    {"position independent", ELF64, 16, 3, 2, "of type 3, not an executable", "-no-pie"},
    {"no program headers", ELF64, 56, 0, 2, "without program headers", "link it"},
    {"65535 program headers", ELF64, 56, 0xffff, 2, "has 65535 program headers", "build it again"},
    {"small program headers", ELF64, 54, 32, 2, "program headers of 32 bytes", "build it again"},
    {"headers behind the end", ELF64, 32, 0xfffffffffffffff0, 8, "ends before its program headers",
     "copy it"},
    {"segment beyond the file", ELF64, 64 + 8, 0x2fff, 8, "ends before its segment", "copy it again"},
    {"segment at the end of offsets", ELF64, 64 + 8, 0xffffffffffffff00, 8, "(0 of 4096 bytes", "copy it"},
    {"more in file than in memory", ELF64, 64 + 40, 0xfff, 8, "only 4095 in memory", "build it again"},
    {"memory that wraps", ELF64, 64 + 40, 0xffffffffffffffff, 8, "outside of the guest's 64 MiB", "memory"},
    {"address beyond memory", ELF64, 64 + 24, 64 << 20, 8, "outside of the guest's 64 MiB", "give the guest"},
    {"address that wraps", ELF64, 64 + 24, 0xfffffffffffff800, 8, "outside of the guest's", "give the guest"},
    {"in the hole", ELF64, 64 + 24, 0xc0000000, 8, "outside of the guest's", "link the image elsewhere"},
    {"nothing to load", ELF64, 64, 0, 4, "has nothing to load", "link it"},
    {"entry nowhere", ELF64, 24, 0x1000, 8, "entry point 0x1000 is in none", "-e"},
    {"entry in the zeroes", ELF64, 24, FIXTURE_BASE + 0x1800, 8, "is in none of its", "-e"},
    {"multiboot video mode", MULTIBOOT, FIXTURE_HEADER + 4, 4, 4, "demands 0x4", "build it without"},
    {"multiboot, no ELF", MULTIBOOT, 0, 0, 4, "is no ELF file", "link it as ELF"},
    {"multiboot, load after header", MULTIBOOT, FIXTURE_HEADER + 4, 0x10000, 4, "contradict each other",
     "build it again"},
    {"PVH entry beyond 4 GiB", PVH_FILE, 0x204, 8, 4, "beyond 4 GiB", "build it again"},
    {"old boot protocol", LINUX, 0x206, 0x203, 2, "boot protocol 2.03", "2.6.22"},
    {"zImage", LINUX, 0x211, 0, 1, "is a zImage", "bzImage"},
    {"setup longer than the file", LINUX, 0x1f1, 255, 1, "ends before its protected-mode code", "copy it"},
    {"kernel beyond memory", LINUX, 0x258, 60 << 20, 8, "outside of the guest's 64 MiB", "more memory"},
    {"kernel beyond 4 GiB", LINUX, 0x258, 1ull << 32, 8, "beyond 4 GiB", "build it again"},
    {"kernel that wants much", LINUX, 0x260, 0xffffffff, 4, "outside of the guest's", "more memory"},
    {"flat beyond 1 MiB", FLAT, 0, 0, 0, "cannot be entered in real mode", "below 1 MiB"},
};

static struct fixture f;

static void build(enum kind kind)
{
    if (kind == LINUX)
        fixture_bzimage(&f);
    else
        fixture_elf(&f, kind == ELF64 || kind == PVH_FILE);
    if (kind == MULTIBOOT)
        fixture_multiboot(&f, 0);
    if (kind == MULTIBOOT2)
        fixture_multiboot2(&f, NULL, 0);
    if (kind == PVH_FILE)
        fixture_pvh(&f);
    f.r.flat = kind == FLAT;
    f.r.load = 1 << 20;
}

static void expect_refused(const char *says, const char *cure)
{
    struct image_plan plan;
    struct user_error e = {""};

    EXPECT_EQ(image_plan_make(&f.r, &plan, &e), -1);
    EXPECT_TRUE(strncmp(e.text, f.r.image.path, strlen(f.r.image.path)) == 0);
    if (!strstr(e.text, says) || !strstr(e.text, cure)) // Shows the whole.
        EXPECT_STREQ(e.text, says);
    EXPECT_EQ(plan.segment_count, 0);
}

TEST(ImageHostile, ASpoiltNumberIsToldWithItsCure)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].name);
        build(rows[i].kind);
        fixture_put(&f, rows[i].offset, rows[i].value, rows[i].bytes);
        if (rows[i].kind == MULTIBOOT) // A header is one only with its sum.
            fixture_put(&f, FIXTURE_HEADER + 8,
                        0u - 0x1badb002u - f.bytes[FIXTURE_HEADER + 4] -
                            ((uint32_t)f.bytes[FIXTURE_HEADER + 6] << 16),
                        4);
        expect_refused(rows[i].says, rows[i].cure);
    }
}

// Cut off anywhere, an image is a plan or a message; what is read is what is there.
TEST(ImageHostile, ATruncatedFileNeverIsReadBeyondItsEnd)
{
    static const enum kind kinds[] = {ELF32, ELF64, MULTIBOOT, MULTIBOOT2, PVH_FILE, LINUX};

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (uint64_t size = 1; size < 0x2000; size += size < 0x300 ? 1 : 61) {
            struct image_plan plan;
            struct user_error e = {""};
            uint8_t *copy = malloc(size);

            build(kinds[k]);
            memcpy(copy, f.bytes, size);
            f.r.image.bytes = copy;
            f.r.image.size = size;
            int result = image_plan_make(&f.r, &plan, &e);

            EXPECT_TRUE(result == 0 || e.text[0]);
            if (kinds[k] != LINUX) // A kernel's length is nowhere in it.
                EXPECT_EQ(result, -1);
            if (result == 0)
                image_plan_free(&plan);
            free(copy);
        }
}

// Multiboot2 3.1: what the tags of a header may say wrong.
static const struct {
    const char *name;
    uint32_t tags[10], bytes;
    const char *says, *cure;
} tags[] = {
    {"unknown type", {77, 8}, 8, "a tag of type 77", "make it optional"},
    {"framebuffer", {5, 20, 0, 0, 0, 0}, 24, "demands a video mode", "make that tag optional"},
    {"console", {4, 12, 1, 0}, 16, "demands a console on a screen", "make that tag optional"},
    {"information", {1, 12, 14, 0}, 16, "boot information of type 14", "make the request optional"},
    {"information of no type", {1, 16, 6, 0xffffffff}, 16, "of type 4294967295", "make the request"},
    {"size 0", {3, 0}, 8, "go wrong at byte 16 of 32", "build it again"},
    {"size 7", {3, 7}, 8, "go wrong at byte 16 of 32", "build it again"},
    {"beyond the header", {3, 17}, 8, "go wrong at byte 16 of 32", "build it again"},
    {"size that wraps", {6, 0xfffffff9}, 8, "go wrong at byte 16 of 32", "build it again"},
    {"over the end tag", {6, 16}, 8, "go wrong at byte 32 of 32", "no end tag"},
    {"small entry", {3, 8}, 8, "tag 3 of its multiboot 2 header is too small (8 bytes)", "build it again"},
    {"small addresses", {2, 16, 0, 0}, 16, "tag 2 of its multiboot 2 header is too small", "build it again"},
    {"addresses without entry",
     {2, 24, FIXTURE_BASE, FIXTURE_BASE, 0, 0},
     24,
     "but no entry",
     "add that tag"},
    {"addresses that contradict",
     {2, 24, 0x300000, 0x300004, 0, 0, 3, 12, 0x300004, 0},
     40,
     "contradict each other",
     "build it again"},
    {"header before the file",
     {2, 24, 0x1000, 0xffffffff, 0, 0, 3, 12, 0x300004, 0},
     40,
     "contradict each other",
     "build it again"},
    {"entry elsewhere",
     {2, 24, 0x300000, 0x300000, 0x300010, 0, 3, 12, 0x300010, 0},
     40,
     "entry 0x300010",
     "build it again"},
    {"more than there is",
     {2, 24, 0x300000, 0x300000, 0x310000, 0, 3, 12, 0x300000, 0},
     40,
     "ends before what",
     "copy it again"},
};

TEST(ImageHostile, TagsOfMultiboot2)
{
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        test_row("%s", tags[i].name);
        build(ELF32);
        fixture_multiboot2(&f, tags[i].tags, tags[i].bytes);
        expect_refused(tags[i].says, tags[i].cure);
    }
}

TEST(ImageHostile, HeadersOfMultiboot2)
{
    test_row("architecture");
    build(ELF32);
    fixture_multiboot2(&f, NULL, 0);
    fixture_put(&f, FIXTURE_HEADER2 + 4, 4, 4);
    fixture_multiboot2_sum(&f);
    expect_refused("architecture 4", "build it for x86");
    test_row("no tags at all");
    build(ELF32);
    fixture_multiboot2(&f, NULL, 0);
    fixture_put(&f, FIXTURE_HEADER2 + 8, 3, 4);
    fixture_multiboot2_sum(&f);
    expect_refused("go wrong at byte 16 of 3", "build it again");
    test_row("longer than the file");
    fixture_put(&f, FIXTURE_HEADER2 + 8, FIXTURE_BYTES, 4);
    fixture_multiboot2_sum(&f);
    expect_refused("ends inside of its multiboot 2 header", "copy it again");
    test_row("no ELF file");
    build(ELF32);
    f.bytes[0] = 0;
    fixture_multiboot2(&f, NULL, 0);
    expect_refused("is no ELF file", "link it as ELF");
}

TEST(ImageHostile, SegmentsMustNotOverlap)
{
    fixture_elf(&f, true);
    fixture_put(&f, 56, 2, 2);
    memcpy(f.bytes + 64 + 56, f.bytes + 64, 56);
    fixture_put(&f, 64 + 56 + 24, FIXTURE_BASE + 0x1fff, 8);
    expect_refused("overlaps its segment at 0x200000", "lie apart");
    fixture_put(&f, 64 + 56 + 24, FIXTURE_BASE + 0x2000, 8);
    struct image_plan plan;
    struct user_error e;

    EXPECT_EQ(image_plan_make(&f.r, &plan, &e), 0);
    image_plan_free(&plan);
}

TEST(ImageHostile, WhatAFormatDoesNotTakeIsRefused)
{
    static uint8_t other[1];
    const struct image_file file = {(char *)(uintptr_t) "other", other, 1};

    fixture_elf(&f, true);
    f.r.append = "quiet";
    expect_refused("told nothing", "leave them out");
    fixture_bzimage(&f);
    f.r.modules[f.r.module_count++] = file;
    expect_refused("takes an initrd, not modules", "use `initrd`");
    fixture_bzimage(&f);
    fixture_put(&f, 0x238, 4, 4);
    f.r.append = "quiet";
    expect_refused("at most 4 characters", "shorten");
}

TEST(ImageHostile, ModulesLargerThanMemoryAreNamed)
{
    static uint8_t other[1];
    struct image_plan plan;
    struct user_error e = {""};

    fixture_elf(&f, false);
    fixture_multiboot(&f, 0);
    f.r.modules[f.r.module_count++] = (struct image_file){(char *)(uintptr_t) "huge", other, 62 << 20};
    EXPECT_EQ(image_plan_make(&f.r, &plan, &e), -1);
    EXPECT_TRUE(strncmp(e.text, "huge: does not fit the guest's 64 MiB", 37) == 0);
}

TEST(ImageHostile, FilesThatCannotBeReadAreTold)
{
    static const struct {
        const char *path, *says;
    } files[] = {{"/nonexistent/image", "cannot be read: No such file"},
                 {"/", "is a folder"},
                 {"/dev/null", "is empty"}};
    struct image_file file;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct user_error e = {""};

        test_row("%s", files[i].path);
        EXPECT_EQ(image_read(files[i].path, "image", &file, &e), -1);
        EXPECT_TRUE(strstr(e.text, files[i].says) != NULL);
        image_file_free(&file);
    }
}
