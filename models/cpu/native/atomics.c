// SPDX-License-Identifier: Apache-2.0
// C11 atomics of hv code, carried out here as x86 does (SDM 8.1, 8.2): loads are plain, stores below seq_cst
// go through the store buffer, seq_cst stores are XCHG, read-modify-writes are LOCKed and drain the buffer.
#include "models/cpu/native/hooks.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mem/core.h"

enum { ORDER_SEQ_CST = 5 };

static void before_locked(const volatile void *p, unsigned size_bytes, const void *pc)
{
    struct pcpu *c = pcpu_hooked;

    if (!c)
        return;
    mem_access(c, native_hpa(c, p), size_bytes, MEM_RMW);
    native_checkpoint(c, pc);
    mem_store_drain(pcpu_current);
}

// clang-format off
#define FETCH(bits, type, name, expr)                                                                     \
    type __tsan_atomic##bits##_fetch_##name(volatile type *p, type v, int order);                         \
    type __tsan_atomic##bits##_fetch_##name(volatile type *p, type v, int order)                          \
    {                                                                                                     \
        (void)order;                                                                                      \
        before_locked(p, sizeof *p, __builtin_return_address(0));                                                                      \
        type old = *p;                                                                                    \
        *p = (type)(expr);                                                                                \
        return old;                                                                                       \
    }
#define ATOMICS(bits, type)                                                                               \
    type __tsan_atomic##bits##_load(const volatile type *p, int order);                                   \
    type __tsan_atomic##bits##_load(const volatile type *p, int order)                                    \
    {                                                                                                     \
        (void)order;                                                                                      \
        native_load(p, sizeof *p);                                                                        \
        return *p;                                                                                        \
    }                                                                                                     \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int order);                                \
    void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                                 \
    {                                                                                                     \
        if (order == ORDER_SEQ_CST)                                                                       \
            before_locked(p, sizeof *p, __builtin_return_address(0));                                                                  \
        else                                                                                              \
            native_store(p, sizeof *p);                                                                   \
        *p = v;                                                                                           \
    }                                                                                                     \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order);                             \
    type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order)                              \
    {                                                                                                     \
        (void)order;                                                                                      \
        before_locked(p, sizeof *p, __builtin_return_address(0));                                                                      \
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
        (void)ok, (void)fail;                                                                             \
        before_locked(p, sizeof *p, __builtin_return_address(0));                                                                      \
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
    if (order == ORDER_SEQ_CST) {
        mem_store_drain(c);
        pcpu_charge_cycles(c, c->uarch->op.mfence_cycles);
    }
    pcpu_checkpoint(c);
    if (order == ORDER_SEQ_CST)
        mem_store_drain(pcpu_current);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}
