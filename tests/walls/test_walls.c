// SPDX-License-Identifier: Apache-2.0
/*
 * The walls around the hypervisor core, read from libhv.so itself: what it needs, what it may change behind
 * our back, and where it lies. Each law is a function over an image, so that a sample library that breaks it,
 * built here, shows that the law is really looked at.
 */
#include "hv/hw/boot.h"
#include "tests/shim/shim.h"
#include "tests/walls/elf_image.h"

#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char reason[512]; // Why the last law did not hold.

__attribute__((format(printf, 1, 2))) static bool broken(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    return false;
}

/* All that is asked for from outside begins with one of the names. */
static bool needs_only(const struct elf_image *image, const char *const *known, size_t known_count)
{
    const Elf64_Shdr *table = elf_image_section(image, ".dynsym");
    const Elf64_Shdr *strings = elf_image_section(image, ".dynstr");
    if (!table || !strings) {
        return broken("no dynamic symbols");
    }
    const Elf64_Sym *symbols = elf_image_bytes(image, table);
    for (size_t i = 1; i < table->sh_size / sizeof(*symbols); i++) {
        const char *name = elf_image_string(image, strings, symbols[i].st_name);
        bool fine = symbols[i].st_shndx != SHN_UNDEF;
        for (size_t j = 0; j < known_count; j++) {
            fine = fine || strncmp(name, known[j], strlen(known[j])) == 0;
        }
        if (!fine) {
            return broken("undefined symbol %s", name);
        }
    }
    return true;
}

/* Only hardware (hw_*) and the hooks that the compiler puts in. */
static bool needs_only_hardware(const struct elf_image *image)
{
    static const char *const known[] = {"hw_", "__tsan_", "__sanitizer_cov_"};
    return needs_only(image, known, sizeof(known) / sizeof(known[0]));
}

/* A native guest: its instructions (guest_*) and its hooks. */
static bool needs_only_a_guest(const struct elf_image *image)
{
    static const char *const known[] = {"guest_", "__wrap___tsan_", "__wrap___sanitizer_cov_"};
    return needs_only(image, known, sizeof(known) / sizeof(known[0]));
}

/* No library is loaded along with it. */
static bool needs_no_library(const struct elf_image *image)
{
    const Elf64_Shdr *section = elf_image_section(image, ".dynamic");
    const Elf64_Shdr *strings = elf_image_section(image, ".dynstr");
    if (!section || !strings) {
        return broken("not a dynamic object");
    }
    const Elf64_Dyn *entry = elf_image_bytes(image, section);
    for (size_t i = 0; i < section->sh_size / sizeof(*entry); i++) {
        if (entry[i].d_tag == DT_NEEDED) {
            return broken("needs %s", elf_image_string(image, strings, entry[i].d_un.d_val));
        }
    }
    return true;
}

/* Nothing in the image can be written once it is loaded: each writable segment lies in what the loader seals.
 */
static bool has_no_mutable_state(const struct elf_image *image)
{
    static const char *const state[] = {".data", ".bss", ".tdata", ".tbss", ".got.plt"};
    for (size_t i = 0; i < sizeof(state) / sizeof(state[0]); i++) {
        const Elf64_Shdr *section = elf_image_section(image, state[i]);
        if (section && section->sh_size != 0) {
            return broken("%s has %llu bytes", state[i], (unsigned long long)section->sh_size);
        }
    }
    uint64_t sealed_from = 0, sealed_to = 0;
    for (unsigned i = 0; i < image->header->e_phnum; i++) {
        const Elf64_Phdr *segment = elf_image_segment(image, i);
        if (segment->p_type == PT_GNU_RELRO) {
            sealed_from = segment->p_vaddr;
            sealed_to = segment->p_vaddr + segment->p_memsz;
        }
    }
    for (unsigned i = 0; i < image->header->e_phnum; i++) {
        const Elf64_Phdr *segment = elf_image_segment(image, i);
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) &&
            (segment->p_vaddr < sealed_from || segment->p_vaddr + segment->p_memsz > sealed_to)) {
            return broken("writable bytes at 0x%llx are not sealed after loading",
                          (unsigned long long)segment->p_vaddr);
        }
    }
    return true;
}

/* Linked at HW_IMAGE_BASE, so that code pointers in memory are equal from run to run. */
static bool lies_at_its_base(const struct elf_image *image)
{
    uint64_t lowest = UINT64_MAX;
    for (unsigned i = 0; i < image->header->e_phnum; i++) {
        const Elf64_Phdr *segment = elf_image_segment(image, i);
        if (segment->p_type == PT_LOAD && segment->p_vaddr < lowest) {
            lowest = segment->p_vaddr;
        }
    }
    return lowest == HW_IMAGE_BASE || broken("linked at 0x%llx", (unsigned long long)lowest);
}

