// SPDX-License-Identifier: Apache-2.0
#include "sim/machine/guests.h"
#include "models/cpu/x86/replay_run.h"
#include "sim/machine/machine.h"
#include "sim/scenario/quantity.h"
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GUEST_FOLDER "../lib/guests"
#define SUFFIX ".so"
#define NAMES_MAX 256

#define FIRMWARE_BYTES (1ull << 20) // Of a PC: firmware's memory is below.

enum { FIELD_BYTES = 160 };

// --- What there is. ---

static int is_program(const struct dirent *d)
{
    size_t length = strlen(d->d_name), suffix = strlen(SUFFIX);

    return length > suffix && strcmp(d->d_name + length - suffix, SUFFIX) == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

char **guest_names(void)
{
    char *folder = machine_installed_path(GUEST_FOLDER);
    struct dirent **found = NULL;
    int count = folder ? scandir(folder, &found, is_program, by_name) : 0;
    char **names = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *names);

    if (!names)
        abort();
    for (int i = 0; i < count; i++) {
        found[i]->d_name[strlen(found[i]->d_name) - strlen(SUFFIX)] = 0;
        names[i] = strdup(found[i]->d_name);
        free(found[i]);
    }
    free(found);
    free(folder);
    return names;
}

void guest_names_free(char **names)
{
    for (char **at = names; *at; at++)
        free(*at);
    free(names);
}

static int unknown_program(const struct scenario *s, const struct scenario_vcpu *v, const char *field,
                           struct user_error *e)
{
    char **names = guest_names(), all[400] = "none";
    size_t count = 0;

    for (; names[count]; count++)
        if (count == 0)
            snprintf(all, sizeof all, "%s", names[0]);
        else if (strlen(all) < sizeof all - 60)
            snprintf(all + strlen(all), sizeof all - strlen(all), ", %.50s", names[count]);
    const char *near = nearest_word(v->native, (const char *const *)names, count);

    user_error_at(e, s->path, v->line, field, "there is no native guest `%s`%s%s%s; known are %s", v->native,
                  near ? "; did you mean `" : "", near ? near : "", near ? "`" : "", all);
    guest_names_free(names);
    return -1;
}

// Path of a program; the caller frees. NULL: there is none.
static char *path_of(const char *name)
{
    char relative[PATH_MAX];

    snprintf(relative, sizeof relative, GUEST_FOLDER "/%s" SUFFIX, name);
    char *path = machine_installed_path(relative);

    if (path && access(path, R_OK) != 0) {
        free(path);
        path = NULL;
    }
    return path;
}

// Priced for each host's processors, or without `u` not at all.
static struct native_program *open_program(const struct scenario *s, const struct scenario_vcpu *v,
                                           const char *field, const struct uarchs *u, struct user_error *e)
{
    char *path = path_of(v->native), error[700];
    struct native_program *p =
        path ? native_program_open(path, u ? uarchs_of(u, 0) : NULL, error, sizeof error) : NULL;
    bool good = p != NULL;

    for (uint32_t h = 1; u && good && h < s->host_count; h++)
        good = uarchs_of(u, h) == uarchs_of(u, 0) ||
               native_program_price(p, h, uarchs_of(u, h), error, sizeof error) == 0;
    if (!path)
        unknown_program(s, v, field, e);
    else if (!good)
        user_error_at(e, s->path, v->line, field, "%s", error);
    free(path);
    if (!good)
        native_program_close(p);
    return good ? p : NULL;
}

struct native_program *guest_open(const char *name, struct user_error *e)
{
    char *path = path_of(name), error[700] = "there is no such program";
    struct native_program *p = path ? native_program_open(path, NULL, error, sizeof error) : NULL;

    if (!p)
        user_error_at(e, name, 0, NULL, "%s", error);
    free(path);
    return p;
}

// --- Arguments. ---

