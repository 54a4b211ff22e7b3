// SPDX-License-Identifier: Apache-2.0
// The 16550 (PC16550D data sheet) against a core of a few lines.
#include "hv/vmm/tests/pc_fixture.h"
#include "spec/console_input.h"
#include "spec/uart_bits.h"

static void out_uart(u32 reg, u8 value)
{
    out((u16)(UART_PORT + reg), value, 1);
}
static u8 in_uart(u32 reg)
{
    return (u8)in((u16)(UART_PORT + reg), 1);
}

// PC16550D 8.4: both empty bits are set at once.
TEST(Uart, WhatIsSentComesOutInOrder)
{
    make();
    for (const char *p = "hi\n"; *p; p++) {
        EXPECT_EQ(in_uart(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
        out_uart(UART_DATA, (u8)*p);
    }
    EXPECT_STREQ(core.console, "hi\n");
    EXPECT_EQ(core.console_vm, 5);
    EXPECT_EQ(core.line_changes, 0);
}

// PC16550D 8.3: the divisor's registers take the place of two others and send nothing.
TEST(Uart, DivisorLatchHidesDataAndInterruptEnable)
{
    make();
    out_uart(UART_IER, 0x0f);
    out_uart(UART_LCR, UART_LCR_DLAB | 3);
    out_uart(UART_DATA, 0x01);
    out_uart(UART_IER, 0xc2);
    EXPECT_EQ(in_uart(UART_DATA), 0x01);
    EXPECT_EQ(in_uart(UART_IER), 0xc2);
    out_uart(UART_LCR, 3);
    EXPECT_EQ(in_uart(UART_IER), 0x0f);
    EXPECT_EQ(core.console_length, 0);
}

// PC16550D 8.6, table 8-6: enabling raises it while the register is empty; reading IIR or sending ends it.
TEST(Uart, TransmitterInterruptIsIdentifiedOnce)
{
    make();
    out_uart(UART_MCR, UART_MCR_OUT2);
    out_uart(UART_IER, UART_IER_THRE);
    EXPECT_EQ(core.line[UART_GSI], 1);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_THRE);
    EXPECT_EQ(core.line[UART_GSI], 0);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_NONE);
    out_uart(UART_DATA, 'x');
    EXPECT_EQ(core.line[UART_GSI], 1);
    out_uart(UART_IER, 0);
    EXPECT_EQ(core.line[UART_GSI], 0);
}

TEST(Uart, InterruptLeavesTheBoardOnlyWithOut2)
{
    make();
    out_uart(UART_IER, UART_IER_THRE);
    EXPECT_EQ(core.line[UART_GSI], 0);
    out_uart(UART_MCR, UART_MCR_OUT2);
    EXPECT_EQ(core.line[UART_GSI], 1);
}

// PC16550D 8.7: what is sent is received, the outputs are the inputs.
TEST(Uart, LoopbackReceivesWhatItSends)
{
    make();
    out_uart(UART_IIR, UART_FCR_ENABLE | 3 << UART_FCR_TRIGGER_SHIFT);
    out_uart(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
    EXPECT_EQ(in_uart(UART_MSR) & 0xf0, UART_MSR_CTS | UART_MSR_DCD);
    out_uart(UART_IER, UART_IER_RDA);
    for (u8 i = 0; i < 14; i++) {
        EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_NONE);
        out_uart(UART_DATA, i);
    }
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_RDA);
    for (u8 i = 0; i < 14; i++) {
        EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, UART_LSR_DR);
        EXPECT_EQ(in_uart(UART_DATA), i);
    }
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
    EXPECT_EQ(core.console_length, 0);
    EXPECT_EQ(core.line[UART_GSI], 0);
}

// PC16550D 8.4: the seventeenth byte is lost, and LSR says so once.
TEST(Uart, AFullFifoOverruns)
{
    make();
    out_uart(UART_IIR, UART_FCR_ENABLE);
    out_uart(UART_MCR, UART_MCR_LOOP);
    for (u8 i = 0; i < 17; i++)
        out_uart(UART_DATA, i);
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_OE, UART_LSR_OE);
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_OE, 0);
    EXPECT_EQ(in_uart(UART_DATA), 0);
    out_uart(UART_IIR, UART_FCR_ENABLE | UART_FCR_CLEAR_RX);
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
}