/* The loader does not write into code, and code is not writable. */
static bool leaves_code_alone(const struct elf_image *image)
{
    const Elf64_Shdr *section = elf_image_section(image, ".dynamic");
    const Elf64_Dyn *entry = section ? elf_image_bytes(image, section) : NULL;
    for (size_t i = 0; entry && i < section->sh_size / sizeof(*entry); i++) {
        if (entry[i].d_tag == DT_TEXTREL ||
            (entry[i].d_tag == DT_FLAGS && (entry[i].d_un.d_val & DF_TEXTREL))) {
            return broken("has text relocations");
        }
    }
    for (unsigned i = 0; i < image->header->e_phnum; i++) {
        const Elf64_Phdr *segment = elf_image_segment(image, i);
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) && (segment->p_flags & PF_X)) {
            return broken("a segment is writable and executable");
        }
    }
    return true;
}

/* Every call is bound when the library is loaded: no PLT slot changes while the code runs. */
static bool binds_at_load(const struct elf_image *image)
{
    const Elf64_Shdr *section = elf_image_section(image, ".dynamic");
    const Elf64_Dyn *entry = section ? elf_image_bytes(image, section) : NULL;
    for (size_t i = 0; entry && i < section->sh_size / sizeof(*entry); i++) {
        if ((entry[i].d_tag == DT_FLAGS && (entry[i].d_un.d_val & DF_BIND_NOW)) ||
            (entry[i].d_tag == DT_FLAGS_1 && (entry[i].d_un.d_val & DF_1_NOW))) {
            return true;
        }
    }
    return broken("binds lazily");
}

/* A run names the core that it ran by its build id, and its functions by its symbols. */
static bool can_be_named(const struct elf_image *image)
{
    if (!elf_image_section(image, ".note.gnu.build-id")) {
        return broken("has no build id");
    }
    return elf_image_section(image, ".symtab") != NULL || broken("is stripped");
}

/* The same sources give the same bytes in any folder: no path of this machine got in. */
static bool names_no_folder(const struct elf_image *image)
{
    const char *const folders[] = {test_source_dir(), test_build_dir(), test_tmpdir()};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (memmem(image->bytes, image->size_bytes, folders[i], strlen(folders[i]))) {
            return broken("mentions %s", folders[i]);
        }
    }
    return true;
}

typedef bool (*law)(const struct elf_image *image);

static void expect_of_libhv(law holds)
{
    struct elf_image image;
    const char *why;
    if (access(test_hv_lib(), F_OK) != 0) {
        test_skip("there is no libhv.so in this build");
    }
    if (!elf_image_open(&image, test_hv_lib(), &why)) {
        TEST_FAIL("%s: %s", test_hv_lib(), why);
        return;
    }
    if (!holds(&image)) {
        TEST_FAIL("%s: %s", test_hv_lib(), reason);
    }
    elf_image_close(&image);
}

TEST(Libhv, NeedsOnlyHardware)
{
    expect_of_libhv(needs_only_hardware);
}

TEST(Libhv, NeedsNoLibrary)
{
    expect_of_libhv(needs_no_library);
}

TEST(Libhv, HasNoMutableState)
{
    expect_of_libhv(has_no_mutable_state);
}

TEST(Libhv, LiesAtItsBase)
{
    expect_of_libhv(lies_at_its_base);
}

TEST(Libhv, LeavesCodeAlone)
{
    expect_of_libhv(leaves_code_alone);
}

TEST(Libhv, BindsAtLoad)
{
    expect_of_libhv(binds_at_load);
}

TEST(Libhv, CanBeNamed)
{
    expect_of_libhv(can_be_named);
}

TEST(Libhv, NamesNoFolder)
{
    expect_of_libhv(names_no_folder);
}

