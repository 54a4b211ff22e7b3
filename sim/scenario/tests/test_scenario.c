// SPDX-License-Identifier: Apache-2.0
// Scenario files: what is accepted, and that each mistake is told with file, line, field, expectation and
// cure.
#include "hv/api.h"
#include "sim/scenario/quantity.h"
#include "sim/scenario/scenario.h"
#include "tests/shim/shim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *write_file(const char *text)
{
    static char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/s.yaml", test_tmpdir());
    f = fopen(path, "wb");
    if (f) {
        fwrite(text, 1, strlen(text), f);
        fclose(f);
    }
    return path;
}

#define VMS "vms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a.stream }\n"

static const struct {
    const char *text;  // The file.
    const char *place; // What the message begins with after the file's name.
    const char *words; // What it must contain.
} mistakes[] = {
    {"", ": ", "empty"},
    {"- 1\n", ":1: ", "expected a scenario"},
    {"scenario: [\n", ":", "not YAML"},
    {"scenario: s\n", ":1: vms: ", "at least one VM"},
    {VMS, ":", "scenario: is missing"},
    {"scenario: s\nscenari: t\n" VMS, ":2: scenari: ", "did you mean `scenario`"},
    {"scenario: s\nscenario: t\n" VMS, ":", "twice"},
    {"scenario: s\nmachine: { cpu: 2 }\n" VMS, ":2: machine.cpu: ", "did you mean `cpus`"},
    {"scenario: s\nmachine: { cpus: 0 }\n" VMS, ":2: machine.cpus: ", "out of range; expected 1 to 64"},
    {"scenario: s\nmachine: { cpus: two }\n" VMS, ":2: machine.cpus: ", "expected a number"},
    {"scenario: s\nmachine: { memory: 4096TiB }\n" VMS, ":2: machine.memory: ", "over the limit"},
    {"scenario: s\nmachine: { memory: 4 GB }\n" VMS, ":2: machine.memory: ", "expected bytes with a unit"},
    {"scenario: s\nmachine: { arch: arm64 }\n" VMS, ":2: machine.arch: ", "one of: x86"},
    {"scenario: s\nvms: 3\n", ":2: vms: ", "expected a list, got a value"},
    {"scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n", ":3: vms[0].vcpus: ", "at least one vCPU"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, cpus: 2, vcpus: [{ stream: a }] }\n",
     ":3: vms[0].cpus: ", "is for a VM with a `program`"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { append: x } }\n",
     ":3: image: ", "is missing"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { image: '' } }\n",
     ":3: vms[0].program.image: ", "expected the name of a file"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { image: i }, vcpus: [{ stream: a }] }\n",
     ":3: vms[0].vcpus[0]: ", "have none of their own"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { image: i }, cpus: 1, vcpus: [{ pcpu: 0 }] "
     "}\n",
     ":3: vms[0].cpus: ", "either `cpus` (a number) or `vcpus`"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { image: i }, cpus: 65 }\n",
     ":3: vms[0].cpus: ", "expected 1 to 64"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { image: i }, paging: 4 }\n",
     ":3: vms[0].paging: ", "brings its own page tables"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, program: { image: i, load: x } }\n",
     ":3: vms[0].program.load: ", "expected a number"},
    {"scenario: s\nhosts: [{ name: h, memory: 1GiB }, { name: i, memory: 1GiB }]\nvms:\n"
     "  - { name: a, memory: 64MiB, program: { image: i } }\n",
     ":4: vms[0].program: ", "cannot be migrated"},
    {"scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus: []\n",
     ":5: vms[0].vcpus: ", "at least one vCPU"},
    {"scenario: s\nvms:\n  - name: a\n    memory: 8GiB\n    vcpus:\n      - { stream: a }\n",
     ":4: vms[0].memory: ", "over the limit of 4096 MiB"},
    {"scenario: s\nvms:\n  - name: a\n    memory: 1s\n    vcpus:\n      - { stream: a }\n",
     ":4: vms[0].memory: ", "expected bytes with a unit"},
    {"scenario: s\n" VMS "vmm:\n  - { at: 5, do: stop }\n", ":8: vmm[0].at: ", "expected a time with a unit"},
    {"scenario: s\n" VMS "vmm:\n  - { at: 5ms, do: stopp }\n", ":8: vmm[0].do: ", "did you mean `stop`"},
    {"scenario: s\n" VMS "vmm:\n  - { at: 5ms, do: irq_line, gsi: 1 }\n", ":8: vmm[0]: ", "needs `level`"},
    {"scenario: s\n" VMS "vmm:\n  - { at: 5ms, do: stop, gsi: 1 }\n",
     ":8: vmm[0].gsi: ", "no such parameter"},
    {"scenario: s\n" VMS "vmm:\n  - { at: 5ms, do: stop, vm: b }\n", ":8: vmm[0].vm: ", "one of: a"},
    {"scenario: s\nhosts:\n  - { cpus: 2 }\n" VMS, ":3: hosts[0]: ", "needs a `name`"},
    {"scenario: s\nhosts:\n  - { name: x }\n  - { name: x }\n" VMS, ":4: hosts[1].name: ", "already"},
    {"scenario: s\nhosts:\n  - { name: x, cpus: 40 }\n  - { name: y, cpus: 40 }\n" VMS,
     ":2: hosts: ", "80 CPUs"},
    {"scenario: s\nhosts:\n  - { name: x }\n  - { name: y }\n  - { name: z }\n" VMS,
     ":2: hosts: ", "more than 2"},
    {"scenario: s\nhosts:\n  - { name: x, knobs: { irq.storm_gard: none } }\n" VMS,
     ":3: hosts[0].knobs.irq.storm_gard: ", "did you mean `irq.storm_guard`"},
    {"scenario: s\nhosts:\n  - { name: x, uarch: ../y }\n" VMS, ":3: hosts[0].uarch: ", "expected the name"},
    {"scenario: s\nhosts:\n  - { name: x, replace: { vmx_cap.ept_vpd: 1 } }\n" VMS,
     ":3: hosts[0].replace.vmx_cap.ept_vpd: ", "did you mean `vmx_cap.ept_vpid`"},
    {"scenario: s\nhosts:\n  - { name: x, replace: { address.physical_bits: 53 } }\n" VMS,
     ":3: hosts[0].replace.address.physical_bits: ", "expected 32 to 52"},
    {"scenario: s\nhosts:\n  - { name: x, replace: { l1d.ways: 4 } }\n" VMS,
     ":3: hosts[0].replace.l1d.ways: ", "unknown"},
    {"scenario: s\nhosts: [{ name: x }, { name: y }]\n" VMS "variants: { v: { hosts: [{ name: z }] } }\n",
     ":8: variants.v.hosts[0].name: ", "one of: x, y"},
    {"scenario: s\nhosts: [{ name: x }, { name: y }]\n" VMS
     "variants: { v: { hosts: [{ name: y, replace: { address.linear_bits: 47 } }] } }\n",
     ":8: variants.v.hosts[0].replace.address.linear_bits: ", "expected 48 to 57"},
    {"scenario: s\nlink: { bandwidth: 1Gbit/s }\n" VMS, ":2: link: ", "has one"},
    {"scenario: s\nhosts: [{ name: x }, { name: y }]\nlink: { bandwidth: 1GB }\n" VMS,
     ":3: link.bandwidth: ", "expected a rate with a unit"},
    {"scenario: s\nhosts: [{ name: x }, { name: y }]\nlink: { bandwidth: 1kbit/s }\n" VMS,
     ":3: link.bandwidth: ", "out of range"},
    {"scenario: s\n" VMS "vmm:\n  - { at: 5ms, do: migrate }\n", ":8: vmm[0]: ", "needs a second host"},
    {"scenario: s\nhosts: [{ name: x }, { name: y }]\n" VMS "vmm:\n  - { at: 5ms, do: migrate, to: z }\n",
     ":9: vmm[0].to: ", "one of: x, y"},
    {"scenario: s\nhosts: [{ name: x }, { name: y }]\n" VMS
     "vmm:\n  - { at: 5ms, do: migrate, method: copy }\n",
     ":9: vmm[0].method: ", "precopy"},
    {"scenario: s\n" VMS "knobs: { irq.storm_gard: none }\n",
     ":7: knobs.irq.storm_gard: ", "did you mean `irq.storm_guard`"},
    {"scenario: s\n" VMS "knobs: { irq.storm_guard: off }\n",
     ":7: irq.storm_guard: ", "expected none|ioapic_delay|immexit_throttle"},
    {"scenario: s\n" VMS "knobs: { irq.storm_count: 0 }\n", ":7: irq.storm_count: ", "expected 1..100000000"},
    {"scenario: s\n" VMS "variants:\n  v: { knobs: { x86.apicv: perhaps } }\n",
     ":8: x86.apicv: ", "expected off|on"},
    {"scenario: s\n" VMS "variants:\n  a.b: {}\n", ":8: variants.a.b: ", "neither `.` nor `[`"},
    {"scenario: s\nvms:\n  - { name: a, memory: 64MiB, page: 1GiB, vcpus: [{ stream: a }] }\n",
     ":3: vms[0].memory: ", "64MiB is not a multiple of `page`, 1048576 KiB"},
    {"scenario: s\n" VMS "expect:\n  - { about: x }\n", ":8: expect[0]: ", "either `sql` or `compare`"},
    {"scenario: s\n" VMS "expect:\n  - { about: x, sql: q, equals: 1, at_least: 2 }\n",
     ":8: expect[0]: ", "give one of"},
    {"scenario: s\n" VMS "expect:\n  - { about: x, sql: q, variant: v }\n",
     ":8: expect[0].variant: ", "expected one of: default"},
    {"scenario: s\n" VMS "expect:\n  - { about: x, sql: q, between: [1] }\n",
     ":8: expect[0]: ", "two values"},
    {"scenario: s\n" VMS "expect:\n  - about: x\n    compare: { sql: q, ratio: a, at_least: 1 }\n",
     ":9: expect[0].compare.ratio: ", "before/after"},
    {"scenario: &a s\nabout: *a\n" VMS, ":2: ", "alias"},
    {"scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a, pcpu: 1 }\n",
     ":6: vms[0].vcpus[0].pcpu: ", "expected 0 to 0"},
    {"scenario: s\nvms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a }\n    devices:\n   "
     "   - { name: d }\n",
     ":8: vms[0].devices[0]: ", "either `port` or `mmio`"},
};

