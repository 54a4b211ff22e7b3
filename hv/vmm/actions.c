// SPDX-License-Identifier: Apache-2.0
// The timed actions of a scenario (hv/vmm/actions.def): one handler each, found by a table.
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"
#include "hv/vmm/migration.h"
#include "hv/vmm/vmm.h"

#define VMM_EBUSY 16
#define VMM_EINVAL 22

typedef s64 (*action_fn)(struct vmm_vm *vm, const u64 *args);

static struct vmm_vcpu *vcpu_of(struct vmm_vm *vm, u64 index)
{
    return index < vm->config->vcpu_count ? &vm->vcpus[index] : NULL;
}

static s64 do_irq_line(struct vmm_vm *vm, const u64 *args)
{
    return vmm_irq_line(vm, (u32)args[0], (u32)args[1]);
}

static s64 do_irq_pulse(struct vmm_vm *vm, const u64 *args)
{
    s64 result = do_irq_line(vm, (const u64[]){args[0], 1});

    return result < 0 ? result : do_irq_line(vm, (const u64[]){args[0], 0});
}

// An MSI of a device: SDM 10.11, address 0xfee00000 | destination << 12 | logical << 2.
static s64 do_msi(struct vmm_vm *vm, const u64 *args)
{
    struct hv_msi msi = {.address_lo = 0xfee00000u | (u32)(args[1] & 0xff) << 12 | (u32)(args[2] & 1) << 2,
                         .address_hi = (u32)(args[1] & ~0xffull),
                         .data = (u32)(args[0] & 0xff)};

    return hv_ioctl_ptr(vm->handle, HV_SIGNAL_MSI, &msi);
}

static s64 do_nmi(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[0]);

    return vcpu ? hv_ioctl(vcpu->handle, HV_NMI, 0) : -VMM_EINVAL;
}

static s64 do_interrupt(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[0]);

    return vcpu ? hv_ioctl(vcpu->handle, HV_INTERRUPT, args[1]) : -VMM_EINVAL;
}

static s64 do_set_memory_region(struct vmm_vm *vm, const u64 *args)
{
    return vmm_add_slot(vm, (u32)args[0], (u32)args[3], args[1], args[2], 12);
}

static s64 do_delete_memory_region(struct vmm_vm *vm, const u64 *args)
{
    return vmm_remove_slot(vm, (u32)args[0]);
}

static s64 do_plug_memory(struct vmm_vm *vm, const u64 *args)
{
    u64 count = args[2] ? args[2] : 1;
    s64 result = 0;

    for (u64 i = 0; i < count && result >= 0; i++) {
        result = vmm_plug_memory(vm, args[0] + i * args[1], args[1]);
        if (result >= 0)
            hw_trace_count("memory_modules", 1);
    }
    return result;
}

static s64 do_start_dirty_log(struct vmm_vm *vm, const u64 *args)
{
    return vmm_dirty_start(vm, (u32)args[0]);
}

static s64 do_stop_dirty_log(struct vmm_vm *vm, const u64 *args)
{
    return vmm_dirty_stop(vm, (u32)args[0]);
}

// Of all slots, as migration does it: nobody else may work on the VM meanwhile.
static s64 for_all_slots(struct vmm_vm *vm, s64 (*call)(struct vmm_vm *vm, u32 slot))
{
    s64 result = 0;

    vmm_lock(&vm->vmm->big_lock);
    hw_trace_span_begin(SPAN_DIRTY_LOG);
    for (u32 i = 0; i < VMM_SLOTS_MAX && result >= 0; i++)
        if (vm->slots[i].used)
            result = call(vm, vm->slots[i].slot);
    hw_trace_span_end(SPAN_DIRTY_LOG);
    vmm_unlock(&vm->vmm->big_lock);
    return result;
}

static s64 do_start_dirty_log_all(struct vmm_vm *vm, const u64 *args)
{
    (void)args;
    return for_all_slots(vm, vmm_dirty_start);
}

static s64 do_stop_dirty_log_all(struct vmm_vm *vm, const u64 *args)
{
    (void)args;
    return for_all_slots(vm, vmm_dirty_stop);
}

static s64 do_get_dirty_log(struct vmm_vm *vm, const u64 *args)
{
    return vmm_dirty_get(vm, (u32)args[0]);
}

static s64 do_clear_dirty_log(struct vmm_vm *vm, const u64 *args)
{
    return vmm_dirty_clear(vm, (u32)args[0], args[1], args[2]);
}

static s64 do_discard_memory(struct vmm_vm *vm, const u64 *args)
{
    const struct vmm_slot *s = vmm_find_slot(vm, (u32)args[0]);

    if (!s || args[1] > s->bytes || args[2] > s->bytes - args[1])
        return -VMM_EINVAL;
    if (migration_is_missing_pages(vm))
        return -VMM_EBUSY;
    return hv_syscall(HV_SYS_MADVISE_FREE, s->address + args[1], args[2], 0, 0);
}

static s64 do_get_resident(struct vmm_vm *vm, const u64 *args)
{
    (void)vm, (void)args;
    return hv_syscall(HV_SYS_RESIDENT, 0, 0, 0, 0) >> 20;
}

static s64 do_prefault(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[2]);
    struct hv_pre_fault_memory range = {.gpa = args[0], .size = args[1]};

    return vcpu ? hv_ioctl_ptr(vcpu->handle, HV_PRE_FAULT_MEMORY, &range) : -VMM_EINVAL;
}

static s64 do_kick_vcpu(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[0]);

    return vcpu ? hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)vcpu->thread, 0, 0, 0) : -VMM_EINVAL;
}

