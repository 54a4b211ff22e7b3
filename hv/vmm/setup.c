// SPDX-License-Identifier: Apache-2.0
// A VM as firmware would leave it: memory, interrupt controllers, vCPUs in their first mode.
#include "hv/hw/setup.h"
#include "hv/hw/cpu.h"
#include "hv/hw/trace.h"
#include "hv/lib/spans.h"
#include "hv/lib/string.h"
#include "hv/vmm/ioapic.h"
#include "hv/vmm/migration.h"
#include "hv/vmm/pc.h"
#include "hv/vmm/vmm.h"
#include "spec/apic_bits.h"
#include "spec/cpuid.h"
#include "spec/x86_bits.h"

#define MONITOR_LEAF 5u

// State that firmware and the guest kernel's early code have set up before a stream begins.
#define GUEST_TIMER_VECTOR 0xecu
#define GUEST_SPURIOUS_VECTOR 0xffu

struct vmm_slot *vmm_find_slot(struct vmm_vm *vm, u32 slot)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++)
        if (vm->slots[i].used && vm->slots[i].slot == slot)
            return &vm->slots[i];
    return NULL;
}

static struct vmm_slot *free_slot(struct vmm_vm *vm)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++)
        if (!vm->slots[i].used)
            return &vm->slots[i];
    return NULL;
}

s64 vmm_add_slot(struct vmm_vm *vm, u32 slot, u32 flags, u64 gpa, u64 bytes, unsigned page_shift)
{
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (!s) {
        u64 page = 1ull << page_shift;
        s64 address = hv_mmap((bytes + page - 1) & ~(page - 1), page_shift, HV_MAP_GUEST);

        s = free_slot(vm);
        if (address < 0 || !s)
            return address < 0 ? address : -1;
        *s = (struct vmm_slot){
            .slot = slot, .page_shift = page_shift, .address = (u64)address, .bytes = bytes};
    }
    s->flags = flags & ~HV_MEM_LOG_DIRTY_PAGES;
    s->gpa = gpa;
    struct hv_user_memory_region region = {.slot = slot,
                                           .flags = flags,
                                           .guest_phys_addr = gpa,
                                           .memory_size = bytes,
                                           .userspace_addr = s->address};
    s64 result = hv_ioctl_ptr(vm->handle, HV_SET_USER_MEMORY_REGION, &region);

    s->used = result >= 0 || s->used;
    return result;
}

s64 vmm_remove_slot(struct vmm_vm *vm, u32 slot)
{
    struct hv_user_memory_region region = {.slot = slot};
    s64 result = hv_ioctl_ptr(vm->handle, HV_SET_USER_MEMORY_REGION, &region);
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (result < 0 || !s)
        return result;
    s->used = 0;
    return hv_syscall(HV_SYS_MUNMAP, s->address, s->bytes, 0, 0);
}

// What QEMU assumes of a core that does not say how many slots it has.
#define SLOTS_ASSUMED 32u
#define VMM_ENOSPC 28
s64 vmm_plug_memory(struct vmm_vm *vm, u64 gpa, u64 bytes)
{
    s64 slots = hv_ioctl(vm->handle, HV_CHECK_EXTENSION, HV_CAP_NR_MEMSLOTS);

    if (slots <= 0)
        slots = SLOTS_ASSUMED;
    for (u32 slot = 0; slot < (u64)slots; slot++)
        if (!vmm_find_slot(vm, slot))
            return vmm_add_slot(vm, slot, 0, gpa, bytes, 12);
    return -VMM_ENOSPC;
}

