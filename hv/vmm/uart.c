// SPDX-License-Identifier: Apache-2.0
// The 16550 serial port of a PC at COM1: what the guest sends goes to the host's console (PC16550D, section
// 8).
//
// Sending takes no time: the holding register is empty again at once, whatever the divisor says. Nothing
// arrives from outside; with MCR.LOOP what is sent comes back. A receiver below its trigger level reports the
// character timeout at once. As on a PC's board, the interrupt leaves only with MCR.OUT2.
#include "hv/hw/trace.h"
#include "hv/vmm/pc.h"
#include "spec/uart_bits.h"

struct uart {
    u8 ier, fcr, lcr, mcr, scr, dll, dlm;
    u8 msr;          // Line states and what has changed since the last read.
    u8 overrun;      // LSR.OE
    u8 thre_pending; // The transmitter's interrupt: until IIR was read with it, or something is sent.
    u8 line;         // Level of the interrupt line.
    u8 count, first; // Of the receiver's FIFO.
    u8 fifo[UART_FIFO_BYTES];
};

static u32 capacity(const struct uart *u)
{
    return u->fcr & UART_FCR_ENABLE ? UART_FIFO_BYTES : 1;
}

static u32 trigger(const struct uart *u)
{
    static const u8 levels[] = {1, 4, 8, 14};

    return u->fcr & UART_FCR_ENABLE ? levels[u->fcr >> UART_FCR_TRIGGER_SHIFT] : 1;
}

// The most urgent reason for an interrupt (PC16550D, table 8-6).
static u8 identify(const struct uart *u)
{
    if ((u->ier & UART_IER_RLS) && u->overrun)
        return UART_IIR_RLS;
    if ((u->ier & UART_IER_RDA) && u->count)
        return u->count >= trigger(u) ? UART_IIR_RDA : UART_IIR_TIMEOUT;
    if ((u->ier & UART_IER_THRE) && u->thre_pending)
        return UART_IIR_THRE;
    if ((u->ier & UART_IER_MSI) && (u->msr & UART_MSR_DELTAS))
        return UART_IIR_MSI;
    return UART_IIR_NONE;
}

static void update_line(struct vmm_pc_device *d)
{
    struct uart *u = d->state;
    u8 line = identify(u) != UART_IIR_NONE && (u->mcr & UART_MCR_OUT2);

    if (line != u->line)
        vmm_irq_line(d->vm, UART_GSI, line);
    u->line = line;
}

static u8 modem_lines(const struct uart *u)
{
    u8 lines = 0;

    if (!(u->mcr & UART_MCR_LOOP)) // A terminal is there and ready.
        return UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
    lines |= u->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0;
    lines |= u->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0;
    lines |= u->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0;
    lines |= u->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0;
    return lines;
}

static void reset(struct vmm_pc_device *d)
{
    struct uart *u = d->state;

    u->msr = modem_lines(u);
}

static void write_mcr(struct uart *u, u8 value)
{
    u8 old = u->msr, changed;

    u->mcr = value & 0x1f;
    changed = (u8)((old ^ modem_lines(u)) >> 4);
    if (modem_lines(u) & UART_MSR_RI) // Its bit tells of the trailing edge only.
        changed &= (u8)~UART_MSR_TERI;
    u->msr = modem_lines(u) | (old & UART_MSR_DELTAS) | changed;
}

static void write_fcr(struct uart *u, u8 value)
{
    // Both FIFOs are empty after the enable bit changes.
    if (((u->fcr ^ value) & UART_FCR_ENABLE) || (value & UART_FCR_CLEAR_RX))
        u->count = u->first = 0;
    u->fcr = value & UART_FCR_ENABLE ? value : 0;
}

static void receive(struct uart *u, u8 byte)
{
    if (u->count == capacity(u)) {
        u->overrun = 1;
        if (capacity(u) == 1) // Without FIFO the new byte takes the old one's place.
            u->fifo[u->first] = byte;
        return;
    }
    u->fifo[(u->first + u->count++) % UART_FIFO_BYTES] = byte;
}

