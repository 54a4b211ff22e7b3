// SPDX-License-Identifier: Apache-2.0
// Free page reporting of a memory balloon (Virtio 1.2, 5.5.6.7): the guest names memory that it does not
// use, the device gives the host pages behind it back.
//
// Registers are 32-bit ports (spec/balloon.h). A notification is served before its OUT is complete: the used
// index has moved on when the guest goes on.
#ifndef HV_VMM_BALLOON_H
#define HV_VMM_BALLOON_H

#include "hv/hw/types.h"
#include "spec/balloon.h"

struct vmm_vm;

// Zeroed memory is the device after reset.
struct vmm_balloon {
    u32 features, queue_num, queue_pfn, ready, poison;
    // Of the last write to QUEUE_READY, as a negative error number: -ENOSPC, the queue has fewer than
    // BALLOON_CAPACITY entries; -EBUSY, there is a reporter already; -EINVAL, reporting was not agreed
    // upon, or the queue is no memory.
    s32 error;
    u16 last_avail;
};

// Its state for a migration; the VM's vCPUs stand still. Loading: 0, or -EINVAL: this device does not offer
// what the guest has agreed upon, or its queue is no memory here.
void vmm_balloon_save(struct vmm_vm *vm, struct vmm_balloon *out);
s64 vmm_balloon_load(struct vmm_vm *vm, const struct vmm_balloon *in);
// A guest's access to a port. False: not ours.
bool vmm_balloon_port(struct vmm_vm *vm, u16 port, bool write, u8 *data, u32 size);

#endif
