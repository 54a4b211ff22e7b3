// SPDX-License-Identifier: Apache-2.0
// uarch: parameters of the micro-architecture that a scenario replaces.
#include "sim/scenario/load.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *group, *name;
    uint64_t min, max;
} rows[] = {
#define GROUP(g, about)
#define P(g, name, unit, min, max, about) {#g, #g "." #name, min, max},
#define END(g)
#include "models/cpu/uarch/uarch_params.def"
#undef GROUP
#undef P
#undef END
};
_Static_assert(sizeof rows / sizeof *rows == SCHEMA_UARCH_PARAMS, "a row for each parameter");

const char *schema_uarch_name(unsigned param)
{
    // What the models read when a run begins. Others went into the prices of the hypervisor's blocks, or into
    // the shape of its caches, when the machine was built.
    static const char *const groups[] = {"address", "dtlb", "itlb", "stlb", "paging_cache", "vmx_cap"};

    for (unsigned i = 0; i < sizeof groups / sizeof *groups; i++)
        if (strcmp(rows[param].group, groups[i]) == 0)
            return rows[param].name;
    return NULL;
}

int load_uarch(struct loader *l, const struct raw_uarch_values *raw, const char *base,
               struct scenario_uarch_list *to)
{
    char field[200];

    if (raw && !(to->rows = realloc(to->rows, (to->count + SCHEMA_UARCH_PARAMS) * sizeof *to->rows)))
        abort();
    for (unsigned i = 0; raw && i < SCHEMA_UARCH_PARAMS; i++) {
        if (!raw->v[i])
            continue;
        struct scenario_uarch *row = &to->rows[to->count];

        snprintf(field, sizeof field, "%.100s.%s", base, rows[i].name);
        if (load_number(l, field, raw->v[i], rows[i].min, rows[i].max, &row->value))
            return -1;
        row->param = i;
        to->count++;
    }
    return 0;
}

int load_uarch_name(struct loader *l, const char *field, const char *name)
{
    if (strchr(name, '/') || *name == '.' || *name == 0)
        return load_error(l, field, "expected the name of a micro-architecture such as skylake-sp");
    return 0;
}
