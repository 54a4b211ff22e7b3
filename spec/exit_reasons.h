// SPDX-License-Identifier: Apache-2.0
//
// The VM_EXIT_REASON field and the kinds of exit qualification (SDM 24.9.1, 27.2.1, Appendix C).
//
//  31 30 29 28 27 26 25 24             16 15                             0
// +--+--+--+--+--+--+--+------------------+--------------------------------+
// |EF| 0|RT|MT|EN|BL|SS|         0        |       basic exit reason        |
// +--+--+--+--+--+--+--+------------------+--------------------------------+
//  EF  VM-entry failure; RT  exit from VMX root operation (SMM); MT  pending MTF exit (SMM);
//  EN  exit in enclave mode; BL  a bus lock was asserted; SS  a shadow stack was left prematurely busy.

#ifndef SPEC_EXIT_REASONS_H
#define SPEC_EXIT_REASONS_H

enum exit_reason {
#define EXIT_REASON(number, name, qualification, section) EXIT_REASON_##name = number,
#include "spec/exit_reasons.def"
    EXIT_REASON_COUNT = 76, // One past the highest number.
};

// What EXIT_QUALIFICATION means; layouts are in spec/x86_bits.h.
enum exit_qualification_kind {
    EXIT_QUAL_NONE,           // cleared
    EXIT_QUAL_EXCEPTION,      // #DB: DR6-like bits (table 27-1); #PF: linear address; else 0
    EXIT_QUAL_SIPI,           // bits 7:0 vector
    EXIT_QUAL_IO_SMI,         // table 31-10 for I/O SMI, else 0
    EXIT_QUAL_TASK_SWITCH,    // table 27-2
    EXIT_QUAL_LINEAR_ADDRESS, // the operand
    EXIT_QUAL_DISPLACEMENT,   // displacement of the memory operand, 0 without one
    EXIT_QUAL_CR_ACCESS,      // table 27-3
    EXIT_QUAL_DR_ACCESS,      // table 27-4
    EXIT_QUAL_IO,             // table 27-5
    EXIT_QUAL_ENTRY_FAILURE,  // 26.8: 0, 2 PDPTE, 3 NMI, 4 VMCS link pointer
    EXIT_QUAL_MSR_LOAD,       // number of the failing entry in the MSR-load area, from 1
    EXIT_QUAL_MWAIT,          // 1 if address-range monitoring is armed
    EXIT_QUAL_APIC_ACCESS,    // table 27-6
    EXIT_QUAL_EOI_VECTOR,     // bits 7:0 vector
    EXIT_QUAL_EPT_VIOLATION,  // table 27-7
    EXIT_QUAL_APIC_OFFSET,    // bits 11:0 page offset of the write
    EXIT_QUAL_PML_FULL,       // bit 12 NMI unblocking due to IRET
    EXIT_QUAL_SPP,            // bit 11 0 miss, 1 misconfiguration; bit 12 NMI unblocking
    EXIT_QUAL_NOTIFY,         // bit 0 VM context invalid; bit 12 NMI unblocking
};

#define EXIT_REASON_BASIC_MASK 0x0000ffffu
#define EXIT_REASON_BUSY_SHADOW_STACK (1u << 25)
#define EXIT_REASON_BUS_LOCK_DETECTED (1u << 26)
#define EXIT_REASON_ENCLAVE_MODE (1u << 27)
#define EXIT_REASON_PENDING_MTF (1u << 28)
#define EXIT_REASON_FROM_ROOT (1u << 29)
#define EXIT_REASON_ENTRY_FAILURE (1u << 31)

#endif
