// SPDX-License-Identifier: Apache-2.0
// Roots, translation caches, and what the core tells stage 2 about memory.
#include "hv/mmu/mmu.h"
#include "hv/core/arch.h"
#include "hv/core/dirty_log.h"
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/mmu/shadow.h"
#include "hv/x86/vmcs.h"

static u8 max_level_of(struct host *host)
{
    const struct vmx_caps *caps = &x86_host(host)->caps;
    u64 limit = knob(&host->knobs, KNOB_MMU_MAX_PAGE);

    if (limit == MMU_MAX_PAGE_1G && caps->ept_1g && caps->ept_2m)
        return PG_LEVEL_1G;
    return limit >= MMU_MAX_PAGE_2M && caps->ept_2m ? PG_LEVEL_2M : PG_LEVEL_4K;
}

u8 mmu_root_level(struct host *host)
{
    bool five = knob(&host->knobs, KNOB_MMU_EPT_LEVELS) == MMU_EPT_LEVELS_5;

    return five && x86_host(host)->caps.ept_5level ? 5 : 4;
}

int mmu_vm_create(struct vm *vm)
{
    struct host *host = vm->host;
    bool ad = x86_host(host)->caps.ept_ad;
    struct mmu_vm *mmu = kzalloc(host, sizeof(*mmu));

    if (mmu == NULL)
        return -ENOMEM;
    mmu->root = mmu_page_alloc(host);
    if (mmu->root == NULL) {
        kfree(host, mmu, sizeof(*mmu));
        return -ENOMEM;
    }
    mmu->root_level = mmu_root_level(host);
    mmu->root->level = mmu->root_level;
    mmu->format = spte_format_of(ad);
    mmu->max_level = max_level_of(host);
    mmu->dirty_start = (u8)knob(&host->knobs, KNOB_MMU_DIRTY_START);
    mmu->pw_track = (u8)knob(&host->knobs, KNOB_MMU_PW_TRACK);
    mmu->log_by_dirty = x86_host(host)->caps.pml;
    mmu->flush_generation = 1;
    mmu->eptp = va_to_hpa(host, mmu->root->spt).v | MEMTYPE_WB |
                (mmu->root_level == 5 ? EPTP_WALK_5 : EPTP_WALK_4) | (ad ? EPTP_AD : 0);
    spin_lock_init(&mmu->pages_lock, LOCK_RANK_MMU_PAGES);
    list_init(&mmu->pages);
    xa_init(&mmu->page_of_pfn, host);
    vm->mmu = mmu;
    // No slot is there yet; each one comes with its arrays.
    mmu->have_rmaps = knob(&host->knobs, KNOB_MMU_RMAPS) == MMU_RMAPS_EAGER;
    if (mmu->have_rmaps && shadow_vm_create(vm) != 0) {
        mmu_vm_destroy(vm);
        return -ENOMEM;
    }
    return 0;
}

// No vCPU is left: nothing to flush.
void mmu_vm_destroy(struct vm *vm)
{
    struct mmu_vm *mmu = vm->mmu;

    if (mmu == NULL)
        return;
    list_for_each_safe(sp, &mmu->pages, struct mmu_page, node) mmu_page_free(vm->host, sp);
    mmu_page_free(vm->host, mmu->root);
    shadow_vm_destroy(vm);
    xa_destroy(&mmu->page_of_pfn);
    kfree(vm->host, mmu, sizeof(*mmu));
    vm->mmu = NULL;
}

int mmu_vcpu_create(struct x86_vcpu *v)
{
    v->vcpu.mmu = kzalloc(v->vcpu.vm->host, sizeof(*v->vcpu.mmu));
    v->mmio_gfn = ~0ull;
    return v->vcpu.mmu != NULL ? 0 : -ENOMEM;
}

void mmu_vcpu_destroy(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct mmu_vcpu *m = v->vcpu.mmu;

    if (m == NULL)
        return;
    while (m->cached > 0)
        mmu_page_free(host, m->cache[--m->cached]);
    shadow_vcpu_destroy(v);
    kfree(host, m, sizeof(*m));
    v->vcpu.mmu = NULL;
}

// --- Translation caches (SDM 28.4.3).

