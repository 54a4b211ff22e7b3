// SPDX-License-Identifier: Apache-2.0
// What migrates beside memory: vCPUs, interrupt controllers, devices; and whether a target is fit for them.
#include "hv/lib/string.h"
#include "hv/vmm/ioapic.h"
#include "hv/vmm/migration.h"

#define MSR_TSC 0x10u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_VMX_BASIC 0x480u
#define CPUID_PHYSICAL_BITS 0x80000008u
#define DIGEST_START 0xcbf29ce484222325ull
#define DIGEST_FACTOR 0x100000001b3ull

// --- Stopping and going on.

void migration_stop_vcpus(struct vmm_vm *vm)
{
    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        struct vmm_vcpu *vcpu = &vm->vcpus[i];

        __atomic_fetch_or(&vcpu->paused, VMM_PAUSED_ELSEWHERE, __ATOMIC_RELEASE);
        hv_syscall(HV_SYS_THREAD_SIGNAL, (u64)vcpu->thread, 0, 0, 0);
    }
    for (u32 i = 0; i < vm->config->vcpu_count; i++)
        while (!__atomic_load_n(&vm->vcpus[i].parked, __ATOMIC_ACQUIRE))
            hv_futex_wait(&vm->vcpus[i].parked, 0, 0);
}

void migration_resume_vcpus(struct vmm_vm *vm)
{
    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        __atomic_fetch_and(&vm->vcpus[i].paused, ~VMM_PAUSED_ELSEWHERE, __ATOMIC_RELEASE);
        hv_futex_wake(&vm->vcpus[i].paused, 1);
    }
}

// --- Digests. They are not part of migrating: an action asks for them as a proof.

static u64 digest_words(u64 digest, const u64 *words, u64 count)
{
    for (u64 i = 0; i < count; i++)
        digest = (digest ^ words[i]) * DIGEST_FACTOR;
    return digest;
}

// Pages of zeros do not count, so it does not matter which of them exist.
static u64 page_digest(u64 address, u64 gpa)
{
    s64 p = hv_syscall(HV_SYS_TOUCH, address, HV_TOUCH_RESIDENT, 0, 0);
    u64 any = 0;

    if (p < 0)
        return 0;
    for (u32 i = 0; i < 512; i++)
        any |= ((const u64 *)p)[i];
    return any ? digest_words(DIGEST_START ^ gpa, (const u64 *)p, 512) : 0;
}

u64 migration_memory_digest(struct vmm_vm *vm)
{
    u64 sum = 0;

    for (u32 i = 0; i < VMM_SLOTS_MAX; i++)
        for (u64 at = 0; vm->slots[i].used && at < vm->slots[i].bytes; at += 4096)
            sum += page_digest(vm->slots[i].address + at, vm->slots[i].gpa + at);
    return sum;
}

// --- State of a vCPU.

static struct hv_msrs *msr_buffer(struct vmm_vm *vm, u32 count)
{
    struct hv_msrs *msrs = vm->migration->msrs;

    msrs->nmsrs = count;
    return msrs;
}

// One at a time: a register that this vCPU does not have is left out.
static void save_msrs(struct vmm_vm *vm, int handle, struct migration_vcpu_state *s)
{
    struct hv_msr_list *list = vm->migration->msr_list;

    list->nmsrs = MIGRATION_MSRS_MAX;
    vmm_require(hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_MSR_INDEX_LIST, list), "GET_MSR_INDEX_LIST");
    s->msr_count = 0;
    for (u32 i = 0; i < list->nmsrs; i++) {
        struct hv_msrs *msrs = msr_buffer(vm, 1);

        msrs->entries[0] = (struct hv_msr_entry){.index = list->indices[i]};
        if (hv_ioctl_ptr(handle, HV_GET_MSRS, msrs) == 1)
            s->msrs[s->msr_count++] = msrs->entries[0];
    }
}

static s64 load_msrs(struct vmm_vm *vm, int handle, const struct migration_vcpu_state *s, bool deadline)
{
    for (u32 i = 0; i < s->msr_count && i < MIGRATION_MSRS_MAX; i++) {
        struct hv_msrs *msrs = msr_buffer(vm, 1);

        if ((s->msrs[i].index == MSR_TSC_DEADLINE) != deadline)
            continue;
        msrs->entries[0] = s->msrs[i];
        if (hv_ioctl_ptr(handle, HV_SET_MSRS, msrs) == 1)
            continue;
        // What nobody can write must be the same.
        if (hv_ioctl_ptr(handle, HV_GET_MSRS, msrs) != 1 || msrs->entries[0].data != s->msrs[i].data)
            return -1;
    }
    return 0;
}

static bool has_lapic(const struct vmm_vm *vm)
{
    return (vm->config->flags & (VMM_VM_IRQCHIP | VMM_VM_SPLIT_IRQCHIP)) != 0;
}

