// SPDX-License-Identifier: Apache-2.0
// From a guest-physical access that stage 2 refuses to an entry that allows it.
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/x86.h"

// --- Which size.

// A large page must lie inside the slot, and guest and host addresses must agree below its size.
static bool level_fits(const struct memslot *slot, gfn_t gfn, unsigned level)
{
    u64 pages = pages_of_level(level);
    gfn_t first = gfn_round(gfn, level);

    if (first < slot->base_gfn || first + pages > slot->base_gfn + slot->npages)
        return false;
    return ((slot->base_gfn ^ (slot->hva >> PAGE_SHIFT)) & (pages - 1)) == 0;
}

unsigned mmu_mapping_level(const struct mmu_vm *mmu, const struct memslot *slot, gfn_t gfn,
                           unsigned page_shift)
{
    unsigned level = mmu->max_level;

    // Dirty logging counts by 4 KiB.
    if (slot->flags & HV_MEM_LOG_DIRTY_PAGES)
        return PG_LEVEL_4K;
    while (level > PG_LEVEL_4K &&
           (PAGE_SHIFT + (level - 1) * PT64_LEVEL_BITS > page_shift || !level_fits(slot, gfn, level)))
        level--;
    return level;
}

// --- Caches.

static int top_up_cache(struct x86_vcpu *v)
{
    struct mmu_vcpu *m = v->vcpu.mmu;

    while (m->cached < v->vcpu.vm->mmu->root->level - 1u) {
        struct mmu_page *sp = mmu_page_alloc(v->vcpu.vm->host);

        if (sp == NULL)
            return -ENOMEM;
        m->cache[m->cached++] = sp;
    }
    return 0;
}

// --- Faults.

bool mmu_is_stale(const struct vm *vm, const struct page_fault *f)
{
    if (READ_ONCE(vm->mmu_invalidate_seq) != f->invalidate_seq)
        return true;
    if (likely(READ_ONCE(vm->mmu_invalidate_in_progress) == 0))
        return false;
    // Only what is being taken; what is mapped ahead may be any of it.
    hva_t hva = gfn_to_hva_in(f->slot, f->gfn);

    return f->prefetch || (hva >= vm->mmu_invalidate_start && hva < vm->mmu_invalidate_end);
}

static enum fault_result map_mmio(struct x86_vcpu *v, gfn_t gfn)
{
    struct vm *vm = v->vcpu.vm;
    u64 generation = READ_ONCE(vm_memslots(vm, arch_vcpu_address_space(&v->vcpu))->generation);

    v->mmio_gfn = gfn;
    v->mmio_generation = generation;
    // While slots change the answer may be another one in a moment: do not keep it.
    if (generation & MEMSLOT_GEN_UPDATE_IN_PROGRESS)
        return FAULT_EMULATE;
    if (top_up_cache(v) != 0)
        return FAULT_ERROR;
    read_lock(&vm->mmu_lock);
    enum fault_result result = tdp_map_mmio(v, gfn, mmio_generation(generation));

    read_unlock(&vm->mmu_lock);
    return result;
}

enum fault_result mmu_find_page(struct x86_vcpu *v, struct page_fault *f)
{
    struct vm *vm = v->vcpu.vm;
    bool read_only = (f->slot->flags & HV_MEM_READONLY) != 0;
    hva_t hva = gfn_to_hva_in(f->slot, f->gfn);
    // A read of writable memory asks for a writable page too if that costs nothing: spares the second fault.
    bool write = f->write;

    f->invalidate_seq = READ_ONCE(vm->mmu_invalidate_seq);
    smp_rmb();
    if (!get_user_page_fast(vm->mm, hva, write, &f->page) && get_user_page(vm->mm, hva, write, &f->page) != 0)
        return FAULT_ERROR;
    f->map_writable = f->page.writable && !read_only;
    return FAULT_FIXED;
}

static void push_down(struct vm *vm, gfn_t gfn)
{
    write_lock(&vm->mmu_lock);
    mmu_push_down(vm, gfn);
    write_unlock(&vm->mmu_lock);
}

static void lock_for_fault(struct vm *vm)
{
    if (knob(&vm->host->knobs, KNOB_MMU_FAULT_LOCK) == MMU_FAULT_LOCK_WRITE)
        write_lock(&vm->mmu_lock);
    else
        read_lock(&vm->mmu_lock);
}

