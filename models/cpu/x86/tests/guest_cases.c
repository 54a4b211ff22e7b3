// SPDX-License-Identifier: Apache-2.0
// The guest program of test_native_guest.c: one small function for each law, chosen by its first argument.
#include "models/cpu/x86/tests/guest_cases.h"
#include "scenarios/guests/native/guest.h"

enum { CASE, A, B };

static const struct guest_arg args[] = {
    [CASE] = {"case", "which function", 0, 0, CASES - 1, GUEST_NUMBER},
    [A] = {"a", "its argument", 0, 0, UINT64_MAX, GUEST_NUMBER},
    [B] = {"b", "its argument", 0, 0, UINT64_MAX, GUEST_NUMBER},
};

#define WORD(address) ((guest_u64 *)(uintptr_t)(address))

static void straight(const uint64_t *arg)
{
    (void)arg;
    guest_hlt();
}

static void work(const uint64_t *arg)
{
    guest_work(arg[A]);
    guest_hlt();
}

static void accesses(const uint64_t *arg)
{
    guest_store(WORD(arg[A]), 0x1122334455667788);
    guest_store(WORD(arg[A] + 8), guest_load(WORD(arg[A])) + 1);
    guest_hlt();
}

static void instructions(const uint64_t *arg)
{
    uint32_t in = guest_in(0x60, 1), id[4];

    guest_out(0x3f8, 2, in + 1);
    guest_cpuid(1, 2, id);
    guest_wrmsr(0x10, id[0] + ((uint64_t)id[3] << 32));
    guest_store(WORD(arg[A]), guest_rdmsr(0x10));
    guest_store(WORD(arg[A] + 8), guest_vmcall(7, 8, 9, 10, 11));
    guest_hlt();
}

static void on_interrupt(unsigned vector)
{
    guest_store(WORD(VECTOR_AT), vector);
    guest_store(WORD(COUNT_AT), guest_load(WORD(COUNT_AT)) + 1);
    guest_out(0x80, 1, vector);
    guest_eoi();
}

static void handler(const uint64_t *arg)
{
    guest_set_handler((unsigned)arg[A], on_interrupt);
    guest_store(WORD(RESULT_AT), guest_in(0x60, 4));
    guest_hlt();
}

static void spin(const uint64_t *arg)
{
    uint64_t n = 0;

    if (arg[A])
        guest_set_handler((unsigned)arg[A], on_interrupt);
    guest_out(0x80, 1, 0);
    while (guest_load(WORD(COUNT_AT)) < arg[B])
        guest_store(WORD(RESULT_AT), ++n);
    guest_hlt();
}

static void locked(const uint64_t *arg)
{
    guest_u64 *p = WORD(arg[A]);
    uint64_t expected = 3, seen;

    atomic_store(p, 5);
    seen = atomic_fetch_add(p, 7);
    guest_store(WORD(RESULT_AT), seen);
    seen = atomic_fetch_sub(p, 2);
    guest_store(WORD(RESULT_AT + 8), seen);
    guest_store(WORD(RESULT_AT + 16), atomic_compare_exchange_strong(p, &expected, 99));
    guest_store(WORD(RESULT_AT + 24), expected);
    guest_store(WORD(RESULT_AT + 32), atomic_compare_exchange_strong(p, &expected, 99));
    guest_store(WORD(RESULT_AT + 40), atomic_fetch_or(p, 0x100));
    guest_store(WORD(RESULT_AT + 48), atomic_fetch_xor(p, 0x101));
    guest_store(WORD(RESULT_AT + 56), atomic_exchange(p, 42));
    guest_hlt();
}

static void small(const uint64_t *arg)
{
    _Atomic(uint8_t) *byte = (_Atomic(uint8_t) *)(uintptr_t)(arg[A] + 1);
    _Atomic(uint16_t) *word = (_Atomic(uint16_t) *)(uintptr_t)(arg[A] + 2);
    _Atomic(uint32_t) *half = (_Atomic(uint32_t) *)(uintptr_t)(arg[A] + 4);

    atomic_store_explicit(byte, 0x12, memory_order_relaxed);
    atomic_store_explicit(word, 0x3456, memory_order_relaxed);
    atomic_store(half, 0xfffffffe);
    guest_store(WORD(RESULT_AT), atomic_fetch_add(half, 3));
    guest_store(WORD(RESULT_AT + 8), atomic_fetch_add(byte, 0xff));
    guest_store(WORD(RESULT_AT + 16), atomic_load_explicit(word, memory_order_relaxed));
    guest_hlt();
}

static void loads(const uint64_t *arg)
{
    for (uint64_t i = 0; i < arg[B]; i++)
        (void)guest_load(WORD(arg[A]));
    guest_hlt();
}

static void quiet(const uint64_t *arg)
{
    (void)arg;
    guest_cli();
    guest_out(0x80, 1, 0);
    guest_sti();
    guest_hlt();
    guest_out(0x80, 1, 1);
}

static void open_window(const uint64_t *arg)
{
    guest_store(WORD(RESULT_AT), 1);
    guest_cli();
    guest_out(0x80, 1, 0);
    guest_sti();
    for (;;)
        guest_store(WORD(RESULT_AT), arg[A]);
}

static void failing(const uint64_t *arg)
{
    guest_fail("guest program: on purpose", arg[A], arg[B]);
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    static void (*const cases[])(const uint64_t *) = {
        [CASE_STRAIGHT] = straight, [CASE_WORK] = work,       [CASE_ACCESSES] = accesses,
        [CASE_INSN] = instructions, [CASE_HANDLER] = handler, [CASE_SPIN] = spin,
        [CASE_LOCKED] = locked,     [CASE_SMALL] = small,     [CASE_LOADS] = loads,
        [CASE_QUIET] = quiet,       [CASE_FAIL] = failing,    [CASE_OPEN] = open_window};

    (void)env;
    cases[arg[CASE]](arg);
}

GUEST_PROGRAM("One law each.", args, run);
