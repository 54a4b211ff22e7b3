// SPDX-License-Identifier: Apache-2.0
// What the tables of both dimensions say at this moment: without time, without caches, without setting flags.
//
// For who checks the caches (check.h) and who looks from outside (a debugger); nothing in simulated time
// depends on it.
#ifndef MODELS_MMU_PEEK_H
#define MODELS_MMU_PEEK_H

#include "models/mmu/mmu.h"

// The entries on the way, in order; a walk of both dimensions has at most MMU_STEPS_MAX. `ticks`, `where` are
// not set.
struct mmu_peek_path {
    struct mmu_step steps[MMU_STEPS_MAX];
    unsigned count;
};

// Down to level `to` (1: to the leaf) of the EPT; `v`: the page, or the table of that level. False: nothing
// there. `path` may be NULL, here and below.
bool mmu_peek_ept(const struct pcpu *c, const struct mmu_space *space, uint64_t gpa, unsigned to,
                  struct array_value *v, struct mmu_peek_path *path);

enum mmu_peeked {
    MMU_PEEK_FOUND,
    MMU_PEEK_NOTHING,
    MMU_PEEK_UNREACHABLE // The EPT lacks a table of the guest.
};
// Down to level `to` of the guest's tables. `v`: gpa of the 4-KByte page or of the table, and the guest's
// rights.
enum mmu_peeked mmu_peek_guest(const struct pcpu *c, const struct mmu_space *space, uint64_t linear,
                               unsigned to, struct array_value *v, struct mmu_peek_path *path);

// The guest-physical address behind `linear`. False: the tables map nothing there, or the EPT lacks one of
// them.
bool mmu_peek(const struct pcpu *c, const struct mmu_space *space, uint64_t linear, uint64_t *gpa);

#endif
