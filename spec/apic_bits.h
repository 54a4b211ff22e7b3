// SPDX-License-Identifier: Apache-2.0
//
// Bit layouts of the local APIC, the I/O APIC and message-signaled interrupts (SDM chapter 10; 82093AA data
// sheet).

#ifndef SPEC_APIC_BITS_H
#define SPEC_APIC_BITS_H

enum apic_reg {
#define APIC_REG(offset, msr, name, xapic, x2apic, bits, reset, section) APIC_##name = offset,
#include "spec/apic_regs.def"
};

enum ioapic_reg {
#define IOAPIC_REG(index, name, access, reset, section) IOAPIC_##name = index,
#include "spec/ioapic_regs.def"
};

enum ioapic_mmio {
#define IOAPIC_MMIO(offset, name, access, section) IOAPIC_MMIO_##name = offset,
#include "spec/ioapic_regs.def"
};

#define APIC_DEFAULT_BASE 0xfee00000ull
#define IOAPIC_DEFAULT_BASE 0xfec00000ull
#define IOAPIC_PINS 24u

// Delivery modes (SDM 10.5.1, 10.6.1, 10.11.2; 82093AA 3.2.4). Not every register takes every mode.
enum apic_delivery_mode {
    APIC_DM_FIXED = 0,
    APIC_DM_LOWEST = 1,
    APIC_DM_SMI = 2,
    APIC_DM_RESERVED = 3,
    APIC_DM_NMI = 4,
    APIC_DM_INIT = 5,
    APIC_DM_STARTUP = 6, // ICR only.
    APIC_DM_EXTINT = 7,  // LVT LINT0/1 and I/O APIC only.
};

// Interrupt command register (SDM 10.6.1, figure 10-12; x2APIC 10.12.9, figure 10-28).
//
//  63          56 55                 32 31  20 19 18 17 16 15 14 13 12  11  10  8 7       0
// +--------------+---------------------+------+-----+-----+--+--+--+--+---+------+---------+
// | xAPIC dest.  |          0          |  0   | SH  |  0  |TM|LV| 0|DS|DM | mode | vector  |
// +--------------+---------------------+------+-----+-----+--+--+--+--+---+------+---------+
// x2APIC: 63:32 destination, DS does not exist. SH: 0 none, 1 self, 2 all, 3 all but self. LV 1 assert. TM 1
// level.
#define APIC_ICR_VECTOR_MASK 0xffull
#define APIC_ICR_MODE_SHIFT 8
#define APIC_ICR_MODE_MASK (7ull << 8)
#define APIC_ICR_LOGICAL (1ull << 11)
#define APIC_ICR_PENDING (1ull << 12) // DS: delivery status, read-only.
#define APIC_ICR_ASSERT (1ull << 14)
#define APIC_ICR_LEVEL (1ull << 15)
#define APIC_ICR_SHORTHAND_SHIFT 18
#define APIC_ICR_SHORTHAND_MASK (3ull << 18)
#define APIC_ICR_SELF (1ull << 18)
#define APIC_ICR_ALL (2ull << 18)
#define APIC_ICR_OTHERS (3ull << 18)
#define APIC_ICR_XAPIC_DEST_SHIFT 56
#define APIC_ICR_X2APIC_DEST_SHIFT 32
#define APIC_ICR_RESERVED_LOW 0xfff32000ull // Bits 31:20, 17:16, 13.

// Local vector table (SDM 10.5.1, figure 10-8).
//
//  31    19 18  17 16 15 14 13 12  11  10  8 7       0
// +--------+------+--+--+---+--+--+---+------+---------+
// |   0    |timer |M |TM|IRR|PO|DS| 0 | mode | vector  |     M masked; timer, TM, IRR, PO (polarity):
// +--------+------+--+--+---+--+--+---+------+---------+     only where the entry has them
#define APIC_LVT_VECTOR_MASK 0xffu
#define APIC_LVT_MODE_SHIFT 8
#define APIC_LVT_MODE_MASK (7u << 8)
#define APIC_LVT_PENDING (1u << 12)
#define APIC_LVT_ACTIVE_LOW (1u << 13)
#define APIC_LVT_REMOTE_IRR (1u << 14)
#define APIC_LVT_LEVEL (1u << 15)
#define APIC_LVT_MASKED (1u << 16)
#define APIC_LVT_TIMER_MASK (3u << 17)
#define APIC_LVT_TIMER_ONESHOT (0u << 17)
#define APIC_LVT_TIMER_PERIODIC (1u << 17)
#define APIC_LVT_TIMER_TSC_DEADLINE (2u << 17)

// Spurious-interrupt vector register (SDM 10.9, figure 10-23).
#define APIC_SVR_VECTOR_MASK 0xffu
#define APIC_SVR_ENABLE (1u << 8)
#define APIC_SVR_FOCUS_DISABLE (1u << 9)
#define APIC_SVR_EOI_BROADCAST_SUPPRESS (1u << 12)

