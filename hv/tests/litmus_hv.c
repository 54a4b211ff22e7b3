// SPDX-License-Identifier: Apache-2.0
// A hypervisor core that does nothing but litmus tests (tests/litmus): each processor carries out the
// operations that the test gives it, so that the compiler's hooks are the very ones of libhv.so.
//
// Its loop is not instrumented: only the operations themselves are accesses.
#include "hv/tests/litmus_hv.h"
#include "hv/hw/boot.h"
#include "hv/hw/cpu.h"
#include <stdatomic.h>

#define LITMUS ((struct litmus *)(HW_ARENA_BASE + LITMUS_HPA))
#define BARE __attribute__((no_sanitize("thread"), no_sanitize_coverage)) static

void hw_test_start_ap(u32 cpu);
void hw_test_next(u32 cpu);
void hv_boot(const struct hw_bootinfo *info);

// One function for each operation and order, all of the same shape.
#define OP(name) __attribute__((noinline)) static u64 name(_Atomic u64 *p, u64 v)
#define LOAD(order)                                                                                          \
    OP(load_##order)                                                                                         \
    {                                                                                                        \
        (void)v;                                                                                             \
        return atomic_load_explicit(p, memory_order_##order);                                                \
    }
#define STORE(order)                                                                                         \
    OP(store_##order)                                                                                        \
    {                                                                                                        \
        atomic_store_explicit(p, v, memory_order_##order);                                                   \
        return 0;                                                                                            \
    }
#define EXCHANGE(order)                                                                                      \
    OP(exchange_##order)                                                                                     \
    {                                                                                                        \
        return atomic_exchange_explicit(p, v, memory_order_##order);                                         \
    }
#define ADD(order)                                                                                           \
    OP(add_##order)                                                                                          \
    {                                                                                                        \
        return atomic_fetch_add_explicit(p, v, memory_order_##order);                                        \
    }
// From 0 to v; a failure is relaxed.
#define CAS(order)                                                                                           \
    OP(cas_##order)                                                                                          \
    {                                                                                                        \
        u64 expected = 0;                                                                                    \
        atomic_compare_exchange_strong_explicit(p, &expected, v, memory_order_##order,                       \
                                                memory_order_relaxed);                                       \
        return expected;                                                                                     \
    }
#define FENCE(order)                                                                                         \
    OP(fence_##order)                                                                                        \
    {                                                                                                        \
        (void)p, (void)v;                                                                                    \
        atomic_thread_fence(memory_order_##order);                                                           \
        return 0;                                                                                            \
    }
LOAD(relaxed)
LOAD(acquire)
LOAD(seq_cst)
STORE(relaxed)
STORE(release)
STORE(seq_cst)
EXCHANGE(relaxed)
EXCHANGE(acquire)
EXCHANGE(release)
EXCHANGE(acq_rel)
EXCHANGE(seq_cst)
ADD(relaxed)
ADD(acquire)
ADD(release)
ADD(acq_rel)
ADD(seq_cst)
CAS(relaxed)
CAS(acquire)
CAS(release)
CAS(acq_rel)
CAS(seq_cst)
FENCE(acquire)
FENCE(release)
FENCE(acq_rel)
FENCE(seq_cst)

OP(plain_load)
{
    (void)v;
    return *(u64 *)p;
}

OP(plain_store)
{
    *(u64 *)p = v;
    return 0;
}

// Relaxed accesses to the lower half.
OP(half_load)
{
    (void)v;
    return atomic_load_explicit((_Atomic u32 *)p, memory_order_relaxed);
}

OP(half_store)
{
    atomic_store_explicit((_Atomic u32 *)p, (u32)v, memory_order_relaxed);
    return 0;
}

BARE u64 operation(u32 op, _Atomic u64 *p, u64 v)
{
    switch (op) {
#define LITMUS_OP(id, fn, text)                                                                              \
    case LITMUS_##id:                                                                                        \
        return fn(p, v);
#include "hv/tests/litmus_ops.def"
#undef LITMUS_OP
    }
    return 0;
}

BARE void carry_out(struct litmus *l, u32 cpu)
{
    const struct litmus_thread *t = &l->thread[cpu];

    for (u32 i = 0; i < t->count; i++) {
        const struct litmus_op *o = &t->op[i];
        u64 result = operation(o->op, &l->var[o->var].value, o->from ? l->reg[o->from] : o->value);

        if (o->reg)
            l->reg[o->reg] = result;
    }
}

// The same as straight code, for the bench: what a thread of hv would be.
__attribute__((noinline)) static void store_buffering(struct litmus *l, u32 cpu)
{
    atomic_store_explicit(&l->var[cpu].value, 1, memory_order_relaxed);
    l->reg[1 + cpu] = atomic_load_explicit(&l->var[1 - cpu].value, memory_order_relaxed);
}

__attribute__((noinline)) static void message_passing(struct litmus *l, u32 cpu)
{
    if (cpu == 0) {
        atomic_store_explicit(&l->var[0].value, 1, memory_order_relaxed);
        atomic_store_explicit(&l->var[1].value, 1, memory_order_release);
    } else {
        l->reg[1] = atomic_load_explicit(&l->var[1].value, memory_order_acquire);
        l->reg[2] = atomic_load_explicit(&l->var[0].value, memory_order_relaxed);
    }
}

BARE void serve(u32 cpu)
{
    struct litmus *l = LITMUS;

    for (;;) {
        hw_test_next(cpu);
        if (l->program == LITMUS_SB)
            store_buffering(l, cpu);
        else if (l->program == LITMUS_MP)
            message_passing(l, cpu);
        else
            carry_out(l, cpu);
    }
}

static void interrupt(unsigned vector)
{
    (void)vector;
}

static void nmi(void) {}

static u64 syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    return nr + a0 + a1 + a2 + a3;
}

static void ap_entry(u64 cpu)
{
    serve((u32)cpu);
}

static const struct hw_vectors vectors[LITMUS_CPUS] = {{interrupt, nmi, syscall, ap_entry, 0},
                                                       {interrupt, nmi, syscall, ap_entry, 1},
                                                       {interrupt, nmi, syscall, ap_entry, 2},
                                                       {interrupt, nmi, syscall, ap_entry, 3}};

__attribute__((visibility("default"))) void hv_boot(const struct hw_bootinfo *info)
{
    (void)info;
    for (u32 cpu = 1; cpu < LITMUS_CPUS; cpu++) {
        hw_set_vectors(&vectors[cpu]); // The next one's argument
        hw_test_start_ap(cpu);
    }
    serve(0);
}
