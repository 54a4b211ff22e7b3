// SPDX-License-Identifier: Apache-2.0
// The virtual 8254. Counts are not counted: what a channel shows follows from the time since it began.
#include "hv/x86/pit.h"

#include "hv/core/irq_routing.h"
#include "hv/lib/errno.h"
#include "hv/lib/math.h"

#define PORT_CHANNEL0 0x40u
#define PORT_CONTROL 0x43u
#define PORT_SPEAKER 0x61u

#define SPEAKER_GATE2 0x01u
#define SPEAKER_DATA 0x02u
#define SPEAKER_REFRESH 0x10u // Toggles with each refresh of memory.
#define SPEAKER_OUT2 0x20u
#define REFRESH_NS 15085u // Channel 1's 18 ticks.

#define CONTROL_READ_BACK 3u // As number of the channel.
#define READ_BACK_NO_COUNT 0x20u
#define READ_BACK_NO_STATUS 0x10u
#define STATUS_OUT 0x80u
#define STATUS_NULL 0x40u // The count has not been written yet.

#define PIT_GSI 0u
#define PIT_SOURCE 1u // Who drives the line; 0 is user space.

enum pit_rw { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };

struct mode {
    bool periodic;  // Begins again at zero, by itself.
    bool triggered; // Begins when the gate rises.
    bool strobe;    // Its output is low for the one tick at zero.
};
static const struct mode modes[6] = {
    {.periodic = false},                 // Interrupt on terminal count.
    {.triggered = true},                 // One-shot.
    {.periodic = true, .strobe = true},  // Rate generator.
    {.periodic = true},                  // Square wave.
    {.strobe = true},                    // Software-triggered strobe.
    {.triggered = true, .strobe = true}, // Hardware-triggered strobe.
};

static const struct mode *mode_of(const struct pit_channel *c)
{
    return &modes[c->mode];
}

// --- Time.

static u64 tsc_hz(const struct pit *pit)
{
    return pit->vm->host->tsc_khz * 1000;
}

// The gate lets the count go on. Triggered modes only look at its rising edge.
static bool runs(const struct pit_channel *c)
{
    return c->counting && (c->gate || mode_of(c)->triggered);
}

static u64 elapsed(const struct pit *pit, const struct pit_channel *c)
{
    if (!runs(c))
        return c->held_ticks;
    return mul_u64_u64_div_u64(hw_rdtsc() - c->start_tsc, PIT_HZ, tsc_hz(pit));
}

// First TSC at which `ticks` have passed since the channel began.
static u64 tsc_of_tick(const struct pit *pit, const struct pit_channel *c, u64 ticks)
{
    return c->start_tsc + mul_u64_u64_div_u64(ticks, tsc_hz(pit), PIT_HZ) + 1;
}

// --- What a channel shows.

static u32 wrap_of(const struct pit_channel *c)
{
    return c->bcd ? 10000 : 0x10000;
}

static u16 to_bcd(u32 value)
{
    return (u16)(value % 10 | (value / 10 % 10) << 4 | (value / 100 % 10) << 8 | (value / 1000 % 10) << 12);
}

static u32 from_bcd(u16 digits)
{
    return (digits & 0xfu) + 10 * (digits >> 4 & 0xfu) + 100 * (digits >> 8 & 0xfu) + 1000u * (digits >> 12);
}

static u16 current_count(const struct pit *pit, const struct pit_channel *c)
{
    u64 ticks = elapsed(pit, c);
    u32 value = c->count;

    if (c->counting && c->mode == 3) // Two at a time, twice in a period.
        value -= (u32)(2 * ticks % c->count) & ~1u;
    else if (c->counting && mode_of(c)->periodic)
        value -= (u32)(ticks % c->count);
    else if (c->counting) // On through zero.
        value = (u32)((c->count + (wrap_of(c) - ticks % wrap_of(c))) % wrap_of(c));
    value %= wrap_of(c);
    return c->bcd ? to_bcd(value) : (u16)value;
}