// Memory that is the program's.
static void program_memory(const struct scenario_vm *vm, struct guest_env *env)
{
    uint64_t low = vm->memory_bytes < VMM_HOLE ? vm->memory_bytes : VMM_HOLE, tables = 0;

    env->memory[0].base = FIRMWARE_BYTES;
    env->memory[0].bytes = low - FIRMWARE_BYTES;
    env->memory[1].base = VMM_ABOVE_HOLE;
    env->memory[1].bytes = vm->memory_bytes - low;
    if (vm->paging_levels) { // The VMM's page tables are at the end.
        uint64_t mapped = vm->memory_bytes;

        for (uint32_t i = 0; i < vm->slot_count; i++)
            mapped += vm->slots[i].size;
        tables = vmm_guest_tables_max(mapped, vm->guest_page_shift, vm->slot_count + vm->device_count);
    }
    uint64_t *last = &env->memory[env->memory[1].bytes ? 1 : 0].bytes;

    *last -= tables < *last ? tables : *last;
}

static int bad_value(const struct scenario *s, const struct scenario_arg *given, const char *field,
                     const struct guest_arg *arg, uint64_t max, struct user_error *e)
{
    static const char *const kinds[] = {[GUEST_NUMBER] = "a number",
                                        [GUEST_BYTES] = "bytes with a unit (B, KiB, MiB, GiB, TiB)",
                                        [GUEST_TIME] = "a time with a unit (ns, us, ms, s)"};
    static const char *const units[] = {[GUEST_NUMBER] = "", [GUEST_BYTES] = " bytes", [GUEST_TIME] = " ns"};

    if (max == UINT64_MAX)
        return user_error_at(e, s->path, given->line, field, "expected %s of at least %" PRIu64 ", got `%s`",
                             kinds[arg->kind], arg->min, given->value);
    return user_error_at(e, s->path, given->line, field,
                         "expected %s, %" PRIu64 " to %" PRIu64 "%s, got `%s`", kinds[arg->kind], arg->min,
                         max, units[arg->kind], given->value);
}

static int parse_arg(const struct scenario *s, const struct scenario_vm *vm, const struct scenario_arg *given,
                     const char *field, const struct guest_arg *arg, uint64_t *out, struct user_error *e)
{
    bool good = arg->kind == GUEST_BYTES  ? quantity_bytes(given->value, out)
                : arg->kind == GUEST_TIME ? quantity_ns(given->value, out)
                                          : quantity_number(given->value, out);
    uint64_t max = arg->max;

    if (arg->kind == GUEST_BYTES && max > vm->memory_bytes)
        max = vm->memory_bytes;
    if (!good || *out < arg->min || *out > max)
        return bad_value(s, given, field, arg, max, e);
    return 0;
}

static int unknown_arg(const struct scenario *s, const struct scenario_vcpu *v,
                       const struct scenario_arg *given, const char *field, const struct guest_program *info,
                       struct user_error *e)
{
    const char *names[GUEST_ARGS_MAX], *near;
    char all[400] = "none";

    for (uint32_t i = 0; i < info->arg_count; i++) {
        names[i] = info->args[i].name;
        snprintf(i ? all + strlen(all) : all, sizeof all - (i ? strlen(all) : 0), "%s%.40s", i ? ", " : "",
                 names[i]);
    }
    near = nearest_word(given->name, names, info->arg_count);
    return user_error_at(e, s->path, given->line, field, "%s has no such argument%s%s%s; it has %s",
                         v->native, near ? "; did you mean `" : "", near ? near : "", near ? "`" : "", all);
}

// Values of the program's arguments, in the order and units of its table.
static int read_args(const struct scenario *s, uint32_t vm, uint32_t vcpu, const struct guest_program *info,
                     uint64_t *out, struct user_error *e)
{
    const struct scenario_vcpu *v = &s->vms[vm].vcpus[vcpu];
    char field[FIELD_BYTES];

    for (uint32_t i = 0; i < info->arg_count; i++)
        out[i] = info->args[i].fallback;
    for (uint32_t k = 0; k < v->arg_count; k++) {
        uint32_t i = 0;

        snprintf(field, sizeof field, "vms[%u].vcpus[%u].args.%.100s", vm, vcpu, v->args[k].name);
        while (i < info->arg_count && strcmp(info->args[i].name, v->args[k].name) != 0)
            i++;
        if (i == info->arg_count)
            return unknown_arg(s, v, &v->args[k], field, info, e);
        if (parse_arg(s, &s->vms[vm], &v->args[k], field, &info->args[i], &out[i], e))
            return -1;
    }
    return 0;
}