TEST(Uart, WithoutFifoTheLastByteStays)
{
    make();
    out_uart(UART_MCR, UART_MCR_LOOP);
    out_uart(UART_DATA, 1);
    out_uart(UART_DATA, 2);
    EXPECT_EQ(in_uart(UART_LSR) & (UART_LSR_OE | UART_LSR_DR), UART_LSR_OE | UART_LSR_DR);
    EXPECT_EQ(in_uart(UART_DATA), 2);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_NONE);
}

// Each change since the last read, RI's only when it falls.
TEST(Uart, ModemStatusTellsWhatChanged)
{
    make();
    out_uart(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
    (void)in_uart(UART_MSR);
    EXPECT_EQ(in_uart(UART_MSR), UART_MSR_RI);
    out_uart(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
    EXPECT_EQ(in_uart(UART_MSR), UART_MSR_DSR | UART_MSR_TERI | 0x02);
    EXPECT_EQ(in_uart(UART_MSR), UART_MSR_DSR);
}

TEST(Uart, ScratchKeepsWhatIsWritten)
{
    make();
    out_uart(UART_SCR, 0x5a);
    EXPECT_EQ(in_uart(UART_SCR), 0x5a);
}

// --- Reception. Half a bit at 115200 baud takes eight ticks of the crystal.

#define CHARACTER 86806u // ns of ten bits, rounded up.
#define READY (UART_MCR_OUT2 | UART_MCR_RTS | UART_MCR_DTR)

// A guest that has set the line to 115200 baud, eight bits, no parity, one stop bit.
static void make_line(const u32 *words, u32 count, u8 fcr, u8 ier)
{
    make_typed(words, count);
    out_uart(UART_LCR, UART_LCR_DLAB | 3);
    out_uart(UART_DATA, 1);
    out_uart(UART_IER, 0);
    out_uart(UART_LCR, 3);
    out_uart(UART_IIR, fcr);
    out_uart(UART_IER, ier);
    out_uart(UART_MCR, READY);
}
static u32 key(u8 byte)
{
    return console_input_word(byte, 0, 0);
}

// PC16550D 8.1: a character is start bit, 5 to 8 data bits, parity bit, 1, 1.5 or 2 stop bits, each
// divisor * 16 ticks long.
TEST(UartInput, ACharacterTakesAsLongAsTheLineIsSlow)
{
    static const struct {
        u8 lcr, divisor;
        u32 ticks;
    } rows[] = {
        {3, 1, 160},
        {3, 12, 1920},
        {0, 1, 112},
        {UART_LCR_STOP, 1, 120},
        {UART_LCR_STOP | 3, 1, 176},
        {UART_LCR_PARITY | 2, 2, 320},
        {3, 0, 160},
    };

    for (u32 i = 0; i < sizeof rows / sizeof *rows; i++) {
        const u32 words[] = {key('x')};
        u64 ns = vmm_pc_ns(rows[i].ticks, UART_CLOCK_HZ);

        test_row("LCR %#x, divisor %u", rows[i].lcr, rows[i].divisor);
        make_typed(words, 1);
        out_uart(UART_LCR, UART_LCR_DLAB | rows[i].lcr);
        out_uart(UART_DATA, rows[i].divisor);
        out_uart(UART_LCR, rows[i].lcr);
        out_uart(UART_MCR, READY);
        pass_until(ns - 1);
        EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
        pass_until(ns);
        EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, UART_LSR_DR);
        EXPECT_EQ(in_uart(UART_DATA), 'x');
        EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
    }
}

// Also if the device's thread comes late: who asks is told.
TEST(UartInput, APollSeesWhatIsDueAtOnce)
{
    const u32 words[] = {key('a'), key('b')};

    make_line(words, 2, UART_FCR_ENABLE, 0);
    core.now_ns = 2 * CHARACTER - 1;
    EXPECT_EQ(in_uart(UART_DATA), 'a');
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
    core.now_ns = 2 * CHARACTER;
    EXPECT_EQ(in_uart(UART_DATA), 'b');
    EXPECT_EQ(core.inputs, 2);
    EXPECT_EQ(core.lost, 0);
}

// Without FIFO each character interrupts, until it is read.
TEST(UartInput, EachCharacterInterrupts)
{
    const u32 words[] = {key('a'), key('b')};

    make_line(words, 2, 0, UART_IER_RDA);
    for (u32 i = 1; i <= 2; i++) {
        pass_until(i * CHARACTER - 1);
        EXPECT_EQ(core.line[UART_GSI], 0);
        EXPECT_EQ(in_uart(UART_IIR), UART_IIR_NONE);
        pass_until(i * CHARACTER);
        EXPECT_EQ(core.line[UART_GSI], 1);
        EXPECT_EQ(in_uart(UART_IIR), UART_IIR_RDA);
        EXPECT_EQ(in_uart(UART_DATA), 'a' + i - 1);
        EXPECT_EQ(core.line[UART_GSI], 0);
    }
    EXPECT_EQ(core.raised[UART_GSI], 2);
}

// PC16550D 8.6.1: data available from the trigger level on and until below it.
TEST(UartInput, TheFifoInterruptsAtItsTriggerLevel)
{
    static const u8 levels[] = {1, 4, 8, 14};
    u32 words[16];

    for (u32 i = 0; i < 16; i++)
        words[i] = key((u8)('A' + i));
    for (u8 level = 0; level < 4; level++) {
        test_row("level %u", levels[level]);
        make_line(words, levels[level], (u8)(UART_FCR_ENABLE | level << UART_FCR_TRIGGER_SHIFT),
                  UART_IER_RDA);
        pass_until((u64)levels[level] * CHARACTER - 1);
        EXPECT_EQ(core.line[UART_GSI], 0);
        pass_until((u64)levels[level] * CHARACTER);
        EXPECT_EQ(core.line[UART_GSI], 1);
        EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_RDA);
        EXPECT_EQ(in_uart(UART_DATA), 'A');
        EXPECT_EQ(core.line[UART_GSI], 0);
        EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_NONE);
    }
}

