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

// A store of `size_bytes` enters the store buffer. Bytes of the thread's own stack stay where they are, seen
// by everybody at once: when the buffer's stores are hidden, the simulator itself may run on that very stack.
// Its line drains like any other. What lies on another thread's stack waits for us, so its bytes are hidden
// as the arena's are: a flag there is seen after what was stored before it.
static inline void native_store(struct pcpu *c, void *p, unsigned size_bytes)
{
    uint64_t below = (uint64_t)(uintptr_t)c->native->current->stack_top - (uint64_t)(uintptr_t)p;
    bool own_stack = below <= NATIVE_LEVELS_MAX * NATIVE_LEVEL_BYTES;

    mem_store_push(c, p, own_stack ? 0 : size_bytes, mem_time_store(c, native_hpa(c, p), size_bytes));
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
