// SPDX-License-Identifier: Apache-2.0
/*
 * What is wrong with a file is told with file, line, field, what was expected, and how to go on; exit status
 * 2, nothing on standard output, no database made.
 */
#include "tests/cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "scenario: s\n"
#define MACHINE(line) "machine: { " line " }\n"
#define VMS "vms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: a.stream }\n"
#define VCPU(line) "vms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { " line " }\n"
#define GOOD_STREAM "hvsim-stream 1\ncpuid 0\nend\n"

static const struct {
    const char *scenario, *stream;
    const char *place, *expected, *hint;
} mistakes[] = {
    // Unknown keys.
    {HEAD MACHINE("cpu: 2") VMS, GOOD_STREAM, "s.yaml:2: machine.cpu: ", "unknown key",
     "did you mean `cpus`"},
    {HEAD "machin: { cpus: 2 }\n" VMS, GOOD_STREAM, "s.yaml:2: machin: ", "unknown key",
     "did you mean `machine`"},
    {HEAD VMS "    devces: []\n", GOOD_STREAM, "s.yaml:7: vms[0].devces: ", "unknown key",
     "did you mean `devices`"},
    // Types and units.
    {HEAD MACHINE("cpus: two") VMS, GOOD_STREAM, "s.yaml:2: machine.cpus: ", "expected a number",
     "such as 4"},
    {HEAD MACHINE("cpus: 1.5") VMS, GOOD_STREAM, "s.yaml:2: machine.cpus: ", "expected a number",
     "such as 4"},
    {HEAD MACHINE("memory: 4GB") VMS, GOOD_STREAM, "s.yaml:2: machine.memory: ", "expected bytes with a unit",
     "such as"},
    {HEAD MACHINE("memory: 4096") VMS, GOOD_STREAM,
     "s.yaml:2: machine.memory: ", "expected bytes with a unit", "such as"},
    {HEAD MACHINE("memory: [1]") VMS, GOOD_STREAM, "s.yaml:2: machine.memory: ", "expected", "got a list"},
    {HEAD VMS "run: { until: 5 }\n", GOOD_STREAM, "s.yaml:7: run.until: ", "expected a time with a unit",
     "such as"},
    {HEAD "vms: none\n", GOOD_STREAM, "s.yaml:2: vms: ", "expected a list", "got a value"},
    // Knobs.
    {HEAD VMS "knobs: { x86.apic: on }\n", GOOD_STREAM, "s.yaml:7: knobs.x86.apic: ", "unknown",
     "did you mean `x86.apicv`"},
    {HEAD VMS "knobs: { x86.apicv: perhaps }\n", GOOD_STREAM, "s.yaml:7: x86.apicv: ", "expected off|on",
     "`perhaps` is not a value"},
    {HEAD VMS "variants: { v: { knobs: { irq.storm_count: many } } }\n", GOOD_STREAM,
     "s.yaml:7: irq.storm_count: ", "expected 1..100000000", "`many`"},
    // Limits.
    {HEAD MACHINE("memory: 5TiB") VMS, GOOD_STREAM,
     "s.yaml:2: machine.memory: ", "over the limit of 4194304 MiB", "5TiB"},
    {HEAD "vms:\n  - name: a\n    memory: 8GiB\n    vcpus:\n      - { stream: a.stream }\n", GOOD_STREAM,
     "s.yaml:4: vms[0].memory: ", "over the limit of 4096 MiB", "8GiB"},
    {HEAD MACHINE("memory: 1MiB") VMS, GOOD_STREAM, "s.yaml:2: machine.memory: ", "at least 67108864 bytes",
     "1MiB"},
    {HEAD MACHINE("cpus: 0") VMS, GOOD_STREAM, "s.yaml:2: machine.cpus: ", "expected 1 to 64",
     "0 is out of range"},
    {HEAD MACHINE("cpus: 65") VMS, GOOD_STREAM, "s.yaml:2: machine.cpus: ", "expected 1 to 64",
     "65 is out of range"},
    {HEAD "vms:\n  - name: a\n    memory: 64MiB\n    vcpus: []\n", GOOD_STREAM,
     "s.yaml:5: vms[0].vcpus: ", "at least one vCPU", "stream: "},
    {HEAD "vms:\n  - name: a\n    memory: 64MiB\n", GOOD_STREAM,
     "s.yaml:3: vms[0].vcpus: ", "at least one vCPU", "stream: "},
    // Names of what is not there.
    {HEAD MACHINE("uarch: skylake") VMS, GOOD_STREAM,
     "s.yaml:2: machine.uarch: ", "no micro-architecture `skylake`", "skylake-sp"},
    {HEAD "vms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: b.stream }\n", GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0].stream: ", "b.stream", "No such file"},
    // Programs of vCPUs.
    {HEAD VCPU("pcpu: 0"), GOOD_STREAM, "s.yaml:6: vms[0].vcpus[0]: ", "either `stream`", "`native`"},
    {HEAD VCPU("stream: a.stream, native: random"), GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0]: ", "either `stream`", "`native`"},
    {HEAD VCPU("stream: a.stream, args: { bytes: 1MiB }"), GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0].args: ", "only native guests take arguments", ""},
    {HEAD VCPU("native: randon"), GOOD_STREAM, "s.yaml:6: vms[0].vcpus[0].native: ",
     "no native guest `randon`; did you mean `random`; known are ", "chase, checksum, dirty-rate, fault-in"},
    {HEAD VCPU("native: ../random"), GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0].native: ", "expected the name of a program", ""},
    {HEAD VCPU("native: random, args: { byte: 1MiB }"), GOOD_STREAM, "s.yaml:6: vms[0].vcpus[0].args.byte: ",
     "random has no such argument; did you mean `bytes`", "it has bytes, shared, accesses, writes, step"},
    {HEAD VCPU("native: random, args: { bytes: 65MiB }"), GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0].args.bytes: ", "expected bytes with a unit",
     "0 to 67108864 bytes, got `65MiB`"},
    {HEAD VCPU("native: random, args: { writes: 101 }"), GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0].args.writes: ", "expected a number, 0 to 100, got `101`", ""},
    {HEAD VCPU("native: io-ping, args: { period: 5 }"), GOOD_STREAM,
     "s.yaml:6: vms[0].vcpus[0].args.period: ", "expected a time with a unit", "got `5`"},
    {HEAD VCPU("native: random, args: [1]"), GOOD_STREAM, "s.yaml:6: vms[0].vcpus[0].args: ", "expected",
     "got a list"},
    // Streams with exits that no processor can make.
    {HEAD VMS, "hvsim-stream 1\ncpuid 0\n3000 exeption 6\n", "a.stream:3:6: ", "unknown word 'exeption'",
     "did you mean exception"},
    {HEAD VMS, "hvsim-stream 1\nexception 15\n", "a.stream:2:11: ", "reserved vector", "15"},
    {HEAD VMS, "hvsim-stream 1\nexception 6 1\n", "a.stream:2:13: ", "has no error code", ""},
    {HEAD VMS, "hvsim-stream 1\nin 0x60 3\n", "a.stream:2:9: ", "expected 1, 2, 4 or 8",
     "no access has size 3"},
    {HEAD VMS, "hvsim-stream 1\nawait 999\n", "a.stream:2:7: ", "no exit has the reason 999", ""},
    {HEAD VMS, "hvsim-stream 1\nintr 31\n", "a.stream:2:6: ", "expected 32 to 255", ""},
    {HEAD VMS, "", "a.stream: ", "holds no ops", ""},
    {HEAD VMS,
     "\x7f"
     "ELF\x02\x01\x01",
     "a.stream:1:", "expected", "hvsim-stream 1"},
    // Files that are no scenarios.
    {"", GOOD_STREAM, "s.yaml: ", "empty", ""},
    {"scenario: [\n", GOOD_STREAM, "s.yaml:", "not YAML", ""},
    {"\x7f"
     "ELF\x02\x01\x01",
     GOOD_STREAM, "s.yaml:1: ", "is not YAML", "control characters"},
};

