// SPDX-License-Identifier: Apache-2.0
// Written as the text of a scenario file and loaded like one: there is one meaning of every field, and
// --print-resolved shows a file that `hvsim run` takes.
#include "tools/hvsim/boot_scenario.h"
#include "sim/image/image.h"
#include "sim/scenario/console_script.h"
#include "sim/scenario/quantity.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CPUS_DEFAULT "1"
#define MEMORY_DEFAULT "128MiB"
#define NAME_BYTES 100
#define MIB (1ull << 20)

static uint64_t file_bytes(const char *path)
{
    struct stat st;

    return path && stat(path, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

// The guest's memory, what maps it, the files, the core and its programs.
static uint64_t host_memory(const struct boot_options *o, uint64_t memory)
{
    uint64_t bytes = memory + memory / 32 + 256 * MIB + file_bytes(o->image) + file_bytes(o->initrd);

    for (uint32_t i = 0; i < o->module_count; i++)
        bytes += file_bytes(o->modules[i]);
    return (bytes + MIB - 1) & ~(MIB - 1);
}

static void field(FILE *out, const char *key, const char *text)
{
    if (!text)
        return;
    fprintf(out, "      %s: ", key);
    scenario_quote(out, text);
    fputc('\n', out);
}

// Commas apart, as they stand: the loader knows what is a name.
static void write_names(FILE *out, const char *key, const char *names)
{
    if (!names || !*names)
        return;
    fprintf(out, "%s: [", key);
    for (const char *end; *names; names = *end ? end + 1 : end) {
        char name[64];

        end = names + strcspn(names, ",");
        snprintf(name, sizeof name, "%.*s", (int)(end - names), names);
        scenario_quote(out, name);
        fputs(*end ? ", " : "]\n", out);
    }
}

static void write_name(FILE *out, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char cut[NAME_BYTES + 1];

    snprintf(cut, sizeof cut, "%s", *name ? name : "image");
    fputs("scenario: ", out);
    scenario_quote(out, cut);
    fputc('\n', out);
}

// A processor for each vCPU and one for the VMM's other threads, as far as there can be so many.
static void write_text(FILE *out, const struct boot_options *o, const char *script, uint64_t cpus,
                       uint64_t memory)
{
    uint64_t host_cpus = cpus < SCENARIO_CPUS_MAX ? cpus + 1 : SCENARIO_CPUS_MAX;

    write_name(out, o->image);
    fputs("machine: { uarch: ", out);
    scenario_quote(out, o->uarch ? o->uarch : "skylake-sp");
    fprintf(out, ", cpus: %" PRIu64 ", memory: %" PRIu64 "B }\n", host_cpus, host_memory(o, memory));
    fprintf(out, "vms:\n  - name: guest\n    memory: %" PRIu64 "B\n    nested: %s\n", memory,
            o->nested ? "on" : "off");
    write_names(out, "    disable_exits", o->disable_exits);
    fputs("    program:\n", out);
    field(out, "image", o->image);
    field(out, "append", o->append);
    field(out, "initrd", o->initrd);
    field(out, "load", o->load);
    field(out, "script", script);
    if (!script)
        field(out, "input", o->input);
    for (uint32_t i = 0; i < o->module_count; i++) {
        fputs(i ? ", " : "      modules: [", out);
        scenario_quote(out, o->modules[i]);
    }
    fputs(o->module_count ? "]\n" : "", out);
    write_names(out, "      hide", o->hide);
    fputs("    vcpus:\n", out);
    for (uint64_t i = 0; i < cpus; i++)
        fprintf(out, "      - { pcpu: %" PRIu64 " }\n", i);
    if (o->until) {
        fputs("run: { until: ", out);
        scenario_quote(out, o->until);
        fputs(" }\n", out);
    }
}

// The options that decide about others.
static int read_sizes(const struct boot_options *o, uint64_t *cpus, uint64_t *memory, struct user_error *e)
{
    const char *cpus_text = o->cpus ? o->cpus : CPUS_DEFAULT;
    const char *memory_text = o->memory ? o->memory : MEMORY_DEFAULT;
    uint64_t ns;

    if (!quantity_number(cpus_text, cpus) || *cpus < 1 || *cpus > SCENARIO_VCPUS_MAX)
        return user_error_at(e, "--cpus", 0, NULL, "expected 1 to %u, got `%s`", SCENARIO_VCPUS_MAX,
                             cpus_text);
    if (!quantity_bytes(memory_text, memory) || *memory < MIB || *memory % 4096 ||
        *memory > SCENARIO_MEMORY_MAX / 2)
        return user_error_at(e, "--memory", 0, NULL,
                             "expected 1MiB to 2TiB in whole pages of 4KiB, such as 128MiB, got `%s`",
                             memory_text);
    if (o->until && !quantity_ns(o->until, &ns))
        return user_error_at(e, "--until", 0, NULL, "expected a time with a unit (ns, us, ms, s), got `%s`",
                             o->until);
    return 0;
}

// The text of --script, to be freed.
static int read_script(const char *path, char **script, struct user_error *e)
{
    struct console_script steps = {0};
    struct console_script_error error;
    struct image_file file = {0};
    int result = image_read(path, "--script", &file, e);

    if (result == 0 && memchr(file.bytes, 0, file.size))
        result = user_error_at(e, path, 0, "--script", "is no text: there is a zero byte in it");
    if (result == 0) {
        *script = strndup((const char *)file.bytes, file.size);
        if (console_script_parse(*script, &steps, &error))
            result = user_error_at(e, path, error.line, "--script", "%s", error.text);
    }
    console_script_free(&steps);
    image_file_free(&file);
    return result;
}

// Standard input as a script that types it: a scenario can say that again.
static int read_standard_input(char **script, struct user_error *e)
{
    struct image_file file = {0};
    size_t size = 0;

    if (image_read("/dev/stdin", "--input -", &file, e))
        return -1;
    FILE *out = open_memstream(script, &size);

    if (!out)
        abort();
    console_script_type(out, file.bytes, file.size);
    fclose(out);
    image_file_free(&file);
    return 0;
}

// What is typed, as a script; NULL: a file's bytes are, or nothing is.
static int read_typed(const struct boot_options *o, char **script, struct user_error *e)
{
    if (o->input && o->script)
        return user_error_at(e, "--script", 0, NULL,
                             "and --input do not go together: a line `type TEXT` of the script types");
    if (o->script)
        return read_script(o->script, script, e);
    return o->input && strcmp(o->input, "-") == 0 ? read_standard_input(script, e) : 0;
}

struct scenario *boot_scenario(const struct boot_options *o, struct user_error *e)
{
    uint64_t cpus, memory;
    char *text = NULL, *script = NULL;
    size_t size = 0;

    if (read_sizes(o, &cpus, &memory, e) || read_typed(o, &script, e)) {
        free(script);
        return NULL;
    }
    FILE *out = open_memstream(&text, &size);

    if (!out)
        abort();
    write_text(out, o, script, cpus, memory);
    free(script);
    fclose(out);
    struct scenario *s = scenario_load_text("boot", text, size, e);

    free(text);
    return s;
}
