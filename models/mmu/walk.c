// SPDX-License-Identifier: Apache-2.0
// The two-dimensional walk.
#include "models/mmu/mmu.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/mmu/check.h"
#include "spec/vmx_bits.h"
#include "spec/x86_bits.h"
#include <assert.h>
#include <stddef.h>
#include <string.h>

// An entry of the guest's tables that the walk used.
struct guest_step {
    uint64_t hpa, gpa; // Of the entry
    uint64_t entry;
    struct array_value table; // Where the table lies, with the rights of its page in the EPT
    uint8_t level;
};

// A walk in progress.
struct walking {
    struct mmu *m;
    struct mmu_walk *w;
    unsigned access;
    enum mmu_mode mode;
    struct guest_step guest[5];
    unsigned guest_count;
    uint16_t begin_rights; // By those above the table that the walk began at
    uint16_t rights;       // By the guest's tables
    uint8_t page_bits;     // Of the guest's page
};

static bool fail(struct walking *k, enum mmu_result result)
{
    k->w->result = result;
    return false;
}

static void add_step(struct mmu_walk *w, unsigned stage, const struct ept_step *s)
{
    assert(w->step_count < MMU_STEPS_MAX);
    w->steps[w->step_count++] = (struct mmu_step){.address = s->address,
                                                  .entry = s->entry,
                                                  .ticks = s->ticks,
                                                  .stage = (uint8_t)stage,
                                                  .level = s->level,
                                                  .where = s->where};
}

// --- The EPT's dimension.

// Remembers every EPT table that a walk has gone through. The last step is the leaf.
static void cache_ept_tables(struct mmu *m, uint64_t gpa, uint8_t rights, const struct ept_walk *e)
{
    for (unsigned i = 0; i + 1u < e->step_count; i++) {
        const struct ept_step *s = &e->steps[i];
        struct array_value v = {.hpa = s->entry & EPT_ADDR_MASK};

        rights &= (uint8_t)((s->entry & EPT_RWX) | (s->entry & EPT_EXEC_USER ? MMU_XU : 0));
        v.rights = rights;
        v.page_bits = (uint8_t)(12 + 9 * (s->level - 1));
        tlb_insert_table(&m->tlb, &m->numbers, true, EPTP_LEVELS(m->space.eptp), s->level - 1u, gpa, &v);
    }
}

static bool ept_result(struct walking *k, const struct ept_request *rq, const struct ept_walk *e)
{
    struct mmu *m = k->m;

    k->w->gpa = rq->gpa;
    switch (e->fault) {
    case EPT_FAULT_VIOLATION:
        k->w->qualification = e->qualification;
        return fail(k, MMU_EPT_VIOLATION);
    case EPT_FAULT_MISCONFIG:
        return fail(k, MMU_EPT_MISCONFIG);
    case EPT_TRANSLATED:
        break;
    }
    if (e->kept_clean)
        return fail(k, MMU_LOG_FULL);
    if (e->dirty_set && m->log.append)
        m->log.append(m->cpu, rq->gpa);
    return true;
}

// Translates a guest-physical address by the EPT; `out` is of its page. False: the walk is over.
static bool ept_translate(struct walking *k, struct ept_request *rq, struct array_value *out)
{
    struct mmu *m = k->m;
    unsigned level;
    const struct array_value *table =
        tlb_find_table(&m->tlb, &m->numbers, true, EPTP_LEVELS(rq->eptp), rq->gpa, &level);
    struct ept_start start;
    struct ept_walk e;

    rq->keep_clean = m->log.full && m->log.full(m->cpu);
    if (table) {
        m->counters.ept_table_hits++;
        start = (struct ept_start){(uint8_t)level, (uint8_t)(table->rights & MMU_EPT_RIGHTS), table->hpa};
        if (m->check)
            mmu_check_table(m, true, level, rq->gpa, table);
    } else {
        m->counters.ept_table_misses++;
    }
    ept_walk(m->cpu, rq, table ? &start : NULL, &e);
    for (unsigned i = 0; i < e.step_count; i++)
        add_step(k->w, 2, &e.steps[i]);
    m->counters.ept_references += e.step_count;
    if (!ept_result(k, rq, &e))
        return false;
    cache_ept_tables(m, rq->gpa, table ? start.rights : MMU_EPT_RIGHTS, &e);
    *out = (struct array_value){.hpa = e.hpa & ~((1ull << e.page_bits) - 1),
                                .gpa = rq->gpa & ~((1ull << e.page_bits) - 1),
                                .rights = (uint16_t)(e.rights | (e.dirty ? MMU_DIRTY : 0)),
                                .memory_type = e.memory_type,
                                .page_bits = e.page_bits};
    return true;
}

