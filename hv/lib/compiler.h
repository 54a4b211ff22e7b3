// SPDX-License-Identifier: Apache-2.0
// Words that every file of hv/ uses: container_of, likely, single-copy loads and stores, barriers.
#ifndef HV_LIB_COMPILER_H
#define HV_LIB_COMPILER_H

#include "hv/hw/types.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(ptr, type, member) ((type *)((u64)(ptr)-offsetof(type, member)))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CACHELINE_BYTES 64u
#define __cacheline_aligned __attribute__((aligned(64)))
#define __noinline __attribute__((noinline))
#define __cold __attribute__((cold))

#define PAGE_SHIFT 12u
#define PAGE_SIZE (1ull << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))

// One untorn access that the compiler neither repeats nor invents; no order (C11 relaxed).
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
// Full, write and read barriers between memory accesses of this processor.
static inline void smp_mb(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
static inline void smp_wmb(void)
{
    __atomic_thread_fence(__ATOMIC_RELEASE);
}
static inline void smp_rmb(void)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline u64 min_u64(u64 a, u64 b)
{
    return a < b ? a : b;
}
static inline u64 max_u64(u64 a, u64 b)
{
    return a > b ? a : b;
}
// `align` is a power of two. align_up wraps to 0 beyond 2^64.
static inline u64 align_up(u64 x, u64 align)
{
    return (x + align - 1) & ~(align - 1);
}
static inline u64 align_down(u64 x, u64 align)
{
    return x & ~(align - 1);
}
static inline bool is_aligned(u64 x, u64 align)
{
    return (x & (align - 1)) == 0;
}

#endif
