// SPDX-License-Identifier: Apache-2.0
#include "tools/hvsim/import/output.h"

#include "sim/scenario/stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "# Written by hvsim import."

static bool fail(struct output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct output *output, const char *format, ...)
{
    if (output->error[0] == 0) {
        va_list list;
        va_start(list, format);
        (void)vsnprintf(output->error, sizeof(output->error), format, list);
        va_end(list);
    }
    return false;
}

// "dir/x86 trace.txt.gz" -> "x86-trace"
static void scenario_name(const char *path, char *name)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    if (strcmp(path, "-") == 0 || base[0] == 0) {
        base = "stdin";
    }
    size_t size = 0;
    for (const char *c = base; *c != 0 && (*c != '.' || c == base) && size < OUTPUT_NAME_MAX - 1; c++) {
        bool good =
            (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_';
        name[size++] = good ? *c : '-';
    }
    name[size] = 0;
}

static bool make_folders(struct output *output)
{
    char path[sizeof(output->folder)];
    (void)snprintf(path, sizeof(path), "%s", output->folder);
    for (char *c = path + 1; c[-1] != 0; c++) {
        if (*c != '/' && *c != 0) {
            continue;
        }
        char kept = *c;
        *c = 0;
        bool made = mkdir(path, 0777) == 0;
        if (!made && errno != EEXIST) {
            return fail(output, "%.3000s: the folder cannot be made: %s", path, strerror(errno));
        }
        *c = kept;
        if (kept == 0) {
            output->made_folder = made;
            break;
        }
    }
    return true;
}

bool output_begin(struct output *output, const char *folder, const char *path, bool force)
{
    memset(output, 0, sizeof(*output));
    output->force = force;
    scenario_name(path, output->name);
    if (folder[0] == 0 || strlen(folder) >= sizeof(output->folder) - 32) {
        return fail(output, "-o: expected the path of a folder, not an empty or endless one");
    }
    (void)snprintf(output->folder, sizeof(output->folder), "%s", folder);
    if (!make_folders(output)) {
        return false;
    }
    (void)snprintf(output->hidden, sizeof(output->hidden), "%s/.hvsim-import-XXXXXX", output->folder);
    if (mkdtemp(output->hidden) == NULL) {
        output->hidden[0] = 0;
        return fail(output, "%.3000s: no files can be made in this folder: %s", output->folder,
                    strerror(errno));
    }
    return true;
}

void output_stream_name(const struct output *output, const struct vcpu *vcpu, char *name, size_t size)
{
    (void)snprintf(name, size, "%s-vm%u-vcpu%d.stream", output->name, vcpu->vm, vcpu->id);
}

// Before its vCPU has a number a stream is known by where its record is.
static void part_path(const struct output *output, const struct vcpu *vcpu, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%p.part", output->hidden, (const void *)vcpu);
}

