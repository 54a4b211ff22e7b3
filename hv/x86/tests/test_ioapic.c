// SPDX-License-Identifier: Apache-2.0
// I/O APIC and PIC: edge and level, remote IRR, the storm guard, the INTA cycle (82093AA 3.2.4, SDM 10.8.5,
// 8259A).
#include "hv/x86/ioapic.h"
#include "hv/x86/lapic_state.h"
#include "hv/x86/pic.h"
#include "hv/x86/tests/vm_fixture.h"

static struct knobs knobs;

static void run_body(void (*body)(void), u64 guard)
{
    knobs_defaults(&knobs);
    knobs.v[KNOB_X86_APICV] = 0;
    knobs.v[KNOB_IRQ_STORM_GUARD] = guard;
    EXPECT_EQ(with_vm(&(struct test_vm_options){.irqchip = true, .knobs = &knobs}, body), 0);
}

static void mmio_write32(u64 gpa, u32 value)
{
    EXPECT_TRUE(irqchip_mmio(t.v, gpa, true, &value, 4));
}
static void set_redir(unsigned pin, u64 entry)
{
    mmio_write32(IOAPIC_DEFAULT_BASE, 0x10 + 2 * pin);
    mmio_write32(IOAPIC_DEFAULT_BASE + 0x10, (u32)entry);
    mmio_write32(IOAPIC_DEFAULT_BASE, 0x11 + 2 * pin);
    mmio_write32(IOAPIC_DEFAULT_BASE + 0x10, (u32)(entry >> 32));
    ioapic_scan(t.v);
}
static u64 get_redir(unsigned pin)
{
    return x86_vm_of(t.v)->ioapic->redir[pin];
}
static void begin(void)
{
    vcpu_load(&t.v->vcpu);
    EXPECT_EQ(lapic_set_base(t.v, APIC_BASE_RESET_ADDR | APIC_BASE_EN | APIC_BASE_EXTD, true), 0);
    EXPECT_EQ(lapic_msr_write(t.v, MSR_IA32_X2APIC_SIVR, 0x1ff), 0);
}
static int line(unsigned level)
{
    return arch_irqchip_set(t.v->vcpu.vm, 0, 2, 23, level);
}
static int take(void)
{
    int vector = irqchip_get_interrupt(t.v);
    return vector;
}

static void edge(void)
{
    begin();
    EXPECT_EQ(line(1), -1); // Masked after reset.
    EXPECT_EQ(line(0), 1);
    set_redir(23, 0x61);
    EXPECT_EQ(line(1), 1);
    EXPECT_EQ(line(1), 0); // No second edge.
    EXPECT_EQ(take(), 0x61);
    lapic_eoi(t.v->apic);
    EXPECT_EQ(take(), -1); // The line is still high, and says nothing.
    EXPECT_EQ(line(0), 1);
    EXPECT_EQ(line(1), 1);
    EXPECT_EQ(take(), 0x61);
    EXPECT_EQ(get_redir(23) & IOAPIC_REDIR_REMOTE_IRR, 0);
    vcpu_put(&t.v->vcpu);
}
TEST(Ioapic, EdgePinsDeliverEachRisingEdge)
{
    run_body(edge, IRQ_STORM_GUARD_IOAPIC_DELAY);
}

static void level(void)
{
    begin();
    set_redir(23, 0x50 | IOAPIC_REDIR_LEVEL);
    EXPECT_EQ(line(1), 1);
    EXPECT_NE(get_redir(23) & IOAPIC_REDIR_REMOTE_IRR, 0);
    EXPECT_EQ(line(1), 0); // Waits for EOI.
    EXPECT_EQ(take(), 0x50);
    EXPECT_TRUE(lapic_test_vector(t.v->apic, APIC_TMR0, 0x50));
    lapic_eoi(t.v->apic);
    EXPECT_EQ(take(), 0x50); // Still high: again.
    EXPECT_EQ(line(0), 1);
    lapic_eoi(t.v->apic);
    EXPECT_EQ(take(), -1);
    EXPECT_EQ(get_redir(23) & IOAPIC_REDIR_REMOTE_IRR, 0);
    // Two sources share the line; it falls with the last.
    EXPECT_EQ(arch_irqchip_set(t.v->vcpu.vm, 1, 2, 23, 1), 1);
    EXPECT_EQ(take(), 0x50);
    line(1);
    arch_irqchip_set(t.v->vcpu.vm, 1, 2, 23, 0);
    lapic_eoi(t.v->apic);
    EXPECT_EQ(take(), 0x50);
    line(0);
    // Suppressed broadcast: the I/O APIC's own EOI register ends it (SDM 10.8.5).
    EXPECT_EQ(lapic_msr_write(t.v, MSR_IA32_X2APIC_SIVR, 0x11ff), 0);
    lapic_eoi(t.v->apic);
    EXPECT_NE(get_redir(23) & IOAPIC_REDIR_REMOTE_IRR, 0);
    mmio_write32(IOAPIC_DEFAULT_BASE + 0x40, 0x50);
    EXPECT_EQ(get_redir(23) & IOAPIC_REDIR_REMOTE_IRR, 0);
    // Unmasking with the line high delivers; a read-only bit cannot be written.
    set_redir(23, 0x50 | IOAPIC_REDIR_LEVEL | IOAPIC_REDIR_MASKED | IOAPIC_REDIR_REMOTE_IRR);
    EXPECT_EQ(get_redir(23) & IOAPIC_REDIR_REMOTE_IRR, 0);
    EXPECT_EQ(line(1), -1);
    set_redir(23, 0x50 | IOAPIC_REDIR_LEVEL);
    EXPECT_EQ(take(), 0x50);
    vcpu_put(&t.v->vcpu);
}
TEST(Ioapic, LevelPinsDeliverUntilTheLineFalls)
{
    run_body(level, IRQ_STORM_GUARD_IOAPIC_DELAY);
}

