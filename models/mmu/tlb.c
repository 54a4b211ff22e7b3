// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/tlb.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct tlb_entry {
    struct tlb_mapping m;
    uint64_t used; // Of tlb.clock at the last use; 0: not valid.
};

struct tlb_array {
    struct tlb_entry *entries; // sets * ways
    uint32_t sets, ways;
};

enum tlb_array_name { D_4K, D_2M, D_1G, I_4K, I_2M, S_4K, S_2M, S_1G, ARRAYS };

struct table_entry {
    uint64_t ep4ta, prefix; // gpa >> bits of the level above the table
    struct ept_start start;
    uint64_t used;
};

#define TABLE_LEVELS 4u // Tables of level 1 .. 4

struct tlb {
    const struct uarch *u;
    uint64_t clock;
    struct tlb_array arrays[ARRAYS];
    struct table_entry *tables[TABLE_LEVELS + 1]; // By level of the table that the entry points to.
    uint32_t table_count[TABLE_LEVELS + 1];
};

static void array_make(struct tlb_array *a, uint64_t entries, uint64_t ways)
{
    if (!entries)
        return;
    a->ways = (uint32_t)(ways && ways <= entries ? ways : entries);
    a->sets = (uint32_t)(entries / a->ways);
    a->entries = calloc((size_t)a->sets * a->ways, sizeof *a->entries);
    assert(a->entries);
}

struct tlb *tlb_create(const struct uarch *u)
{
    struct tlb *t = calloc(1, sizeof *t);

    assert(t);
    t->u = u;
    array_make(&t->arrays[D_4K], u->dtlb.entries_4k, u->dtlb.ways_4k);
    array_make(&t->arrays[D_2M], u->dtlb.entries_2m, u->dtlb.ways_2m);
    array_make(&t->arrays[D_1G], u->dtlb.entries_1g, u->dtlb.ways_1g);
    array_make(&t->arrays[I_4K], u->itlb.entries_4k, u->itlb.ways_4k);
    array_make(&t->arrays[I_2M], u->itlb.entries_2m, u->itlb.ways_2m);
    array_make(&t->arrays[S_4K], u->stlb.entries, u->stlb.ways);
    array_make(&t->arrays[S_1G], u->stlb.entries_1g, u->stlb.ways_1g);
    t->table_count[1] = (uint32_t)u->paging_cache.pd_entries;
    t->table_count[2] = (uint32_t)u->paging_cache.pdpt_entries;
    t->table_count[3] = (uint32_t)u->paging_cache.pml4_entries;
    t->table_count[4] = t->table_count[3];
    for (unsigned l = 1; l <= TABLE_LEVELS; l++)
        t->tables[l] = t->table_count[l] ? calloc(t->table_count[l], sizeof *t->tables[l]) : NULL;
    return t;
}

void tlb_reset(struct tlb *t)
{
    t->clock = 0;
    for (unsigned i = 0; i < ARRAYS; i++) {
        struct tlb_array *a = &t->arrays[i];

        if (a->entries)
            memset(a->entries, 0, (size_t)a->sets * a->ways * sizeof *a->entries);
    }
    for (unsigned l = 1; l <= TABLE_LEVELS; l++)
        if (t->tables[l])
            memset(t->tables[l], 0, t->table_count[l] * sizeof *t->tables[l]);
}

void tlb_destroy(struct tlb *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < ARRAYS; i++)
        free(t->arrays[i].entries);
    for (unsigned l = 1; l <= TABLE_LEVELS; l++)
        free(t->tables[l]);
    free(t);
}

// The second-level array for a page size; NULL where the core has none.
static struct tlb_array *second_level(struct tlb *t, unsigned page_bits)
{
    struct tlb_array *a = &t->arrays[page_bits == 30 ? S_1G : S_4K];

    if (page_bits == 21 && !t->u->stlb.holds_2m)
        return NULL;
    return a->entries ? a : NULL;
}

static struct tlb_array *first_level(struct tlb *t, unsigned page_bits, bool fetch)
{
    struct tlb_array *a;

    if (fetch)
        a = &t->arrays[page_bits == 12 ? I_4K : I_2M];
    else
        a = &t->arrays[page_bits == 12 ? D_4K : page_bits == 21 ? D_2M : D_1G];
    return a->entries ? a : NULL;
}

static bool matches(const struct tlb_entry *e, enum tlb_kind kind, const struct tlb_tag *tag,
                    uint64_t address, unsigned page_bits)
{
    if (!e->used || e->m.kind != kind || e->m.page_bits != page_bits)
        return false;
    if ((e->m.address ^ address) >> page_bits)
        return false;
    if (e->m.tag.ep4ta != tag->ep4ta)
        return false;
    if (kind == TLB_GUEST_PHYSICAL)
        return true;
    return e->m.tag.vpid == tag->vpid && (e->m.tag.pcid == tag->pcid || e->m.global);
}

