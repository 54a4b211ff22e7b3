// SPDX-License-Identifier: Apache-2.0
// The real-time clock of a PC with its CMOS memory (Motorola MC146818A): ports 70H and 71H, interrupt 8.
//
// Its time is that of the host: HV_BOOT_SECONDS when the host boots, and what the guest has set it to since.
// The time of a second is shown from its beginning on; the last 2,228 us of each are the update cycle
// (register A, UIP). Time registers that are not a date are as good as the nearest one.
#include "hv/vmm/pc.h"

#define INDEX_PORT 0x70u
#define DATA_PORT 0x71u
#define RTC_GSI 8u
#define CMOS_BYTES 128u
#define UPDATE_NS 2228000u // 244 us of warning, 1984 us of update.

enum rtc_register {
    RTC_SECONDS,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_WEEKDAY, // 1: Sunday
    RTC_DAY,
    RTC_MONTH,
    RTC_YEAR,
    RTC_A,
    RTC_B,
    RTC_C,
    RTC_D,
    RTC_CENTURY = 0x32,
};
#define A_UIP 0x80u
#define A_DIVIDER_RUNS 0x20u // Bits 6:4: 2, a crystal of 32,768 Hz.
#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define C_IRQF 0x80u
#define C_PF 0x40u // Bits 6:4 stand where register B has what enables them.
#define C_AF 0x20u
#define C_UF 0x10u
#define D_VALID 0x80u
#define HOURS_PM 0x80u
#define ALARM_ANY 0xc0u // From here on every value matches.

struct rtc {
    u8 index;
    u8 cmos[CMOS_BYTES]; // Time registers: as written while B_SET holds them.
    u64 offset;          // Seconds that are added to the host's clock, modulo 2^64.
    u64 seen_ns;         // Up to when flags were raised.
};

struct date {
    u32 year, month, day, hours, minutes, seconds, weekday;
};

// --- Calendar (proleptic Gregorian). Days are counted from 1970-01-01, a Thursday.

static bool is_leap(u32 year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static u32 month_days(u32 year, u32 month)
{
    static const u8 days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year));
}

static struct date date_of(u64 seconds)
{
    struct date d = {.year = 1970, .month = 1};
    u64 days = seconds / 86400, rest = seconds % 86400;

    d.weekday = (u32)((days + 4) % 7 + 1);
    for (; days >= 365u + is_leap(d.year); d.year++)
        days -= 365u + is_leap(d.year);
    for (; days >= month_days(d.year, d.month); d.month++)
        days -= month_days(d.year, d.month);
    d.day = (u32)days + 1;
    d.hours = (u32)(rest / 3600);
    d.minutes = (u32)(rest / 60 % 60);
    d.seconds = (u32)(rest % 60);
    return d;
}

static u32 clamp(u32 value, u32 low, u32 high)
{
    return value < low ? low : value > high ? high : value;
}

static u64 seconds_of(const struct date *d)
{
    u32 year = clamp(d->year, 1970, 9999), month = clamp(d->month, 1, 12);
    u64 days = clamp(d->day, 1, month_days(year, month)) - 1;

    for (u32 y = 1970; y < year; y++)
        days += 365u + is_leap(y);
    for (u32 m = 1; m < month; m++)
        days += month_days(year, m);
    return ((days * 24 + clamp(d->hours, 0, 23)) * 60 + clamp(d->minutes, 0, 59)) * 60 +
           clamp(d->seconds, 0, 59);
}

// --- Formats of register B.

static u8 encode(const struct rtc *r, u32 value)
{
    return (u8)(r->cmos[RTC_B] & B_BINARY ? value : value % 10 | value / 10 % 10 << 4);
}

static u32 decode(const struct rtc *r, u8 value)
{
    return r->cmos[RTC_B] & B_BINARY ? value : (value & 0xfu) + 10u * (value >> 4);
}

static u8 encode_hours(const struct rtc *r, u32 hours)
{
    if (r->cmos[RTC_B] & B_24H)
        return encode(r, hours);
    return (u8)(encode(r, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? HOURS_PM : 0));
}

