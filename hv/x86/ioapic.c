// SPDX-License-Identifier: Apache-2.0
// The virtual I/O APIC (82093AA data sheet 3.0, SDM 10.8.5).
#include "hv/x86/ioapic.h"

#include "hv/lib/bitmap.h"
#include "hv/lib/string.h"
#include "hv/x86/irqchip_state.h"
#include "hv/x86/lapic_state.h"

static bool is_level(u64 entry)
{
    return (entry & IOAPIC_REDIR_LEVEL) != 0;
}
static u8 vector_of(u64 entry)
{
    return (u8)(entry & IOAPIC_REDIR_VECTOR_MASK);
}
static struct apic_interrupt interrupt_of(u64 entry)
{
    return (struct apic_interrupt){.dest = (u32)(entry >> IOAPIC_REDIR_DEST_SHIFT),
                                   .vector = vector_of(entry),
                                   .mode = (u8)((entry & IOAPIC_REDIR_MODE_MASK) >> IOAPIC_REDIR_MODE_SHIFT),
                                   .logical = (entry & IOAPIC_REDIR_LOGICAL) != 0,
                                   .level = is_level(entry),
                                   .assert = true};
}

// Sends the interrupt of `pin`; lock held. As ioapic_set_irq().
static int service(struct ioapic *io, unsigned pin)
{
    u64 entry = io->redir[pin];

    if ((entry & IOAPIC_REDIR_MASKED) != 0 || (is_level(entry) && (entry & IOAPIC_REDIR_REMOTE_IRR) != 0))
        return -1;
    struct apic_interrupt irq = interrupt_of(entry);
    int count = apic_deliver(io->vm, NULL, &irq);
    // Accepted by somebody, who owes an EOI (82093AA 3.2.4, bit 14).
    if (count > 0 && is_level(entry))
        io->redir[pin] |= IOAPIC_REDIR_REMOTE_IRR;
    return count;
}

int ioapic_set_irq(struct ioapic *io, unsigned pin, unsigned source_id, unsigned level)
{
    int result = 1;

    if (pin >= IOAPIC_PINS)
        return -1;
    bool flags = spin_lock_irqsave(&io->lock);
    u32 bit = 1u << pin, before = io->line;
    if (level)
        io->sources[pin] |= 1ull << (source_id & 63);
    else
        io->sources[pin] &= ~(1ull << (source_id & 63));
    // The API's level is "asserted": polarity describes the wire, and a guest that programs active low
    // expects just that of an asserted line.
    if (io->sources[pin] != 0)
        io->line |= bit;
    else
        io->line &= ~bit;
    if (io->line & bit) {
        u64 entry = io->redir[pin];
        bool coalesced = is_level(entry) ? (entry & IOAPIC_REDIR_REMOTE_IRR) != 0 || (io->delayed & bit) != 0
                                         : (before & bit) != 0;
        result = coalesced ? 0 : service(io, pin);
    }
    hw_trace(TP_KVM_IOAPIC_SET_IRQ, pin, level, result == 0, 0, 0, 0);
    spin_unlock_irqrestore(&io->lock, flags);
    return result;
}

// --- End of interrupt and the storm guard.

static bool delayed_delivery(struct hrtimer *t)
{
    struct ioapic *io = container_of(t, struct ioapic, delay_timer);

    raw_spin_lock(&io->lock);
    for (u32 pins = io->delayed; pins != 0; pins &= pins - 1) {
        unsigned pin = ffs64(pins);
        if (is_level(io->redir[pin]) && (io->line & (1u << pin)) != 0)
            service(io, pin);
    }
    io->delayed = 0;
    raw_spin_unlock(&io->lock);
    return false;
}

static void delay(struct ioapic *io, unsigned pin)
{
    const struct host *host = io->vm->host;

    io->eoi_count[pin] = 0;
    hw_trace(TP_KVM_IOAPIC_DELAYED_EOI_INJ, pin, 0, 0, 0, 0, 0);
    hw_trace_count("storm_delays", 1);
    io->delay_counts++;
    // A pin that joins a delay under way is served with it.
    if (io->delayed == 0)
        hrtimer_start(&io->delay_timer,
                      hw_rdtsc() + ns_to_tsc(host, knob(&host->knobs, KNOB_IRQ_STORM_DELAY_US) * 1000));
    io->delayed |= 1u << pin;
}

