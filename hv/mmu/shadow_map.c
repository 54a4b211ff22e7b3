// SPDX-License-Identifier: Apache-2.0
// Faults of nested guests: from a translation by L1's tables to a shadow entry.
#include "hv/core/dirty_log.h"
#include "hv/core/tlb_change.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/spans.h"
#include "hv/mmu/shadow.h"
#include "hv/x86/x86.h"

// One fault under the lock.
struct shadow_walk {
    struct x86_vcpu *v;
    struct page_fault *f;
    const struct ept12_walk *w;
    gfn_t l2_gfn;
    struct list doomed;
    bool flush;
};

static struct shadow_role child_role(const struct shadow_walk *x, unsigned level)
{
    const struct ept12_walk *w = x->w;

    if (level >= w->level)
        return (struct shadow_role){
            .gfn = w->table[level - 1], .root = w->root, .level = (u8)level, .rights = w->above[level - 1]};
    return (struct shadow_role){.gfn = gfn_round(w->gfn, level + 1),
                                .root = w->root,
                                .level = (u8)level,
                                .rights = w->rights,
                                .direct = true};
}

static bool matches(const struct shadow_page *sp, const struct shadow_role *role)
{
    return sp->role.gfn == role->gfn && sp->role.rights == role->rights && sp->role.direct == role->direct;
}

static void add_to_rmap(struct shadow_vcpu *s, struct rmap_head *head, u64 *sptep)
{
    HV_ASSERT(s->desc_count > 0);
    struct rmap_desc **spare = &s->descs[s->desc_count - 1];

    rmap_add(head, sptep, spare);
    if (*spare == NULL)
        s->desc_count--;
}

// The page of `level` below entry `index` of `sp`, linked if it was not. What stood there and is another by
// now goes.
static struct shadow_page *go_down(struct shadow_walk *x, struct shadow_page *sp, unsigned index,
                                   unsigned level)
{
    struct vm *vm = x->v->vcpu.vm;
    struct shadow_vcpu *s = x->v->vcpu.mmu->shadow;
    struct shadow_role role = child_role(x, level);
    u64 *sptep = &sp->spt[index], old = *sptep;

    if (is_present(old) && !is_leaf(old, sp->role.level)) {
        struct shadow_page *child = shadow_page_of(vm, old);

        if (matches(child, &role))
            return child;
    }
    x->flush |= shadow_drop(vm, sp, index, &x->doomed);
    struct shadow_page *child = shadow_get_page(vm, s, &role);
    u64 new = make_table_spte(vm->mmu->shadow->format, va_to_hpa(vm->host, child->spt));

    add_to_rmap(s, &child->parents, sptep);
    __atomic_store_n(sptep, new, __ATOMIC_RELEASE);
    hw_trace(TP_KVM_MMU_SPTE_SET, gfn_round(x->l2_gfn, level + 1), level + 1, old, new, 0, 0);
    return child;
}

static u64 leaf_of(const struct shadow_walk *x, unsigned level)
{
    const struct page_fault *f = x->f;
    // While the slot logs, only what is being written may be written: L2's dirty pages are seen by faults, as
    // the processor's log would hold L2's addresses.
    bool write = f->map_writable && (f->write || !slot_logs_dirty(f->slot));
    pfn_t pfn = f->page.pfn & ~(pages_of_level(level) - 1);
    u64 spte = make_spte(x->v->vcpu.vm->mmu->shadow->format, pfn, level,
                         write ? SPTE_WRITE_NOW : SPTE_READ_ONLY, false);

    return spte & ~(EPT_RWX & ~(u64)x->w->rights);
}

// Another page takes the entry's place.
static void enter_in_books(struct shadow_walk *x, struct shadow_page *sp, unsigned index)
{
    struct vm *vm = x->v->vcpu.vm;
    const struct page_fault *f = x->f;
    struct rmap_head *head = gfn_to_rmap(f->slot, f->gfn, sp->role.level);

    x->flush |= shadow_drop(vm, sp, index, &x->doomed);
    if (head != NULL)
        add_to_rmap(x->v->vcpu.mmu->shadow, head, &sp->spt[index]);
    else // Nobody will find this mapping again who looks for the page.
        hw_trace_violation("null_rmap", f->gfn, f->slot->id);
    if (sp->gfns != NULL)
        sp->gfns[index] = gfn_round(f->gfn, sp->role.level);
    vm->mmu->shadow->mapped++;
}

