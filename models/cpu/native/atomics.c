// SPDX-License-Identifier: Apache-2.0
// C11 atomics of hv code, carried out here as x86 does (SDM 8.1, 8.2): loads are plain, stores below seq_cst
// go through the store buffer, seq_cst stores are XCHG, read-modify-writes are LOCKed and drain the buffer.
#include "models/cpu/native/hooks.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/core.h"

static void before_locked(const struct native_access *a)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    mem_access(c, native_hpa(c, (const void *)(uintptr_t)a->p), a->size_bytes, MEM_RMW);
    native_checkpoint(c, a);
    mem_store_drain(pcpu_current);
}

#define LOCKED(p, order)                                                                                     \
    before_locked(NATIVE_ACCESS(p, sizeof *(p), PLACE_READ | PLACE_WRITE | PLACE_ATOMIC, order))

// clang-format off
#define FETCH(bits, type, name, expr)                                                                     \
    type __tsan_atomic##bits##_fetch_##name(volatile type *p, type v, int order);                         \
    type __tsan_atomic##bits##_fetch_##name(volatile type *p, type v, int order)                          \
    {                                                                                                     \
        LOCKED(p, order);                                                                                 \
        type old = *p;                                                                                    \
        *p = (type)(expr);                                                                                \
        return old;                                                                                       \
    }
#define ATOMICS(bits, type)                                                                               \
    type __tsan_atomic##bits##_load(const volatile type *p, int order);                                   \
    type __tsan_atomic##bits##_load(const volatile type *p, int order)                                    \
    {                                                                                                     \
        native_load(p, sizeof *p, PLACE_READ | PLACE_ATOMIC, order);                                      \
        return *p;                                                                                        \
    }                                                                                                     \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int order);                                \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                                 \
    {                                                                                                     \
        if (order == NATIVE_ORDER_SEQ_CST)                                                                \
            before_locked(NATIVE_ACCESS(p, sizeof *p, PLACE_WRITE | PLACE_ATOMIC, order));                \
        else                                                                                              \
            native_store(p, sizeof *p, PLACE_WRITE | PLACE_ATOMIC, order);                                                                   \
        *p = v;                                                                                           \
    }                                                                                                     \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order);                             \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order)                              \
    {                                                                                                     \
        LOCKED(p, order);                                                                                 \
        type old = *p;                                                                                    \
        *p = v;                                                                                           \
        return old;                                                                                       \
    }                                                                                                     \
    FETCH(bits, type, add, old + v)                                                                       \
    FETCH(bits, type, sub, old - v)                                                                       \
    FETCH(bits, type, and, old & v)                                                                       \
    FETCH(bits, type, or, old | v)                                                                        \
    FETCH(bits, type, xor, old ^ v)                                                                       \
    FETCH(bits, type, nand, ~(old & v))                                                                   \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected, type v, int ok, int fail); \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *expected, type v, int ok, int fail)  \
    {                                                                                                     \
        (void)fail;                                                                                       \
        LOCKED(p, ok);                                                                                    \
        if (*p == *expected) {                                                                            \
            *p = v;                                                                                       \
            return 1;                                                                                     \
        }                                                                                                 \
        *expected = *p;                                                                                   \
        return 0;                                                                                         \
    }                                                                                                     \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *expected, type v, int ok, int fail);   \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *expected, type v, int ok, int fail)    \
    {                                                                                                     \
        return __tsan_atomic##bits##_compare_exchange_strong(p, expected, v, ok, fail);                   \
    }                                                                                                     \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type expected, type v, int ok, int fail);    \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type expected, type v, int ok, int fail)     \
    {                                                                                                     \
        (void)__tsan_atomic##bits##_compare_exchange_strong(p, &expected, v, ok, fail);                   \
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
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}
