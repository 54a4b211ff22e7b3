// SPDX-License-Identifier: Apache-2.0
/*
 * What tracing costs: bench_traces [EXITS [DATABASE]].
 *
 * Records a synthetic mix of a busy VM (per exit: the exit, two events, three spans, twenty calls; every
 * eighth exit a user-space one with its interrupt and lock) and prints nanoseconds per record for the
 * producer alone, for the digest, and with everything stored; rows a second; bytes a row.
 */

#include "traces/bench/mix.h"
#include "traces/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct measure {
    double wall, producer; // seconds until trace_run_end() returned; of these, in record functions
    struct trace_statistics statistics;
    struct trace_digest digest;
};

// Work in place of a simulator's: so many steps that the compiler cannot shorten.
static uint64_t work(uint32_t steps, uint64_t x)
{
    for (uint32_t i = 0; i < steps; i++)
        x = (x ^ x >> 13) * 0x9e3779b97f4a7c15u;
    return x;
}

static volatile uint64_t work_result;

static struct measure measure_mix(const struct trace_options *options, uint32_t exits, uint32_t steps)
{
    const struct trace_run_info info = {.scenario = "bench", .uarch = "none", .clock_khz = 2100000};
    struct trace_error error;
    struct measure m;
    struct mix mix;
    int64_t run;
    struct trace *t = trace_open(options, &error);

    if (!t) {
        fprintf(stderr, "bench_traces: %s\n%s\n", error.message, error.hint);
        exit(2);
    }
    mix_init(&mix, t);
    trace_run_begin(t, &info, &run, &error);
    double begin = seconds(CLOCK_MONOTONIC);

    for (uint32_t i = 0; i < exits; i++) {
        mix_exit(&mix);
        work_result = work(steps, i);
    }
    m.producer = seconds(CLOCK_MONOTONIC) - begin;
    if (trace_run_end(t, TRACE_COMPLETE, mix.tick, &m.digest, &error) != TRACE_OK)
        fprintf(stderr, "bench_traces: %s\n%s\n", error.message, error.hint);
    m.wall = seconds(CLOCK_MONOTONIC) - begin;
    m.statistics = trace_statistics(t);
    trace_close(t, &error);
    return m;
}

static void print_row(const char *name, const struct measure *m, uint32_t exits, const struct measure *base)
{
    char digest[TRACE_DIGEST_TEXT];

    trace_digest_text(m->digest, digest);
    printf("%-28s %10.0f %10.1f %10.1f %12.0f  %.8s\n", name, 1e9 * (m->wall - base->wall) / exits,
           1e9 * m->producer / (double)(m->statistics.records ? m->statistics.records : 1),
           1e9 * m->wall / (double)(m->statistics.records ? m->statistics.records : 1), exits / m->wall,
           digest);
}

// The share of wall time that tracing takes, next to a simulator of 5 us an exit.
static void bench_share(const char *path, uint32_t exits)
{
    const struct trace_options silent = {.silent = true};
    const struct {
        const char *name;
        enum trace_writer writer;
    } rows[] = {{"same thread", TRACE_WRITER_INLINE}, {"writer thread", TRACE_WRITER_THREAD}};
    double begin = seconds(CLOCK_MONOTONIC);

    work_result = work(10000000, 1);
    uint32_t steps = (uint32_t)(5e-6 / ((seconds(CLOCK_MONOTONIC) - begin) / 1e7));
    struct measure base = measure_mix(&silent, exits, steps);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trace_options options = trace_options_defaults(path);

        options.writer = rows[i].writer;
        struct measure m = measure_mix(&options, exits, steps);

        printf("beside %.1f us of simulation an exit, %s: %.0f exits/s, tracing is %.1f %% of wall time\n",
               1e6 * base.wall / exits, rows[i].name, exits / m.wall, 100 * (m.wall - base.wall) / m.wall);
    }
}

static void bench_digest(void)
{
    static uint64_t words[1 << 16];
    struct digest d;
    double begin = seconds(CLOCK_MONOTONIC);

    digest_init(&d, 0);
    for (int i = 0; i < 400; i++)
        for (size_t at = 0; at < sizeof words / 8; at += 8)
            digest_words(&d, words + at, 8);
    double took = seconds(CLOCK_MONOTONIC) - begin;
    struct trace_digest value = digest_value(&d);

    printf("digest alone: %.1f ns per record of 64 bytes (%.8" PRIx64 ")\n",
           took * 1e9 / (400.0 * sizeof words / 64), value.lo >> 32);
}

int main(int argc, char **argv)
{
    uint32_t exits = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 200000;
    const char *path = argc > 2 ? argv[2] : "";
    struct trace_options silent = {.silent = true}, digest = {.db_path = NULL};
    struct trace_options digest_thread = {.writer = TRACE_WRITER_THREAD};
    struct trace_options here = trace_options_defaults(path), thread = trace_options_defaults(path);

    here.writer = TRACE_WRITER_INLINE;
    thread.writer = TRACE_WRITER_THREAD;
    struct measure base = measure_mix(&silent, exits, 0);

    printf("%u exits; the mix itself takes %.0f ns an exit\n", exits, 1e9 * base.wall / exits);
    printf("%-28s %10s %10s %10s %12s  %s\n", "", "ns/exit", "ns/record", "ns/record", "exits/s", "digest");
    printf("%-28s %10s %10s %10s\n", "", "added", "producer", "to the end");
    struct measure m = measure_mix(&digest, exits, 0);

    print_row("digest only", &m, exits, &base);
    m = measure_mix(&digest_thread, exits, 0);
    print_row("digest only, writer thread", &m, exits, &base);
    m = measure_mix(&here, exits, 0);
    print_row("all stored, same thread", &m, exits, &base);
    m = measure_mix(&thread, exits, 0);
    print_row("all stored, writer thread", &m, exits, &base);
    printf("%.0f rows/s; %" PRIu64 " rows and %" PRIu64 " calls in %" PRIu64 " bytes: %.1f bytes a row\n",
           (double)m.statistics.rows / m.wall, m.statistics.rows, m.statistics.calls, m.statistics.bytes,
           (double)m.statistics.bytes / (double)(m.statistics.rows + m.statistics.calls));
    bench_digest();
    bench_share(path, exits);
    return 0;
}