u64 migration_vcpu_bytes(const struct vmm_vm *vm)
{
    return vmm_program_of(vm) ? sizeof(struct migration_vcpu_state)
                              : offsetof(struct migration_vcpu_state, xcrs);
}

static void save_vcpu(struct vmm_vm *vm, int handle, struct migration_vcpu_state *s)
{
    struct hv_cpuid2 *cpuid = vm->migration->cpuid;

    memset(s, 0, sizeof *s);
    cpuid->nent = VMM_CPUID_MAX;
    vmm_require(hv_ioctl_ptr(handle, HV_GET_CPUID2, cpuid), "GET_CPUID2");
    s->cpuid_count = cpuid->nent;
    memcpy(s->cpuid, cpuid->entries, cpuid->nent * sizeof s->cpuid[0]);
    vmm_require(hv_ioctl_ptr(handle, HV_GET_VCPU_EVENTS, &s->events), "GET_VCPU_EVENTS");
    vmm_require(hv_ioctl_ptr(handle, HV_GET_MP_STATE, &s->mp_state), "GET_MP_STATE");
    vmm_require(hv_ioctl_ptr(handle, HV_GET_REGS, &s->regs), "GET_REGS");
    vmm_require(hv_ioctl_ptr(handle, HV_GET_SREGS, &s->sregs), "GET_SREGS");
    vmm_require(hv_ioctl_ptr(handle, HV_GET_DEBUGREGS, &s->debugregs), "GET_DEBUGREGS");
    if (has_lapic(vm))
        vmm_require(hv_ioctl_ptr(handle, HV_GET_LAPIC, &s->lapic), "GET_LAPIC");
    save_msrs(vm, handle, s);
    if (vmm_program_of(vm)) {
        vmm_require(hv_ioctl_ptr(handle, HV_GET_XCRS, &s->xcrs), "GET_XCRS");
        vmm_require(hv_ioctl_ptr(handle, HV_GET_XSAVE, &s->xsave), "GET_XSAVE");
    }
}

// In an order in which each finds what it depends on: the APIC's mode before its registers, its timer's mode
// before the deadline.
static s64 load_vcpu(struct vmm_vm *vm, int handle, const struct migration_vcpu_state *s)
{
    struct hv_cpuid2 *cpuid = vm->cpuid;

    if (s->cpuid_count > VMM_CPUID_MAX)
        return -1;
    cpuid->nent = s->cpuid_count;
    memcpy(cpuid->entries, s->cpuid, s->cpuid_count * sizeof s->cpuid[0]);
    s64 result = hv_ioctl_ptr(handle, HV_SET_CPUID2, cpuid);

    if (result >= 0)
        result = hv_ioctl_ptr(handle, HV_SET_SREGS, &s->sregs);
    if (result >= 0)
        result = load_msrs(vm, handle, s, false);
    if (result >= 0 && has_lapic(vm))
        result = hv_ioctl_ptr(handle, HV_SET_LAPIC, &s->lapic);
    if (result >= 0)
        result = load_msrs(vm, handle, s, true);
    if (result >= 0)
        result = hv_ioctl_ptr(handle, HV_SET_REGS, &s->regs);
    if (result >= 0)
        result = hv_ioctl_ptr(handle, HV_SET_VCPU_EVENTS, &s->events);
    if (result >= 0)
        result = hv_ioctl_ptr(handle, HV_SET_DEBUGREGS, &s->debugregs);
    if (result >= 0 && vmm_program_of(vm))
        result = hv_ioctl_ptr(handle, HV_SET_XCRS, &s->xcrs);
    if (result >= 0 && vmm_program_of(vm))
        result = hv_ioctl_ptr(handle, HV_SET_XSAVE, &s->xsave);
    return result >= 0 ? hv_ioctl_ptr(handle, HV_SET_MP_STATE, &s->mp_state) : result;
}

// --- State of the VM.

static void save_vm(struct vmm_vm *vm, struct migration_vm_state *s)
{
    memset(s, 0, sizeof *s);
    for (u32 i = 0; (vm->config->flags & VMM_VM_IRQCHIP) && i < HV_IRQCHIPS; i++) {
        s->chips[i].chip_id = i;
        vmm_require(hv_ioctl_ptr(vm->handle, HV_GET_IRQCHIP, &s->chips[i]), "GET_IRQCHIP");
    }
    if (vm->ioapic)
        vmm_ioapic_save(vm->ioapic, &s->ioapic);
    for (u32 i = 0; i < vm->config->device_count && i < MIGRATION_DEVICES_MAX; i++) {
        s->devices[i].reads = vm->devices[i].reads;
        s->devices[i].writes = vm->devices[i].writes;
        s->devices[i].last = vm->devices[i].last;
    }
    vmm_balloon_save(vm, &s->balloon);
}

