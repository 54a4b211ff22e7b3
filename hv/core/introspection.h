// SPDX-License-Identifier: Apache-2.0
// Introspection: a tool hooks a VM and is told what its vCPUs do. A vCPU that has something to tell waits for
// the tool's reply, and meanwhile does what the tool asks of it.
//
// The tool may hang. So a waiting vCPU's thread can be killed (knob kvmi.wait), and goes on when the channel
// is closed. An ordinary signal does not end the wait: the event would be told a second time.
#ifndef HV_CORE_INTROSPECTION_H
#define HV_CORE_INTROSPECTION_H

#include "hv/core/vm.h"

// The ioctls' other halves, with their results (hv/api_cmds.def). Any thread of the VM's process.
int introspection_hook(struct vm *vm, u64 events);
int introspection_unhook(struct vm *vm);
int introspection_read(struct vm *vm, struct hv_kvmi_event *out);
int introspection_reply(struct vm *vm, const struct hv_kvmi_reply *reply);
s64 introspection_command(struct vm *vm, const struct hv_kvmi_command *command);
void introspection_destroy(struct vm *vm);

int introspection_tell(struct vcpu *vcpu, u32 kind, u64 index, u64 value);
// The vCPU's thread, in its srcu section, about to do something: 0 goes on, -EINTR it was killed.
static inline int introspection_event(struct vcpu *vcpu, u32 kind, u64 index, u64 value)
{
    if (likely(READ_ONCE(vcpu->vm->introspection) == NULL))
        return 0;
    return introspection_tell(vcpu, kind, index, value);
}

#endif
