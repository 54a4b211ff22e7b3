// SPDX-License-Identifier: Apache-2.0
// The high precision event timer of a PC (IA-PC HPET 1.0a): three timers on a main counter of 100 MHz, 64
// bits.
//
// Not offered, and shown so in its capabilities: the legacy replacement route (interrupts 0 and 8 stay the
// PIT's and the RTC's). A comparator that the counter has passed fires when the counter comes there again.
#include "hv/lib/string.h"
#include "hv/vmm/pc.h"

#define HPET_BYTES 0x400u
#define TICK_NS 10u
#define PERIOD_FS 10000000ull
#define TIMERS 3u
#define ROUTES 0x00ff0000u // Lines 16 to 23 of the I/O APIC.

enum hpet_register {
    HPET_CAPABILITIES = 0x000,
    HPET_CONFIGURATION = 0x010,
    HPET_STATUS = 0x020,
    HPET_COUNTER = 0x0f0,
    HPET_TIMER0 = 0x100, // 0x20 bytes each.
};
enum timer_register { TIMER_CONFIGURATION = 0x00, TIMER_COMPARATOR = 0x08, TIMER_MESSAGE = 0x10 };

#define CAP_REVISION 0x01ull
#define CAP_TIMERS ((u64)(TIMERS - 1) << 8)
#define CAP_64BIT (1ull << 13)
#define CAP_VENDOR (0x8086ull << 16)
#define CAPABILITIES (CAP_REVISION | CAP_TIMERS | CAP_64BIT | CAP_VENDOR | PERIOD_FS << 32)
_Static_assert((u32)CAPABILITIES == VMM_HPET_ID, "as the ACPI table says");

#define CONF_ENABLE 1ull
// Of a timer. What software may write is the rest.
#define T_LEVEL (1ull << 1)
#define T_ENABLE (1ull << 2)
#define T_PERIODIC (1ull << 3)
#define T_PERIODIC_CAP (1ull << 4)
#define T_64BIT_CAP (1ull << 5)
#define T_SET_VALUE (1ull << 6) // The next write of the comparator is the accumulator's.
#define T_32BIT (1ull << 8)
#define T_ROUTE_SHIFT 9
#define T_ROUTE (0x1full << T_ROUTE_SHIFT)
#define T_MESSAGE (1ull << 14) // Interrupts are messages.
#define T_MESSAGE_CAP (1ull << 15)
#define T_CAPABILITIES (T_PERIODIC_CAP | T_64BIT_CAP | T_MESSAGE_CAP | (u64)ROUTES << 32)
#define T_WRITABLE (T_LEVEL | T_ENABLE | T_PERIODIC | T_SET_VALUE | T_32BIT | T_ROUTE | T_MESSAGE)

struct hpet_timer {
    u64 configuration, comparator, period;
    u64 message; // Bits 31:0 data, 63:32 address.
    u64 left;    // Ticks from hpet.seen until the next match.
};
struct hpet {
    bool enabled;
    u64 counter; // At seen.
    u64 seen;    // Ticks of the clock since boot.
    u32 status;
    struct hpet_timer timers[TIMERS];
};

static u64 width_mask(const struct hpet_timer *t)
{
    return t->configuration & T_32BIT ? UINT32_MAX : UINT64_MAX;
}

// When the counter meets the comparator: it may have to go all the way round.
static void arm(const struct hpet *h, struct hpet_timer *t)
{
    t->left = (t->comparator - h->counter - 1) & width_mask(t);
    t->left += t->left != UINT64_MAX;
}

static u32 route_of(const struct hpet_timer *t)
{
    return (u32)((t->configuration & T_ROUTE) >> T_ROUTE_SHIFT);
}

static void interrupt(struct vmm_pc_device *d, u32 index)
{
    struct hpet *h = d->state;
    const struct hpet_timer *t = &h->timers[index];

    if (t->configuration & T_LEVEL)
        h->status |= 1u << index;
    if ((t->configuration & T_ENABLE) == 0)
        return;
    if (t->configuration & T_MESSAGE) {
        struct hv_msi msi = {.address_lo = (u32)(t->message >> 32), .data = (u32)t->message};

        hv_ioctl_ptr(d->vm->handle, HV_SIGNAL_MSI, &msi); // To nobody, if the guest wrote nonsense.
        return;
    }
    if ((ROUTES >> route_of(t) & 1) == 0)
        return;
    vmm_irq_line(d->vm, route_of(t), 1);
    if ((t->configuration & T_LEVEL) == 0)
        vmm_irq_line(d->vm, route_of(t), 0);
}

// A match `late` ticks ago. Periods that nobody saw are lost, as edges of a line are.
static void match(struct vmm_pc_device *d, u32 index, u64 late)
{
    struct hpet *h = d->state;
    struct hpet_timer *t = &h->timers[index];

    if ((t->configuration & T_PERIODIC) && t->period) {
        u64 periods = late / t->period + 1;

        t->comparator = (t->comparator + periods * t->period) & width_mask(t);
        t->left = t->period - late % t->period;
    } else {
        arm(h, t);
    }
    interrupt(d, index);
}

static void advance(struct vmm_pc_device *d, u64 now_ns)
{
    struct hpet *h = d->state;
    u64 now = now_ns / TICK_NS, passed = now - h->seen;

    h->seen = now;
    if (!h->enabled)
        return;
    h->counter += passed;
    for (u32 i = 0; i < TIMERS; i++) {
        struct hpet_timer *t = &h->timers[i];

        if (t->left > passed)
            t->left -= passed;
        else
            match(d, i, passed - t->left);
    }
}

