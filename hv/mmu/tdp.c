// SPDX-License-Identifier: Apache-2.0
// The tree of stage-2 tables: walking, installing, removing.
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/x86.h"

struct mmu_page *mmu_page_alloc(struct host *host)
{
    struct mmu_page *sp = kzalloc(host, sizeof(*sp));

    if (sp == NULL)
        return NULL;
    sp->spt = page_alloc_zeroed(host, MEM_PAGE_TABLE);
    if (sp->spt == NULL) {
        kfree(host, sp, sizeof(*sp));
        return NULL;
    }
    list_init(&sp->node);
    return sp;
}

void mmu_page_free(struct host *host, struct mmu_page *sp)
{
    page_free(host, sp->spt, MEM_PAGE_TABLE);
    kfree(host, sp, sizeof(*sp));
}

static u64 *table_of(struct vm *vm, u64 spte)
{
    return pfn_to_va(vm->host, spte_pfn(spte));
}

u64 *mmu_lookup(struct vm *vm, gfn_t gfn, unsigned *level)
{
    u64 *table = vm->mmu->root->spt;

    for (unsigned l = vm->mmu->root->level;; l--) {
        u64 *sptep = &table[spte_index(gfn, l)];
        u64 spte = READ_ONCE(*sptep);

        *level = l;
        if (l == PG_LEVEL_4K || !is_present(spte) || is_leaf(spte, l))
            return sptep;
        table = table_of(vm, spte);
    }
}

// --- Installing. mmu_lock held for reading: others may install beside us.

static void account_page(struct vm *vm, struct mmu_page *sp)
{
    struct mmu_vm *mmu = vm->mmu;

    spin_lock(&mmu->pages_lock);
    list_add(&sp->node, &mmu->pages);
    mmu->page_count++;
    int result = xa_store(&mmu->page_of_pfn, va_to_hpa(vm->host, sp->spt).v >> PAGE_SHIFT, sp);

    spin_unlock(&mmu->pages_lock);
    if (unlikely(result != 0))
        HV_PANIC("no memory for the index of page tables");
}