static void add_memory(struct vmm_vm *vm)
{
    u64 bytes = vm->config->memory_bytes;
    u64 low = bytes < VMM_HOLE ? bytes : VMM_HOLE;

    vmm_require(vmm_add_slot(vm, 0, 0, 0, low, vm->config->page_shift), "guest memory was refused");
    if (bytes > low)
        vmm_require(vmm_add_slot(vm, 1, 0, VMM_ABOVE_HOLE, bytes - low, vm->config->page_shift),
                    "guest memory above 4 GiB was refused");
    const struct vmm_slot_config *slots = vmm_config_at(vm->vmm->config, vm->config->slots_offset);

    for (u32 i = 0; i < vm->config->slot_count; i++)
        vmm_require(
            vmm_add_slot(vm, slots[i].slot, slots[i].flags, slots[i].gpa, slots[i].size, slots[i].page_shift),
            "a memory slot was refused");
}

static void add_irqchip(struct vmm_vm *vm)
{
    if (vm->config->flags & VMM_VM_IRQCHIP)
        vmm_require(hv_ioctl(vm->handle, HV_CREATE_IRQCHIP, 0), "no irqchip");
    if (vm->config->flags & VMM_VM_SPLIT_IRQCHIP) {
        struct hv_enable_cap cap = {.cap = HV_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};

        vmm_require(hv_ioctl_ptr(vm->handle, HV_ENABLE_CAP, &cap), "no split irqchip");
        vm->ioapic = vmm_ioapic_create(vm);
    }
}

// The PIT is the core's, as the interrupt controllers are; with the I/O APIC in user space there is none.
// What firmware leaves in memory takes no simulated time.
static void add_pc(struct vmm_vm *vm)
{
    struct hv_pit_config pit = {.flags = HV_PIT_SPEAKER_PORT};

    if (vm->config->flags & VMM_VM_IRQCHIP)
        vmm_require(hv_ioctl_ptr(vm->handle, HV_CREATE_PIT2, &pit), "no PIT");
    hw_trace_span_begin(SPAN_SETUP);
    hw_setup_begin();
    vmm_pc_create(vm);
    hw_setup_end();
    hw_trace_span_end(SPAN_SETUP);
}

// 64-bit mode with paging on; the stream's program is named by the interrupt table's base. `root`: its page
// tables, 0: the configuration's CR3, for a program whose addresses no tables translate.
static void set_long_mode(const struct vmm_vcpu *vcpu, const struct vmm_vcpu_config *c, u64 root)
{
    struct hv_sregs s;
    struct hv_regs r = {.rip = c->rip, .rsp = c->rsp, .rflags = X86_RFLAGS_FIXED | X86_RFLAGS_IF};

    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_GET_SREGS, &s), "GET_SREGS");
    s.cs = vmm_flat_segment(0x10, 0xb, true);
    s.ds = s.es = s.fs = s.gs = s.ss = vmm_flat_segment(0x18, 0x3, false);
    s.tr = (struct hv_segment){.limit = 0x67, .selector = 0x40, .type = 0xb, .present = 1};
    s.ldt = (struct hv_segment){.unusable = 1};
    s.idt = (struct hv_dtable){.base = c->idtr_base, .limit = 0xfff};
    s.cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
    s.cr3 = root ? root : c->cr3;
    s.cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
            (vcpu->vm->config->paging_levels == 5 ? X86_CR4_LA57 : 0);
    s.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_SET_SREGS, &s), "SET_SREGS");
    vmm_require(hv_ioctl_ptr(vcpu->handle, HV_SET_REGS, &r), "SET_REGS");
}

// x2APIC mode, enabled, timer in TSC-deadline mode: where every guest kernel arrives before it does anything
// else.
static void set_lapic(struct vmm *vmm, const struct vmm_vcpu *vcpu)
{
    struct hv_msrs *msrs = vmm_alloc(vmm, sizeof *msrs + 4 * sizeof msrs->entries[0]);

    msrs->nmsrs = 4;
    msrs->entries[0] =
        (struct hv_msr_entry){.index = 0x1b, .data = 0xfee00c00u | (vcpu->index == 0 ? 0x100u : 0)};
    msrs->entries[1] = (struct hv_msr_entry){.index = 0x80f, .data = 0x100u | GUEST_SPURIOUS_VECTOR};
    msrs->entries[2] = (struct hv_msr_entry){.index = 0x832, .data = 0x40000u | GUEST_TIMER_VECTOR};
    msrs->entries[3] = (struct hv_msr_entry){.index = 0x808, .data = 0};
    vmm_check(hv_ioctl_ptr(vcpu->handle, HV_SET_MSRS, msrs) == 4, "SET_MSRS of the local APIC");
}

