// SPDX-License-Identifier: Apache-2.0
// What a guest finds in its memory and registers when each kind of image was loaded.
#include "sim/image/tests/image_fixture.h"
#include "tests/shim/shim.h"
#include <string.h>

static struct fixture f;
static struct image_plan plan;
static struct user_error error;

static void make(void)
{
    error.text[0] = 0;
    EXPECT_EQ(image_plan_make(&f.r, &plan, &error), 0);
    EXPECT_STREQ(error.text, "");
}

static void add_module(const char *path, uint8_t *bytes, uint64_t size)
{
    f.r.modules[f.r.module_count++] = (struct image_file){(char *)(uintptr_t)path, bytes, size};
}

// Multiboot 3.2: EAX is the magic value, EBX the information; 3.3: its fields.
TEST(Multiboot, InformationNamesMemoryAndTheCommandLine)
{
    fixture_elf(&f, false);
    fixture_multiboot(&f, 0);
    f.r.append = "cpuid now";
    make();
    EXPECT_STREQ(plan.format, "multiboot");
    EXPECT_EQ(plan.mode, VMM_MODE_PROTECTED);
    EXPECT_EQ(plan.rip, FIXTURE_ENTRY);
    EXPECT_EQ(plan.rax, 0x2badb002);
    EXPECT_EQ(fixture_number(&plan, plan.rbx, 4) & 0x4d, 0x4d);
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 4, 4), 639);
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 8, 4), 63 << 10);
    uint64_t line = fixture_number(&plan, plan.rbx + 16, 4);

    // The image's name without its folder: where it lies is no part of a run.
    EXPECT_STREQ((const char *)fixture_at(&plan, line, 19), "test.img cpuid now");
    EXPECT_EQ(memcmp(fixture_at(&plan, FIXTURE_BASE, 0x1000), f.bytes + 0x1000, 0x1000), 0);
    image_plan_free(&plan);
}

TEST(Multiboot, AnEmptyCommandLineIsTheNameAlone)
{
    fixture_elf(&f, false);
    fixture_multiboot(&f, 3);
    make();
    EXPECT_STREQ((const char *)fixture_at(&plan, fixture_number(&plan, plan.rbx + 16, 4), 9), "test.img");
    image_plan_free(&plan);
}

// Multiboot 3.3, mods_*: start, end, string.
TEST(Multiboot, ModulesLiePageAlignedBehindTheImageInTheirOrder)
{
    static uint8_t env[100] = "NR_CPUS=1\n", big[5000];

    fixture_elf(&f, false);
    fixture_multiboot(&f, 1);
    add_module("x/env", env, sizeof env);
    add_module("big", big, sizeof big);
    make();
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 20, 4), 2);
    uint64_t list = fixture_number(&plan, plan.rbx + 24, 4);

    EXPECT_EQ(fixture_number(&plan, list, 4), FIXTURE_BASE + 0x2000);
    EXPECT_EQ(fixture_number(&plan, list + 4, 4), FIXTURE_BASE + 0x2000 + 100);
    EXPECT_STREQ((const char *)fixture_at(&plan, fixture_number(&plan, list + 8, 4), 4), "env");
    EXPECT_EQ(fixture_number(&plan, list + 16, 4), FIXTURE_BASE + 0x3000);
    EXPECT_EQ(fixture_number(&plan, list + 20, 4), FIXTURE_BASE + 0x3000 + 5000);
    EXPECT_STREQ((const char *)fixture_at(&plan, FIXTURE_BASE + 0x2000, 10), "NR_CPUS=1\n");
    image_plan_free(&plan);
}

// Multiboot 3.3, mmap_*: each entry's size field does not count itself.
TEST(Multiboot, MemoryMapHasTheHoleBelowFourGigabytes)
{
    fixture_elf(&f, false);
    fixture_multiboot(&f, 2);
    f.r.memory_bytes = 5ull << 30;
    make();
    uint64_t map = fixture_number(&plan, plan.rbx + 48, 4), bytes = fixture_number(&plan, plan.rbx + 44, 4);
    uint64_t memory = 0;

    for (uint64_t at = map; at < map + bytes; at += fixture_number(&plan, at, 4) + 4)
        if (fixture_number(&plan, at + 20, 4) == 1)
            memory += fixture_number(&plan, at + 12, 8);
    EXPECT_EQ(bytes, 5 * 24);
    EXPECT_EQ(memory, (5ull << 30) - (1 << 20) + 0x9fc00);
    EXPECT_EQ(fixture_number(&plan, map + 4 * 24 + 4, 8), 4ull << 30);
    image_plan_free(&plan);
}

