// SPDX-License-Identifier: Apache-2.0
// APIC virtualization and posted interrupts (SDM chapter 29): what the virtual LAPIC asks of it.
//
// Active for a vCPU (v->apicv_active) when processor and knob allow it, nothing in the VM forbids it and its
// LAPIC is enabled. Then senders post vectors into the vCPU's descriptor (PIR) and the processor takes them
// over while the guest runs; else they go to IRR and are injected at an entry.
#ifndef HV_X86_APICV_H
#define HV_X86_APICV_H

#include "hv/x86/lapic.h"

// Bits of x86_vm.apicv_inhibits.
#define APICV_INHIBIT_PIT_REINJECT 1u
#define APICV_INHIBIT_HYPERV 2u

// Posted-interrupt descriptor (SDM 29.6, table 29-1; bits 511:256 as VT-d reads them, spec/vmx_bits.h).
struct posted_desc {
    u64 pir[4];
    u32 control; // Bit 0 ON, bit 1 SN, bits 23:16 NV.
    u32 ndst;
    u64 reserved[3];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct posted_desc) == 64, "SDM 29.6: 64 bytes");
#define POSTED_ON 1u
#define POSTED_SN 2u
#define POSTED_NV_SHIFT 16

// 0 or -ENOMEM.
int apicv_create(struct x86_vcpu *v);
void apicv_free(struct x86_vcpu *v);
void apicv_reset(struct x86_vcpu *v);
// From any context: posts `vector` and makes the vCPU notice. False: not active, use IRR.
bool apicv_post(struct x86_vcpu *v, u8 vector);
// Is something posted that IRR does not show yet? Any context.
bool apicv_has_posted(struct x86_vcpu *v);
// ISR was changed by software: SVI has to follow (SDM 24.4.2).
void apicv_isr_changed(struct x86_vcpu *v);
// The page was replaced by user space.
void apicv_state_changed(struct x86_vcpu *v);
// xAPIC, x2APIC, disabled: controls and MSR bitmap follow before the next entry.
void apicv_mode_changed(struct x86_vcpu *v);
// vmcs01 is current again: fields that could not be written while L2 ran.
void apicv_leave_l2(struct x86_vcpu *v);
// Forbids (or allows again) APIC virtualization in the whole VM for reason `bit`.
void apicv_set_inhibit(struct vm *vm, u32 bit, bool inhibit);

#endif
