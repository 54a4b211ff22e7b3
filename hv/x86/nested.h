// SPDX-License-Identifier: Apache-2.0
// Nested virtualization: what entry, exits and injection ask of it. vCPU loaded.
#ifndef HV_X86_NESTED_H
#define HV_X86_NESTED_H

#include "hv/x86/x86.h"

// May the guest use VMX (CPUID and IA32_FEATURE_CONTROL)? If not, VMX instructions are #UD.
bool nested_allowed(const struct x86_vcpu *v);
// A VMX instruction of L1, by exit reason. As exit handlers.
int nested_handle_insn(struct x86_vcpu *v, u32 reason);
// The exit came from L2: true if L1 wanted it and it was reflected (SDM 25.1); false: L0 handles it.
bool nested_reflect_exit(struct x86_vcpu *v);
// Before injection while in_guest_mode: events that L1 intercepts become exits of L2. *immediate_exit: L2 was
// just entered and must leave at once. 0 or -errno.
int nested_check_events(struct x86_vcpu *v, bool *immediate_exit);
// VMX capability MSRs of the guest (0x480..0x491). 0, or 1: #GP.
int nested_msr_read(struct x86_vcpu *v, u32 msr, u64 *value);
// Frees v->nested (may be NULL); vCPU destruction.
void nested_free(struct x86_vcpu *v);

#endif