TEST(BadInput, IsToldWithPlaceExpectationAndHint)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        const char *scenario = mistakes[i].scenario;

        test_row("%zu: %s", i, scenario);
        cli_write_text("s.yaml", scenario);
        cli_write_text("a.stream", mistakes[i].stream);
        EXPECT_EQ(hvsim("run s.yaml"), 2);
        EXPECT_STRSTR(cli_err, mistakes[i].place);
        EXPECT_STRSTR(cli_err, mistakes[i].expected);
        EXPECT_STRSTR(cli_err, mistakes[i].hint);
        EXPECT_STREQ(cli_out, "");
        // One line, ours.
        EXPECT_EQ(strncmp(cli_err, "hvsim: ", 7), 0);
        EXPECT_EQ(strchr(cli_err, '\n'), cli_err + strlen(cli_err) - 1);
        EXPECT_NE(access(cli_path("s.db"), F_OK), 0);
    }
}

// What is not a file to read is told at once; nobody waits for a pipe's writer. Pipes that are written to
// work.
TEST(BadInput, WhatIsNoFileIsTold)
{
    static const struct {
        const char *words, *message;
    } rows[] = {
        {"run nowhere.yaml",
         "nowhere.yaml: No such file or directory; name a scenario file (*.yaml), `hvsim list`"},
        {"run .", ".: is a folder; name a scenario file"},
        {"run pipe", "pipe: is a pipe that nobody writes to; name a scenario file"},
        {"run by-pipe.yaml",
         "by-pipe.yaml:6: vms[0].vcpus[0].stream: ./pipe: is a pipe that nobody writes to"},
        {"run /dev/null", "/dev/null: is empty"},
        {"run /dev/zero", "/dev/zero: is larger than 16 MiB"},
        {"run by-zero.yaml", "/dev/zero:1: the line has more than 4096 bytes"},
        {"import pipe", "pipe: is a pipe that nobody writes to; expected the text of a KVM trace"},
        {"import .", ".: is a folder; expected the text of a KVM trace"},
        {"import nowhere.txt", "nowhere.txt: No such file or directory; expected the text"},
        {"run by-pipe.yaml --db pipe", "pipe"},
        {"explain pipe --exit 1", "pipe: a device, pipe or socket, not a file"},
        {"export pipe", "pipe: a device, pipe or socket, not a file"},
    };
    static const char by[] =
        HEAD "vms:\n  - name: a\n    memory: 64MiB\n    vcpus:\n      - { stream: %s }\n";
    char text[400];

    snprintf(text, sizeof text, by, "pipe");
    cli_write_text("by-pipe.yaml", text);
    snprintf(text, sizeof text, by, "/dev/zero");
    cli_write_text("by-zero.yaml", text);
    ASSERT_EQ(mkfifo(cli_path("pipe"), 0600), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("%s", rows[i].words);
        EXPECT_EQ(hvsim_under("ulimit -t 10", "%s", rows[i].words), 2);
        EXPECT_STRSTR(cli_err, rows[i].message);
        EXPECT_STREQ(cli_out, "");
    }
    cli_write_text("a.stream", GOOD_STREAM);
    cli_write_text("s.yaml", HEAD VMS);
    EXPECT_EQ(hvsim_under("{ cat s.yaml > pipe 2>/dev/null & }; sleep 0.2", "run pipe --print-resolved"), 0);
    EXPECT_STRSTR(cli_out, "a.stream");
}

