// SPDX-License-Identifier: Apache-2.0
// Inside of models/cpu/native: what the hooks need at hand, and the prototypes of the compiler's ABI.
#ifndef MODELS_CPU_NATIVE_HOOKS_H
#define MODELS_CPU_NATIVE_HOOKS_H

#include "models/cpu/native/native.h"
#include "models/mem/core.h"

struct native_hot {
    struct price_map map;
    const uint16_t *function_at;
    const uint32_t *function_text;
    uint64_t image_bytes;
    bool calls; // Function entries and exits are recorded.
};
extern struct native_hot native_hot;

// Simulated physical address of a pointer that hv code uses.
static inline uint64_t native_hpa(const struct pcpu *c, const volatile void *p)
{
    uint64_t offset = (uint64_t)(uintptr_t)p - HW_ARENA_BASE;

    if (__builtin_expect(offset < HW_ARENA_HOSTS_MAX * HW_ARENA_STRIDE, 1))
        return offset & (HW_ARENA_STRIDE - 1);
    offset = (uint64_t)(uintptr_t)p - HW_IMAGE_BASE;
    if (offset < native_hot.image_bytes)
        return HW_IMAGE_HPA + offset;
    return native_ptr_to_hpa(c, (const void *)(uintptr_t)p);
}

// The same as native_load() and native_store(), by the long way through TLB and caches.
void native_load_far(struct pcpu *c, const void *p, unsigned size_bytes);
void native_store_far(struct pcpu *c, void *p, unsigned size_bytes, bool arena);

// A store of `size_bytes` enters the store buffer. Bytes of a stack stay where they are, seen by everybody at
// once: when the buffer's stores are hidden, the simulator itself may run on that very stack. Its line drains
// like any other.
static inline __attribute__((always_inline)) void native_store(struct pcpu *c, void *p, unsigned size_bytes)
{
    struct mem_core *m = c->mem;
    bool arena = (uint64_t)(uintptr_t)p - HW_ARENA_BASE < HW_ARENA_HOSTS_MAX * HW_ARENA_STRIDE;

    if (__builtin_expect(m->stores.count == m->stores.capacity || !mem_near(m, p, size_bytes, true), 0))
        native_store_far(c, p, size_bytes, arena);
    else if (arena)
        mem_store_near(m, c->now_ticks, p, size_bytes);
    else
        mem_store_near(m, c->now_ticks, p, 0);
}

// Time of a load, of at most 16 bytes.
static inline __attribute__((always_inline)) void native_load(struct pcpu *c, const volatile void *p,
                                                              unsigned size_bytes)
{
    struct mem_core *m = c->mem;

    if (__builtin_expect(mem_near(m, (const void *)(uintptr_t)p, size_bytes, false), 1))
        m->counters.loads++;
    else
        native_load_far(c, (const void *)(uintptr_t)p, size_bytes);
}

// clang-format off
void __tsan_init(void);
void __sanitizer_cov_trace_pc(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
#define ACCESS(n)                          \
    void __tsan_read##n(void *p);          \
    void __tsan_write##n(void *p);         \
    void __tsan_unaligned_read##n(void *p);  \
    void __tsan_unaligned_write##n(void *p); \
    void __tsan_volatile_read##n(void *p);   \
    void __tsan_volatile_write##n(void *p);  \
    void __tsan_read_write##n(void *p);
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
#undef ACCESS
void __tsan_read_range(void *p, unsigned long size_bytes);
void __tsan_write_range(void *p, unsigned long size_bytes);
// clang-format on

#endif