// Guest-physical address of a paging structure of the guest: by the nested TLB, else by the EPT.
// `linear`: on the way of a linear address.
static bool locate_table(struct walking *k, uint64_t entry_gpa, bool linear, struct array_value *page)
{
    struct mmu *m = k->m;
    const struct array_value *v;
    struct ept_request rq = {.eptp = m->space.eptp,
                             .gpa = entry_gpa,
                             .access = EPT_ACCESS_READ,
                             .linear_valid = linear,
                             .mode_based_exec = m->space.mode_based_exec};

    if (!m->space.ept) {
        *page = (struct array_value){.rights = MMU_EPT_RIGHTS | MMU_DIRTY, .page_bits = 48};
        return true;
    }
    v = tlb_find_nested(&m->tlb, &m->numbers, entry_gpa);
    if (v) {
        m->counters.nested_hits++;
        if (m->check)
            mmu_check_nested(m, entry_gpa, v);
        *page = *v;
        return true;
    }
    m->counters.nested_misses++;
    if (!ept_translate(k, &rq, page))
        return false;
    tlb_insert_nested(&m->tlb, &m->numbers, entry_gpa, page);
    return true;
}

// --- The guest's dimension.

static uint64_t read_guest_entry(struct walking *k, uint64_t hpa, unsigned level)
{
    struct pcpu *c = k->m->cpu;
    uint64_t begin = c->now_ticks;
    struct ept_step s = {.address = hpa, .level = (uint8_t)level};

    s.entry = paging_entry(&k->m->space.paging, hpa, mem_read64(c, hpa & ~7ull));
    s.ticks = c->now_ticks - begin;
    s.where = (uint8_t)ept_where_of(c->uarch, s.ticks);
    add_step(k->w, 1, &s);
    k->m->counters.guest_references++;
    return s.entry;
}

static bool page_fault(struct walking *k, uint32_t bits)
{
    k->w->error_code = paging_error_code(&k->m->space.paging, k->access, k->mode) | bits;
    return fail(k, MMU_PAGE_FAULT);
}

// Where the walk begins: at the deepest table known, or at CR3 (PAE paging: at a PDPTE register). Returns the
// table's level; 0: there is none.
static unsigned begin_guest(struct walking *k, uint64_t linear, struct array_value *table, bool *known)
{
    struct mmu *m = k->m;
    const struct paging *p = &m->space.paging;
    unsigned level;
    const struct array_value *v = tlb_find_table(&m->tlb, &m->numbers, false, p->levels, linear, &level);

    *known = v != NULL;
    if (!v) {
        m->counters.table_misses++;
        *table = (struct array_value){.gpa = 0};
        return paging_root(p, linear, &table->gpa) ? paging_top(p) : 0;
    }
    m->counters.table_hits++;
    if (m->check)
        mmu_check_table(m, false, level, linear, v);
    *table = *v;
    k->rights = k->begin_rights = k->rights & v->rights;
    return level;
}

// `table`: gpa of the next table. Finds its page and remembers in it where the table lies.
static bool reach_table(struct walking *k, struct array_value *table)
{
    struct array_value page;

    if (!locate_table(k, table->gpa, true, &page))
        return false;
    table->hpa = page.hpa | (table->gpa & ((1ull << page.page_bits) - 1));
    table->rights = page.rights;
    return true;
}

static bool walk_guest(struct walking *k, uint64_t linear)
{
    const struct paging *p = &k->m->space.paging;
    unsigned phys_bits = (unsigned)k->m->cpu->uarch->address.physical_bits;
    struct array_value table;
    bool known;
    unsigned level = begin_guest(k, linear, &table, &known);

    if (!level)
        return page_fault(k, 0);
    for (;; level--, known = false) {
        struct guest_step *s = &k->guest[k->guest_count++];
        uint64_t offset = paging_offset(p, linear, level);

        // The address that the EPT is asked for is that of the entry.
        table.gpa |= offset;
        if (!known && !reach_table(k, &table))
            return false;
        if (known)
            table.hpa |= offset;
        *s = (struct guest_step){.hpa = table.hpa, .gpa = table.gpa, .table = table, .level = (uint8_t)level};
        s->entry = read_guest_entry(k, s->hpa, level);
        if (!(s->entry & X86_PTE_P))
            return page_fault(k, 0);
        if (paging_reserved_set(p, s->entry, level, phys_bits))
            return page_fault(k, PFERR_P | PFERR_RSVD);
        k->rights = paging_rights(p, k->rights, s->entry);
        if (paging_is_leaf(p, s->entry, level)) {
            k->rights |= paging_key(p, s->entry);
            break;
        }
        table = (struct array_value){.gpa = paging_table(p, s->entry)};
    }
    k->page_bits = (uint8_t)paging_bits(p, level);
    return true;
}

