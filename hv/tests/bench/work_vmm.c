// SPDX-License-Identifier: Apache-2.0
// A user program in the VMM's place that does one kind of work. The scenario's VM is not built: its name says
// which work, the value of its first device how many rounds. What was done is counted: work.rounds.
#include "hv/api.h"
#include "hv/hw/trace.h"
#include "hv/tests/bench/work.h"
#include "hv/vmm/config.h"

void vmm_main(void *config)
{
    const struct vmm_config *c = config;
    const struct vmm_vm_config *vm = vmm_config_at(c, c->vms_offset);
    const struct vmm_device_config *rounds = vmm_config_at(c, vm->devices_offset);
    struct work w;

    if (!work_prepare(&w))
        hw_panic("the core refused the VM of the bench", __FILE__, __LINE__);
    hw_trace_count("work.rounds", (u64)work_do(&w, vm->name, rounds->value));
    (void)hv_syscall(HV_SYS_POWER_OFF, 0, 0, 0, 0);
}
