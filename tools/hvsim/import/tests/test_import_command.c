// SPDX-License-Identifier: Apache-2.0
// The command as a user meets it: exit status, messages, files, and what is left alone.
#include "sim/scenario/stream.h"
#include "spec/exit_reasons.h"
#include "tests/shim/shim.h"
#include "tools/hvsim/import/import.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct words {
    const char *at[12];
};

static void run_import(void *argument)
{
    char *argv[12], text[12][512];
    int argc = 0;
    for (const struct words *words = argument; words->at[argc] != NULL; argc++) {
        (void)snprintf(text[argc], sizeof(text[argc]), "%s", words->at[argc]);
        argv[argc] = text[argc];
    }
    exit(import_main(argc, argv));
}

static char output[65536];

static int import(struct words words)
{
    return test_exit_status(run_import, &words, output, sizeof(output));
}

static const char *path_of(const char *name)
{
    static char paths[4][600];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", test_tmpdir(), name);
    return path;
}

static const char *write_file(const char *name, const char *text, size_t size)
{
    const char *path = path_of(name);
    FILE *file = fopen(path, "wb");
    EXPECT_TRUE(file != NULL);
    if (file != NULL) {
        EXPECT_EQ(fwrite(text, 1, size, file), size);
        (void)fclose(file);
    }
    return path;
}

static const char *fixture(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof(path), "%s/tests/fixtures/traces/%s", test_source_dir(), name);
    return path;
}

static bool read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    text[fread(text, 1, size - 1, file)] = 0;
    (void)fclose(file);
    return true;
}

static unsigned files_in(const char *folder)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return count;
}

TEST(ImportCommand, BadUseIsStatusTwo)
{
    static const struct {
        struct words words;
        const char *message;
    } rows[] = {
        {{{"import"}}, "which FILE?"},
        {{{"import", "a", "b"}}, "more than one FILE: b"},
        {{{"import", "--strickt", "a"}}, "unknown option --strickt; did you mean --strict?"},
        {{{"import", "--zzz", "a"}}, "see hvsim import --help"},
        {{{"import", "a", "-o"}}, "-o needs a value"},
        {{{"import", "a", "-o", ""}}, "-o needs a value"},
        {{{"import", "a", "--uarch", "../x y"}}, "--uarch: no such name"},
        {{{"import", "/nonexistent/trace"}}, "/nonexistent/trace: No such file or directory"},
        {{{"import", "/"}}, "is a folder; expected the text of a KVM trace"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows)[0]; i++) {
        test_row("row %zu", i);
        EXPECT_EQ(import(rows[i].words), 2);
        EXPECT_STRSTR(output, rows[i].message);
    }
    EXPECT_EQ(import((struct words){{"import", "--help"}}), 0);
    EXPECT_STRSTR(output, "usage: hvsim import FILE");
}

TEST(ImportCommand, WhatIsNoTraceIsToldAtOnce)
{
    static const struct {
        const char *text;
        size_t size;
        const char *message;
    } rows[] = {
        {"", 0, "is empty; expected the text of a KVM trace"},
        {"\x7f"
         "ELF\0\0\1\2",
         8, "is not text; expected the output of trace-cmd report"},
        {"\x17\x08\x44tracing6\0\0\0", 14, "run trace-cmd report on it first"},
        {"PERFILE2h\0\0\0", 12, "run perf script on it first"},
        {"hello\nworld\n", 12, "no kvm_exit in 2 lines"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows)[0]; i++) {
        test_row("row %zu", i);
        const char *file = write_file("input", rows[i].text, rows[i].size);
        EXPECT_EQ(import((struct words){{"import", file, "-o", path_of("out")}}), 2);
        EXPECT_STRSTR(output, rows[i].message);
        EXPECT_EQ(files_in(path_of("out")), 0);
    }
}

