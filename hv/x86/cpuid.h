// SPDX-License-Identifier: Apache-2.0
// CPUID of guests: a table per vCPU, and what the core supports.
#ifndef HV_X86_CPUID_H
#define HV_X86_CPUID_H

#include "hv/x86/x86.h"

// What the guest's CPUID answers, with the rule for leaves beyond the maximum (SDM vol. 2 CPUID).
void guest_cpuid(struct x86_vcpu *v, u32 leaf, u32 subleaf, struct hw_cpuid_regs *out);
const struct hv_cpuid_entry2 *guest_cpuid_entry(const struct x86_vcpu *v, u32 leaf, u32 subleaf);
// Takes the table over (its memory becomes the vCPU's) and derives from it what depends on it. vCPU loaded.
void guest_cpuid_set(struct x86_vcpu *v, struct hv_cpuid_entry2 *entries, u32 count);
// HV_GET_SUPPORTED_CPUID: fills at most `max`; returns how many there are.
u32 supported_cpuid(struct host *host, struct hv_cpuid_entry2 *entries, u32 max);

#endif