static s64 do_pause_vcpu(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[0]);

    if (!vcpu)
        return -VMM_EINVAL;
    __atomic_fetch_or(&vcpu->paused, VMM_PAUSED_BY_ACTION, __ATOMIC_RELEASE);
    return do_kick_vcpu(vm, args);
}

static s64 do_resume_vcpu(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[0]);

    if (!vcpu)
        return -VMM_EINVAL;
    __atomic_fetch_and(&vcpu->paused, ~VMM_PAUSED_BY_ACTION, __ATOMIC_RELEASE);
    return hv_futex_wake(&vcpu->paused, 1);
}

// Until when a thread of an action works or sleeps.
struct burn {
    u64 until_ns;
};

static void burn_thread(void *arg)
{
    const struct burn *b = arg;

    while (hv_clock_ns() < b->until_ns)
        for (u32 i = 0; i < 1000; i++)
            __asm__ volatile("");
    hv_exit();
}

static s64 do_burn_cpu(struct vmm_vm *vm, const u64 *args)
{
    struct burn *b = vmm_alloc(vm->vmm, sizeof *b);

    b->until_ns = hv_clock_ns() + args[1];
    return hv_thread_create(burn_thread, b, (u32)args[0], args[2] ? HV_PRIO_URGENT : HV_PRIO_NORMAL);
}

static s64 do_leave_smm(struct vmm_vm *vm, const u64 *args)
{
    struct vmm_vcpu *vcpu = vcpu_of(vm, args[0]);

    return vcpu ? hv_ioctl(vcpu->handle, HV_LEAVE_SMM, args[1]) : -VMM_EINVAL;
}

static s64 do_introspect(struct vmm_vm *vm, const u64 *args)
{
    return vmm_introspect(vm, (u32)args[0]);
}

static s64 do_kill(struct vmm_vm *vm, const u64 *args)
{
    (void)args;
    return vmm_kill(vm);
}

static s64 do_migrate(struct vmm_vm *vm, const u64 *args)
{
    return migration_start(vm, args);
}

static s64 do_migrate_cancel(struct vmm_vm *vm, const u64 *args)
{
    (void)args;
    return migration_cancel(vm);
}

static void link_up_thread(void *arg)
{
    const struct burn *b = arg;

    hv_sleep_until(b->until_ns);
    hv_syscall(HV_SYS_LINK_CONTROL, 1, 0, 0, 0);
    hv_exit();
}

static s64 do_link_down(struct vmm_vm *vm, const u64 *args)
{
    s64 result = hv_syscall(HV_SYS_LINK_CONTROL, 0, 0, 0, 0);

    if (result < 0 || args[0] == 0)
        return result;
    struct burn *b = vmm_alloc(vm->vmm, sizeof *b);

    b->until_ns = hv_clock_ns() + args[0];
    return hv_thread_create(link_up_thread, b, HV_CPU_ANY, HV_PRIO_NORMAL);
}

static s64 do_stop(struct vmm_vm *vm, const u64 *args)
{
    (void)vm, (void)args;
    return hv_syscall(HV_SYS_POWER_OFF, 0, 0, 0, 0);
}

static const action_fn handlers[VMM_OP_COUNT] = {
    [VMM_STOP] = do_stop,
    [VMM_IRQ_LINE] = do_irq_line,
    [VMM_IRQ_PULSE] = do_irq_pulse,
    [VMM_MSI] = do_msi,
    [VMM_NMI] = do_nmi,
    [VMM_INTERRUPT] = do_interrupt,
    [VMM_SET_MEMORY_REGION] = do_set_memory_region,
    [VMM_DELETE_MEMORY_REGION] = do_delete_memory_region,
    [VMM_START_DIRTY_LOG_ALL] = do_start_dirty_log_all,
    [VMM_STOP_DIRTY_LOG_ALL] = do_stop_dirty_log_all,
    [VMM_DISCARD_MEMORY] = do_discard_memory,
    [VMM_PLUG_MEMORY] = do_plug_memory,
    [VMM_START_DIRTY_LOG] = do_start_dirty_log,
    [VMM_STOP_DIRTY_LOG] = do_stop_dirty_log,
    [VMM_GET_DIRTY_LOG] = do_get_dirty_log,
    [VMM_CLEAR_DIRTY_LOG] = do_clear_dirty_log,
    [VMM_GET_RESIDENT] = do_get_resident,
    [VMM_PREFAULT] = do_prefault,
    [VMM_PAUSE_VCPU] = do_pause_vcpu,
    [VMM_RESUME_VCPU] = do_resume_vcpu,
    [VMM_KICK_VCPU] = do_kick_vcpu,
    [VMM_BURN_CPU] = do_burn_cpu,
    [VMM_LEAVE_SMM] = do_leave_smm,
    [VMM_INTROSPECT] = do_introspect,
    [VMM_KILL] = do_kill,
    [VMM_MIGRATE] = do_migrate,
    [VMM_MIGRATE_CANCEL] = do_migrate_cancel,
    [VMM_LINK_DOWN] = do_link_down,
};

s64 vmm_do(struct vmm *vmm, const struct vmm_action *action)
{
    vmm_check(action->op < VMM_OP_COUNT && action->vm < vmm->config->vm_count && handlers[action->op],
              "an action without a handler");
    struct vmm_vm *vm = &vmm->vms[action->vm];

    // What concerns the guest happens where it is; a migration itself is its source's business.
    if (vm->migration && action->op != VMM_MIGRATE_CANCEL && action->op != VMM_LINK_DOWN &&
        action->op != VMM_STOP && action->op != VMM_BURN_CPU && !migration_is_here(vm))
        return migration_forward(vm, action);
    s64 result = handlers[action->op](vm, action->args);

    hw_trace(TP_VMM_ACTION, action->op, vm->config->number, action->args[0], (u64)result, 0, 0);
    return result;
}