// Multiboot 3.1.3: the addresses of the header count, whatever the file's own format says.
TEST(Multiboot, HeaderAddressesLoadAFlatFile)
{
    fixture_elf(&f, false);
    fixture_multiboot(&f, 0x10000);
    f.bytes[0] = 0;
    fixture_put(&f, FIXTURE_HEADER + 12, 0x300004, 4); // The header itself
    fixture_put(&f, FIXTURE_HEADER + 16, 0x300000, 4); // Load from 4 bytes before it
    fixture_put(&f, FIXTURE_HEADER + 20, 0x300800, 4);
    fixture_put(&f, FIXTURE_HEADER + 24, 0x301000, 4);
    fixture_put(&f, FIXTURE_HEADER + 28, 0x300040, 4);
    make();
    EXPECT_EQ(plan.rip, 0x300040);
    EXPECT_EQ(plan.segments[0].gpa, 0x300000);
    EXPECT_EQ(plan.segments[0].size, 0x800);
    EXPECT_EQ(plan.segments[0].zeroes, 0x800);
    EXPECT_TRUE(plan.segments[0].bytes == f.bytes + 0x1000);
    image_plan_free(&plan);
}

// The tag of boot information of that type and index; its address, 0: there is none.
static uint64_t info_tag(uint32_t type, uint32_t index)
{
    uint64_t at = plan.rbx + 8, end = plan.rbx + fixture_number(&plan, plan.rbx, 4);

    EXPECT_EQ(plan.rbx % 8, 0);
    while (at < end) {
        uint32_t size = (uint32_t)fixture_number(&plan, at + 4, 4);

        if (fixture_number(&plan, at, 4) == type && index-- == 0)
            return at;
        EXPECT_GE(size, 8);
        at += (size + 7) & ~7ull;
    }
    EXPECT_EQ(at, end);
    return 0;
}

// Multiboot2 3.3, 3.6: EAX is the magic value, EBX the information: a list of tags.
TEST(Multiboot2, InformationIsAListOfTags)
{
    static uint8_t env[100] = "NR_CPUS=1\n";

    fixture_elf(&f, false);
    fixture_multiboot2(&f, NULL, 0);
    f.r.append = "cpuid now";
    f.r.memory_bytes = 5ull << 30;
    add_module("x/env", env, sizeof env);
    add_module("x/more", env, 5);
    make();
    EXPECT_STREQ(plan.format, "multiboot 2");
    EXPECT_EQ(plan.mode, VMM_MODE_PROTECTED);
    EXPECT_EQ(plan.rip, FIXTURE_ENTRY);
    EXPECT_EQ(plan.rax, 0x36d76289);
    EXPECT_STREQ((const char *)fixture_at(&plan, info_tag(1, 0) + 8, 10), "cpuid now");
    EXPECT_EQ(fixture_number(&plan, info_tag(1, 0) + 4, 4), 18);
    EXPECT_STREQ((const char *)fixture_at(&plan, info_tag(2, 0) + 8, 6), "hvsim");
    EXPECT_EQ(fixture_number(&plan, info_tag(4, 0) + 8, 4), 639);
    EXPECT_EQ(fixture_number(&plan, info_tag(4, 0) + 12, 4), (3072 - 1) << 10);
    EXPECT_EQ(fixture_number(&plan, info_tag(3, 0) + 8, 4), FIXTURE_BASE + 0x2000);
    EXPECT_EQ(fixture_number(&plan, info_tag(3, 0) + 12, 4), FIXTURE_BASE + 0x2000 + 100);
    EXPECT_STREQ((const char *)fixture_at(&plan, info_tag(3, 0) + 16, 4), "env");
    EXPECT_STREQ((const char *)fixture_at(&plan, info_tag(3, 1) + 16, 5), "more");
    EXPECT_EQ(info_tag(3, 2), 0);
    EXPECT_EQ(fixture_number(&plan, info_tag(6, 0) + 4, 4), 16 + 5 * 24);
    EXPECT_EQ(fixture_number(&plan, info_tag(6, 0) + 8, 4), 24);
    EXPECT_EQ(fixture_number(&plan, info_tag(6, 0) + 16 + 4 * 24, 8), 4ull << 30);
    EXPECT_EQ(fixture_number(&plan, info_tag(6, 0) + 16 + 4 * 24 + 16, 4), 1);
    EXPECT_EQ(fixture_number(&plan, info_tag(0, 0) + 4, 4), 8);
    image_plan_free(&plan);
}

