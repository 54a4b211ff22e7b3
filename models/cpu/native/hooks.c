// SPDX-License-Identifier: Apache-2.0
// What gcc's instrumentation of libhv.so calls: one hook at each basic block, access and function.
//
// Outside of a run (the library's constructor) there is no processor and the hooks do nothing.
#include "models/cpu/native/hooks.h"
#include "models/cpu/native/native.h"
#include "models/mem/core.h"
#include "traces/trace.h"

struct native_hot native_hot;

void __tsan_init(void) {}

void __sanitizer_cov_trace_pc(void)
{
    struct pcpu *c = pcpu_current;

    if (!c)
        return;
    c->now_ticks += price_ticks(&native_hot.map, (uint64_t)(uintptr_t)__builtin_return_address(0));
    native_checkpoint(c, __builtin_return_address(0));
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
    struct pcpu *c = pcpu_current;

    if (!c || !native_hot.calls)
        return;
    uint64_t offset = (uint64_t)(uintptr_t)__builtin_return_address(0) - native_hot.map.text_base;

    if (offset < native_hot.map.text_bytes)
        trace_call_begin(c->trace, native_context_thread(c),
                         native_hot.function_text[native_hot.function_at[offset]], c->now_ticks);
}

void __tsan_func_exit(void)
{
    struct pcpu *c = pcpu_current;

    if (c && native_hot.calls)
        trace_call_end(c->trace, native_context_thread(c), c->now_ticks);
}

// --- Accesses. ---

void native_slow_path(struct pcpu *c, const void *pc)
{
    struct machine *machine = c->machine;

    pcpu_slow_path(c, true);
    if (__builtin_expect(machine->order != NULL, 0))
        schedule_point(pcpu_current, (uint64_t)(uintptr_t)pc);
}

void native_load_far(struct pcpu *c, const void *p, unsigned size_bytes, const void *pc)
{
    uint64_t hpa = native_hpa(c, p);

    mem_time_load(c, hpa, size_bytes);
    mem_near_learn(c->mem, p, hpa);
    native_checkpoint(c, pc);
}

void native_store_far(struct pcpu *c, void *p, unsigned size_bytes, const void *pc)
{
    native_checkpoint(c, pc);
    c = pcpu_current;
    uint64_t hpa = native_hpa(c, p);

    mem_store_push(c, p, native_in_arena(p) ? size_bytes : 0, mem_time_store(c, hpa, size_bytes));
    mem_near_learn(c->mem, p, hpa);
}

// clang-format off
#define ACCESS(n)                                                                            \
    void __tsan_read##n(void *p) { native_load(p, n); }                                          \
    void __tsan_write##n(void *p) { native_store(p, n); }                                        \
    void __tsan_unaligned_read##n(void *p) { native_load(p, n); }                                \
    void __tsan_unaligned_write##n(void *p) { native_store(p, n); }                              \
    void __tsan_volatile_read##n(void *p) { native_load(p, n); }                                 \
    void __tsan_volatile_write##n(void *p) { native_store(p, n); }                               \
    void __tsan_read_write##n(void *p) { native_load(p, n); native_store(p, n); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
#undef ACCESS
// clang-format on

void __tsan_read_range(void *p, unsigned long size_bytes)
{
    for (unsigned long at = 0; at < size_bytes; at += 16)
        native_load((char *)p + at, size_bytes - at < 16 ? (unsigned)(size_bytes - at) : 16);
}

void __tsan_write_range(void *p, unsigned long size_bytes)
{
    for (unsigned long at = 0; at < size_bytes; at += 16)
        native_store((char *)p + at, size_bytes - at < 16 ? (unsigned)(size_bytes - at) : 16);
}