TEST(ImportCommand, WritesAScenarioAndItsStreams)
{
    char text[4096];
    EXPECT_EQ(import((struct words){
                  {"import", fixture("two-vms.txt"), "-o", path_of("a/b"), "--uarch", "sandybridge-ep"}}),
              0);
    EXPECT_EQ(files_in(path_of("a/b")), 5);
    EXPECT_STRSTR(output, "next: hvsim run ");
    ASSERT_TRUE(read_file(path_of("a/b/two-vms.yaml"), text, sizeof(text)));
    EXPECT_STREQ(text, "# Written by hvsim import.\n"
                       "scenario: imported-two-vms\n"
                       "about: 4 recorded exits of 4 vCPUs in 2 VMs.\n"
                       "source: \"two-vms.txt, 8 lines, 0.000015 s\"\n"
                       "machine: { arch: x86, uarch: sandybridge-ep, cpus: 4, memory: 5GiB }\n"
                       "vms:\n"
                       "  - name: vm0\n"
                       "    memory: 1GiB\n"
                       "    vcpus:\n"
                       "      - { stream: two-vms-vm0-vcpu0.stream, pcpu: 0 }\n"
                       "      - { stream: two-vms-vm0-vcpu1.stream, pcpu: 1 }\n"
                       "  - name: vm1\n"
                       "    memory: 1GiB\n"
                       "    vcpus:\n"
                       "      - { stream: two-vms-vm1-vcpu0.stream, pcpu: 2 }\n"
                       "      - { stream: two-vms-vm1-vcpu1.stream, pcpu: 3 }\n"
                       "recorded:\n"
                       "  - { reason: CPUID, count: 1, p50_ns: 0, p99_ns: 0 }\n"
                       "  - { reason: INVD, count: 1, p50_ns: 0, p99_ns: 0 }\n"
                       "  - { reason: RDTSC, count: 1, p50_ns: 0, p99_ns: 0 }\n"
                       "  - { reason: WBINVD, count: 1, p50_ns: 0, p99_ns: 0 }\n");
    // Again is fine: the files are its own.
    EXPECT_EQ(import((struct words){{"import", fixture("two-vms.txt"), "-o", path_of("a/b")}}), 0);
    EXPECT_EQ(import((struct words){{"import", fixture("two-vms.txt"), "-o", path_of("one"), "--vm", "vm1"}}),
              0);
    EXPECT_EQ(files_in(path_of("one")), 3);
    EXPECT_EQ(
        import((struct words){{"import", fixture("two-vms.txt"), "-o", path_of("none"), "--vm", "vm7"}}), 2);
    EXPECT_STRSTR(output, "no exit of this recording can be replayed for that --vm");
    EXPECT_EQ(files_in(path_of("none")), 0);
}

TEST(ImportCommand, FilesOfOthersAreNotTouched)
{
    char text[100];
    (void)mkdir(path_of("out"), 0777);
    (void)write_file("out/eoi-vm0-vcpu0.stream", "mine\n", 5);
    EXPECT_EQ(import((struct words){{"import", fixture("eoi.txt"), "-o", path_of("out")}}), 2);
    EXPECT_STRSTR(output, "was not written by hvsim import; move it away or give --force");
    ASSERT_TRUE(read_file(path_of("out/eoi-vm0-vcpu0.stream"), text, sizeof(text)));
    EXPECT_STREQ(text, "mine\n");
    EXPECT_EQ(files_in(path_of("out")), 1);
    EXPECT_EQ(import((struct words){{"import", fixture("eoi.txt"), "-o", path_of("out"), "--force"}}), 0);
    EXPECT_EQ(files_in(path_of("out")), 2);
}

TEST(ImportCommand, FoldersThatCannotBeMadeAreTold)
{
    (void)write_file("file", "x", 1);
    EXPECT_EQ(import((struct words){{"import", fixture("eoi.txt"), "-o", path_of("file/out")}}), 2);
    EXPECT_STRSTR(output, "the folder cannot be made");
}

static void run_import_without_room(void *argument)
{
    struct rlimit none = {64, 64}; // Bytes in a file: what a full disk does, without one.
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)setrlimit(RLIMIT_FSIZE, &none);
    run_import(argument);
}

TEST(ImportCommand, AFullDiskIsToldAndLeavesNothing)
{
    struct words words = {{"import", fixture("trace-cmd.txt"), "-o", path_of("out")}};
    // Its messages go through a pipe, which the limit does not concern.
    int status = test_exit_status(run_import_without_room, &words, output, sizeof(output));
    EXPECT_EQ(status, 2);
    EXPECT_EQ(files_in(path_of("out")), 0);
}

