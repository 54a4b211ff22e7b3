// SPDX-License-Identifier: Apache-2.0
// The runtime's laws on a hypervisor core of one page (hv/tests/mini_hv.c): exact order, TSO, interrupts,
// contexts, starting over.
#include "models/cpu/native/tests/mini_machine.h"
#include <string.h>

TEST(Runtime, SpinLockLosesNothing)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct outcome o = mini_run(&f, SPIN, 2000, 0);

    EXPECT_EQ(o.counter, 4000);
    mini_close(&f);
}

TEST(Runtime, StartingOverRepeatsEveryTick)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct outcome first = mini_run(&f, SPIN, 300, 20000);

    EXPECT_EQ(first.irqs, 0x40);
    for (int i = 0; i < 100; i++) {
        struct outcome again = mini_run(&f, SPIN, 300, 20000);

        ASSERT_EQ(memcmp(&first, &again, sizeof first), 0);
    }
    mini_close(&f);
}

// SDM 8.2.3.4: each processor's load may pass its own earlier store; MFENCE forbids it.
TEST(Runtime, StoresWaitInTheBufferUntilAFence)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct outcome plain = mini_run(&f, STORE_BUFFERING, 0, 0);
    struct outcome fenced = mini_run(&f, STORE_BUFFERING_FENCED, 0, 0);

    EXPECT_TRUE(plain.seen_x == 0 && plain.seen_y == 0);
    EXPECT_FALSE(fenced.seen_x == 0 && fenced.seen_y == 0);
    mini_close(&f);
}

// SDM 8.2.3.2: stores become visible in their order, also where the later one is to another thread's stack.
TEST(Runtime, AFlagOnAStackIsNotSeenBeforeItsMessage)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    EXPECT_EQ(mini_run(&f, MESSAGE_ON_STACK, 0, 0).seen_y, 1);
    mini_close(&f);
}

TEST(Runtime, ContextsTakeTurns)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct outcome o = mini_run(&f, THREADS, 10, 0);

    EXPECT_EQ(o.pings, 20);
    mini_close(&f);
}

TEST(Runtime, SetUpTakesNoTimeHoweverMuchItIs)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    struct outcome little = mini_run(&f, SETUP, 1, 0);
    struct outcome much = mini_run(&f, SETUP, 1000000, 0);

    EXPECT_EQ(little.x, 1);
    EXPECT_EQ(much.x, 1000000);
    EXPECT_EQ(much.seen_x, 5);
    EXPECT_EQ(much.seen_y, 6);
    EXPECT_EQ(much.ticks[0], little.ticks[0]);
    EXPECT_EQ(much.ticks[1], little.ticks[1]);
    // What follows it is timed as ever, and so is the other processor.
    EXPECT_GT(little.ticks[0], 100 * TICKS_PER_CYCLE);
    mini_close(&f);
}

TEST(Runtime, TwiceTheWorkCostsTwiceTheCycles)
{
    struct fixture f;

    ASSERT_TRUE(mini_open(&f));
    uint64_t none = mini_run(&f, WORK, 0, 0).ticks[0];
    uint64_t once = mini_run(&f, WORK, 20000, 0).ticks[0] - none;
    uint64_t twice = mini_run(&f, WORK_MORE, 20000, 0).ticks[0] - none;

    EXPECT_GT(once, 20000 * TICKS_PER_CYCLE / 2);
    EXPECT_GE(twice * 100, once * 195);
    EXPECT_LE(twice * 100, once * 205);
    mini_close(&f);
}
