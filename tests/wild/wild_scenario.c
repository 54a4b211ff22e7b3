// SPDX-License-Identifier: Apache-2.0
#include "tests/wild/wild.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct {
    const char *name, *values;
} knobs[] = {
#define KNOB(id, name, type, values, value, about, source) {name, values},
#include "hv/knobs.def"
#undef KNOB
};

static const struct {
    const char *word, *args;
} actions[] = {
#define ACTION(id, word, args, about) {word, args},
#include "hv/vmm/actions.def"
#undef ACTION
};

struct shape {
    unsigned hosts, cpus, vms, vcpus[2];
};

// "a|b|c" gives one of the words, "1..9" a number of that range.
static void knob_value(struct wild *w, const char *values, FILE *to)
{
    long long low, high;

    if (sscanf(values, "%lld..%lld", &low, &high) == 2) {
        // The ends and small values are where things happen.
        uint64_t span = (uint64_t)(high - low) + 1, n = wild_number(w) % span;

        fprintf(to, "%lld", low + (long long)n);
        return;
    }
    unsigned words = 1;

    for (const char *c = values; *c; c++)
        words += *c == '|';
    for (uint64_t skip = wild_below(w, words); skip > 0; skip--)
        values = strchr(values, '|') + 1;
    fprintf(to, "%.*s", (int)strcspn(values, "|"), values);
}

static void some_knobs(struct wild *w, FILE *to)
{
    const char *comma = "";

    fprintf(to, "knobs: { ");
    for (size_t i = 0; i < COUNT(knobs); i++) {
        if (!wild_chance(w, 25))
            continue;
        fprintf(to, "%s%s: ", comma, knobs[i].name);
        knob_value(w, knobs[i].values, to);
        comma = ", ";
    }
    fprintf(to, " }\n");
}

static const uint64_t guest_places[] = {0,          0x1000,     0x200000,   0x10000000,
                                        0xfe000000, 0xfec00000, 0xfee00000, 0x100000000ull};

static uint64_t parameter(struct wild *w, const char *name, size_t length, unsigned vcpus, unsigned cpus)
{
    const struct {
        const char *name;
        uint64_t value;
    } usual[] = {
        {"gsi", wild_below(w, 26)},
        {"level", wild_below(w, 2)},
        {"vector", wild_below(w, 256)},
        {"dest", wild_below(w, 5)},
        {"mode", wild_below(w, 2)},
        {"vcpu", wild_below(w, vcpus)},
        {"cpu", wild_below(w, cpus)},
        {"slot", wild_below(w, 5)},
        {"gpa", guest_places[wild_below(w, COUNT(guest_places))]},
        {"size", (1 + wild_below(w, 16)) << 12},
        {"offset", (1 + wild_below(w, 16)) << 12},
        {"flags", wild_below(w, 4)},
        {"ns", wild_below(w, 200000)},
    };

    bool bytes = length >= 4 && (strncmp(name, "size", 4) == 0 || strncmp(name, "offs", 4) == 0);

    if (wild_chance(w, 4))
        return bytes ? 1 + (wild_number(w) >> 23) : wild_number(w);
    for (size_t i = 0; i < COUNT(usual); i++)
        if (strlen(usual[i].name) == length && strncmp(usual[i].name, name, length) == 0)
            return usual[i].value;
    return wild_number(w);
}

// A parameter that is written in words. False: it is a number.
static bool word_parameter(struct wild *w, const char *name, size_t length, FILE *to)
{
    static const struct {
        const char *name, *words[2];
    } rows[] = {{"to", {"one", "two"}},
                {"method", {"precopy", "postcopy"}},
                {"downtime_limit", {"10us", "300ms"}},
                {"max_bandwidth", {"0bit/s", "1Gbit/s"}},
                {"auto_converge", {"on", "off"}},
                {"verify", {"on", "off"}}};

    for (size_t i = 0; i < COUNT(rows); i++)
        if (strlen(rows[i].name) == length && strncmp(rows[i].name, name, length) == 0) {
            fprintf(to, ", %s: %s", rows[i].name, rows[i].words[wild_below(w, 2)]);
            return true;
        }
    return false;
}

