// SPDX-License-Identifier: Apache-2.0
// A tool that introspects a VM, as a thread of its VMM's; and killing a VM, whatever its threads wait for.
#include "hv/vmm/vmm.h"

#define VMM_EINTR 4

struct vmm_tool {
    struct vmm_vm *vm;
    s64 thread;
    u32 hangs; // It reads, and answers no more.
    u32 gone;  // A futex.
};

// Asks the waiting vCPU for its registers, as a tool would before it judges; then lets it go on.
static void answer(struct vmm_tool *tool, const struct hv_kvmi_event *event)
{
    struct hv_regs regs;
    const struct hv_kvmi_command command = {
        .vcpu = event->vcpu, .command = HV_GET_REGS, .argument = (u64)&regs};
    const struct hv_kvmi_reply reply = {.seq = event->seq, .vcpu = event->vcpu};

    (void)hv_ioctl_ptr(tool->vm->handle, HV_KVMI_COMMAND, &command);
    (void)hv_ioctl_ptr(tool->vm->handle, HV_KVMI_REPLY, &reply);
}

static void tool_thread(void *arg)
{
    struct vmm_tool *tool = arg;
    struct hv_kvmi_event event;

    while (hv_ioctl_ptr(tool->vm->handle, HV_KVMI_READ, &event) == 0)
        if (!__atomic_load_n(&tool->hangs, __ATOMIC_ACQUIRE))
            answer(tool, &event);
    __atomic_store_n(&tool->gone, 1, __ATOMIC_RELEASE);
    hv_futex_wake(&tool->gone, 1);
    hv_exit();
}

s64 vmm_introspect(struct vmm_vm *vm, u32 cpu)
{
    s64 result = hv_ioctl(vm->handle, HV_KVMI_HOOK, HV_KVMI_EVENT_MSR);

    if (result != 0)
        return result;
    vm->tool = vmm_alloc(vm->vmm, sizeof *vm->tool);
    vm->tool->vm = vm;
    vm->tool->thread = hv_thread_create(tool_thread, vm->tool, cpu, HV_PRIO_NORMAL);
    return vm->tool->thread < 0 ? vm->tool->thread : 0;
}

static void kill_and_wait(s64 thread, u32 *gone)
{
    hv_syscall(HV_SYS_THREAD_KILL, (u64)thread, 0, 0, 0);
    while (!__atomic_load_n(gone, __ATOMIC_ACQUIRE))
        hv_futex_wait(gone, 0, 0);
}

s64 vmm_kill(struct vmm_vm *vm)
{
    // The tool is somebody else's: it is not asked, and may be in any state.
    if (vm->tool)
        __atomic_store_n(&vm->tool->hangs, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&vm->killed, 1, __ATOMIC_RELEASE);
    for (u32 i = 0; i < vm->config->vcpu_count; i++)
        kill_and_wait(vm->vcpus[i].thread, &vm->vcpus[i].gone);
    if (vm->tool)
        kill_and_wait(vm->tool->thread, &vm->tool->gone);
    for (u32 i = 0; i < vm->config->vcpu_count; i++)
        hv_syscall(HV_SYS_CLOSE, (u64)vm->vcpus[i].handle, 0, 0, 0);
    return hv_syscall(HV_SYS_CLOSE, (u64)vm->handle, 0, 0, 0);
}
