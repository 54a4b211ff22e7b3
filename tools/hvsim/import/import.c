// SPDX-License-Identifier: Apache-2.0
// The command: options, the loop over lines with progress, the summary.
#include "tools/hvsim/import/import.h"

#include "sim/scenario/input.h"
#include "sim/scenario/stream.h"
#include "tools/hvsim/import/lines.h"
#include "tools/hvsim/import/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_INPUT = 2, EXIT_INTERRUPTED = 130 };

struct options {
    const char *file, *folder, *only_vm, *uarch;
    bool strict, force, help;
};

static const char usage[] =
    "usage: hvsim import FILE [-o DIR] [--strict] [--vm NAME] [--uarch NAME] [--force]\n"
    "\n"
    "Turns a recorded KVM trace (text of trace-cmd report, perf script or ftrace) into a scenario with one\n"
    "stream for each vCPU. FILE is - for standard input.\n"
    "\n"
    "  -o DIR        where the files go (default: imported)\n"
    "  --strict      stop with status 2 at the first line that cannot be read or exit that cannot be "
    "replayed\n"
    "  --vm NAME     only this VM: vm0, vm1..., or the task name of its vCPU threads\n"
    "  --uarch NAME  micro-architecture of the simulated processors (default: skylake-sp)\n"
    "  --force       replace files which hvsim import did not write\n"
    "  --help        this text\n"
    "\n"
    "docs/importing.md tells how events become a guest program and which defaults are used.\n";

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static int complain(const char *text, const char *what)
{
    (void)fprintf(stderr, "hvsim import: %s%s\n", text, what);
    return EXIT_INPUT;
}

// The value of an option that has one, or NULL after a message.
static const char *value_of(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc || argv[*at + 1][0] == 0) {
        (void)fprintf(stderr, "hvsim import: %s needs a value; see hvsim import --help\n", argv[*at]);
        return NULL;
    }
    return argv[++*at];
}

static bool is_name(const char *text)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return text[size] == 0 && size > 0 && size < 64;
}

static int unknown_option(const char *word)
{
    static const char *const known[] = {"-o", "--strict", "--vm", "--uarch", "--force", "--help"};
    struct stream_nearest nearest;
    stream_nearest_begin(&nearest, span_of(word, strlen(word)));
    for (size_t i = 0; i < sizeof(known) / sizeof(known)[0]; i++) {
        stream_nearest_offer(&nearest, span_of(known[i], strlen(known[i])));
    }
    if (nearest.best.size > 0) {
        (void)fprintf(stderr, "hvsim import: unknown option %s; did you mean %.*s?\n", word,
                      (int)nearest.best.size, nearest.best.at);
    } else {
        (void)fprintf(stderr, "hvsim import: unknown option %s; see hvsim import --help\n", word);
    }
    return EXIT_INPUT;
}

static int read_options(int argc, char **argv, struct options *options)
{
    *options = (struct options){.folder = "imported", .uarch = "skylake-sp"};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], **value = NULL;
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            options->help = true;
        } else if (strcmp(word, "--strict") == 0) {
            options->strict = true;
        } else if (strcmp(word, "--force") == 0) {
            options->force = true;
        } else if (strcmp(word, "-o") == 0) {
            value = &options->folder;
        } else if (strcmp(word, "--vm") == 0) {
            value = &options->only_vm;
        } else if (strcmp(word, "--uarch") == 0) {
            value = &options->uarch;
        } else if (word[0] == '-' && word[1] != 0) {
            return unknown_option(word);
        } else if (options->file != NULL) {
            return complain("more than one FILE: ", word);
        } else {
            options->file = word;
        }
        if (value != NULL && (*value = value_of(argc, argv, &i)) == NULL) {
            return EXIT_INPUT;
        }
    }
    if (options->file == NULL && !options->help) {
        return complain("which FILE? ", "see hvsim import --help");
    }
    return is_name(options->uarch) ? EXIT_DONE : complain("--uarch: no such name: ", options->uarch);
}

struct progress {
    bool terminal, shown;
    uint64_t total_bytes; // 0: not known.
    struct timespec begin, last;
};

static uint64_t ms_between(const struct timespec *a, const struct timespec *b)
{
    return (uint64_t)((b->tv_sec - a->tv_sec) * 1000 + (b->tv_nsec - a->tv_nsec) / 1000000);
}

// On a terminal one line that is written over twice a second; elsewhere a line every five seconds.
static void show_progress(struct progress *progress, uint64_t bytes, uint64_t exits)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (ms_between(&progress->begin, &now) < 1000 ||
        (progress->shown && ms_between(&progress->last, &now) < (progress->terminal ? 500 : 5000))) {
        return;
    }
    progress->last = now;
    progress->shown = true;
    (void)fprintf(stderr, "%shvsim import: %" PRIu64 " MiB", progress->terminal ? "\r" : "", bytes >> 20);
    if (progress->total_bytes > 0) {
        (void)fprintf(stderr, " of %" PRIu64 " MiB (%" PRIu64 " %%)", progress->total_bytes >> 20,
                      bytes * 100 / progress->total_bytes);
    }
    (void)fprintf(stderr, ", %" PRIu64 " exits%s", exits, progress->terminal ? " " : "\n");
}

