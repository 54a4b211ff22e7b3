// SPDX-License-Identifier: Apache-2.0
// The API's commands that are x86's (hv/api_cmds.def): copying in and out around state.c, cpuid.c, msr.c,
// irqchip.c.
#include "hv/core/vm.h"
#include "hv/lib/errno.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/fpu.h"
#include "hv/x86/inject.h"
#include "hv/x86/lapic.h"
#include "hv/x86/msr.h"
#include "hv/x86/regs.h"
#include "hv/x86/smm.h"
#include "hv/x86/state.h"
#include "spec/cpuid.h"

static struct hostmm *user(void)
{
    return current_thread()->mm;
}

// --- Lists with a count in front: -E2BIG writes the count that is needed.

static s64 get_supported_cpuid(struct host *host, u64 arg)
{
    struct hv_cpuid2 head;
    const u64 bytes = HV_CPUID_ENTRIES_MAX * sizeof(struct hv_cpuid_entry2);

    if (copy_from_user(user(), &head, arg, sizeof(head)))
        return -EFAULT;
    struct hv_cpuid_entry2 *entries = kzalloc(host, bytes);

    if (entries == NULL)
        return -ENOMEM;
    u32 count = supported_cpuid(host, entries, HV_CPUID_ENTRIES_MAX);
    s64 result = head.nent < count ? -E2BIG : 0;

    head.nent = count;
    if (copy_to_user(user(), arg, &head, sizeof(head)))
        result = -EFAULT;
    if (result == 0 && copy_to_user(user(), arg + sizeof(head), entries, count * sizeof(*entries)))
        result = -EFAULT;
    kfree(host, entries, bytes);
    return result;
}

static s64 get_msr_list(struct host *host, u64 arg)
{
    struct hv_msr_list head;
    u64 bytes = HV_MSRS_MAX * sizeof(u32);

    if (copy_from_user(user(), &head, arg, sizeof(head)))
        return -EFAULT;
    u32 *numbers = kzalloc(host, bytes);

    if (numbers == NULL)
        return -ENOMEM;
    u32 count = msr_list(numbers, HV_MSRS_MAX);
    s64 result = head.nmsrs < count ? -E2BIG : 0;

    head.nmsrs = count;
    if (copy_to_user(user(), arg, &head, sizeof(head)))
        result = -EFAULT;
    if (result == 0 && copy_to_user(user(), arg + sizeof(head), numbers, count * sizeof(u32)))
        result = -EFAULT;
    kfree(host, numbers, bytes);
    return result;
}

s64 arch_system_ioctl(struct host *host, u32 cmd, u64 arg)
{
    switch (cmd) {
    case HV_GET_SUPPORTED_CPUID:
        return get_supported_cpuid(host, arg);
    case HV_GET_MSR_INDEX_LIST:
        return get_msr_list(host, arg);
    default:
        return -ENOTTY;
    }
}

// --- VM.

static s64 irqchip_state(struct vm *vm, u32 cmd, u64 arg)
{
    struct hv_irqchip chip;

    if (copy_from_user(user(), &chip, arg, sizeof(chip)))
        return -EFAULT;
    if (cmd == HV_SET_IRQCHIP)
        return irqchip_set_state(vm, &chip);
    int result = irqchip_get_state(vm, &chip);

    return result != 0 ? result : copy_to_user(user(), arg, &chip, sizeof(chip));
}

static s64 set_identity_map(struct x86_vm *vm, u64 arg)
{
    u64 address;

    if (copy_from_user(user(), &address, arg, sizeof(address)))
        return -EFAULT;
    if (vm->vm.created_vcpus != 0)
        return -EINVAL;
    vm->identity_map_addr = address;
    return 0;
}

s64 arch_vm_ioctl(struct vm *vm, u32 cmd, u64 arg)
{
    struct x86_vm *x = to_x86_vm(vm);

    switch (cmd) {
    case HV_SET_TSS_ADDR:
        if (arg > UINT32_MAX - 3 * PAGE_SIZE + 1)
            return -EINVAL;
        x->tss_addr = arg;
        return 0;
    case HV_SET_IDENTITY_MAP_ADDR:
        return set_identity_map(x, arg);
    case HV_GET_IRQCHIP:
    case HV_SET_IRQCHIP:
        return irqchip_state(vm, cmd, arg);
    case HV_CREATE_PIT2: {
        struct hv_pit_config config;

        return copy_from_user(user(), &config, arg, sizeof(config)) ? -EFAULT
                                                                    : irqchip_create_pit(vm, &config);
    }
    default:
        return -ENOTTY;
    }
}

// A guest may wait by MWAIT where the processor can.
static u32 may_disable_exits(void)
{
    struct hw_cpuid_regs r;

    hw_cpuid(1, 0, &r);
    return HV_DISABLE_EXITS_HLT | HV_DISABLE_EXITS_PAUSE |
           (r.ecx & CPUID_MONITOR ? HV_DISABLE_EXITS_MWAIT : 0);
}