static u64 expire(struct vmm_pc_device *d, u64 now_ns)
{
    const struct hpet *h = d->state;
    u64 next = UINT64_MAX;

    advance(d, now_ns);
    for (u32 i = 0; i < TIMERS; i++) {
        const struct hpet_timer *t = &h->timers[i];

        if (h->enabled && (t->configuration & T_ENABLE) && t->left < next)
            next = t->left;
    }
    if (next > UINT64_MAX / TICK_NS - h->seen) // None, or not in this life.
        return 0;
    return (h->seen + next) * TICK_NS;
}

// --- Registers.

static u64 read_register(const struct hpet *h, u32 offset)
{
    const struct hpet_timer *t = &h->timers[(offset - HPET_TIMER0) / 0x20 % TIMERS];

    switch (offset) {
    case HPET_CAPABILITIES:
        return CAPABILITIES;
    case HPET_CONFIGURATION:
        return h->enabled ? CONF_ENABLE : 0;
    case HPET_STATUS:
        return h->status;
    case HPET_COUNTER:
        return h->counter;
    default:
        break;
    }
    if (offset < HPET_TIMER0 || offset >= HPET_TIMER0 + TIMERS * 0x20)
        return 0;
    switch (offset % 0x20) {
    case TIMER_CONFIGURATION:
        return t->configuration | T_CAPABILITIES;
    case TIMER_COMPARATOR:
        return t->comparator & width_mask(t);
    case TIMER_MESSAGE:
        return t->message;
    default:
        return 0;
    }
}

static void write_status(struct vmm_pc_device *d, u32 value)
{
    struct hpet *h = d->state;

    for (u32 i = 0; i < TIMERS; i++)
        if ((h->status & value) >> i & 1)
            vmm_irq_line(d->vm, route_of(&h->timers[i]), 0);
    h->status &= ~value;
}

// In periodic mode the comparator's address leads to the period, but after T_SET_VALUE once.
static bool is_period(const struct hpet_timer *t)
{
    return (t->configuration & (T_PERIODIC | T_SET_VALUE)) == T_PERIODIC;
}

static void write_comparator(struct hpet *h, struct hpet_timer *t, u64 value)
{
    value &= width_mask(t);
    if (is_period(t)) {
        t->period = value;
    } else {
        t->comparator = value;
        arm(h, t);
    }
    t->configuration &= ~T_SET_VALUE;
}

static void write_timer(struct vmm_pc_device *d, struct hpet_timer *t, u32 offset, u64 value)
{
    struct hpet *h = d->state;
    u32 index = (u32)(t - h->timers);

    if (offset == TIMER_CONFIGURATION) {
        if (h->status >> index & 1) // Its line moves, or its mode.
            write_status(d, 1u << index);
        t->configuration = value & T_WRITABLE;
        arm(h, t);
    } else if (offset == TIMER_COMPARATOR) {
        write_comparator(h, t, value);
    } else if (offset == TIMER_MESSAGE) {
        t->message = value;
    }
}

static void write_register(struct vmm_pc_device *d, u32 offset, u64 value)
{
    struct hpet *h = d->state;

    if (offset == HPET_CONFIGURATION) {
        h->enabled = (value & CONF_ENABLE) != 0;
    } else if (offset == HPET_STATUS) {
        write_status(d, (u32)value);
    } else if (offset == HPET_COUNTER && !h->enabled) { // While it runs it cannot be written.
        h->counter = value;
        for (u32 i = 0; i < TIMERS; i++)
            arm(h, &h->timers[i]);
    } else if (offset >= HPET_TIMER0 && offset < HPET_TIMER0 + TIMERS * 0x20) {
        write_timer(d, &h->timers[(offset - HPET_TIMER0) / 0x20], offset % 0x20, value);
    }
}

// Registers have 64 bits and are accessed as a whole or by halves (IA-PC HPET, 2.3.2). Others read as zero.
static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    u32 offset = (u32)(address - VMM_HPET_BASE);

    if (offset % size || size < 4)
        return 0;
    advance(d, hv_clock_ns());
    return read_register(d->state, offset & ~7u) >> (offset % 8 * 8);
}

// What a write of one half leaves of the register: a status bit is cleared by writing it, so nothing.
static u64 kept(const struct hpet *h, u32 offset)
{
    const struct hpet_timer *t = &h->timers[(offset - HPET_TIMER0) / 0x20 % TIMERS];

    if (offset == HPET_STATUS)
        return 0;
    if (offset >= HPET_TIMER0 && offset % 0x20 == TIMER_COMPARATOR && is_period(t))
        return t->period;
    return read_register(h, offset);
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    u32 offset = (u32)(address - VMM_HPET_BASE);

    if (offset % size || size < 4)
        return;
    advance(d, hv_clock_ns());
    if (size == 4) {
        u64 old = kept(d->state, offset & ~7u);

        memcpy((u8 *)&old + offset % 8, &value, 4);
        value = old;
    }
    write_register(d, offset & ~7u, value);
    vmm_pc_changed(d);
}

static void reset(struct vmm_pc_device *d)
{
    struct hpet *h = d->state;

    h->seen = hv_clock_ns() / TICK_NS;
    for (u32 i = 0; i < TIMERS; i++) {
        h->timers[i].comparator = UINT64_MAX;
        arm(h, &h->timers[i]);
    }
}

const struct vmm_pc_model vmm_pc_hpet = {
    .name = "HPET",
    .ranges = {{.kind = VMM_DEVICE_MMIO, .base = VMM_HPET_BASE, .size = HPET_BYTES}},
    .state_bytes = sizeof(struct hpet),
    .reset = reset,
    .read = read,
    .write = write,
    .expire = expire,
};