static void end_progress(struct progress *progress)
{
    if (progress->shown && progress->terminal) {
        (void)fputc('\n', stderr);
    }
}

struct bad_line_context {
    const char *file;
};

static void show_bad_line(void *context, uint64_t line, const char *why)
{
    const struct bad_line_context *bad = context;
    (void)fprintf(stderr, "%s:%" PRIu64 ": %s\n", bad->file, line, why);
}

// An empty or binary file is told at once.
static bool looks_like_text(struct lines *lines, const char *file)
{
    struct span head = lines_peek(lines, 65536);
    if (lines->error != 0) {
        (void)fprintf(stderr, "hvsim import: %s: %s\n", file, strerror(lines->error));
        return false;
    }
    if (head.size == 0) {
        (void)fprintf(stderr, "hvsim import: %s is empty; expected the text of a KVM trace\n", file);
        return false;
    }
    size_t odd = 0;
    for (size_t i = 0; i < head.size; i++) {
        unsigned char c = (unsigned char)head.at[i];
        odd += c < 0x20 && c != '\n' && c != '\r' && c != '\t';
    }
    if (memchr(head.at, 0, head.size) != NULL || odd > head.size / 20) {
        bool dat = head.size > 10 && memcmp(head.at, "\x17\x08\x44tracing", 10) == 0;
        bool perf = head.size > 8 && memcmp(head.at, "PERFILE2", 8) == 0;
        (void)fprintf(stderr, "hvsim import: %s is not text; %s\n", file,
                      dat    ? "it is a trace.dat: run trace-cmd report on it first"
                      : perf ? "it is a perf.data: run perf script on it first"
                             : "expected the output of trace-cmd report, perf script or ftrace's trace file");
        return false;
    }
    return true;
}

static void read_all(struct lines *lines, struct recording *recording, struct progress *progress)
{
    struct span line;
    uint64_t next_look = 0;
    while (!interrupted && lines_next(lines, &line) && recording_line(recording, line)) {
        if (lines->bytes >= next_look) {
            next_look = lines->bytes + (16u << 20);
            show_progress(progress, lines->bytes, recording->exits);
        }
    }
    end_progress(progress);
}

static void print_table(struct recording *recording)
{
    (void)printf("%-24s %12s %12s %12s %10s %8s\n", "reason", "count", "p50 ns", "p99 ns", "defaults",
                 "skipped");
    for (unsigned i = 0; i < recording->stats.row_count; i++) {
        const struct reason_stats *row = &recording->stats.rows[i];
        (void)printf("%-24s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %10" PRIu64 " %8" PRIu64 "\n",
                     row->name, row->count, stats_percentile_ns(&recording->stats, row, 50),
                     stats_percentile_ns(&recording->stats, row, 99), row->defaulted, row->skipped);
    }
}

static void print_note(uint64_t count, const char *text)
{
    if (count > 0) {
        (void)printf("  %" PRIu64 " %s\n", count, text);
    }
}

static void print_notes(const struct recording *recording, const struct lines *lines)
{
    struct vcpu sum = {0};
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct vcpu *v = &recording->vcpus[i]->vcpu;
        sum.lost_entries += v->lost_entries;
        sum.lost_exits += v->lost_exits;
        sum.gaps_defaulted += v->gaps_defaulted;
        sum.gaps_cut += v->gaps_cut;
        sum.timers_moved += v->timers_moved;
        sum.folded += v->folded;
        sum.nested += v->nested;
    }
    print_note(recording->bad_lines, "lines could not be read");
    print_note(lines->cut_count, "lines were longer than 64 KiB and were cut");
    print_note(recording->untimed, "events without a time: 1 us after the one before");
    print_note(sum.lost_entries, "exits without kvm_entry: their handling time is unknown");
    print_note(sum.lost_exits, "kvm_entry without kvm_exit: those exits are lost");
    print_note(sum.gaps_defaulted, "gaps of guest time not recorded: 1 us");
    print_note(sum.gaps_cut, "gaps longer than an hour: cut to an hour");
    print_note(sum.timers_moved, "timer deadlines set later: what woke the vCPU arrived with another event");
    print_note(sum.folded, "guest addresses beyond the scenario's 1 GiB: folded into it");
    print_note(sum.nested, "exits of nested guests: replayed as the vCPU's own");
    print_note(recording->stats.overflow, "exits of more than 160 different reasons: not in the table");
}

