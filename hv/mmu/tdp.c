// SPDX-License-Identifier: Apache-2.0
// The tree of stage-2 tables: walking, installing, removing.
#include "hv/core/dirty_log.h"
#include "hv/core/requests.h"
#include "hv/core/tlb_change.h"
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

    for (unsigned l = vm->mmu->root_level;; l--) {
        u64 *sptep = &table[spte_index(gfn, l)];
        u64 spte = load_acquire(sptep); // As in tdp_walk_to().

        *level = l;
        if (l == PG_LEVEL_4K || !is_present(spte) || is_leaf(spte, l))
            return sptep;
        table = table_of(vm, spte);
    }
}

bool tdp_next_run(struct vm *vm, gfn_t *gfn, gfn_t end, struct spte_run *run)
{
    while (*gfn < end) {
        unsigned level;
        gfn_t at = *gfn;
        u64 *sptep = mmu_lookup(vm, at, &level);

        if (level == PG_LEVEL_4K) {
            *gfn = min_u64(end, gfn_round(at, PG_LEVEL_2M) + PT64_ENTRIES);
            *run = (struct spte_run){sptep, at, (u32)(*gfn - at), PG_LEVEL_4K};
            return true;
        }
        u64 spte = READ_ONCE(*sptep);

        if (is_present(spte) && !is_leaf(spte, level)) // A fault has put a table there meanwhile.
            continue;
        gfn_t first = gfn_round(at, level);

        *gfn = first + pages_of_level(level);
        if (is_present(spte)) {
            *run = (struct spte_run){sptep, first, 1, (u8)level};
            return true;
        }
    }
    return false;
}

bool mmu_any_mapped(struct vm *vm, gfn_t first, gfn_t end)
{
    struct spte_run run;

    while (tdp_next_run(vm, &first, end, &run))
        for (u32 i = 0; i < run.count; i++)
            if (is_present(READ_ONCE(run.sptep[i])))
                return true;
    return false;
}

// --- Installing. mmu_lock held for reading: others may install beside us.

// Before the table can be seen: whoever walks into it finds its page.
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

static void forget_page(struct vm *vm, struct mmu_page *sp)
{
    struct mmu_vm *mmu = vm->mmu;

    spin_lock(&mmu->pages_lock);
    list_unlink(&sp->node);
    list_init(&sp->node);
    mmu->page_count--;
    (void)xa_store(&mmu->page_of_pfn, va_to_hpa(vm->host, sp->spt).v >> PAGE_SHIFT, NULL);
    spin_unlock(&mmu->pages_lock);
}

