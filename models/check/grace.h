// SPDX-License-Identifier: Apache-2.0
// Grace periods of SRCU by happens-before: each read section has ended before the wait for it is over, or
// sees what was stored before the wait began.
#ifndef MODELS_CHECK_GRACE_H
#define MODELS_CHECK_GRACE_H

#include "hv/hw/note.h"
#include "models/check/check_internal.h"
#include "models/check/clock.h"

struct grace;

struct grace *grace_create(struct check *k);
void grace_destroy(struct grace *g);
// Software tells of `n` (NATIVE_NOTE_SRCU). `known`: what happens before it; `fenced`: what, in the one order
// of full fences, comes before the thread's last one.
void grace_note(struct grace *g, uint32_t thread, const struct native_note *n, const struct clock *known,
                const struct clock *fenced);
// The memory has a new owner.
void grace_forget(struct grace *g, uint64_t address, uint64_t bytes);
void grace_begin(struct grace *g);

#endif
