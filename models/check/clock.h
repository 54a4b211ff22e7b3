// SPDX-License-Identifier: Apache-2.0
// Vector clocks: of each thread how much of it is known to have happened before.
#ifndef MODELS_CHECK_CLOCK_H
#define MODELS_CHECK_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock {
    uint32_t count; // Threads beyond it stand at 0.
    uint32_t *at;
};

static inline uint32_t clock_of(const struct clock *v, uint32_t thread)
{
    return thread < v->count ? v->at[thread] : 0;
}
// Everything that `from` knows, `v` knows too.
void clock_join(struct clock *v, const struct clock *from);
void clock_copy(struct clock *v, const struct clock *from);
void clock_clear(struct clock *v);
void clock_tick(struct clock *v, uint32_t thread);
void clock_free(struct clock *v);

#endif
