// SPDX-License-Identifier: Apache-2.0
/*
 * bench_import [MEGABYTES [FOLDER]]: speed and memory of `hvsim import` on a generated recording.
 *
 * Two shapes: "all events" (one line in ten is KVM's, as of trace-cmd record -e all) and "kvm only" (every
 * line). Fails if the importer's memory passes 64 MiB or an exit is lost.
 */
#include "tools/hvsim/import/import.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RSS_MAX_KIB (64 * 1024)

static void put_stamp(FILE *to, unsigned vcpu, uint64_t us)
{
    (void)fprintf(to, " CPU %u/KVM-%u [%03u] %6" PRIu64 ".%06" PRIu64 ": ", vcpu, 1000 + vcpu, vcpu,
                  us / 1000000, us % 1000000);
}

static void put_noise(FILE *to, unsigned vcpu, uint64_t us, unsigned lines)
{
    for (unsigned i = 0; i < lines; i++) {
        put_stamp(to, vcpu, us);
        (void)fprintf(to,
                      "sched_stat_runtime:   comm=worker pid=%u runtime=%u [ns] vruntime=83021915%u [ns]\n",
                      i, i * 31, i * 7);
    }
}

// Writes about `bytes` and returns the number of exits.
static uint64_t generate(const char *path, uint64_t bytes, unsigned noise)
{
    FILE *to = fopen(path, "wb");
    uint64_t exits = 0;
    for (uint64_t us = 5000000; to != NULL && (uint64_t)ftell(to) < bytes; us += 20) {
        unsigned vcpu = (unsigned)(exits % 8);
        put_noise(to, vcpu, us, noise);
        put_stamp(to, vcpu, us);
        (void)fprintf(to, "kvm_exit:             reason MSR_WRITE rip 0xffffffff81000020 info 0 0\n");
        put_stamp(to, vcpu, us + 1);
        (void)fprintf(to, "kvm_msr:              msr_write 6e0 = 0x%" PRIx64 "\n", us * 2000 + 900000);
        put_noise(to, vcpu, us, noise);
        put_stamp(to, vcpu, us + 2);
        (void)fprintf(to, "kvm_entry:             vcpu %u rip 0xffffffff81000022\n", vcpu);
        exits++;
    }
    if (to == NULL || ferror(to) || fclose(to) != 0) {
        perror(path);
        exit(2);
    }
    return exits;
}

static uint64_t ms_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t count_ops(const char *folder)
{
    uint64_t ops = 0;
    for (unsigned vcpu = 0; vcpu < 8; vcpu++) {
        char path[600], line[1024];
        (void)snprintf(path, sizeof(path), "%s/out/trace-vm0-vcpu%u.stream", folder, vcpu);
        FILE *file = fopen(path, "rb");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            ops += strstr(line, "wrmsr ") != NULL;
        }
        if (file != NULL) {
            (void)fclose(file);
        }
    }
    return ops;
}

static bool measure(const char *shape, const char *folder, uint64_t bytes, unsigned noise)
{
    char path[512], out[512];
    (void)snprintf(path, sizeof(path), "%s/trace.txt", folder);
    (void)snprintf(out, sizeof(out), "%s/out", folder);
    uint64_t exits = generate(path, bytes, noise), begin = ms_now();
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {(char[]){"import"}, path, (char[]){"-o"}, out, NULL};
        (void)!freopen("/dev/null", "w", stdout);
        _exit(import_main(4, argv));
    }
    int status = 1;
    struct rusage usage = {0};
    (void)wait4(child, &status, 0, &usage);
    uint64_t ms = ms_now() - begin + 1, ops = count_ops(folder);
    bool good = status == 0 && usage.ru_maxrss < RSS_MAX_KIB && ops == exits;
    (void)printf("%-10s %6" PRIu64 " MiB %9" PRIu64 " exits %7" PRIu64 " ms %5" PRIu64
                 " MB/s  rss %ld KiB  %s\n",
                 shape, bytes >> 20, exits, ms, bytes / 1000 / ms, usage.ru_maxrss, good ? "ok" : "FAILED");
    return good;
}

int main(int argc, char **argv)
{
    uint64_t bytes = (argc > 1 ? strtoull(argv[1], NULL, 10) : 200) << 20;
    char folder[256] = "/tmp/bench_import.XXXXXX", command[400];
    if (argc > 2) {
        (void)snprintf(folder, sizeof(folder), "%s/bench_import.XXXXXX", argv[2]);
    }
    if (bytes == 0 || mkdtemp(folder) == NULL) {
        (void)fprintf(stderr, "usage: bench_import [MEGABYTES [FOLDER]]\n");
        return 2;
    }
    bool good = measure("all events", folder, bytes, 10);
    good = measure("kvm only", folder, bytes, 0) && good;
    (void)snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command) == 0 && good ? 0 : 1;
}
