// SPDX-License-Identifier: Apache-2.0
// x87, SSE and protection-key registers of the processor: saved and loaded as one (SDM vol. 1 ch. 13).
//
// The core computes nothing with them. A guest's stay in the processor from VM exit to VM entry, so whoever
// shares a processor between guests saves and loads them.
#ifndef HV_HW_FPU_H
#define HV_HW_FPU_H

#include "hv/hw/cpu.h"
#include "hv/hw/types.h"

// Bytes of an area, standard form, on every processor. Aligned to 64.
#define HW_XSAVE_BYTES 2752u
#define HW_XSAVE_MXCSR 24u // Offset of MXCSR (u32) ...
#define HW_XSAVE_HEADER                                                                                      \
    512u // ... and of XSTATE_BV (u64): state components that are not in their initial configuration

// XSAVE of all components that software here may use: x87, SSE, PKRU.
void hw_xsave(hpa_t area);
// XRSTOR of the same. #GP: a reserved bit of MXCSR or of the header; nothing was loaded.
enum hw_fault hw_xrstor(hpa_t area);

#endif
