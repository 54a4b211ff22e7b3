// SPDX-License-Identifier: Apache-2.0
// What gcc's instrumentation of libhv.so calls: one hook at each basic block, access and function.
//
// Outside of a run (the library's constructor) there is no processor and the hooks do nothing.
#include "models/cpu/native/hooks.h"
#include "models/cpu/native/native.h"
#include "models/mem/core.h"
#include "models/memory/memory.h"
#include "traces/trace.h"

struct native_hot native_hot;

void __tsan_init(void) {}

void __sanitizer_cov_trace_pc(void)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    c->now_ticks += price_ticks(c->prices, (uint64_t)(uintptr_t)__builtin_return_address(0));
    if (__builtin_expect(c->now_ticks >= c->limit_ticks, 0) &&
        !(c->machine->blocks_unseen && c->now_ticks < c->due_ticks))
        native_slow_path(c, NATIVE_ACCESS(NULL, 0, PLACE_BLOCK, 0));
}

static void learn_function(struct native_function *f, uint32_t offset)
{
    *f = (struct native_function){offset, native_hot.function_text[native_hot.function_at[offset]]};
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    if (__builtin_expect(c->machine->watch != NULL, 0))
        native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_CALL,
                                                     .pc = (uint64_t)(uintptr_t)__builtin_return_address(0)});
    if (!native_hot.calls)
        return;
    uint64_t offset = (uint64_t)(uintptr_t)__builtin_return_address(0) - native_hot.map.text_base;

    if (__builtin_expect(offset >= native_hot.map.text_bytes, 0))
        return;
    struct native_function *f = &native_hot.functions[offset / 8 % NATIVE_FUNCTIONS];

    if (__builtin_expect(f->offset != offset, 0))
        learn_function(f, (uint32_t)offset);
    trace_call_begin(c->trace, native_thread(c), f->text, c->now_ticks);
}

void __tsan_func_exit(void)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    if (__builtin_expect(c->machine->watch != NULL, 0))
        native_watch_event(c, &(struct native_event){.kind = NATIVE_EVENT_RETURN});
    if (native_hot.calls)
        trace_call_end(c->trace, native_thread(c), c->now_ticks);
}

// --- Accesses. ---

void native_slow_path(struct pcpu *c, const struct native_access *a)
{
    struct machine *machine = c->machine;

    if (!pcpu_is_watched(c) || c->now_ticks >= c->due_ticks)
        pcpu_slow_path(c, true);
    if (__builtin_expect(pcpu_current->mem->stores.mode == MEM_STORES_CHOSEN, 0) && a->access != PLACE_BLOCK)
        mem_store_choose(machine, false);
    if (__builtin_expect(machine->watch != NULL, 0))
        native_watch_point(a);
}

void native_load_far(struct pcpu *c, const struct native_access *a)
{
    const void *p = (const void *)(uintptr_t)a->p;
    uint64_t hpa = native_hpa(c, p, a->pc);

    mem_time_load(c, hpa, a->size_bytes);
    mem_near_learn(c->mem, c->mem->near_load, p, hpa);
    native_checkpoint(c, a);
}

void native_store_far(struct pcpu *c, const struct native_access *a)
{
    void *p = (void *)(uintptr_t)a->p;

    native_checkpoint(c, a);
    c = pcpu_current;
    struct memory *memory = c->machine->memory;

    if (__builtin_expect(memory && !(a->access & PLACE_ATOMIC), 0))
        memory_plain_store(memory, c->index, p, a->size_bytes);
    unsigned kept_bytes = native_hides(c, p) ? a->size_bytes : 0;

    if (mem_near(c->mem, c->mem->near_store, p, a->size_bytes)) {
        if (c->mem->stores.count == c->mem->stores.capacity)
            mem_store_make_room(c);
        mem_store_near(c->mem, c->now_ticks, p, kept_bytes);
        native_watch_stored(c);
        return;
    }
    uint64_t hpa = native_hpa(c, p, a->pc);

    mem_store_push(c, p, kept_bytes, mem_time_store(c, hpa, a->size_bytes));
    // The memory model wants to hear of every plain store: none is near where nobody watches.
    if (!memory || c->machine->watch)
        mem_near_learn(c->mem, c->mem->near_store, p, hpa);
    native_watch_stored(c);
}

// clang-format off
#define LOAD(p, n) native_load(p, n, PLACE_READ, 0)
#define STORE(p, n) native_store(p, n, PLACE_WRITE, 0)
#define ACCESS(n)                                                                            \
    void __tsan_read##n(void *p) { LOAD(p, n); }                                          \
    void __tsan_write##n(void *p) { STORE(p, n); }                                        \
    void __tsan_unaligned_read##n(void *p) { LOAD(p, n); }                                \
    void __tsan_unaligned_write##n(void *p) { STORE(p, n); }                              \
    void __tsan_volatile_read##n(void *p) { LOAD(p, n); }                                 \
    void __tsan_volatile_write##n(void *p) { STORE(p, n); }                               \
    void __tsan_read_write##n(void *p) { LOAD(p, n); STORE(p, n); }
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
        LOAD((char *)p + at, size_bytes - at < 16 ? (unsigned)(size_bytes - at) : 16);
}

void __tsan_write_range(void *p, unsigned long size_bytes)
{
    for (unsigned long at = 0; at < size_bytes; at += 16)
        STORE((char *)p + at, size_bytes - at < 16 ? (unsigned)(size_bytes - at) : 16);
}
