// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/native/tests/mini_machine.h"

// --- The test's doors, beside those of every fixture. ---

void hw_test_end(void);
void hw_test_wait_until(u64 cycle);

void hw_test_wait_until(u64 cycle)
{
    if (cycle * TICKS_PER_CYCLE > pcpu_current->now_ticks)
        pcpu_current->now_ticks = cycle * TICKS_PER_CYCLE;
    pcpu_slow_path(pcpu_current, true);
}

void hw_test_end(void)
{
    machine_stop_now(pcpu_current->machine);
}

// --- A machine of two processors. ---

bool mini_open(struct fixture *f)
{
    char error[512] = "";
    bool opened =
        fixture_open(f, test_source_dir(), test_build_dir(), "libmini_hv.so", 2, error, sizeof error);

    EXPECT_STREQ(error, "");
    return opened;
}

void mini_close(struct fixture *f)
{
    fixture_close(f);
}

struct outcome mini_run(struct fixture *f, uint64_t program, uint64_t rounds, uint64_t irq_at_ticks)
{
    fixture_reset(f);
    MINI->program = program;
    MINI->rounds = rounds;
    native_boot(&f->cpu[0], NULL);
    if (irq_at_ticks)
        pcpu_send(&f->cpu[0], PCPU_MSG_FIXED, 0x40, false, irq_at_ticks);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_STOPPED);
    struct outcome o = {{f->cpu[0].now_ticks, f->cpu[1].now_ticks},
                        MINI->counter,
                        MINI->irqs,
                        MINI->pings,
                        MINI->seen_x,
                        MINI->seen_y,
                        MINI->x};

    native_stop(&f->machine);
    native_reset();
    sim_start_over();
    return o;
}
