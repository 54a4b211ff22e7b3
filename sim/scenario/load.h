// SPDX-License-Identifier: Apache-2.0
// Inside of sim/scenario: from a scenario file's text to struct scenario, by topic. Every function returns 0,
// or -1 with the error filled; a missing (NULL) text leaves the default that *out holds.
#ifndef SIM_SCENARIO_LOAD_H
#define SIM_SCENARIO_LOAD_H

#include "sim/scenario/schema.h"

struct loader {
    struct yaml_file y;
    struct raw_scenario *raw;
    struct schema_names names;
    struct user_error *e;
};

__attribute__((format(printf, 3, 4))) int load_error(struct loader *l, const char *field, const char *format,
                                                     ...);
char *load_copy(const char *text);
void *load_array(size_t count, size_t size);
int load_number(struct loader *l, const char *field, const char *text, uint64_t min, uint64_t max,
                uint64_t *out);
int load_u32(struct loader *l, const char *field, const char *text, uint64_t min, uint64_t max,
             uint32_t *out);
int load_bytes(struct loader *l, const char *field, const char *text, uint64_t min, uint64_t max,
               uint64_t *out);
int load_time(struct loader *l, const char *field, const char *text, uint64_t *out_ns);
int load_rate(struct loader *l, const char *field, const char *text, uint64_t *out);
int load_flag(struct loader *l, const char *field, const char *text, uint32_t flag, uint32_t *flags);
int load_word(struct loader *l, const char *field, const char *text, const char *const *words, size_t count,
              size_t *out);

// `knobs` has room for KNOB_COUNT more.
int load_knobs(struct loader *l, const struct raw_knobs *raw, const char *base, struct scenario_knob *knobs,
               uint32_t *count);

int load_hosts(struct loader *l, struct scenario *s);
int load_vms(struct loader *l, struct scenario *s);
int load_actions(struct loader *l, struct scenario *s);
int load_variants(struct loader *l, struct scenario *s);
// Appends what `raw` (NULL: nothing) replaces; `base`: the key it stands under.
int load_uarch(struct loader *l, const struct raw_uarch_values *raw, const char *base,
               struct scenario_uarch_list *to);
// Name of a micro-architecture's file: no path.
int load_uarch_name(struct loader *l, const char *field, const char *name);
int load_expects(struct loader *l, struct scenario *s);
int load_shows(struct loader *l, struct scenario *s);
// The axes of the sweep: before anything else is looked at.
int load_axes(struct loader *l, struct scenario *s);
// Puts the values of a point into the file's text.
int load_point(struct loader *l, struct scenario *s, uint32_t point);
// Is `at` VALUE or PATH=VALUE?
bool sweep_names(const char *path, const char *value, const char *at);
void sweep_free(struct scenario *s);

#endif