// Version register (SDM 10.4.8, figure 10-7): 7:0 version, 23:16 highest LVT entry, 24 EOI-broadcast
// suppression.
#define APIC_VERSION_MASK 0xffu
#define APIC_VERSION_MAX_LVT_SHIFT 16
#define APIC_VERSION_MAX_LVT_MASK (0xffu << 16)
#define APIC_VERSION_EOI_SUPPRESS (1u << 24)

// Error status register (SDM 10.5.3, figure 10-9).
#define APIC_ESR_SEND_CHECKSUM (1u << 0)
#define APIC_ESR_RECEIVE_CHECKSUM (1u << 1)
#define APIC_ESR_SEND_ACCEPT (1u << 2)
#define APIC_ESR_RECEIVE_ACCEPT (1u << 3)
#define APIC_ESR_REDIRECTABLE_IPI (1u << 4)
#define APIC_ESR_SEND_ILLEGAL_VECTOR (1u << 5)
#define APIC_ESR_RECEIVE_ILLEGAL_VECTOR (1u << 6)
#define APIC_ESR_ILLEGAL_REGISTER (1u << 7)

// Identification and logical destination in xAPIC mode (SDM 10.4.6, 10.6.2.2). x2APIC: the ID has 32 bits and
// the LDR is derived from it: 31:16 cluster = ID >> 4, 15:0 one bit = 1 << (ID & 15) (10.12.10.2).
#define APIC_ID_SHIFT 24
#define APIC_LDR_SHIFT 24
#define APIC_DFR_FLAT 0xffffffffu
#define APIC_DFR_CLUSTER 0x0fffffffu
#define APIC_DEST_BROADCAST_XAPIC 0xffu
#define APIC_DEST_BROADCAST_X2APIC 0xffffffffu

// Divide configuration (SDM 10.5.4, figure 10-10): bits 3, 1, 0; 0 divides by 2, 1 by 4 ... 6 by 128, 7 by 1.
#define APIC_DIVIDE_MASK 0xbu

// Message-signaled interrupts (SDM 10.11).
//
// address  31     20 19      12 11     4  3  2  1 0
//         +---------+----------+--------+--+--+-----+
//         |  0FEEH  |   dest   |    0   |RH|DM|  0  |     RH redirection hint, DM logical destination mode
//         +---------+----------+--------+--+--+-----+
// data     31     16 15 14 13     11 10   8 7      0
//         +---------+--+--+---------+------+--------+
//         |    0    |TM|LV|    0    | mode | vector |
//         +---------+--+--+---------+------+--------+
#define MSI_ADDR_BASE 0xfee00000ull
#define MSI_ADDR_BASE_MASK 0xfff00000ull
#define MSI_ADDR_DEST_SHIFT 12
#define MSI_ADDR_DEST_MASK (0xffull << 12)
#define MSI_ADDR_REDIRECTION_HINT (1ull << 3)
#define MSI_ADDR_LOGICAL (1ull << 2)
#define MSI_DATA_VECTOR_MASK 0xffu
#define MSI_DATA_MODE_SHIFT 8
#define MSI_DATA_MODE_MASK (7u << 8)
#define MSI_DATA_ASSERT (1u << 14)
#define MSI_DATA_LEVEL (1u << 15)

// I/O APIC redirection entry (82093AA 3.2.4).
//
//  63     56 55            17 16 15 14  13 12  11  10  8 7       0
// +---------+----------------+--+--+---+--+--+---+------+---------+
// |  dest   |        0       |M |TM|IRR|PO|DS|DM | mode | vector  |
// +---------+----------------+--+--+---+--+--+---+------+---------+
// M masked; TM 1 level; IRR remote IRR, read-only: accepted and not yet EOIed; PO 1 active low; DS delivery
// status, read-only; DM 1 logical.
#define IOAPIC_REDIR_VECTOR_MASK 0xffull
#define IOAPIC_REDIR_MODE_SHIFT 8
#define IOAPIC_REDIR_MODE_MASK (7ull << 8)
#define IOAPIC_REDIR_LOGICAL (1ull << 11)
#define IOAPIC_REDIR_PENDING (1ull << 12)
#define IOAPIC_REDIR_ACTIVE_LOW (1ull << 13)
#define IOAPIC_REDIR_REMOTE_IRR (1ull << 14)
#define IOAPIC_REDIR_LEVEL (1ull << 15)
#define IOAPIC_REDIR_MASKED (1ull << 16)
#define IOAPIC_REDIR_DEST_SHIFT 56
#define IOAPIC_REDIR_READ_ONLY (IOAPIC_REDIR_PENDING | IOAPIC_REDIR_REMOTE_IRR)
#define IOAPIC_REDIR_DEFINED 0xff0000000001ffffull

// IOAPIC_ID: 27:24 ID. IOAPIC_VER: 23:16 highest redirection entry, 7:0 version. IOAPIC_ARB: 27:24
// arbitration ID.
#define IOAPIC_ID_SHIFT 24
#define IOAPIC_ID_MASK (0xfu << 24)
#define IOAPIC_VER_MAX_SHIFT 16
#define IOAPIC_VERSION_ID 0x20u // Ours: the first with an EOI register.

#endif