// PC16550D 8.6.1: four characters' time after the last one came or was read; reading one ends it.
TEST(UartInput, WhatLiesInTheFifoTimesOut)
{
    const u32 words[] = {key('a'), key('b'), key('c')};
    const u64 received = 3 * CHARACTER, read_at = received + 5 * CHARACTER;

    make_line(words, 3, UART_FCR_ENABLE | 3 << UART_FCR_TRIGGER_SHIFT, UART_IER_RDA);
    pass_until(received + 4 * CHARACTER - 1);
    EXPECT_EQ(core.line[UART_GSI], 0);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_NONE);
    pass_until(received + 4 * CHARACTER);
    EXPECT_EQ(core.line[UART_GSI], 1);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_TIMEOUT);
    pass_until(read_at);
    EXPECT_EQ(in_uart(UART_DATA), 'a');
    EXPECT_EQ(core.line[UART_GSI], 0);
    pass_until(read_at + 4 * CHARACTER - 1);
    EXPECT_EQ(core.line[UART_GSI], 0);
    pass_until(read_at + 4 * CHARACTER);
    EXPECT_EQ(core.line[UART_GSI], 1);
    EXPECT_EQ(in_uart(UART_DATA), 'b');
    EXPECT_EQ(in_uart(UART_DATA), 'c');
    pass_until(read_at + 100 * CHARACTER);
    EXPECT_EQ(core.line[UART_GSI], 0);
    EXPECT_EQ(core.raised[UART_GSI], 2);
}

// Time alone makes it, whether its interrupt was enabled then or is now.
TEST(UartInput, ATimeoutWaitsForItsInterruptToBeEnabled)
{
    const u32 words[] = {key('a')};

    make_line(words, 1, UART_FCR_ENABLE | 3 << UART_FCR_TRIGGER_SHIFT, 0);
    pass_until(20 * CHARACTER);
    EXPECT_EQ(core.line[UART_GSI], 0);
    out_uart(UART_IER, UART_IER_RDA);
    EXPECT_EQ(core.line[UART_GSI], 1);
    out_uart(UART_IIR, UART_FCR_ENABLE | UART_FCR_CLEAR_RX);
    EXPECT_EQ(core.line[UART_GSI], 0);
}

