// SPDX-License-Identifier: Apache-2.0
// For guest programs: guest memory, and what most of them need.
//
// Guest memory is reached by atomics alone, so that the type system keeps host and guest addresses apart: an
// access by a plain `*p` of a guest_u64 is sequentially consistent as C11 says (a store is an XCHG);
// guest_load() and guest_store() are the MOVs of ordinary code.
#ifndef SCENARIOS_GUESTS_NATIVE_GUEST_H
#define SCENARIOS_GUESTS_NATIVE_GUEST_H

#include "spec/native_guest.h"
#include <stdatomic.h>
#include <stddef.h>

typedef _Atomic(uint64_t) guest_u64;

#define GUEST_PAGE 4096u
#define KiB (1ull << 10)
#define MiB (1ull << 20)
#define GiB (1ull << 30)

#define GUEST_PROGRAM(about_text, arg_table, function)                                                       \
    __attribute__((visibility("default"))) const struct guest_program guest_program = {                      \
        GUEST_ABI, sizeof(arg_table) / sizeof *(arg_table), about_text, arg_table, function}

static inline uint64_t guest_load(const guest_u64 *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static inline void guest_store(guest_u64 *p, uint64_t value)
{
    atomic_store_explicit(p, value, memory_order_relaxed);
}

static inline uint64_t guest_memory_bytes(const struct guest_env *env)
{
    return env->memory[0].bytes + env->memory[1].bytes;
}

// The word at `offset` (a multiple of 8) of the program's memory.
static inline guest_u64 *guest_word(const struct guest_env *env, uint64_t offset)
{
    uint64_t base = env->memory[0].base;

    if (offset >= env->memory[0].bytes)
        base = env->memory[1].base - env->memory[0].bytes;
    return (guest_u64 *)(uintptr_t)(base + offset);
}

// A range of the program's memory, in offsets for guest_word().
struct guest_range {
    uint64_t start, bytes;
};

// Arguments of programs that work on a range.
#define GUEST_ARG_BYTES                                                                                      \
    {                                                                                                        \
        "bytes", "size of the range it works on; 0: the vCPU's share of the VM's memory", 0, 0, UINT64_MAX,  \
            GUEST_BYTES                                                                                      \
    }
#define GUEST_ARG_SHARED                                                                                     \
    {                                                                                                        \
        "shared", "1: all vCPUs work on the same range; 0: each on its own", 0, 0, 1, GUEST_NUMBER           \
    }

// Arguments of programs that access words of their range.
#define GUEST_ARG_ACCESSES                                                                                   \
    {                                                                                                        \
        "accesses", "how many", 1000000, 0, UINT64_MAX, GUEST_NUMBER                                         \
    }
#define GUEST_ARG_WRITES                                                                                     \
    {                                                                                                        \
        "writes", "how many of 100 accesses write", 30, 0, 100, GUEST_NUMBER                                 \
    }

// The range that the first two ask for; whole pages. Empty, and a failure, where the memory does not have it.
static inline struct guest_range guest_range(const struct guest_env *env, uint64_t bytes, uint64_t shared)
{
    uint64_t all = guest_memory_bytes(env), share = shared ? all : all / env->vcpu_count;
    struct guest_range r;

    r.bytes = (bytes ? bytes : share) & ~(uint64_t)(GUEST_PAGE - 1);
    r.start = shared ? 0 : env->vcpu * r.bytes;
    if (r.bytes > share) {
        guest_fail("guest program: the vCPUs' ranges are larger than the memory", r.bytes, share);
        r.bytes = 0;
    }
    return r;
}

// SplitMix64: the next number of the sequence.
static inline uint64_t guest_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// A number below `n`, by multiplication: no division on the way.
static inline uint64_t guest_below(uint64_t *state, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)guest_random(state) * n) >> 64);
}

// Reads the word, or writes it in `writes` of 100 cases.
static inline void guest_touch(guest_u64 *word, uint64_t *state, uint64_t writes)
{
    if (guest_below(state, 100) < writes)
        guest_store(word, *state);
    else
        (void)guest_load(word);
}

// Computes until the TSC has reached `tsc`.
static inline void guest_work_until(uint64_t tsc)
{
    uint64_t now = guest_rdtsc();

    if (tsc > now)
        guest_work(tsc - now);
}

#endif
