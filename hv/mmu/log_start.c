// SPDX-License-Identifier: Apache-2.0
// A slot's dirty log begins: from now on every first write to a page of it must be noticed.
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"
#include "hv/mmu/mmu.h"

static void write_protect_all(struct vm *vm)
{
    write_lock(&vm->mmu_lock);
    if (mmu_write_protect_all(vm))
        mmu_flush_remote(vm);
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
