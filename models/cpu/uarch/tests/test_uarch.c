// SPDX-License-Identifier: Apache-2.0
//
// Micro-architecture files: what they must hold, and how they are refused.

#include "models/cpu/uarch/uarch.h"
#include "tests/shim/shim.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"skylake-sp", "sandybridge-ep"};
#define NAMES (sizeof names / sizeof names[0])

static struct uarch *load(const char *name)
{
    char path[512], error[512];
    snprintf(path, sizeof path, "%s/models/cpu/uarch/%s.yaml", test_source_dir(), name);
    struct uarch *u = uarch_load(path, error, sizeof error);
    if (u == NULL)
        TEST_FAIL("%s", error);
    return u;
}

TEST(Uarch, EveryNumberNamesItsSource)
{
    for (size_t n = 0; n < NAMES; n++) {
        struct uarch *u = load(names[n]);
        ASSERT_TRUE(u != NULL);
        EXPECT_STREQ(u->name, names[n]);
        for (size_t i = 0; i < uarch_param_count(); i++) {
            struct uarch_param p = uarch_param_at(u, i);
            test_row("%s %s.%s", names[n], p.group, p.name);
            ASSERT_TRUE(p.source != NULL);
            EXPECT_GE(strlen(p.source), 8);
        }
        for (size_t i = 0; i < u->class_count; i++)
            EXPECT_TRUE(u->classes[i].source != NULL && strlen(u->classes[i].source) >= 8);
        for (size_t i = 0; i < u->cpuid_count; i++)
            EXPECT_TRUE(u->cpuid[i].source != NULL && strlen(u->cpuid[i].source) >= 8);
        uarch_free(u);
    }
}

TEST(Uarch, ParametersAreThoseOfTheStruct)
{
    struct uarch *u = load("skylake-sp");
    ASSERT_TRUE(u != NULL);
    unsigned seen = 0;
    for (size_t i = 0; i < uarch_param_count(); i++) {
        struct uarch_param p = uarch_param_at(u, i);
        if (strcmp(p.group, "l2") == 0 && strcmp(p.name, "latency_cycles") == 0) {
            EXPECT_EQ(p.value, u->l2.latency_cycles);
            EXPECT_STREQ(p.unit, "cycles");
            seen++;
        }
        if (strcmp(p.group, "vmx") == 0 && strcmp(p.name, "exit_cycles") == 0) {
            EXPECT_EQ(p.value, u->vmx.exit_cycles);
            seen++;
        }
    }
    EXPECT_EQ(seen, 2);
    uarch_free(u);
}

// Further away costs more; what is documented as ordered is ordered.
TEST(Uarch, LatenciesGrowWithDistance)
{
    for (size_t n = 0; n < NAMES; n++) {
        struct uarch *u = load(names[n]);
        ASSERT_TRUE(u != NULL);
        EXPECT_LT(u->l1d.latency_cycles, u->l2.latency_cycles);
        EXPECT_LT(u->l2.latency_cycles, u->l3.latency_cycles);
        EXPECT_LT(u->l3.latency_cycles, u->coherence.clean_cycles);
        EXPECT_LE(u->coherence.clean_cycles, u->coherence.modified_cycles);
        EXPECT_LT(u->coherence.modified_cycles, u->memory.dram_cycles);
        EXPECT_LT(u->memory.dram_cycles, u->memory.remote_dram_cycles);
        EXPECT_LT(u->coherence.modified_cycles, u->coherence.remote_modified_cycles);
        EXPECT_LT(u->op.ipi_cycles, u->op.remote_ipi_cycles);
        uarch_free(u);
    }
}

// Golden rows, typed from Intel 248966 and 325462, not from the YAML files.
TEST(Uarch, GoldenRows)
{
    struct uarch *skl = load("skylake-sp"), *snb = load("sandybridge-ep");
    ASSERT_TRUE(skl != NULL && snb != NULL);
    EXPECT_EQ(skl->l1d.size_bytes, 32768);
    EXPECT_EQ(skl->l2.size_bytes, 1048576);
    EXPECT_EQ(skl->l2.ways, 16);
    EXPECT_EQ(skl->stlb.entries, 1536);
    EXPECT_EQ(skl->buffers.store_entries, 56);
    EXPECT_EQ(skl->front_end.reorder_entries, 224);
    EXPECT_EQ(skl->clock.core_khz, 2100000);
    EXPECT_EQ(skl->op.pause_cycles, 140);
    EXPECT_EQ(snb->l2.size_bytes, 262144);
    EXPECT_EQ(snb->l3.inclusive, 1);
    EXPECT_EQ(snb->stlb.entries, 512);
    EXPECT_EQ(snb->stlb.holds_2m, 0);
    EXPECT_EQ(snb->buffers.store_entries, 36);
    EXPECT_EQ(snb->front_end.reorder_entries, 168);
    EXPECT_LE(snb->op.pause_cycles, 11);
    uarch_free(skl);
    uarch_free(snb);
}