static bool output(const struct pit *pit, const struct pit_channel *c)
{
    u64 ticks = elapsed(pit, c);

    if (!runs(c) && (c->mode != 0 || !c->counting))
        return c->mode != 0; // The control word sets it; a gate that falls ends a pulse.
    if (c->mode == 3)
        return ticks % c->count < (c->count + 1) / 2;
    if (mode_of(c)->periodic)
        return ticks % c->count != c->count - 1;
    return mode_of(c)->strobe ? ticks != c->count : ticks >= c->count;
}

static u8 status(const struct pit *pit, const struct pit_channel *c)
{
    return (u8)((output(pit, c) ? STATUS_OUT : 0) | (c->count == 0 ? STATUS_NULL : 0) | c->rw << 4 |
                c->mode << 1 | c->bcd);
}

// --- Channel 0's interrupt.

// The first rising edge after `ticks`; 0: none will come.
static u64 next_edge(const struct pit_channel *c, u64 ticks)
{
    u64 once = c->count + mode_of(c)->strobe;

    if (!runs(c))
        return 0;
    if (mode_of(c)->periodic)
        return (ticks / c->count + 1) * c->count;
    return ticks < once ? once : 0;
}

// Channel 0 has changed. Lock held.
static void rearm(struct pit *pit)
{
    const struct pit_channel *c = &pit->channels[0];

    pit->edge_tick = next_edge(c, elapsed(pit, c));
    if (pit->edge_tick)
        hrtimer_start(&pit->timer, tsc_of_tick(pit, c, pit->edge_tick));
    else
        (void)hrtimer_try_cancel(&pit->timer); // A callback that waits for the lock finds nothing due.
}

static bool fired(struct hrtimer *t)
{
    struct pit *pit = container_of(t, struct pit, timer);
    const struct pit_channel *c = &pit->channels[0];

    raw_spin_lock(&pit->lock);
    bool due = pit->edge_tick != 0 && tsc_of_tick(pit, c, pit->edge_tick) <= hw_rdtsc(), again = false;
    if (due) {
        // What was missed meanwhile is lost.
        pit->edge_tick = next_edge(c, elapsed(pit, c));
        again = pit->edge_tick != 0;
        if (again)
            t->expires_tsc = tsc_of_tick(pit, c, pit->edge_tick);
    }
    raw_spin_unlock(&pit->lock);
    if (due) {
        (void)set_irq(pit->vm, PIT_SOURCE, PIT_GSI, 1);
        (void)set_irq(pit->vm, PIT_SOURCE, PIT_GSI, 0);
    }
    return again;
}

// --- Writes.

static void begin(struct pit_channel *c)
{
    c->counting = true;
    c->held_ticks = 0;
    c->start_tsc = hw_rdtsc();
}

static void load(struct pit_channel *c, u16 value)
{
    u32 count = c->bcd ? from_bcd(value) : value;

    c->count = count ? count : wrap_of(c);
    if (!mode_of(c)->triggered)
        begin(c);
}

static void set_gate(struct pit *pit, struct pit_channel *c, bool gate)
{
    if (gate == c->gate)
        return;
    u64 ticks = elapsed(pit, c);

    c->gate = gate;
    if (c->count == 0)
        return;
    if (!gate) {
        if (!mode_of(c)->triggered)
            c->held_ticks = ticks;
    } else if (mode_of(c)->triggered || mode_of(c)->periodic) {
        begin(c);
    } else {
        c->start_tsc = hw_rdtsc() - mul_u64_u64_div_u64(ticks, tsc_hz(pit), PIT_HZ);
    }
}

static void latch_count(const struct pit *pit, struct pit_channel *c)
{
    if (c->count_latched)
        return; // The first one stays until it is read.
    c->latched_count = current_count(pit, c);
    c->count_latched = true;
}

static void read_back(struct pit *pit, u8 value)
{
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        struct pit_channel *c = &pit->channels[i];

        if ((value & (2u << i)) == 0)
            continue;
        if ((value & READ_BACK_NO_COUNT) == 0)
            latch_count(pit, c);
        if ((value & READ_BACK_NO_STATUS) == 0 && !c->status_latched) {
            c->latched_status = status(pit, c);
            c->status_latched = true;
        }
    }
}

