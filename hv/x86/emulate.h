// SPDX-License-Identifier: Apache-2.0
// Instructions on device memory, carried out in place of the guest: fetched, decoded, executed, memory
// operand to devices in the core or to user space.
#ifndef HV_X86_EMULATE_H
#define HV_X86_EMULATE_H

#include "hv/x86/regs.h"

// The instruction at RIP accesses `gpa`, where no memory is. As exit handlers; internal error (emulation)
// when it is not one that decode_insn() knows.
int emulate_mmio(struct x86_vcpu *v, gpa_t gpa);

#endif