// Pin's level interrupt was ended: is the line still high? Lock held.
static void redeliver(struct ioapic *io, unsigned pin)
{
    const struct knobs *k = &io->vm->host->knobs;

    if ((io->redir[pin] & IOAPIC_REDIR_MASKED) != 0 || (io->line & (1u << pin)) == 0) {
        io->eoi_count[pin] = 0;
        return;
    }
    if (knob(k, KNOB_IRQ_STORM_GUARD) == IRQ_STORM_GUARD_IOAPIC_DELAY &&
        ++io->eoi_count[pin] >= knob(k, KNOB_IRQ_STORM_COUNT)) {
        delay(io, pin);
        return;
    }
    service(io, pin);
}

void ioapic_eoi(struct ioapic *io, u8 vector, bool level)
{
    u32 pins = 0;
    bool flags = spin_lock_irqsave(&io->lock);

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if (vector_of(io->redir[pin]) == vector)
            pins |= 1u << pin;
    spin_unlock_irqrestore(&io->lock, flags);

    // Notifiers first, without the lock: one may lower the line (resampling), and then nothing is delivered
    // again.
    for (u32 left = pins; left != 0; left &= left - 1) {
        hw_trace(TP_KVM_ACK_IRQ, 2, ffs64(left), 0, 0, 0, 0);
        notify_acked_irq(io->vm, 2, ffs64(left));
    }
    if (!level)
        return;
    flags = spin_lock_irqsave(&io->lock);
    for (u32 left = pins; left != 0; left &= left - 1) {
        unsigned pin = ffs64(left);
        if (!is_level(io->redir[pin]) || (io->redir[pin] & IOAPIC_REDIR_REMOTE_IRR) == 0)
            continue;
        io->redir[pin] &= ~IOAPIC_REDIR_REMOTE_IRR;
        redeliver(io, pin);
    }
    spin_unlock_irqrestore(&io->lock, flags);
}

// --- Registers.

// Half `high` of redirection entry `pin`. Lock held.
static void write_redir(struct ioapic *io, unsigned pin, bool high, u32 value)
{
    u64 old = io->redir[pin], entry;

    if (high)
        entry = (old & 0xffffffff) | (u64)value << 32;
    else
        entry = (old & ~0xffffffffull) | value;
    entry = (entry & IOAPIC_REDIR_DEFINED & ~IOAPIC_REDIR_READ_ONLY) | (old & IOAPIC_REDIR_READ_ONLY);
    // Remote IRR belongs to level mode; software clears it by way of edge mode where there is no EOI
    // register.
    if (!is_level(entry))
        entry &= ~IOAPIC_REDIR_REMOTE_IRR;
    io->redir[pin] = entry;
    if (is_level(entry) && (entry & IOAPIC_REDIR_MASKED) == 0 && (io->line & (1u << pin)) != 0 &&
        (io->delayed & (1u << pin)) == 0)
        service(io, pin); // Unmasked with its line high.
}

static void write_window(struct ioapic *io, u32 value)
{
    if (io->select == IOAPIC_ID)
        io->id = value & IOAPIC_ID_MASK;
    else if (io->select >= IOAPIC_REDIR0 && io->select < IOAPIC_REDIR0 + 2 * IOAPIC_PINS)
        write_redir(io, (io->select - IOAPIC_REDIR0) / 2, (io->select & 1) != 0, value);
}

static u32 read_window(const struct ioapic *io)
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

static void write_register(struct ioapic *io, u32 offset, u32 value)
{
    if (offset == IOAPIC_MMIO_EOI) {
        ioapic_eoi(io, (u8)value, true);
        return;
    }
    bool flags = spin_lock_irqsave(&io->lock);
    if (offset == IOAPIC_MMIO_IOREGSEL)
        io->select = value & 0xff;
    else if (offset == IOAPIC_MMIO_IOWIN)
        write_window(io, value);
    spin_unlock_irqrestore(&io->lock, flags);
    if (offset == IOAPIC_MMIO_IOWIN)
        make_all_cpus_request(io->vm, REQ_SCAN_IOAPIC);
}

