// SPDX-License-Identifier: Apache-2.0
// What the simulator's TLB checker is told of changes of stage 2 (docs/tlb-checker.md).
#ifndef HV_CORE_TLB_CHANGE_H
#define HV_CORE_TLB_CHANGE_H

#include "hv/core/host.h"
#include "hv/core/vm.h"
#include "hv/hw/trace.h"
#include "hv/knobs.h"

// Brackets of a change that takes pages or rights of stage 2 away, its flush included: in between caches may
// lag behind the tables.
static inline void tlb_change_begin(const struct vm *vm)
{
    hw_trace(TP_MMU_CHANGE_BEGIN, vm->id, 0, 0, 0, 0, 0);
}
static inline void tlb_change_end(const struct vm *vm)
{
    hw_trace(TP_MMU_CHANGE_END, vm->id, 0, 0, 0, 0, 0);
}
// A change ends without its flush: what caches hold from before may lag behind the tables ...
static inline void tlb_change_postponed(const struct vm *vm)
{
    hw_trace(TP_MMU_CHANGE_POSTPONED, vm->id, 0, 0, 0, 0, 0);
}
// ... until here: what was put off before has been flushed for. Both under mmu_lock held for writing.
static inline void tlb_change_settled(const struct vm *vm)
{
    hw_trace(TP_MMU_CHANGE_SETTLED, vm->id, 0, 0, 0, 0, 0);
}
// Is this invalidation (MMU_SKIP_FLUSH_*) left out? Knob mmu.skip_flush: the checker's own test.
static inline bool tlb_flush_left_out(const struct vm *vm, u64 which)
{
    return unlikely(knob(&vm->host->knobs, KNOB_MMU_SKIP_FLUSH) == which);
}

#endif
