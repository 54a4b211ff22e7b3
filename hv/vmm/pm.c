// SPDX-License-Identifier: Apache-2.0
// ACPI's fixed hardware (ACPI 6.4, 4.8): the PM1a event and control blocks and the PM timer.
//
// Of the events only the timer's exists: there are no buttons, and nothing wakes. The hardware is always in
// ACPI mode. Software that sleeps in S5 ends the guest; other sleeping states are not offered.
#include "hv/hw/trace.h"
#include "hv/vmm/acpi.h"
#include "hv/vmm/pc.h"

enum pm_register { PM1_STATUS = 0, PM1_ENABLE = 2, PM1_CONTROL = 4, PM_TIMER = 8 };
#define PM_PORTS 12u
_Static_assert(VMM_PM_CONTROL == VMM_PM_BASE + PM1_CONTROL && VMM_PM_TIMER == VMM_PM_BASE + PM_TIMER,
               "as the ACPI tables say");

#define TIMER_EVENT 0x0001u // TMR_STS, TMR_EN
#define PM1_ENABLE_BITS 0x0721u
#define CONTROL_SCI_EN 0x0001u
#define CONTROL_KEPT 0x1c06u // SLP_TYP, GBL_RLS, BM_RLD
#define CONTROL_SLP_EN 0x2000u
#define CONTROL_SLP_TYP_SHIFT 10
#define TIMER_HALF (1ull << 31) // Its highest bit toggles.

struct pm {
    u16 status, enable, control;
    u8 line;
    u64 halves; // How often the timer's highest bit has toggled, as far as the status shows.
};

static u64 timer_of(u64 now_ns)
{
    return vmm_pc_ticks(now_ns, VMM_PM_TIMER_HZ);
}

static void update_line(struct vmm_pc_device *d)
{
    struct pm *p = d->state;
    u8 line = (p->status & p->enable) != 0;

    if (line != p->line)
        vmm_irq_line(d->vm, VMM_SCI, line);
    p->line = line;
}

static u64 expire(struct vmm_pc_device *d, u64 now_ns)
{
    struct pm *p = d->state;
    u64 halves = timer_of(now_ns) / TIMER_HALF;

    if (halves != p->halves)
        p->status |= TIMER_EVENT;
    p->halves = halves;
    update_line(d);
    return p->enable & TIMER_EVENT ? vmm_pc_ns((halves + 1) * TIMER_HALF, VMM_PM_TIMER_HZ) : 0;
}

static void write_control(struct vmm_pc_device *d, u16 value)
{
    struct pm *p = d->state;
    u32 type = value >> CONTROL_SLP_TYP_SHIFT & 7;

    p->control = value & CONTROL_KEPT;
    if ((value & CONTROL_SLP_EN) == 0)
        return;
    if (type == VMM_ACPI_S5)
        vmm_guest_end(d->vm, GUEST_END_POWER_OFF, 0);
    else
        hw_trace(TP_NOT_MODELLED, VMM_PM_CONTROL, type, 0, 0, 0, 0);
}

static u16 read_register(const struct pm *p, u32 offset, u64 now_ns)
{
    switch (offset) {
    case PM1_STATUS:
        return p->status;
    case PM1_ENABLE:
        return p->enable;
    case PM1_CONTROL:
        return p->control | CONTROL_SCI_EN;
    case PM_TIMER:
        return (u16)timer_of(now_ns);
    case PM_TIMER + 2:
        return (u16)(timer_of(now_ns) >> 16);
    default:
        return 0;
    }
}

// Registers have 16 bits; bytes of them and two at once may be read.
static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    u32 offset = (u32)(address - VMM_PM_BASE);
    u64 value, now_ns = hv_clock_ns();

    expire(d, now_ns);
    value = read_register(d->state, offset & ~1u, now_ns) |
            (u64)read_register(d->state, (offset & ~1u) + 2, now_ns) << 16;
    return value >> offset % 2 * 8 & ((1ull << 8 * size) - 1);
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    struct pm *p = d->state;
    u32 offset = (u32)(address - VMM_PM_BASE);

    if (size < 2)
        return; // No register can be written by bytes.
    expire(d, hv_clock_ns());
    if (offset == PM1_STATUS)
        p->status &= (u16)~value;
    if (offset == PM1_ENABLE || (offset == PM1_STATUS && size == 4))
        p->enable = (u16)(value >> (offset == PM1_STATUS ? 16 : 0)) & PM1_ENABLE_BITS;
    if (offset == PM1_CONTROL)
        write_control(d, (u16)value);
    update_line(d);
    vmm_pc_changed(d);
}

const struct vmm_pc_model vmm_pc_pm = {
    .name = "ACPI",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = VMM_PM_BASE, .size = PM_PORTS}},
    .state_bytes = sizeof(struct pm),
    .read = read,
    .write = write,
    .expire = expire,
};
