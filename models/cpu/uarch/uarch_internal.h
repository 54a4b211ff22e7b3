// SPDX-License-Identifier: Apache-2.0
//
// Shared by the files of the loader: the YAML file as libcyaml hands it over (all scalars still text), and
// error reports.

#ifndef MODELS_CPU_UARCH_UARCH_INTERNAL_H
#define MODELS_CPU_UARCH_UARCH_INTERNAL_H

#include "models/cpu/uarch/uarch.h"

// One parameter. `source` may be left out where the group has one.
struct raw_param {
    char *value;
    char *source;
};

#define GROUP(g, about)                                                                                      \
    struct raw_##g {                                                                                         \
        char *source;
#define P(g, name, unit, min, max, about) struct raw_param name;
#define END(g)                                                                                               \
    }                                                                                                        \
    ;
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END

struct raw_class {
    char *name;
    char *uops;
    char *fused;
    char *latency;
    char *busy;
    char *source;
};

struct raw_classes {
    char *source;
    struct raw_class *rows;
    uint32_t rows_count;
};

struct raw_cpuid_row {
    char *leaf;
    char *subleaf;
    char *eax;
    char *ebx;
    char *ecx;
    char *edx;
    char *source;
};

struct raw_cpuid {
    char *source;
    struct raw_cpuid_row *rows;
    uint32_t rows_count;
};

struct raw_calibration {
    char *parameter;
    char *row;
};

struct raw_uarch {
    char *name;
    char *about;
#define GROUP(g, about) struct raw_##g g;
#define P(g, name, unit, min, max, about)
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
    struct raw_classes classes;
    struct raw_cpuid cpuid;
    struct raw_calibration *calibrated_from;
    uint32_t calibrated_from_count;
};

// The schema of a file: a pointer to struct raw_uarch. Reads path, returns what cyaml allocated (raw_free()
// it) or NULL with `error` set.
struct raw_uarch *raw_load(const char *path, char *error, size_t error_size);
void raw_free(struct raw_uarch *raw);

// The line (1 is the first) of the key or sequence element `field`, as "l1d.ways" or "classes.rows[3].uops";
// where it is not in the file, the line of the nearest parent that is; 0 if the file cannot be parsed.
unsigned raw_line(const char *path, const char *field);

// Writes "path:line: field: message" to error.
struct uarch_report {
    const char *path;
    char *text;
    size_t size;
};
__attribute__((format(printf, 3, 4))) void uarch_report(const struct uarch_report *to, const char *field,
                                                        const char *format, ...);

// Turns raw into u (sources are still owned by raw). False with a report on the first fault.
bool uarch_convert(struct uarch *u, const struct raw_uarch *raw, const struct uarch_report *to);
// Faults that need more than one parameter to be seen.
bool uarch_check(const struct uarch *u, const struct uarch_report *to);

// Parses `text` as a number of `unit`: decimal or 0x hexadecimal, then optionally the unit ("4 cycles", "32
// KiB", "2100 MHz"). False if it is not one; *expected is then a phrase for people.
bool uarch_parse_number(const char *text, const char *unit, uint64_t *value, const char **expected);
// Parses uops in uops.info's notation: "1*p0156+1*p23", or "0" for none.
bool uarch_parse_uops(const char *text, struct uarch_class *c);

#endif