static void print_files(const struct output *output, const struct recording *recording,
                        const struct options *options)
{
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct recorded_vcpu *v = recording->vcpus[i];
        char name[OUTPUT_NAME_MAX + 64];
        if (v->vcpu.ops > 0 && output_selects(v, options->only_vm)) {
            output_stream_name(output, &v->vcpu, name, sizeof(name));
            (void)printf("wrote %s/%s (%" PRIu64 " ops%s)\n", output->folder, name, v->vcpu.ops,
                         v->vcpu.ops > STREAM_OPS_MAX ? ": more than a run accepts; split the recording"
                                                      : "");
        }
    }
    (void)printf("wrote %s/%s.yaml\nnext: hvsim run %s/%s.yaml\n", output->folder, output->name,
                 output->folder, output->name);
}

// The recording is read: what came of it.
static int conclude(struct recording *recording, struct lines *lines, struct output *output,
                    const struct options *options)
{
    if (lines->error != 0) {
        (void)fprintf(stderr, "hvsim import: %s: %s\n", options->file, strerror(lines->error));
        return EXIT_INPUT;
    }
    if (!recording_finish(recording)) {
        return complain(output->error[0] != 0 ? output->error : recording->stop_why, "");
    }
    if (recording->exits == 0) {
        (void)fprintf(stderr, "hvsim import: %s: no kvm_exit in %" PRIu64 " lines; is this a KVM trace?\n",
                      options->file, lines->count);
        return EXIT_INPUT;
    }
    stats_sort(&recording->stats);
    print_table(recording);
    print_notes(recording, lines);
    if (recording->arm64_exits > 0) {
        return complain("this is an arm64 recording; ", "only x86 recordings (VMX, SVM) can be replayed");
    }
    struct output_scenario scenario = {options->file, lines->count, options->uarch, options->only_vm};
    unsigned written;
    if (!output_commit(output, recording, &scenario, &written)) {
        return complain(output->error, "");
    }
    print_files(output, recording, options);
    return EXIT_DONE;
}

static int import_lines(struct lines *lines, struct recording *recording, struct output *output,
                        const struct options *options)
{
    struct bad_line_context bad = {options->file};
    struct progress progress = {.terminal = isatty(STDERR_FILENO) != 0};
    struct stat info;
    (void)clock_gettime(CLOCK_MONOTONIC, &progress.begin);
    if (fstat(lines->fd, &info) == 0 && S_ISREG(info.st_mode)) {
        progress.total_bytes = (uint64_t)info.st_size;
    }
    recording->strict = options->strict;
    recording->complain = show_bad_line;
    recording->complain_context = &bad;
    read_all(lines, recording, &progress);
    if (interrupted) {
        (void)complain("interrupted; nothing was written", "");
        return EXIT_INTERRUPTED;
    }
    return conclude(recording, lines, output, options);
}

// Owns everything that has to be given back.
static int import_file(int fd, const struct options *options)
{
    struct lines lines;
    struct recording *recording = malloc(sizeof(*recording));
    struct output *output = calloc(1, sizeof(*output));
    int status = EXIT_INPUT;
    if (recording == NULL || output == NULL || !lines_begin(&lines, fd)) {
        free(recording);
        free(output);
        return complain("not enough memory", "");
    }
    if (!looks_like_text(&lines, options->file)) {
        status = EXIT_INPUT;
    } else if (!output_begin(output, options->folder, options->file, options->force)) {
        status = complain(output->error, "");
    } else if (!recording_begin(recording, output_stream_text, output)) {
        status = complain("not enough memory", "");
    } else {
        status = import_lines(&lines, recording, output, options);
        recording_end(recording);
    }
    output_end(output);
    lines_end(&lines);
    free(recording);
    free(output);
    return status;
}

int import_main(int argc, char **argv)
{
    struct options options;
    int status = read_options(argc, argv, &options);
    if (status != EXIT_DONE) {
        return status;
    }
    if (options.help) {
        (void)fputs(usage, stdout);
        return EXIT_DONE;
    }
    bool standard = strcmp(options.file, "-") == 0;
    const char *why;
    int fd = standard ? STDIN_FILENO : input_open(options.file, &why);
    if (fd < 0) {
        (void)fprintf(stderr, "hvsim import: %s: %s; expected the text of a KVM trace\n", options.file, why);
        return EXIT_INPUT;
    }
    struct sigaction action = {.sa_handler = on_interrupt}, before_int, before_term;
    interrupted = 0;
    (void)sigaction(SIGINT, &action, &before_int);
    (void)sigaction(SIGTERM, &action, &before_term);
    status = import_file(fd, &options);
    (void)sigaction(SIGINT, &before_int, NULL);
    (void)sigaction(SIGTERM, &before_term, NULL);
    if (!standard) {
        (void)close(fd);
    }
    return status;
}
