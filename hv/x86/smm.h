// SPDX-License-Identifier: Apache-2.0
// System-management mode, as far as it is here: leaving it. There is no SMI.
#ifndef HV_X86_SMM_H
#define HV_X86_SMM_H

#include "hv/hw/types.h"

struct x86_vcpu;

// Loads the registers from the state saved at smbase + 0xfe00, as RSM does; the vCPU is loaded, in its srcu
// section. Nobody else's write to the image meanwhile is seen in part (knob smm.rsm_read). 0; -EFAULT: no
// memory there; -EINVAL: a state that the architecture forbids (SDM 31.8.1 has a shutdown for it); -EAGAIN:
// the image does not stop changing.
int smm_leave(struct x86_vcpu *v, u64 smbase);

#endif