// PC16550D 8.4: the FIFO keeps what it has, the seventeenth is lost; the error is the most urgent interrupt.
TEST(UartInput, AFullReceiverLosesWhatComes)
{
    u32 words[18];

    for (u32 i = 0; i < 18; i++)
        words[i] = key((u8)('A' + i));
    make_line(words, 18, UART_FCR_ENABLE, UART_IER_RDA | UART_IER_RLS);
    pass_until(16 * CHARACTER);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_RDA);
    pass_until(18 * CHARACTER);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_RLS);
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_OE, UART_LSR_OE);
    EXPECT_EQ(in_uart(UART_IIR), UART_IIR_FIFO | UART_IIR_RDA);
    for (u8 i = 0; i < 16; i++)
        EXPECT_EQ(in_uart(UART_DATA), 'A' + i);
    EXPECT_EQ(in_uart(UART_LSR) & (UART_LSR_DR | UART_LSR_OE), 0);
    EXPECT_EQ(core.lost, 2);
}

// The terminal's handshake: no character begins without RTS, one that has begun ends; loopback takes it away.
TEST(UartInput, TheTerminalHeedsRts)
{
    const u32 words[] = {console_input_word('a', 0, 1), key('b')};

    make_line(words, 2, UART_FCR_ENABLE, 0);
    out_uart(UART_MCR, UART_MCR_OUT2);
    pass_until(50 * CHARACTER);
    EXPECT_EQ(core.inputs, 0);
    out_uart(UART_MCR, READY | UART_MCR_LOOP);
    pass_until(60 * CHARACTER);
    EXPECT_EQ(core.inputs, 0);
    out_uart(UART_MCR, READY);
    pass_until(61 * CHARACTER - 1);
    EXPECT_EQ(core.inputs, 0);
    out_uart(UART_MCR, 0);
    pass_until(70 * CHARACTER);
    EXPECT_EQ(core.inputs, 1);
    EXPECT_EQ(in_uart(UART_DATA), 'a');
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
}

// PC16550D 8.6.7: the receiver's pin is disconnected.
TEST(UartInput, LoopbackCutsTheLine)
{
    const u32 words[] = {key('a'), key('b')};

    make_line(words, 2, UART_FCR_ENABLE, 0);
    pass_until(CHARACTER / 2);
    out_uart(UART_MCR, READY | UART_MCR_LOOP);
    pass_until(5 * CHARACTER);
    EXPECT_EQ(in_uart(UART_LSR) & UART_LSR_DR, 0);
    EXPECT_EQ(core.inputs, 1);
    EXPECT_EQ(core.lost, 1);
}

// After what the guest shows, if the terminal waits for that; characters' times and milliseconds.
TEST(UartInput, PausesBeginWithTheLastByteShown)
{
    const u32 words[] = {console_input_word('a', 0, 2)};

    make_line(words, 1, UART_FCR_ENABLE, 0);
    pass_until(2000000 + CHARACTER - 1);
    EXPECT_EQ(core.inputs, 0);
    pass_until(2000000 + CHARACTER);
    EXPECT_EQ(core.inputs, 1);
    pass_until(5 * VMM_PC_SECOND);
    core.typed[1] = console_input_word('b', 10, 0); // The terminal has seen enough with the next byte.
    core.typed[2] = console_input_word('c', 3, 0);
    out_uart(UART_DATA, '$');
    pass_until(5 * VMM_PC_SECOND + 11 * CHARACTER - 1);
    EXPECT_EQ(core.inputs, 1);
    pass_until(5 * VMM_PC_SECOND + 11 * CHARACTER);
    EXPECT_EQ(core.inputs, 2);
    pass_until(5 * VMM_PC_SECOND + 15 * CHARACTER);
    EXPECT_EQ(core.inputs, 3);
}

// Who has nobody to type has no clock to read either.
TEST(UartInput, WithoutATerminalNothingIsAsked)
{
    make();
    core.typed[0] = key('a');
    out_uart(UART_MCR, READY);
    out_uart(UART_DATA, 'x');
    pass_until(VMM_PC_SECOND);
    EXPECT_EQ(core.typed_next, 0);
    EXPECT_EQ(core.wakes, 0);
}
