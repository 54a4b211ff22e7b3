// SPDX-License-Identifier: Apache-2.0
// What the processor's VMX can do, and the control words that follow from it (SDM appendix A).
#ifndef HV_X86_VMX_CAPS_H
#define HV_X86_VMX_CAPS_H

#include "hv/hw/types.h"

struct knobs;

// Wanted or optional bits of one control field against the allowed settings of its capability MSR.
struct vmx_control_request {
    u32 required, optional;
};

struct vmx_caps {
    u64 basic, misc, ept_vpid;
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    u32 revision; // Of a VMCS or VMXON region.
    // Words for vmcs01 with everything that hardware and knobs allow; vmx_update_controls() takes bits away.
    u32 pin, cpu, cpu2, exit, entry;
    bool apicv, posted_interrupts, vpid, ept_ad, pml, ple, preemption_timer;
    bool tpr_shadow, unrestricted_guest, invpcid, rdtscp, xsaves, tsc_scaling;
    bool ept_2m, ept_1g, ept_5level, invept_single, invvpid_single, invvpid_address;
    u8 preemption_shift; // The timer counts TSC >> shift.
};

// Bits of one field: required and possible optional ones, plus those that must be 1. False: a required one is
// not possible. `msr` as SDM A.2 lays it out.
bool vmx_adjust_control(struct vmx_control_request request, u64 msr, u32 *out);
// Reads the capability MSRs of the calling CPU. NULL, or the words of what is missing to run guests here.
const char *vmx_caps_read(struct vmx_caps *caps, const struct knobs *knobs);

#endif
