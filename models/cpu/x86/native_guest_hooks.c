// SPDX-License-Identifier: Apache-2.0
// What the compiler calls for each block and each atomic of a native guest's program. (The linker made
// __wrap_NAME of each NAME: the hypervisor core's hooks are others.)
#include "models/cpu/x86/guest_fast.h"
#include "models/cpu/x86/native_guest_run.h"

#include "models/cpu/uarch/uarch.h"
#include <string.h>

#define HERE __builtin_return_address(0)

// --- Blocks. ---

void __wrap___sanitizer_cov_trace_pc(void);
void __wrap___sanitizer_cov_trace_pc(void)
{
    struct native_guest *n = native_running;

    if (__builtin_expect(!n, 0)) // The library's constructor.
        return;
    struct pcpu *c = n->cpu;

    c->now_ticks += price_ticks(&n->map, (uint64_t)(uintptr_t)HERE);
    if (__builtin_expect(c->now_ticks >= c->limit_ticks, 0))
        native_turn(n, HERE);
}

// --- Guest memory. ---
//
// Any access but the usual one (guest_fast.h) is an instruction in the program's slot, as a stream's `read`
// or `write` is.

static inline __attribute__((always_inline)) uint64_t load(const volatile void *p, unsigned size,
                                                           const void *pc)
{
    struct native_guest *n = native_running;
    uint64_t linear = (uint64_t)(uintptr_t)p, value = 0;

    if (__builtin_expect(n->cpu->now_ticks >= n->cpu->limit_ticks, 0))
        native_turn(n, pc);
    n->cpu->now_ticks += n->load_ticks;
    if (__builtin_expect(n->careful || !guest_load_fast(n->cpu, linear, size, &value), 0)) {
        const struct replay_op op = {.kind = REPLAY_READ, .length = 3, .args = {linear, size}};

        native_instruction(n, &op, pc);
        return n->cpu->x86->vmx.gpr.r[0];
    }
    return value;
}

static inline __attribute__((always_inline)) void store(volatile void *p, unsigned size, uint64_t value,
                                                        const void *pc)
{
    struct native_guest *n = native_running;
    uint64_t linear = (uint64_t)(uintptr_t)p;

    if (__builtin_expect(n->cpu->now_ticks >= n->cpu->limit_ticks, 0))
        native_turn(n, pc);
    if (__builtin_expect(n->careful || !guest_store_fast(n->cpu, linear, size, &value), 0)) {
        const struct replay_op op = {.kind = REPLAY_WRITE, .length = 3, .args = {linear, size, value}};

        native_instruction(n, &op, pc);
    }
}

// Returns the old value.
static uint64_t locked(volatile void *p, unsigned size, enum guest_rmw_kind what, uint64_t expected,
                       uint64_t operand, const void *pc)
{
    static const struct replay_op ops[] = {[GUEST_RMW_ADD] = {.kind = REPLAY_XADD, .length = 5},
                                           [GUEST_RMW_EXCHANGE] = {.kind = REPLAY_XCHG, .length = 3},
                                           [GUEST_RMW_COMPARE] = {.kind = REPLAY_CMPXCHG, .length = 5}};
    struct native_guest *n = native_running;
    uint64_t linear = (uint64_t)(uintptr_t)p;
    unsigned char *at;

    if (__builtin_expect(n->cpu->now_ticks >= n->cpu->limit_ticks, 0))
        native_turn(n, pc);
    at = n->careful ? NULL : guest_rmw_fast(n->cpu, linear, size);
    if (__builtin_expect(!at, 0)) {
        struct replay_op op = ops[what];

        op.args[0] = linear;
        op.args[1] = size;
        op.args[2] = what == GUEST_RMW_COMPARE ? expected : operand;
        op.args[3] = operand;
        native_instruction(n, &op, pc);
        return n->cpu->x86->vmx.gpr.r[0];
    }
    return guest_rmw_bytes(at, size, what, expected, operand);
}

// An operation that the instruction set has only without its old value: a loop, as compilers make one.
#define LOOP(expr)                                                                                           \
    uint64_t old = load(p, sizeof *p, HERE), seen;                                                           \
    while ((seen = locked(p, sizeof *p, GUEST_RMW_COMPARE, old, (expr), HERE)) != old)                       \
        old = seen;                                                                                          \
    return (__typeof__(v))old

enum { ORDER_SEQ_CST = 5 };

