// SPDX-License-Identifier: Apache-2.0
// A machine of two processors for tests of the runtime, with a hypervisor core of one page
// (hv/tests/mini_hv.c).
#ifndef MODELS_CPU_NATIVE_TESTS_MINI_MACHINE_H
#define MODELS_CPU_NATIVE_TESTS_MINI_MACHINE_H

#include "models/cpu/native/tests/fixture.h"
#include "models/cpu/uarch/uarch.h"
#include "tests/shim/shim.h"

// Its programs.
enum {
    SPIN,
    STORE_BUFFERING,
    STORE_BUFFERING_FENCED,
    THREADS,
    WORK,
    WORK_MORE,
    UNLOCKED,
    MESSAGE_ON_STACK,
    SETUP,
    WILD,  // Processor 0 reads at rounds + 16.
    PANIC, // It finds a bug in itself.
};

// The layout of mini_hv.c's state.
struct mini {
    uint64_t lock, counter, padding1[6], x, padding2[7], y, padding3[7], seen_x, seen_y, irqs,
        irq_during_user, pings;
    struct hw_context boot, threads[2];
    uint64_t done, program, rounds;
};
#define MINI ((struct mini *)(HW_ARENA_BASE + (1u << 20)))

struct outcome {
    uint64_t ticks[2], counter, irqs, pings, seen_x, seen_y, x;
};

// False, with a failed check, if it cannot be made.
bool mini_open(struct fixture *f);
void mini_close(struct fixture *f);
// Runs a program on both processors from reset to the end; an interrupt reaches the first at `irq_at_ticks`,
// 0: none does.
struct outcome mini_run(struct fixture *f, uint64_t program, uint64_t rounds, uint64_t irq_at_ticks);

#endif