TEST(Scenario, EveryMistakeIsToldWithItsPlace)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct user_error e = {""};
        const char *path = write_file(mistakes[i].text);
        struct scenario *s = scenario_load(path, &e);

        EXPECT_EQ(s, NULL);
        scenario_free(s);
        EXPECT_EQ(strncmp(e.text, path, strlen(path)), 0);
        const char *rest = e.text + (strlen(e.text) > strlen(path) ? strlen(path) : 0);

        if (strncmp(rest, mistakes[i].place, strlen(mistakes[i].place)) != 0 ||
            !strstr(rest, mistakes[i].words))
            printf("case %zu: %s\n", i, e.text);
        EXPECT_EQ(strncmp(rest, mistakes[i].place, strlen(mistakes[i].place)), 0);
        EXPECT_STRSTR(rest, mistakes[i].words);
    }
}

TEST(Scenario, FilesThatAreNotScenariosAreRefused)
{
    struct user_error e;

    EXPECT_EQ(scenario_load("/nonexistent/x.yaml", &e), NULL);
    EXPECT_STRSTR(e.text, "No such file");
    EXPECT_EQ(scenario_load(test_tmpdir(), &e), NULL);
    EXPECT_STRSTR(e.text, "folder");
    char path[512];

    snprintf(path, sizeof path, "%s/binary.yaml", test_tmpdir());
    FILE *f = fopen(path, "wb");

    ASSERT_TRUE(f != NULL);
    fwrite("scenario: \0\1\2", 1, 13, f);
    fclose(f);
    EXPECT_EQ(scenario_load(path, &e), NULL);
    EXPECT_STRSTR(e.text, "not text");
}

