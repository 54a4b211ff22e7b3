// SPDX-License-Identifier: Apache-2.0
// The I/O APIC in user space against a core of a few lines: routes, remote IRR, EOI, bad lines
// (82093AA 3.2.4).
#include "hv/hw/trace.h"
#include "hv/knobs.h"
#include "hv/vmm/ioapic.h"
#include "spec/apic_bits.h"
#include "tests/shim/shim.h"
#include <string.h>

static struct {
    u64 guard, count;
    u32 lines, wakes, delays;
    struct hv_irq_routing_entry last; // Of pin 23.
} core;

u64 hw_syscall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
    (void)a3;
    if (nr == HV_SYS_KNOB)
        return a0 == KNOB_IRQ_STORM_GUARD ? core.guard : a0 == KNOB_IRQ_STORM_COUNT ? core.count : 10000;
    if (nr == HV_SYS_IOCTL && a1 == HV_SET_GSI_ROUTING)
        core.last = ((struct hv_irq_routing *)a2)->entries[23];
    if (nr == HV_SYS_IOCTL && a1 == HV_IRQ_LINE) {
        ((struct hv_irq_level *)a2)->irq = 1; // Delivered.
        core.lines++;
    }
    core.wakes += nr == HV_SYS_FUTEX_WAKE;
    return 0;
}
void hw_trace_count(const char *name, u64 n)
{
    if (strcmp(name, "storm_delays") == 0)
        core.delays += (u32)n;
}
// The VMM's memory is never given back; this one is empty again for each test.
static struct {
    _Alignas(16) unsigned char bytes[1 << 16];
    u64 used;
} memory;

void *vmm_alloc(struct vmm *vmm, u64 bytes)
{
    (void)vmm;
    void *p = memory.bytes + memory.used;

    memory.used += (bytes + 15) & ~15ull;
    EXPECT_LE(memory.used, sizeof memory.bytes);
    return p;
}
void vmm_require(s64 result, const char *what)
{
    (void)what;
    EXPECT_GE(result, 0);
}

static void write_reg(struct vmm_ioapic *io, u32 index, u32 value)
{
    EXPECT_TRUE(vmm_ioapic_mmio(io, IOAPIC_DEFAULT_BASE, true, (u8 *)&index, 4));
    EXPECT_TRUE(vmm_ioapic_mmio(io, IOAPIC_DEFAULT_BASE + IOAPIC_MMIO_IOWIN, true, (u8 *)&value, 4));
}
static u32 read_reg(struct vmm_ioapic *io, u32 index)
{
    u32 value = 0;

    EXPECT_TRUE(vmm_ioapic_mmio(io, IOAPIC_DEFAULT_BASE, true, (u8 *)&index, 4));
    EXPECT_TRUE(vmm_ioapic_mmio(io, IOAPIC_DEFAULT_BASE + IOAPIC_MMIO_IOWIN, false, (u8 *)&value, 4));
    return value;
}
static struct vmm_ioapic *make(u64 guard, u64 count)
{
    static struct vmm_vm vm;

    memset(&core, 0, sizeof core);
    memset(&memory, 0, sizeof memory);
    core.guard = guard;
    core.count = count;
    return vmm_ioapic_create(&vm);
}

TEST(VmmIoapic, LinesWithoutPinOrLevelAreRefused)
{
    struct vmm_ioapic *io = make(IRQ_STORM_GUARD_NONE, 1);

    EXPECT_EQ(vmm_ioapic_set_line(io, 24, 1), -22);
    EXPECT_EQ(vmm_ioapic_set_line(io, 23, 2), -22);
    EXPECT_EQ(vmm_ioapic_set_line(io, 23, 1), 0); // Masked after reset.
    EXPECT_EQ(core.lines, 0);
}

TEST(VmmIoapic, ALevelPinIsAnAssertingMessageUntilItsEoi)
{
    struct vmm_ioapic *io = make(IRQ_STORM_GUARD_NONE, 1);

    write_reg(io, IOAPIC_REDIR23, 0x8050);
    EXPECT_EQ(core.last.u.msi.data, 0xc050);
    EXPECT_EQ(vmm_ioapic_set_line(io, 23, 1), 0);
    EXPECT_EQ(vmm_ioapic_set_line(io, 23, 1), 0); // Held back by remote IRR.
    EXPECT_EQ(core.lines, 1);
    EXPECT_EQ(read_reg(io, IOAPIC_REDIR23), 0xc050);
    vmm_ioapic_eoi(io, 0x51);
    EXPECT_EQ(core.lines, 1);
    vmm_ioapic_eoi(io, 0x50); // Still high.
    EXPECT_EQ(core.lines, 2);
    EXPECT_EQ(vmm_ioapic_set_line(io, 23, 0), 0);
    vmm_ioapic_eoi(io, 0x50);
    EXPECT_EQ(core.lines, 2);
    EXPECT_EQ(read_reg(io, IOAPIC_REDIR23), 0x8050);
}

TEST(VmmIoapic, TheGuardDelaysTheLastEoiOfARow)
{
    struct vmm_ioapic *io = make(IRQ_STORM_GUARD_IOAPIC_DELAY, 3);

    write_reg(io, IOAPIC_REDIR23, 0x8050);
    vmm_ioapic_set_line(io, 23, 1);
    vmm_ioapic_eoi(io, 0x50);
    vmm_ioapic_eoi(io, 0x50);
    EXPECT_EQ(core.delays, 0);
    EXPECT_EQ(core.lines, 3);
    vmm_ioapic_eoi(io, 0x50);
    EXPECT_EQ(core.delays, 1);
    EXPECT_EQ(core.wakes, 1);
    vmm_ioapic_set_line(io, 23, 1); // Comes with the end of the delay.
    EXPECT_EQ(core.lines, 3);
}
