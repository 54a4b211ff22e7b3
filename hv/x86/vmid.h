// SPDX-License-Identifier: Apache-2.0
// Numbers of VMs that run, for their vCPUs' VPIDs: few, and handed out anew when they are used up. Then a new
// generation begins: every processor leaves its guest and drops all translations, and a VM whose number is of
// an older generation gets another one at its next entry (arm64's VMIDs). Knob vmid.bits; without it a VM's
// VPIDs are its own for good.
#ifndef HV_X86_VMID_H
#define HV_X86_VMID_H

#include "hv/hw/types.h"
#include "hv/lib/spinlock.h"

struct host;
struct x86_vcpu;

// Of the host.
struct vmid_space {
    u32 bits; // 0: numbers are not handed out.
    u32 next; // The next free one, from 1 on; 1 << bits: none.
    u64 generation;
    struct spinlock lock;
};
// Of a VM. The id is valid if the generation is the space's: so it is stored first and read last.
struct vmid {
    u64 generation; // 0: never had one.
    u32 id;
};

void vmid_host_init(struct host *host);
// Before an entry, preemption disabled: the VM has a number of the current generation, unless another
// generation begins.
void vmid_renew(struct x86_vcpu *v);
// Interrupts disabled, right before the entry: the vCPU's VPID is in the VMCS. False: it must not be entered.
// A generation that begins afterwards has an interrupt waiting, which the entry ends with.
bool vmid_load(struct x86_vcpu *v);

#endif