static char *resolved(const struct scenario *s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    scenario_print_resolved(s, out);
    fclose(out);
    return text;
}

TEST(Scenario, ResolvedFormReadsBackTheSame)
{
    static const char text[] =
        "scenario: s\nabout: \"two\\nlines\"\nmachine: { cpus: 3, memory: 2GiB, uarch: sandybridge-ep }\n"
        "vms:\n  - name: a\n    memory: 64MiB\n    irqchip: split\n    nested: on\n    vcpus:\n"
        "      - { stream: a.stream, pcpu: 2 }\n      - { stream: b.stream }\n"
        "    devices:\n      - { name: d, port: 0x60, size: 2, gsi: 4, ack: 7 }\n      - { name: m, mmio: "
        "0xfe000000 }\n"
        "    slots:\n      - { slot: 5, gpa: 0x100000000, size: 2MiB, page: 2MiB, readonly: on }\n"
        "vmm:\n  - { at: 2ms, do: irq_line, gsi: 23, level: 1 }\n  - { at: 1.5us, do: msi, vector: 0x60 }\n"
        "run: { until: 10ms, check_tlb: on, memory: c11 }\nknobs: { irq.storm_count: 7, x86.apicv: off }\n"
        "variants:\n  before: { about: b, knobs: { irq.storm_guard: none, irq.storm_count: 9 } }\n  after: "
        "{}\n"
        "expect:\n  - { about: e, variant: before, sql: SELECT 1, between: [1, 2] }\n"
        "  - about: c\n    compare: { sql: SELECT 2, ratio: before/after, at_least: 3 }\n"
        "recorded:\n  - { reason: HLT, count: 3, p50_ns: 4, p99_ns: 5 }\n";
    struct user_error e = {""};
    struct scenario *s = scenario_load(write_file(text), &e);

    EXPECT_STREQ(e.text, "");
    ASSERT_TRUE(s != NULL);
    EXPECT_EQ(s->hosts[0].cpus, 3);
    EXPECT_EQ(s->actions[0].at_ns, 1500);
    EXPECT_EQ(s->actions[1].args[0], 23);
    EXPECT_EQ(s->variants[0].knob_count, 4);
    EXPECT_EQ(s->until_ns, 10000000);
    EXPECT_EQ(s->check_tlb, 1);
    EXPECT_EQ(s->memory, MEMORY_C11);
    char *once = resolved(s);

    scenario_free(s);
    s = scenario_load(write_file(once), &e);
    EXPECT_STREQ(e.text, "");
    ASSERT_TRUE(s != NULL);
    char *twice = resolved(s);

    EXPECT_STREQ(twice, once);
    scenario_free(s);
    free(once);
    free(twice);
}