static struct tlb_entry *set_of(struct tlb_array *a, uint64_t address, unsigned page_bits)
{
    return &a->entries[(address >> page_bits) % a->sets * a->ways];
}

static struct tlb_entry *array_find(struct tlb_array *a, enum tlb_kind kind, const struct tlb_tag *tag,
                                    uint64_t address, unsigned page_bits)
{
    struct tlb_entry *set = set_of(a, address, page_bits);

    for (uint32_t w = 0; w < a->ways; w++)
        if (matches(&set[w], kind, tag, address, page_bits))
            return &set[w];
    return NULL;
}

static void array_insert(struct tlb *t, struct tlb_array *a, const struct tlb_mapping *m)
{
    struct tlb_entry *set = set_of(a, m->address, m->page_bits);
    struct tlb_entry *victim = array_find(a, m->kind, &m->tag, m->address, m->page_bits);

    for (uint32_t w = 0; !victim && w < a->ways; w++)
        if (!set[w].used)
            victim = &set[w];
    if (!victim) {
        victim = set;
        for (uint32_t w = 1; w < a->ways; w++)
            if (set[w].used < victim->used)
                victim = &set[w];
    }
    victim->m = *m;
    victim->used = ++t->clock;
}

enum tlb_where tlb_lookup(struct tlb *t, enum tlb_kind kind, const struct tlb_tag *tag, uint64_t address,
                          bool fetch, struct tlb_mapping *out)
{
    static const uint8_t sizes[] = {12, 21, 30};

    for (unsigned level = 1; level <= 2; level++) {
        for (unsigned i = 0; i < 3; i++) {
            struct tlb_array *a = level == 1 ? first_level(t, sizes[i], fetch) : second_level(t, sizes[i]);
            struct tlb_entry *e = a ? array_find(a, kind, tag, address, sizes[i]) : NULL;

            if (!e)
                continue;
            e->used = ++t->clock;
            *out = e->m;
            if (level == 1)
                return TLB_HIT_L1;
            a = first_level(t, sizes[i], fetch);
            if (a)
                array_insert(t, a, out);
            return TLB_HIT_L2;
        }
    }
    return TLB_MISS;
}

void tlb_insert(struct tlb *t, const struct tlb_mapping *m, bool fetch)
{
    struct tlb_array *first = first_level(t, m->page_bits, fetch);
    struct tlb_array *second = second_level(t, m->page_bits);

    if (first)
        array_insert(t, first, m);
    if (second)
        array_insert(t, second, m);
}

// --- Paging-structure caches. ---

static unsigned table_prefix_bits(unsigned level)
{
    return 12 + 9 * level; // A table of level n maps this much.
}

bool tlb_table_lookup(struct tlb *t, uint64_t ep4ta, unsigned levels, uint64_t gpa, struct ept_start *out)
{
    for (unsigned l = 1; l < levels && l <= TABLE_LEVELS; l++) {
        for (uint32_t i = 0; i < t->table_count[l]; i++) {
            struct table_entry *e = &t->tables[l][i];

            if (e->used && e->ep4ta == ep4ta && e->prefix == gpa >> table_prefix_bits(l)) {
                e->used = ++t->clock;
                *out = e->start;
                return true;
            }
        }
    }
    return false;
}

static void table_put(struct tlb *t, unsigned level, uint64_t ep4ta, uint64_t gpa,
                      const struct ept_start *start)
{
    uint64_t prefix = gpa >> table_prefix_bits(level);
    struct table_entry *victim = t->tables[level];

    if (!t->table_count[level])
        return;
    for (uint32_t i = 0; i < t->table_count[level]; i++) {
        struct table_entry *e = &t->tables[level][i];

        if (e->used && e->ep4ta == ep4ta && e->prefix == prefix) {
            victim = e;
            break;
        }
        if (e->used < victim->used)
            victim = e;
    }
    *victim = (struct table_entry){ep4ta, prefix, *start, ++t->clock};
}

void tlb_table_insert(struct tlb *t, uint64_t ep4ta, unsigned levels, uint64_t gpa,
                      const struct ept_start *from, const struct ept_walk *w)
{
    uint8_t rights = from ? from->rights : 0xf;

    // The last step is the leaf (or what failed): it is not a table.
    for (unsigned i = 0; i + 1u < w->step_count; i++) {
        const struct ept_step *s = &w->steps[i];
        struct ept_start start;

        rights &= (uint8_t)((s->entry & 7) | (s->entry & EPT_EXEC_USER ? 8 : 0));
        start = (struct ept_start){(uint8_t)(s->level - 1), rights, s->entry & EPT_ADDR_MASK};
        if (start.level < levels && start.level <= TABLE_LEVELS)
            table_put(t, start.level, ep4ta, gpa, &start);
    }
}

// --- Invalidation. ---

