// SPDX-License-Identifier: Apache-2.0
// Page-modification logging (SDM 28.3.6): the processor writes down each page whose D bit it sets.
//
// One buffer of 512 entries per vCPU, used by whichever VMCS the vCPU runs: every exit empties it before
// anything else happens. The control is on while some slot of the VM logs dirty pages.
#ifndef HV_X86_PML_H
#define HV_X86_PML_H

#include "hv/x86/x86.h"

// 0 or -ENOMEM; nothing where the processor or knob x86.pml has it off.
int pml_create(struct x86_vcpu *v);
void pml_free(struct x86_vcpu *v);
// PML fields of a new VMCS, which is current.
void pml_vmcs_setup(struct x86_vcpu *v);
bool pml_wanted(struct x86_vcpu *v);
// The control of the current VMCS as it is wanted now: at REQ_UPDATE_DIRTY_LOGGING and when a nested guest
// ends. A nested guest runs on L1's tables, so what it writes is logged the same way; its VMCS takes the
// control from L1's.
void pml_update(struct x86_vcpu *v);
// After an exit, inside vm->srcu: what was logged goes into the slots' logs.
void pml_flush(struct x86_vcpu *v);

#endif