// What a host's processors are: the host's own file and replacements, then those that a variant has for it.
TEST(Scenario, HostsHaveProcessorsOfTheirOwn)
{
    static const char text[] = "scenario: s\nmachine: { uarch: skylake-sp }\n"
                               "hosts:\n  - { name: x, uarch: sandybridge-ep }\n"
                               "  - { name: y, replace: { address.physical_bits: 40 } }\n" VMS
                               "variants:\n  v: { hosts: [{ name: y, replace: { address.physical_bits: 41, "
                               "vmx_cap.ept_vpid: 0x41 } }] }\n"
                               "  w: {}\n";
    struct user_error e = {""};
    struct scenario *s = scenario_load_text("s.yaml", text, strlen(text), &e);
    char *once = NULL;

    for (int round = 0; round < 2; round++) {
        EXPECT_STREQ(e.text, "");
        ASSERT_TRUE(s != NULL);
        EXPECT_STREQ(s->hosts[0].uarch, "sandybridge-ep");
        EXPECT_EQ(s->hosts[0].replace.count, 0);
        EXPECT_TRUE(s->hosts[1].uarch == NULL);
        ASSERT_EQ(s->hosts[1].replace.count, 1);
        EXPECT_EQ(s->hosts[1].replace.rows[0].value, 40);
        EXPECT_EQ(s->variants[0].replace[0].count, 0);
        ASSERT_EQ(s->variants[0].replace[1].count, 2);
        EXPECT_EQ(s->variants[0].replace[1].rows[0].value, 41);
        EXPECT_EQ(s->variants[1].replace[1].count, 0);
        if (round == 0) { // And as the resolved form reads back.
            once = resolved(s);
            scenario_free(s);
            s = scenario_load_text("s.yaml", once, strlen(once), &e);
        }
    }
    scenario_free(s);
    free(once);
}