static u32 decode_hours(const struct rtc *r, u8 value)
{
    if (r->cmos[RTC_B] & B_24H)
        return decode(r, value);
    return decode(r, value & 0x7f) % 12 + (value & HOURS_PM ? 12 : 0);
}

// --- Time.

static u64 now_seconds(const struct rtc *r, u64 now_ns)
{
    return HV_BOOT_SECONDS + now_ns / VMM_PC_SECOND + r->offset;
}

static bool is_time(u8 index)
{
    return (index <= RTC_YEAR && (index > RTC_HOURS_ALARM || index % 2 == 0)) || index == RTC_CENTURY;
}

// Writes the time into its registers.
static void show_time(struct rtc *r, u64 now_ns)
{
    struct date d = date_of(now_seconds(r, now_ns));

    r->cmos[RTC_SECONDS] = encode(r, d.seconds);
    r->cmos[RTC_MINUTES] = encode(r, d.minutes);
    r->cmos[RTC_HOURS] = encode_hours(r, d.hours);
    r->cmos[RTC_WEEKDAY] = encode(r, d.weekday);
    r->cmos[RTC_DAY] = encode(r, d.day);
    r->cmos[RTC_MONTH] = encode(r, d.month);
    r->cmos[RTC_YEAR] = encode(r, d.year % 100);
    r->cmos[RTC_CENTURY] = encode(r, d.year / 100);
}

// Takes the time from its registers.
static void take_time(struct rtc *r, u64 now_ns)
{
    struct date d = {.seconds = decode(r, r->cmos[RTC_SECONDS]),
                     .minutes = decode(r, r->cmos[RTC_MINUTES]),
                     .hours = decode_hours(r, r->cmos[RTC_HOURS]),
                     .day = decode(r, r->cmos[RTC_DAY]),
                     .month = decode(r, r->cmos[RTC_MONTH]),
                     .year = decode(r, r->cmos[RTC_CENTURY]) * 100 + decode(r, r->cmos[RTC_YEAR])};

    r->offset += seconds_of(&d) - now_seconds(r, now_ns);
}

// --- Flags and the interrupt.

// ns between periodic interrupts (register A, rate selection); 0: none.
static u64 period_ns(const struct rtc *r)
{
    u32 rate = r->cmos[RTC_A] & 0xf;

    if (rate == 0)
        return 0;
    if (rate < 3) // 256 and 128 Hz.
        rate += 7;
    return (VMM_PC_SECOND << (rate - 1)) / 32768;
}

static bool alarm_matches(const struct rtc *r, u64 seconds)
{
    struct date d = date_of(seconds);
    const u8 *c = r->cmos;

    return (c[RTC_SECONDS_ALARM] >= ALARM_ANY || c[RTC_SECONDS_ALARM] == encode(r, d.seconds)) &&
           (c[RTC_MINUTES_ALARM] >= ALARM_ANY || c[RTC_MINUTES_ALARM] == encode(r, d.minutes)) &&
           (c[RTC_HOURS_ALARM] >= ALARM_ANY || c[RTC_HOURS_ALARM] == encode_hours(r, d.hours));
}

// Which of the seconds (from, to] has the alarm's time of day? None or each is asked at most a day long.
static bool alarm_between(const struct rtc *r, u64 from, u64 to)
{
    if (to - from > 86400)
        from = to - 86400;
    while (from < to)
        if (alarm_matches(r, ++from))
            return true;
    return false;
}

// Raises the flags of all that has happened until now, and the line if one is enabled. Only reading register
// C lowers it.
static void advance(struct vmm_pc_device *d, u64 now_ns)
{
    struct rtc *r = d->state;
    u64 period = period_ns(r), from = now_seconds(r, r->seen_ns), to = now_seconds(r, now_ns);
    u8 old = r->cmos[RTC_C], flags = old;

    if (period && now_ns / period != r->seen_ns / period)
        flags |= C_PF;
    if (to != from && (r->cmos[RTC_B] & B_SET) == 0)
        flags |= C_UF;
    if (to != from && (r->cmos[RTC_B] & B_SET) == 0 && (old & C_AF) == 0 && alarm_between(r, from, to))
        flags |= C_AF;
    r->seen_ns = now_ns;
    if (flags & r->cmos[RTC_B] & (C_PF | C_AF | C_UF))
        flags |= C_IRQF;
    r->cmos[RTC_C] = flags;
    if ((flags ^ old) & C_IRQF)
        vmm_irq_line(d->vm, RTC_GSI, 1);
}