TEST(NativeGuests, KeepBehindTheirWalls)
{
    static const law laws[] = {needs_only_a_guest, needs_no_library, has_no_mutable_state, leaves_code_alone,
                               binds_at_load,      can_be_named,     names_no_folder};
    char pattern[512];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/lib/guests/*.so", test_build_dir());
    ASSERT_EQ(glob(pattern, 0, NULL, &found), 0);
    EXPECT_GE(found.gl_pathc, 9);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct elf_image image;
        const char *why;
        test_row("%s", found.gl_pathv[i]);
        ASSERT_TRUE(elf_image_open(&image, found.gl_pathv[i], &why));
        for (size_t j = 0; j < sizeof(laws) / sizeof(laws[0]); j++) {
            if (!laws[j](&image)) {
                TEST_FAIL("%s", reason);
            }
        }
        elf_image_close(&image);
    }
    globfree(&found);
}

/* Sample libraries, good and bad. `flags` come after the good ones and win. */
#define GOOD_FLAGS                                                                                           \
    "-shared -fPIC -O2 -nostdlib -fno-stack-protector -Wl,-Ttext-segment=0x200000000000 -Wl,-z,now "         \
    "-Wl,-z,relro "                                                                                          \
    "-Wl,--build-id=sha1"
#define GOOD_CODE "int hw_id(void); int hv_boot(void) { return hw_id(); }"

static const struct {
    law holds;
    const char *code, *flags;
    const char *says; // NULL: the law holds.
} samples[] = {
    {needs_only_hardware, GOOD_CODE, "", NULL},
    {needs_only_hardware, "int printf(const char *); int f(void) { return printf(\"a\"); }", "",
     "undefined symbol printf"},
    {needs_only_hardware, "int thw_id(void); int f(void) { return thw_id(); }", "",
     "undefined symbol thw_id"},
    {needs_only_a_guest, "int guest_in(void); int f(void) { return guest_in(); }", "", NULL},
    {needs_only_a_guest, GOOD_CODE, "", "undefined symbol hw_id"},
    {needs_no_library, GOOD_CODE, "", NULL},
    {needs_no_library, GOOD_CODE, "-Wl,--no-as-needed -lc", "needs libc.so.6"},
    {has_no_mutable_state, GOOD_CODE, "", NULL},
    {has_no_mutable_state, "int hw_id(void); int (*const table[])(void) = {hw_id};", "", NULL},
    {has_no_mutable_state, "int count; int *hv_count(void) { return &count; }", "", ".bss has"},
    {has_no_mutable_state, "int count = 3; int *hv_count(void) { return &count; }", "", ".data has"},
    {has_no_mutable_state, "__thread int count; int *hv_count(void) { return &count; }", "", ".tbss has"},
    {has_no_mutable_state, "__attribute__((section(\"secret\"))) int count = 3;", "", "not sealed"},
    {lies_at_its_base, GOOD_CODE, "", NULL},
    {lies_at_its_base, GOOD_CODE, "-Wl,-Ttext-segment=0x210000000000", "linked at 0x210000000000"},
    {leaves_code_alone, GOOD_CODE, "", NULL},
    {leaves_code_alone, "int hw_id(void); void *hv_p(void) { return (void *)hw_id; }",
     "-fno-pic -mcmodel=large -Wl,-z,notext", "text relocations"},
    {leaves_code_alone, GOOD_CODE, "-Wl,--omagic", "writable and executable"},
    {binds_at_load, GOOD_CODE, "", NULL},
    {binds_at_load, GOOD_CODE, "-Wl,-z,lazy", "binds lazily"},
    {can_be_named, GOOD_CODE, "", NULL},
    {can_be_named, GOOD_CODE, "-Wl,--build-id=none", "no build id"},
    {can_be_named, GOOD_CODE, "-s", "stripped"},
    {names_no_folder, GOOD_CODE, "", NULL},
    {names_no_folder, GOOD_CODE, "-g", "mentions "},
};

TEST(Walls, EachLawSeesASampleThatBreaksIt)
{
    char path[512], command[2048];
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct elf_image image;
        const char *why = "";
        test_row("%zu: %s %s", i, samples[i].code, samples[i].flags);
        snprintf(path, sizeof(path), "%s/libsample.so", test_tmpdir());
        snprintf(command, sizeof(command), "cd '%s' && printf '%%s\\n' '%s' | gcc -x c - %s %s -o '%s'",
                 test_tmpdir(), samples[i].code, GOOD_FLAGS, samples[i].flags, path);
        ASSERT_EQ(test_shell(command, NULL, 0), 0);
        ASSERT_TRUE(elf_image_open(&image, path, &why));
        EXPECT_EQ(samples[i].holds(&image), samples[i].says == NULL);
        if (samples[i].says) {
            EXPECT_STRSTR(reason, samples[i].says);
        }
        elf_image_close(&image);
    }
}

TEST(Walls, ABrokenFileIsNoImage)
{
    struct elf_image image;
    const char *why = NULL;
    EXPECT_FALSE(elf_image_open(&image, "/nonexistent", &why));
    EXPECT_STREQ(why, "cannot be read");
    char path[512], command[1100];
    snprintf(path, sizeof(path), "%s/short", test_tmpdir());
    snprintf(command, sizeof(command), "head -c 1000 /proc/self/exe > '%s'", path);
    EXPECT_EQ(test_shell(command, NULL, 0), 0);
    EXPECT_FALSE(elf_image_open(&image, path, &why));
    EXPECT_STREQ(why, "its headers do not lie in the file");
}

/*
 * libhv.so is an input of a run, so equal sources must make equal bytes. Another folder, another name of the
 * build folder, another compiler for the simulator.
 */
TEST(Libhv, IsTheSameFromAnotherFolder)
{
    static char output[1 << 16];
    char command[2048];
    char built[512];
    snprintf(built, sizeof(built), "%s/lib/libhv.so", test_build_dir());
    if (access(built, F_OK) != 0) {
        test_skip("there is no libhv.so in this build");
    }
    snprintf(command, sizeof(command),
             "cd '%s' && mkdir -p a/longer/path && cd a/longer/path && "
             "cp -r '%s/CMakeLists.txt' '%s/cmake' '%s/hv' '%s/spec' . && "
             "CC=gcc CXX=g++ cmake -G Ninja -S . -B out -DHVSIM_HV_CC='%s' -DCMAKE_C_FLAGS_RELEASE=-O1 && "
             "ninja -C out -j 2 hvlib_hv && cmp out/lib/libhv.so '%s'",
             test_tmpdir(), test_source_dir(), test_source_dir(), test_source_dir(), test_source_dir(),
             HVSIM_HV_CC, built);
    if (test_shell(command, output, sizeof(output)) != 0) {
        TEST_FAIL("%s", output);
    }
}