TEST(ImportCommand, StrictStopsAtTheFirstBadLineAndWritesNothing)
{
    EXPECT_EQ(import((struct words){{"import", fixture("bad-lines.txt"), "-o", path_of("out"), "--strict"}}),
              2);
    EXPECT_STRSTR(output, "bad-lines.txt:2: ");
    EXPECT_STRSTR(output, "--strict stops");
    EXPECT_EQ(files_in(path_of("out")), 0);
    EXPECT_EQ(import((struct words){{"import", fixture("svm.txt"), "-o", path_of("out"), "--strict"}}), 2);
    EXPECT_STRSTR(output, "svm.txt:13: no replay guest can cause this exit");
    EXPECT_EQ(import((struct words){{"import", fixture("bad-lines.txt"), "-o", path_of("out")}}), 0);
    EXPECT_STRSTR(output, "5 lines could not be read");
}

TEST(ImportCommand, Arm64IsSummedUpAndRefused)
{
    EXPECT_EQ(import((struct words){{"import", fixture("arm64.txt"), "-o", path_of("out")}}), 2);
    EXPECT_STRSTR(output, "SYS64");
    EXPECT_STRSTR(output, "only x86 recordings (VMX, SVM) can be replayed");
    EXPECT_EQ(files_in(path_of("out")), 0);
}

// How often each op comes in a stream, by the exit that it causes.
static void count_op(const struct replay_op *op, unsigned *counts)
{
    static const struct {
        enum replay_op_kind kind;
        enum exit_reason reason;
    } causes[] = {
        {REPLAY_WRMSR, EXIT_REASON_MSR_WRITE},         {REPLAY_HLT, EXIT_REASON_HLT},
        {REPLAY_READ, EXIT_REASON_EPT_MISCONFIG},      {REPLAY_WRITE, EXIT_REASON_EPT_MISCONFIG},
        {REPLAY_INTR, EXIT_REASON_EXTERNAL_INTERRUPT}, {REPLAY_EOI, EXIT_REASON_EOI_INDUCED},
    };
    if (op->kind == REPLAY_AWAIT) {
        counts[op->args[0]]++;
    }
    for (size_t i = 0; i < sizeof(causes) / sizeof(causes)[0]; i++) {
        if (op->kind == causes[i].kind) {
            counts[causes[i].reason]++;
        }
    }
}

// The shared recording lies outside of the project, so its absence is no failure.
TEST(ImportCommand, ARecordingOfARealHostKeepsEveryExit)
{
    char path[1100];
    const char *shared = getenv("HVSIM_SHARED");
    (void)snprintf(path, sizeof(path), "%s%s/kvm-traces/x86-vmx-halt-poll.txt",
                   shared != NULL ? shared : test_source_dir(), shared != NULL ? "" : "/../shared");
    if (access(path, R_OK) != 0) {
        test_skip("no recording: set HVSIM_SHARED to the folder that holds kvm-traces/");
    }
    EXPECT_EQ(import((struct words){{"import", path, "-o", path_of("out"), "--strict"}}), 0);
    static const struct stream_target target = {.clock_khz = 2100000, .tsc_khz = 2100000};
    struct stream_set set;
    struct stream_error error;
    unsigned counts[EXIT_REASON_COUNT] = {0};
    bool good = stream_load(path_of("out/x86-vmx-halt-poll-vm0-vcpu0.stream"), &target, &set, &error);
    EXPECT_STREQ(error.text, "");
    ASSERT_TRUE(good);
    for (uint32_t i = 0; i < set.programs[0].op_count; i++) {
        count_op(&set.programs[0].ops[i], counts);
    }
    EXPECT_EQ(counts[EXIT_REASON_MSR_WRITE], 506);
    EXPECT_EQ(counts[EXIT_REASON_HLT], 217);
    EXPECT_EQ(counts[EXIT_REASON_EPT_MISCONFIG], 66);
    EXPECT_EQ(counts[EXIT_REASON_PREEMPTION_TIMER], 13);
    EXPECT_EQ(counts[EXIT_REASON_EXTERNAL_INTERRUPT], 5);
    EXPECT_EQ(counts[EXIT_REASON_EOI_INDUCED], 3);
    stream_free(&set);
}
