// SPDX-License-Identifier: Apache-2.0
// The 8254: modes, latches, gate and speaker port, the interrupt through the PIC (Intel 231164-005).
#include "hv/lib/errno.h"
#include "hv/x86/lapic.h"
#include "hv/x86/pit.h"
#include "hv/x86/tests/vm_fixture.h"

// The fake's TSC counts nanoseconds: a tick is 838.09 of them.
#define TICK_POINTS(n) ((u64)(n)*1000000000u / PIT_HZ)

static struct knobs knobs;

static void create(u32 flags)
{
    struct hv_pit_config config = {.flags = flags};

    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CREATE_PIT2, &config), 0);
}

static void run_body(void (*body)(void))
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_X86_APICV] = 0;
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = true, .knobs = &knobs}, body), 0);
}

static void out(u16 port, u8 value)
{
    EXPECT_TRUE(irqchip_pio(t.v, port, true, &value, 1));
}
static u8 in(u16 port)
{
    u8 value = 0;

    EXPECT_TRUE(irqchip_pio(t.v, port, false, &value, 1));
    return value;
}
static void set_count(unsigned channel, u8 control, u16 count)
{
    out(0x43, (u8)(channel << 6 | control));
    out((u16)(0x40 + channel), (u8)count);
    out((u16)(0x40 + channel), (u8)(count >> 8));
}
// Latch command, then both bytes.
static u16 get_count(unsigned channel)
{
    out(0x43, (u8)(channel << 6));
    u8 low = in((u16)(0x40 + channel));

    return (u16)(low | in((u16)(0x40 + channel)) << 8);
}
static u8 get_status(unsigned channel)
{
    out(0x43, (u8)(0xe0 | 2u << channel)); // Read-back of the status only.
    return in((u16)(0x40 + channel));
}

static void life(void)
{
    struct hv_pit_config bad = {.flags = 2}, good = {.flags = 0};
    u8 byte = 0;

    EXPECT_FALSE(irqchip_pio(t.v, 0x40, false, &byte, 1)); // Nobody there yet.
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CREATE_PIT2, &bad), -EINVAL);
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CREATE_PIT2, &good), 0);
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CREATE_PIT2, &good), -EEXIST);
    EXPECT_EQ(hv_ioctl(t.vm, HV_CHECK_EXTENSION, HV_CAP_PIT2), 1);
    EXPECT_TRUE(irqchip_pio(t.v, 0x40, false, &byte, 1));
    EXPECT_FALSE(irqchip_pio(t.v, 0x61, false, &byte, 1)); // Without HV_PIT_SPEAKER_PORT.
}
TEST(Pit, IsMadeOnceForAnIrqchipAndTakesItsPorts)
{
    run_body(life);
}

static void without_irqchip(void)
{
    struct hv_pit_config config = {0};

    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_CREATE_PIT2, &config), -ENXIO);
}
TEST(Pit, NeedsTheIrqchip)
{
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = false}, without_irqchip), 0);
}

// Counts go down by one a tick, in mode 3 by two, and wrap where their mode says.
static void counting(void)
{
    static const struct {
        u8 control;
        u16 count;
        u32 ticks;
        u32 expect; // Count then, exactly.
    } rows[] = {
        {0x30, 5000, 1000, 4000},        // Mode 0.
        {0x30, 1000, 1001, 0xffff},      // Goes on through zero.
        {0x34, 5000, 1000, 4000},        // Mode 2.
        {0x34, 1000, 2500, 500},         // Begins again.
        {0x36, 1000, 100, 800},          // Mode 3.
        {0x36, 1000, 600, 800},          // Twice in a period.
        {0x38, 5000, 1000, 4000},        // Mode 4.
        {0x3e, 1000, 100, 800},          // Mode 7 is 3.
        {0x31, 0x5000, 1000, 0x4000},    // Mode 0 in BCD.
        {0x35, 0x1000, 2500, 0x0500},    // Mode 2 in BCD.
        {0x34, 0, 1000, 0x10000 - 1000}, // 0 stands for 65536.
    };

    create(0);
    for (u32 i = 0; i < ARRAY_COUNT(rows); i++) {
        set_count(0, rows[i].control, rows[i].count);
        struct pit_channel *c = &x86_vm_of(t.v)->pit->channels[0];

        // Half a tick later, lest the accesses' own time shows.
        c->start_tsc = hw_rdtsc() - TICK_POINTS(rows[i].ticks) - TICK_POINTS(1) / 2;
        test_row("control %#x count %u", rows[i].control, rows[i].count);
        EXPECT_EQ(get_count(0), rows[i].expect);
    }
}
TEST(Pit, CountsDownAsItsModeSays)
{
    run_body(counting);
}

