// SPDX-License-Identifier: Apache-2.0
// The fast page fault: a write to a page that is only protected for dirty logging gets W back by one
// compare-and-exchange, without mmu_lock.
#include "hv/core/dirty_log.h"
#include "hv/hw/trace.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/x86.h"

#define FAST_FAULT_TRIES 4

// While the mode is READING_SHADOW_PAGE_TABLES, whoever makes a request that waits sends an interrupt, which
// is taken only after the walk; so tables that the walk may see are not freed before it ends.
static void walk_begin(struct vcpu *vcpu)
{
    hw_cli();
    WRITE_ONCE(vcpu->mode, READING_SHADOW_PAGE_TABLES);
    smp_mb(); // Before entries are read: against the request, then the look at the mode.
}

static void walk_end(struct vcpu *vcpu)
{
    store_release(&vcpu->mode, OUTSIDE_GUEST_MODE);
    hw_sti();
}

// What becomes of entry `old`; `old` itself: nothing that can be done here.
static u64 repaired(const struct page_fault *f, u64 old, unsigned level)
{
    if (!is_mmu_writable(old))
        return old;
    // The log would show the first of its pages only: it has to be split.
    if (level > PG_LEVEL_4K && slot_logs_dirty(f->slot))
        return old;
    return old | EPT_WRITE;
}

static enum fault_result try_once(struct x86_vcpu *v, struct page_fault *f, u64 *seen, u64 *made)
{
    struct vm *vm = v->vcpu.vm;
    unsigned level;
    u64 *sptep = mmu_lookup(vm, f->gfn, &level);
    u64 old = READ_ONCE(*sptep);

    *seen = *made = old;
    if (!is_present(old) || !is_leaf(old, level))
        return FAULT_ERROR;
    if (mmu_must_push_down(vm, f->gfn)) // The leaf is not what keeps it from being written.
        return FAULT_ERROR;
    f->level = (u8)level;
    if (is_writable(old))
        return FAULT_SPURIOUS;
    *made = repaired(f, old, level);
    if (*made == old)
        return FAULT_ERROR;
    if (!__atomic_compare_exchange_n(sptep, &old, *made, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return FAULT_RETRY;
    // After W is set: marked before, the mark could be fetched and the page protected in between, and the
    // write that W allows would be in no log.
    mark_page_dirty_in_slot(vm, &v->vcpu, f->slot, f->gfn, HW_DIRTY_WRITE_FAULT);
    return FAULT_FIXED;
}

enum fault_result mmu_fast_fault(struct x86_vcpu *v, struct page_fault *f)
{
    enum fault_result result = FAULT_RETRY;
    u64 old = 0, new = 0;

    if (!f->present || !f->write || f->prefetch)
        return FAULT_RETRY;
    walk_begin(&v->vcpu);
    for (unsigned i = 0; i < FAST_FAULT_TRIES && result == FAULT_RETRY; i++)
        result = try_once(v, f, &old, &new);
    walk_end(&v->vcpu);
    hw_trace(TP_FAST_PAGE_FAULT, v->vcpu.index, f->gpa.v, QUAL_EPT_WRITE, old, new, result == FAULT_FIXED);
    if (result == FAULT_FIXED)
        hw_trace_count("fast_page_faults", 1);
    return result == FAULT_ERROR ? FAULT_RETRY : result;
}