bool ioapic_mmio(struct ioapic *io, u64 gpa, bool write, void *data, unsigned len)
{
    u32 offset = (u32)(gpa - IOAPIC_DEFAULT_BASE), value = 0;

    if (gpa - IOAPIC_DEFAULT_BASE >= 0x100)
        return false;
    if (write) {
        memcpy(&value, data, len < 4 ? len : 4);
        write_register(io, offset & ~0xfu, value);
        return true;
    }
    bool flags = spin_lock_irqsave(&io->lock);
    if ((offset & ~0xfu) == IOAPIC_MMIO_IOREGSEL)
        value = io->select;
    else if ((offset & ~0xfu) == IOAPIC_MMIO_IOWIN)
        value = read_window(io);
    spin_unlock_irqrestore(&io->lock, flags);
    memset(data, 0, len);
    memcpy(data, &value, len < 4 ? len : 4);
    return true;
}

void ioapic_scan_into(struct ioapic *io, struct x86_vcpu *v, u64 *map)
{
    bool flags = spin_lock_irqsave(&io->lock);

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        u64 entry = io->redir[pin];
        struct apic_interrupt irq = interrupt_of(entry);
        if (!is_level(entry) && !irq_has_notifier(io->vm, 2, pin))
            continue;
        // Also what is in service here although the entry points elsewhere by now: its EOI is still owed.
        if (lapic_matches(v->apic, &irq) || lapic_test_vector(v->apic, APIC_ISR0, irq.vector) ||
            lapic_test_vector(v->apic, APIC_IRR0, irq.vector))
            bitmap_set(map, irq.vector);
    }
    spin_unlock_irqrestore(&io->lock, flags);
}

// --- Life and state.

void ioapic_reset(struct ioapic *io)
{
    hrtimer_cancel(&io->delay_timer);
    bool flags = spin_lock_irqsave(&io->lock);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        io->redir[pin] = IOAPIC_REDIR_MASKED;
        io->sources[pin] = 0;
        io->eoi_count[pin] = 0;
    }
    io->select = 0;
    io->id = 0;
    io->line = 0;
    io->delayed = 0;
    spin_unlock_irqrestore(&io->lock, flags);
}

int ioapic_create(struct vm *vm)
{
    struct ioapic *io = kzalloc(vm->host, sizeof *io);

    if (io == NULL)
        return -ENOMEM;
    spin_lock_init(&io->lock, LOCK_RANK_IOAPIC);
    hrtimer_init(&io->delay_timer, delayed_delivery);
    io->vm = vm;
    ioapic_reset(io);
    to_x86_vm(vm)->ioapic = io;
    return 0;
}

void ioapic_destroy(struct vm *vm)
{
    struct x86_vm *x = to_x86_vm(vm);

    if (x->ioapic == NULL)
        return;
    hrtimer_cancel(&x->ioapic->delay_timer);
    kfree(vm->host, x->ioapic, sizeof *x->ioapic);
    x->ioapic = NULL;
}

void ioapic_get_state(struct ioapic *io, u8 *state)
{
    struct hv_ioapic_state s = {
        .base_address = IOAPIC_DEFAULT_BASE, .ioregsel = io->select, .id = io->id, .irr = io->line};

    bool flags = spin_lock_irqsave(&io->lock);
    memcpy(s.redirtbl, io->redir, sizeof s.redirtbl);
    spin_unlock_irqrestore(&io->lock, flags);
    memcpy(state, &s, sizeof s);
}

int ioapic_set_state(struct ioapic *io, const u8 *state)
{
    struct hv_ioapic_state s;

    memcpy(&s, state, sizeof s);
    if (s.base_address != IOAPIC_DEFAULT_BASE || (s.irr >> IOAPIC_PINS) != 0)
        return -EINVAL;
    bool flags = spin_lock_irqsave(&io->lock);
    io->select = s.ioregsel & 0xff;
    io->id = s.id & IOAPIC_ID_MASK;
    io->line = s.irr;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        io->redir[pin] = s.redirtbl[pin] & IOAPIC_REDIR_DEFINED;
        io->sources[pin] = (s.irr >> pin) & 1; // Whoever drove it is source 0 from now on.
        io->eoi_count[pin] = 0;
    }
    spin_unlock_irqrestore(&io->lock, flags);
    make_all_cpus_request(io->vm, REQ_SCAN_IOAPIC);
    return 0;
}
