// SPDX-License-Identifier: Apache-2.0
// Capability MSRs to control words (SDM appendix A; algorithms of SDM 31.5.1 in earlier editions, A.2 here).
#include "hv/x86/vmx_caps.h"
#include "hv/knobs.h"
#include "hv/lib/compiler.h"
#include "hv/x86/x86.h"
#include "spec/msrs.h"

// What the core cannot do without, and what it uses if it is there.
static const struct vmx_control_request pin_request = {
    .required = PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS,
    .optional = PIN_POSTED_INTERRUPTS | PIN_PREEMPTION_TIMER,
};
static const struct vmx_control_request cpu_request = {
    .required = CPU_HLT_EXITING | CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING |
                CPU_UNCONDITIONAL_IO_EXITING | CPU_MOV_DR_EXITING | CPU_USE_TSC_OFFSETTING |
                CPU_MWAIT_EXITING | CPU_MONITOR_EXITING | CPU_RDPMC_EXITING | CPU_INTERRUPT_WINDOW_EXITING |
                CPU_NMI_WINDOW_EXITING | CPU_USE_MSR_BITMAPS | CPU_ACTIVATE_SECONDARY_CONTROLS,
    .optional = CPU_USE_TPR_SHADOW,
};
static const struct vmx_control_request cpu2_request = {
    .required = CPU2_ENABLE_EPT,
    .optional = CPU2_UNRESTRICTED_GUEST | CPU2_VIRTUALIZE_APIC_ACCESSES | CPU2_VIRTUALIZE_X2APIC_MODE |
                CPU2_APIC_REGISTER_VIRT | CPU2_VIRTUAL_INTR_DELIVERY | CPU2_ENABLE_VPID |
                CPU2_PAUSE_LOOP_EXITING | CPU2_ENABLE_RDTSCP | CPU2_ENABLE_INVPCID | CPU2_ENABLE_XSAVES |
                CPU2_WBINVD_EXITING | CPU2_RDRAND_EXITING | CPU2_RDSEED_EXITING | CPU2_ENABLE_PML,
};
static const struct vmx_control_request exit_request = {
    .required =
        EXIT_SAVE_DEBUG_CONTROLS | EXIT_HOST_ADDR_SPACE_SIZE | EXIT_ACK_INTERRUPT_ON_EXIT | EXIT_LOAD_EFER,
    .optional = EXIT_LOAD_PAT,
};
static const struct vmx_control_request entry_request = {
    .required = ENTRY_LOAD_DEBUG_CONTROLS | ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_EFER,
    .optional = ENTRY_LOAD_PAT,
};

bool vmx_adjust_control(struct vmx_control_request request, u64 msr, u32 *out)
{
    u32 wanted = request.required | request.optional;
    u32 value = (wanted & VMX_CAP_MAY_BE_1(msr)) | VMX_CAP_MUST_BE_1(msr);
    *out = value;
    return (request.required & ~value) == 0;
}

static u64 read_msr(u32 msr)
{
    u64 value = 0;
    return hw_rdmsr(msr, &value) == HW_DONE ? value : 0;
}

// The TRUE MSRs tell which default-1 bits may be cleared (SDM A.2); `plain` is the older one.
static u64 read_control_msr(const struct vmx_caps *caps, u32 plain, u32 true_msr)
{
    return read_msr(caps->basic & VMX_BASIC_TRUE_CTLS ? true_msr : plain);
}

static const char *read_controls(struct vmx_caps *c)
{
    if (!vmx_adjust_control(pin_request,
                            read_control_msr(c, MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS),
                            &c->pin))
        return "VMX: a required pin-based control is missing";
    if (!vmx_adjust_control(
            cpu_request, read_control_msr(c, MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS),
            &c->cpu))
        return "VMX: a required processor-based control is missing";
    if (!vmx_adjust_control(cpu2_request, read_msr(MSR_IA32_VMX_PROCBASED_CTLS2), &c->cpu2))
        return "VMX: EPT is missing";
    if (!vmx_adjust_control(
            exit_request, read_control_msr(c, MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS), &c->exit))
        return "VMX: a required VM-exit control is missing";
    if (!vmx_adjust_control(entry_request,
                            read_control_msr(c, MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS),
                            &c->entry))
        return "VMX: a required VM-entry control is missing";
    return NULL;
}

// EPT makes exits of address-space changes needless; a TPR shadow those of CR8.
static void drop_needless(struct vmx_caps *c)
{
    c->cpu &= ~(u32)(CPU_CR3_LOAD_EXITING | CPU_CR3_STORE_EXITING | CPU_INVLPG_EXITING |
                     CPU_INTERRUPT_WINDOW_EXITING | CPU_NMI_WINDOW_EXITING);
    if (c->cpu & CPU_USE_TPR_SHADOW)
        c->cpu &= ~(u32)(CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING);
    else
        c->cpu2 &= ~(u32)(CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_APIC_REGISTER_VIRT | CPU2_VIRTUAL_INTR_DELIVERY);
}

