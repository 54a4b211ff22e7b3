// SPDX-License-Identifier: Apache-2.0
// The I/O APIC in user space (82093AA data sheet 3.0, SDM 10.8.5).
#include "hv/vmm/ioapic.h"

#include "hv/hw/trace.h"
#include "hv/knobs.h"
#include "hv/lib/string.h"
#include "hv/vmm/lock.h"
#include "spec/apic_bits.h"

#define VMM_EINVAL 22
#define WINDOW_BYTES 0x100u

struct vmm_ioapic {
    struct vmm_vm *vm;
    struct vmm_lock lock; // Of all below.
    u32 select;           // IOREGSEL
    u32 id;
    u32 line; // Pins whose line is asserted.
    u64 redir[IOAPIC_PINS];
    struct hv_irq_routing *routing; // What the core was told last.
    // The storm guard.
    u64 storm_count;    // EOIs in a row; 0: no guard.
    u64 storm_delay_ns; // Then by so much.
    u32 eoi_count[IOAPIC_PINS];
    u32 delayed; // Pins.
    u64 deadline_ns;
    u32 armed; // 1: a delay is under way. A futex; the timer's thread waits for it.
};

static bool is_level(u64 entry)
{
    return (entry & IOAPIC_REDIR_LEVEL) != 0;
}
static u8 vector_of(u64 entry)
{
    return (u8)(entry & IOAPIC_REDIR_VECTOR_MASK);
}

// --- Routes.

// The message that stands for an entry (SDM 10.11): a level-triggered one asserts.
static struct hv_irq_routing_entry route_of(u32 pin, u64 entry)
{
    struct hv_irq_routing_entry r = {.gsi = pin, .type = HV_IRQ_ROUTING_MSI};
    u32 mode = (u32)((entry & IOAPIC_REDIR_MODE_MASK) >> IOAPIC_REDIR_MODE_SHIFT);

    r.u.msi.address_lo = (u32)MSI_ADDR_BASE | (u32)(entry >> IOAPIC_REDIR_DEST_SHIFT) << MSI_ADDR_DEST_SHIFT |
                         (entry & IOAPIC_REDIR_LOGICAL ? (u32)MSI_ADDR_LOGICAL : 0);
    r.u.msi.data = vector_of(entry) | mode << MSI_DATA_MODE_SHIFT |
                   (is_level(entry) ? MSI_DATA_LEVEL | MSI_DATA_ASSERT : 0);
    return r;
}

static void set_routes(struct vmm_ioapic *io)
{
    vmm_require(hv_ioctl_ptr(io->vm->handle, HV_SET_GSI_ROUTING, io->routing), "routes of the I/O APIC");
}

// The pin's entry has changed: the core hears of it if its message has. A masked pin keeps its route: the EOI
// of what it sent before is still owed.
static void update_route(struct vmm_ioapic *io, u32 pin)
{
    struct hv_irq_routing_entry now = route_of(pin, io->redir[pin]);

    if (memcmp(&now, &io->routing->entries[pin], sizeof now) == 0)
        return;
    io->routing->entries[pin] = now;
    set_routes(io);
}

// --- Lines.

// Sends the interrupt of `pin` unless it is masked or not yet ended. Lock held.
static void service(struct vmm_ioapic *io, u32 pin)
{
    u64 entry = io->redir[pin];
    struct hv_irq_level line = {.irq = pin, .level = 1};

    if ((entry & IOAPIC_REDIR_MASKED) != 0 || (is_level(entry) && (entry & IOAPIC_REDIR_REMOTE_IRR) != 0))
        return;
    vmm_require(hv_ioctl_ptr(io->vm->handle, HV_IRQ_LINE, &line), "a pin without a route");
    // Accepted by somebody, who owes an EOI (82093AA 3.2.4, bit 14).
    if ((s32)line.irq > 0 && is_level(entry))
        io->redir[pin] |= IOAPIC_REDIR_REMOTE_IRR;
}

s64 vmm_ioapic_set_line(struct vmm_ioapic *io, u32 pin, u32 level)
{
    if (pin >= IOAPIC_PINS || level > 1)
        return -VMM_EINVAL;
    vmm_lock(&io->lock);
    u32 bit = 1u << pin, before = io->line;

    io->line = level ? before | bit : before & ~bit;
    // A line that stays high is no new edge; a level one that is delayed comes with the end of the delay.
    if (level && (is_level(io->redir[pin]) ? (io->delayed & bit) == 0 : (before & bit) == 0))
        service(io, pin);
    vmm_unlock(&io->lock);
    return 0;
}