// SDM appendix A: MSR 480H to 492H.
TEST(Uarch, CapabilityMsrs)
{
    struct uarch *skl = load("skylake-sp"), *snb = load("sandybridge-ep");
    uint64_t a = 0, b = 0;
    ASSERT_TRUE(skl != NULL && snb != NULL);
    ASSERT_TRUE(uarch_vmx_msr(skl, 0x480, &a) && uarch_vmx_msr(snb, 0x480, &b));
    EXPECT_EQ(a & 0x7fffffff, 4);
    EXPECT_EQ(b & 0x7fffffff, 0x10);
    EXPECT_EQ(a >> 32 & 0x1fff, 1024);
    EXPECT_EQ(a >> 50 & 15, 6); // Write-back.
    EXPECT_EQ(a >> 55 & 1, 1);  // TRUE control MSRs.
    ASSERT_TRUE(uarch_vmx_msr(skl, 0x481, &a) && uarch_vmx_msr(snb, 0x481, &b));
    EXPECT_EQ(a & 0xffffffff, 0x16); // A.3.1: bits 1, 2 and 4 are default 1.
    EXPECT_EQ(a >> 39 & 1, 1);       // Process posted interrupts.
    EXPECT_EQ(b >> 39 & 1, 0);
    ASSERT_TRUE(uarch_vmx_msr(skl, 0x48b, &a) && uarch_vmx_msr(snb, 0x48b, &b));
    EXPECT_EQ(a >> 32 & 0x302, 0x302); // EPT, APIC-register virtualization, virtual-interrupt delivery.
    EXPECT_EQ(b >> 32 & 0x302, 0x002);
    EXPECT_EQ(a >> 46 & 1, 1); // VMCS shadowing.
    EXPECT_EQ(b >> 46 & 1, 0);
    EXPECT_EQ(a >> 49 & 1, 1); // PML.
    EXPECT_EQ(a >> 57 & 1, 1); // TSC scaling.
    EXPECT_EQ(b >> 57 & 1, 0);
    EXPECT_EQ(b >> 49 & 1, 0);
    ASSERT_TRUE(uarch_vmx_msr(skl, 0x48c, &a) && uarch_vmx_msr(snb, 0x48c, &b));
    EXPECT_EQ(a >> 21 & 1, 1); // Accessed and dirty flags for EPT.
    EXPECT_EQ(b >> 21 & 1, 0);
    EXPECT_TRUE(uarch_vmx_msr(skl, 0x491, &a));
    EXPECT_FALSE(uarch_vmx_msr(snb, 0x491, &b));
    EXPECT_FALSE(uarch_vmx_msr(skl, 0x492, &a)); // No tertiary controls.
    EXPECT_FALSE(uarch_vmx_msr(skl, 0x47f, &a));
    EXPECT_FALSE(uarch_vmx_msr(skl, 0x493, &a));
    // The TRUE MSRs differ only in which default-1 bits may be cleared.
    ASSERT_TRUE(uarch_vmx_msr(skl, 0x482, &a) && uarch_vmx_msr(skl, 0x48e, &b));
    EXPECT_EQ(a >> 32, b >> 32);
    EXPECT_EQ(a & ~b & 0xffffffff, 0x00018000); // CR3-load and CR3-store exiting.
    uarch_free(skl);
    uarch_free(snb);
}

TEST(Uarch, CpuidRows)
{
    struct uarch *skl = load("skylake-sp"), *snb = load("sandybridge-ep");
    ASSERT_TRUE(skl != NULL && snb != NULL);
    const struct uarch_cpuid *c = uarch_cpuid_find(skl, 1, 7);
    ASSERT_TRUE(c != NULL);
    EXPECT_EQ(c->eax, 0x50654);
    EXPECT_EQ(c->ecx >> 5 & 1, 1); // VMX.
    EXPECT_EQ(uarch_cpuid_find(snb, 1, 0)->eax, 0x206d7);
    EXPECT_EQ(c->ecx >> 27 & 1, 0); // OSXSAVE follows CR4.
    EXPECT_EQ(uarch_cpuid_find(snb, 1, 0)->ecx >> 27 & 1, 0);
    EXPECT_TRUE(uarch_cpuid_find(skl, 4, 3) != NULL);
    EXPECT_TRUE(uarch_cpuid_find(skl, 4, 4) == NULL);
    EXPECT_TRUE(uarch_cpuid_find(snb, 7, 0) == NULL);
    // Leaf 4 tells the caches of the file: (ways + 1)(partitions + 1)(line + 1)(sets + 1).
    for (uint32_t i = 0; i < 4; i++) {
        const struct uarch *u = i < 2 ? skl : snb;
        c = uarch_cpuid_find(u, 4, i % 2 == 0 ? 0 : 3);
        ASSERT_TRUE(c != NULL);
        uint64_t bytes = ((uint64_t)(c->ebx >> 22) + 1) * ((c->ebx >> 12 & 0x3ff) + 1) *
                         ((c->ebx & 0xfff) + 1) * ((uint64_t)c->ecx + 1);
        EXPECT_EQ(bytes, i % 2 == 0 ? u->l1d.size_bytes : u->l3.size_bytes);
    }
    uarch_free(skl);
    uarch_free(snb);
}

