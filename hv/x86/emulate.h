// SPDX-License-Identifier: Apache-2.0
// Instructions carried out in place of the guest: those that touch device memory, and all of a guest that the
// processor cannot run (real mode without "unrestricted guest"). Results as of exit handlers.
#ifndef HV_X86_EMULATE_H
#define HV_X86_EMULATE_H

#include "hv/x86/regs.h"

// The instruction at RIP accesses `gpa`, where no memory is, or none that it may write. `known`: nobody has
// memory there, so it is not looked for. Internal error (emulation) when it is none of hv/x86/opcodes.def.
int emulate_mmio(struct x86_vcpu *v, gpa_t gpa, bool known);
// Writes v->mmio from mmio_done to mmio_count to devices: those of the core, else user space's. 1: all are
// done; 0: user space is asked, and `then`, if any, is what follows the last, as an exit handler.
int emulate_device_writes(struct x86_vcpu *v, int (*then)(struct x86_vcpu *));
// The instruction at RIP, whatever it is.
int emulate_instruction(struct x86_vcpu *v);

// Must the guest be emulated: its state is one that VM entry without "unrestricted guest" refuses (SDM
// 26.3.1)? Always false with it.
bool emulation_required(struct x86_vcpu *v);
// In place of a VM entry and its exit: a stretch of such a guest.
int handle_invalid_guest_state(struct x86_vcpu *v);

#endif
