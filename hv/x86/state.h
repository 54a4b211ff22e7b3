// SPDX-License-Identifier: Apache-2.0
// State of a vCPU for user space beyond hv/x86/regs.h. 0 or -EINVAL; on error nothing has changed.
#ifndef HV_X86_STATE_H
#define HV_X86_STATE_H

#include "hv/x86/x86.h"

void vcpu_get_events(struct x86_vcpu *v, struct hv_vcpu_events *out);
int vcpu_set_events(struct x86_vcpu *v, const struct hv_vcpu_events *in);
void vcpu_get_debugregs(struct x86_vcpu *v, struct hv_debugregs *out);
int vcpu_set_debugregs(struct x86_vcpu *v, const struct hv_debugregs *in);
int vcpu_set_mp_state(struct x86_vcpu *v, u32 state);

#endif
