// SPDX-License-Identifier: Apache-2.0
// INVEPT of L1: shadow pages are compared with L1's tables, and what these do not say any more goes.
//
// INVEPT is about one processor (SDM 28.4.3.1): L1 executes it on each of its vCPUs, when it wants to. So
// other vCPUs' caches may keep what is dropped here, and nothing interrupts them. But a dropped leaf is in no
// reverse map either, and whoever takes its page away finds nothing and would not flush. Therefore dropped
// leaves are counted, vm->tlbs_dirty, after they are gone; who takes pages or rights away asks for that count
// as well (tlb_flush_is_postponed), and flush_remote_tlbs() sets it back. Tables are freed, so dropping one
// flushes at once.
#include "hv/core/memslots.h"
#include "hv/core/requests.h"
#include "hv/core/tlb_change.h"
#include "hv/hw/trace.h"
#include "hv/mmu/shadow.h"
#include "hv/x86/x86.h"

struct shadow_sync {
    struct x86_vcpu *v;
    gfn_t root;
    u64 caps;
    struct list doomed;
    u64 dropped; // Leaves.
    bool flush;  // Tables went.
};

// Would a fault make of L1's `entry` what stands there?
static bool still_says(const struct shadow_sync *y, const struct shadow_page *sp, unsigned index, u64 entry)
{
    unsigned level = sp->role.level;
    u64 spte = sp->spt[index], rights = sp->role.rights & entry & EPT_RWX;
    gfn_t gfn = gfn_round(spte_pfn(entry), level);

    if ((entry & EPT_RWX) == 0 || ept12_misconfigured(entry, level, y->caps, y->v->maxphyaddr))
        return false;
    if (is_leaf(spte, level))
        return is_leaf(entry, level) && shadow_mapped_gfn(sp, index) == gfn &&
               (spte & EPT_RWX & ~rights) == 0;
    const struct shadow_role *child = &shadow_page_of(y->v->vcpu.vm, spte)->role;

    if (child->rights != rights || child->direct != is_leaf(entry, level))
        return false;
    return child->gfn == (child->direct ? gfn : spte_pfn(entry));
}

static void drop(struct shadow_sync *y, struct shadow_page *sp, unsigned index)
{
    struct vm *vm = y->v->vcpu.vm;

    if (!is_leaf(sp->spt[index], sp->role.level)) {
        y->flush |= shadow_drop(vm, sp, index, &y->doomed);
        return;
    }
    (void)shadow_drop(vm, sp, index, &y->doomed);
    // Release: a flush that has seen the count covers the change.
    __atomic_fetch_add(&vm->tlbs_dirty, 1, __ATOMIC_RELEASE);
    y->dropped++;
}

static void sync_page(struct shadow_sync *y, struct shadow_page *sp)
{
    struct vm *vm = y->v->vcpu.vm;
    const u64 *table = vm_guest_page_fast(vm, sp->role.gfn);

    for (unsigned i = 0; i < PT64_ENTRIES; i++) {
        u64 spte = sp->spt[i];

        if (!is_present(spte))
            continue;
        if (table == NULL || !still_says(y, sp, i, READ_ONCE(table[i])))
            drop(y, sp, i);
        else if (!is_leaf(spte, sp->role.level) && !shadow_page_of(vm, spte)->role.direct)
            sync_page(y, shadow_page_of(vm, spte));
    }
}

static bool is_root_of(const struct shadow_sync *y, const struct shadow_page *sp)
{
    return sp->role.level == SHADOW_ROOT_LEVEL && (y->root == SHADOW_ALL_ROOTS || sp->role.root == y->root);
}

// A root that no vCPU has loaded goes as a whole.
static void zap_unused_roots(struct shadow_sync *y, struct shadow_vm *shadow)
{
    struct list *node = shadow->pages.next;

    while (node != &shadow->pages) {
        struct shadow_page *sp = list_entry(node, struct shadow_page, node);

        node = node->next;
        if (!is_root_of(y, sp) || sp->roots != 0)
            continue;
        shadow_zap_page(y->v->vcpu.vm, sp, &y->doomed);
        y->flush = true;
        node = shadow->pages.next; // It took others along.
    }
}

// Those that are dropped stand below a root: the roots themselves stay in the list.
static void sync_roots(struct shadow_sync *y, struct shadow_vm *shadow)
{
    for (struct list *node = shadow->pages.next; node != &shadow->pages; node = node->next) {
        struct shadow_page *sp = list_entry(node, struct shadow_page, node);

        if (is_root_of(y, sp) && shadow_is_valid(shadow, sp))
            sync_page(y, sp);
    }
}

// What this processor has cached, of the VM's translations all.
static void flush_own(struct x86_vcpu *v)
{
    v->vcpu.mmu->flush_generation = 0;
    make_request(REQ_TLB_FLUSH, &v->vcpu);
}

void shadow_invept(struct x86_vcpu *v, gfn_t root, u64 caps)
{
    struct vm *vm = v->vcpu.vm;
    struct shadow_sync y = {.v = v, .root = root, .caps = caps};

    hw_trace_count("shadow_invepts", 1);
    if (!vm_have_rmaps(vm))
        return;
    list_init(&y.doomed);
    write_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    struct shadow_vm *shadow = vm->mmu->shadow;

    WRITE_ONCE(shadow->invept_seq, shadow->invept_seq + 1);
    zap_unused_roots(&y, shadow);
    sync_roots(&y, shadow);
    if (y.flush)
        mmu_flush_remote(vm);
    else if (y.dropped != 0)
        tlb_change_postponed(vm);
    tlb_change_end(vm);
    write_unlock(&vm->mmu_lock);
    shadow_free_list(vm->host, &y.doomed);
    flush_own(v);
    hw_trace_count("shadow_leaves_dropped", y.dropped);
}
