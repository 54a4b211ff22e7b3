// SPDX-License-Identifier: Apache-2.0
#include "models/mmu/mmu.h"

#include "models/mem/mem.h"
#include "models/mmu/check.h"
#include "spec/vmx_bits.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *mmu_result_str(enum mmu_result result)
{
    static const char *const names[MMU_RESULTS] = {
        [MMU_OK] = "ok",
        [MMU_NOT_CANONICAL] = "not canonical",
        [MMU_PAGE_FAULT] = "page fault",
        [MMU_EPT_VIOLATION] = "ept violation",
        [MMU_EPT_MISCONFIG] = "ept misconfiguration",
        [MMU_LOG_FULL] = "pml full",
    };

    return names[result];
}

struct mmu *mmu_create(struct pcpu *c)
{
    struct mmu *m = calloc(1, sizeof *m);

    assert(m);
    m->cpu = c;
    m->check = c->machine->tlb_check;
    tlb_create(&m->tlb, c->uarch);
    mmu_reset(m);
    return m;
}

void mmu_reset(struct mmu *m)
{
    tlb_reset(&m->tlb, m->cpu->uarch);
    m->counters = (struct mmu_counters){0};
    m->walked = false;
    m->ready = false;
    m->apart[0] = m->apart[1] = UINT64_MAX;
    // The TLB counts its changes from 0 again: an old stamp could be right once more, for entries that are
    // gone.
    memset(m->near, 0, sizeof m->near);
    m->near_stamp = 1;
}

void mmu_destroy(struct mmu *m)
{
    if (!m)
        return;
    tlb_destroy(&m->tlb);
    free(m);
}

static uint16_t ept_demand(const struct mmu_space *s, unsigned access, enum mmu_mode mode)
{
    uint16_t need = access & (EPT_ACCESS_READ | EPT_ACCESS_WRITE); // MMU_R, MMU_W

    if (access & EPT_ACCESS_FETCH) // Where the guest's tables tell, entries of both modes say what holds.
        need |= s->mode_based_exec && mode == MMU_USER ? MMU_XU : MMU_X;
    if (access & EPT_ACCESS_WRITE)
        need |= MMU_DIRTY | MMU_GDIRTY;
    return need;
}

// A key that is not 0 is for allows() to look at; if even 0 is denied, everything is.
static struct mmu_rule rule_of(const struct mmu_space *s, unsigned access, enum mmu_mode mode)
{
    struct mmu_rule r = {.demand = paging_demand(&s->paging, access, mode),
                         .ept = ept_demand(s, access, mode)};

    r.need = r.demand.need | r.ept;
    r.mask = r.need | r.demand.forbid;
    if (r.demand.keys)
        r.mask |= MMU_KEY;
    if (r.demand.keys & 1) {
        r.mask |= MMU_NEVER;
        r.need |= MMU_NEVER;
    }
    return r;
}

static void make_rules(struct mmu *m)
{
    m->near_stamp++;
    for (unsigned mode = 0; mode < MMU_MODES; mode++)
        for (unsigned access = 0; access < 8; access++)
            m->rules[mode][access] = rule_of(&m->space, access, (enum mmu_mode)mode);
}

void mmu_set_pkru(struct mmu *m, uint32_t pkru)
{
    m->space.paging.pkru = pkru;
    make_rules(m);
}

static void make_canonical(struct mmu *m)
{
    unsigned levels = m->space.paging.levels;
    unsigned bits = levels >= 4 ? 12 + 9 * levels : 32;

    m->canonical_add = levels >= 4 ? 1ull << (bits - 1) : 0;
    m->canonical_mask = levels || m->space.paging.off ? ~((1ull << bits) - 1) : 0;
}

void mmu_set_space(struct mmu *m, const struct mmu_space *s)
{
    // The usual VM entry: what was in force before the exit still is.
    if (memcmp(&m->space, s, sizeof *s) == 0 && m->numbers.epoch == m->tlb.contexts.epoch && m->ready)
        return;
    m->space = *s;
    m->ready = true;
    make_rules(m);
    make_canonical(m);
    tlb_numbers_make(&m->tlb, &s->tag, s->ept, &m->numbers);
}

void mmu_refresh(struct mmu *m)
{
    if (m->numbers.epoch == m->tlb.contexts.epoch)
        return;
    tlb_numbers_make(&m->tlb, &m->space.tag, m->space.ept, &m->numbers);
    m->near_stamp++;
}

void mmu_set_apart(struct mmu *m, uint64_t first, uint64_t second)
{
    if (m->apart[0] == first && m->apart[1] == second)
        return;
    m->apart[0] = first;
    m->apart[1] = second;
    m->near_stamp++;
}

