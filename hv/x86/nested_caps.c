// SPDX-License-Identifier: Apache-2.0
// Nested VMX: what L1 is offered (SDM appendix A).
//
// Of each control what the core can merge and the processor can do. Not offered, hence refused at VM entry
// with error 7: unrestricted guest, TPR shadow and APIC virtualization, preemption timer, VMCS
// shadowing, PML, VM functions.
#include "hv/x86/nested_state.h"
#include "spec/cpuid.h"

// Default-1 bits that the TRUE MSRs let L1 clear.
#define CPU_CLEARABLE (CPU_CR3_LOAD_EXITING | CPU_CR3_STORE_EXITING)
#define EXIT_CLEARABLE EXIT_SAVE_DEBUG_CONTROLS
#define ENTRY_CLEARABLE ENTRY_LOAD_DEBUG_CONTROLS

struct offer {
    u32 plain_msr, true_msr; // true_msr 0: there is none.
    u32 must, clearable, may;
};
static const struct offer offers[] = {
    {MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS, PIN_DEFAULT1, 0,
     PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS},
    {MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS, CPU_DEFAULT1, CPU_CLEARABLE,
     CPU_INTERRUPT_WINDOW_EXITING | CPU_USE_TSC_OFFSETTING | CPU_HLT_EXITING | CPU_INVLPG_EXITING |
         CPU_MWAIT_EXITING | CPU_RDPMC_EXITING | CPU_RDTSC_EXITING | CPU_CR3_LOAD_EXITING |
         CPU_CR3_STORE_EXITING | CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING | CPU_NMI_WINDOW_EXITING |
         CPU_MOV_DR_EXITING | CPU_UNCONDITIONAL_IO_EXITING | CPU_USE_IO_BITMAPS | CPU_USE_MSR_BITMAPS |
         CPU_MONITOR_EXITING | CPU_PAUSE_EXITING | CPU_ACTIVATE_SECONDARY_CONTROLS},
    {MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS, EXIT_DEFAULT1, EXIT_CLEARABLE,
     EXIT_HOST_ADDR_SPACE_SIZE | EXIT_ACK_INTERRUPT_ON_EXIT | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER |
         EXIT_LOAD_EFER},
    {MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS, ENTRY_DEFAULT1, ENTRY_CLEARABLE,
     ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER},
    {MSR_IA32_VMX_PROCBASED_CTLS2, 0, 0, 0,
     CPU2_ENABLE_EPT | CPU2_DESCRIPTOR_TABLE_EXITING | CPU2_ENABLE_RDTSCP | CPU2_ENABLE_VPID |
         CPU2_WBINVD_EXITING | CPU2_RDRAND_EXITING | CPU2_ENABLE_INVPCID | CPU2_RDSEED_EXITING},
};

static u64 host_msr(u32 msr)
{
    u64 value = 0;
    return hw_rdmsr(msr, &value) == HW_DONE ? value : 0;
}

// Controls that L0 carries out itself, whatever the processor has: they only change what L1 gets to see.
#define SOFTWARE_EXIT                                                                                        \
    (EXIT_ACK_INTERRUPT_ON_EXIT | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER)

// Controls for what L1 itself has not got (SDM 25.1.3: such instructions are #UD before they exit).
static u32 without_cpuid(const struct x86_vcpu *v)
{
    static const struct {
        u32 leaf, reg, bit, control;
    } rows[] = {{1, CPUID_ECX, CPUID_RDRAND, CPU2_RDRAND_EXITING},
                {7, CPUID_EBX, CPUID_RDSEED, CPU2_RDSEED_EXITING},
                {7, CPUID_EBX, CPUID_INVPCID, CPU2_ENABLE_INVPCID},
                {0x80000001, CPUID_EDX, CPUID_RDTSCP, CPU2_ENABLE_RDTSCP}};
    u32 missing = 0;

    for (u32 i = 0; i < ARRAY_COUNT(rows); i++)
        if (!guest_cpuid_has(v, rows[i].leaf, 0, rows[i].reg, rows[i].bit))
            missing |= rows[i].control;
    return missing;
}

static u64 control_msr(const struct x86_vcpu *v, const struct offer *o, u32 msr)
{
    bool is_true = msr == o->true_msr && o->true_msr != 0;
    u32 must = is_true ? o->must & ~o->clearable : o->must;
    u32 host = VMX_CAP_MAY_BE_1(host_msr(o->plain_msr));

    if (o->plain_msr == MSR_IA32_VMX_EXIT_CTLS)
        host |= SOFTWARE_EXIT;
    if (o->plain_msr == MSR_IA32_VMX_PROCBASED_CTLS2)
        host &= ~without_cpuid(v);
    return (u64)((o->may & host) | o->must) << 32 | must;
}

bool nested_allowed(const struct x86_vcpu *v)
{
    return guest_cpuid_has(v, 1, 0, CPUID_ECX, CPUID_VMX);
}

int nested_msr_read(const struct x86_vcpu *v, u32 msr, u64 *value)
{
    const struct vmx_caps *caps = &x86_host(v->vcpu.vm->host)->caps;

    if (!guest_cpuid_has(v, 1, 0, CPUID_ECX, CPUID_VMX))
        return 1;
    for (u32 i = 0; i < ARRAY_COUNT(offers); i++)
        if (msr == offers[i].plain_msr || (msr == offers[i].true_msr && msr != 0)) {
            *value = control_msr(v, &offers[i], msr);
            return 0;
        }
    switch (msr) {
    case MSR_IA32_VMX_BASIC: // Write-back, INS and OUTS information as the processor's.
        *value = VMCS12_REVISION | (u64)PAGE_SIZE << VMX_BASIC_SIZE_SHIFT | 6ull << VMX_BASIC_MEMTYPE_SHIFT |
                 VMX_BASIC_TRUE_CTLS | (caps->basic & VMX_BASIC_INS_OUTS);
        return 0;
    case MSR_IA32_VMX_MISC:
        *value = (caps->misc & (VMX_MISC_CR3_TARGETS_MASK | VMX_MISC_ACTIVITY_HLT)) | VMX_MISC_STORE_LMA;
        return 0;
    case MSR_IA32_VMX_CR0_FIXED0:
        *value = caps->cr0_fixed0;
        return 0;
    case MSR_IA32_VMX_CR0_FIXED1:
        *value = caps->cr0_fixed1;
        return 0;
    case MSR_IA32_VMX_CR4_FIXED0:
        *value = caps->cr4_fixed0;
        return 0;
    case MSR_IA32_VMX_CR4_FIXED1:
        *value = caps->cr4_fixed1 & (~v->cr4_reserved | X86_CR4_VMXE);
        return 0;
    case MSR_IA32_VMX_VMCS_ENUM: // Highest index, bits 9:1 (SDM A.9).
        *value = (u64)vmcs12_highest_index() << 1;
        return 0;
    case MSR_IA32_VMX_EPT_VPID_CAP:
        *value = nested_ept_caps(v) | VPID_CAP_INVVPID | VPID_CAP_ADDRESS | VPID_CAP_SINGLE | VPID_CAP_ALL |
                 VPID_CAP_SINGLE_RETAIN_GLOBALS;
        return 0;
    default:
        return 1;
    }
}