static enum fault_result set_leaf(struct shadow_walk *x, struct shadow_page *sp, unsigned index)
{
    struct vm *vm = x->v->vcpu.vm;
    const struct page_fault *f = x->f;
    unsigned level = sp->role.level;
    u64 *sptep = &sp->spt[index], old = *sptep, new = leaf_of(x, level);
    // Other rights for the same page; one host page may be several pages of L1's.
    bool same = is_present(old) && is_leaf(old, level) && spte_pfn(old) == spte_pfn(new) &&
                shadow_mapped_gfn(sp, index) == gfn_round(f->gfn, level);

    if (old == new)
        return FAULT_SPURIOUS;
    if (!same)
        enter_in_books(x, sp, index);
    else if (old & EPT_RWX & ~new)
        x->flush = true;
    __atomic_store_n(sptep, new, __ATOMIC_RELEASE);
    hw_trace(TP_KVM_MMU_SPTE_SET, gfn_round(x->l2_gfn, level), level, old, new, 0, 0);
    if (is_writable(new) && !is_writable(old))
        mark_page_dirty_in_slot(vm, &x->v->vcpu, f->slot, f->gfn, HW_DIRTY_WRITE_FAULT);
    return FAULT_FIXED;
}

static enum fault_result map(struct shadow_walk *x)
{
    struct shadow_page *sp = x->v->vcpu.mmu->shadow->root;

    while (sp->role.level > x->f->level)
        sp = go_down(x, sp, spte_index(x->l2_gfn, sp->role.level), sp->role.level - 1u);
    return set_leaf(x, sp, spte_index(x->l2_gfn, sp->role.level));
}

// Was anything that the fault has looked at changed meanwhile? mmu_lock held.
static bool is_void(const struct shadow_walk *x)
{
    const struct vm *vm = x->v->vcpu.vm;
    const struct shadow_vm *shadow = vm->mmu->shadow;

    return mmu_is_stale(vm, x->f) || shadow->invept_seq != x->w->invept_seq ||
           !shadow_is_valid(shadow, x->v->vcpu.mmu->shadow->root);
}

static enum fault_result map_locked(struct x86_vcpu *v, struct page_fault *f, const struct ept12_walk *w,
                                    gfn_t l2_gfn)
{
    struct vm *vm = v->vcpu.vm;
    struct shadow_walk x = {.v = v, .f = f, .w = w, .l2_gfn = l2_gfn};

    list_init(&x.doomed);
    write_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    enum fault_result result = is_void(&x) ? FAULT_RETRY : map(&x);

    if (x.flush)
        mmu_flush_remote(vm);
    tlb_change_end(vm);
    write_unlock(&vm->mmu_lock);
    shadow_free_list(vm->host, &x.doomed);
    if (result == FAULT_FIXED)
        hw_trace_count("shadow_faults", 1);
    return result;
}

static enum fault_result fault(struct x86_vcpu *v, struct page_fault *f, const struct ept12_walk *w,
                               gfn_t l2_gfn)
{
    f->gfn = f->gpa.v >> PAGE_SHIFT;
    f->slot = vcpu_gfn_to_memslot(&v->vcpu, f->gfn);
    if (f->slot == NULL)
        return FAULT_EMULATE; // A device of L1's that it gave to L2.
    if (f->slot->flags & MEMSLOT_INVALID)
        return FAULT_RETRY;
    if (f->write && (f->slot->flags & HV_MEM_READONLY))
        return FAULT_EMULATE;
    if (shadow_top_up(v) != 0)
        return FAULT_ERROR;
    enum fault_result result = mmu_find_page(v, f);

    if (result != FAULT_FIXED)
        return result;
    unsigned level = mmu_mapping_level(v->vcpu.vm->mmu, f->slot, f->gfn, f->page.page_shift);

    f->level = (u8)min_u64(level, w->level);
    return map_locked(v, f, w, l2_gfn);
}

enum fault_result shadow_page_fault(struct x86_vcpu *v, struct page_fault *f, const struct ept12_walk *w,
                                    gpa_t l2_gpa)
{
    hw_trace_span_begin(SPAN_MMU_FAULT);
    enum fault_result result = fault(v, f, w, l2_gpa.v >> PAGE_SHIFT);

    hw_trace_span_end(SPAN_MMU_FAULT);
    return result;
}
