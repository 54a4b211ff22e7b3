// SPDX-License-Identifier: Apache-2.0
#include "scenarios/guests/native/guest.h"

enum { SENDER, DELAY, STAY, EXITS };

static const struct guest_arg args[] = {
    [SENDER] = {"sender", "1: sends the INIT to vCPU 1; 0: is vCPU 1", 0, 0, 1, GUEST_NUMBER},
    [DELAY] = {"delay", "from the start until the INIT is sent", 10000, 0, 1000000000, GUEST_TIME},
    [STAY] = {"stay", "how long the target is in the guest after the INIT was sent", 20000, 0, 1000000000,
              GUEST_TIME},
    [EXITS] = {"exits", "how many times it leaves the guest after that", 4, 1, 1000, GUEST_NUMBER},
};

#define X2APIC_ICR 0x830u
// To APIC id 1: INIT, level assert (SDM 10.6.1).
#define INIT_TO_1 (1ull << 32 | 0x4500)

enum { MARK_SENT = 1, MARK_STILL_INSIDE, MARK_STILL_ALIVE };

static void send(const struct guest_env *env, const uint64_t *arg)
{
    guest_work(arg[DELAY]);
    guest_wrmsr(X2APIC_ICR, INIT_TO_1);
    // The local APIC of the target has it: an INIT's ICR write ends with its delivery.
    guest_store(guest_word(env, 0), 1);
    guest_mark(MARK_SENT);
}

// An INIT that arrives stops the program wherever it is.
static void wait_for_init(const struct guest_env *env, const uint64_t *arg)
{
    uint32_t regs[4];

    while (!guest_load(guest_word(env, 0)))
        guest_cpuid(0, 0, regs);
    guest_work(arg[STAY]);
    guest_mark(MARK_STILL_INSIDE);
    for (uint64_t i = 0; i < arg[EXITS]; i++)
        guest_cpuid(0, 0, regs);
    guest_mark(MARK_STILL_ALIVE);
}

static void run(const struct guest_env *env, const uint64_t *arg)
{
    if (arg[SENDER])
        send(env, arg);
    else
        wait_for_init(env, arg);
}

GUEST_PROGRAM("Leaves the guest again and again until another vCPU sends it an INIT.", args, run);