static u64 expire(struct vmm_pc_device *d, u64 now_ns)
{
    const struct rtc *r = d->state;
    u64 period = period_ns(r), next = 0, second = (now_ns / VMM_PC_SECOND + 1) * VMM_PC_SECOND;

    advance(d, now_ns);
    if (r->cmos[RTC_C] & C_IRQF) // Nothing more to tell before it is read.
        return 0;
    if ((r->cmos[RTC_B] & B_PIE) && period)
        next = (now_ns / period + 1) * period;
    if ((r->cmos[RTC_B] & (B_AIE | B_UIE)) && (next == 0 || second < next))
        next = second;
    return next;
}

static u8 read_c(struct vmm_pc_device *d)
{
    struct rtc *r = d->state;
    u8 flags = r->cmos[RTC_C];

    r->cmos[RTC_C] = 0;
    if (flags & C_IRQF) {
        vmm_irq_line(d->vm, RTC_GSI, 0);
        vmm_pc_changed(d);
    }
    return flags;
}

// --- Ports.

static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    struct rtc *r = d->state;
    u64 now_ns = hv_clock_ns();
    bool updating = (r->cmos[RTC_B] & B_SET) == 0;

    (void)size;
    if (address == INDEX_PORT)
        return ~0ull; // Write only.
    advance(d, now_ns);
    if (updating)
        show_time(r, now_ns);
    if (r->index == RTC_A)
        return r->cmos[RTC_A] | (updating && now_ns % VMM_PC_SECOND >= VMM_PC_SECOND - UPDATE_NS ? A_UIP : 0);
    return r->index == RTC_C ? read_c(d) : r->cmos[r->index];
}

static void write_b(struct rtc *r, u8 value, u64 now_ns)
{
    bool was_set = (r->cmos[RTC_B] & B_SET) != 0;

    if (value & B_SET) // Update-ended interrupts go (MC146818A, register B).
        value &= (u8)~B_UIE;
    r->cmos[RTC_B] = value;
    if (was_set && (value & B_SET) == 0)
        take_time(r, now_ns);
}

static void write_data(struct vmm_pc_device *d, u8 value)
{
    struct rtc *r = d->state;
    u64 now_ns = hv_clock_ns();

    advance(d, now_ns);
    if (is_time(r->index)) {
        if ((r->cmos[RTC_B] & B_SET) == 0)
            show_time(r, now_ns);
        r->cmos[r->index] = value;
        if ((r->cmos[RTC_B] & B_SET) == 0)
            take_time(r, now_ns);
        return;
    }
    if (r->index == RTC_B) {
        if ((r->cmos[RTC_B] & B_SET) == 0)
            show_time(r, now_ns); // What B_SET is to hold.
        write_b(r, value, now_ns);
    } else if (r->index == RTC_A) {
        r->cmos[RTC_A] = value & (u8)~A_UIP;
    } else if (r->index != RTC_C && r->index != RTC_D) {
        r->cmos[r->index] = value;
    }
    if (r->index <= RTC_B) {
        advance(d, now_ns);
        vmm_pc_changed(d);
    }
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    (void)size;
    if (address == DATA_PORT)
        write_data(d, (u8)value);
    else
        ((struct rtc *)d->state)->index = value & (CMOS_BYTES - 1); // Bit 7 holds NMIs back: there are none.
}

static void reset(struct vmm_pc_device *d)
{
    struct rtc *r = d->state;

    r->cmos[RTC_A] = A_DIVIDER_RUNS | 6; // 1,024 Hz, as firmware leaves it.
    r->cmos[RTC_B] = B_24H;
    r->cmos[RTC_D] = D_VALID;
    r->seen_ns = hv_clock_ns();
}

const struct vmm_pc_model vmm_pc_rtc = {
    .name = "MC146818",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = INDEX_PORT, .size = 2}},
    .state_bytes = sizeof(struct rtc),
    .reset = reset,
    .read = read,
    .write = write,
    .expire = expire,
};
