// SPDX-License-Identifier: Apache-2.0
// The translation caches of one processor in non-root operation, and their invalidation.
//
// What is cached (SDM 4.10, 28.4.1): linear mappings (EPT off) or combined ones (EPT on) in split first-level
// TLBs by page size and one second-level TLB; paging-structure-cache entries of the guest's tables; and of
// the EPT's tables guest-physical paging-structure-cache entries and the nested TLB, which holds
// guest-physical translations of the guest's own paging structures. Every structure whose size is 0 is off.
// Invalidations do what the manual demands and no more, so that software which forgets one meets stale
// translations. Does not model: hv's own (root) translations (models/mem). No time is charged here.
#ifndef MODELS_MMU_TLB_H
#define MODELS_MMU_TLB_H

#include "models/cpu/uarch/uarch.h"
#include "models/mmu/array.h"

// What a translation allows, and what else an entry must know. R to DIRTY are the EPT's word (all set without
// EPT), G... the guest's tables' (W, X and DIRTY set where they do not translate).
enum mmu_right {
    MMU_R = 1,
    MMU_W = 2,
    MMU_X = 4,
    MMU_XU = 8,       // Execution from user-mode linear addresses, with mode-based execute control
    MMU_DIRTY = 0x10, // The EPT's dirty flag is set, or EPT has none
    MMU_GW = 0x20,
    MMU_GU = 0x40, // User-mode address
    MMU_GX = 0x80,
    MMU_GDIRTY = 0x100,
    MMU_GLOBAL = 0x200,
    MMU_KEY = 0x3c00, // The page's protection key
    MMU_NEVER = 0x8000,
};
#define MMU_KEY_SHIFT 10
#define MMU_KEYS 0xfu
#define MMU_EPT_RIGHTS (MMU_R | MMU_W | MMU_X | MMU_XU)

struct tlb_tag {
    uint64_t ep4ta; // 0 without EPT
    uint16_t vpid;
    uint16_t pcid;
    bool unpaged; // With EPT: CR0.PG is 0, guest-physical mappings translate (SDM 28.4.1)
};

#define TLB_TABLE_LEVELS 4u // Paging-structure caches name tables of level 1 to 4.

struct tlb {
    const struct uarch *u;
    struct contexts contexts;
    struct array data[3], fetch[3]; // First level: 4 KiB, 2 MiB, 1 GiB (fetch: in the array of 2 MiB)
    struct array second, second_1g; // Second level
    struct array table[TLB_TABLE_LEVELS + 1]; // Guest's tables, by level of the table that an entry names
    struct array ept_table[TLB_TABLE_LEVELS + 1];
    struct array nested;
    struct array none; // In place of what the core does not have
    // Bit s: a page of size s (enum array_size) was inserted since the reset
    uint8_t sizes, nested_sizes;
    bool pieces; // A page of a guest was inserted as a piece of it since the reset (SDM 4.10.2.3)
};

// Numbers of the contexts that a tag selects, valid while contexts.epoch is `epoch`.
struct tlb_numbers {
    uint32_t epoch;
    uint32_t translation, global; // For the TLBs
    uint32_t table;               // For the guest's tables
    uint32_t physical, physical_table;
};

void tlb_create(struct tlb *t, const struct uarch *u);
// Empties everything, and takes on the sizes of `u`.
void tlb_reset(struct tlb *t, const struct uarch *u);
void tlb_destroy(struct tlb *t);
void tlb_numbers_make(struct tlb *t, const struct tlb_tag *tag, bool ept, struct tlb_numbers *out);

// --- TLBs.

enum tlb_where { TLB_MISS, TLB_HIT_L1, TLB_HIT_L2 };

