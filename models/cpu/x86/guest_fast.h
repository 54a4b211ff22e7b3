// SPDX-License-Identifier: Apache-2.0
// The one place where a guest's usual data access meets the processor's memory: one that hits a TLB with all
// the rights it needs, in ordinary memory, within a page. It is carried out at once, with its time beyond
// that of a hit in the first-level cache. False: nothing happened; guest_access() or guest_rmw_begin() of
// vmx_state.h is to be asked. `size`: 1 .. 16, a constant in most callers. For code of a guest whose EPT is
// on, not while it steps singly.
//
// The caller looks at limit_ticks before (models/cpu/pcpu.h). Includes the caches' inside, so what includes
// this links with models/mem.
#ifndef MODELS_CPU_X86_GUEST_FAST_H
#define MODELS_CPU_X86_GUEST_FAST_H

#include "models/cpu/x86/x86_state.h"
#include "models/mem/core.h"
#include <string.h>

static inline __attribute__((always_inline)) bool guest_load_fast(struct pcpu *c, uint64_t linear,
                                                                  unsigned size, void *bytes)
{
    uint64_t hpa;
    const unsigned char *p = mmu_ordinary(c->x86->mmu, linear, size, EPT_ACCESS_READ, &hpa);

    if (__builtin_expect(!p, 0))
        return false;
    mem_time_guest_load(c, hpa, size);
    memcpy(bytes, p, size);
    return true;
}

static inline __attribute__((always_inline)) bool guest_store_fast(struct pcpu *c, uint64_t linear,
                                                                   unsigned size, const void *bytes)
{
    uint64_t hpa;
    unsigned char *p = mmu_ordinary(c->x86->mmu, linear, size, EPT_ACCESS_WRITE, &hpa);

    if (__builtin_expect(!p, 0))
        return false;
    mem_store_push(c, p, size, mem_time_guest_store(c, hpa, size));
    memcpy(p, bytes, size);
    return true;
}

// A locked read-modify-write: the bytes, which the caller changes at once. NULL: as false above.
static inline unsigned char *guest_rmw_fast(struct pcpu *c, uint64_t linear, unsigned size)
{
    uint64_t hpa;
    unsigned char *p = mmu_ordinary(c->x86->mmu, linear, size, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa);

    if (p)
        mem_access(c, hpa, size, MEM_GUEST_RMW);
    return p;
}

#endif
