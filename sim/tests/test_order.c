// SPDX-License-Identifier: Apache-2.0
#include "sim/sim.h"
#include "tests/shim/shim.h"
static void body(void *a) { for (int i = 0; i < 5; i++) sim_wait_until(sim_now_ps() + 10 * (uintptr_t)a); }
TEST(Order, Smoke)
{
    ASSERT_EQ(sim_init(), 0);
    sim_process_start("a", 0, 1 << 15, body, (void *)1);
    sim_process_start("b", 0, 1 << 15, body, (void *)2);
    EXPECT_EQ(sim_run(SIM_PS_NEVER), SIM_RUN_IDLE);
    EXPECT_EQ(sim_now_ps(), 100);
}
