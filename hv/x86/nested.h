// SPDX-License-Identifier: Apache-2.0
// Nested virtualization: what entry, exits and injection ask of it. vCPU loaded.
#ifndef HV_X86_NESTED_H
#define HV_X86_NESTED_H

#include "hv/x86/x86.h"

// Has the guest VMX (CPUID)? If not, VMX instructions are #UD.
bool nested_allowed(const struct x86_vcpu *v);
// A VMX instruction of L1, by exit reason. As exit handlers.
int nested_handle_insn(struct x86_vcpu *v, u32 reason);
// The exit came from L2: true if L1 wanted it and it was reflected (SDM 25.1); false: L0 handles it.
bool nested_reflect_exit(struct x86_vcpu *v);
// An EPT violation of L2 where L1 uses EPT (mmu->shadowing): L1's to see, or an entry is missing. As exit
// handlers.
int nested_ept_violation(struct x86_vcpu *v);
// Before injection while in_guest_mode: events that L1 intercepts become exits of L2. *immediate_exit: L2 was
// just entered and must leave at once. 0 or -errno.
int nested_check_events(struct x86_vcpu *v, bool *immediate_exit);
// Frees v->nested (may be NULL); vCPU destruction.
void nested_free(struct x86_vcpu *v);

// VMX capability MSRs as L1 sees them, IA32_VMX_BASIC..IA32_VMX_VMFUNC. 0, or 1: #GP.
int nested_msr_read(const struct x86_vcpu *v, u32 msr, u64 *value);
// TSC cycles that an immediate exit leaves to L2: 0, but for the throttle of catalogue 001-E (knob
// irq.storm_guard = immexit_throttle). Just before an entry with immediate_exit.
u64 nested_immediate_exit_tsc(struct x86_vcpu *v);
// What vmx_update_controls() adds to the secondary controls of vmcs01: VMCS shadowing while L1 has a current
// VMCS.
u32 nested_shadow_controls(const struct x86_vcpu *v);
// While in_guest_mode: do external interrupts go to L1?
bool nested_intercepts_interrupts(const struct x86_vcpu *v);
// Is the guest in VMX root operation or beyond? CR4.VMXE may then not be cleared (SDM 23.8).
bool nested_vmx_on(const struct x86_vcpu *v);
// Is INIT held back? In root operation, until VMXOFF (SDM 23.8). vCPU.
bool nested_blocks_init(const struct x86_vcpu *v);
// A reset of the vCPU: VMX operation ends.
void nested_reset(struct x86_vcpu *v);

#endif
