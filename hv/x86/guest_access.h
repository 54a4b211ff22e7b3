// SPDX-License-Identifier: Apache-2.0
// A guest's memory by linear address, for exits whose processor has told the address: the operand of VMX and
// system instructions, of INS and OUTS. Guests that are streams of events (hv/hw/guest.h) answer at the door.
#ifndef HV_X86_GUEST_ACCESS_H
#define HV_X86_GUEST_ACCESS_H

#include "hv/x86/x86.h"

enum guest_access_result {
    GUEST_ACCESS_DONE,
    GUEST_ACCESS_FAULT,     // A page fault is queued.
    GUEST_ACCESS_NO_MEMORY, // Nothing there that software can reach; nobody is told.
};

// `access`: PFERR_WRITE, PFERR_FETCH or 0; the guest's privilege is added.
enum guest_access_result guest_translate_linear(struct x86_vcpu *v, u64 linear, u32 access, u64 *gpa);
// Up to a page, over one page boundary; a write that fails has changed nothing before that boundary or all.
enum guest_access_result guest_read_linear(struct x86_vcpu *v, u64 linear, void *to, unsigned bytes);
enum guest_access_result guest_write_linear(struct x86_vcpu *v, u64 linear, const void *from, unsigned bytes);

// The memory operand that VMX_INSTRUCTION_INFO and the exit qualification describe (SDM 27.2.5).
u64 guest_operand_linear(struct x86_vcpu *v, u32 info);
// Reads it. False: the fault is queued.
bool guest_read_operand(struct x86_vcpu *v, u32 info, void *to, unsigned bytes);
bool guest_write_operand(struct x86_vcpu *v, u32 info, const void *from, unsigned bytes);

#endif
