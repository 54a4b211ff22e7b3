// SPDX-License-Identifier: Apache-2.0
// The PC's clocks and timers: RTC (MC146818A), HPET (IA-PC HPET 1.0a), PM timer (ACPI 6.4, 4.8.3.3).
#include "hv/vmm/acpi.h"
#include "hv/vmm/tests/pc_fixture.h"

#define SECOND 1000000000ull
#define MS 1000000ull

static u8 cmos(u8 index)
{
    out(0x70, index, 1);
    return (u8)in(0x71, 1);
}
static void set_cmos(u8 index, u8 value)
{
    out(0x70, index, 1);
    out(0x71, value, 1);
}

// --- RTC. The host boots on Thursday, 2026-01-01 00:00:00.

static void expect_date(u32 date, u32 time, u8 weekday)
{
    EXPECT_EQ(cmos(0x32), date >> 24);
    EXPECT_EQ(cmos(9), date >> 16 & 0xff);
    EXPECT_EQ(cmos(8), date >> 8 & 0xff);
    EXPECT_EQ(cmos(7), date & 0xff);
    EXPECT_EQ(cmos(4), time >> 16);
    EXPECT_EQ(cmos(2), time >> 8 & 0xff);
    EXPECT_EQ(cmos(0), time & 0xff);
    EXPECT_EQ(cmos(6), weekday);
}

TEST(Rtc, ShowsTheHostsTimeInBcd)
{
    static const struct {
        u64 seconds;
        u32 date, time;
        u8 weekday;
    } rows[] = {
        {0, 0x20260101, 0x000000, 5},
        {86399, 0x20260101, 0x235959, 5},
        {86400ull * 59 + 12 * 3600 + 34 * 60 + 56, 0x20260301, 0x123456, 1},
        {86400ull * (365 * 2 + 59), 0x20280229, 0x000000, 3},  // A leap day.
        {86400ull * (365 * 75 + 18), 0x21010101, 0x000000, 7}, // 2100 has none.
    };

    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
        make();
        core.now_ns = rows[i].seconds * SECOND + 5;
        test_row("after %llu s", (unsigned long long)rows[i].seconds);
        expect_date(rows[i].date, rows[i].time, rows[i].weekday);
    }
}

TEST(Rtc, RegisterBChoosesTheFormat)
{
    make();
    core.now_ns = (15 * 3600 + 42 * 60) * SECOND;
    set_cmos(11, 0x06); // Binary, 24 hours.
    EXPECT_EQ(cmos(4), 15);
    EXPECT_EQ(cmos(2), 42);
    set_cmos(11, 0x00); // BCD, 12 hours.
    EXPECT_EQ(cmos(4), 0x83);
    core.now_ns = 30 * 60 * SECOND;
    EXPECT_EQ(cmos(4), 0x12); // Half past twelve in the morning.
    core.now_ns = (12 * 3600) * SECOND;
    EXPECT_EQ(cmos(4), 0x92);
}

TEST(Rtc, SetHoldsTheTimeUntilItIsWritten)
{
    make();
    set_cmos(11, 0x82);
    core.now_ns = 100 * SECOND;
    EXPECT_EQ(cmos(2), 0); // Held.
    EXPECT_EQ(cmos(10) & 0x80, 0);
    static const u8 rows[][2] = {{0x32, 0x19}, {9, 0x99}, {8, 0x12}, {7, 0x31},
                                 {4, 0x23},    {2, 0x59}, {0, 0x58}};

    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++)
        set_cmos(rows[i][0], rows[i][1]);
    core.now_ns = 200 * SECOND;
    set_cmos(11, 0x02);
    core.now_ns = 202 * SECOND;
    expect_date(0x20000101, 0x000000, 7);
    set_cmos(0x0f, 0x0a); // CMOS memory.
    EXPECT_EQ(cmos(0x0f), 0x0a);
    EXPECT_EQ(cmos(13), 0x80); // Power was good.
}

TEST(Rtc, UpdateIsAnnouncedBeforeTheSecond)
{
    make();
    core.now_ns = 10 * SECOND - 2228001;
    EXPECT_EQ(cmos(10), 0x26);
    core.now_ns++;
    EXPECT_EQ(cmos(10), 0xa6);
    core.now_ns = 10 * SECOND;
    EXPECT_EQ(cmos(10), 0x26);
    EXPECT_EQ(cmos(12), 0x50); // Updates happened, and periods; nobody wanted an interrupt.
    EXPECT_EQ(cmos(12), 0x00);
    EXPECT_EQ(core.line_changes, 0);
}

