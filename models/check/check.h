// SPDX-License-Identifier: Apache-2.0
// Validators: they look at every access of hypervisor code and at what it tells of itself (hv/hw/note.h), and
// report what is wrong even where it did no harm in this run. docs/validators.md.
//
// They change no time: a run with them has the same cycles as one without, and the same digest unless they
// find something. Findings become rows of `violations` at the end of the run, one for each pair of places in
// the code.
#ifndef MODELS_CHECK_CHECK_H
#define MODELS_CHECK_CHECK_H

#include "models/check/words.h"
#include "models/cpu/pcpu.h"

struct check;

// `kinds`: bit set of enum check_kind. Never NULL.
struct check *check_create(struct machine *machine, uint32_t kinds);
void check_destroy(struct check *k);
// Before a run, outside of simulated time: nothing is known. NULL: there are no validators.
void check_begin(struct check *k);
// After a run, before its trace ends: writes what was found. `no_more`: nothing could ever happen
// again although guests are not done.
void check_end(struct check *k, bool no_more);
// In place of check_end(), for a run of which nothing else is kept: does it have a finding? Writes one into
// `text`, in the same words whenever the same places meet; `wanted` (may be NULL) if that is among them, else
// the first. `places` gives names to places; NULL: functions do.
struct places;
bool check_judge(struct check *k, bool no_more, const struct places *places, const char *wanted, char *text,
                 size_t size);
// How many different findings the run had, of those with this kind of violation; NULL: of all.
uint32_t check_found(const struct check *k, const char *violation);

#endif