static void disable_exits(struct vmm_vm *vm)
{
    struct hv_enable_cap cap = {.cap = HV_CAP_X86_DISABLE_EXITS, .args = {vm->config->disabled_exits}};

    if (vm->config->disabled_exits)
        vmm_require(hv_ioctl_ptr(vm->handle, HV_ENABLE_CAP, &cap), "exits cannot be disabled");
}

// MONITOR and its sizes are the processor's, the states those of C1 (SDM vol. 2, CPUID leaf 5).
static void offer_monitor(struct hv_cpuid_entry2 *e)
{
    struct hw_cpuid_regs r;

    if (e->function == 1)
        e->ecx |= CPUID_MONITOR;
    if (e->function != MONITOR_LEAF)
        return;
    hw_cpuid(MONITOR_LEAF, 0, &r);
    e->eax = r.eax;
    e->ebx = r.ebx;
    e->ecx = r.ecx & (CPUID_MWAIT_EXTENSIONS | CPUID_MWAIT_INTERRUPT_BREAK);
    e->edx = r.edx & (u32)CPUID_MWAIT_C1_STATES_MASK;
}

// Returns whether the guest may use 1-GiB pages.
static bool set_cpuid(struct vmm *vmm, struct vmm_vm *vm)
{
    bool pages_1g = false;
    struct hv_cpuid2 *c = vmm_alloc(vmm, sizeof *c + VMM_CPUID_MAX * sizeof c->entries[0]);

    vm->cpuid = c;
    c->nent = VMM_CPUID_MAX;
    vmm_require(hv_ioctl_ptr(HV_HANDLE_SYSTEM, HV_GET_SUPPORTED_CPUID, c), "GET_SUPPORTED_CPUID");
    for (u32 i = 0; i < c->nent; i++) {
        if (c->entries[i].function == 1 && !(vm->config->flags & VMM_VM_NESTED))
            c->entries[i].ecx &= ~(u32)CPUID_VMX;
        if (vm->config->disabled_exits & HV_DISABLE_EXITS_MWAIT)
            offer_monitor(&c->entries[i]);
        if (c->entries[i].function == 0x80000001)
            pages_1g = (c->entries[i].edx & CPUID_PDPE1GB) != 0;
    }
    const struct vmm_program_config *program = vmm_program_of(vm);

    if (program)
        vmm_guest_cpuid(c, vm->config->vcpu_count, vmm_config_at(vmm->config, program->hidden_offset),
                        program->hidden_count);
    for (u32 v = 0; v < vm->config->vcpu_count; v++)
        vmm_require(hv_ioctl_ptr(vm->vcpus[v].handle, HV_SET_CPUID2, c), "SET_CPUID2");
    return pages_1g;
}