// Features that need several bits, and knobs that switch them off.
static void decide_features(struct vmx_caps *c, const struct knobs *knobs)
{
    const u32 apicv2 = CPU2_APIC_REGISTER_VIRT | CPU2_VIRTUAL_INTR_DELIVERY;

    c->unrestricted_guest =
        knob(knobs, KNOB_VMX_UNRESTRICTED_GUEST) && (c->cpu2 & CPU2_UNRESTRICTED_GUEST) != 0;
    if (!c->unrestricted_guest)
        c->cpu2 &= ~(u32)CPU2_UNRESTRICTED_GUEST;
    // An emulated guest never enters, which is where the processor would deliver virtual interrupts.
    c->apicv = c->unrestricted_guest && knob(knobs, KNOB_X86_APICV) && (c->cpu2 & apicv2) == apicv2 &&
               (c->pin & PIN_POSTED_INTERRUPTS);
    c->posted_interrupts = c->apicv;
    if (!c->apicv) {
        c->cpu2 &= ~apicv2;
        c->pin &= ~(u32)PIN_POSTED_INTERRUPTS;
    }
    c->invvpid_single = (c->ept_vpid & VPID_CAP_SINGLE) != 0;
    c->invvpid_address = (c->ept_vpid & VPID_CAP_ADDRESS) != 0;
    c->vpid = knob(knobs, KNOB_X86_VPID) && (c->cpu2 & CPU2_ENABLE_VPID) &&
              (c->ept_vpid & VPID_CAP_INVVPID) && (c->invvpid_single || (c->ept_vpid & VPID_CAP_ALL));
    if (!c->vpid)
        c->cpu2 &= ~(u32)CPU2_ENABLE_VPID;
    c->ple = knob(knobs, KNOB_X86_PLE) && knob(knobs, KNOB_X86_PLE_GAP) != 0 &&
             (c->cpu2 & CPU2_PAUSE_LOOP_EXITING);
    if (!c->ple)
        c->cpu2 &= ~(u32)CPU2_PAUSE_LOOP_EXITING;
    c->preemption_timer = knob(knobs, KNOB_X86_PREEMPTION_TIMER) && (c->pin & PIN_PREEMPTION_TIMER);
    if (!c->preemption_timer)
        c->pin &= ~(u32)PIN_PREEMPTION_TIMER;
    c->ept_ad = knob(knobs, KNOB_X86_EPT_AD) && (c->ept_vpid & EPT_CAP_AD);
    // The log says which leaf became dirty: it needs the bit.
    c->pml = knob(knobs, KNOB_X86_PML) && c->ept_ad && (c->cpu2 & CPU2_ENABLE_PML);
    if (!c->pml)
        c->cpu2 &= ~(u32)CPU2_ENABLE_PML;
    c->ept_2m = (c->ept_vpid & EPT_CAP_2M) != 0;
    c->ept_1g = (c->ept_vpid & EPT_CAP_1G) != 0;
    c->ept_5level = (c->ept_vpid & EPT_CAP_WALK_5) != 0;
    c->invept_single = (c->ept_vpid & EPT_CAP_INVEPT_SINGLE) != 0;
    c->tpr_shadow = (c->cpu & CPU_USE_TPR_SHADOW) != 0;
    c->rdtscp = (c->cpu2 & CPU2_ENABLE_RDTSCP) != 0;
    c->invpcid = (c->cpu2 & CPU2_ENABLE_INVPCID) != 0;
    c->xsaves = (c->cpu2 & CPU2_ENABLE_XSAVES) != 0;
    c->preemption_shift = (u8)(c->misc & VMX_MISC_PREEMPTION_SHIFT_MASK);
}

const char *vmx_caps_read(struct vmx_caps *caps, const struct knobs *knobs)
{
    *caps = (struct vmx_caps){.basic = read_msr(MSR_IA32_VMX_BASIC), .misc = read_msr(MSR_IA32_VMX_MISC)};
    caps->revision = (u32)(caps->basic & VMX_BASIC_REVISION_MASK);
    if ((caps->basic & VMX_BASIC_SIZE_MASK) >> VMX_BASIC_SIZE_SHIFT > PAGE_SIZE)
        return "VMX: a VMCS is larger than a page";
    if ((caps->basic & VMX_BASIC_MEMTYPE_MASK) >> VMX_BASIC_MEMTYPE_SHIFT != MEMTYPE_WB)
        return "VMX: a VMCS may not lie in write-back memory";
    const char *missing = read_controls(caps);

    if (missing != NULL)
        return missing;
    drop_needless(caps);
    caps->ept_vpid = read_msr(MSR_IA32_VMX_EPT_VPID_CAP);
    const u64 ept = EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_INVEPT;

    if ((caps->ept_vpid & ept) != ept || !(caps->ept_vpid & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL)))
        return "VMX: EPT lacks 4-level walks, write-back or INVEPT";
    caps->cr0_fixed0 = read_msr(MSR_IA32_VMX_CR0_FIXED0);
    caps->cr0_fixed1 = read_msr(MSR_IA32_VMX_CR0_FIXED1);
    caps->cr4_fixed0 = read_msr(MSR_IA32_VMX_CR4_FIXED0);
    caps->cr4_fixed1 = read_msr(MSR_IA32_VMX_CR4_FIXED1);
    decide_features(caps, knobs);
    return NULL;
}