// Multiboot2 3.1.7, 3.1.8: addresses load a flat file, from its beginning where they say -1.
TEST(Multiboot2, HeaderAddressesLoadAFlatFile)
{
    uint32_t tags[] = {2, 24, 0x300000 + FIXTURE_HEADER2, UINT32_MAX, 0, 0x310000, 3, 12, 0x300040, 0};

    fixture_elf(&f, false);
    f.bytes[0] = 0;
    fixture_multiboot2(&f, tags, sizeof tags);
    make();
    EXPECT_EQ(plan.rip, 0x300040);
    EXPECT_EQ(plan.segments[0].gpa, 0x300000);
    EXPECT_EQ(plan.segments[0].size, FIXTURE_BYTES);
    EXPECT_EQ(plan.segments[0].zeroes, 0x10000 - FIXTURE_BYTES);
    EXPECT_TRUE(plan.segments[0].bytes == f.bytes);
    image_plan_free(&plan);
    tags[3] = 0x300000 + FIXTURE_HEADER2 - 8; // From a little before the header on.
    tags[4] = tags[3] + 0x100;
    tags[8] = tags[3] + 0x40;
    fixture_multiboot2(&f, tags, sizeof tags);
    make();
    EXPECT_EQ(plan.segments[0].gpa, tags[3]);
    EXPECT_EQ(plan.segments[0].size, 0x100);
    EXPECT_TRUE(plan.segments[0].bytes == f.bytes + FIXTURE_HEADER2 - 8);
    image_plan_free(&plan);
}

// Multiboot2 3.1.3: what is optional may be left out; an ELF file may have another entry.
TEST(Multiboot2, OptionalTagsNeedNotBeUnderstood)
{
    const uint32_t tags[] = {1 << 16 | 1,
                             16,
                             6,
                             15,
                             5 | 1 << 16,
                             20,
                             1024,
                             768,
                             32,
                             0, // Information, framebuffer
                             4,
                             12,
                             2,
                             0,
                             77 | 1 << 16,
                             8, // Console, unknown
                             10,
                             24,
                             0,
                             0,
                             4096,
                             0, // Relocatable
                             1,
                             16,
                             6,
                             4,
                             3,
                             12,
                             FIXTURE_BASE + 0x40,
                             0};

    fixture_elf(&f, false);
    fixture_multiboot2(&f, tags, sizeof tags);
    make();
    EXPECT_EQ(plan.rip, FIXTURE_BASE + 0x40);
    image_plan_free(&plan);
}

// SDM 3.4.5: base 0, limit 4 GiB - 1, in the places that protocols name.
TEST(Image, FlatDescriptorsAreInTheTable)
{
    fixture_elf(&f, false);
    make();
    EXPECT_EQ(fixture_number(&plan, plan.gdt, 8), 0);
    EXPECT_EQ(fixture_number(&plan, plan.gdt + VMM_PROGRAM_CODE, 8), 0x00cf9b000000ffffull);
    EXPECT_EQ(fixture_number(&plan, plan.gdt + VMM_PROGRAM_DATA, 8), 0x00cf93000000ffffull);
    image_plan_free(&plan);
}

TEST(Elf, PlainFilesAreEnteredInTheModeOfTheirClass)
{
    fixture_elf(&f, false);
    make();
    EXPECT_STREQ(plan.format, "ELF32");
    EXPECT_EQ(plan.mode, VMM_MODE_PROTECTED);
    EXPECT_EQ(plan.rip, FIXTURE_ENTRY);
    image_plan_free(&plan);
    fixture_elf(&f, true);
    make();
    EXPECT_STREQ(plan.format, "ELF64");
    EXPECT_EQ(plan.mode, VMM_MODE_LONG);
    EXPECT_EQ(plan.rip, FIXTURE_ENTRY);
    image_plan_free(&plan);
}

TEST(Elf, AVirtualEntryIsTranslatedByItsSegment)
{
    fixture_elf(&f, true);
    fixture_put(&f, 24, 0xffffffff80200123ull, 8);
    make();
    EXPECT_EQ(plan.rip, FIXTURE_BASE + 0x123);
    image_plan_free(&plan);
}