static s64 load_vm(struct vmm_vm *vm, const struct migration_vm_state *s)
{
    s64 result = 0;

    for (u32 i = 0; (vm->config->flags & VMM_VM_IRQCHIP) && i < HV_IRQCHIPS && result >= 0; i++)
        result = hv_ioctl_ptr(vm->handle, HV_SET_IRQCHIP, &s->chips[i]);
    if (vm->ioapic)
        vmm_ioapic_load(vm->ioapic, &s->ioapic);
    for (u32 i = 0; i < vm->config->device_count && i < MIGRATION_DEVICES_MAX; i++) {
        vm->devices[i].reads = s->devices[i].reads;
        vm->devices[i].writes = s->devices[i].writes;
        vm->devices[i].last = s->devices[i].last;
    }
    return result < 0 ? result : vmm_balloon_load(vm, &s->balloon);
}

// Time goes on while it is being read: the time stamp counter says nothing.
static u64 state_digest(const struct vmm_vm *vm)
{
    const struct vmm_migration *m = vm->migration;
    u64 digest = digest_words(DIGEST_START, (const u64 *)m->vm, sizeof *m->vm / 8);

    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        struct migration_vcpu_state *s = &m->vcpus[i];

        digest = digest_words(digest, (const u64 *)s, offsetof(struct migration_vcpu_state, msrs) / 8);
        for (u32 n = 0; n < s->msr_count; n++)
            if (s->msrs[n].index != MSR_TSC)
                digest = digest_words(digest, &s->msrs[n].data, 1);
        if (vmm_program_of(vm))
            digest = digest_words(digest, (const u64 *)&s->xcrs, (sizeof s->xcrs + sizeof s->xsave) / 8);
    }
    return digest;
}

u64 migration_save_state(struct vmm_vm *vm)
{
    for (u32 i = 0; i < vm->config->vcpu_count; i++) {
        save_vcpu(vm, vm->vcpus[i].handle, &vm->migration->vcpus[i]);
        vm->migration->vcpus[i].paused = __atomic_load_n(&vm->vcpus[i].paused, __ATOMIC_RELAXED) &
                                         ~(VMM_PAUSED_ELSEWHERE | VMM_PAUSED_THROTTLED);
    }
    save_vm(vm, vm->migration->vm);
    return state_digest(vm);
}

s64 migration_load_state(struct vmm_vm *vm)
{
    s64 result = load_vm(vm, vm->migration->vm);

    for (u32 i = 0; i < vm->config->vcpu_count && result >= 0; i++) {
        result = load_vcpu(vm, vm->vcpus[i].handle, &vm->migration->vcpus[i]);
        __atomic_store_n(&vm->vcpus[i].paused, vm->migration->vcpus[i].paused | VMM_PAUSED_ELSEWHERE,
                         __ATOMIC_RELAXED);
    }
    return result;
}

// --- Is the target fit?

static u32 host_vendor(void)
{
    struct hw_cpuid_regs regs;

    hw_cpuid(0, 0, &regs);
    return regs.ebx;
}

static u32 capability(u64 cap)
{
    return (u32)hv_ioctl(HV_HANDLE_SYSTEM, HV_CHECK_EXTENSION, cap);
}

static u32 host_physical_bits(void)
{
    struct hw_cpuid_regs regs;

    hw_cpuid(CPUID_PHYSICAL_BITS, 0, &regs);
    return regs.eax & 0xff;
}

void migration_read_vmx(struct vmm_vm *vm)
{
    for (u32 i = 0; i < MIGRATION_VMX_MSRS; i++) {
        struct hv_msrs *msrs = msr_buffer(vm, 1);

        msrs->entries[0] = (struct hv_msr_entry){.index = MSR_VMX_BASIC + i};
        if (hv_ioctl_ptr(vm->vcpus[0].handle, HV_GET_MSRS, msrs) == 1)
            vm->migration->vmx[i] = msrs->entries[0].data;
    }
}

void migration_describe(struct vmm_vm *vm, struct migration_shape *shape)
{
    memset(shape, 0, sizeof *shape);
    shape->flags = vm->config->flags & ~VMM_VM_INCOMING;
    shape->vcpu_count = vm->config->vcpu_count;
    shape->device_count = vm->config->device_count;
    shape->vendor = host_vendor();
    shape->tsc_khz = capability(HV_CAP_GET_TSC_KHZ);
    shape->gpa_bits = capability(HV_CAP_VM_GPA_BITS);
    shape->physical_bits = host_physical_bits();
    memcpy(shape->vmx, vm->migration->vmx, sizeof shape->vmx);
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        const struct vmm_slot *s = &vm->slots[i];

        if (!s->used)
            continue;
        shape->memory_bytes += s->bytes;
        shape->slots[shape->slot_count].gpa = s->gpa;
        shape->slots[shape->slot_count].bytes = s->bytes;
        shape->slots[shape->slot_count].slot = s->slot;
        shape->slots[shape->slot_count].flags = s->flags;
        shape->slots[shape->slot_count++].page_shift = s->page_shift;
    }
    // Not asked of a vCPU: it runs and would not answer.
    shape->cpuid_count = vm->cpuid->nent;
    memcpy(shape->cpuid, vm->cpuid->entries, vm->cpuid->nent * sizeof shape->cpuid[0]);
}