TEST(Rtc, PeriodicInterruptComesAtItsRateOnceRead)
{
    static const struct {
        u8 rate;
        u64 period_ns;
    } rows[] = {{1, 3906250}, {2, 7812500}, {3, 122070}, {6, 976562}, {15, 500000000}};

    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
        make();
        set_cmos(10, 0x20 | rows[i].rate);
        set_cmos(11, 0x42);
        test_row("rate %u", rows[i].rate);
        pass_until(rows[i].period_ns - 1);
        EXPECT_EQ(core.line[8], 0);
        pass_until(rows[i].period_ns);
        EXPECT_EQ(core.line[8], 1);
        pass_until(rows[i].period_ns * 5 + 1);
        EXPECT_EQ(core.raised[8], 1); // It waits for register C.
        EXPECT_EQ(cmos(12) & 0xc0, 0xc0);
        EXPECT_EQ(core.line[8], 0);
        EXPECT_EQ(cmos(12), 0);
        pass_until(rows[i].period_ns * 6);
        EXPECT_EQ(core.raised[8], 2);
    }
    make();
    set_cmos(10, 0x20); // Rate 0: none.
    set_cmos(11, 0x42);
    pass_until(SECOND);
    EXPECT_EQ(core.raised[8], 0);
}

TEST(Rtc, AlarmAndUpdateInterruptAtTheSecond)
{
    make();
    set_cmos(1, 0x05);
    set_cmos(3, 0xc0); // Any.
    set_cmos(5, 0xff);
    set_cmos(11, 0x22);
    pass_until(5 * SECOND - 1);
    EXPECT_EQ(core.line[8], 0);
    pass_until(5 * SECOND);
    EXPECT_EQ(core.line[8], 1);
    EXPECT_EQ(cmos(12), 0xf0); // Update and periodic flags too, though nobody asked.
    pass_until(64 * SECOND);
    EXPECT_EQ(core.raised[8], 1);
    pass_until(65 * SECOND);
    EXPECT_EQ(core.raised[8], 2); // Each minute.
    (void)cmos(12);
    set_cmos(5, 0x01); // At one o'clock.
    set_cmos(3, 0x00);
    pass_until(3604 * SECOND);
    EXPECT_EQ(core.raised[8], 2);
    pass_until(3605 * SECOND);
    EXPECT_EQ(core.raised[8], 3);
    (void)cmos(12);
    set_cmos(11, 0x12); // Update ended.
    pass_until(3607 * SECOND - 1);
    EXPECT_EQ(core.raised[8], 4);
    EXPECT_EQ(cmos(12), 0xd0);
}

// --- HPET: 10 ns a tick.

#define HPET VMM_HPET_BASE
#define ENABLE 0x004ull
#define LEVEL 0x002ull
#define PERIODIC 0x008ull
#define SET_VALUE 0x040ull
#define BITS_32 0x100ull
#define MESSAGE 0x4000ull
#define ROUTE(line) ((u64)(line) << 9)

TEST(Hpet, CapabilitiesAreThoseOfTheAcpiTable)
{
    make();
    EXPECT_EQ(load(HPET, 8), 0x0098968080862201);
    EXPECT_EQ(load(HPET + 4, 4), 10000000); // fs a tick.
    EXPECT_EQ(load(HPET + 0x100, 8), 0x00ff000000008030);
    store(HPET + 0x100, ~0ull, 8);
    EXPECT_EQ(load(HPET + 0x100, 8), 0x00ff00000000ff7e);
    store(HPET + 0x10, 3, 8);
    EXPECT_EQ(load(HPET + 0x10, 8), 1); // No legacy replacement.
    EXPECT_EQ(load(HPET + 0x3f8, 8), 0);
    EXPECT_EQ(load(HPET + 1, 1), 0); // No register.
}

TEST(Hpet, CounterRunsWhileEnabled)
{
    make();
    core.now_ns = 1000;
    EXPECT_EQ(load(HPET + 0xf0, 8), 0);
    store(HPET + 0xf0, 0x1ffffff00, 8);
    store(HPET + 0x10, 1, 4);
    core.now_ns += 10000;
    EXPECT_EQ(load(HPET + 0xf0, 8), 0x2000002e8);
    EXPECT_EQ(load(HPET + 0xf4, 4), 2);
    store(HPET + 0xf0, 0, 8); // Not while it runs.
    EXPECT_EQ(load(HPET + 0xf0, 8), 0x2000002e8);
    store(HPET + 0x10, 0, 4);
    core.now_ns += 10000;
    EXPECT_EQ(load(HPET + 0xf0, 8), 0x2000002e8);
}

TEST(Hpet, OneShotInterruptsWhenTheCounterMeetsIt)
{
    make();
    store(HPET + 0x100, ENABLE | ROUTE(20), 8);
    store(HPET + 0x108, 1000, 8);
    store(HPET + 0x10, 1, 8);
    pass_until(9999);
    EXPECT_EQ(core.raised[20], 0);
    pass_until(10000);
    EXPECT_EQ(core.raised[20], 1);
    EXPECT_EQ(core.line[20], 0); // A pulse.
    pass_until(100 * SECOND);
    EXPECT_EQ(core.raised[20], 1);
    store(HPET + 0x120, ENABLE | ROUTE(3), 8); // A line that it cannot drive.
    store(HPET + 0x128, load(HPET + 0xf0, 8) + 5, 8);
    pass_until(101 * SECOND);
    EXPECT_EQ(core.raised[3], 0);
}

