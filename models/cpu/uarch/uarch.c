// SPDX-License-Identifier: Apache-2.0

#include "models/cpu/uarch/uarch.h"

#include "models/cpu/uarch/uarch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What uarch_load() hands out: the public part first, then what it borrows its texts from.
struct uarch_file {
    struct uarch u;
    struct raw_uarch *raw;
    char *path;
};

struct uarch *uarch_load(const char *path, char *error, size_t error_size)
{
    struct uarch_report to = {path, error, error_size};
    if (error_size > 0)
        error[0] = '\0';
    struct raw_uarch *raw = raw_load(path, error, error_size);
    if (raw == NULL)
        return NULL;
    struct uarch_file *file = calloc(1, sizeof *file);
    char *path_copy = strdup(path);
    if (file == NULL || path_copy == NULL)
        abort();
    file->raw = raw;
    file->path = path_copy;
    file->u.path = path_copy;
    if (!uarch_convert(&file->u, raw, &to) || !uarch_check(&file->u, &to)) {
        uarch_free(&file->u);
        return NULL;
    }
    return &file->u;
}

void uarch_free(struct uarch *u)
{
    if (u == NULL)
        return;
    struct uarch_file *file = (struct uarch_file *)u; // u is its first member.
    free((void *)(uintptr_t)u->classes);
    free((void *)(uintptr_t)u->cpuid);
    free((void *)(uintptr_t)u->calibrations);
    raw_free(file->raw);
    free(file->path);
    free(file);
}

const struct uarch_class *uarch_class_find(const struct uarch *u, const char *name)
{
    size_t low = 0, high = u->class_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, u->classes[middle].name);
        if (order == 0)
            return &u->classes[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct uarch_cpuid *uarch_cpuid_find(const struct uarch *u, uint32_t leaf, uint32_t subleaf)
{
    for (size_t i = 0; i < u->cpuid_count; i++) {
        const struct uarch_cpuid *c = &u->cpuid[i];
        if (c->leaf == leaf && (c->subleaf == subleaf || c->subleaf == UARCH_ANY_SUBLEAF))
            return c;
    }
    return NULL;
}

// Where a parameter lives in struct uarch and in the raw file.
struct param_place {
    const char *group;
    const char *name;
    const char *unit;
    const char *about;
    size_t value_offset;
    size_t raw_offset;
    size_t group_source_offset;
};

static const struct param_place places[] = {
#define GROUP(g, about)
#define P(g, name, unit, min, max, about)                                                                    \
    {#g,                                                                                                     \
     #name,                                                                                                  \
     #unit,                                                                                                  \
     about,                                                                                                  \
     offsetof(struct uarch, g.name),                                                                         \
     offsetof(struct raw_uarch, g.name),                                                                     \
     offsetof(struct raw_uarch, g.source)},
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
};

size_t uarch_param_count(void)
{
    return sizeof places / sizeof places[0];
}

struct uarch_param uarch_param_at(const struct uarch *u, size_t index)
{
    const struct param_place *p = &places[index];
    const char *raw = (const char *)((const struct uarch_file *)u)->raw;
    struct raw_param param;
    const char *group_source;
    uint64_t value;
    memcpy(&param, raw + p->raw_offset, sizeof param);
    memcpy(&group_source, raw + p->group_source_offset, sizeof group_source);
    memcpy(&value, (const char *)u + p->value_offset, sizeof value);
    return (struct uarch_param){p->group, p->name, p->unit,
                                p->about, value,   param.source != NULL ? param.source : group_source};
}

void uarch_replace(struct uarch *u, size_t index, uint64_t value)
{
    memcpy((char *)u + places[index].value_offset, &value, sizeof value);
}

bool uarch_sound(const struct uarch *u, char *error, size_t error_size)
{
    return uarch_check(u, &(struct uarch_report){u->path, error, error_size});
}

// IA32_VMX_BASIC, SDM A.1: revision, region size, no 32-bit restriction, no dual-monitor bit, write-back (6)
// access, INS/OUTS information and TRUE control MSRs.
static uint64_t vmx_basic(const struct uarch_vmx_cap *c)
{
    return c->revision | c->vmcs_bytes << 32 | 6ULL << 50 | 1ULL << 54 | 1ULL << 55;
}

bool uarch_vmx_msr(const struct uarch *u, uint32_t index, uint64_t *value)
{
    const struct uarch_vmx_cap *c = &u->vmx_cap;
    // Columns: MSR index, value, present. A control pair is allowed-0 in bits 31:0 and allowed-1 in bits
    // 63:32.
    const struct {
        uint32_t index;
        uint64_t value;
        bool present;
    } msrs[] = {
        {0x480, vmx_basic(c), true},
        {0x481, c->pin_allowed0 | c->pin_allowed1 << 32, true},
        {0x482, c->proc_allowed0 | c->proc_allowed1 << 32, true},
        {0x483, c->exit_allowed0 | c->exit_allowed1 << 32, true},
        {0x484, c->entry_allowed0 | c->entry_allowed1 << 32, true},
        {0x485, c->misc, true},
        {0x486, c->cr0_fixed0, true},
        {0x487, c->cr0_fixed1, true},
        {0x488, c->cr4_fixed0, true},
        {0x489, c->cr4_fixed1, true},
        {0x48a, c->vmcs_enum, true},
        {0x48b, c->proc2_allowed1 << 32, (c->proc_allowed1 >> 31 & 1) != 0},
        {0x48c, c->ept_vpid, (c->proc2_allowed1 & (1u << 1 | 1u << 5)) != 0},
        {0x48d, c->pin_true_allowed0 | c->pin_allowed1 << 32, true},
        {0x48e, c->proc_true_allowed0 | c->proc_allowed1 << 32, true},
        {0x48f, c->exit_true_allowed0 | c->exit_allowed1 << 32, true},
        {0x490, c->entry_true_allowed0 | c->entry_allowed1 << 32, true},
        {0x491, c->vmfunc, (c->proc2_allowed1 >> 13 & 1) != 0},
        {0x492, c->proc3_allowed1, (c->proc_allowed1 >> 17 & 1) != 0},
    };
    for (size_t i = 0; i < sizeof msrs / sizeof msrs[0]; i++) {
        if (msrs[i].index == index && msrs[i].present) {
            *value = msrs[i].value;
            return true;
        }
    }
    return false;
}