// What YAML cannot hold as it stands comes back by its escape: in text, names of VMs and of variants.
TEST(Scenario, ResolvedFormKeepsEveryCharacter)
{
    static const char *const texts[] = {
        "a: b",
        "'#\\\" {},&*!|>%@`",
        "tab\\there",
        "\\x7f\\x80\\x9f\\x85",
        "a\\u2028b\\u2029c",
        "\\ufeffbom",
        "\\ufffe\\uffff",
        "\xc3\xa4",
        " spaces ",
        "\\U0001f600",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[1000];
        struct user_error e = {""};

        test_row("%s", texts[i]);
        snprintf(text, sizeof text,
                 "scenario: \"%s\"\nvms:\n  - name: \"%s\"\n    memory: 64MiB\n    vcpus:\n"
                 "      - { stream: \"%s\" }\nvariants: { \"%s\": { about: \"%s\" } }\n"
                 "expect:\n  - { about: e, sql: SELECT 1, variant: \"%s\" }\n",
                 texts[i], texts[i], texts[i], texts[i], texts[i], texts[i]);
        struct scenario *s = scenario_load_text("s.yaml", text, strlen(text), &e);

        EXPECT_STREQ(e.text, "");
        ASSERT_TRUE(s != NULL);
        char *once = resolved(s);
        struct scenario *again = scenario_load_text("s.yaml", once, strlen(once), &e);

        EXPECT_STREQ(e.text, "");
        ASSERT_TRUE(again != NULL);
        EXPECT_STREQ(again->name, s->name);
        EXPECT_STREQ(again->vms[0].name, s->vms[0].name);
        EXPECT_STREQ(again->vms[0].vcpus[0].stream, s->vms[0].vcpus[0].stream);
        EXPECT_STREQ(again->variants[0].name, s->variants[0].name);
        EXPECT_STREQ(again->variants[0].about, s->variants[0].about);
        EXPECT_STREQ(again->expects[0].variant, s->variants[0].name);
        scenario_free(s);
        scenario_free(again);
        free(once);
    }
}

TEST(Quantity, UnitsAndLimits)
{
    uint64_t v = 0;

    EXPECT_TRUE(quantity_bytes("2304GiB", &v));
    EXPECT_EQ(v, 2304ull << 30);
    EXPECT_TRUE(quantity_bytes("0x1000", &v));
    EXPECT_EQ(v, 4096);
    EXPECT_FALSE(quantity_bytes("12", &v));
    EXPECT_FALSE(quantity_bytes("12GB", &v));
    EXPECT_FALSE(quantity_bytes("18446744073709551615KiB", &v));
    EXPECT_TRUE(quantity_ns("1.5ms", &v));
    EXPECT_EQ(v, 1500000);
    EXPECT_FALSE(quantity_ns("1.5ns", &v));
    EXPECT_FALSE(quantity_ns("-1ms", &v));
    EXPECT_TRUE(quantity_number("10_000", &v));
    EXPECT_EQ(v, 10000);
    EXPECT_FALSE(quantity_number("10__000", &v));
    EXPECT_FALSE(quantity_number("99999999999999999999", &v));
    EXPECT_FALSE(quantity_number("", &v));
}

