// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/tlb.h"

#include <string.h>

static const uint8_t page_bits[] = {[ARRAY_4K] = 12, [ARRAY_2M] = 21, [ARRAY_1G] = 30};

typedef void (*array_fn)(struct array *a, void *arg);

static void each_array(struct tlb *t, array_fn fn, void *arg)
{
    for (unsigned i = 0; i < 3; i++) {
        fn(&t->data[i], arg);
        fn(&t->fetch[i], arg);
    }
    fn(&t->second, arg);
    fn(&t->second_1g, arg);
    for (unsigned l = 1; l <= TLB_TABLE_LEVELS; l++) {
        fn(&t->table[l], arg);
        fn(&t->ept_table[l], arg);
    }
    fn(&t->nested, arg);
}

static void purge_one(struct array *a, void *slot)
{
    array_purge(a, *(const uint32_t *)slot);
}

static void purge(void *owner, uint32_t slot)
{
    each_array(owner, purge_one, &slot);
}

void tlb_create(struct tlb *t, const struct uarch *u)
{
    const struct uarch_paging_cache *p = &u->paging_cache;

    memset(t, 0, sizeof *t);
    t->u = u;
    array_make(&t->data[0], u->dtlb.entries_4k, u->dtlb.ways_4k);
    array_make(&t->data[1], u->dtlb.entries_2m, u->dtlb.ways_2m);
    array_make(&t->data[2], u->dtlb.entries_1g, u->dtlb.ways_1g);
    array_make(&t->fetch[0], u->itlb.entries_4k, u->itlb.ways_4k);
    array_make(&t->fetch[1], u->itlb.entries_2m, u->itlb.ways_2m);
    array_make(&t->second, u->stlb.entries, u->stlb.ways);
    array_make(&t->second_1g, u->stlb.entries_1g, u->stlb.ways_1g);
    array_make(&t->table[1], p->pd_entries, 0);
    array_make(&t->table[2], p->pdpt_entries, 0);
    array_make(&t->table[3], p->pml4_entries, 0);
    array_make(&t->table[4], p->pml5_entries, 0);
    array_make(&t->ept_table[1], p->ept_pd_entries, 0);
    array_make(&t->ept_table[2], p->ept_pdpt_entries, 0);
    array_make(&t->ept_table[3], p->ept_pml4_entries, 0);
    array_make(&t->ept_table[4], p->ept_pml5_entries, 0);
    array_make(&t->nested, p->nested_entries, p->nested_ways);
    contexts_reset(&t->contexts, purge, t);
}

static void free_one(struct array *a, void *arg)
{
    (void)arg;
    array_free(a);
}

void tlb_destroy(struct tlb *t)
{
    each_array(t, free_one, NULL);
}

void tlb_reset(struct tlb *t, const struct uarch *u)
{
    tlb_destroy(t);
    tlb_create(t, u);
}

void tlb_numbers_make(struct tlb *t, const struct tlb_tag *tag, bool ept, struct tlb_numbers *out)
{
    struct context_tag c = {.ep4ta = ept ? tag->ep4ta : 0,
                            .vpid = tag->vpid,
                            .pcid = tag->pcid,
                            .kind = ept ? CONTEXT_COMBINED : CONTEXT_LINEAR};

    do {
        // Taking a slot may cost another context its own: again until none of ours changed.
        out->epoch = t->contexts.epoch;
        out->translation = context_number(&t->contexts, &c);
        c.kind = ept ? CONTEXT_COMBINED_TABLE : CONTEXT_LINEAR_TABLE;
        out->table = context_number(&t->contexts, &c);
        c.kind = ept ? CONTEXT_COMBINED : CONTEXT_LINEAR;
        c.pcid = 0;
        c.global = true;
        out->global = context_number(&t->contexts, &c);
        c.pcid = tag->pcid;
        c.global = false;
        out->physical = out->physical_table = 0; // Of no context.
        if (ept) {
            struct context_tag p = {.ep4ta = tag->ep4ta, .kind = CONTEXT_PHYSICAL};

            out->physical = context_number(&t->contexts, &p);
            p.kind = CONTEXT_PHYSICAL_TABLE;
            out->physical_table = context_number(&t->contexts, &p);
            if (tag->unpaged)
                out->translation = out->global = out->physical;
        }
    } while (out->epoch != t->contexts.epoch);
}