static void add_vcpus(struct vmm *vmm, struct vmm_vm *vm)
{
    const struct vmm_vcpu_config *c = vmm_config_at(vmm->config, vm->config->vcpus_offset);

    vm->vcpus = vmm_alloc(vmm, vm->config->vcpu_count * sizeof *vm->vcpus);
    for (u32 v = 0; v < vm->config->vcpu_count; v++) {
        struct vmm_vcpu *vcpu = &vm->vcpus[v];

        vcpu->vm = vm;
        vcpu->index = v;
        vcpu->handle = (int)hv_ioctl(vm->handle, HV_CREATE_VCPU, c[v].apic_id);
        vmm_check(vcpu->handle >= 0, "a vCPU could not be created");
        vcpu->run = (struct hv_run *)hv_ioctl(vcpu->handle, HV_RUN_PAGE, 0);
        s64 ring = hv_ioctl(vcpu->handle, HV_DIRTY_RING_PAGE, 0);
        vcpu->ring = ring > 0 ? (struct hv_dirty_gfn *)ring : NULL;
    }
    bool pages_1g = set_cpuid(vmm, vm);
    u64 root = vm->config->paging_levels ? vmm_guest_tables(vm, pages_1g) : 0;

    for (u32 v = 0; v < vm->config->vcpu_count; v++) {
        if (vmm_program_of(vm))
            vmm_program_enter(&vm->vcpus[v], root);
        else if (c[v].mode == VMM_MODE_LONG)
            set_long_mode(&vm->vcpus[v], &c[v], root);
        if (vm->config->flags & (VMM_VM_IRQCHIP | VMM_VM_SPLIT_IRQCHIP)) {
            struct hv_mp_state state = {.mp_state = c[v].wait_for_sipi ? 1u : 0u};

            if (!vmm_program_of(vm))
                set_lapic(vmm, &vm->vcpus[v]);
            vmm_require(hv_ioctl_ptr(vm->vcpus[v].handle, HV_SET_MP_STATE, &state), "SET_MP_STATE");
        }
    }
}

static void prefault_range(struct vmm_vm *vm, u64 gpa, u64 bytes)
{
    struct hv_pre_fault_memory range = {.gpa = gpa, .size = bytes};

    vmm_require(hv_ioctl_ptr(vm->vcpus[0].handle, HV_PRE_FAULT_MEMORY, &range), "PRE_FAULT_MEMORY");
}

static void prefault(struct vmm_vm *vm)
{
    u64 bytes = vm->config->memory_bytes, low = bytes < VMM_HOLE ? bytes : VMM_HOLE;
    bool untimed = (vm->config->flags & VMM_VM_UNTIMED) != 0;

    hw_trace_span_begin(SPAN_SETUP);
    if (untimed)
        hw_setup_begin();
    prefault_range(vm, 0, low);
    if (bytes > low)
        prefault_range(vm, VMM_ABOVE_HOLE, bytes - low);
    if (untimed)
        hw_setup_end();
    hw_trace_span_end(SPAN_SETUP);
}

void vmm_vm_setup(struct vmm *vmm, u32 index)
{
    struct vmm_vm *vm = &vmm->vms[index];
    const struct vmm_vm_config *configs = vmm_config_at(vmm->config, vmm->config->vms_offset);
    const struct vmm_device_config *devices = vmm_config_at(vmm->config, configs[index].devices_offset);

    vm->vmm = vmm;
    vm->index = index;
    vm->config = &configs[index];
    vm->handle = (int)hv_ioctl(HV_HANDLE_SYSTEM, HV_CREATE_VM, 0);
    vmm_check(vm->handle >= 0, "a VM could not be created");
    if (vmm->config->host_count > 1) {
        struct hv_enable_cap cap = {.cap = HV_CAP_VM_NUMBER, .args = {vm->config->number}};

        vmm_require(hv_ioctl_ptr(vm->handle, HV_ENABLE_CAP, &cap), "the VM's number was refused");
    }
    vmm_dirty_setup(vm);
    disable_exits(vm);
    add_irqchip(vm);
    add_memory(vm);
    if (vm->config->flags & VMM_VM_PC)
        add_pc(vm);
    if (vmm_program_of(vm))
        vmm_program_load(vm);
    vm->devices = vmm_alloc(vmm, vm->config->device_count * sizeof *vm->devices);
    for (u32 i = 0; i < vm->config->device_count; i++)
        vm->devices[i].config = &devices[i];
    add_vcpus(vmm, vm);
    if (vmm->config->host_count > 1)
        migration_init(vm);
    if ((vm->config->flags & (VMM_VM_PREFAULT | VMM_VM_INCOMING)) == VMM_VM_PREFAULT)
        prefault(vm);
}