s64 arch_vm_check_extension(struct vm *vm, u64 cap)
{
    (void)vm;
    switch (cap) {
    case HV_CAP_IRQCHIP:
    case HV_CAP_PIT2:
    case HV_CAP_MP_STATE:
    case HV_CAP_SPLIT_IRQCHIP:
    case HV_CAP_READONLY_MEM:
    case HV_CAP_PRE_FAULT_MEMORY:
        return 1;
    case HV_CAP_X86_DISABLE_EXITS:
        return may_disable_exits();
    case HV_CAP_VM_GPA_BITS:
        return mmu_root_level(this_host()) == 5 ? 57 : 48;
    default:
        return 0;
    }
}

int arch_vm_enable_cap(struct vm *vm, const struct hv_enable_cap *cap)
{
    switch (cap->cap) {
    case HV_CAP_SPLIT_IRQCHIP:
        return irqchip_create_split(vm, cap->args[0]);
    case HV_CAP_X86_DISABLE_EXITS:
        if ((cap->args[0] & ~(u64)may_disable_exits()) || vm->created_vcpus != 0)
            return -EINVAL;
        to_x86_vm(vm)->disabled_exits = (u32)cap->args[0];
        return 0;
    default:
        return -EINVAL;
    }
}

// --- vCPU.

static s64 get_or_set_msrs(struct x86_vcpu *v, u64 arg, bool set)
{
    struct hv_msrs head;
    u32 i;

    if (copy_from_user(user(), &head, arg, sizeof(head)))
        return -EFAULT;
    if (head.nmsrs > HV_MSRS_MAX)
        return -E2BIG;
    for (i = 0; i < head.nmsrs; i++) {
        struct hv_msr_entry e;
        u64 at = arg + sizeof(head) + i * sizeof(e);

        if (copy_from_user(user(), &e, at, sizeof(e)))
            return -EFAULT;
        if (set ? msr_write(v, e.index, e.data, true) : msr_read(v, e.index, &e.data, true))
            break;
        if (!set && copy_to_user(user(), at, &e, sizeof(e)))
            return -EFAULT;
    }
    return i;
}

static s64 set_cpuid(struct x86_vcpu *v, u64 arg)
{
    struct host *host = v->vcpu.vm->host;
    struct hv_cpuid2 head;

    if (copy_from_user(user(), &head, arg, sizeof(head)))
        return -EFAULT;
    if (head.nent > HV_CPUID_ENTRIES_MAX)
        return -E2BIG;
    u64 bytes = head.nent * sizeof(struct hv_cpuid_entry2);
    struct hv_cpuid_entry2 *entries = head.nent ? kzalloc(host, bytes) : NULL;

    if (head.nent && entries == NULL)
        return -ENOMEM;
    if (head.nent && copy_from_user(user(), entries, arg + sizeof(head), bytes)) {
        kfree(host, entries, bytes);
        return -EFAULT;
    }
    guest_cpuid_set(v, entries, head.nent);
    return 0;
}

static s64 get_cpuid(struct x86_vcpu *v, u64 arg)
{
    struct hv_cpuid2 head;

    if (copy_from_user(user(), &head, arg, sizeof(head)))
        return -EFAULT;
    bool fits = head.nent >= v->cpuid_count;

    head.nent = v->cpuid_count;
    if (copy_to_user(user(), arg, &head, sizeof(head)))
        return -EFAULT;
    if (!fits)
        return -E2BIG;
    return copy_to_user(user(), arg + sizeof(head), v->cpuid, v->cpuid_count * sizeof(*v->cpuid));
}

// By a thread beside the vCPU's: user_vector is claimed by whoever turns -1 into a vector.
static s64 interrupt(struct x86_vcpu *v, u64 vector)
{
    s32 none = -1;

    if (vector > 255)
        return -EINVAL;
    if (load_acquire(&x86_vm_of(v)->irqchip_mode) == IRQCHIP_KERNEL)
        return -ENXIO;
    if (!__atomic_compare_exchange_n(&v->user_vector, &none, (s32)vector, false, __ATOMIC_RELEASE,
                                     __ATOMIC_RELAXED))
        return -EEXIST;
    make_request(REQ_EVENT, &v->vcpu);
    vcpu_kick(&v->vcpu);
    return 0;
}