struct flush {
    bool kinds[3];
    bool by_ep4ta, by_vpid, by_pcid, by_address, all_but_vpid0, keep_globals;
    struct tlb_tag tag;
    uint64_t address;
};

static bool flush_hits(const struct flush *f, const struct tlb_mapping *m)
{
    if (!f->kinds[m->kind])
        return false;
    if (f->by_ep4ta && m->tag.ep4ta != f->tag.ep4ta)
        return false;
    if (f->by_vpid && m->tag.vpid != f->tag.vpid)
        return false;
    if (f->all_but_vpid0 && m->tag.vpid == 0)
        return false;
    if (f->keep_globals && m->global)
        return false;
    if (f->by_pcid && m->tag.pcid != f->tag.pcid && !m->global)
        return false;
    return !f->by_address || (m->address ^ f->address) >> m->page_bits == 0;
}

static void flush(struct tlb *t, const struct flush *f)
{
    for (unsigned i = 0; i < ARRAYS; i++) {
        struct tlb_array *a = &t->arrays[i];
        uint32_t n = a->entries ? a->sets * a->ways : 0;

        for (uint32_t k = 0; k < n; k++)
            if (a->entries[k].used && flush_hits(f, &a->entries[k].m))
                a->entries[k].used = 0;
    }
}

static void flush_tables(struct tlb *t, bool all, uint64_t ep4ta)
{
    for (unsigned l = 1; l <= TABLE_LEVELS; l++)
        for (uint32_t i = 0; i < t->table_count[l]; i++)
            if (all || t->tables[l][i].ep4ta == ep4ta)
                t->tables[l][i].used = 0;
}

void tlb_invept_single(struct tlb *t, uint64_t ep4ta)
{
    flush(t, &(struct flush){.kinds = {false, true, true}, .by_ep4ta = true, .tag.ep4ta = ep4ta});
    flush_tables(t, false, ep4ta);
}

void tlb_invept_all(struct tlb *t)
{
    flush(t, &(struct flush){.kinds = {false, true, true}});
    flush_tables(t, true, 0);
}

void tlb_invvpid_address(struct tlb *t, uint16_t vpid, uint64_t linear)
{
    flush(t, &(struct flush){.kinds = {true, false, true},
                             .by_vpid = true,
                             .by_address = true,
                             .tag.vpid = vpid,
                             .address = linear});
}

void tlb_invvpid_single(struct tlb *t, uint16_t vpid, bool retain_globals)
{
    flush(t, &(struct flush){.kinds = {true, false, true},
                             .by_vpid = true,
                             .tag.vpid = vpid,
                             .keep_globals = retain_globals});
}

void tlb_invvpid_all(struct tlb *t)
{
    flush(t, &(struct flush){.kinds = {true, false, true}, .all_but_vpid0 = true});
}

void tlb_flush_pcid(struct tlb *t, const struct tlb_tag *tag)
{
    flush(t, &(struct flush){.kinds = {true, false, true},
                             .by_vpid = true,
                             .by_ep4ta = true,
                             .by_pcid = true,
                             .keep_globals = true,
                             .tag = *tag});
}

void tlb_flush_linear(struct tlb *t, const struct tlb_tag *tag, uint64_t linear)
{
    flush(t, &(struct flush){.kinds = {true, false, true},
                             .by_vpid = true,
                             .by_ep4ta = true,
                             .by_pcid = true,
                             .by_address = true,
                             .tag = *tag,
                             .address = linear});
}

void tlb_flush_violation(struct tlb *t, const struct tlb_tag *tag, uint64_t gpa, uint64_t linear)
{
    flush(t, &(struct flush){.kinds = {false, true, false},
                             .by_ep4ta = true,
                             .by_address = true,
                             .tag = *tag,
                             .address = gpa});
    flush(t, &(struct flush){.kinds = {false, false, true},
                             .by_ep4ta = true,
                             .by_vpid = true,
                             .by_pcid = true,
                             .by_address = true,
                             .tag = *tag,
                             .address = linear});
    // Mappings are paging-structure-cache entries as well (SDM 28.4.1): the walk must see changed
    // permissions.
    for (unsigned l = 1; l <= TABLE_LEVELS; l++) {
        for (uint32_t i = 0; i < t->table_count[l]; i++) {
            struct table_entry *e = &t->tables[l][i];

            if (e->ep4ta == tag->ep4ta && e->prefix == gpa >> table_prefix_bits(l))
                e->used = 0;
        }
    }
}

unsigned tlb_count(const struct tlb *t, enum tlb_kind kind)
{
    unsigned count = 0;

    for (unsigned i = S_4K; i < ARRAYS; i++) {
        const struct tlb_array *a = &t->arrays[i];
        uint32_t n = a->entries ? a->sets * a->ways : 0;

        for (uint32_t k = 0; k < n; k++)
            count += a->entries[k].used && a->entries[k].m.kind == kind;
    }
    return count;
}