static bool append(struct output *output, const char *path, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    size_t done = 0;
    while (fd >= 0 && done < size) {
        ssize_t put = write(fd, text + done, size - done);
        if (put < 0 && errno != EINTR) {
            break;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    int error = errno;
    if (fd >= 0 && close(fd) != 0 && done == size) {
        error = errno;
        done = 0;
    }
    return (fd >= 0 && done == size) ||
           fail(output, "%.3000s: writing failed: %s", output->folder, strerror(error));
}

// Files are opened for each piece: a recording may have more vCPUs than a process may have open files.
bool output_stream_text(void *context, struct vcpu *vcpu, const char *text, size_t size)
{
    struct output *output = context;
    char path[OUTPUT_PATH_MAX];
    part_path(output, vcpu, path, sizeof(path));
    static const char header[] =
        STREAM_MAGIC "\n" MARK "\n# Gaps are recorded guest time; rec= is recorded handling, from kvm_exit "
                     "to kvm_entry. Both have the\n"
                     "# resolution of the trace's clock (usually 1 us) and hold the cost of tracing.\n";
    if (vcpu->output == NULL) {
        vcpu->output = output;
        if (!append(output, path, header, sizeof(header) - 1)) {
            return false;
        }
    }
    return append(output, path, text, size);
}

bool output_selects(const struct recorded_vcpu *v, const char *only_vm)
{
    char name[24];
    (void)snprintf(name, sizeof(name), "vm%u", v->vcpu.vm);
    return only_vm == NULL || strcmp(only_vm, name) == 0 || strcmp(only_vm, v->task) == 0;
}

static bool has_stream(const struct recorded_vcpu *v, const char *only_vm)
{
    return v->vcpu.ops > 0 && output_selects(v, only_vm);
}

// A file that is there already must carry our mark in its first lines.
static bool may_replace(struct output *output, const char *path)
{
    char text[256];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return errno == ENOENT || output->force || fail(output, "%.3000s: %s", path, strerror(errno));
    }
    size_t size = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    return output->force || memmem(text, size, MARK, sizeof(MARK) - 1) != NULL ||
           fail(output,
                "%.3000s is there already and was not written by hvsim import; move it away or give --force",
                path);
}

// In double quotes, as YAML wants it.
static void put_quoted(FILE *to, const char *text)
{
    (void)fputc('"', to);
    for (const char *c = text; *c != 0; c++) {
        if (*c == '"' || *c == '\\') {
            (void)fprintf(to, "\\%c", *c);
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            (void)fprintf(to, "\\x%02x", (unsigned)*c);
        } else {
            (void)fputc(*c, to);
        }
    }
    (void)fputc('"', to);
}

// Device pages that the recorded host knew already, for a reader who wonders about a first access.
static void write_mmio_pages(FILE *to, const struct recording *recording, unsigned vm)
{
    uint64_t pages[256];
    unsigned count = 0;
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct vcpu *v = &recording->vcpus[i]->vcpu;
        for (unsigned k = 0; v->vm == vm && k < v->mmio_page_count; k++) {
            unsigned at = 0;
            while (at < count && pages[at] != v->mmio_pages[k]) {
                at++;
            }
            if (at == count && count < sizeof(pages) / sizeof(pages)[0]) {
                pages[count++] = v->mmio_pages[k];
            }
        }
    }
    for (unsigned i = 0; i < count; i++) {
        (void)fprintf(to, "%s0x%" PRIx64, i == 0 ? "    # device pages (EPT_MISCONFIG): " : " ",
                      pages[i] << 12);
    }
    (void)fputs(count > 0 ? "\n" : "", to);
}

static void write_vms(FILE *to, const struct output *output, const struct recording *recording,
                      const char *only_vm)
{
    unsigned pcpu = 0, vm = UINT32_MAX;
    (void)fputs("vms:\n", to);
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct recorded_vcpu *v = recording->vcpus[i];
        if (!has_stream(v, only_vm)) {
            continue;
        }
        if (v->vcpu.vm != vm) {
            vm = v->vcpu.vm;
            (void)fprintf(to, "  - name: vm%u\n    memory: %lluGiB\n", vm,
                          (unsigned long long)IMPORT_MEMORY_BYTES >> 30);
            write_mmio_pages(to, recording, vm);
            (void)fputs("    vcpus:\n", to);
        }
        char name[OUTPUT_NAME_MAX + 64];
        output_stream_name(output, &v->vcpu, name, sizeof(name));
        (void)fprintf(to, "      - { stream: %s, pcpu: %u }\n", name, pcpu++);
    }
}

static void write_recorded(FILE *to, const struct recording *recording)
{
    (void)fputs("recorded:\n", to);
    for (unsigned i = 0; i < recording->stats.row_count; i++) {
        const struct reason_stats *row = &recording->stats.rows[i];
        (void)fprintf(to,
                      "  - { reason: %s, count: %" PRIu64 ", p50_ns: %" PRIu64 ", p99_ns: %" PRIu64 " }\n",
                      row->name, row->count, stats_percentile_ns(&recording->stats, row, 50),
                      stats_percentile_ns(&recording->stats, row, 99));
    }
}

