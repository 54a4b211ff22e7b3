// SPDX-License-Identifier: Apache-2.0
// The arithmetic of clocks: exact at both bounds, no overflow at the ends of 64 bits
// (SDM 17.17, 25.3, 25.5.1).
#include "models/timer/tsc.h"
#include "tests/shim/shim.h"

TEST(Tsc, FirstTickOfACountIsExact)
{
    static const struct {
        uint64_t tsc, core_khz, tsc_khz;
    } rows[] = {
        {1, 2100000, 2100000}, {1, 3700000, 2100000},          {7, 2600000, 2100000},
        {1, 2100000, 2600000}, {1000000007, 3500000, 2593990}, {UINT64_MAX / 64, 2100000, 2700000},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t tick = tsc_to_ticks(rows[i].tsc, rows[i].core_khz, rows[i].tsc_khz);

        test_row("row %u", i);
        EXPECT_GE(tsc_from_ticks(tick, rows[i].core_khz, rows[i].tsc_khz), rows[i].tsc);
        EXPECT_LT(tsc_from_ticks(tick - 1, rows[i].core_khz, rows[i].tsc_khz), rows[i].tsc);
    }
}

TEST(Tsc, RatioOfClocks)
{
    EXPECT_EQ(tsc_from_ticks(16, 2100000, 2100000), 1);
    EXPECT_EQ(tsc_from_ticks(15, 2100000, 2100000), 0);
    // One second of a 3.0 GHz core under a 2.0 GHz TSC.
    EXPECT_EQ(tsc_from_ticks(3000000000ull * 16, 3000000, 2000000), 2000000000);
    EXPECT_EQ(tsc_to_ticks(2000000000, 3000000, 2000000), 3000000000ull * 16);
}

TEST(Tsc, DeadlineBeyondRangeIsNever)
{
    EXPECT_EQ(tsc_to_ticks(UINT64_MAX, 2100000, 2100000), UINT64_MAX);
    EXPECT_EQ(tsc_to_ticks(UINT64_MAX / 8, 2100000, 2100000), UINT64_MAX);
    EXPECT_NE(tsc_to_ticks(UINT64_MAX / 16, 2100000, 2100000), UINT64_MAX);
}

TEST(Tsc, GuestSeesBits111To48OfTheProductPlusOffset) // SDM 25.3
{
    EXPECT_EQ(tsc_in_guest(1000, 1ull << 48, 0), 1000);
    EXPECT_EQ(tsc_in_guest(1000, 1ull << 48, (uint64_t)-1000), 0);
    EXPECT_EQ(tsc_in_guest(1001, 1ull << 47, 5), 505);
    EXPECT_EQ(tsc_in_guest(UINT64_MAX, 1ull << 48, 0), UINT64_MAX);
}

TEST(PreemptionTimer, CountsChangesOfTheTscBit) // SDM 25.5.1
{
    static const struct {
        uint64_t start;
        unsigned shift;
        uint32_t value;
        uint64_t expiry;
    } rows[] = {
        {0, 5, 1, 32},
        {31, 5, 1, 32},
        {32, 5, 1, 64},
        {33, 5, 2, 96},
        {100, 0, 7, 107},
        {77, 5, 0, 77},
        {0, 5, UINT32_MAX, (uint64_t)UINT32_MAX << 5},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_row("row %u", i);
        EXPECT_EQ(preemption_expiry_tsc(rows[i].start, rows[i].shift, rows[i].value), rows[i].expiry);
        EXPECT_EQ(preemption_left(rows[i].start, rows[i].expiry, rows[i].shift, rows[i].value), 0);
        if (rows[i].value) {
            EXPECT_EQ(preemption_left(rows[i].start, rows[i].expiry - 1, rows[i].shift, rows[i].value), 1);
        }
    }
}

TEST(PreemptionTimer, ExpiryBeyond64BitsIsNever)
{
    EXPECT_EQ(preemption_expiry_tsc(UINT64_MAX - 10, 5, 2), UINT64_MAX);
}

TEST(Clock, ApicTimerPeriodsRoundUp) // SDM 10.5.4
{
    // 25 MHz crystal, 2.5 GHz core: 100 cycles a period.
    EXPECT_EQ(clock_to_ticks(3, 25000, 2500000), 4800);
    EXPECT_EQ(clock_from_ticks(4799, 25000, 2500000), 2);
    EXPECT_EQ(clock_from_ticks(4800, 25000, 2500000), 3);
    EXPECT_EQ(clock_to_ticks(1, 3, 100), 534); // 533.3 rounded up.
}