TEST(Hpet, TimersOf32BitsComeRoundAgain)
{
    make();
    store(HPET + 0x140, ENABLE | BITS_32 | ROUTE(21), 8);
    store(HPET + 0x148, 100, 4);
    store(HPET + 0x10, 1, 8);
    pass_until(((1ull << 32) + 99) * 10);
    EXPECT_EQ(core.raised[21], 1);
    pass_until(((1ull << 32) + 100) * 10);
    EXPECT_EQ(core.raised[21], 2);
}

TEST(Hpet, PeriodicTimersTakeAFirstTimeAndAPeriod)
{
    make();
    store(HPET + 0x10, 1, 8);
    pass_until(5000);
    store(HPET + 0x100, ENABLE | PERIODIC | SET_VALUE | BITS_32 | ROUTE(16), 4);
    store(HPET + 0x108, 1000, 4);
    store(HPET + 0x108, 300, 4);
    EXPECT_EQ(load(HPET + 0x100, 4) & SET_VALUE, 0);
    pass_until(9999);
    EXPECT_EQ(core.raised[16], 0);
    pass_until(10000);
    EXPECT_EQ(core.raised[16], 1);
    EXPECT_EQ(load(HPET + 0x108, 4), 1300);
    pass_until(10000 + 3000 * 10);
    EXPECT_EQ(core.raised[16], 11);
    store(HPET + 0x100, PERIODIC | BITS_32 | ROUTE(16), 4); // Off.
    pass_until(100000);
    EXPECT_EQ(core.raised[16], 11);
}

TEST(Hpet, LevelInterruptsStayUntilTheirStatusIsCleared)
{
    make();
    store(HPET + 0x120, ENABLE | LEVEL | ROUTE(22), 8);
    store(HPET + 0x128, 10, 8);
    store(HPET + 0x10, 1, 8);
    pass_until(200);
    EXPECT_EQ(core.line[22], 1);
    EXPECT_EQ(load(HPET + 0x20, 8), 2);
    store(HPET + 0x20, 1, 8); // Another timer's.
    store(HPET + 0x24, 2, 4); // Another half.
    EXPECT_EQ(core.line[22], 1);
    store(HPET + 0x20, 2, 8);
    EXPECT_EQ(core.line[22], 0);
    EXPECT_EQ(load(HPET + 0x20, 8), 0);
}

TEST(Hpet, MessagesGoWhereTheTimerSays)
{
    make();
    store(HPET + 0x100, ENABLE | MESSAGE, 8);
    store(HPET + 0x110, 0xfee0100000004041, 8);
    store(HPET + 0x108, 10, 8);
    store(HPET + 0x10, 1, 8);
    pass_until(200);
    EXPECT_EQ(core.msis, 1);
    EXPECT_EQ(core.msi.address_lo, 0xfee01000);
    EXPECT_EQ(core.msi.data, 0x4041);
    EXPECT_EQ(core.line_changes, 0);
}

// --- PM timer.

TEST(PmTimer, CountsAtItsFrequency)
{
    make();
    core.now_ns = 7 * SECOND + SECOND / 2;
    EXPECT_EQ(in(0x608, 4), 7 * 3579545 + 3579545 / 2);
    EXPECT_EQ(in(0x60a, 2), (7 * 3579545 + 3579545 / 2) >> 16);
    EXPECT_EQ(in(0x609, 1), ((7 * 3579545 + 3579545 / 2) >> 8) & 0xff);
    EXPECT_EQ(vmm_pc_ticks(vmm_pc_ns(1ull << 31, VMM_PM_TIMER_HZ), VMM_PM_TIMER_HZ), 1ull << 31);
    EXPECT_EQ(vmm_pc_ticks(vmm_pc_ns(1ull << 31, VMM_PM_TIMER_HZ) - 1, VMM_PM_TIMER_HZ), (1ull << 31) - 1);
}

TEST(PmTimer, ItsHighestBitTellsByStatusAndInterrupt)
{
    u64 toggle = vmm_pc_ns(1ull << 31, VMM_PM_TIMER_HZ);

    make();
    core.now_ns = toggle;
    EXPECT_EQ(in(0x600, 2), 1);
    EXPECT_EQ(core.line[9], 0); // Not enabled.
    out(0x600, 1, 2);
    EXPECT_EQ(in(0x600, 2), 0);
    out(0x602, 0xffff, 2);
    EXPECT_EQ(in(0x602, 2), 0x0721);
    pass_until(2 * toggle - 2);
    EXPECT_EQ(core.line[9], 0);
    pass_until(2 * toggle);
    EXPECT_EQ(core.line[9], 1);
    out(0x600, 1, 2);
    EXPECT_EQ(core.line[9], 0);
}