// Bits that enumerate features: leaf, subleaf, register (0 EAX .. 3 EDX).
static const struct {
    u32 leaf, subleaf, reg;
} feature_words[] = {{1, 0, 2},  {1, 0, 3},  {7, 0, 1},          {7, 0, 2},         {7, 0, 3},
                     {13, 0, 0}, {13, 1, 0}, {0x80000001, 0, 2}, {0x80000001, 0, 3}};

static u32 cpuid_word(const struct hv_cpuid_entry2 *entries, u32 count, u32 row)
{
    for (u32 i = 0; i < count; i++) {
        const struct hv_cpuid_entry2 *e = &entries[i];
        const u32 regs[] = {e->eax, e->ebx, e->ecx, e->edx};

        if (e->function == feature_words[row].leaf && e->index == feature_words[row].subleaf)
            return regs[feature_words[row].reg];
    }
    return 0;
}

// OSXSAVE shows what the guest has switched on, not what there is.
#define CPUID_1_ECX_OSXSAVE (1u << 27)
static bool has_features(const struct migration_shape *shape, const struct hv_cpuid2 *have)
{
    for (u32 i = 0; i < sizeof feature_words / sizeof feature_words[0]; i++) {
        u32 missing =
            cpuid_word(shape->cpuid, shape->cpuid_count, i) & ~cpuid_word(have->entries, have->nent, i);

        if (i == 0)
            missing &= ~CPUID_1_ECX_OSXSAVE;
        if (missing)
            return false;
    }
    return true;
}

// The target's memory slots follow the source's: those that actions made meanwhile.
static bool make_slots(struct vmm_vm *vm, const struct migration_shape *shape)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        bool wanted = false;

        for (u32 n = 0; n < shape->slot_count; n++)
            wanted |= shape->slots[n].slot == vm->slots[i].slot && shape->slots[n].gpa == vm->slots[i].gpa &&
                      shape->slots[n].bytes == vm->slots[i].bytes;
        if (vm->slots[i].used && !wanted && vmm_remove_slot(vm, vm->slots[i].slot) < 0)
            return false;
    }
    for (u32 n = 0; n < shape->slot_count; n++)
        if (!vmm_find_slot(vm, shape->slots[n].slot) &&
            vmm_add_slot(vm, shape->slots[n].slot, shape->slots[n].flags, shape->slots[n].gpa,
                         shape->slots[n].bytes, shape->slots[n].page_shift) < 0)
            return false;
    return true;
}

u32 migration_check(struct vmm_vm *vm, const struct migration_shape *shape)
{
    struct hv_cpuid2 *have = vm->migration->cpuid;

    if (__atomic_load_n(&vm->migration->here, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&vm->migration->phase, __ATOMIC_ACQUIRE) != MIGRATION_IDLE)
        return MIGRATION_BUSY;
    if (shape->vcpu_count != vm->config->vcpu_count || shape->device_count != vm->config->device_count ||
        shape->flags != (vm->config->flags & ~VMM_VM_INCOMING) || shape->slot_count > VMM_SLOTS_MAX ||
        shape->cpuid_count > VMM_CPUID_MAX)
        return MIGRATION_SHAPE;
    if (shape->memory_bytes > (u64)hv_syscall(HV_SYS_MEMORY_FREE, 0, 0, 0, 0))
        return MIGRATION_MEMORY;
    if (shape->vendor != host_vendor() || shape->tsc_khz != capability(HV_CAP_GET_TSC_KHZ))
        return MIGRATION_PROCESSOR;
    if (shape->physical_bits > host_physical_bits() || shape->gpa_bits != capability(HV_CAP_VM_GPA_BITS))
        return MIGRATION_LEVELS;
    have->nent = VMM_CPUID_MAX;
    vmm_require(hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_SUPPORTED_CPUID, have), "GET_SUPPORTED_CPUID");
    if (!has_features(shape, have))
        return MIGRATION_CPUID;
    if (memcmp(shape->vmx, vm->migration->vmx, sizeof shape->vmx) != 0)
        return MIGRATION_VMX;
    return make_slots(vm, shape) ? MIGRATION_OK : MIGRATION_SHAPE;
}