// --- TLBs.

// The second-level array for a page size; one without entries where the core has none.
static struct array *second_level(struct tlb *t, enum array_size size)
{
    if (size == ARRAY_1G)
        return &t->second_1g;
    return size == ARRAY_2M && !t->u->stlb.holds_2m ? &t->none : &t->second;
}

static struct array *first_level(struct tlb *t, enum array_size size, bool fetch)
{
    if (!fetch)
        return &t->data[size - 1];
    return &t->fetch[size == ARRAY_4K ? 0 : 1];
}

struct array_value *tlb_find(struct tlb *t, const struct tlb_numbers *n, uint64_t linear, bool fetch,
                             enum tlb_where *where)
{
    struct array_value *v = tlb_find_first(t, n, linear, fetch);

    *where = TLB_HIT_L1;
    if (v)
        return v;
    for (enum array_size size = ARRAY_4K; size <= ARRAY_1G; size++) {
        uint64_t number = linear >> page_bits[size];
        uint64_t key = array_key(n->translation, number, size), global = array_key(n->global, number, size);

        if (!(t->sizes >> size & 1))
            continue;
        v = array_find(second_level(t, size), number, key, global);
        if (!v)
            continue;
        array_insert(first_level(t, size, fetch), &t->contexts, number, v->rights & MMU_GLOBAL ? global : key,
                     v);
        *where = TLB_HIT_L2;
        return v;
    }
    *where = TLB_MISS;
    return NULL;
}

struct tlb_place tlb_place_of(struct tlb *t, const struct array_value *v)
{
    struct array *const arrays[] = {&t->data[0], &t->data[1], &t->data[2], &t->fetch[0], &t->fetch[1]};

    for (unsigned i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        struct array *a = arrays[i];
        size_t way = (size_t)(v - a->values);

        if (a->sets && v >= a->values && way < (size_t)a->sets * a->ways)
            return (struct tlb_place){&a->keys[way], a->keys[way], &a->used[way], &a->clock};
    }
    return (struct tlb_place){0};
}

void tlb_insert(struct tlb *t, const struct tlb_numbers *n, uint64_t linear, bool fetch,
                const struct array_value *v)
{
    enum array_size size = ARRAY_SIZE_OF(v->page_bits);
    uint64_t number = linear >> v->page_bits;
    uint64_t key = array_key(v->rights & MMU_GLOBAL ? n->global : n->translation, number, size);

    t->sizes |= (uint8_t)(1u << size);
    t->pieces |= v->guest_bits > v->page_bits;
    array_insert(first_level(t, size, fetch), &t->contexts, number, key, v);
    array_insert(second_level(t, size), &t->contexts, number, key, v);
}

// --- Paging-structure caches and nested TLB.

static unsigned region_bits(unsigned level)
{
    return 12 + 9 * level; // A table of level n maps this much ...
}

#define REGION_BITS_32 22u // ... but that of 32-bit paging: its keys have another size.

static uint64_t table_key(uint32_t context, unsigned levels, unsigned level, uint64_t address,
                          uint64_t *number)
{
    bool narrow = levels == 2;

    *number = address >> (narrow ? REGION_BITS_32 : region_bits(level));
    return array_key(context, *number, narrow ? ARRAY_2M : ARRAY_4K);
}