// What the event itself invalidates.
static void invalidate(struct mmu *m, uint64_t linear)
{
    const struct tlb_tag *tag = &m->space.tag;

    if (m->walk.result == MMU_PAGE_FAULT)
        tlb_flush_pcid_linear(&m->tlb, tag->vpid, tag->pcid, linear, false);
    else if (m->walk.result == MMU_EPT_VIOLATION)
        tlb_flush_violation(&m->tlb, tag, m->walk.gpa, m->walk.qualification & QUAL_EPT_TRANSLATED, linear);
}

// Counts a look-up and takes its time.
static void account(struct mmu *m, bool fetch, enum tlb_where where)
{
    struct mmu_counters *k = &m->counters;

    if (fetch)
        where == TLB_HIT_L1 ? k->itlb_hits++ : k->itlb_misses++;
    else
        where == TLB_HIT_L1 ? k->dtlb_hits++ : k->dtlb_misses++;
    if (where == TLB_HIT_L2) {
        k->stlb_hits++;
        pcpu_charge_cycles(m->cpu, m->cpu->uarch->stlb.latency_cycles);
    } else if (where == TLB_MISS) {
        k->stlb_misses++;
    }
}

bool mmu_find(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode, uint64_t *hpa)
{
    bool fetch = access & EPT_ACCESS_FETCH;
    const struct array_value *v;
    enum tlb_where where;

    mmu_refresh(m);
    if (!mmu_canonical(m, linear))
        return false;
    v = tlb_find(&m->tlb, &m->numbers, linear, fetch, &where);
    if (!v || !mmu_allows(m, v->rights, access, mode))
        return false;
    account(m, fetch, where);
    if (m->check)
        mmu_check_hit(m, linear, access, mode, v);
    *hpa = v->hpa | (linear & ((1ull << v->page_bits) - 1));
    return true;
}

static void learn(struct mmu *m, uint64_t linear, unsigned access, uint64_t hpa, unsigned char *host)
{
    const struct array_value *v = tlb_find_first(&m->tlb, &m->numbers, linear, access & EPT_ACCESS_FETCH);

    if (!v || m->check)
        return;
    *mmu_near_of(m, linear, access) = (struct mmu_near){.page = linear >> 12,
                                                        .stamp = mmu_near_stamp(m),
                                                        .hpa = hpa & ~0xfffull,
                                                        .host = host,
                                                        .place = tlb_place_of(&m->tlb, v)};
}

unsigned char *mmu_ordinary_search(struct mmu *m, uint64_t linear, unsigned access, uint64_t *hpa)
{
    unsigned char *host;

    if (!mmu_hit(m, linear, access, m->mode, hpa) && !mmu_find(m, linear, access, m->mode, hpa))
        return NULL;
    if (*hpa >> 12 == m->apart[0] || *hpa >> 12 == m->apart[1])
        return NULL;
    host = mem_hpa_to_ptr(m->cpu, *hpa & ~0xfffull, 4096);
    if (!host)
        return NULL;
    learn(m, linear, access, *hpa, host);
    return host + (linear & 0xfff);
}

enum mmu_result mmu_translate(struct mmu *m, uint64_t linear, unsigned access, enum mmu_mode mode,
                              uint64_t *hpa)
{
    const struct array_value *v;
    enum tlb_where where;

    m->walked = false;
    mmu_refresh(m);
    if (!mmu_canonical(m, linear))
        return MMU_NOT_CANONICAL;
    v = tlb_find(&m->tlb, &m->numbers, linear, access & EPT_ACCESS_FETCH, &where);
    account(m, access & EPT_ACCESS_FETCH, where);
    if (v && m->check)
        mmu_check_hit(m, linear, access, mode, v);
    if (v && !mmu_allows(m, v->rights, access, mode)) {
        m->counters.rights_misses++;
        v = NULL;
    }
    if (!v) {
        m->walked = true;
        if (mmu_walk_tables(m, linear, access, mode) != MMU_OK) {
            invalidate(m, linear);
            return m->walk.result;
        }
        v = &m->walk.value;
    }
    *hpa = v->hpa | (linear & ((1ull << v->page_bits) - 1));
    return MMU_OK;
}

void mmu_counters_add(struct mmu_counters *to, const struct mmu_counters *k)
{
#define MMU_COUNTER(name, about) to->name += k->name;
#include "models/mmu/counters.def"
#undef MMU_COUNTER
}

void mmu_counters_each(const struct mmu_counters *k, void (*fn)(void *ctx, const char *name, uint64_t value),
                       void *ctx)
{
#define MMU_COUNTER(name, about) fn(ctx, #name, k->name);
#include "models/mmu/counters.def"
#undef MMU_COUNTER
}