bool tdp_attach(struct vm *vm, u64 *sptep, u64 old, struct mmu_page *sp, gfn_t gfn, unsigned level)
{
    u64 new = make_table_spte(vm->mmu->format, va_to_hpa(vm->host, sp->spt));

    sp->gfn = gfn_round(gfn, level);
    sp->level = (u8)(level - 1);
    sp->parent = sptep;
    account_page(vm, sp);
    mmu_track_table(vm, sptep, sp);
    // Release: whoever walks into the table sees its entries.
    if (!__atomic_compare_exchange_n(sptep, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        forget_page(vm, sp);
        return false;
    }
    hw_trace(TP_KVM_MMU_SPTE_SET, sp->gfn, level, old, new, 0, 0);
    return true;
}

bool tdp_link_table(struct x86_vcpu *v, u64 *sptep, u64 old, gfn_t gfn, unsigned level)
{
    struct mmu_vcpu *m = v->vcpu.mmu;

    HV_ASSERT(m->cached > 0);
    if (!tdp_attach(v->vcpu.vm, sptep, old, m->cache[m->cached - 1], gfn, level))
        return false;
    m->cached--;
    return true;
}

// The same for a large leaf, which is split.
static bool split_leaf(struct x86_vcpu *v, u64 *sptep, u64 huge, gfn_t gfn, unsigned level)
{
    struct mmu_vcpu *m = v->vcpu.mmu;

    HV_ASSERT(m->cached > 0);
    if (!tdp_split(v->vcpu.vm, sptep, huge, m->cache[m->cached - 1], gfn, level))
        return false;
    m->cached--;
    return true;
}

u64 *tdp_walk_to(struct x86_vcpu *v, gfn_t gfn, bool write, unsigned *level)
{
    struct vm *vm = v->vcpu.vm;
    u64 *table = vm->mmu->root->spt;

    for (unsigned l = vm->mmu->root_level;; l--) {
        u64 *sptep = &table[spte_index(gfn, l)];
        // Acquire: with the table comes what is known of it, which tdp_attach() noted before.
        u64 spte = load_acquire(sptep);
        bool present = is_present(spte);

        bool leaf = present && is_leaf(spte, l);
        bool enough = leaf && (!write || is_writable(spte));

        if (enough || (l <= *level && (leaf || !present))) {
            *level = l;
            return sptep;
        }
        if (leaf || !present) {
            if (leaf ? !split_leaf(v, sptep, spte, gfn, l) : !tdp_link_table(v, sptep, spte, gfn, l))
                return NULL;
            spte = load_acquire(sptep);
        }
        table = table_of(vm, spte);
    }
}

static enum fault_result set_leaf(struct vm *vm, u64 *sptep, gfn_t gfn, unsigned level, u64 new)
{
    u64 old = READ_ONCE(*sptep);

    if (old == new)
        return FAULT_SPURIOUS;
    mmu_track_entry(vm, sptep, new);
    // Another page, or fewer rights: others may still use the old translation.
    bool loses = is_present(old) && (spte_pfn(old) != spte_pfn(new) || (old & EPT_RWX & ~new));

    if (loses)
        tlb_change_begin(vm);
    bool done = __atomic_compare_exchange_n(sptep, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);

    if (done) {
        hw_trace(TP_KVM_MMU_SPTE_SET, gfn_round(gfn, level), level, old, new, 0, 0);
        if (!is_present(old))
            __atomic_fetch_add(&vm->mmu->mapped[level], 1, __ATOMIC_RELAXED);
        else if (loses)
            mmu_flush_remote(vm);
    }
    if (loses)
        tlb_change_end(vm);
    return done ? FAULT_FIXED : FAULT_RETRY;
}

enum spte_write tdp_write_right(const struct page_fault *f)
{
    if (!f->map_writable)
        return SPTE_READ_ONLY;
    return f->prefetch && slot_logs_dirty(f->slot) ? SPTE_WRITE_LATER : SPTE_WRITE_NOW;
}

enum fault_result tdp_map(struct x86_vcpu *v, struct page_fault *f)
{
    struct vm *vm = v->vcpu.vm;
    unsigned level = f->level;
    u64 *sptep = tdp_walk_to(v, f->gfn, f->write && !f->prefetch, &level);

    if (sptep == NULL)
        return FAULT_RETRY;
    u64 old = READ_ONCE(*sptep);
    // Ahead of the guest whatever is there will do: its first write may have to be noticed.
    bool enough = is_present(old) && (f->prefetch || !f->write || is_writable(old));

    if (enough)
        return FAULT_SPURIOUS;
    pfn_t pfn = f->page.pfn & ~(pages_of_level(level) - 1);

    hw_trace(TP_KVM_MMU_SPTE_REQUESTED, f->gfn, level, pfn, 0, 0, 0);
    f->level = (u8)level;
    enum spte_write write = tdp_write_right(f);
    enum fault_result result =
        set_leaf(vm, sptep, f->gfn, level, make_spte(vm->mmu->format, pfn, level, write, f->prefetch));

    // Writable from now on, so from now on it counts as written.
    if (result == FAULT_FIXED && write == SPTE_WRITE_NOW)
        mark_page_dirty_in_slot(vm, &v->vcpu, f->slot, f->gfn, HW_DIRTY_WRITE_FAULT);
    return result;
}

enum fault_result tdp_map_mmio(struct x86_vcpu *v, gfn_t gfn, u64 generation)
{
    unsigned level = PG_LEVEL_4K;
    u64 *sptep = tdp_walk_to(v, gfn, false, &level);

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

static void unaccount_page(struct vm *vm, u64 spte, const u64 *parent, struct list *doomed)
{
    u64 pfn = spte_pfn(spte);
    struct mmu_page *sp = xa_load(&vm->mmu->page_of_pfn, pfn);

    HV_ASSERT(sp != NULL && (parent == NULL || sp->parent == parent));
    (void)xa_store(&vm->mmu->page_of_pfn, pfn, NULL);
    list_move(&sp->node, doomed);
    vm->mmu->page_count--;
}

void tdp_detach(struct vm *vm, u64 spte, unsigned level, struct list *doomed)
{
    const u64 *table = table_of(vm, spte);

    unaccount_page(vm, spte, NULL, doomed);
    for (u32 i = 0; i < PT64_ENTRIES; i++) {
        u64 child = READ_ONCE(table[i]);

        if (!is_present(child))
            continue;
        if (is_leaf(child, level - 1))
            vm->mmu->mapped[level - 1]--;
        else
            tdp_detach(vm, child, level - 1, doomed);
    }
}

void mmu_free_list(struct host *host, struct list *doomed)
{
    list_for_each_safe(sp, doomed, struct mmu_page, node) mmu_page_free(host, sp);
}

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
        unaccount_page(z->vm, old, sptep, &z->doomed);
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

static void zap_range(struct vm *vm, gfn_t first, gfn_t end, bool flush)
{
    struct zap z = {.vm = vm, .first = first, .end = end};

    list_init(&z.doomed);
    write_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    zap_table(&z, vm->mmu->root->spt, 0, vm->mmu->root_level);
    // Before the lock is dropped: who maps anew afterwards must not find old translations beside his.
    if (z.flush && flush && !tlb_flush_left_out(vm, MMU_SKIP_FLUSH_ZAP))
        mmu_flush_remote(vm);
    tlb_change_end(vm);
    write_unlock(&vm->mmu_lock);
    mmu_free_list(vm->host, &z.doomed);
}

void mmu_zap_range(struct vm *vm, gfn_t first, gfn_t end)
{
    zap_range(vm, first, end, true);
}

void mmu_zap_range_unflushed(struct vm *vm, gfn_t first, gfn_t end)
{
    zap_range(vm, first, end, false);
}

void mmu_zap_all(struct vm *vm)
{
    mmu_zap_range(vm, 0, pages_of_level(vm->mmu->root_level) * PT64_ENTRIES);
}
