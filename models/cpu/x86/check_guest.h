// SPDX-License-Identifier: Apache-2.0
// The guest-state rules stand in two files (registers and the rest, segments); they are checked in the
// manual's order.
#ifndef MODELS_CPU_X86_CHECK_GUEST_H
#define MODELS_CPU_X86_CHECK_GUEST_H

#include "models/cpu/x86/entry_checks_common.h"

extern const struct entry_rule guest_register_rules[]; // 26.3.1.1
extern const struct entry_rule guest_segment_rules[];  // 26.3.1.2
extern const struct entry_rule guest_other_rules[];    // 26.3.1.3 to 26.3.1.6

// Fills e->segs.
void entry_segments_read(struct entry_view *e);
bool guest_canonical(const struct entry_view *e, uint32_t enc);

// Rules that look at more than a memo keeps: memory, and the guest's RIP.
bool entry_tpr_threshold(const struct entry_view *e);
bool entry_guest_rip(const struct entry_view *e);
bool entry_link_revision(const struct entry_view *e);
bool entry_pdptes(const struct entry_view *e);

#endif