// vms[].program: paths are the scenario's, what is left out is filled in.
TEST(Scenario, ProgramsOfVms)
{
    const char text[] =
        "scenario: s\nmachine: { cpus: 2, memory: 1GiB }\nvms:\n"
        "  - { name: a, memory: 64MiB, cpus: 3, disable_exits: [pause, mwait],\n"
        "      program: { image: ../a.flat, modules: [m, /n], append: 'x y', hide: [x2apic, sse4_2] } }\n"
        "  - { name: b, memory: 64MiB, vcpus: [{ pcpu: 1 }], program: { image: b, load: 0x7c00, input: i } "
        "}\n"
        "  - name: c\n    memory: 64MiB\n    program:\n      image: c\n      script: |\n"
        "        wait \"/ # \"\n        enter ls\n";
    struct user_error e = {""};
    struct scenario *s = scenario_load_text("dir/s.yaml", text, sizeof text - 1, &e);

    EXPECT_STREQ(e.text, "");
    ASSERT_TRUE(s != NULL);
    EXPECT_STREQ(s->vms[0].program->image, "dir/../a.flat");
    EXPECT_STREQ(s->vms[0].program->append, "x y");
    EXPECT_EQ(s->vms[0].program->hide_count, 2);
    EXPECT_EQ(s->vms[0].program->hide[0].mask, 1u << 21);
    EXPECT_EQ(s->vms[0].program->hide[1].mask, 1u << 20);
    EXPECT_STREQ(s->vms[0].program->modules[0], "dir/m");
    EXPECT_STREQ(s->vms[0].program->modules[1], "/n");
    EXPECT_TRUE(s->vms[0].program->initrd == NULL);
    EXPECT_FALSE(s->vms[0].program->flat);
    EXPECT_EQ(s->vms[0].vcpu_count, 3);
    EXPECT_EQ(s->vms[0].vcpus[2].pcpu, VMM_CPU_ANY);
    EXPECT_EQ(s->vms[0].flags & VMM_VM_PC, VMM_VM_PC);
    EXPECT_STREQ(s->vms[1].program->append, "");
    EXPECT_TRUE(s->vms[1].program->flat);
    EXPECT_EQ(s->vms[1].program->load, 0x7c00);
    EXPECT_EQ(s->vms[1].vcpus[0].pcpu, 1);
    EXPECT_EQ(s->vms[0].disabled_exits, HV_DISABLE_EXITS_MWAIT | HV_DISABLE_EXITS_PAUSE);
    EXPECT_EQ(s->vms[1].disabled_exits, 0);
    EXPECT_EQ(s->vms[0].flags & VMM_VM_INPUT, 0);
    EXPECT_EQ(s->vms[1].flags & VMM_VM_INPUT, VMM_VM_INPUT);
    EXPECT_STREQ(s->vms[1].program->input, "dir/i");
    EXPECT_EQ(s->vms[2].flags & VMM_VM_INPUT, VMM_VM_INPUT);
    EXPECT_EQ(s->vms[2].program->typing.step_count, 2);
    EXPECT_EQ(memcmp(s->vms[2].program->typing.steps[0].bytes, "/ # ", 4), 0);
    scenario_free(s);
}

// What is typed: the mistake's line in the file is the field's, in the script its own.
TEST(Scenario, MistakesInWhatIsTyped)
{
    static const struct {
        const char *program, *says;
    } rows[] = {
        {"image: a\n      script: |\n        type a\n        pasue 1s\n",
         "s.yaml:8: vms[0].program.script: line 2 of the script: unknown step `pasue` (did you mean "
         "`pause`?)"},
        {"image: a\n      script: type a\n      input: f\n",
         "s.yaml:8: vms[0].program.script: a console has either `input` (a file) or a `script`"},
        {"image: a\n      input: ''\n", "s.yaml:8: vms[0].program.input: expected the name of a file"},
        {"image: a\n      inptu: f\n", "did you mean `input`"},
    };
    char text[400];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct user_error e = {""};

        snprintf(text, sizeof text,
                 "scenario: s\nmachine: { memory: 1GiB }\nvms:\n  - name: a\n    memory: 64MiB\n    "
                 "program:\n      %s",
                 rows[i].program);
        test_row("%s", text);
        EXPECT_TRUE(scenario_load_text("s.yaml", text, strlen(text), &e) == NULL);
        EXPECT_STRSTR(e.text, rows[i].says);
    }
}
