// SPDX-License-Identifier: Apache-2.0
#include "hv/x86/vmcs.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/x86/lapic.h"
#include "hv/x86/pml.h"
#include "spec/msrs.h"

// Selectors of the host's descriptor table: what a 64-bit kernel has (SDM 24.5, 26.2.3: TI and RPL are 0).
#define HOST_KERNEL_CS 0x10u
#define HOST_KERNEL_DS 0x18u
#define HOST_TSS 0x40u

__cold void vmread_failed(u32 field)
{
    hw_trace(TP_VM_FAIL, field, 0, 0, 0, 0, 0);
    HV_PANIC("VMREAD failed");
}

__cold void vmwrite_failed(u32 field, u64 value)
{
    u64 error = 0;

    (void)hw_vmread(VM_INSTRUCTION_ERROR, &error);
    hw_trace(TP_VM_FAIL, field, error, 0, 0, 0, 0);
    hw_trace_violation("VMWRITE failed", field, value);
    HV_PANIC("VMWRITE failed");
}

// On the CPU where it is active, interrupts disabled.
static void clear_here(void *arg)
{
    struct loaded_vmcs *l = arg;
    struct arch_cpu *here = this_cpu()->arch;

    if (l->cpu != this_cpu()) // It moved or was cleared before this call arrived.
        return;
    HV_ASSERT(hw_vmclear(l->hpa) == HW_VMX_OK);
    if (here->current_vmcs == l)
        here->current_vmcs = NULL;
    list_del(&l->node);
    l->launched = false;
    // Pairs with the load in loaded_vmcs_load(): who sees no CPU also sees the list without it.
    store_release(&l->cpu, NULL);
}

void loaded_vmcs_clear(struct loaded_vmcs *l)
{
    struct cpu *cpu = load_acquire(&l->cpu);

    if (cpu != NULL)
        cpu_call(cpu, clear_here, l);
}

int loaded_vmcs_alloc(struct host *host, struct loaded_vmcs *l)
{
    *l = (struct loaded_vmcs){.vmcs = page_alloc_zeroed(host, MEM_KERNEL),
                              .msr_bitmap = page_alloc_zeroed(host, MEM_KERNEL)};
    if (l->vmcs == NULL || l->msr_bitmap == NULL) {
        loaded_vmcs_free(host, l);
        return -ENOMEM;
    }
    memset(l->msr_bitmap, 0xff, PAGE_SIZE);
    l->hpa = va_to_hpa(host, l->vmcs);
    list_init(&l->node);
    *(u32 *)l->vmcs = x86_host(host)->caps.revision;
    return 0;
}

void loaded_vmcs_free(struct host *host, struct loaded_vmcs *l)
{
    loaded_vmcs_clear(l);
    if (l->vmcs != NULL)
        page_free(host, l->vmcs, MEM_KERNEL);
    if (l->msr_bitmap != NULL)
        page_free(host, l->msr_bitmap, MEM_KERNEL);
    l->vmcs = NULL;
    l->msr_bitmap = NULL;
}

bool loaded_vmcs_load(struct loaded_vmcs *l, struct cpu *cpu)
{
    struct arch_cpu *here = cpu->arch;
    bool moved = load_acquire(&l->cpu) != cpu;

    if (moved) {
        HV_ASSERT(l->cpu == NULL);
        bool flags = irq_save();

        // First load after VMCLEAR: initializes the region's launch state (SDM 24.11.3).
        HV_ASSERT(hw_vmclear(l->hpa) == HW_VMX_OK);
        list_add(&l->node, &here->loaded_vmcss);
        l->launched = false;
        l->cpu = cpu;
        irq_restore(flags);
    }
    if (here->current_vmcs != l) {
        here->current_vmcs = l;
        if (unlikely(hw_vmptrld(l->hpa) != HW_VMX_OK))
            HV_PANIC("VMPTRLD failed");
    }
    return moved;
}

void vmcs_write_cpu_state(struct x86_vcpu *v, const struct cpu *cpu)
{
    // The task-state segment and descriptor tables of a CPU lie beside its other data.
    u64 tables = (u64)cpu->arch;

    if (v->vmcs->host.tr_base == tables)
        return;
    v->vmcs->host.tr_base = tables;
    v->vmcs->host.gdtr_base = tables;
    vmcs_write(HOST_TR_BASE, tables);
    vmcs_write(HOST_GDTR_BASE, tables);
}