// Catalogue 001-E: 10,000 EOIs in a row with the line high, then one delivery 10 ms late, and the count
// starts anew.
static void storm(void)
{
    begin();
    set_redir(23, 0x50 | IOAPIC_REDIR_LEVEL);
    line(1);
    for (u32 i = 1; i < 10000; i++) {
        ASSERT_EQ(take(), 0x50);
        lapic_eoi(t.v->apic);
    }
    EXPECT_EQ(fake_counter("storm_delays"), 0);
    ASSERT_EQ(take(), 0x50);
    u64 at = hw_rdtsc();
    lapic_eoi(t.v->apic); // The 10,000th.
    EXPECT_EQ(fake_counter("storm_delays"), 1);
    EXPECT_EQ(fake_trace_count(TP_KVM_IOAPIC_DELAYED_EOI_INJ), 1);
    EXPECT_EQ(take(), -1);
    EXPECT_EQ(line(1), 0); // Nor does driving it again hurry it.
    while (irqchip_has_interrupt(t.v) == false && hw_rdtsc() < at + 20000000)
        fake_pass(1000);
    EXPECT_GE(hw_rdtsc(), at + 10000000);
    EXPECT_LE(hw_rdtsc(), at + 10100000);
    EXPECT_EQ(take(), 0x50);
    // A low line at EOI resets the count.
    for (u32 i = 1; i < 9999; i++) {
        lapic_eoi(t.v->apic);
        ASSERT_EQ(take(), 0x50);
    }
    line(0);
    lapic_eoi(t.v->apic);
    line(1);
    for (u32 i = 1; i < 10000; i++) {
        ASSERT_EQ(take(), 0x50);
        lapic_eoi(t.v->apic);
    }
    EXPECT_EQ(fake_counter("storm_delays"), 1);
    vcpu_put(&t.v->vcpu);
}
TEST(Ioapic, StormGuardDelaysTheTenThousandthDelivery)
{
    run_body(storm, IRQ_STORM_GUARD_IOAPIC_DELAY);
}

static void storm_without_guard(void)
{
    begin();
    set_redir(23, 0x50 | IOAPIC_REDIR_LEVEL);
    line(1);
    for (u32 i = 0; i < 20001; i++) {
        ASSERT_EQ(take(), 0x50);
        lapic_eoi(t.v->apic);
    }
    EXPECT_EQ(fake_counter("storm_delays"), 0);
    vcpu_put(&t.v->vcpu);
}
TEST(Ioapic, WithoutTheGuardAStormGoesOn)
{
    run_body(storm_without_guard, IRQ_STORM_GUARD_NONE);
}

static void bad_lines(void)
{
    struct hv_irq_level l = {.irq = 23, .level = 2};

    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_IRQ_LINE, &l), -EINVAL);
    l = (struct hv_irq_level){.irq = 999, .level = 1};
    EXPECT_EQ(hv_ioctl_ptr(t.vm, HV_IRQ_LINE, &l), -EINVAL);
}
TEST(Ioapic, LinesWithoutRouteOrLevelAreRefused)
{
    run_body(bad_lines, IRQ_STORM_GUARD_IOAPIC_DELAY);
}

// --- 8259A.

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
static void init_pics(void)
{
    static const struct {
        u16 port;
        u8 value;
    } rows[] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1},
                {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1}};

    for (u32 i = 0; i < ARRAY_COUNT(rows); i++)
        out(rows[i].port, rows[i].value);
}

static void pic(void)
{
    struct vm *vm = t.v->vcpu.vm;

    vcpu_load(&t.v->vcpu); // After reset LINT0 of the boot processor passes ExtINT.
    init_pics();
    EXPECT_FALSE(irqchip_has_injectable(t.v));
    EXPECT_EQ(arch_irqchip_set(vm, 0, 0, 4, 1), 1);
    EXPECT_EQ(arch_irqchip_set(vm, 0, 0, 1, 1), 1);
    EXPECT_TRUE(irqchip_has_injectable(t.v));
    EXPECT_EQ(take(), 0x21); // IRQ 1 before IRQ 4.
    EXPECT_FALSE(irqchip_has_injectable(t.v));
    out(0x20, 0x20); // Non-specific EOI.
    EXPECT_EQ(take(), 0x24);
    out(0x20, 0x0b); // Read ISR.
    EXPECT_EQ(in(0x20), 1u << 4);
    out(0x20, 0x64); // Specific EOI.
    EXPECT_EQ(in(0x20), 0);
    EXPECT_EQ(arch_irqchip_set(vm, 0, 1, 2, 1), 1); // IRQ 10 through the cascade.
    EXPECT_EQ(take(), 0x2a);
    out(0x20, 0x0b);
    EXPECT_EQ(in(0x20), 1u << 2);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    out(0x21, 0xff); // All masked.
    arch_irqchip_set(vm, 0, 0, 3, 1);
    EXPECT_FALSE(irqchip_has_injectable(t.v));
    out(0x21, 0);
    EXPECT_TRUE(irqchip_has_injectable(t.v));
    // LINT0 masked: the PIC speaks to nobody.
    u32 masked = APIC_LVT_MASKED | APIC_DM_EXTINT << 8;
    EXPECT_TRUE(irqchip_mmio(t.v, 0xfee00350, true, &masked, 4));
    EXPECT_FALSE(irqchip_has_injectable(t.v));
    vcpu_put(&t.v->vcpu);
}
TEST(Pic, InterruptsReachTheBootProcessorInOrder)
{
    run_body(pic, IRQ_STORM_GUARD_IOAPIC_DELAY);
}