struct array_value *tlb_find_table(struct tlb *t, const struct tlb_numbers *n, bool ept, unsigned levels,
                                   uint64_t address, unsigned *level)
{
    uint32_t context = ept ? n->physical_table : n->table;

    unsigned top = levels == 3 ? 2 : levels; // PAE paging: its third level is in registers.

    for (unsigned l = 1; l < top && l <= TLB_TABLE_LEVELS; l++) {
        uint64_t number, key = table_key(context, levels, l, address, &number);
        struct array_value *v = array_find(ept ? &t->ept_table[l] : &t->table[l], number, key, key);

        *level = l;
        if (v)
            return v;
    }
    return NULL;
}

void tlb_insert_table(struct tlb *t, const struct tlb_numbers *n, bool ept, unsigned levels, unsigned level,
                      uint64_t address, const struct array_value *v)
{
    uint64_t number;
    uint64_t key = table_key(ept ? n->physical_table : n->table, levels, level, address, &number);

    array_insert(ept ? &t->ept_table[level] : &t->table[level], &t->contexts, number, key, v);
}

struct array_value *tlb_find_nested(struct tlb *t, const struct tlb_numbers *n, uint64_t gpa)
{
    for (enum array_size size = ARRAY_4K; size <= ARRAY_1G; size++) {
        uint64_t number = gpa >> page_bits[size], key = array_key(n->physical, number, size);
        struct array_value *v = t->nested_sizes >> size & 1 ? array_find(&t->nested, number, key, key) : NULL;

        if (v)
            return v;
    }
    return NULL;
}

void tlb_insert_nested(struct tlb *t, const struct tlb_numbers *n, uint64_t gpa, const struct array_value *v)
{
    enum array_size size = ARRAY_SIZE_OF(v->page_bits);
    uint64_t number = gpa >> v->page_bits;

    t->nested_sizes |= (uint8_t)(1u << size);
    array_insert(&t->nested, &t->contexts, number, array_key(n->physical, number, size), v);
}

// --- Invalidation.

void tlb_invept_single(struct tlb *t, uint64_t ep4ta)
{
    contexts_drop(&t->contexts,
                  &(struct context_filter){.kinds = CONTEXT_PHYSICAL_MAPPINGS | CONTEXT_COMBINED_MAPPINGS,
                                           .by_ep4ta = true,
                                           .ep4ta = ep4ta});
}

void tlb_invept_all(struct tlb *t)
{
    contexts_drop(&t->contexts,
                  &(struct context_filter){.kinds = CONTEXT_PHYSICAL_MAPPINGS | CONTEXT_COMBINED_MAPPINGS});
}

// Translations of the page that `linear` lies in, of whatever size.
static void drop_page(struct tlb *t, uint64_t linear, const struct context_filter *f)
{
    for (enum array_size size = ARRAY_4K; size <= ARRAY_1G; size++) {
        uint64_t number = linear >> page_bits[size];

        array_drop(first_level(t, size, false), &t->contexts, number, size, f);
        array_drop(first_level(t, size, true), &t->contexts, number, size, f);
        array_drop(second_level(t, size), &t->contexts, number, size, f);
    }
}

// All translations of the guest's page that `linear` lies in, if it was cached in pieces.
static void drop_pieces(struct tlb *t, uint64_t linear, const struct context_filter *f)
{
    if (!t->pieces)
        return;
    for (unsigned i = 0; i < 3; i++) {
        array_drop_pieces(&t->data[i], &t->contexts, linear, f);
        array_drop_pieces(&t->fetch[i], &t->contexts, linear, f);
    }
    array_drop_pieces(&t->second, &t->contexts, linear, f);
    array_drop_pieces(&t->second_1g, &t->contexts, linear, f);
}

static void drop_tables(struct tlb *t, bool ept, uint64_t address, const struct context_filter *f)
{
    for (unsigned l = 1; l <= TLB_TABLE_LEVELS; l++)
        array_drop(ept ? &t->ept_table[l] : &t->table[l], &t->contexts, address >> region_bits(l), ARRAY_4K,
                   f);
    if (!ept)
        array_drop(&t->table[1], &t->contexts, address >> REGION_BITS_32, ARRAY_2M, f);
}