static bool guest_allows(struct walking *k)
{
    const struct paging_demand *d = &k->m->rules[k->mode][k->access].demand;

    if (paging_allows(d, k->rights))
        return true;
    return page_fault(k, PFERR_P | (paging_key_denies(d, k->rights) ? PFERR_PK : 0));
}

static void set_entry(struct mmu *m, const struct guest_step *s, uint64_t wanted)
{
    const struct paging *p = &m->space.paging;
    uint64_t at = s->hpa & ~7ull, *bytes = mem_hpa_to_ptr(m->cpu, at, 8); // It was read.

    mem_write64(m->cpu, at, paging_entry_set(p, s->hpa, *bytes, wanted), true);
}

// SDM 4.8: accessed in every entry used, dirty in the leaf of a write. These are writes to the EPT as well;
// with its own flags on, the reads were (28.3.3.2).
static bool set_guest_flags(struct walking *k)
{
    struct mmu *m = k->m;

    for (unsigned i = 0; i < k->guest_count; i++) {
        const struct guest_step *s = &k->guest[i];
        bool leaf = i + 1 == k->guest_count;
        uint64_t wanted = X86_PTE_A | (leaf && (k->access & EPT_ACCESS_WRITE) ? X86_PTE_D : 0);

        if (leaf && ((s->entry | wanted) & X86_PTE_D))
            k->rights |= MMU_GDIRTY;
        if ((s->entry & wanted) == wanted)
            continue;
        if (!(s->table.rights & MMU_W)) {
            k->w->gpa = s->gpa;
            k->w->qualification = QUAL_EPT_READ | QUAL_EPT_WRITE | QUAL_EPT_LINEAR_VALID |
                                  (uint64_t)(s->table.rights & EPT_RWX) << QUAL_EPT_ALLOWED_SHIFT;
            return fail(k, MMU_EPT_VIOLATION);
        }
        set_entry(m, s, wanted);
        m->counters.guest_flag_writes++;
    }
    return true;
}

// Remembers the tables below the first of this walk; the first is remembered already, or CR3 names it.
static void cache_guest_tables(struct walking *k, uint64_t linear)
{
    const struct paging *p = &k->m->space.paging;
    uint16_t rights = k->begin_rights;

    for (unsigned i = 1; i < k->guest_count; i++) {
        const struct guest_step *s = &k->guest[i];
        struct array_value v = s->table;

        rights = paging_rights(p, rights, k->guest[i - 1].entry);
        v.hpa &= ~0xfffull;
        v.gpa &= ~0xfffull;
        v.rights = (uint16_t)(rights | (v.rights & (MMU_EPT_RIGHTS | MMU_DIRTY)));
        v.page_bits = (uint8_t)paging_bits(p, s->level + 1u);
        if (k->m->check)
            mmu_check_stamp(k->m, &v);
        tlb_insert_table(&k->m->tlb, &k->m->numbers, false, p->levels, s->level, linear, &v);
    }
}

// --- Together.

static uint8_t linear_rights(const struct walking *k)
{
    if (k->m->space.paging.off) // As of a user-mode address that may be written (SDM table 27-7).
        return EPT_LINEAR_USER | EPT_LINEAR_WRITABLE;
    if (!k->m->space.paging.levels)
        return 0;
    return (uint8_t)((k->rights & MMU_GU ? EPT_LINEAR_USER : 0) |
                     (k->rights & MMU_GW ? EPT_LINEAR_WRITABLE : 0) |
                     (k->rights & MMU_GX ? 0 : EPT_LINEAR_XD));
}

// The page itself, at `gpa`.
static bool reach_page(struct walking *k, uint64_t gpa, struct array_value *page)
{
    const struct mmu_space *s = &k->m->space;
    // Without tables that say so, the address is of the access's mode; with paging off, of user mode.
    bool user = s->paging.levels ? (k->rights & MMU_GU) != 0 : s->paging.off || k->mode == MMU_USER;
    struct ept_request rq = {.eptp = s->eptp,
                             .gpa = gpa,
                             .access = k->access,
                             .linear_valid = true,
                             .translates_linear = true,
                             .user = user,
                             .mode_based_exec = s->mode_based_exec,
                             .linear_rights = linear_rights(k)};

    if (!s->ept) {
        uint64_t in_page = (1ull << k->page_bits) - 1;

        *page = (struct array_value){.hpa = gpa & ~in_page,
                                     .gpa = gpa & ~in_page,
                                     .rights = MMU_EPT_RIGHTS | MMU_DIRTY,
                                     .page_bits = k->page_bits};
        return true;
    }
    if (!ept_translate(k, &rq, page))
        return false;
    // What holds for this address in either mode: lookups then need not know whose address it is.
    if (s->mode_based_exec && (s->paging.levels || s->paging.off)) {
        bool allowed = page->rights & (user ? MMU_XU : MMU_X);

        page->rights &= (uint16_t) ~(MMU_X | MMU_XU);
        page->rights |= allowed ? MMU_X | MMU_XU : 0;
    }
    return true;
}

