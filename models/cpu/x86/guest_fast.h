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

#include "models/cpu/native/watch.h"
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
    native_watch_guest_stores(c, p, size);
    mem_guest_store(c, hpa, p, size);
    memcpy(p, bytes, size);
    return true;
}

// The same where nothing needs a search and nothing takes time, in place. Within a line is within a page.
static inline __attribute__((always_inline)) bool guest_load_near(struct pcpu *c, uint64_t linear,
                                                                  unsigned size, void *bytes)
{
    struct mmu *m = c->x86->mmu;
    const struct mmu_near *n = mmu_near_find(m, linear, 1, EPT_ACCESS_READ);
    struct l1_way *w;

    if (__builtin_expect(!n, 0))
        return false;
    w = mem_guest_near(c->mem, n->hpa + (linear & 0xfff), size);
    if (__builtin_expect(!w, 0))
        return false;
    mmu_near_use(m, n, EPT_ACCESS_READ);
    l1_use(&c->mem->l1, w);
    c->mem->counters.loads++;
    memcpy(bytes, n->host + (linear & 0xfff), size);
    return true;
}

static inline __attribute__((always_inline)) bool guest_store_near(struct pcpu *c, uint64_t linear,
                                                                   unsigned size, const void *bytes)
{
    struct mmu *m = c->x86->mmu;
    const struct mmu_near *n = mmu_near_find(m, linear, 1, EPT_ACCESS_WRITE);
    struct l1_way *w;

    if (__builtin_expect(!n, 0))
        return false;
    w = mem_guest_near_store(c->mem, n->hpa + (linear & 0xfff), size);
    if (__builtin_expect(!w, 0))
        return false;
    mmu_near_use(m, n, EPT_ACCESS_WRITE);
    native_watch_guest_stores(c, n->host + (linear & 0xfff), size);
    l1_use(&c->mem->l1, w);
    mem_store_near(c->mem, c->now_ticks, n->host + (linear & 0xfff), size);
    memcpy(n->host + (linear & 0xfff), bytes, size);
    return true;
}

// A locked read-modify-write: the bytes, which the caller changes at once. NULL: as false above.
static inline unsigned char *guest_rmw_fast(struct pcpu *c, uint64_t linear, unsigned size)
{
    uint64_t hpa;
    unsigned char *p = mmu_ordinary(c->x86->mmu, linear, size, EPT_ACCESS_READ | EPT_ACCESS_WRITE, &hpa);

    if (!p)
        return NULL;
    native_watch_guest_stores(c, p, size);
    mem_access(c, hpa, size, MEM_GUEST_RMW);
    return p;
}

#endif