static void send(struct vmm_pc_device *d, u8 byte)
{
    struct uart *u = d->state;

    u->thre_pending = 1; // Sent by now.
    if (u->mcr & UART_MCR_LOOP) {
        receive(u, byte);
        return;
    }
    hw_trace(TP_GUEST_CONSOLE, d->vm->config->number, byte, 0, 0, 0, 0);
    hv_syscall(HV_SYS_CONSOLE, d->vm->config->number, byte, 0, 0);
}

static u8 read_data(struct uart *u)
{
    u8 byte = u->fifo[u->first];

    if (u->count) {
        u->first = (u8)((u->first + 1) % UART_FIFO_BYTES);
        u->count--;
    }
    return byte;
}

static u8 read_iir(struct uart *u)
{
    u8 reason = identify(u);

    if (reason == UART_IIR_THRE)
        u->thre_pending = 0;
    return reason | (u->fcr & UART_FCR_ENABLE ? UART_IIR_FIFO : 0);
}

static u8 read_lsr(struct uart *u)
{
    u8 lsr = UART_LSR_THRE | UART_LSR_TEMT;

    lsr |= u->count ? UART_LSR_DR : 0;
    lsr |= u->overrun ? UART_LSR_OE : 0;
    u->overrun = 0;
    return lsr;
}

static u8 read_msr(struct uart *u)
{
    u8 msr = u->msr;

    u->msr &= (u8)~UART_MSR_DELTAS;
    return msr;
}

static u8 read_register(struct uart *u, u32 offset)
{
    bool dlab = (u->lcr & UART_LCR_DLAB) != 0;

    switch (offset) {
    case UART_DATA:
        return dlab ? u->dll : read_data(u);
    case UART_IER:
        return dlab ? u->dlm : u->ier;
    case UART_IIR:
        return read_iir(u);
    case UART_LCR:
        return u->lcr;
    case UART_MCR:
        return u->mcr;
    case UART_LSR:
        return read_lsr(u);
    case UART_MSR:
        return read_msr(u);
    default:
        return u->scr;
    }
}

static void write_ier(struct uart *u, u8 value)
{
    // Enabling the transmitter's interrupt while it is empty raises it.
    if ((value & ~u->ier) & UART_IER_THRE)
        u->thre_pending = 1;
    u->ier = value & 0x0f;
}

static void write_register(struct vmm_pc_device *d, u32 offset, u8 value)
{
    struct uart *u = d->state;
    bool dlab = (u->lcr & UART_LCR_DLAB) != 0;

    if (offset == UART_DATA && dlab)
        u->dll = value;
    else if (offset == UART_DATA)
        send(d, value);
    else if (offset == UART_IER && dlab)
        u->dlm = value;
    else if (offset == UART_IER)
        write_ier(u, value);
    else if (offset == UART_IIR)
        write_fcr(u, value);
    else if (offset == UART_LCR)
        u->lcr = value;
    else if (offset == UART_MCR)
        write_mcr(u, value);
    else if (offset == UART_SCR)
        u->scr = value;
}

// A wider access is one of each byte, as on an eight-bit bus.
static u64 read(struct vmm_pc_device *d, u64 address, u32 size)
{
    u64 value = 0;

    for (u32 i = 0; i < size; i++)
        value |= (u64)read_register(d->state, (u32)(address + i) % UART_PORTS) << 8 * i;
    update_line(d);
    return value;
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    for (u32 i = 0; i < size; i++)
        write_register(d, (u32)(address + i) % UART_PORTS, (u8)(value >> 8 * i));
    update_line(d);
}

const struct vmm_pc_model vmm_pc_uart = {
    .name = "16550",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = UART_PORT, .size = UART_PORTS}},
    .state_bytes = sizeof(struct uart),
    .reset = reset,
    .read = read,
    .write = write,
};