TEST(Uarch, ClassesByName)
{
    struct uarch *u = load("skylake-sp");
    ASSERT_TRUE(u != NULL);
    const struct uarch_class *c = uarch_class_find(u, "call");
    ASSERT_TRUE(c != NULL);
    EXPECT_EQ(c->uop_kinds, 3);
    EXPECT_EQ(c->uop[0].ports, 1u << 2 | 1u << 3 | 1u << 7);
    EXPECT_EQ(c->uop[1].ports, 1u << 4);
    EXPECT_TRUE(uarch_class_find(u, "fmul") == NULL);
    uarch_free(u);
}

// -------------------------------------------------------------------------------------------------------------------
// Refusals: skylake-sp.yaml with one text replaced.

static char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (f == NULL || text == NULL || fread(text, 1, (1 << 20) - 1, f) == 0)
        TEST_FAIL("cannot read %s", path);
    if (f != NULL)
        fclose(f);
    return text;
}

// Writes the file with `from` replaced by `to`; returns the line number of the replacement, 0 on failure.
static unsigned write_edited(const char *path, const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    unsigned line = 1;
    FILE *f = fopen(path, "wb");
    if (f == NULL || at == NULL) {
        TEST_FAIL("cannot find \"%s\"", from);
        if (f != NULL)
            fclose(f);
        return 0;
    }
    for (const char *p = text; p < at; p++)
        line += *p == '\n';
    fwrite(text, 1, (size_t)(at - text), f);
    fputs(to, f);
    fputs(at + strlen(from), f);
    fclose(f);
    return line;
}

// Columns: text, its replacement, lines from the replacement to the reported line, the field, what is
// said of it.
// Instead of a number of lines: the report names the file's first line.
#define TO_LINE_1 INT_MIN

