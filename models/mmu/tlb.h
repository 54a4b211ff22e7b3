// SPDX-License-Identifier: Apache-2.0
// The TLB of non-root operation: cached guest translations with VMX tags, and the paging-structure caches.
//
// What is cached (SDM 28.4.1): linear mappings (EPT off), guest-physical mappings and combined mappings (EPT
// on), each with the tags that the manual gives it; and guest-physical paging-structure entries. The
// invalidations do what the manual demands and no more, so that software which forgets one sees stale
// translations. Does not model: hv's own (root) translations (models/mem), guests' own page tables. Time:
// lookups say how long they took; nothing here charges.
#ifndef MODELS_MMU_TLB_H
#define MODELS_MMU_TLB_H

#include "models/cpu/uarch/uarch.h"
#include "models/mmu/ept.h"
#include <stdbool.h>
#include <stdint.h>

enum tlb_kind { TLB_LINEAR, TLB_GUEST_PHYSICAL, TLB_COMBINED };

struct tlb_tag {
    uint64_t ep4ta; // 0 for linear mappings
    uint16_t vpid;  // Not used by guest-physical mappings
    uint16_t pcid;
};

struct tlb_mapping {
    struct tlb_tag tag;
    uint64_t address;  // Linear, or guest-physical by kind; of any byte in the page
    uint64_t hpa;      // Of the page's first byte
    uint8_t kind;      // enum tlb_kind
    uint8_t page_bits; // 12, 21, 30
    uint8_t rights;    // As struct ept_walk
    uint8_t memory_type;
    bool dirty;  // Writes need no walk to set the flag
    bool global; // The guest's translation was global (CR4.PGE and PTE.G)
};

enum tlb_where { TLB_MISS, TLB_HIT_L1, TLB_HIT_L2 };

struct tlb;
struct tlb *tlb_create(const struct uarch *u);
void tlb_reset(struct tlb *t);
void tlb_destroy(struct tlb *t);

// Finds the mapping of `address`. A hit in the second level is copied to the first; `fetch` chooses the
// instruction TLB. `out->hpa` is the page's.
enum tlb_where tlb_lookup(struct tlb *t, enum tlb_kind kind, const struct tlb_tag *tag, uint64_t address,
                          bool fetch, struct tlb_mapping *out);
// Puts a mapping into both levels, replacing the least recently used of its set, or its own older version.
void tlb_insert(struct tlb *t, const struct tlb_mapping *m, bool fetch);

// Guest-physical paging-structure caches: the deepest table known on the path of `gpa`. `levels` of the EPTP.
bool tlb_table_lookup(struct tlb *t, uint64_t ep4ta, unsigned levels, uint64_t gpa, struct ept_start *out);
// Remembers every table that the walk has gone through.
void tlb_table_insert(struct tlb *t, uint64_t ep4ta, unsigned levels, uint64_t gpa,
                      const struct ept_start *from, const struct ept_walk *w);

// INVEPT (SDM 30.3, 28.4.3.1). Single-context: guest-physical and combined mappings of the EP4TA, any VPID,
// PCID.
void tlb_invept_single(struct tlb *t, uint64_t ep4ta);
void tlb_invept_all(struct tlb *t);
// INVVPID: linear and combined mappings; guest-physical ones stay.
void tlb_invvpid_address(struct tlb *t, uint16_t vpid, uint64_t linear);
void tlb_invvpid_single(struct tlb *t, uint16_t vpid, bool retain_globals);
void tlb_invvpid_all(struct tlb *t); // Every VPID but 0000H.

// Operations in non-root mode on the current tag (SDM 28.4.3.1): MOV to CR3, INVLPG.
void tlb_flush_pcid(struct tlb *t, const struct tlb_tag *tag);
void tlb_flush_linear(struct tlb *t, const struct tlb_tag *tag, uint64_t linear);
// An EPT violation drops the guest-physical mapping of `gpa` and the combined mapping of `linear`.
void tlb_flush_violation(struct tlb *t, const struct tlb_tag *tag, uint64_t gpa, uint64_t linear);

// Number of valid mappings of a kind in the second level (tests, counters).
unsigned tlb_count(const struct tlb *t, enum tlb_kind kind);

#endif
