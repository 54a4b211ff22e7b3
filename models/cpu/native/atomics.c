// SPDX-License-Identifier: Apache-2.0
// C11 atomics of hv code, carried out here as x86 does (SDM 8.1, 8.2): loads are plain, stores below seq_cst
// go through the store buffer, seq_cst stores are XCHG, read-modify-writes are LOCKed and drain the buffer.
// Time is always that; values are too, unless the run has a memory model of its own (models/memory).
#include "models/cpu/native/hooks.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/core.h"
#include "models/memory/memory.h"

static void before_locked(const struct native_access *a)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    mem_access(c, native_hpa(c, (const void *)(uintptr_t)a->p, a->pc), a->size_bytes, MEM_RMW);
    native_checkpoint(c, a);
    mem_store_drain(pcpu_current);
}

#define LOCKED(p, order)                                                                                     \
    before_locked(NATIVE_ACCESS(p, sizeof *(p), PLACE_READ | PLACE_WRITE | PLACE_ATOMIC, order))

// clang-format off
#define RMW(bits, type, name, expr)                                                                       \
    type __tsan_atomic##bits##_##name(volatile type *p, type v, int order);                               \
    type __tsan_atomic##bits##_##name(volatile type *p, type v, int order)                                \
    {                                                                                                     \
        LOCKED(p, order);                                                                                 \
        struct memory *m = native_memory();                                                               \
        type old = m ? (type)memory_rmw_read(m, pcpu_hooked->index, p, sizeof *p, order) : *p;            \
        if (m)                                                                                            \
            memory_rmw_write(m, (type)(expr));                                                            \
        else                                                                                              \
            *p = (type)(expr);                                                                            \
        return old;                                                                                       \
    }
#define ATOMICS(bits, type)                                                                               \
    type __tsan_atomic##bits##_load(const volatile type *p, int order);                                   \
    type __tsan_atomic##bits##_load(const volatile type *p, int order)                                    \
    {                                                                                                     \
        native_load(p, sizeof *p, PLACE_READ | PLACE_ATOMIC, order);                                      \
        struct memory *m = native_memory();                                                               \
        return m ? (type)memory_load(m, pcpu_hooked->index, p, sizeof *p, order) : *p;                    \
    }                                                                                                     \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int order);                                \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                                 \
    {                                                                                                     \
        if (order == NATIVE_ORDER_SEQ_CST)                                                                \
            before_locked(NATIVE_ACCESS(p, sizeof *p, PLACE_WRITE | PLACE_ATOMIC, order));                \
        else                                                                                              \
            native_store(p, sizeof *p, PLACE_WRITE | PLACE_ATOMIC, order);                                \
        struct memory *m = native_memory();                                                               \
        if (m)                                                                                            \
            memory_store(m, pcpu_hooked->index, p, sizeof *p, v, order);                                  \
        else                                                                                              \
            *p = v;                                                                                       \
    }                                                                                                     \
    RMW(bits, type, exchange, v)                                                                          \
    RMW(bits, type, fetch_add, old + v)                                                                   \
    RMW(bits, type, fetch_sub, old - v)                                                                   \
    RMW(bits, type, fetch_and, old & v)                                                                   \
    RMW(bits, type, fetch_or, old | v)                                                                    \
    RMW(bits, type, fetch_xor, old ^ v)                                                                   \
    RMW(bits, type, fetch_nand, ~(old & v))                                                               \
    static bool cas##bits(volatile type *p, type *expected, type v, int ok, int fail)                     \
    {                                                                                                     \
        struct memory *m = native_memory();                                                               \
        uint64_t found = *expected;                                                                       \
        bool equal = m ? memory_cas_read(m, pcpu_hooked->index, p, sizeof *p, &found, ok, fail)           \
                       : *p == *expected;                                                                 \
        if (!equal)                                                                                       \
            *expected = m ? (type)found : *p;                                                             \
        else if (m)                                                                                       \
            memory_rmw_write(m, v);                                                                       \
        else                                                                                              \
            *p = v;                                                                                       \
        return equal;                                                                                     \
    }                                                                                                     \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected, type v, int ok, int fail); \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected, type v, int ok, int fail)  \
    {                                                                                                     \
        LOCKED(p, ok);                                                                                    \
        return cas##bits(p, expected, v, ok, fail);                                                       \
    }                                                                                                     \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *expected, type v, int ok, int fail);   \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *expected, type v, int ok, int fail)    \
    {                                                                                                     \
        LOCKED(p, ok);                                                                                    \
        return cas##bits(p, expected, v, ok, fail);                                                       \
    }                                                                                                     \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type expected, type v, int ok, int fail);    \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type expected, type v, int ok, int fail)     \
    {                                                                                                     \
        LOCKED(p, ok);                                                                                    \
        (void)cas##bits(p, &expected, v, ok, fail);                                                       \
        return expected;                                                                                  \
    }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
// clang-format on

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    // Acquire and release fences order nothing that TSO does not: no instruction (SDM 8.2.2).
    if (order == NATIVE_ORDER_SEQ_CST) {
        mem_store_drain(c);
        pcpu_charge_cycles(c, c->uarch->op.mfence_cycles);
    }
    native_checkpoint(c, NATIVE_ACCESS(NULL, 0, PLACE_ATOMIC, order));
    if (order == NATIVE_ORDER_SEQ_CST)
        mem_store_drain(pcpu_current);
    struct memory *m = native_memory();

    if (m)
        memory_fence(m, pcpu_hooked->index, order);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}
