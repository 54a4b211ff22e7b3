// SPDX-License-Identifier: Apache-2.0
// Arithmetic with flags, as the emulator needs it (SDM vol. 2, vol. 1 3.4.3.1).
#ifndef HV_X86_ALU_H
#define HV_X86_ALU_H

#include "hv/x86/decode.h"

// `a` op `b` of `bytes` (1, 2, 4, 8); the six status flags in *rflags are replaced. CMP and TEST give what
// they compare.
u64 alu(u8 op, u64 a, u64 b, unsigned bytes, u64 *rflags);

#endif