// Every argument, in the order of the program's own table: what was given, or its default.
static void complete_args(struct scenario_vcpu *v, const struct guest_program *info)
{
    static const char *const units[] = {[GUEST_NUMBER] = "", [GUEST_BYTES] = "B", [GUEST_TIME] = "ns"};
    struct scenario_arg *all = calloc(info->arg_count + 1, sizeof *all);
    char value[40];

    if (!all)
        abort();
    for (uint32_t a = 0; a < info->arg_count; a++) {
        const struct guest_arg *arg = &info->args[a];
        uint32_t k = 0;

        while (k < v->arg_count && strcmp(v->args[k].name, arg->name) != 0)
            k++;
        snprintf(value, sizeof value, "%" PRIu64 "%s", arg->fallback, units[arg->kind]);
        all[a] =
            k < v->arg_count ? v->args[k] : (struct scenario_arg){strdup(arg->name), strdup(value), v->line};
    }
    free(v->args);
    v->args = all;
    v->arg_count = info->arg_count;
}

int guests_resolve(struct scenario *s, struct user_error *e)
{
    uint64_t values[GUEST_ARGS_MAX];
    char field[FIELD_BYTES];

    for (uint32_t i = 0; i < s->vm_count; i++)
        for (uint32_t v = 0; v < s->vms[i].vcpu_count; v++) {
            struct scenario_vcpu *vcpu = &s->vms[i].vcpus[v];

            if (!vcpu->native)
                continue;
            snprintf(field, sizeof field, "vms[%u].vcpus[%u].native", i, v);
            struct native_program *p = open_program(s, vcpu, field, NULL, e);

            if (!p)
                return -1;
            const struct guest_program *info = native_program_info(p);
            int result = read_args(s, i, v, info, values, e);

            if (result == 0)
                complete_args(vcpu, info);
            native_program_close(p);
            if (result)
                return -1;
        }
    return 0;
}

// --- Loading. ---

// A mistake in a stream has its own place; one that is no stream at all is a mistake of the scenario.
static int stream_fault(const struct scenario *s, uint32_t vm, uint32_t vcpu,
                        const struct stream_error *error, struct user_error *e)
{
    const struct scenario_vcpu *from = &s->vms[vm].vcpus[vcpu];
    char field[64];

    if (error->line) {
        snprintf(e->text, sizeof e->text, "%s", error->text);
        return -1;
    }
    snprintf(field, sizeof field, "vms[%u].vcpus[%u].stream", vm, vcpu);
    return user_error_at(e, s->path, from->line, field, "%s%s", error->text,
                         access(from->stream, R_OK) ? "; paths are relative to the scenario's folder" : "");
}

static int load_stream(struct stream_set *to, const struct scenario *s, uint32_t vm, uint32_t vcpu,
                       const struct uarchs *u, struct user_error *e)
{
    const struct stream_target target = {.clock_khz = (uint32_t)u->machine->clock.core_khz,
                                         .tsc_khz = (uint32_t)u->machine->clock.tsc_khz,
                                         .vm = vm,
                                         .vcpu = vcpu,
                                         .linear = s->vms[vm].paging_levels != 0};
    struct stream_error error;

    if (!stream_load(s->vms[vm].vcpus[vcpu].stream, &target, to, &error))
        return stream_fault(s, vm, vcpu, &error, e);
    to->programs[0].linear = target.linear;
    return 0;
}

// One that an earlier vCPU has opened.
static struct native_program *opened(const struct guest_set *set, const struct scenario *s, const char *name)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < s->vm_count; i++)
        for (uint32_t v = 0; v < s->vms[i].vcpu_count; v++, at++)
            if (set->programs[at] && strcmp(s->vms[i].vcpus[v].native, name) == 0)
                return set->programs[at];
    return NULL;
}

