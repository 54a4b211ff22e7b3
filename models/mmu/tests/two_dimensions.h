// SPDX-License-Identifier: Apache-2.0
// A guest with 4 or 5 levels of tables in an EPT with 4 or 5 levels, typed out; every table in a page of its
// own.
#ifndef MODELS_MMU_TESTS_TWO_DIMENSIONS_H
#define MODELS_MMU_TESTS_TWO_DIMENSIONS_H

#include "models/mmu/mmu.h"
#include "models/mmu/tests/fake_mem.h"

// EPT tables at hpa 1000H (PML5), 2000H, 3000H, 4000H, 5000H (PT). Guest page n (of 64) lies at HPA_OF(n <<
// 12).
#define HPA_OF(gpa) (0x40000ull + (gpa))
#define EPT_PTE(gpa) (0x5000 + ((gpa) >> 12) * 8)
// Guest tables at gpa 1000H (PML5), 2000H, 3000H, 4000H, 5000H (PT); the page at gpa 9000H.
#define LINEAR (0x0f7ull << 39 | 0x11bull << 30 | 0x0c4ull << 21 | 0x1abull << 12 | 0x6f0)
#define LINEAR_GPA 0x96f0ull
#define GUEST_PML5E (0x1000ull)
#define GUEST_PML4E (0x2000ull + 0xf7 * 8)
#define GUEST_PDPTE (0x3000ull + 0x11b * 8)
#define GUEST_PDE (0x4000ull + 0xc4 * 8)
#define GUEST_PTE (0x5000ull + 0x1ab * 8)

struct two_dimensions {
    struct uarch uarch;
    struct machine machine;
    struct pcpu cpu;
    struct mmu *mmu;
};
extern struct two_dimensions td;

enum { TD_NO_CACHES = 0, TD_TLB = 1, TD_TABLES = 2, TD_EPT_TABLES = 4, TD_NESTED = 8, TD_ALL = 15 };
// Tables, a unit with the caches of the bits, and a space with these levels: supervisor, WP, NXE, PGE;
// VPID 1.
void td_make(unsigned caches, unsigned guest_levels, unsigned ept_levels);
void td_end(void);
// Changes the space: whoever changed td.mmu->space by hand calls it.
void td_load(const struct mmu_space *s);
uint64_t td_guest_get(uint64_t gpa);
void td_guest_set(uint64_t gpa, uint64_t value);
// References of the last walk.
unsigned td_references(unsigned stage);

#endif