void mmu_load_root(struct x86_vcpu *v)
{
    vmcs_write(EPT_POINTER, v->vcpu.vm->mmu->eptp);
    v->vcpu.mmu->root_loaded = true;
}

int arch_vcpu_mmu_reload(struct vcpu *vcpu)
{
    if (likely(vcpu->mmu->root_loaded))
        return 1;
    if (vcpu->mmu->shadowing)
        return shadow_load_root(to_x86(vcpu));
    mmu_load_root(to_x86(vcpu));
    return 1;
}

void mmu_flush_all(struct x86_vcpu *v)
{
    // Shadow roots have translations of their own.
    bool single = x86_host_of(v)->caps.invept_single && v->vcpu.mmu->shadow == NULL;
    enum hw_vmx_status s = hw_invept(single ? INVEPT_SINGLE : INVEPT_ALL, v->vcpu.vm->mmu->eptp);

    hw_trace(TP_KVM_TLB_FLUSH, single ? INVEPT_SINGLE : INVEPT_ALL, 0, 0, 0, 0, 0);
    HV_ASSERT(s == HW_VMX_OK);
}

// Without VPID every entry and exit does that already (SDM 28.4.3.1).
void mmu_flush_guest(struct x86_vcpu *v)
{
    const struct vmx_caps *caps = &x86_host_of(v)->caps;

    if (v->vpid == 0)
        return;
    enum hw_vmx_status s = hw_invvpid(caps->invvpid_single ? INVVPID_SINGLE : INVVPID_ALL, v->vpid, 0);

    HV_ASSERT(s == HW_VMX_OK);
}

void mmu_invlpg(struct x86_vcpu *v, u64 linear)
{
    const struct vmx_caps *caps = &x86_host_of(v)->caps;

    if (v->vpid == 0 || ((u64)((s64)(linear << 16) >> 16) != linear))
        return; // A non-canonical address has no translation.
    if (!caps->invvpid_address) {
        mmu_flush_guest(v);
        return;
    }
    enum hw_vmx_status s = hw_invvpid(INVVPID_ADDRESS, v->vpid, linear);

    HV_ASSERT(s == HW_VMX_OK);
}

// A vCPU that has flushed since nothing changed any more leaves a request's INVEPT out: it compares this
// count, which moves on before the request is made.
void arch_prepare_tlb_flush(struct vm *vm)
{
    __atomic_fetch_add(&vm->mmu->flush_generation, 1, __ATOMIC_SEQ_CST);
}

void mmu_flush_remote(struct vm *vm)
{
    if (knob(&vm->host->knobs, KNOB_TLB_FLUSH_ENTRY) == TLB_FLUSH_ENTRY_ARCH_HOOK)
        arch_prepare_tlb_flush(vm);
    flush_remote_tlbs(vm);
}

void mmu_flush_requested(struct x86_vcpu *v)
{
    struct mmu_vcpu *m = v->vcpu.mmu;
    // After the request was taken: what changed before it was made is covered.
    u64 generation = __atomic_load_n(&v->vcpu.vm->mmu->flush_generation, __ATOMIC_SEQ_CST);

    if (m->flush_generation == generation)
        return;
    m->flush_generation = generation;
    mmu_flush_all(v);
}

u64 arch_max_gfn(struct vm *vm)
{
    u64 width = x86_host(vm->host)->maxphyaddr;
    u64 translated = PAGE_SHIFT + vm->mmu->root_level * PT64_LEVEL_BITS;

    return 1ull << (min_u64(width, translated) - PAGE_SHIFT);
}

// --- Memory slots and host pages.

int arch_prepare_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    (void)old;
    if (change != MEMSLOT_CREATE && change != MEMSLOT_MOVE)
        return 0;
    if (new->base_gfn + new->npages > arch_max_gfn(vm))
        return -EINVAL;
    if (!vm_have_rmaps(vm))
        return 0;
    int result = rmap_alloc_slot(vm, new);

    if (result != 0)
        rmap_free_slot(vm, new, NULL);
    return result;
}