static int load_native(struct guest_set *set, uint32_t at, const struct scenario *s, uint32_t vm,
                       uint32_t vcpu, const struct uarchs *u, struct user_error *e)
{
    const struct scenario_vcpu *v = &s->vms[vm].vcpus[vcpu];
    struct native_guest_config *c = &set->config[at];
    struct native_program *p = opened(set, s, v->native);
    char field[64];

    snprintf(field, sizeof field, "vms[%u].vcpus[%u].native", vm, vcpu);
    if (!p)
        p = open_program(s, v, field, u, e);
    set->programs[at] = p;
    if (!p || read_args(s, vm, vcpu, native_program_info(p), c->args, e))
        return -1;
    const struct guest_program *info = native_program_info(p);

    for (uint32_t i = 0; i < info->arg_count; i++)
        if (info->args[i].kind == GUEST_TIME)
            c->args[i] = (uint64_t)((unsigned __int128)c->args[i] * u->machine->clock.tsc_khz / 1000000);
    c->program = p;
    c->linear = s->vms[vm].paging_levels != 0;
    c->env =
        (struct guest_env){.vcpu = vcpu, .vcpu_count = s->vms[vm].vcpu_count, .seed = vm * 256ull + vcpu};
    program_memory(&s->vms[vm], &c->env);
    set->streams[at].programs = calloc(1, sizeof *set->streams[at].programs);
    if (!set->streams[at].programs)
        abort();
    set->streams[at].count = 1;
    set->streams[at].programs[0].initial_rip = native_program_entry(p);
    return 0;
}

int guests_load(struct guest_set *set, const struct scenario *s, const struct uarchs *u, struct user_error *e)
{
    uint32_t at = 0;

    *set = (struct guest_set){0};
    for (uint32_t i = 0; i < s->vm_count; i++)
        set->vcpu_count += s->vms[i].vcpu_count;
    set->streams = calloc(set->vcpu_count, sizeof *set->streams);
    set->programs = calloc(set->vcpu_count, sizeof *set->programs);
    set->config = calloc(set->vcpu_count, sizeof *set->config);
    if (!set->streams || !set->programs || !set->config)
        return user_error_at(e, s->path, 0, NULL, "out of memory");
    for (uint32_t i = 0; i < s->vm_count; i++)
        for (uint32_t v = 0; v < s->vms[i].vcpu_count; v++, at++)
            if (s->vms[i].vcpus[v].native ? load_native(set, at, s, i, v, u, e)
                                          : load_stream(&set->streams[at], s, i, v, u, e))
                return -1;
    return 0;
}

static const char *register_streams(const struct stream_set *set, uint32_t vm, uint32_t vcpu,
                                    struct machine *m)
{
    for (unsigned p = 0; p < set->count; p++) {
        const char *wrong = replay_register(m, replay_idtr_base(vm, vcpu, p), &set->programs[p]);

        if (wrong)
            return wrong;
    }
    return NULL;
}

int guests_register(const struct guest_set *set, const struct scenario *s, struct machine *m,
                    struct user_error *e)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < s->vm_count; i++)
        for (uint32_t v = 0; v < s->vms[i].vcpu_count; v++, at++) {
            const char *stream = s->vms[i].vcpus[v].stream;
            const char *wrong = stream
                                    ? register_streams(&set->streams[at], i, v, m)
                                    : native_guest_register(m, replay_idtr_base(i, v, 0), &set->config[at]);

            if (wrong)
                return user_error_at(e, stream ? stream : s->path, 0, NULL, "%s", wrong);
        }
    return 0;
}

void guests_free(struct guest_set *set)
{
    for (uint32_t i = 0; set->programs && i < set->vcpu_count; i++) {
        struct native_program *p = set->programs[i];

        native_program_close(p);
        for (uint32_t k = i; k < set->vcpu_count; k++) // Equal ones were opened once.
            if (set->programs[k] == p)
                set->programs[k] = NULL;
    }
    for (uint32_t i = 0; set->streams && i < set->vcpu_count; i++)
        stream_free(&set->streams[i]);
    free(set->streams);
    free(set->programs);
    free(set->config);
    *set = (struct guest_set){0};
}
