// SPDX-License-Identifier: Apache-2.0
// Ioctls that the architecture has no say in; the others go on to it.
#include "hv/core/api.h"
#include "hv/core/arch.h"
#include "hv/core/dirty_log.h"
#include "hv/core/hostmm.h"
#include "hv/core/introspection.h"
#include "hv/core/vm.h"
#include "hv/lib/errno.h"

static int from_user(void *to, u64 from, u64 bytes)
{
    return copy_from_user(current_thread()->mm, to, from, bytes);
}
static int to_user(u64 to, const void *from, u64 bytes)
{
    return copy_to_user(current_thread()->mm, to, from, bytes);
}

static s64 check_extension(struct vm *vm, u64 cap)
{
    switch (cap) {
    case HV_CAP_USER_MEMORY:
    case HV_CAP_IMMEDIATE_EXIT:
    case HV_CAP_READONLY_MEM:
    case HV_CAP_HALT_POLL:
        return 1;
    case HV_CAP_NR_MEMSLOTS:
        if (knob(&this_host()->knobs, KNOB_CAP_NR_MEMSLOTS_IN) != CAP_NR_MEMSLOTS_IN_COMMON)
            return arch_vm_check_extension(vm, cap); // As when each architecture had to answer.
        return HV_USER_MEMSLOTS;
    case HV_CAP_MULTI_ADDRESS_SPACE:
        return HV_ADDRESS_SPACES;
    case HV_CAP_NR_VCPUS:
        return (s64)min_u64(this_host()->cpu_count, VM_VCPUS_MAX);
    case HV_CAP_MAX_VCPUS:
        return VM_VCPUS_MAX;
    case HV_CAP_MAX_VCPU_ID:
        return HV_VCPU_IDS_MAX;
    case HV_CAP_IRQ_ROUTING:
        return HV_IRQ_ROUTES_MAX;
    case HV_CAP_GET_TSC_KHZ:
        return (s64)this_host()->tsc_khz;
    case HV_CAP_MANUAL_DIRTY_LOG_PROTECT2:
        return HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE | HV_DIRTY_LOG_INITIALLY_SET;
    case HV_CAP_DIRTY_LOG_RING:
        return (s64)(HV_DIRTY_RING_ENTRIES_MAX * sizeof(struct hv_dirty_gfn));
    default:
        return arch_vm_check_extension(vm, cap);
    }
}

static s64 create_vm(struct host *host, u64 type)
{
    struct vm *vm;
    int result = vm_create(host, current_thread()->mm, type, &vm);
    if (result != 0)
        return result;
    int handle = handle_alloc(host, HANDLE_VM, vm);
    if (handle < 0)
        vm_put(vm);
    else
        vm->handle = handle;
    return handle;
}

static s64 system_ioctl(struct host *host, u32 cmd, u64 arg)
{
    switch (cmd) {
    case HV_CHECK_EXTENSION:
        return check_extension(NULL, arg);
    case HV_CREATE_VM:
        return create_vm(host, arg);
    default:
        return arch_system_ioctl(host, cmd, arg);
    }
}

static s64 ioctl_set_memory(struct vm *vm, u64 arg)
{
    struct hv_user_memory_region region;
    return from_user(&region, arg, sizeof(region)) != 0 ? -EFAULT : set_memory_region(vm, &region);
}

static s64 ioctl_irq_line(struct vm *vm, u64 arg)
{
    struct hv_irq_level irq;
    if (!load_acquire(&vm->irqchip_in_kernel))
        return -ENXIO;
    if (from_user(&irq, arg, sizeof(irq)) != 0)
        return -EFAULT;
    int status = set_irq(vm, 0, irq.irq, irq.level);
    if (status == -EINVAL)
        return -EINVAL;
    irq.irq = (u32)status;
    return to_user(arg, &irq, sizeof(irq));
}

static s64 ioctl_set_routing(struct vm *vm, u64 arg)
{
    struct hv_irq_routing head;
    struct hv_irq_routing_entry *entries = NULL;
    if (from_user(&head, arg, sizeof(head)) != 0)
        return -EFAULT;
    if (head.nr > HV_IRQ_ROUTES_MAX || head.flags != 0)
        return -EINVAL;
    u64 bytes = sizeof(*entries) * head.nr;
    if (bytes != 0 && (entries = kmalloc(vm->host, bytes)) == NULL)
        return -ENOMEM;
    int result =
        from_user(entries, arg + sizeof(head), bytes) != 0 ? -EFAULT : set_gsi_routing(vm, entries, head.nr);
    kfree(vm->host, entries, bytes);
    return result;
}

static s64 ioctl_signal_msi(struct vm *vm, u64 arg)
{
    struct hv_msi msi;
    return from_user(&msi, arg, sizeof(msi)) != 0 ? -EFAULT : send_userspace_msi(vm, &msi);
}

static s64 ioctl_enable_cap(struct vm *vm, u64 arg)
{
    struct hv_enable_cap cap;
    if (from_user(&cap, arg, sizeof(cap)) != 0)
        return -EFAULT;
    if (cap.flags != 0)
        return -EINVAL;
    switch (cap.cap) {
    case HV_CAP_HALT_POLL:
        if (cap.args[0] > UINT32_MAX)
            return -EINVAL;
        WRITE_ONCE(vm->max_halt_poll_ns, cap.args[0]);
        return 0;
    case HV_CAP_MANUAL_DIRTY_LOG_PROTECT2:
        return dirty_log_enable_manual(vm, cap.args[0]);
    case HV_CAP_DIRTY_LOG_RING:
        return dirty_rings_enable(vm, cap.args[0]);
    default:
        break;
    }
    if (cap.cap == HV_CAP_VM_NUMBER)
        return vm_set_number(vm, cap.args[0]);
    mutex_lock(&vm->lock); // Against the first vCPU and another irqchip.
    int result = arch_vm_enable_cap(vm, &cap);
    mutex_unlock(&vm->lock);
    return result;
}