static void latches(void)
{
    create(0);
    set_count(0, 0x34, 50000);
    out(0x43, 0x00);
    u16 first = x86_vm_of(t.v)->pit->channels[0].latched_count;

    fake_pass(TICK_POINTS(100));
    out(0x43, 0x00); // The latch is taken until it is read.
    EXPECT_EQ(in(0x40), first & 0xff);
    EXPECT_EQ(in(0x40), first >> 8);
    EXPECT_LE(get_count(0), first - 100);
    // Read-back of both: the status comes first. Out high, count loaded, 16 bits, mode 2.
    out(0x43, 0xc2);
    EXPECT_EQ(in(0x40), 0xb4);
    EXPECT_EQ(in(0x40), x86_vm_of(t.v)->pit->channels[0].latched_count & 0xff);
    (void)in(0x40);
    // The control word leaves the count unknown: null count; mode 0 has its output low.
    out(0x43, 0x30);
    EXPECT_EQ(get_status(0), 0x70);
    // One byte only.
    out(0x43, 0x14);
    out(0x40, 200);
    EXPECT_LE(in(0x40), 200);
    out(0x43, 0x24); // High byte only.
    out(0x40, 0x12);
    EXPECT_EQ(x86_vm_of(t.v)->pit->channels[0].count, 0x1200);
}
TEST(Pit, LatchesHoldCountAndStatusUntilRead)
{
    run_body(latches);
}

// Channel 2 as software measures time with it: mode 0, gate by port 61H, output in its bit 5.
static void speaker(void)
{
    create(HV_PIT_SPEAKER_PORT);
    out(0x61, 0x01);
    set_count(2, 0x30, 1000);
    EXPECT_EQ(in(0x61) & 0x23, 0x01); // Running, output low.
    fake_pass(TICK_POINTS(500));
    out(0x61, 0x00); // The gate holds the count.
    u16 held = get_count(2);

    fake_pass(TICK_POINTS(2000));
    EXPECT_EQ(get_count(2), held);
    EXPECT_EQ(in(0x61) & 0x21, 0);
    out(0x61, 0x03);
    fake_pass(TICK_POINTS(450));
    EXPECT_EQ(in(0x61) & 0x23, 0x03);
    fake_pass(TICK_POINTS(100));
    EXPECT_EQ(in(0x61) & 0x23, 0x23); // Terminal count.
    // Mode 1 waits for the gate to rise.
    out(0x61, 0x00);
    set_count(2, 0x32, 1000);
    EXPECT_EQ(in(0x61) & 0x20, 0x20);
    out(0x61, 0x01);
    EXPECT_EQ(in(0x61) & 0x20, 0);
    out(0x61, 0x00); // Its level does not matter then.
    fake_pass(TICK_POINTS(1001));
    EXPECT_EQ(in(0x61) & 0x20, 0x20);
    // The refresh bit toggles.
    u8 before = in(0x61) & 0x10;

    fake_pass(15085);
    EXPECT_NE(in(0x61) & 0x10, before);
}
TEST(Pit, GateAndOutputOfChannelTwoAreInPort61)
{
    run_body(speaker);
}

static void init_pic(void)
{
    static const u8 words[] = {0x20, 0x04, 0x03}; // ICW2-4: vectors from 20H, automatic EOI.

    out(0x20, 0x11);
    for (u32 i = 0; i < ARRAY_COUNT(words); i++)
        out(0x21, words[i]);
}

static u32 interrupts(u32 ticks)
{
    u32 count = 0;

    for (u32 i = 0; i < ticks; i++) {
        fake_pass(TICK_POINTS(1));
        while (irqchip_has_injectable(t.v)) {
            EXPECT_EQ(irqchip_get_interrupt(t.v), 0x20);
            count++;
        }
    }
    return count;
}

static void irq(void)
{
    create(0);
    vcpu_load(&t.v->vcpu);
    init_pic();
    set_count(0, 0x34, 1000);
    EXPECT_EQ(interrupts(10500), 10); // Rate generator: each period.
    set_count(0, 0x36, 1000);
    EXPECT_EQ(interrupts(10500), 10); // Square wave: each rising edge.
    set_count(0, 0x30, 1000);
    EXPECT_EQ(interrupts(900), 0);
    EXPECT_EQ(interrupts(9000), 1); // Once.
    set_count(0, 0x38, 1000);
    EXPECT_EQ(interrupts(10000), 1);
    set_count(0, 0x34, 1000);
    out(0x43, 0x34); // A control word stops it.
    EXPECT_EQ(interrupts(3000), 0);
    set_count(0, 0x34, 100);
    fake_pass(TICK_POINTS(1050)); // Ticks that nobody takes do not pile up.
    EXPECT_EQ(interrupts(1), 1);
    EXPECT_EQ(interrupts(200), 2);
    vcpu_put(&t.v->vcpu);
}
TEST(Pit, InterruptsAtEachRisingEdgeOfChannelZero)
{
    run_body(irq);
}
