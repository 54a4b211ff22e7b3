// SPDX-License-Identifier: Apache-2.0
// Contexts: what cached translations are tagged with, and invalidation by tag.
//
// SDM 28.4.1: linear mappings have a VPID and a PCID, guest-physical ones an EP4TA, combined ones all three;
// translations that the guest marked global hold for every PCID. Each combination that occurs gets a number;
// arrays hold the number. Invalidating a combination gives it a new number, at once, however many entries it
// had. A number is a slot and the slot's generation: 10 + 7 bits.
#ifndef MODELS_MMU_CONTEXT_H
#define MODELS_MMU_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

enum context_kind {
    CONTEXT_LINEAR,       // Linear translations (no EPT)
    CONTEXT_COMBINED,     // Combined translations
    CONTEXT_PHYSICAL,     // Guest-physical translations: the nested TLB
    CONTEXT_LINEAR_TABLE, // Paging-structure-cache entries of each sort
    CONTEXT_COMBINED_TABLE,
    CONTEXT_PHYSICAL_TABLE,
    CONTEXT_KINDS
};
#define CONTEXT_BIT(kind) (1u << (kind))
// Mappings are translations and paging-structure-cache entries (SDM 28.4.1).
#define CONTEXT_LINEAR_MAPPINGS (CONTEXT_BIT(CONTEXT_LINEAR) | CONTEXT_BIT(CONTEXT_LINEAR_TABLE))
#define CONTEXT_COMBINED_MAPPINGS (CONTEXT_BIT(CONTEXT_COMBINED) | CONTEXT_BIT(CONTEXT_COMBINED_TABLE))
#define CONTEXT_PHYSICAL_MAPPINGS (CONTEXT_BIT(CONTEXT_PHYSICAL) | CONTEXT_BIT(CONTEXT_PHYSICAL_TABLE))

struct context_tag {
    uint64_t ep4ta; // 0 for linear mappings
    uint16_t vpid;  // 0 for guest-physical mappings
    uint16_t pcid;  // 0 for guest-physical mappings and global translations
    uint8_t kind;   // enum context_kind
    bool global;
};

#define CONTEXT_SLOTS 1024u
#define CONTEXT_GENERATION_BITS 7u
#define CONTEXT_GENERATIONS (1u << CONTEXT_GENERATION_BITS)

struct context_slot {
    struct context_tag tag;
    uint64_t last_use; // Of contexts.clock
};

struct contexts {
    uint8_t generation[CONTEXT_SLOTS]; // By itself: looked at for every way of a set.
    struct context_slot slots[CONTEXT_SLOTS];
    uint32_t count; // Slots below it have been in use.
    uint64_t clock;
    uint32_t
        epoch; // Changes with every number that changes: numbers that somebody keeps are to be asked anew.
    void (*purge)(void *owner, uint32_t slot); // All of the slot's entries must go, of every generation.
    void *owner;
};

// Which contexts an invalidation concerns; all conditions must hold.
struct context_filter {
    uint32_t kinds; // CONTEXT_BITs
    bool by_ep4ta, by_vpid, by_pcid;
    bool spare_globals; // Else globals count for every PCID.
    bool spare_vpid0;
    uint64_t ep4ta;
    uint16_t vpid, pcid;
};

void contexts_reset(struct contexts *s, void (*purge)(void *owner, uint32_t slot), void *owner);
// The number of a context, new if it has none. Where all slots are taken, the one not asked for longest loses
// its entries, as a TLB may always lose some.
uint32_t context_number(struct contexts *s, const struct context_tag *tag);
bool context_matches(const struct context_tag *tag, const struct context_filter *f);
// Invalidates all entries of the contexts that the filter takes.
void contexts_drop(struct contexts *s, const struct context_filter *f);

static inline bool context_alive(const struct contexts *s, uint32_t number)
{
    return s->generation[number >> CONTEXT_GENERATION_BITS] == (number & (CONTEXT_GENERATIONS - 1));
}
static inline const struct context_tag *context_of(const struct contexts *s, uint32_t number)
{
    return &s->slots[number >> CONTEXT_GENERATION_BITS].tag;
}

#endif