static void unlock_after_fault(struct vm *vm)
{
    if (knob(&vm->host->knobs, KNOB_MMU_FAULT_LOCK) == MMU_FAULT_LOCK_WRITE)
        write_unlock(&vm->mmu_lock);
    else
        read_unlock(&vm->mmu_lock);
}

static enum fault_result page_fault(struct x86_vcpu *v, struct page_fault *f)
{
    struct vm *vm = v->vcpu.vm;

    f->gfn = f->gpa.v >> PAGE_SHIFT;
    f->slot = vcpu_gfn_to_memslot(&v->vcpu, f->gfn);
    if (f->slot == NULL)
        return f->prefetch ? FAULT_EMULATE : map_mmio(v, f->gfn);
    // Being deleted or moved: whatever is found now would be wrong in a moment.
    if (f->slot->flags & MEMSLOT_INVALID)
        return FAULT_RETRY;
    if (f->write && (f->slot->flags & HV_MEM_READONLY))
        return FAULT_EMULATE;
    enum fault_result result = mmu_fast_fault(v, f);

    if (result != FAULT_RETRY)
        return result;
    if (top_up_cache(v) != 0)
        return FAULT_ERROR;
    result = mmu_find_page(v, f);
    if (result != FAULT_FIXED)
        return result;
    f->level = (u8)mmu_mapping_level(vm->mmu, f->slot, f->gfn, f->page.page_shift);
    lock_for_fault(vm);
    if (f->write && !f->prefetch && mmu_must_push_down(vm, f->gfn)) {
        unlock_after_fault(vm);
        push_down(vm, f->gfn);
        lock_for_fault(vm);
    }
    result = mmu_is_stale(vm, f) ? FAULT_RETRY : f->prefetch ? tdp_map_ahead(v, f) : tdp_map(v, f);
    unlock_after_fault(vm);
    return result;
}

enum fault_result mmu_page_fault(struct x86_vcpu *v, struct page_fault *f)
{
    hw_trace_span_begin(SPAN_MMU_FAULT);
    enum fault_result result = page_fault(v, f);

    hw_trace_span_end(SPAN_MMU_FAULT);
    return result;
}

int mmu_prefault(struct x86_vcpu *v, gpa_t gpa, u64 bytes, u64 *mapped_bytes)
{
    struct page_fault f = {.gpa = gpa, .prefetch = true, .ahead_end = (gpa.v + bytes) >> PAGE_SHIFT};
    const struct memslot *slot = vcpu_gfn_to_memslot(&v->vcpu, gpa.v >> PAGE_SHIFT);

    if (slot == NULL)
        return -ENOENT;
    f.write = !(slot->flags & HV_MEM_READONLY);
    switch (mmu_page_fault(v, &f)) {
    case FAULT_RETRY:
        return -EAGAIN;
    case FAULT_FIXED:
    case FAULT_SPURIOUS: {
        u64 page_bytes = pages_of_level(f.level) << PAGE_SHIFT;

        *mapped_bytes = f.level == PG_LEVEL_4K ? (f.ahead_end << PAGE_SHIFT) - gpa.v
                                               : page_bytes - (gpa.v & (page_bytes - 1));
        return 0;
    }
    case FAULT_EMULATE:
        return -ENOENT;
    case FAULT_ERROR:
        break;
    }
    return -EFAULT;
}

bool mmu_is_mmio(struct x86_vcpu *v, gpa_t a)
{
    struct vm *vm = v->vcpu.vm;
    gfn_t gfn = a.v >> PAGE_SHIFT;
    u64 generation = READ_ONCE(vm_memslots(vm, arch_vcpu_address_space(&v->vcpu))->generation);
    unsigned level;

    if (v->mmio_gfn == gfn && v->mmio_generation == generation)
        return true;
    read_lock(&vm->mmu_lock);
    u64 spte = READ_ONCE(*mmu_lookup(vm, gfn, &level));

    read_unlock(&vm->mmu_lock);
    if (!is_mmio(spte))
        return false;
    bool valid = mmio_spte_generation(spte) == mmio_generation(generation);

    hw_trace(TP_HANDLE_MMIO_PAGE_FAULT, a.v, gfn, EPT_RWX, 0, 0, 0);
    if (valid) {
        v->mmio_gfn = gfn;
        v->mmio_generation = generation;
    }
    return valid;
}
