// SPDX-License-Identifier: Apache-2.0
//
// From the text of a micro-architecture file to numbers, and the checks that a schema cannot make.

#include "models/cpu/uarch/uarch_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Spellings of the units. An empty word is the number alone; columns: unit, word, factor.
static const struct {
    const char *unit;
    const char *word;
    uint64_t factor;
} units[] = {
    {"khz", "", 1},
    {"khz", "kHz", 1},
    {"khz", "MHz", 1000},
    {"khz", "GHz", 1000000},
    {"cycles", "", 1},
    {"cycles", "cycles", 1},
    {"bytes", "", 1},
    {"bytes", "B", 1},
    {"bytes", "KiB", 1024},
    {"bytes", "MiB", 1 << 20},
    {"bytes", "GiB", 1 << 30},
    {"entries", "", 1},
    {"entries", "entries", 1},
    {"ways", "", 1},
    {"ways", "ways", 1},
    {"uops", "", 1},
    {"uops", "uops", 1},
    {"bits", "", 1},
    {"bits", "bits", 1},
    {"flag", "", 1},
    {"shift", "", 1},
    {"mask", "", 1},
    {"permille", "", 1},
    {"permille", "permille", 1},
    {"count", "", 1},
};

// Columns: unit, what a person may write.
static const char *const unit_phrases[][2] = {
    {"khz", "a clock rate: a whole number of kHz, or with the unit kHz, MHz or GHz"},
    {"cycles", "a whole number of core clock cycles, alone or with the unit cycles"},
    {"bytes", "a size: a whole number of bytes, or with the unit B, KiB, MiB or GiB"},
    {"entries", "a whole number of entries"},
    {"ways", "a whole number of ways"},
    {"uops", "a whole number of uops"},
    {"bits", "a whole number of bits"},
    {"flag", "0 or 1"},
    {"shift", "a shift: a whole number"},
    {"mask", "a bit mask, such as 0x16"},
    {"permille", "a whole number of thousandths"},
    {"count", "a whole number"},
};

static const char *unit_phrase(const char *unit)
{
    for (size_t i = 0; i < sizeof unit_phrases / sizeof unit_phrases[0]; i++)
        if (strcmp(unit_phrases[i][0], unit) == 0)
            return unit_phrases[i][1];
    return "a whole number";
}

bool uarch_parse_number(const char *text, const char *unit, uint64_t *value, const char **expected)
{
    *expected = unit_phrase(unit);
    if (*text < '0' || *text > '9')
        return false;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, hex ? 16 : 10);
    if (errno != 0)
        return false;
    end += strspn(end, " ");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(units[i].unit, unit) != 0 || strcmp(units[i].word, end) != 0)
            continue;
        if (number > UINT64_MAX / units[i].factor)
            return false;
        *value = number * units[i].factor;
        return true;
    }
    return false;
}

bool uarch_parse_uops(const char *text, struct uarch_class *c)
{
    c->uop_kinds = 0;
    if (strcmp(text, "0") == 0)
        return true;
    for (;;) {
        char *end = NULL;
        unsigned long count = strtoul(text, &end, 10);
        if (end == text || count == 0 || count > 1000 || strncmp(end, "*p", 2) != 0 ||
            c->uop_kinds == UARCH_UOPS_MAX)
            return false;
        unsigned ports = 0;
        for (text = end + 2; *text >= '0' && *text <= '9'; text++)
            ports |= 1u << (*text - '0');
        if (ports == 0)
            return false;
        c->uop[c->uop_kinds].ports = (uint16_t)ports;
        c->uop[c->uop_kinds++].count = (uint16_t)count;
        if (*text == '\0')
            return true;
        if (*text++ != '+')
            return false;
    }
}

static bool convert_param(uint64_t *out, const struct raw_param *raw, const char *group_source,
                          const char *field, const char *unit, uint64_t min, uint64_t max,
                          const struct uarch_report *to)
{
    const char *expected = NULL;
    char path[160];
    if (raw->source == NULL && group_source == NULL) {
        uarch_report(to, field, "has no source; expected `source: \"...\"` here or in its group");
        return false;
    }
    snprintf(path, sizeof path, "%s.value", field);
    if (!uarch_parse_number(raw->value, unit, out, &expected)) {
        uarch_report(to, path, "\"%s\" is not understood; expected %s", raw->value, expected);
        return false;
    }
    if (*out < min || *out > max) {
        uarch_report(to, path, "%" PRIu64 " is out of range; expected %s from %" PRIu64 " to %" PRIu64, *out,
                     unit_phrase(unit), min, max);
        return false;
    }
    return true;
}

