// SPDX-License-Identifier: Apache-2.0
// A slot's dirty log begins: from now on every first write to a page of it must be noticed.
#include "hv/core/tlb_change.h"
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"
#include "hv/mmu/mmu.h"

static void write_protect_all(struct vm *vm)
{
    write_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    if (mmu_write_protect_all(vm) && !tlb_flush_left_out(vm, MMU_SKIP_FLUSH_START_LOG))
        mmu_flush_remote(vm);
    tlb_change_end(vm);
    write_unlock(&vm->mmu_lock);
}

void mmu_log_start(struct vm *vm, const struct memslot *slot)
{
    hw_trace_span_begin(SPAN_MMU_LOG_START);
    if (mmu_tracks_writable(vm->mmu))
        write_protect_all(vm);
    else
        mmu_slot_start_log(vm, slot);
    hw_trace_span_end(SPAN_MMU_LOG_START);
}