// Puts a table from the vCPU's cache under *sptep. False: somebody else was faster; the table stays in the
// cache.
static bool link_table(struct x86_vcpu *v, u64 *sptep, u64 old, gfn_t gfn, unsigned level)
{
    struct vm *vm = v->vcpu.vm;
    struct mmu_vcpu *m = v->vcpu.mmu;

    HV_ASSERT(m->cached > 0);
    struct mmu_page *sp = m->cache[m->cached - 1];
    u64 new = make_table_spte(vm->mmu->format, va_to_hpa(vm->host, sp->spt));

    sp->gfn = gfn_round(gfn, level + 1);
    sp->level = (u8)level;
    sp->parent = sptep;
    // Release: whoever walks into the table sees its zeroes.
    if (!__atomic_compare_exchange_n(sptep, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    m->cached--;
    account_page(vm, sp);
    hw_trace(TP_KVM_MMU_SPTE_SET, sp->gfn, level + 1u, old, new, 0, 0);
    return true;
}

// Walks down to `*level`, making tables; *level may end higher at a present large page, or lower where a
// table already stands in the place of the wanted large page. NULL: lost a race.
static u64 *walk_to(struct x86_vcpu *v, gfn_t gfn, unsigned *level)
{
    struct vm *vm = v->vcpu.vm;
    u64 *table = vm->mmu->root->spt;

    for (unsigned l = vm->mmu->root->level;; l--) {
        u64 *sptep = &table[spte_index(gfn, l)];
        u64 spte = READ_ONCE(*sptep);
        bool present = is_present(spte);

        if (present && is_leaf(spte, l)) {
            *level = l;
            return sptep;
        }
        if (l <= *level && !present) {
            *level = l;
            return sptep;
        }
        if (!present) {
            if (!link_table(v, sptep, spte, gfn, l - 1))
                return NULL;
            spte = READ_ONCE(*sptep);
        }
        table = table_of(vm, spte);
    }
}

static enum fault_result set_leaf(struct vm *vm, u64 *sptep, gfn_t gfn, unsigned level, u64 new)
{
    u64 old = READ_ONCE(*sptep);

    if (old == new)
        return FAULT_SPURIOUS;
    // Another page, or fewer rights: others may still use the old translation.
    bool loses = is_present(old) && (spte_pfn(old) != spte_pfn(new) || (old & EPT_RWX & ~new));

    if (loses)
        mmu_change_begin(vm);
    bool done = __atomic_compare_exchange_n(sptep, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);

    if (done) {
        hw_trace(TP_KVM_MMU_SPTE_SET, gfn_round(gfn, level), level, old, new, 0, 0);
        if (!is_present(old))
            __atomic_fetch_add(&vm->mmu->mapped[level], 1, __ATOMIC_RELAXED);
        else if (loses)
            flush_remote_tlbs(vm);
    }
    if (loses)
        mmu_change_end(vm);
    return done ? FAULT_FIXED : FAULT_RETRY;
}

enum fault_result tdp_map(struct x86_vcpu *v, struct page_fault *f)
{
    struct vm *vm = v->vcpu.vm;
    unsigned level = f->level;
    u64 *sptep = walk_to(v, f->gfn, &level);

    if (sptep == NULL)
        return FAULT_RETRY;
    u64 old = READ_ONCE(*sptep);
    bool enough = is_present(old) && (!f->write || (old & EPT_WRITE));

    if (enough)
        return FAULT_SPURIOUS;
    if (level > f->level) // A large page with too few rights stands here, and only a smaller one may: rare.
        return FAULT_RETRY;
    pfn_t pfn = f->page.pfn & ~(pages_of_level(level) - 1);

    if (level == PG_LEVEL_4K)
        pfn = f->page.pfn;
    hw_trace(TP_KVM_MMU_SPTE_REQUESTED, f->gfn, level, pfn, 0, 0, 0);
    f->level = (u8)level;
    return set_leaf(vm, sptep, f->gfn, level,
                    make_spte(vm->mmu->format, pfn, level, f->map_writable, f->prefetch));
}

enum fault_result tdp_map_mmio(struct x86_vcpu *v, gfn_t gfn, u64 generation)
{
    unsigned level = PG_LEVEL_4K;
    u64 *sptep = walk_to(v, gfn, &level);

    if (sptep == NULL || level != PG_LEVEL_4K)
        return FAULT_RETRY;
    u64 old = READ_ONCE(*sptep), new = make_mmio_spte(gfn, generation);

    hw_trace(TP_MARK_MMIO_SPTE, va_to_hpa(v->vcpu.vm->host, sptep).v, gfn, EPT_RWX, generation, 0, 0);
    if (is_present(old))
        return FAULT_RETRY;
    if (old != new &&
        !__atomic_compare_exchange_n(sptep, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return FAULT_RETRY;
    return FAULT_EMULATE;
}

// --- Removing. mmu_lock held for writing.

struct zap {
    struct vm *vm;
    gfn_t first, end;
    struct list doomed; // Tables out of the tree, to be freed after the flush.
    bool flush;
};

static void zap_table(struct zap *z, u64 *table, gfn_t base, unsigned level);

static void zap_entry(struct zap *z, u64 *sptep, gfn_t gfn, unsigned level)
{
    u64 old = *sptep;
    gfn_t last = gfn + pages_of_level(level);

    if (old == 0)
        return;
    if (is_present(old) && !is_leaf(old, level)) {
        zap_table(z, table_of(z->vm, old), gfn, level - 1);
        if (gfn < z->first || last > z->end)
            return; // Part of the table stays in use.
        u64 pfn = spte_pfn(old);
        struct mmu_page *sp = xa_load(&z->vm->mmu->page_of_pfn, pfn);

        HV_ASSERT(sp != NULL && sp->parent == sptep);
        (void)xa_store(&z->vm->mmu->page_of_pfn, pfn, NULL);
        list_move(&sp->node, &z->doomed);
        z->vm->mmu->page_count--;
    } else if (is_present(old)) {
        z->vm->mmu->mapped[level]--;
    }
    // Processors set accessed and dirty bits at any time: the exchange takes the last word.
    old = __atomic_exchange_n(sptep, 0, __ATOMIC_RELAXED);
    hw_trace(TP_KVM_MMU_SPTE_SET, gfn, level, old, 0, 0, 0);
    z->flush |= is_present(old);
}

static void zap_table(struct zap *z, u64 *table, gfn_t base, unsigned level)
{
    u64 span = pages_of_level(level);
    u64 from = z->first > base ? (z->first - base) / span : 0;

    for (u64 i = from; i < PT64_ENTRIES && base + i * span < z->end; i++)
        zap_entry(z, &table[i], base + i * span, level);
}

void mmu_zap_range(struct vm *vm, gfn_t first, gfn_t end)
{
    struct zap z = {.vm = vm, .first = first, .end = end};

    list_init(&z.doomed);
    write_lock(&vm->mmu_lock);
    mmu_change_begin(vm);
    zap_table(&z, vm->mmu->root->spt, 0, vm->mmu->root->level);
    // Before the lock is dropped: who maps anew afterwards must not find old translations beside his.
    if (z.flush && !mmu_skips_flush(vm, MMU_SKIP_FLUSH_ZAP))
        flush_remote_tlbs(vm);
    mmu_change_end(vm);
    write_unlock(&vm->mmu_lock);
    list_for_each_safe(sp, &z.doomed, struct mmu_page, node) mmu_page_free(vm->host, sp);
}

void mmu_zap_all(struct vm *vm)
{
    mmu_zap_range(vm, 0, pages_of_level(vm->mmu->root->level) * PT64_ENTRIES);
}
