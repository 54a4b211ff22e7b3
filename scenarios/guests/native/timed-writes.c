// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { WRITES = 5 };
enum { END, AT, PAGE = AT + WRITES, WAIT = PAGE + WRITES };

#define WRITE_ARGS(n)                                                                                        \
    [AT + (n)] = {"at" #n,   "when write " #n " is done, from the program's start", 0, 0, 1000000000,        \
                  GUEST_TIME},                                                                               \
          [PAGE + (n)] = {"page" #n, "to which page", 0, 0, 512, GUEST_NUMBER},                              \
          [WAIT + (n)] = {"wait" #n, "behind how many interrupts", 0, 0, UINT64_MAX, GUEST_NUMBER}

static const struct guest_arg args[] = {
    [END] = {"end", "behind how many interrupts the program ends", 0, 0, UINT64_MAX, GUEST_NUMBER},
    WRITE_ARGS(0),
    WRITE_ARGS(1),
    WRITE_ARGS(2),
    WRITE_ARGS(3),
    WRITE_ARGS(4),
};

// Pages are counted from here, from 1 on.
#define PAGES 0x40000000u
// Interrupts that vCPU n has had: vector 0x40 + n. A handler knows nothing but its vector.
#define VECTOR 0x40u
#define INTERRUPTS 0x100000u

static guest_u64 *interrupts(unsigned vector)
{
    return (guest_u64 *)(uintptr_t)(INTERRUPTS + 8 * (vector - VECTOR));
}

static void count(unsigned vector)
{
    guest_store(interrupts(vector), guest_load(interrupts(vector)) + 1);
    guest_eoi();
}

static void wait_for(const struct guest_env *env, uint64_t n)
{
    while (guest_load(interrupts(VECTOR + env->vcpu)) < n)
        guest_work(500);
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    uint64_t start = guest_rdtsc();
    uint32_t regs[4];

    guest_set_handler(VECTOR + env->vcpu, count);
    guest_store(interrupts(VECTOR + env->vcpu), 0); // What is behind the memory has been there.
    guest_sti();
    for (unsigned i = 0; i < WRITES && arg[PAGE + i]; i++) {
        guest_u64 *word = (guest_u64 *)(uintptr_t)(PAGES + (arg[PAGE + i] - 1) * GUEST_PAGE);

        guest_work_until(start + arg[AT + i]);
        wait_for(env, arg[WAIT + i]);
        guest_mark(2 * i);
        *word = i; // An XCHG: it is done before the mark behind it.
        guest_mark(2 * i + 1);
        guest_cpuid(0, 0, regs);
    }
    wait_for(env, arg[END]);
}

GUEST_PROGRAM("Writes to pages at given times or when it was interrupted; marks 2n and 2n + 1 stand before "
              "and behind write n, an exit follows.",
              args, run);