static inline struct array_value *tlb_find_first(struct tlb *t, const struct tlb_numbers *n, uint64_t linear,
                                                 bool fetch)
{
    static const uint8_t bits[] = {12, 21, 30};
    struct array *arrays = fetch ? t->fetch : t->data;

    for (unsigned i = 0; i < 3; i++) {
        enum array_size size = (enum array_size)(i + 1);
        uint64_t number = linear >> bits[i];
        struct array_value *v;

        if (!(t->sizes >> size & 1))
            continue;
        v = array_find(&arrays[fetch && size == ARRAY_1G ? 1 : i], number,
                       array_key(n->translation, number, size), array_key(n->global, number, size));
        if (v)
            return v;
    }
    return NULL;
}
// Where a translation lies in the first level: as long as *key_at is `key` it is there, unless its context
// was invalidated. Whoever uses it stamps `used` by the clock, as a find does.
struct tlb_place {
    const uint64_t *key_at;
    uint64_t key;
    uint64_t *used, *clock;
};
// Of a translation which tlb_find_first() finds.
struct tlb_place tlb_place_of(struct tlb *t, const struct array_value *v);
// In both levels; a hit of the second level is copied to the first.
struct array_value *tlb_find(struct tlb *t, const struct tlb_numbers *n, uint64_t linear, bool fetch,
                             enum tlb_where *where);
// Puts a translation into both levels. Its rights say whether it is global.
void tlb_insert(struct tlb *t, const struct tlb_numbers *n, uint64_t linear, bool fetch,
                const struct array_value *v);

// --- Paging-structure caches and nested TLB.

// The entry of the deepest table of at most `levels` - 1 known on the path of `address`; *level is the
// table's. `levels`: of the tables whose contents are cached; 2: 32-bit paging, where a table maps 4 MiB.
struct array_value *tlb_find_table(struct tlb *t, const struct tlb_numbers *n, bool ept, unsigned levels,
                                   uint64_t address, unsigned *level);
void tlb_insert_table(struct tlb *t, const struct tlb_numbers *n, bool ept, unsigned levels, unsigned level,
                      uint64_t address, const struct array_value *v);
struct array_value *tlb_find_nested(struct tlb *t, const struct tlb_numbers *n, uint64_t gpa);
void tlb_insert_nested(struct tlb *t, const struct tlb_numbers *n, uint64_t gpa, const struct array_value *v);

// --- Invalidation. "Mappings" are translations and paging-structure-cache entries.

// INVEPT (SDM 28.4.3.1, 30.3): guest-physical and combined mappings of the EP4TA, in every VPID and PCID.
void tlb_invept_single(struct tlb *t, uint64_t ep4ta);
void tlb_invept_all(struct tlb *t);
// INVVPID: linear and combined mappings in every PCID and EP4TA; guest-physical ones stay.
void tlb_invvpid_address(struct tlb *t, uint16_t vpid, uint64_t linear);
void tlb_invvpid_single(struct tlb *t, uint16_t vpid, bool retain_globals);
void tlb_invvpid_all(struct tlb *t); // Every VPID but 0000H.
// What a guest's own instructions and faults invalidate, for its VPID, in every EP4TA
// (SDM 4.10.4.1, 28.4.3.1). MOV to CR3 and INVPCID 1: the PCID's mappings but global translations. (INVPCID 2
// and 3, CR4.PGE: tlb_invvpid_single().) Changes of CR4.PAE and CR4.SMEP: global translations too.
void tlb_flush_pcid(struct tlb *t, uint16_t vpid, uint16_t pcid, bool spare_globals);
// INVLPG: translations of the page, global ones and every piece of it too, and all paging-structure-cache
// entries of the PCID.
void tlb_flush_linear(struct tlb *t, uint16_t vpid, uint16_t pcid, uint64_t linear);
// INVPCID 0: what would translate the address, but global translations. A page fault: global ones too.
void tlb_flush_pcid_linear(struct tlb *t, uint16_t vpid, uint16_t pcid, uint64_t linear, bool spare_globals);
// An EPT violation: guest-physical mappings of the EP4TA that would translate gpa, and, if `linear_valid`,
// combined ones of the tag that would translate `linear`.
void tlb_flush_violation(struct tlb *t, const struct tlb_tag *tag, uint64_t gpa, bool linear_valid,
                         uint64_t linear);

// Number of translations of a kind (CONTEXT_LINEAR, _COMBINED: second level; _PHYSICAL: nested TLB).
unsigned tlb_count(const struct tlb *t, enum context_kind kind);

#endif
