// SPDX-License-Identifier: Apache-2.0
// The 16550 serial port of a PC at COM1, with a terminal at the other end: the host's console (PC16550D,
// section 8).
//
// Sending takes no time: the holding register is empty again at once, whatever the divisor says. What is
// typed arrives as the line carries it, one character after the other, as long as they take by divisor and
// LCR. The terminal heeds MCR.RTS (of which its CTS is made): it begins no character while that is off, but
// does not know how full the FIFO is. With MCR.LOOP what is sent comes back at once, and the line is cut off.
// As on a PC's board, the interrupt leaves only with MCR.OUT2.
#include "hv/hw/trace.h"
#include "hv/vmm/pc.h"
#include "spec/console_input.h"
#include "spec/uart_bits.h"

enum typed { TYPED_NOTHING, TYPED_WAITS, TYPED_ON_LINE };

struct uart {
    u8 ier, fcr, lcr, mcr, scr, dll, dlm;
    u8 msr;          // Line states and what has changed since the last read.
    u8 overrun;      // LSR.OE
    u8 thre_pending; // The transmitter's interrupt: until IIR was read with it, or something is sent.
    u8 line;         // Level of the interrupt line.
    u8 count, first; // Of the receiver's FIFO.
    u8 timeout;      // What is in the FIFO lies there untouched for too long.
    u8 fifo[UART_FIFO_BYTES];
    u8 typed; // enum typed: the character that the terminal sends next,
    u8 character;
    u64 typed_ns;   // when it begins at the earliest, or, on the line, has been received.
    u64 touched_ns; // When the FIFO was last received into or read.
    u64 alarm_ns;   // When the device's thread looks again; 0: when told.
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

// Of the line as it is set. A divisor of zero, which the data sheet leaves open, counts as one.
static u64 character_ns(const struct uart *u)
{
    u32 divisor = (u32)u->dlm << 8 | u->dll, word = u->lcr & UART_LCR_WORD;
    u32 half_bits = 2 * (1 + 5 + word + 1); // Start, data, stop.

    half_bits += u->lcr & UART_LCR_PARITY ? 2 : 0;
    if (u->lcr & UART_LCR_STOP)
        half_bits += word ? 2 : 1;
    return vmm_pc_ns((u64)half_bits * 8 * (divisor ? divisor : 1), UART_CLOCK_HZ);
}

static u64 timeout_ns(const struct uart *u)
{
    return UART_TIMEOUT_CHARACTERS * character_ns(u);
}

// Only a FIFO knows of time.
static bool times_out(const struct uart *u)
{
    return (u->fcr & UART_FCR_ENABLE) && u->count && !u->timeout;
}

// Does the terminal see that it may send?
static bool ready(const struct uart *u)
{
    return (u->mcr & (UART_MCR_RTS | UART_MCR_LOOP)) == UART_MCR_RTS;
}

// Will anything happen without the guest doing anything?
static bool runs(const struct uart *u)
{
    return u->typed == TYPED_ON_LINE || (u->typed == TYPED_WAITS && ready(u)) || times_out(u);
}

// The most urgent reason for an interrupt (PC16550D, table 8-6).
static u8 identify(const struct uart *u)
{
    if ((u->ier & UART_IER_RLS) && u->overrun)
        return UART_IIR_RLS;
    if ((u->ier & UART_IER_RDA) && u->count >= trigger(u))
        return UART_IIR_RDA;
    if ((u->ier & UART_IER_RDA) && u->timeout)
        return UART_IIR_TIMEOUT;
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

// --- What arrives.

static void receive(struct uart *u, u8 byte, u64 now_ns)
{
    if (!u->timeout)
        u->touched_ns = now_ns;
    if (u->count == capacity(u)) {
        u->overrun = 1;
        if (capacity(u) == 1) // Without FIFO the new byte takes the old one's place.
            u->fifo[u->first] = byte;
        return;
    }
    u->fifo[(u->first + u->count++) % UART_FIFO_BYTES] = byte;
}

static void forget_received(struct uart *u)
{
    u->count = u->first = u->timeout = 0;
}

// Looks what is typed after `from_ns` (0: after now), if anything is.
static void look_for_typed(struct vmm_pc_device *d, u64 from_ns)
{
    struct uart *u = d->state;
    s64 result;
    u32 word;

    if (!(d->vm->config->flags & VMM_VM_INPUT) || u->typed != TYPED_NOTHING)
        return;
    result = hv_syscall(HV_SYS_CONSOLE_READ, d->vm->config->number, 0, 0, 0);
    word = (u32)result;
    if (result < 0 || word == CONSOLE_INPUT_NONE)
        return;
    u->typed = TYPED_WAITS;
    u->character = console_input_byte(word);
    u->typed_ns = from_ns ? from_ns : hv_clock_ns();
    u->typed_ns += console_input_pause_characters(word) * character_ns(u);
    u->typed_ns += (u64)console_input_pause_ms(word) * (VMM_PC_SECOND / 1000);
}

// The line's end of a character: nobody hears it in loopback.
static void receive_typed(struct vmm_pc_device *d)
{
    struct uart *u = d->state;
    bool lost = u->count == capacity(u) || (u->mcr & UART_MCR_LOOP);

    hw_trace(TP_GUEST_INPUT, d->vm->config->number, u->character, lost, 0, 0, 0);
    if (!(u->mcr & UART_MCR_LOOP))
        receive(u, u->character, u->typed_ns);
    u->typed = TYPED_NOTHING;
    look_for_typed(d, u->typed_ns);
}

static void advance(struct vmm_pc_device *d, u64 now_ns)
{
    struct uart *u = d->state;

    while (u->typed != TYPED_NOTHING && u->typed_ns <= now_ns)
        if (u->typed == TYPED_ON_LINE) {
            receive_typed(d);
        } else if (ready(u)) {
            u->typed = TYPED_ON_LINE;
            u->typed_ns += character_ns(u);
        } else {
            break;
        }
    if (times_out(u) && now_ns - u->touched_ns >= timeout_ns(u))
        u->timeout = 1;
}

// When advance() has something to do that the guest is to be told of; 0: never.
static u64 due_ns(const struct uart *u)
{
    u64 due = u->typed == TYPED_ON_LINE || (u->typed == TYPED_WAITS && ready(u)) ? u->typed_ns : 0;
    u64 timeout = u->touched_ns + timeout_ns(u);

    if (!times_out(u) || !(u->ier & UART_IER_RDA) || u->count >= trigger(u) || (due && due < timeout))
        return due;
    return timeout;
}

static u64 expire(struct vmm_pc_device *d, u64 now_ns)
{
    struct uart *u = d->state;

    advance(d, now_ns);
    update_line(d);
    u->alarm_ns = due_ns(u);
    return u->alarm_ns;
}

// After an access: the thread need not hear of a later time than it has.
static void settle(struct vmm_pc_device *d)
{
    struct uart *u = d->state;
    u64 due = due_ns(u);

    update_line(d);
    if (!due || (u->alarm_ns && u->alarm_ns <= due))
        return;
    u->alarm_ns = due;
    vmm_pc_changed(d);
}

static void reset(struct vmm_pc_device *d)
{
    struct uart *u = d->state;

    u->msr = modem_lines(u);
    look_for_typed(d, 0);
}

// --- Registers.

static void write_mcr(struct uart *u, u8 value)
{
    u8 old = u->msr, changed;
    bool was_ready = ready(u);

    u->mcr = value & 0x1f;
    if (u->typed == TYPED_WAITS && ready(u) && !was_ready) { // It begins now, if it would have before.
        u64 now_ns = hv_clock_ns();

        u->typed_ns = u->typed_ns > now_ns ? u->typed_ns : now_ns;
    }
    changed = (u8)((old ^ modem_lines(u)) >> 4);
    if (modem_lines(u) & UART_MSR_RI) // Its bit tells of the trailing edge only.
        changed &= (u8)~UART_MSR_TERI;
    u->msr = modem_lines(u) | (old & UART_MSR_DELTAS) | changed;
}

static void write_fcr(struct uart *u, u8 value)
{
    // Both FIFOs are empty after the enable bit changes.
    if (((u->fcr ^ value) & UART_FCR_ENABLE) || (value & UART_FCR_CLEAR_RX))
        forget_received(u);
    u->fcr = value & UART_FCR_ENABLE ? value : 0;
}

static void send(struct vmm_pc_device *d, u8 byte)
{
    struct uart *u = d->state;

    u->thre_pending = 1; // Sent by now.
    if (u->mcr & UART_MCR_LOOP) {
        receive(u, byte, hv_clock_ns());
        return;
    }
    hw_trace(TP_GUEST_CONSOLE, d->vm->config->number, byte, 0, 0, 0, 0);
    hv_syscall(HV_SYS_CONSOLE, d->vm->config->number, byte, 0, 0);
    look_for_typed(d, 0); // This may be what it waits for.
}

static u8 read_data(struct uart *u)
{
    u8 byte = u->fifo[u->first];

    if (u->count) {
        u->first = (u8)((u->first + 1) % UART_FIFO_BYTES);
        u->count--;
        u->timeout = 0;
        if (times_out(u))
            u->touched_ns = hv_clock_ns();
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

    if (runs(d->state))
        advance(d, hv_clock_ns());
    for (u32 i = 0; i < size; i++)
        value |= (u64)read_register(d->state, (u32)(address + i) % UART_PORTS) << 8 * i;
    settle(d);
    return value;
}

static void write(struct vmm_pc_device *d, u64 address, u32 size, u64 value)
{
    if (runs(d->state))
        advance(d, hv_clock_ns());
    for (u32 i = 0; i < size; i++)
        write_register(d, (u32)(address + i) % UART_PORTS, (u8)(value >> 8 * i));
    settle(d);
}

const struct vmm_pc_model vmm_pc_uart = {
    .name = "16550",
    .ranges = {{.kind = VMM_DEVICE_PORT, .base = UART_PORT, .size = UART_PORTS}},
    .state_bytes = sizeof(struct uart),
    .reset = reset,
    .read = read,
    .write = write,
    .expire = expire,
};
