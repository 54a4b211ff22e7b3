// SPDX-License-Identifier: Apache-2.0
// Registers of the 16550 UART (TI PC16550D data sheet, SNLS378C, section 8).
//
//   offset  read  write  with LCR.DLAB
//     0     RBR   THR    DLL
//     1     IER   IER    DLM
//     2     IIR   FCR
//     3     LCR   LCR
//     4     MCR   MCR
//     5     LSR
//     6     MSR
//     7     SCR   SCR
#ifndef SPEC_UART_BITS_H
#define SPEC_UART_BITS_H

#define UART_PORT 0x3f8u // COM1 of a PC.
#define UART_PORTS 8u
#define UART_GSI 4u
#define UART_FIFO_BYTES 16u
#define UART_CLOCK_HZ 1843200u     // The crystal; / 16 / divisor is the baud rate.
#define UART_TIMEOUT_CHARACTERS 4u // 8.6.1: how long a FIFO below its trigger level lies untouched.

#define UART_DATA 0u // RBR, THR, DLL
#define UART_IER 1u  // DLM
#define UART_IIR 2u  // FCR
#define UART_LCR 3u
#define UART_MCR 4u
#define UART_LSR 5u
#define UART_MSR 6u
#define UART_SCR 7u

#define UART_IER_RDA 0x01u
#define UART_IER_THRE 0x02u
#define UART_IER_RLS 0x04u
#define UART_IER_MSI 0x08u

#define UART_IIR_NONE 0x01u
#define UART_IIR_MSI 0x00u
#define UART_IIR_THRE 0x02u
#define UART_IIR_RDA 0x04u
#define UART_IIR_RLS 0x06u
#define UART_IIR_TIMEOUT 0x0cu
#define UART_IIR_FIFO 0xc0u

#define UART_FCR_ENABLE 0x01u
#define UART_FCR_CLEAR_RX 0x02u
#define UART_FCR_TRIGGER_SHIFT 6u

#define UART_LCR_WORD 0x03u // Data bits, less 5.
#define UART_LCR_STOP 0x04u // Two stop bits, with five data bits 1.5.
#define UART_LCR_PARITY 0x08u
#define UART_LCR_DLAB 0x80u

#define UART_MCR_DTR 0x01u
#define UART_MCR_RTS 0x02u
#define UART_MCR_OUT1 0x04u
#define UART_MCR_OUT2 0x08u
#define UART_MCR_LOOP 0x10u

#define UART_LSR_DR 0x01u
#define UART_LSR_OE 0x02u
#define UART_LSR_THRE 0x20u
#define UART_LSR_TEMT 0x40u

// The low four bits say that the line above them has changed (RI: has fallen).
#define UART_MSR_CTS 0x10u
#define UART_MSR_DSR 0x20u
#define UART_MSR_RI 0x40u
#define UART_MSR_DCD 0x80u
#define UART_MSR_DELTAS 0x0fu
#define UART_MSR_TERI 0x04u

#endif