// PVH: EBX is the start information, which names command line, modules and memory map.
TEST(Pvh, StartInformationIsComplete)
{
    static uint8_t initrd[10] = "initrd";

    fixture_elf(&f, true);
    fixture_pvh(&f);
    f.r.append = "console=ttyS0";
    f.r.initrd = (struct image_file){(char *)(uintptr_t) "i", initrd, sizeof initrd};
    make();
    EXPECT_STREQ(plan.format, "PVH");
    EXPECT_EQ(plan.mode, VMM_MODE_PROTECTED);
    EXPECT_EQ(plan.rip, FIXTURE_BASE + 0x20);
    EXPECT_EQ(fixture_number(&plan, plan.rbx, 4), 0x336ec578);
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 4, 4), 1);
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 12, 4), 1);
    uint64_t list = fixture_number(&plan, plan.rbx + 16, 8);

    EXPECT_EQ(fixture_number(&plan, list, 8), FIXTURE_BASE + 0x2000);
    EXPECT_EQ(fixture_number(&plan, list + 8, 8), sizeof initrd);
    EXPECT_STREQ((const char *)fixture_at(&plan, fixture_number(&plan, plan.rbx + 24, 8), 14),
                 "console=ttyS0");
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 32, 8), 0xf0000); // The RSDP.
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 48, 4), 4);
    EXPECT_EQ(fixture_number(&plan, fixture_number(&plan, plan.rbx + 40, 8) + 8, 8), 0x9fc00);
    image_plan_free(&plan);
}

// Linux boot, 32-bit boot protocol: ESI is boot_params, which begin with a copy of the header.
TEST(Bzimage, BootParametersAreFilled)
{
    static uint8_t initrd[5000];

    fixture_bzimage(&f);
    f.r.append = "quiet";
    f.r.initrd = (struct image_file){(char *)(uintptr_t) "i", initrd, sizeof initrd};
    make();
    EXPECT_STREQ(plan.format, "bzImage");
    EXPECT_EQ(plan.rip, FIXTURE_KERNEL);
    EXPECT_EQ(plan.segments[0].size, FIXTURE_BYTES - 3 * 512);
    EXPECT_EQ(plan.segments[0].size + plan.segments[0].zeroes, 32 << 20);
    EXPECT_EQ(fixture_number(&plan, plan.rsi + 0x202, 4), 0x53726448);
    EXPECT_EQ(fixture_number(&plan, plan.rsi + 0x210, 1), 0xff);
    EXPECT_STREQ((const char *)fixture_at(&plan, fixture_number(&plan, plan.rsi + 0x228, 4), 6), "quiet");
    EXPECT_EQ(fixture_number(&plan, plan.rsi + 0x1e8, 1), 4);
    EXPECT_EQ(fixture_number(&plan, plan.rsi + 0x2d0 + 3 * 20 + 8, 8), 63 << 20);
    // The initrd ends as high as whole pages allow.
    EXPECT_EQ(fixture_number(&plan, plan.rsi + 0x218, 4), (64 << 20) - 0x2000);
    EXPECT_EQ(fixture_number(&plan, plan.rsi + 0x21c, 4), sizeof initrd);
    image_plan_free(&plan);
}

TEST(Flat, IsEnteredInRealModeWhereItWasLoaded)
{
    fixture_elf(&f, false); // Whatever it looks like.
    f.r.flat = true;
    f.r.load = 0x7c00;
    make();
    EXPECT_STREQ(plan.format, "flat");
    EXPECT_EQ(plan.mode, VMM_MODE_REAL);
    EXPECT_EQ(plan.rip, 0x7c00);
    EXPECT_EQ(plan.segment_count, 1);
    EXPECT_EQ(plan.segments[0].size, FIXTURE_BYTES);
    image_plan_free(&plan);
}

// Nothing of a plan depends on where the files lie.
TEST(Image, TheFolderIsNoPartOfThePlan)
{
    fixture_elf(&f, false);
    fixture_multiboot(&f, 0);
    make();
    uint64_t line = fixture_number(&plan, plan.rbx + 16, 4);

    image_plan_free(&plan);
    f.r.image.path = (char *)(uintptr_t) "/another/much/longer/folder/than/before/test.img";
    make();
    EXPECT_EQ(fixture_number(&plan, plan.rbx + 16, 4), line);
    EXPECT_STREQ((const char *)fixture_at(&plan, line, 9), "test.img");
    image_plan_free(&plan);
}