// Root may read whatever the mode says; without its capabilities it is a user like others.
TEST(BadInput, WhatMayNotBeReadIsTold)
{
    static const char *const closed[] = {"s.yaml", "a.stream"};
    char command[1600], output[4096];

    for (size_t i = 0; i < 2; i++) {
        test_row("%s", closed[i]);
        cli_write_text("s.yaml", HEAD VMS);
        cli_write_text("a.stream", GOOD_STREAM);
        snprintf(command, sizeof command, "cd '%s' && chmod 0 %s && %s '%s/bin/hvsim' run s.yaml",
                 test_tmpdir(), closed[i],
                 geteuid() ? ""
                           : "chown 12345 s.yaml a.stream && setpriv --bounding-set=-all --inh-caps=-all",
                 test_build_dir());
        EXPECT_EQ(test_shell(command, output, sizeof output), 2);
        EXPECT_STRSTR(output, closed[i]);
        EXPECT_STRSTR(output, "Permission denied");
        EXPECT_EQ(unlink(cli_path(closed[i])), 0);
    }
}

TEST(BadInput, AnotherLibraryThanTheCoreIsRefused)
{
    cli_write_text("a.stream", GOOD_STREAM);
    cli_write_text("s.yaml", HEAD VMS);
    cli_write_text("text.so", "no library\n");
    static const char *const libraries[] = {"/nonexistent/libhv.so", "text.so", "."};

    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        test_row("%s", libraries[i]);
        EXPECT_EQ(hvsim("run s.yaml --hv %s", libraries[i]), 2);
        EXPECT_STRSTR(cli_err, libraries[i]);
        EXPECT_STREQ(cli_out, "");
    }
    // A real library of somebody else's.
    EXPECT_EQ(
        hvsim("run s.yaml --hv \"$(ldd '%s/bin/hvsim' | awk '/libsqlite3/ {print $3}')\"", test_build_dir()),
        2);
    EXPECT_STRSTR(cli_err, "libsqlite3");
    EXPECT_STREQ(cli_out, "");
}

TEST(BadInput, TracesThatAreNone)
{
    static const struct {
        const char *name, *bytes;
        size_t size;
        const char *message;
    } traces[] = {
        {"empty.txt", "", 0, "empty.txt is empty; expected the text of a KVM trace"},
        {"binary.dat", "\x17\x08\x44tracing\0\0\0\1\2\3", 17,
         "is not text; it is a trace.dat: run trace-cmd report on it first"},
        {"zeros.txt", "\0\0\0\0\0\0\0\0", 8, "is not text"},
        {"letter.txt", "Dear all,\nthe trace is attached.\n", 33, "no kvm_exit in 2 lines"},
    };

    for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
        test_row("%s", traces[i].name);
        cli_write(traces[i].name, traces[i].bytes, traces[i].size);
        EXPECT_EQ(hvsim("import %s -o out", traces[i].name), 2);
        EXPECT_STRSTR(cli_err, traces[i].message);
        EXPECT_STREQ(cli_out, "");
        EXPECT_NE(access(cli_path("out"), F_OK), 0);
    }
}
