// SPDX-License-Identifier: Apache-2.0
// Model-specific registers of guests: one table (hv/x86/msr_table.def).
#ifndef HV_X86_MSR_H
#define HV_X86_MSR_H

#include "hv/x86/x86.h"

// 0, or 1: #GP for the guest, "not read" for user space. `host_initiated`: from HV_GET_MSRS and HV_SET_MSRS,
// which may write what the guest may not.
int msr_read(struct x86_vcpu *v, u32 msr, u64 *value, bool host_initiated);
int msr_write(struct x86_vcpu *v, u32 msr, u64 value, bool host_initiated);
// HV_GET_MSR_INDEX_LIST: fills at most `max` numbers; returns how many there are.
u32 msr_list(u32 *out, u32 max);
u32 switched_msr_number(enum switched_msr m);
// Bits of the MSR bitmap that every guest has clear: MSRs that the processor switches or that need no host.
void msr_bitmap_init(struct x86_vcpu *v);
void msr_reset(struct x86_vcpu *v, bool init_event);

#endif