static bool write_scenario(struct output *output, const struct recording *recording,
                           const struct output_scenario *scenario, const char *path)
{
    FILE *to = fopen(path, "wb");
    if (to == NULL) {
        return fail(output, "%.3000s: %s", path, strerror(errno));
    }
    unsigned cpus = 0, vms = 0, vm = UINT32_MAX;
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct recorded_vcpu *v = recording->vcpus[i];
        if (has_stream(v, scenario->only_vm)) {
            cpus++;
            vms += v->vcpu.vm != vm;
            vm = v->vcpu.vm;
        }
    }
    uint64_t span_us = (recording->last_ns - recording->first_ns) / 1000;
    (void)fprintf(to, MARK "\nscenario: imported-%s\n", output->name);
    (void)fprintf(to, "about: %" PRIu64 " recorded exits of %u vCPU%s in %u VM%s.\n", recording->exits, cpus,
                  cpus == 1 ? "" : "s", vms, vms == 1 ? "" : "s");
    char source[OUTPUT_PATH_MAX];
    const char *slash = strrchr(scenario->source, '/');
    (void)snprintf(source, sizeof(source), "%.2000s, %" PRIu64 " lines, %" PRIu64 ".%06" PRIu64 " s",
                   slash == NULL ? scenario->source : slash + 1, scenario->lines, span_us / 1000000,
                   span_us % 1000000);
    (void)fputs("source: ", to);
    put_quoted(to, source);
    (void)fprintf(to, "\nmachine: { arch: x86, uarch: %s, cpus: %u, memory: %uGiB }\n", scenario->uarch, cpus,
                  vms + 3);
    write_vms(to, output, recording, scenario->only_vm);
    write_recorded(to, recording);
    bool good = !ferror(to);
    int error = errno;
    if (fclose(to) != 0 && good) {
        good = false;
        error = errno;
    }
    return good || fail(output, "%.3000s: writing failed: %s", output->folder, strerror(error));
}

// Calls back for each stream file: from where to where.
static bool each_stream(struct output *output, const struct recording *recording, const char *only_vm,
                        bool (*act)(struct output *output, const char *from, const char *to))
{
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        const struct recorded_vcpu *v = recording->vcpus[i];
        char from[OUTPUT_PATH_MAX], to[OUTPUT_PATH_MAX], name[OUTPUT_NAME_MAX + 64];
        output_stream_name(output, &v->vcpu, name, sizeof(name));
        part_path(output, &v->vcpu, from, sizeof(from));
        (void)snprintf(to, sizeof(to), "%s/%s", output->folder, name);
        if (has_stream(v, only_vm) && !act(output, from, to)) {
            return false;
        }
    }
    return true;
}

static bool check_one(struct output *output, const char *from, const char *to)
{
    (void)from;
    return may_replace(output, to);
}

static bool move_one(struct output *output, const char *from, const char *to)
{
    return rename(from, to) == 0 || fail(output, "%.3000s: %s", to, strerror(errno));
}

bool output_commit(struct output *output, const struct recording *recording,
                   const struct output_scenario *scenario, unsigned *written)
{
    char from[OUTPUT_PATH_MAX], to[OUTPUT_PATH_MAX];
    *written = 0;
    for (unsigned i = 0; i < recording->vcpu_count; i++) {
        *written += has_stream(recording->vcpus[i], scenario->only_vm);
    }
    if (*written == 0) {
        return fail(output, "no exit of this recording can be replayed%s",
                    scenario->only_vm != NULL ? " for that --vm" : "");
    }
    *written += 1;
    (void)snprintf(from, sizeof(from), "%s/scenario.part", output->hidden);
    (void)snprintf(to, sizeof(to), "%s/%s.yaml", output->folder, output->name);
    // The scenario comes last: while it is missing or old, nobody takes the streams for a whole import.
    return may_replace(output, to) && each_stream(output, recording, scenario->only_vm, check_one) &&
           write_scenario(output, recording, scenario, from) &&
           each_stream(output, recording, scenario->only_vm, move_one) && move_one(output, from, to);
}

void output_end(struct output *output)
{
    if (output->hidden[0] == 0) {
        return;
    }
    DIR *folder = opendir(output->hidden);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    (void)rmdir(output->hidden);
    // Fails, as it should, once something was written.
    if (output->made_folder) {
        (void)rmdir(output->folder);
    }
    output->hidden[0] = 0;
}
