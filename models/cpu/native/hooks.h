// SPDX-License-Identifier: Apache-2.0
// Inside of models/cpu/native: what the hooks need at hand, and the prototypes of the compiler's ABI.
#ifndef MODELS_CPU_NATIVE_HOOKS_H
#define MODELS_CPU_NATIVE_HOOKS_H

#include "models/cpu/native/native.h"
#include "models/cpu/native/watch.h"
#include "models/mem/core.h"

// The functions entered last, by low bits of their address: their names are looked up in tables as large as
// the text otherwise.
#define NATIVE_FUNCTIONS 512u
struct native_function {
    uint32_t offset; // Of the hook's return address in the text; UINT32_MAX: none
    uint32_t text;   // trace_text() id
};

struct native_hot {
    struct price_map map;
    struct price_map of_host[HW_ARENA_HOSTS_MAX]; // The same text, as each host's processors execute it.
    const uint16_t *function_at;
    const uint32_t *function_text;
    uint64_t image_bytes;
    bool calls; // Function entries and exits are recorded.
    struct native_function functions[NATIVE_FUNCTIONS];
};
extern struct native_hot native_hot;

// native_context_thread(), inline.
static inline uint32_t native_thread(const struct pcpu *c)
{
    return c->native->current ? c->native->current->trace_thread : 0;
}

// Simulated physical address of a pointer that hv code uses in the access whose hook returns to `pc` (0: not
// known).
static inline uint64_t native_hpa(struct pcpu *c, const volatile void *p, uint64_t pc)
{
    uint64_t offset = (uint64_t)(uintptr_t)p - HW_ARENA_BASE;

    if (__builtin_expect(offset < HW_ARENA_HOSTS_MAX * HW_ARENA_STRIDE &&
                             offset % HW_ARENA_STRIDE < mem_arena_bytes((unsigned)(offset / HW_ARENA_STRIDE)),
                         1))
        return offset % HW_ARENA_STRIDE;
    offset = (uint64_t)(uintptr_t)p - HW_IMAGE_BASE;
    if (offset < native_hot.image_bytes)
        return HW_IMAGE_HPA + offset;
    return native_ptr_to_hpa(c, (const void *)(uintptr_t)p, pc);
}

// Accesses of at most 16 bytes at their scheduling points, by the long way through TLB and caches.
void native_load_far(struct pcpu *c, const struct native_access *a);
void native_store_far(struct pcpu *c, const struct native_access *a);
// A hook's scheduling point that cannot be passed over. While somebody watches every one is such, and the
// watchers are the last that happens before the access or block.
void native_slow_path(struct pcpu *c, const struct native_access *a);

// Most of the simulator's time is spent in the next two: constant sizes, and no call of their own on the
// usual way.
#define NATIVE_HOT static inline __attribute__((always_inline)) void

static inline void native_checkpoint(struct pcpu *c, const struct native_access *a)
{
    if (__builtin_expect(c->now_ticks >= c->limit_ticks, 0))
        native_slow_path(c, a);
}

// The model that says what atomics read and where stores go; NULL: memory does.
static inline struct memory *native_memory(void)
{
    return pcpu_hooked ? pcpu_hooked->machine->memory : NULL;
}

// The access of the hook that it stands in.
#define NATIVE_ACCESS(address, bytes, how, memory_order)                                                     \
    (&(struct native_access){.pc = (uint64_t)(uintptr_t)__builtin_return_address(0),                         \
                             .p = (address),                                                                 \
                             .size_bytes = (bytes),                                                          \
                             .access = (uint8_t)(how),                                                       \
                             .order = (uint8_t)(memory_order)})

// A load's time passes before the scheduling point, so that the value read is the one of its completion.
// `access`, `order`: of struct native_access.
NATIVE_HOT native_load(const volatile void *address, unsigned size_bytes, unsigned access, int order)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    if (__builtin_expect(!mem_near(c->mem, c->mem->near_load, (const void *)(uintptr_t)address, size_bytes),
                         0)) {
        native_load_far(c, NATIVE_ACCESS(address, size_bytes, access, order));
        return;
    }
    c->mem->counters.loads++;
    if (__builtin_expect(c->now_ticks >= c->limit_ticks, 0))
        native_slow_path(c, NATIVE_ACCESS(address, size_bytes, access, order));
}

// Bytes of the thread's own stack stay where they are, seen by everybody at once: when the buffer's stores
// are hidden, the simulator itself may run on that very stack. What lies on another thread's stack waits for
// us, so its bytes are hidden as the arena's are: a flag there is seen after what was stored before it.
static inline bool native_hides(const struct pcpu *c, const void *p)
{
    uint64_t at = (uint64_t)(uintptr_t)p;

    return at - HW_ARENA_BASE < HW_ARENA_HOSTS_MAX * HW_ARENA_STRIDE ||
           (uint64_t)(uintptr_t)c->native->current->stack_top - at > NATIVE_LEVELS_MAX * NATIVE_LEVEL_BYTES;
}

// Will others see this write only when it leaves the store buffer? Not if it is locked.
static inline bool native_is_buffered(const struct pcpu *c, const struct native_access *a)
{
    return (a->access & PLACE_WRITE) && !(a->access & PLACE_READ) &&
           !((a->access & PLACE_ATOMIC) && a->order == NATIVE_ORDER_SEQ_CST) &&
           native_hides(c, (const void *)(uintptr_t)a->p);
}

// A store executes at the scheduling point and then waits in the store buffer, its line drains from there.
NATIVE_HOT native_store(volatile void *address, unsigned size_bytes, unsigned access, int order)
{
    void *p = (void *)(uintptr_t)address;
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    struct mem_core *m = c->mem;

    if (__builtin_expect(c->now_ticks >= c->limit_ticks || m->stores.count == m->stores.capacity ||
                             !mem_near(m, m->near_store, p, size_bytes),
                         0)) {
        native_store_far(c, NATIVE_ACCESS(address, size_bytes, access, order));
        return;
    }
    if (__builtin_expect(native_hides(c, p), 1))
        mem_store_near(m, c->now_ticks, p, size_bytes);
    else
        mem_store_near(m, c->now_ticks, p, 0);
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
