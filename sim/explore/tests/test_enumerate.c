// SPDX-License-Identifier: Apache-2.0
#include "sim/explore/enumerate.h"
#include "tests/shim/shim.h"

static struct enumerate e;

TEST(Enumerate, EveryRowOfChoicesOnceInOrder)
{
    unsigned rows = 0, last = 0;

    enumerate_begin(&e);
    do {
        // A second choice only behind the first's 1; a third always.
        unsigned a = sim_choose(SIM_SITE_MODEL, 3), b = a == 1 ? sim_choose(SIM_SITE_READ, 2) : 0,
                 c = sim_choose(SIM_SITE_ORDER, 2), row = a * 100 + b * 10 + c + 1;

        EXPECT_GT(row, last);
        last = row;
        rows++;
    } while (enumerate_next(&e));
    enumerate_end();
    EXPECT_EQ(rows, 2 + 4 + 2);
    EXPECT_EQ(e.executions, rows);
    EXPECT_EQ(sim_choose(SIM_SITE_MODEL, 3), 0);
}

TEST(Enumerate, AProgramWithoutChoicesIsExecutedOnce)
{
    enumerate_begin(&e);
    EXPECT_FALSE(enumerate_next(&e));
    enumerate_end();
}

TEST(Enumerate, WhatIsCutIsNotVaried)
{
    unsigned rows = 0;

    enumerate_begin(&e);
    do {
        if (sim_choose(SIM_SITE_MODEL, 2) == 1)
            enumerate_cut(&e);
        EXPECT_LT(sim_choose(SIM_SITE_MODEL, 5), 5);
        rows++;
    } while (enumerate_next(&e));
    enumerate_end();
    EXPECT_EQ(rows, 5 + 1);
}