// clang-format off
#define NAME(bits, operation) __wrap___tsan_atomic##bits##_##operation
#define FETCH_LOOP(bits, type, operation, expr)                                                           \
    type NAME(bits, fetch_##operation)(volatile type *p, type v, int order);                              \
    type NAME(bits, fetch_##operation)(volatile type *p, type v, int order) { (void)order; LOOP(expr); }
#define ATOMICS(bits, type)                                                                               \
    type NAME(bits, load)(const volatile type *p, int order);                                             \
    type NAME(bits, load)(const volatile type *p, int order)                                              \
    {                                                                                                     \
        (void)order;                                                                                      \
        return (type)load(p, sizeof *p, HERE);                                                            \
    }                                                                                                     \
    void NAME(bits, store)(volatile type *p, type v, int order);                                          \
    void NAME(bits, store)(volatile type *p, type v, int order)                                           \
    {                                                                                                     \
        if (order == ORDER_SEQ_CST)                                                                       \
            locked(p, sizeof *p, GUEST_RMW_EXCHANGE, 0, v, HERE);                                         \
        else                                                                                              \
            store(p, sizeof *p, v, HERE);                                                                 \
    }                                                                                                     \
    type NAME(bits, exchange)(volatile type *p, type v, int order);                                       \
    type NAME(bits, exchange)(volatile type *p, type v, int order)                                        \
    {                                                                                                     \
        (void)order;                                                                                      \
        return (type)locked(p, sizeof *p, GUEST_RMW_EXCHANGE, 0, v, HERE);                                \
    }                                                                                                     \
    type NAME(bits, fetch_add)(volatile type *p, type v, int order);                                      \
    type NAME(bits, fetch_add)(volatile type *p, type v, int order)                                       \
    {                                                                                                     \
        (void)order;                                                                                      \
        return (type)locked(p, sizeof *p, GUEST_RMW_ADD, 0, v, HERE);                                     \
    }                                                                                                     \
    type NAME(bits, fetch_sub)(volatile type *p, type v, int order);                                      \
    type NAME(bits, fetch_sub)(volatile type *p, type v, int order)                                       \
    {                                                                                                     \
        (void)order;                                                                                      \
        return (type)locked(p, sizeof *p, GUEST_RMW_ADD, 0, (type)-v, HERE);                              \
    }                                                                                                     \
    FETCH_LOOP(bits, type, and, old & v)                                                                  \
    FETCH_LOOP(bits, type, or, old | v)                                                                   \
    FETCH_LOOP(bits, type, xor, old ^ v)                                                                  \
    FETCH_LOOP(bits, type, nand, (type)~(old & v))                                                        \
    type NAME(bits, compare_exchange_val)(volatile type *p, type expected, type v, int ok, int fail);     \
    type NAME(bits, compare_exchange_val)(volatile type *p, type expected, type v, int ok, int fail)      \
    {                                                                                                     \
        (void)ok, (void)fail;                                                                             \
        return (type)locked(p, sizeof *p, GUEST_RMW_COMPARE, expected, v, HERE);                          \
    }                                                                                                     \
    int NAME(bits, compare_exchange_strong)(volatile type *p, type *expected, type v, int ok, int fail);  \
    int NAME(bits, compare_exchange_strong)(volatile type *p, type *expected, type v, int ok, int fail)   \
    {                                                                                                     \
        (void)ok, (void)fail;                                                                             \
        type old = (type)locked(p, sizeof *p, GUEST_RMW_COMPARE, *expected, v, HERE);                     \
        int done = old == *expected;                                                                      \
        *expected = old;                                                                                  \
        return done;                                                                                      \
    }                                                                                                     \
    int NAME(bits, compare_exchange_weak)(volatile type *p, type *expected, type v, int ok, int fail);    \
    int NAME(bits, compare_exchange_weak)(volatile type *p, type *expected, type v, int ok, int fail)     \
    {                                                                                                     \
        (void)ok, (void)fail;                                                                             \
        type old = (type)locked(p, sizeof *p, GUEST_RMW_COMPARE, *expected, v, HERE);                     \
        int done = old == *expected;                                                                      \
        *expected = old;                                                                                  \
        return done;                                                                                      \
    }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
// clang-format on

void __wrap___tsan_atomic_thread_fence(int order);
void __wrap___tsan_atomic_thread_fence(int order)
{
    struct pcpu *c = native_running->cpu;

    // Acquire and release fences order nothing that TSO does not: no instruction (SDM 8.2.2).
    if (order != ORDER_SEQ_CST)
        return;
    mem_store_drain(c);
    pcpu_charge_cycles(c, c->uarch->op.mfence_cycles);
}

void __wrap___tsan_atomic_signal_fence(int order);
void __wrap___tsan_atomic_signal_fence(int order)
{
    (void)order;
}

// --- The program's own stack and constants: hits in the first-level cache, which the block's price has. ---

void __wrap___tsan_init(void);
void __wrap___tsan_init(void) {}

void __wrap___tsan_func_entry(void *caller);
void __wrap___tsan_func_entry(void *caller)
{
    (void)caller;
}

void __wrap___tsan_func_exit(void);
void __wrap___tsan_func_exit(void) {}

// clang-format off
#define FREE(name)                              \
    void __wrap___tsan_##name(void *p);         \
    void __wrap___tsan_##name(void *p) { (void)p; }
#define ACCESS(n)                                                                                            \
    FREE(read##n) FREE(write##n) FREE(unaligned_read##n) FREE(unaligned_write##n) FREE(volatile_read##n)     \
    FREE(volatile_write##n) FREE(read_write##n)
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
#undef ACCESS
#undef FREE
    // clang-format on

    void __wrap___tsan_read_range(void *p, unsigned long size_bytes);
void __wrap___tsan_read_range(void *p, unsigned long size_bytes)
{
    (void)p, (void)size_bytes;
}

void __wrap___tsan_write_range(void *p, unsigned long size_bytes);
void __wrap___tsan_write_range(void *p, unsigned long size_bytes)
{
    (void)p, (void)size_bytes;
}
