// SPDX-License-Identifier: Apache-2.0
// vms[].program: machine code that a VM boots.
#include "sim/scenario/cpu_features.h"
#include "sim/scenario/load.h"
#include <stdlib.h>
#include <string.h>

enum { FIELD_BYTES = 160 };

static const char *at(char *field, const char *base, const char *key)
{
    snprintf(field, FIELD_BYTES, "%.80s.%s", base, key);
    return field;
}

char *load_path(const struct scenario *s, const char *path)
{
    size_t size = strlen(s->folder) + strlen(path) + 2;
    char *full = load_array(size, 1);

    snprintf(full, size, "%s%s%s", *path == '/' ? "" : s->folder, *path == '/' ? "" : "/", path);
    return full;
}

static int load_file(struct loader *l, const struct scenario *s, const char *field, const char *text,
                     char **to)
{
    if (!*text)
        return load_error(l, field, "expected the name of a file");
    *to = load_path(s, text);
    return 0;
}

static int load_modules(struct loader *l, const struct scenario *s, const struct raw_program *raw,
                        const char *base, struct scenario_program *p)
{
    char field[FIELD_BYTES];

    if (raw->modules_count > SCENARIO_MODULES_MAX)
        return load_error(l, at(field, base, "program.modules"), "more than %u modules",
                          SCENARIO_MODULES_MAX);
    p->modules = load_array(raw->modules_count, sizeof *p->modules);
    for (unsigned i = 0; i < raw->modules_count; i++) {
        snprintf(field, sizeof field, "%.80s.program.modules[%u]", base, i);
        if (load_file(l, s, field, raw->modules[i], &p->modules[i]))
            return -1;
        p->module_count++;
    }
    return 0;
}

static int load_hide(struct loader *l, const struct raw_program *raw, const char *base,
                     struct scenario_program *p)
{
    char field[FIELD_BYTES], text[CPU_FEATURE_NAME_BYTES];
    const char *near;

    p->hide = load_array(raw->hide_count, sizeof *p->hide);
    for (unsigned i = 0; i < raw->hide_count; i++) {
        snprintf(field, sizeof field, "%.80s.program.hide[%u]", base, i);
        if (!cpu_feature_find(raw->hide[i], &p->hide[i], text, &near))
            return load_error(l, field, "`%.60s` is no feature of CPUID%s%s%s (names: spec/cpuid.def)",
                              raw->hide[i], near ? "; did you mean `" : "", near ? near : "",
                              near ? "`?" : "");
        p->hide_count++;
    }
    return 0;
}

static int load_typing(struct loader *l, const struct scenario *s, const struct raw_program *raw,
                       const char *base, struct scenario_program *p)
{
    char field[FIELD_BYTES];
    struct console_script_error error = {0};

    if (raw->input && raw->script)
        return load_error(l, at(field, base, "program.script"),
                          "a console has either `input` (a file) or a `script`; what `input` holds can be "
                          "typed by a line of the script");
    if (raw->input && load_file(l, s, at(field, base, "program.input"), raw->input, &p->input))
        return -1;
    if (!raw->script)
        return 0;
    p->script = load_copy(raw->script);
    if (console_script_parse(p->script, &p->typing, &error))
        return load_error(l, at(field, base, "program.script"), "line %u of the script: %s", error.line,
                          error.text);
    return 0;
}

// As many as `cpus` says, or those of `vcpus`, which then say only where they run.
static int load_cpus(struct loader *l, const struct scenario *s, struct scenario_vm *vm,
                     const struct raw_vm *raw, const char *base)
{
    char list[FIELD_BYTES], field[FIELD_BYTES + 16];
    uint32_t count = raw->vcpus_count ? raw->vcpus_count : 1;

    if (raw->cpus && raw->vcpus_count)
        return load_error(l, at(list, base, "cpus"), "a VM has either `cpus` (a number) or `vcpus` (a list)");
    if (load_u32(l, at(list, base, "cpus"), raw->cpus, 1, SCENARIO_VCPUS_MAX, &count))
        return -1;
    if (count > SCENARIO_VCPUS_MAX)
        return load_error(l, at(list, base, "vcpus"), "more than %u vCPUs", SCENARIO_VCPUS_MAX);
    vm->vcpus = load_array(count, sizeof *vm->vcpus);
    vm->vcpu_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct raw_vcpu *v = raw->vcpus_count ? &raw->vcpus[i] : NULL;

        snprintf(list, sizeof list, "%.80s.vcpus[%u]", base, i);
        if (v && (v->stream || v->native || v->args))
            return load_error(l, list, "the VM boots a `program`: its vCPUs have none of their own");
        vm->vcpus[i].line = vm->line;
        snprintf(field, sizeof field, "%s.pcpu", list);
        if (load_pcpu(l, &s->hosts[vm->host], field, v ? v->pcpu : NULL, &vm->vcpus[i].pcpu))
            return -1;
    }
    return 0;
}

int load_program(struct loader *l, const struct scenario *s, struct scenario_vm *vm, const struct raw_vm *raw,
                 const char *base)
{
    const struct raw_program *r = raw->program;
    struct scenario_program *p = vm->program = load_array(1, sizeof *p);
    char field[FIELD_BYTES];

    p->line = yaml_line(&l->y, at(field, base, "program"));
    p->append = load_copy(r->append);
    // Of this project's own guests the name alone, as their sources are called.
    if (strncmp(r->image, SCENARIO_OWN_IMAGES, strlen(SCENARIO_OWN_IMAGES)) == 0)
        p->image = load_copy(r->image);
    else if (load_file(l, s, at(field, base, "program.image"), r->image, &p->image))
        return -1;
    if (r->initrd && load_file(l, s, at(field, base, "program.initrd"), r->initrd, &p->initrd))
        return -1;
    p->flat = r->load != NULL;
    if (load_number(l, at(field, base, "program.load"), r->load, 0, UINT64_MAX, &p->load) ||
        load_modules(l, s, r, base, p) || load_hide(l, r, base, p) || load_typing(l, s, r, base, p))
        return -1;
    if (s->host_count > 1)
        return load_error(l, at(field, base, "program"),
                          "devices of an image's VM cannot be migrated: it is for a machine of one host");
    if (vm->paging_levels)
        return load_error(l, at(field, base, "paging"),
                          "an image brings its own page tables; leave `paging` out");
    vm->flags |= VMM_VM_PC | (p->input || p->typing.step_count ? VMM_VM_INPUT : 0);
    return load_cpus(l, s, vm, raw, base);
}

void program_free(struct scenario_program *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->module_count; i++)
        free(p->modules[i]);
    free(p->modules);
    free(p->hide);
    free(p->input), free(p->script);
    console_script_free(&p->typing);
    free(p->image), free(p->append), free(p->initrd);
    free(p);
}