static const struct {
    const char *from, *to;
    int lines;
    const char *field, *says;
} refusals[] = {
    {"  ways: { value: 16 }", "  weys: { value: 16 }", 0, "l2.weys",
     "unknown key; the nearest known key is \"ways\""},
    {"  latency_cycles: { value: 14 cycles }", "  latency_ns: { value: 14 }", 0, "l2.latency_ns",
     "unknown key"},
    {"  latency_cycles: { value: 14 cycles }", "  latency_cycles: { value: 14 ns }", 0,
     "l2.latency_cycles.value", "\"14 ns\" is not understood; expected a whole number of core clock cycles"},
    {"  size_bytes: { value: 1 MiB }", "  size_bytes: { value: 1 Mbit }", 0, "l2.size_bytes.value",
     "expected a size"},
    {"  size_bytes: { value: 1 MiB }", "  size_bytes: { value: 1.5 MiB }", 0, "l2.size_bytes.value",
     "expected a size"},
    {"  size_bytes: { value: 1 MiB }", "  size_bytes: { value: 1000000 }", 0, "l2.size_bytes",
     "no whole number of sets that is a power of two"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: { value: 2100 cycles }", 0, "clock.core_khz.value",
     "expected a clock rate"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: { value: 21 }", 0, "clock.core_khz.value",
     "out of range"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: { value: -1 }", 0, "clock.core_khz.value",
     "expected a clock rate"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: { value: 99999999999999999999999 }", 0,
     "clock.core_khz.value", "expected a clock rate"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: { size: 2100 MHz }", 0, "clock.core_khz.size",
     "unknown key"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: 2100", 0, "clock.core_khz", "Expecting MAPPING"},
    {"  core_khz: { value: 2100 MHz }", "  core_khz: { source: \"a document\" }", 0, "clock.core_khz.value",
     "missing"},
    {"  core_khz: { value: 2100 MHz }\n", "", -2, "clock.core_khz", "missing"},
    {"  macro_fusion: { value: 1 }", "  macro_fusion: { value: 2 }", 0, "front_end.macro_fusion.value",
     "expected 0 or 1 from 0 to 1"},
    {"  source: \"Intel ARK, Xeon Platinum 8176: 2.10 GHz base; turbo and P-states are not modelled\"\n", "",
     0, "clock.core_khz", "has no source"},
    {"  source: \"UOPS Skylake-X (port usage", "  sauce: \"UOPS Skylake-X (port usage", 0, "classes.sauce",
     "the nearest known key is \"source\""},
    {"uops: 1*p1+1*p5,", "uops: 1*q1,", 0, "classes.rows[28].uops", "expected uops by ports such as"},
    {"uops: 1*p1+1*p5,", "uops: 1*p1+,", 0, "classes.rows[28].uops", "expected uops by ports such as"},
    {"name: mul64,", "name: alu,", 0, "classes.rows[28]", "class \"alu\" has a row already"},
    {"leaf: 0x2,", "leaf: 0x0,", 0, "cpuid.rows[2]", "out of order"},
    {"eax: 0x16, ebx", "eax: sixteen, ebx", 0, "cpuid.rows[0].eax", "expected a bit mask"},
    {"preemption_shift: { value: 7,", "preemption_shift: { value: 5,", 0, "vmx.preemption_shift",
     "expected 7"},
    {"pin_allowed1: { value: 0xff,", "pin_allowed1: { value: 0x4,", -1, "vmx_cap.pin_allowed0",
     "does not allow"},
    {"parameter: vmx.vmread_cycles,", "parameter: vmx.vmrid_cycles,", 0, "calibrated_from[0].parameter",
     "is no parameter"},
    {"  ways: { value: 16 }", "  ways: { value: 16 }\n  ways: { value: 16 }", 0, "l2.ways", "already seen"},
    {"clock:\n", "clocks:\n", 0, "clocks", "the nearest known key is \"clock\""},
    {"name: skylake-sp\n", "", TO_LINE_1, "name", "missing"},
    {"name: skylake-sp\n", "name: skylake-sp\nnickname: skx\n", 1, "nickname", "unknown key"},
    {"memory:\n", "memory: [\n", 0, "memory", "Expecting MAPPING"},
    {"memory:\n", "memory: }\n", 0, "file", "did not find expected"},
};

TEST(Uarch, RefusesWithFileLineAndField)
{
    char original[512], path[512], error[512], place[600];
    snprintf(original, sizeof original, "%s/models/cpu/uarch/skylake-sp.yaml", test_source_dir());
    snprintf(path, sizeof path, "%s/edited.yaml", test_tmpdir());
    char *text = read_all(original);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        test_row("%s -> %s", refusals[i].from, refusals[i].to);
        unsigned line = write_edited(path, text, refusals[i].from, refusals[i].to);
        struct uarch *u = uarch_load(path, error, sizeof error);
        EXPECT_TRUE(u == NULL);
        uarch_free(u);
        if (strcmp(refusals[i].field, "file") == 0)
            snprintf(place, sizeof place, "%s:", path);
        else
            snprintf(place, sizeof place, "%s:%d: %s: ", path,
                     refusals[i].lines == TO_LINE_1 ? 1 : (int)line + refusals[i].lines, refusals[i].field);
        EXPECT_STRSTR(error, place);
        EXPECT_STRSTR(error, refusals[i].says);
    }
    free(text);
}

TEST(Uarch, RefusesWhatIsNoFile)
{
    char error[512];
    EXPECT_TRUE(uarch_load("/nonexistent.yaml", error, sizeof error) == NULL);
    EXPECT_STRSTR(error, "/nonexistent.yaml:");
    EXPECT_TRUE(uarch_load(test_tmpdir(), error, sizeof error) == NULL);
    EXPECT_STRSTR(error, test_tmpdir());
    // Columns: what the file holds, its length.
    static const struct {
        const char *bytes;
        size_t count;
    } files[] = {
        {"", 0}, {"\0\1\2\377", 4}, {"- a\n- b\n", 8}, {"just text\n", 10}, {"a: &x [*x, *x]\n", 15}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512];
        test_row("file %zu", i);
        snprintf(path, sizeof path, "%s/odd.yaml", test_tmpdir());
        FILE *f = fopen(path, "wb");
        ASSERT_TRUE(f != NULL);
        fwrite(files[i].bytes, 1, files[i].count, f);
        fclose(f);
        EXPECT_TRUE(uarch_load(path, error, sizeof error) == NULL);
        EXPECT_STRSTR(error, path);
        EXPECT_GT(strlen(error), strlen(path) + 4);
    }
}