// --- End of interrupt and the storm guard.

static void end_delay(struct vmm_ioapic *io)
{
    vmm_lock(&io->lock);
    for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
        if ((io->delayed & io->line & 1u << pin) != 0 && is_level(io->redir[pin]))
            service(io, pin);
    io->delayed = 0;
    __atomic_store_n(&io->armed, 0, __ATOMIC_RELEASE);
    vmm_unlock(&io->lock);
}

static void timer_thread(void *arg)
{
    struct vmm_ioapic *io = arg;

    for (;;) {
        while (!__atomic_load_n(&io->armed, __ATOMIC_ACQUIRE))
            hv_futex_wait(&io->armed, 0, 0);
        while (hv_clock_ns() < io->deadline_ns)
            hv_sleep_until(io->deadline_ns);
        end_delay(io);
    }
}

static void delay(struct vmm_ioapic *io, u32 pin)
{
    io->eoi_count[pin] = 0;
    hw_trace_count("storm_delays", 1);
    // A pin that joins a delay under way is served with it.
    if (io->delayed == 0) {
        io->deadline_ns = hv_clock_ns() + io->storm_delay_ns;
        __atomic_store_n(&io->armed, 1, __ATOMIC_RELEASE);
        hv_futex_wake(&io->armed, 1);
    }
    io->delayed |= 1u << pin;
}

// Pin's level interrupt was ended: is the line still high? Lock held.
static void redeliver(struct vmm_ioapic *io, u32 pin)
{
    if ((io->redir[pin] & IOAPIC_REDIR_MASKED) != 0 || (io->line & 1u << pin) == 0) {
        io->eoi_count[pin] = 0;
        return;
    }
    if (io->storm_count != 0 && ++io->eoi_count[pin] >= io->storm_count) {
        delay(io, pin);
        return;
    }
    service(io, pin);
}

// Lock held.
static void end_vector(struct vmm_ioapic *io, u8 vector)
{
    for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
        u64 entry = io->redir[pin];

        if (vector_of(entry) != vector || !is_level(entry) || (entry & IOAPIC_REDIR_REMOTE_IRR) == 0)
            continue;
        io->redir[pin] &= ~IOAPIC_REDIR_REMOTE_IRR;
        redeliver(io, pin);
    }
}

void vmm_ioapic_eoi(struct vmm_ioapic *io, u8 vector)
{
    vmm_lock(&io->lock);
    end_vector(io, vector);
    vmm_unlock(&io->lock);
}

// --- Registers.

// Half `high` of redirection entry `pin`. Lock held.
static void write_redir(struct vmm_ioapic *io, u32 pin, bool high, u32 value)
{
    u64 old = io->redir[pin];
    u64 entry = high ? (old & 0xffffffff) | (u64)value << 32 : (old & ~0xffffffffull) | value;

    entry = (entry & IOAPIC_REDIR_DEFINED & ~IOAPIC_REDIR_READ_ONLY) | (old & IOAPIC_REDIR_READ_ONLY);
    // Remote IRR belongs to level mode; software clears it by way of edge mode where there is no EOI
    // register.
    if (!is_level(entry))
        entry &= ~IOAPIC_REDIR_REMOTE_IRR;
    io->redir[pin] = entry;
    update_route(io, pin);
    if (is_level(entry) && (io->line & ~io->delayed & 1u << pin) != 0)
        service(io, pin); // Unmasked with its line high.
}

static void write_window(struct vmm_ioapic *io, u32 value)
{
    if (io->select == IOAPIC_ID)
        io->id = value & IOAPIC_ID_MASK;
    else if (io->select >= IOAPIC_REDIR0 && io->select < IOAPIC_REDIR0 + 2 * IOAPIC_PINS)
        write_redir(io, (io->select - IOAPIC_REDIR0) / 2, (io->select & 1) != 0, value);
}

static u32 read_window(const struct vmm_ioapic *io)
{
    switch (io->select) {
    case IOAPIC_VER:
        return (IOAPIC_PINS - 1) << IOAPIC_VER_MAX_SHIFT | IOAPIC_VERSION_ID;
    case IOAPIC_ID:
    case IOAPIC_ARB:
        return io->id;
    default:
        if (io->select < IOAPIC_REDIR0 || io->select >= IOAPIC_REDIR0 + 2 * IOAPIC_PINS)
            return 0;
        return (u32)(io->redir[(io->select - IOAPIC_REDIR0) / 2] >> (io->select & 1 ? 32 : 0));
    }
}