// Host state that is the same on every CPU and never changes (SDM 24.5).
static void write_host_constants(struct x86_vcpu *v)
{
    const struct x86_host *h = x86_host_of(v);

    vmcs_write(HOST_CR0, h->cr0 & ~X86_CR0_TS);
    vmcs_write(HOST_CR4, h->cr4);
    vmcs_write(HOST_CR3, hw_read_cr(3));
    vmcs_write(HOST_CS_SELECTOR, HOST_KERNEL_CS);
    vmcs_write(HOST_SS_SELECTOR, HOST_KERNEL_DS);
    vmcs_write(HOST_DS_SELECTOR, 0);
    vmcs_write(HOST_ES_SELECTOR, 0);
    vmcs_write(HOST_FS_SELECTOR, 0);
    vmcs_write(HOST_GS_SELECTOR, 0);
    vmcs_write(HOST_TR_SELECTOR, HOST_TSS);
    vmcs_write(HOST_FS_BASE, 0);
    vmcs_write(HOST_GS_BASE, 0);
    vmcs_write(HOST_IDTR_BASE, (u64)v->vcpu.vm->host->arch);
    vmcs_write(HOST_IA32_SYSENTER_CS, 0);
    vmcs_write(HOST_IA32_SYSENTER_ESP, 0);
    vmcs_write(HOST_IA32_SYSENTER_EIP, 0);
    vmcs_write(HOST_RIP, (u64)vmx_exit_landing);
    vmcs_write(HOST_RSP, 0);
    vmcs_write(HOST_IA32_EFER, h->efer);
    if (h->caps.exit & EXIT_LOAD_PAT)
        vmcs_write(HOST_IA32_PAT, h->pat);
    v->vmcs->host = (struct vmcs_host_state){0};
}

static void write_lists_and_masks(struct x86_vcpu *v)
{
    vmcs_write(MSR_BITMAP, va_to_hpa(v->vcpu.vm->host, v->vmcs->msr_bitmap).v);
    vmcs_write(VMCS_LINK_POINTER, ~0ull);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, 0);
    vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, 0);
    vmcs_write(CR3_TARGET_COUNT, 0);
    vmcs_write(VM_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write(VM_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, 0);
    // With EPT the guest keeps its page faults; these are what it must not have for itself (KVM's set).
    vmcs_write(EXCEPTION_BITMAP, 1u << UD_VECTOR | 1u << MC_VECTOR | 1u << DB_VECTOR | 1u << AC_VECTOR);
    vmcs_write(CR0_GUEST_HOST_MASK, ~v->cr0_guest_owned);
    vmcs_write(CR4_GUEST_HOST_MASK, ~v->cr4_guest_owned);
    if (x86_host_of(v)->caps.tpr_shadow)
        vmcs_write(TPR_THRESHOLD, 0);
}

void vmcs_setup(struct x86_vcpu *v)
{
    const struct vmx_caps *caps = &x86_host_of(v)->caps;

    // VMWRITE everything: a value equal to the initial cache would otherwise not be written.
    v->vmcs->controls =
        (struct vmcs_controls){~caps->pin, ~caps->cpu, ~caps->cpu2, ~caps->exit, ~caps->entry};
    vmx_update_controls(v);
    exit_controls_set(v, caps->exit & ~(u32)EXIT_LOAD_EFER);
    entry_controls_set(v, caps->entry & ~(u32)(ENTRY_LOAD_EFER | ENTRY_IA32E_MODE_GUEST));
    if (caps->ple) {
        vmcs_write(PLE_GAP, knob(knobs_of(v), KNOB_X86_PLE_GAP));
        v->ple_window = (u32)knob(knobs_of(v), KNOB_X86_PLE_WINDOW);
        vmcs_write(PLE_WINDOW, v->ple_window);
    }
    if (v->vpid != 0)
        vmcs_write(VIRTUAL_PROCESSOR_ID, v->vpid);
    if (caps->preemption_timer)
        vmcs_write(VMX_PREEMPTION_TIMER_VALUE, UINT32_MAX);
    if (caps->xsaves)
        vmcs_write(XSS_EXIT_BITMAP, 0);
    pml_vmcs_setup(v);
    write_host_constants(v);
    write_lists_and_masks(v);
    vmcs_write(TSC_OFFSET, v->tsc_offset);
    if (caps->entry & ENTRY_LOAD_PAT)
        vmcs_write(GUEST_IA32_PAT, v->pat);
    vmcs_write(GUEST_IA32_DEBUGCTL, 0);
    if (v->apic != NULL)
        apicv_vmcs_setup(v);
}