static bool convert_params(struct uarch *u, const struct raw_uarch *raw, const struct uarch_report *to)
{
#define GROUP(g, about)
#define P(g, name, unit, min, max, about)                                                                    \
    if (!convert_param(&u->g.name, &raw->g.name, raw->g.source, #g "." #name, #unit, min, max, to))          \
        return false;
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
    return true;
}

// A number of a table row. `text` NULL is a key that was left out: *out keeps its value.
static bool convert_cell(uint32_t *out, const char *text, const char *unit, const char *row,
                         const char *column, const struct uarch_report *to)
{
    uint64_t value = 0;
    const char *expected = NULL;
    char field[96];
    if (text == NULL)
        return true;
    snprintf(field, sizeof field, "%s.%s", row, column);
    if (!uarch_parse_number(text, unit, &value, &expected) || value > UINT32_MAX) {
        uarch_report(to, field, "\"%s\" is not understood; expected %s below 2^32", text, expected);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static int class_order(const void *a, const void *b)
{
    return strcmp(((const struct uarch_class *)a)->name, ((const struct uarch_class *)b)->name);
}

static bool convert_class(struct uarch_class *c, const struct raw_class *r, const char *source,
                          const char *row, const struct uarch_report *to)
{
    char field[96];
    *c = (struct uarch_class){
        .name = r->name, .source = r->source != NULL ? r->source : source, .busy_cycles = 1};
    if (c->source == NULL) {
        uarch_report(to, row, "has no source; expected `source: \"...\"` here or beside `rows`");
        return false;
    }
    if (!uarch_parse_uops(r->uops, c)) {
        snprintf(field, sizeof field, "%s.uops", row);
        uarch_report(to, field,
                     "\"%s\" is not understood; expected uops by ports such as 1*p0156+1*p23, or 0", r->uops);
        return false;
    }
    return convert_cell(&c->fused_uops, r->fused, "uops", row, "fused", to) &&
           convert_cell(&c->latency_cycles, r->latency, "cycles", row, "latency", to) &&
           convert_cell(&c->busy_cycles, r->busy, "cycles", row, "busy", to);
}

static bool convert_classes(struct uarch *u, const struct raw_classes *raw, const struct uarch_report *to)
{
    char row[48];
    struct uarch_class *classes = calloc(raw->rows_count, sizeof *classes);
    if (classes == NULL)
        abort();
    u->classes = classes;
    u->class_count = raw->rows_count;
    for (uint32_t i = 0; i < raw->rows_count; i++) {
        snprintf(row, sizeof row, "classes.rows[%u]", i);
        if (!convert_class(&classes[i], &raw->rows[i], raw->source, row, to))
            return false;
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(classes[j].name, classes[i].name) == 0) {
                uarch_report(to, row, "class \"%s\" has a row already; expected one row for a class",
                             classes[i].name);
                return false;
            }
        }
    }
    qsort(classes, u->class_count, sizeof *classes, class_order);
    return true;
}

static bool convert_cpuid_row(struct uarch_cpuid *c, const struct raw_cpuid_row *r, const char *source,
                              const char *row, const struct uarch_report *to)
{
    *c = (struct uarch_cpuid){.source = r->source != NULL ? r->source : source};
    const char *subleaf = r->subleaf;
    if (c->source == NULL) {
        uarch_report(to, row, "has no source; expected `source: \"...\"` here or beside `rows`");
        return false;
    }
    if (subleaf == NULL || strcmp(subleaf, "any") == 0) {
        c->subleaf = UARCH_ANY_SUBLEAF;
        subleaf = NULL;
    }
    return convert_cell(&c->leaf, r->leaf, "mask", row, "leaf", to) &&
           convert_cell(&c->subleaf, subleaf, "mask", row, "subleaf", to) &&
           convert_cell(&c->eax, r->eax, "mask", row, "eax", to) &&
           convert_cell(&c->ebx, r->ebx, "mask", row, "ebx", to) &&
           convert_cell(&c->ecx, r->ecx, "mask", row, "ecx", to) &&
           convert_cell(&c->edx, r->edx, "mask", row, "edx", to);
}

static bool convert_cpuid(struct uarch *u, const struct raw_cpuid *raw, const struct uarch_report *to)
{
    char row[48];
    struct uarch_cpuid *rows = calloc(raw->rows_count, sizeof *rows);
    if (rows == NULL)
        abort();
    u->cpuid = rows;
    u->cpuid_count = raw->rows_count;
    for (uint32_t i = 0; i < raw->rows_count; i++) {
        snprintf(row, sizeof row, "cpuid.rows[%u]", i);
        if (!convert_cpuid_row(&rows[i], &raw->rows[i], raw->source, row, to))
            return false;
        uint64_t key = (uint64_t)rows[i].leaf << 32 | rows[i].subleaf;
        if (i > 0 && key <= ((uint64_t)rows[i - 1].leaf << 32 | rows[i - 1].subleaf)) {
            uarch_report(to, row,
                         "is out of order; expected rows to ascend by leaf, then subleaf, without doubles");
            return false;
        }
    }
    return true;
}

static bool convert_calibrations(struct uarch *u, const struct raw_uarch *raw, const struct uarch_report *to)
{
    char field[64];
    struct uarch_calibration *rows = calloc(raw->calibrated_from_count + 1, sizeof *rows);
    if (rows == NULL)
        abort();
    u->calibrations = rows;
    u->calibration_count = raw->calibrated_from_count;
    for (uint32_t i = 0; i < raw->calibrated_from_count; i++) {
        bool known = false;
        rows[i] = (struct uarch_calibration){raw->calibrated_from[i].parameter, raw->calibrated_from[i].row};
        for (size_t p = 0; p < uarch_param_count() && !known; p++) {
            char name[96];
            struct uarch_param param = uarch_param_at(u, p);
            snprintf(name, sizeof name, "%s.%s", param.group, param.name);
            known = strcmp(name, rows[i].parameter) == 0;
        }
        if (!known) {
            snprintf(field, sizeof field, "calibrated_from[%u].parameter", i);
            uarch_report(to, field, "\"%s\" is no parameter; expected group.name of this file",
                         rows[i].parameter);
            return false;
        }
    }
    return true;
}

bool uarch_convert(struct uarch *u, const struct raw_uarch *raw, const struct uarch_report *to)
{
    u->name = raw->name;
    u->about = raw->about;
    return convert_params(u, raw, to) && convert_classes(u, &raw->classes, to) &&
           convert_cpuid(u, &raw->cpuid, to) && convert_calibrations(u, raw, to);
}

// A cache must be a whole number of sets, a power of two unless it is the sliced last level.
static bool check_cache(const char *name, uint64_t size, uint64_t ways, uint64_t line, bool sliced,
                        const struct uarch_report *to)
{
    char field[64];
    uint64_t sets = size / (ways * line);
    if (sets * ways * line == size && (sliced || (sets & (sets - 1)) == 0))
        return true;
    snprintf(field, sizeof field, "%s.size_bytes", name);
    uarch_report(to, field,
                 "%" PRIu64 " bytes in %" PRIu64 " ways of %" PRIu64
                 "-byte lines are no whole number of sets%s",
                 size, ways, line, sliced ? "" : " that is a power of two");
    return false;
}

static bool check_tlb(const char *field, uint64_t entries, uint64_t ways, const struct uarch_report *to)
{
    if (ways == 0 ? entries == 0 : entries % ways == 0)
        return true;
    uarch_report(to, field, "%" PRIu64 " entries are no whole number of sets of %" PRIu64 " ways", entries,
                 ways);
    return false;
}

bool uarch_check(const struct uarch *u, const struct uarch_report *to)
{
    if ((u->vmx_cap.misc & 31) != u->vmx.preemption_shift) {
        uarch_report(to, "vmx.preemption_shift", "differs from bits 4:0 of vmx_cap.misc; expected %u",
                     (unsigned)(u->vmx_cap.misc & 31));
        return false;
    }
#define ORDERED(lo, hi)                                                                                      \
    if (u->vmx_cap.lo & ~u->vmx_cap.hi) {                                                                    \
        uarch_report(to, "vmx_cap." #lo, "requires a control that vmx_cap." #hi " does not allow");          \
        return false;                                                                                        \
    }
    ORDERED(pin_allowed0, pin_allowed1)
    ORDERED(pin_true_allowed0, pin_allowed0)
    ORDERED(proc_allowed0, proc_allowed1)
    ORDERED(proc_true_allowed0, proc_allowed0)
    ORDERED(exit_allowed0, exit_allowed1)
    ORDERED(exit_true_allowed0, exit_allowed0)
    ORDERED(entry_allowed0, entry_allowed1)
    ORDERED(entry_true_allowed0, entry_allowed0)
    ORDERED(cr0_fixed0, cr0_fixed1)
    ORDERED(cr4_fixed0, cr4_fixed1)
#undef ORDERED
    return check_cache("l1d", u->l1d.size_bytes, u->l1d.ways, u->l1d.line_bytes, false, to) &&
           check_cache("l1i", u->l1i.size_bytes, u->l1i.ways, u->l1i.line_bytes, false, to) &&
           check_cache("l2", u->l2.size_bytes, u->l2.ways, u->l2.line_bytes, false, to) &&
           check_cache("l3", u->l3.size_bytes, u->l3.ways, u->l3.line_bytes, true, to) &&
           check_tlb("dtlb.ways_4k", u->dtlb.entries_4k, u->dtlb.ways_4k, to) &&
           check_tlb("dtlb.ways_2m", u->dtlb.entries_2m, u->dtlb.ways_2m, to) &&
           check_tlb("dtlb.ways_1g", u->dtlb.entries_1g, u->dtlb.ways_1g, to) &&
           check_tlb("itlb.ways_4k", u->itlb.entries_4k, u->itlb.ways_4k, to) &&
           check_tlb("itlb.ways_2m", u->itlb.entries_2m, u->itlb.ways_2m, to) &&
           check_tlb("stlb.ways", u->stlb.entries, u->stlb.ways, to) &&
           check_tlb("stlb.ways_1g", u->stlb.entries_1g, u->stlb.ways_1g, to);
}