bool vmm_ioapic_mmio(struct vmm_ioapic *io, u64 gpa, bool write, u8 *data, u32 size)
{
    u32 offset = (u32)(gpa - IOAPIC_DEFAULT_BASE) & ~0xfu, value = 0;

    if (gpa - IOAPIC_DEFAULT_BASE >= WINDOW_BYTES)
        return false;
    vmm_lock(&io->lock);
    if (write) {
        memcpy(&value, data, size < 4 ? size : 4);
        if (offset == IOAPIC_MMIO_IOREGSEL)
            io->select = value & 0xff;
        else if (offset == IOAPIC_MMIO_IOWIN)
            write_window(io, value);
        else if (offset == IOAPIC_MMIO_EOI)
            end_vector(io, (u8)value);
    } else {
        if (offset == IOAPIC_MMIO_IOREGSEL)
            value = io->select;
        else if (offset == IOAPIC_MMIO_IOWIN)
            value = read_window(io);
        memset(data, 0, size);
        memcpy(data, &value, size < 4 ? size : 4);
    }
    vmm_unlock(&io->lock);
    return true;
}

// --- Life.

static u64 routing_bytes(void)
{
    return sizeof(struct hv_irq_routing) + IOAPIC_PINS * sizeof(struct hv_irq_routing_entry);
}

u64 vmm_ioapic_heap_bytes(void)
{
    return sizeof(struct vmm_ioapic) + routing_bytes() + 128; // Each may lose 63 bytes to alignment.
}

static u64 knob_value(enum knob which)
{
    return (u64)hv_syscall(HV_SYS_KNOB, which, 0, 0, 0);
}

struct vmm_ioapic *vmm_ioapic_create(struct vmm_vm *vm)
{
    struct vmm_ioapic *io = vmm_alloc(vm->vmm, sizeof *io);

    io->vm = vm;
    io->routing = vmm_alloc(vm->vmm, routing_bytes());
    io->routing->nr = IOAPIC_PINS;
    for (u32 pin = 0; pin < IOAPIC_PINS; pin++) {
        io->redir[pin] = IOAPIC_REDIR_MASKED;
        io->routing->entries[pin] = route_of(pin, io->redir[pin]);
    }
    set_routes(io);
    if (knob_value(KNOB_IRQ_STORM_GUARD) == IRQ_STORM_GUARD_IOAPIC_DELAY)
        io->storm_count = knob_value(KNOB_IRQ_STORM_COUNT);
    io->storm_delay_ns = knob_value(KNOB_IRQ_STORM_DELAY_US) * 1000;
    return io;
}

s64 vmm_ioapic_start(struct vmm_ioapic *io, u32 cpu)
{
    // More urgent than a vCPU on the same processor: a delay ends when it is over, not at the next tick.
    return hv_thread_create(timer_thread, io, cpu, HV_PRIO_NORMAL + 1);
}

void vmm_ioapic_save(struct vmm_ioapic *io, struct vmm_ioapic_state *to)
{
    vmm_lock(&io->lock);
    *to = (struct vmm_ioapic_state){
        .select = io->select, .id = io->id, .line = io->line, .delayed = io->delayed};
    memcpy(to->redir, io->redir, sizeof to->redir);
    memcpy(to->eoi_count, io->eoi_count, sizeof to->eoi_count);
    vmm_unlock(&io->lock);
}

void vmm_ioapic_load(struct vmm_ioapic *io, const struct vmm_ioapic_state *from)
{
    vmm_lock(&io->lock);
    io->select = from->select;
    io->id = from->id;
    io->line = from->line;
    memcpy(io->redir, from->redir, sizeof io->redir);
    memcpy(io->eoi_count, from->eoi_count, sizeof io->eoi_count);
    for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
        io->routing->entries[pin] = route_of(pin, io->redir[pin]);
    set_routes(io);
    // A delay that was under way begins anew.
    io->delayed = 0;
    for (u32 pin = 0; pin < IOAPIC_PINS; pin++)
        if ((from->delayed >> pin) & 1)
            delay(io, pin);
    vmm_unlock(&io->lock);
}