// Counts slots that log: the first one switches page-modification logging on, on every vCPU before any page
// is made clean; the last one off.
static void count_logging_slot(struct vm *vm, bool logs)
{
    u32 before = vm->mmu->logging_slots;

    WRITE_ONCE(vm->mmu->logging_slots, logs ? before + 1 : before - 1);
    if (before == 0 || vm->mmu->logging_slots == 0)
        (void)make_all_cpus_request(vm, REQ_UPDATE_DIRTY_LOGGING);
}

// The slot is gone and nobody can map it any more: a translation that is left leads to memory which is not
// the guest's.
static void check_unmapped(struct vm *vm, const struct memslot *gone)
{
    if (gone->as_id != 0)
        return;
    read_lock(&vm->mmu_lock);
    bool mapped = mmu_any_mapped(vm, gone->base_gfn, gone->base_gfn + gone->npages);

    read_unlock(&vm->mmu_lock);
    if (mapped)
        hw_trace_violation("spte_into_dead_slot", gone->base_gfn, gone->id);
}

void arch_commit_memory_region(struct vm *vm, const struct memslot *old, struct memslot *new,
                               enum memslot_change change)
{
    bool logged = old->npages != 0 && slot_logs_dirty(old), logs = new->npages != 0 && slot_logs_dirty(new);

    if (logged != logs)
        count_logging_slot(vm, logs);
    if (change == MEMSLOT_DELETE || change == MEMSLOT_MOVE)
        check_unmapped(vm, old);
    // A new slot has no translations yet, one that moved or goes has none any more; nobody writes to a
    // read-only one.
    if (change != MEMSLOT_FLAGS_ONLY || (new->flags &HV_MEM_READONLY))
        return;
    if (!logs) {
        mmu_collapse_slot(vm, new);
        shadow_unmap(vm, new, new->base_gfn, new->base_gfn + new->npages); // To come back large.
    } else if (!dirty_log_initially_set(vm)) { // Else every page counts as dirty until it is cleared.
        mmu_log_start(vm, new);
    }
}

void arch_memslots_updated(struct vm *vm, u64 generation)
{
    // The generation that entries keep wraps: old ones could look new.
    if (unlikely(mmio_generation(generation) == 0))
        mmu_zap_all(vm);
}

void arch_flush_shadow_memslot(struct vm *vm, const struct memslot *slot)
{
    hw_trace_span_begin(SPAN_MMU_ZAP);
    mmu_zap_range(vm, slot->base_gfn, slot->base_gfn + slot->npages);
    hw_trace_span_end(SPAN_MMU_ZAP);
    shadow_zap_all(vm); // Its pages may also have held tables of L1.
}

void arch_flush_shadow_all(struct vm *vm)
{
    mmu_zap_all(vm);
    shadow_zap_all(vm);
}

void arch_free_memslot(struct vm *vm, struct memslot *slot, const struct memslot *keep)
{
    rmap_free_slot(vm, slot, keep);
}

static void unmap_in_slot(struct vm *vm, const struct memslot *slot, hva_t start, hva_t end, bool flush)
{
    hva_t slot_end = slot->hva + (slot->npages << PAGE_SHIFT);
    hva_t from = max_u64(start, slot->hva), to = min_u64(end, slot_end);

    if (from >= to)
        return;
    gfn_t first = slot->base_gfn + ((from - slot->hva) >> PAGE_SHIFT);
    gfn_t last = slot->base_gfn + ((to - slot->hva + PAGE_SIZE - 1) >> PAGE_SHIFT);

    if (flush)
        mmu_zap_range(vm, first, last);
    else
        mmu_zap_range_unflushed(vm, first, last);
    shadow_unmap(vm, slot, first, last);
}

void arch_unmap_hva_range(struct vm *vm, hva_t start, hva_t end, bool flush)
{
    hw_trace(TP_KVM_UNMAP_HVA_RANGE, start, end, 0, 0, 0, 0);
    u32 index = srcu_read_lock(&vm->srcu);

    for (unsigned as = 0; as < HV_ADDRESS_SPACES; as++) {
        const struct memslots *slots = vm_memslots(vm, as);

        for (u32 i = 0; i < slots->used; i++)
            unmap_in_slot(vm, &slots->slots[i], start, end, flush);
    }
    srcu_read_unlock(&vm->srcu, index);
}
