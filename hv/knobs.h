// SPDX-License-Identifier: Apache-2.0
// The knobs' values of one host, in the order of hv/knobs.def. Written by whoever boots the host, then read
// only.
#ifndef HV_KNOBS_H
#define HV_KNOBS_H

#include "hv/hw/types.h"

enum knob_type { KNOB_ENUM, KNOB_BOOL, KNOB_INT };

enum knob {
#define KNOB(id, name, type, values, def, about, source) KNOB_##id,
#include "hv/knobs.def"
#undef KNOB
    KNOB_COUNT
};

// Values of enum knobs: MEMSLOT_DELETE_MODE_TWO_PHASE ...
enum knob_value {
#define KNOB(id, name, type, values, def, about, source)
#define KNOB_VALUE(id, name, index) id##_##name = index,
#include "hv/knobs.def"
#undef KNOB
};

struct knobs {
    u64 v[KNOB_COUNT];
};

// Values are named per knob above; knob(k, KNOB_HALT_POLL_NS).
static inline u64 knob(const struct knobs *k, enum knob which)
{
    return k->v[which];
}
// Sets every knob to its default.
static inline void knobs_defaults(struct knobs *k)
{
#define KNOB(id, name, type, values, def, about, source) k->v[KNOB_##id] = (u64)(def);
#include "hv/knobs.def"
#undef KNOB
}

#endif