static void write_control(struct pit *pit, u8 value)
{
    unsigned channel = value >> 6, rw = (value >> 4) & 3, mode = (value >> 1) & 7;

    if (channel == CONTROL_READ_BACK) {
        read_back(pit, value);
        return;
    }
    struct pit_channel *c = &pit->channels[channel];

    if (rw == RW_LATCH) {
        latch_count(pit, c);
        return;
    }
    *c = (struct pit_channel){.gate = c->gate,
                              .rw = (u8)rw,
                              .mode = (u8)(mode > 5 ? mode - 4 : mode), // 6 and 7 are 2 and 3.
                              .bcd = (value & 1) != 0};
    if (channel == 0)
        rearm(pit);
}

static void write_count(struct pit *pit, unsigned channel, u8 value)
{
    struct pit_channel *c = &pit->channels[channel];

    if (c->rw == RW_LATCH)
        return; // No control word yet.
    if (c->rw == RW_BOTH && !c->write_high) {
        c->write_low = value;
        c->write_high = true;
        if (c->mode == 0)
            c->counting = false; // The first byte of a new count stops the old one.
    } else {
        load(c, (u16)(c->rw == RW_LOW ? value : value << 8 | c->write_low));
        c->write_high = false;
    }
    if (channel == 0)
        rearm(pit);
}

// --- Reads.

static u8 read_count(struct pit *pit, struct pit_channel *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->latched_status;
    }
    u16 value = c->count_latched ? c->latched_count : current_count(pit, c);
    bool high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->read_high);

    if (c->rw == RW_BOTH)
        c->read_high = !high;
    if (c->rw != RW_BOTH || high)
        c->count_latched = false;
    return (u8)(high ? value >> 8 : value);
}

static u8 read_speaker(struct pit *pit)
{
    const struct pit_channel *c = &pit->channels[2];
    u64 refreshes = tsc_to_ns(pit->vm->host, hw_rdtsc()) / REFRESH_NS;

    return (u8)((c->gate ? SPEAKER_GATE2 : 0) | (pit->speaker_data ? SPEAKER_DATA : 0) |
                (refreshes & 1 ? SPEAKER_REFRESH : 0) | (output(pit, c) ? SPEAKER_OUT2 : 0));
}

static void write_port(struct pit *pit, u16 port, u8 value)
{
    if (port == PORT_SPEAKER) {
        pit->speaker_data = (value & SPEAKER_DATA) != 0;
        set_gate(pit, &pit->channels[2], (value & SPEAKER_GATE2) != 0);
    } else if (port == PORT_CONTROL) {
        write_control(pit, value);
    } else {
        write_count(pit, port - PORT_CHANNEL0, value);
    }
}

static u8 read_port(struct pit *pit, u16 port)
{
    if (port == PORT_SPEAKER)
        return read_speaker(pit);
    if (port == PORT_CONTROL)
        return 0xff; // Write only.
    return read_count(pit, &pit->channels[port - PORT_CHANNEL0]);
}

bool pit_pio(struct pit *pit, u16 port, bool write, void *data, unsigned size)
{
    u8 *byte = data;

    if ((port < PORT_CHANNEL0 || port > PORT_CONTROL) && (port != PORT_SPEAKER || !pit->speaker_port))
        return false;
    if (size != 1)
        return true; // Wider accesses reach no register of an 8-bit device here.
    bool flags = spin_lock_irqsave(&pit->lock);
    if (write)
        write_port(pit, port, *byte);
    else
        *byte = read_port(pit, port);
    spin_unlock_irqrestore(&pit->lock, flags);
    return true;
}

// --- Life.

int pit_create(struct vm *vm, u32 flags)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->pit != NULL)
        return -EEXIST;
    struct pit *pit = kzalloc(vm->host, sizeof *pit);

    if (pit == NULL)
        return -ENOMEM;
    spin_lock_init(&pit->lock, LOCK_RANK_PIT);
    hrtimer_init(&pit->timer, fired);
    pit->vm = vm;
    pit->speaker_port = (flags & HV_PIT_SPEAKER_PORT) != 0;
    pit->channels[0].gate = pit->channels[1].gate = true; // Tied high on the board.
    store_release(&x->pit, pit);
    return 0;
}

void pit_destroy(struct vm *vm)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->pit == NULL)
        return;
    hrtimer_cancel(&x->pit->timer);
    kfree(vm->host, x->pit, sizeof *x->pit);
    x->pit = NULL;
}