static s64 prefault(struct x86_vcpu *v, u64 arg)
{
    struct hv_pre_fault_memory range;
    s64 result = 0;
    bool any = false;

    if (copy_from_user(user(), &range, arg, sizeof(range)))
        return -EFAULT;
    if (range.flags || !is_aligned(range.gpa, PAGE_SIZE) || !is_aligned(range.size, PAGE_SIZE) ||
        range.gpa + range.size < range.gpa)
        return -EINVAL;
    u32 index = srcu_read_lock(&v->vcpu.vm->srcu);

    while (range.size != 0 && result == 0) {
        u64 bytes = 0;

        if (READ_ONCE(current_thread()->signal_pending)) {
            result = -EINTR;
            break;
        }
        result = mmu_prefault(v, gpa(range.gpa), range.size, &bytes);
        if (result == -EAGAIN)
            result = 0;
        bytes = min_u64(bytes, range.size);
        range.gpa += bytes;
        range.size -= bytes;
        any |= bytes != 0;
        cond_resched();
    }
    srcu_read_unlock(&v->vcpu.vm->srcu, index);
    if (copy_to_user(user(), arg, &range, sizeof(range)))
        return -EFAULT;
    return any ? 0 : result; // Progress counts: the rest's error shows at the next call.
}

// Commands whose argument is a structure: read it, do, write it back.
#define GET(type, call)                                                                                      \
    do {                                                                                                     \
        type out;                                                                                            \
        call;                                                                                                \
        return copy_to_user(user(), arg, &out, sizeof(out));                                                 \
    } while (0)
#define SET(type, call)                                                                                      \
    do {                                                                                                     \
        type in;                                                                                             \
        return copy_from_user(user(), &in, arg, sizeof(in)) ? -EFAULT : (call);                              \
    } while (0)

static s64 leave_smm(struct x86_vcpu *v, u64 smbase)
{
    u32 index = srcu_read_lock(&v->vcpu.vm->srcu);
    int result = smm_leave(v, smbase);

    srcu_read_unlock(&v->vcpu.vm->srcu, index);
    return result;
}

static s64 lapic_ioctl(struct x86_vcpu *v, u32 cmd, u64 arg)
{
    if (v->apic == NULL)
        return -EINVAL;
    if (cmd == HV_GET_LAPIC)
        GET(struct hv_lapic_state, lapic_get_state(v, &out));
    SET(struct hv_lapic_state, lapic_set_state(v, &in));
}

s64 arch_vcpu_async_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    struct x86_vcpu *v = to_x86(vcpu);

    switch (cmd) {
    case HV_INTERRUPT:
        return interrupt(v, arg);
    case HV_NMI:
        inject_nmi(v);
        return 0;
    default:
        return -ENOTTY;
    }
}

s64 arch_vcpu_ioctl(struct vcpu *vcpu, u32 cmd, u64 arg)
{
    struct x86_vcpu *v = to_x86(vcpu);

    switch (cmd) {
    case HV_GET_REGS:
        GET(struct hv_regs, vcpu_get_regs(v, &out));
    case HV_SET_REGS:
        SET(struct hv_regs, vcpu_set_regs(v, &in));
    case HV_GET_SREGS:
        GET(struct hv_sregs, vcpu_get_sregs(v, &out));
    case HV_SET_SREGS:
        SET(struct hv_sregs, vcpu_set_sregs(v, &in));
    case HV_GET_MSRS:
    case HV_SET_MSRS:
        return get_or_set_msrs(v, arg, cmd == HV_SET_MSRS);
    case HV_GET_LAPIC:
    case HV_SET_LAPIC:
        return lapic_ioctl(v, cmd, arg);
    case HV_SET_CPUID2:
        return set_cpuid(v, arg);
    case HV_GET_CPUID2:
        return get_cpuid(v, arg);
    case HV_GET_MP_STATE:
        GET(struct hv_mp_state, out.mp_state = vcpu->mp_state);
    case HV_SET_MP_STATE:
        SET(struct hv_mp_state, vcpu_set_mp_state(v, in.mp_state));
    case HV_GET_VCPU_EVENTS:
        GET(struct hv_vcpu_events, vcpu_get_events(v, &out));
    case HV_SET_VCPU_EVENTS:
        SET(struct hv_vcpu_events, vcpu_set_events(v, &in));
    case HV_GET_DEBUGREGS:
        GET(struct hv_debugregs, vcpu_get_debugregs(v, &out));
    case HV_SET_DEBUGREGS:
        SET(struct hv_debugregs, vcpu_set_debugregs(v, &in));
    case HV_PRE_FAULT_MEMORY:
        return prefault(v, arg);
    case HV_GET_XSAVE:
        return fpu_get(v, arg);
    case HV_SET_XSAVE:
        return fpu_set(v, arg);
    case HV_GET_XCRS:
        GET(struct hv_xcrs, fpu_get_xcrs(v, &out));
    case HV_SET_XCRS:
        SET(struct hv_xcrs, fpu_set_xcrs(v, &in));
    case HV_LEAVE_SMM:
        return leave_smm(v, arg);
    default:
        return -ENOTTY;
    }
}