static s64 ioctl_get_dirty_log(struct vm *vm, u64 arg)
{
    struct hv_dirty_log log;
    return from_user(&log, arg, sizeof(log)) != 0 ? -EFAULT : dirty_log_get(vm, &log);
}

static s64 ioctl_clear_dirty_log(struct vm *vm, u64 arg)
{
    struct hv_clear_dirty_log log;
    return from_user(&log, arg, sizeof(log)) != 0 ? -EFAULT : dirty_log_clear(vm, &log);
}

static s64 ioctl_create_irqchip(struct vm *vm)
{
    int result = -EEXIST;
    mutex_lock(&vm->lock);
    if (!vm->irqchip_in_kernel) {
        result = vm->created_vcpus != 0 ? -EINVAL : arch_create_irqchip(vm);
        if (result == 0)
            result = set_default_routing(vm);
        if (result == 0)
            store_release(&vm->irqchip_in_kernel, true);
    }
    mutex_unlock(&vm->lock);
    return result;
}

static s64 ioctl_kvmi_read(struct vm *vm, u64 arg)
{
    struct hv_kvmi_event event;
    int result = introspection_read(vm, &event);
    return result != 0 ? result : to_user(arg, &event, sizeof(event));
}

static s64 ioctl_kvmi_reply(struct vm *vm, u64 arg)
{
    struct hv_kvmi_reply reply;
    return from_user(&reply, arg, sizeof(reply)) != 0 ? -EFAULT : introspection_reply(vm, &reply);
}

static s64 ioctl_kvmi_command(struct vm *vm, u64 arg)
{
    struct hv_kvmi_command command;
    return from_user(&command, arg, sizeof(command)) != 0 ? -EFAULT : introspection_command(vm, &command);
}

s64 vm_ioctl(struct vm *vm, u32 cmd, u64 arg)
{
    if (vm->mm != current_thread()->mm || READ_ONCE(vm->dead))
        return -EIO;
    switch (cmd) {
    case HV_CHECK_EXTENSION:
        return check_extension(vm, arg);
    case HV_CREATE_VCPU:
        return vm_create_vcpu(vm, arg);
    case HV_SET_USER_MEMORY_REGION:
        return ioctl_set_memory(vm, arg);
    case HV_GET_DIRTY_LOG:
        return ioctl_get_dirty_log(vm, arg);
    case HV_CLEAR_DIRTY_LOG:
        return ioctl_clear_dirty_log(vm, arg);
    case HV_RESET_DIRTY_RINGS:
        return dirty_rings_reset(vm);
    case HV_CREATE_IRQCHIP:
        return ioctl_create_irqchip(vm);
    case HV_IRQ_LINE:
        return ioctl_irq_line(vm, arg);
    case HV_SET_GSI_ROUTING:
        return ioctl_set_routing(vm, arg);
    case HV_SIGNAL_MSI:
        return ioctl_signal_msi(vm, arg);
    case HV_ENABLE_CAP:
        return ioctl_enable_cap(vm, arg);
    case HV_KVMI_HOOK:
        return introspection_hook(vm, arg);
    case HV_KVMI_UNHOOK:
        return introspection_unhook(vm);
    case HV_KVMI_READ:
        return ioctl_kvmi_read(vm, arg);
    case HV_KVMI_REPLY:
        return ioctl_kvmi_reply(vm, arg);
    case HV_KVMI_COMMAND:
        return ioctl_kvmi_command(vm, arg);
    default:
        return arch_vm_ioctl(vm, cmd, arg);
    }
}

s64 vcpu_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    if (vcpu->vm->mm != current_thread()->mm || READ_ONCE(vcpu->vm->dead))
        return -EIO;
    if (cmd == HV_RUN)
        return arg != 0 ? -EINVAL : vcpu_ioctl_run(vcpu);
    if (cmd == HV_RUN_PAGE)
        return (s64)vcpu->run;
    if (cmd == HV_DIRTY_RING_PAGE)
        return vcpu->dirty_ring.entries != NULL ? (s64)vcpu->dirty_ring.entries : -EINVAL;
    // Does not wait for the vCPU to leave the guest.
    s64 result = arch_vcpu_async_ioctl(vcpu, cmd, arg);
    if (result != -ENOTTY)
        return result;
    mutex_lock(&vcpu->mutex);
    vcpu_load(vcpu);
    result = arch_vcpu_ioctl(vcpu, cmd, arg);
    vcpu_put(vcpu);
    mutex_unlock(&vcpu->mutex);
    return result;
}

s64 api_ioctl(struct host *host, s64 handle, u32 cmd, u64 arg)
{
    enum handle_kind kind = handle_kind_of(host, handle);
    void *object = kind == HANDLE_FREE || kind == HANDLE_CLOSING ? NULL : handle_get(host, handle, kind);
    if (object == NULL)
        return -EBADF;
    s64 result = kind == HANDLE_SYSTEM ? system_ioctl(object, cmd, arg)
                 : kind == HANDLE_VM   ? vm_ioctl(object, cmd, arg)
                                       : vcpu_ioctl(object, cmd, arg);
    handle_put(host, handle);
    return result;
}
