// SPDX-License-Identifier: Apache-2.0
// What software finds in a guest through the guest's own page tables: instruction bytes, operands, addresses.
//
// VMX gives an exit handler no instruction bytes: a hypervisor that must emulate walks the guest's page
// tables at CS:RIP and reads them. Guests that are streams of events have neither page tables nor machine
// code in memory, so that walk stands at the door: the model answers with the bytes which an assembler makes
// of the guest's current instruction. All functions concern the guest of the current VMCS, cost the loads of
// a four-level walk plus the data itself, and are scheduling points. Called from hv/ in root mode only.
#ifndef HV_HW_GUEST_H
#define HV_HW_GUEST_H

#include "hv/hw/types.h"

#define HW_GUEST_INSTRUCTION_MAX 15u

// Is the guest of the current VMCS such a stream? False: its memory holds page tables and machine code, and
// software walks and reads them itself; hw_guest_fetch(), hw_guest_read_operand() and hw_guest_translate()
// are then not for it. Costs nothing and is no scheduling point: software on silicon has no such question.
bool hw_guest_is_stream(void);

// XMM register of the guest that ran last on this processor, two 64-bit halves: MOVDQU, as the core itself
// never uses the vector registers and a guest's stay in the processor while the host runs. `n` is 0..15.
void hw_guest_read_xmm(unsigned n, u64 value[2]);
void hw_guest_write_xmm(unsigned n, const u64 value[2]);
// Its MMX register, MOVQ: the x87 stack is MMX's afterwards. `n` is 0..7. False: #MF, an x87 exception that
// is not masked is pending.
bool hw_guest_read_mmx(unsigned n, u64 *value);
bool hw_guest_write_mmx(unsigned n, u64 value);

// The bytes at the guest's CS:RIP, at most `max` (bytes beyond the instruction are not given). Returns how
// many were read; 0 if the guest has no instruction there (RIP points outside of its program). 64-bit mode;
// memory operands are register indirect ([rdi], [rsi] for OUTS), displacement 0.
unsigned hw_guest_fetch(u8 *bytes, unsigned max);

// Reads `size` (1..16) bytes at the guest-linear address `linear`: the memory operand of the current
// instruction (VMCLEAR, VMPTRLD, VMXON, INVEPT, INVVPID, INVPCID, LGDT: its address is in RDI, displacement
// 0). False: no such memory (the walk ends in a page fault); `buf` is then unchanged.
bool hw_guest_read_operand(u64 linear, void *buf, unsigned size);

// The guest-physical address behind the guest-linear address `linear`, for an access that software makes in
// the guest's place. Costs the loads of the walk. False: it ends in a page fault; `gpa` is then unchanged.
bool hw_guest_translate(u64 linear, u64 *gpa);

#endif