#define LINEAR_AND_COMBINED (CONTEXT_LINEAR_MAPPINGS | CONTEXT_COMBINED_MAPPINGS)

void tlb_invvpid_address(struct tlb *t, uint16_t vpid, uint64_t linear)
{
    const struct context_filter f = {.kinds = LINEAR_AND_COMBINED, .by_vpid = true, .vpid = vpid};

    drop_page(t, linear, &f);
    drop_tables(t, false, linear, &f);
}

void tlb_invvpid_single(struct tlb *t, uint16_t vpid, bool retain_globals)
{
    contexts_drop(&t->contexts, &(struct context_filter){.kinds = LINEAR_AND_COMBINED,
                                                         .by_vpid = true,
                                                         .vpid = vpid,
                                                         .spare_globals = retain_globals});
}

void tlb_invvpid_all(struct tlb *t)
{
    contexts_drop(&t->contexts, &(struct context_filter){.kinds = LINEAR_AND_COMBINED, .spare_vpid0 = true});
}

void tlb_flush_pcid(struct tlb *t, uint16_t vpid, uint16_t pcid, bool spare_globals)
{
    contexts_drop(&t->contexts, &(struct context_filter){.kinds = LINEAR_AND_COMBINED,
                                                         .by_vpid = true,
                                                         .vpid = vpid,
                                                         .by_pcid = true,
                                                         .pcid = pcid,
                                                         .spare_globals = spare_globals});
}

void tlb_flush_linear(struct tlb *t, uint16_t vpid, uint16_t pcid, uint64_t linear)
{
    struct context_filter f = {.kinds = CONTEXT_BIT(CONTEXT_LINEAR) | CONTEXT_BIT(CONTEXT_COMBINED),
                               .by_vpid = true,
                               .vpid = vpid,
                               .by_pcid = true,
                               .pcid = pcid};

    drop_page(t, linear, &f);
    drop_pieces(t, linear, &f);
    f.kinds = CONTEXT_BIT(CONTEXT_LINEAR_TABLE) | CONTEXT_BIT(CONTEXT_COMBINED_TABLE);
    contexts_drop(&t->contexts, &f);
}

void tlb_flush_pcid_linear(struct tlb *t, uint16_t vpid, uint16_t pcid, uint64_t linear, bool spare_globals)
{
    const struct context_filter f = {.kinds = LINEAR_AND_COMBINED,
                                     .by_vpid = true,
                                     .vpid = vpid,
                                     .by_pcid = true,
                                     .pcid = pcid,
                                     .spare_globals = spare_globals};

    drop_page(t, linear, &f);
    drop_tables(t, false, linear, &f);
}

void tlb_flush_violation(struct tlb *t, const struct tlb_tag *tag, uint64_t gpa, bool linear_valid,
                         uint64_t linear)
{
    struct context_filter f = {.kinds = CONTEXT_PHYSICAL_MAPPINGS, .by_ep4ta = true, .ep4ta = tag->ep4ta};

    for (enum array_size size = ARRAY_4K; size <= ARRAY_1G; size++)
        array_drop(&t->nested, &t->contexts, gpa >> page_bits[size], size, &f);
    drop_tables(t, true, gpa, &f);
    drop_page(t, gpa, &f); // Where a guest's linear addresses are guest-physical ones.
    if (!linear_valid)
        return;
    f.kinds = CONTEXT_COMBINED_MAPPINGS;
    f.by_vpid = f.by_pcid = true;
    f.vpid = tag->vpid;
    f.pcid = tag->pcid;
    drop_page(t, linear, &f);
    drop_tables(t, false, linear, &f);
}

unsigned tlb_count(const struct tlb *t, enum context_kind kind)
{
    const struct context_filter f = {.kinds = CONTEXT_BIT(kind)};

    if (kind == CONTEXT_PHYSICAL)
        return array_count(&t->nested, &t->contexts, &f);
    return array_count(&t->second, &t->contexts, &f) + array_count(&t->second_1g, &t->contexts, &f);
}