// The smaller of the guest's page and the EPT's (SDM 28.4.1).
static void combine(struct walking *k, uint64_t gpa, const struct array_value *page, struct array_value *v)
{
    const struct guest_step *leaf = k->guest_count ? &k->guest[k->guest_count - 1] : NULL;
    uint64_t offset;

    *v = *page;
    if (k->page_bits < v->page_bits)
        v->page_bits = k->page_bits;
    if (v->page_bits == 22) // TLBs hold a page of 4 MBytes in halves.
        v->page_bits = 21;
    v->guest_bits = leaf ? k->page_bits : 0;
    offset = gpa & ((1ull << page->page_bits) - 1) & ~((1ull << v->page_bits) - 1);
    v->hpa = page->hpa | offset;
    v->gpa = page->gpa | offset;
    v->rights |= k->rights;
    if (leaf && k->m->space.paging.pge && (leaf->entry & X86_PTE_G))
        v->rights |= MMU_GLOBAL;
}

static bool walk(struct walking *k, uint64_t linear)
{
    const struct paging *p = &k->m->space.paging;
    struct array_value page;
    uint64_t gpa = linear;

    if (p->levels) {
        k->rights = k->begin_rights = MMU_GW | MMU_GU | MMU_GX;
        if (!walk_guest(k, linear) || !guest_allows(k))
            return false;
        const struct guest_step *leaf = &k->guest[k->guest_count - 1];

        gpa = paging_page(p, leaf->entry, leaf->level) | (linear & ((1ull << k->page_bits) - 1));
    }
    if (!reach_page(k, gpa, &page) || !set_guest_flags(k))
        return false;
    combine(k, gpa, &page, &k->w->value);
    k->w->gpa = gpa;
    return true;
}

static void count_result(struct mmu *m, enum mmu_result result)
{
    m->counters.page_faults += result == MMU_PAGE_FAULT;
    m->counters.ept_violations += result == MMU_EPT_VIOLATION;
    m->counters.ept_misconfigs += result == MMU_EPT_MISCONFIG;
    m->counters.log_fulls += result == MMU_LOG_FULL;
}

// A new translation stands before what was found for its addresses until now.
static void forget_near(struct mmu *m, uint64_t linear, unsigned page_bits)
{
    if (page_bits != 12) {
        m->near_stamp++;
        return;
    }
    for (unsigned mode = 0; mode < MMU_MODES; mode++)
        for (unsigned write = 0; write < 2; write++)
            m->near[mode][write][mmu_near_index(linear)].stamp = 0;
}

static void begin(struct mmu *m, uint64_t linear)
{
    struct mmu_walk *w = &m->walk;

    memset(w, 0, offsetof(struct mmu_walk, steps));
    w->linear = linear;
    w->gpa = UINT64_MAX;
    w->begin_ticks = m->cpu->now_ticks;
}

static enum mmu_result end(struct mmu *m)
{
    m->walk.ticks = m->cpu->now_ticks - m->walk.begin_ticks;
    count_result(m, m->walk.result);
    return m->walk.result;
}

enum mmu_result mmu_translate_physical(struct mmu *m, uint64_t gpa, uint64_t *hpa)
{
    struct walking k = {.m = m, .w = &m->walk, .access = EPT_ACCESS_READ};
    struct array_value page;

    begin(m, 0);
    mmu_refresh(m);
    if (locate_table(&k, gpa, false, &page))
        *hpa = page.hpa | (gpa & ((1ull << page.page_bits) - 1));
    return end(m);
}

enum mmu_result mmu_walk_tables(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode)
{
    struct mmu_walk *w = &m->walk;
    struct walking k = {.m = m,
                        .w = w,
                        .access = access,
                        .mode = mode,
                        .rights = MMU_GW | MMU_GX | MMU_GDIRTY,
                        .page_bits = 30};

    begin(m, linear);
    m->counters.walks++;
    pcpu_charge_cycles(m->cpu, m->cpu->uarch->paging_cache.walk_start_cycles);
    if (walk(&k, linear)) {
        if (m->space.paging.levels)
            cache_guest_tables(&k, linear);
        if (m->check)
            mmu_check_stamp(m, &w->value);
        tlb_insert(&m->tlb, &m->numbers, linear, access & EPT_ACCESS_FETCH, &w->value);
        forget_near(m, linear, w->value.page_bits);
    }
    return end(m);
}