static void some_actions(struct wild *w, const struct shape *shape, FILE *to)
{
    uint64_t at_us = 1;

    fprintf(to, "vmm:\n  - { at: 1us, do: kick_vcpu, vm: vm0, vcpu: 0 }\n");
    for (uint64_t n = wild_below(w, 25); n > 0; n--) {
        size_t i = 1 + wild_below(w, COUNT(actions) - 1); // All but `stop`.
        unsigned vm = (unsigned)wild_below(w, shape->vms);

        if (strcmp(actions[i].word, "leave_smm") ==
            0) // A state of noise: the processor refuses it, as it should.
            continue;
        if (shape->hosts < 2 && strcmp(actions[i].word, "migrate") == 0)
            continue;
        at_us += wild_below(w, 200);
        fprintf(to, "  - { at: %lluus, do: %s, vm: vm%u", (unsigned long long)at_us, actions[i].word, vm);
        for (const char *name = actions[i].args; *name;) {
            size_t length = strcspn(name, ",");
            bool optional = length > 0 && name[length - 1] == '?';
            size_t bare = length - optional;

            if ((!optional || wild_chance(w, 50)) && !word_parameter(w, name, bare, to))
                fprintf(to, ", %.*s: %#llx", (int)bare, name,
                        (unsigned long long)parameter(w, name, bare, shape->vcpus[vm], shape->cpus));
            name += length + (name[length] == ',');
        }
        fprintf(to, " }\n");
    }
}

static const char *one_of(struct wild *w, const char *const *words, size_t count)
{
    return words[wild_below(w, count)];
}

static void pinned(struct wild *w, unsigned cpus, FILE *to)
{
    if (wild_chance(w, 70))
        fprintf(to, ", pcpu: %u", (unsigned)wild_below(w, cpus));
}

static bool one_vm(struct wild *w, struct shape *shape, unsigned vm, const char *folder, FILE *to)
{
    static const char *const memories[] = {"64MiB", "512MiB", "2GiB"};
    static const char *const pages[] = {"4KiB", "2MiB"};
    static const char *const irqchips[] = {"core", "core", "core", "split", "none"};
    bool nested = wild_chance(w, 50);
    const char *memory = one_of(w, memories, COUNT(memories));

    fprintf(to, "  - name: vm%u\n    memory: %s\n    page: %s\n    irqchip: %s\n    nested: %s\n", vm, memory,
            one_of(w, pages, COUNT(pages)), one_of(w, irqchips, COUNT(irqchips)), nested ? "on" : "off");
    if (memory[0] == '6' && wild_chance(w, 20))
        fprintf(to, "    prefault: on\n");
    fprintf(to,
            "    devices:\n      - { name: port, port: 0x3f8, size: 8, value: 0x60, gsi: 4, ack: 1 }\n"
            "      - { name: card, mmio: 0xfe000000, size: 4KiB, value: 7, gsi: %u, ack: 1, work: %u }\n",
            (unsigned)wild_below(w, 24), (unsigned)wild_below(w, 3000));
    if (wild_chance(w, 40))
        fprintf(to,
                "    slots:\n      - { slot: %u, gpa: %#llx, size: 64KiB, log_dirty: %s, readonly: %s }\n",
                1 + (unsigned)wild_below(w, 4), 0xf0000000ull, wild_chance(w, 50) ? "on" : "off",
                wild_chance(w, 50) ? "on" : "off");
    fprintf(to, "    vcpus:\n");
    shape->vcpus[vm] = 1 + (unsigned)wild_below(w, 3);
    for (unsigned i = 0; i < shape->vcpus[vm]; i++) {
        char path[1000];

        fprintf(to, "      - { stream: vm%u-%u.stream", vm, i);
        pinned(w, shape->cpus, to);
        fprintf(to, " }\n");
        snprintf(path, sizeof path, "%s/vm%u-%u.stream", folder, vm, i);
        FILE *stream = fopen(path, "w");

        if (!stream)
            return false;
        wild_stream(w, nested, stream);
        if (fclose(stream))
            return false;
    }
    return true;
}

bool wild_scenario(uint64_t seed, const char *folder)
{
    struct wild w = {seed};
    char path[1000];

    snprintf(path, sizeof path, "%s/wild.yaml", folder);
    FILE *to = fopen(path, "w");

    if (!to)
        return false;
    struct shape shape = {.cpus = 1 + (unsigned)wild_below(&w, 3), .vms = wild_chance(&w, 20) ? 2 : 1};
    bool good = true;

    shape.hosts = wild_chance(&w, 30) ? 2 : 1;
    fprintf(to, "scenario: wild\nabout: Seed %llu.\nmachine: { arch: x86, cpus: %u, memory: 8GiB }\n",
            (unsigned long long)seed, shape.cpus);
    if (shape.hosts == 2)
        fprintf(to, "hosts: [{ name: one }, { name: two }]\nlink: { latency: %uus }\n",
                (unsigned)wild_below(&w, 100));
    fprintf(to, "vms:\n");
    for (unsigned i = 0; i < shape.vms; i++)
        good = one_vm(&w, &shape, i, folder, to) && good;
    if (wild_chance(&w, 70))
        some_actions(&w, &shape, to);
    some_knobs(&w, to);
    fprintf(to, "run: { until: %ums }\n", 1 + (unsigned)wild_below(&w, 3));
    return fclose(to) == 0 && good;
}
