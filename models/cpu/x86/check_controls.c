// SPDX-License-Identifier: Apache-2.0
// VM-entry checks on the VMX controls (SDM 26.2.1). Breaking one: VMfailValid with error 7.
#include "models/cpu/x86/check_guest.h"

#include "models/mem/mem.h"
#include "models/mmu/ept.h"

#define PIN_ON(e, name) ((e)->ctl.pin & PIN_##name)
#define CPU_ON(e, name) ((e)->ctl.cpu & CPU_##name)
#define CPU2_ON(e, name) ((e)->ctl.cpu2 & CPU2_##name)

// --- 26.2.1.1: VM-execution controls. ---

static const struct uarch *uarch_of(const struct entry_view *e)
{
    return e->c->uarch;
}

RULE(pin_allowed,
     allowed(e->ctl.pin, uarch_of(e)->vmx_cap.pin_true_allowed0, uarch_of(e)->vmx_cap.pin_allowed1))
RULE(cpu_allowed,
     allowed(e->ctl.cpu, uarch_of(e)->vmx_cap.proc_true_allowed0, uarch_of(e)->vmx_cap.proc_allowed1))
RULE(cpu2_allowed, allowed(e->ctl.cpu2, 0, uarch_of(e)->vmx_cap.proc2_allowed1))
RULE(cpu3_allowed, !CPU_ON(e, ACTIVATE_TERTIARY_CONTROLS) ||
                       allowed(field(e, TERTIARY_VM_EXEC_CONTROL), 0, uarch_of(e)->vmx_cap.proc3_allowed1))
RULE(cr3_targets, field(e, CR3_TARGET_COUNT) <=
                      ((uarch_of(e)->vmx_cap.misc & VMX_MISC_CR3_TARGETS_MASK) >> VMX_MISC_CR3_TARGETS_SHIFT))
RULE(io_bitmap_a, !CPU_ON(e, USE_IO_BITMAPS) || address_ok(e, IO_BITMAP_A, 4096))
RULE(io_bitmap_b, !CPU_ON(e, USE_IO_BITMAPS) || address_ok(e, IO_BITMAP_B, 4096))
RULE(msr_bitmap, !CPU_ON(e, USE_MSR_BITMAPS) || address_ok(e, MSR_BITMAP, 4096))
RULE(vapic_address, !CPU_ON(e, USE_TPR_SHADOW) || address_ok(e, VIRTUAL_APIC_PAGE_ADDR, 4096))
RULE(tpr_threshold_reserved, !CPU_ON(e, USE_TPR_SHADOW) || CPU2_ON(e, VIRTUAL_INTR_DELIVERY) ||
                                 (field(e, TPR_THRESHOLD) & TPR_THRESHOLD_RESERVED) == 0)

bool entry_tpr_threshold(const struct entry_view *e)
{
    uint64_t page = field(e, VIRTUAL_APIC_PAGE_ADDR);
    const unsigned char *vapic;

    if (!CPU_ON(e, USE_TPR_SHADOW) || CPU2_ON(e, VIRTUALIZE_APIC_ACCESSES) ||
        CPU2_ON(e, VIRTUAL_INTR_DELIVERY))
        return true;
    vapic = mem_hpa_to_ptr(e->c, page, 4096);
    return vapic && (field(e, TPR_THRESHOLD) & TPR_THRESHOLD_MASK) <= (unsigned)vapic[0x80] >> 4;
}

RULE(virtual_nmis, PIN_ON(e, NMI_EXITING) || !PIN_ON(e, VIRTUAL_NMIS))
RULE(nmi_window, PIN_ON(e, VIRTUAL_NMIS) || !CPU_ON(e, NMI_WINDOW_EXITING))
RULE(apic_access_address, !CPU2_ON(e, VIRTUALIZE_APIC_ACCESSES) || address_ok(e, APIC_ACCESS_ADDR, 4096))
RULE(tpr_shadow_needed,
     CPU_ON(e, USE_TPR_SHADOW) || !(e->ctl.cpu2 & (CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_APIC_REGISTER_VIRT |
                                                   CPU2_VIRTUAL_INTR_DELIVERY)))
RULE(x2apic_or_page, !CPU2_ON(e, VIRTUALIZE_X2APIC_MODE) || !CPU2_ON(e, VIRTUALIZE_APIC_ACCESSES))
RULE(vid_needs_exits, !CPU2_ON(e, VIRTUAL_INTR_DELIVERY) || PIN_ON(e, EXTERNAL_INTERRUPT_EXITING))
RULE(posted_needs_vid, !PIN_ON(e, POSTED_INTERRUPTS) || CPU2_ON(e, VIRTUAL_INTR_DELIVERY))
RULE(posted_needs_ack, !PIN_ON(e, POSTED_INTERRUPTS) || (e->ctl.exit & EXIT_ACK_INTERRUPT_ON_EXIT))
RULE(posted_vector, !PIN_ON(e, POSTED_INTERRUPTS) || field(e, POSTED_INTR_NV) <= 255)
RULE(posted_descriptor, !PIN_ON(e, POSTED_INTERRUPTS) || address_ok(e, POSTED_INTR_DESC_ADDR, PI_DESC_BYTES))
RULE(vpid_not_zero, !CPU2_ON(e, ENABLE_VPID) || field(e, VIRTUAL_PROCESSOR_ID) != 0)
RULE(ept_pointer, !CPU2_ON(e, ENABLE_EPT) ||
                      ept_pointer_valid(field(e, EPT_POINTER), uarch_of(e)->vmx_cap.ept_vpid, e->phys_bits))
RULE(pml_needs_ept, !CPU2_ON(e, ENABLE_PML) || CPU2_ON(e, ENABLE_EPT))
RULE(pml_address, !CPU2_ON(e, ENABLE_PML) || address_ok(e, PML_ADDRESS, 4096))
RULE(unrestricted_needs_ept, !CPU2_ON(e, UNRESTRICTED_GUEST) || CPU2_ON(e, ENABLE_EPT))
RULE(mode_based_needs_ept, !CPU2_ON(e, MODE_BASED_EPT_EXEC) || CPU2_ON(e, ENABLE_EPT))
RULE(vmfunc_controls,
     !CPU2_ON(e, ENABLE_VM_FUNCTIONS) || (field(e, VM_FUNCTION_CONTROL) & ~uarch_of(e)->vmx_cap.vmfunc) == 0)
RULE(eptp_switching, !CPU2_ON(e, ENABLE_VM_FUNCTIONS) || !(field(e, VM_FUNCTION_CONTROL) & 1) ||
                         (CPU2_ON(e, ENABLE_EPT) && address_ok(e, EPTP_LIST_ADDRESS, 4096)))
RULE(vmread_bitmap, !CPU2_ON(e, VMCS_SHADOWING) || address_ok(e, VMREAD_BITMAP, 4096))
RULE(vmwrite_bitmap, !CPU2_ON(e, VMCS_SHADOWING) || address_ok(e, VMWRITE_BITMAP, 4096))
RULE(ve_information, !CPU2_ON(e, EPT_VIOLATION_VE) || address_ok(e, VE_INFORMATION_ADDRESS, 4096))
RULE(tsc_multiplier, !CPU2_ON(e, USE_TSC_SCALING) || field(e, TSC_MULTIPLIER) != 0)

// --- 26.2.1.2: VM-exit controls. ---

RULE(exit_allowed,
     allowed(e->ctl.exit, uarch_of(e)->vmx_cap.exit_true_allowed0, uarch_of(e)->vmx_cap.exit_allowed1))
RULE(save_timer, PIN_ON(e, PREEMPTION_TIMER) || !(e->ctl.exit & EXIT_SAVE_PREEMPTION_TIMER))
RULE(exit_msr_store, msr_area_ok(e, VM_EXIT_MSR_STORE_ADDR, VM_EXIT_MSR_STORE_COUNT))
RULE(exit_msr_load, msr_area_ok(e, VM_EXIT_MSR_LOAD_ADDR, VM_EXIT_MSR_LOAD_COUNT))

// --- 26.2.1.3: VM-entry controls. ---

RULE(entry_allowed,
     allowed(e->ctl.entry, uarch_of(e)->vmx_cap.entry_true_allowed0, uarch_of(e)->vmx_cap.entry_allowed1))
RULE(entry_msr_load, msr_area_ok(e, VM_ENTRY_MSR_LOAD_ADDR, VM_ENTRY_MSR_LOAD_COUNT))
RULE(no_smm, !(e->ctl.entry & (ENTRY_TO_SMM | ENTRY_DEACTIVATE_DUAL_MONITOR)))

static uint32_t info_of(const struct entry_view *e)
{
    return (uint32_t)field(e, VM_ENTRY_INTR_INFO_FIELD);
}

static bool injects(const struct entry_view *e)
{
    return info_of(e) & INTR_INFO_VALID;
}

RULE(event_reserved, !injects(e) || (info_of(e) & INTR_INFO_ENTRY_RESERVED) == 0)
RULE(event_type, !injects(e) || (info_of(e) & INTR_INFO_TYPE_MASK) != INTR_TYPE_RESERVED)
RULE(event_other, !injects(e) || (info_of(e) & INTR_INFO_TYPE_MASK) != INTR_TYPE_OTHER ||
                      (uarch_of(e)->vmx_cap.proc_allowed1 & CPU_MONITOR_TRAP_FLAG))

static bool event_vector(const struct entry_view *e)
{
    uint32_t vector = info_of(e) & INTR_INFO_VECTOR_MASK;

    if (!injects(e))
        return true;
    switch (info_of(e) & INTR_INFO_TYPE_MASK) {
    case INTR_TYPE_NMI:
        return vector == NMI_VECTOR;
    case INTR_TYPE_HARD_EXCEPTION:
        return vector <= 31;
    case INTR_TYPE_OTHER:
        return vector == 0;
    default:
        return true;
    }
}

static bool event_error_code(const struct entry_view *e)
{
    uint32_t info = info_of(e), vector = info & INTR_INFO_VECTOR_MASK;
    bool hard = (info & INTR_INFO_TYPE_MASK) == INTR_TYPE_HARD_EXCEPTION;
    bool real = e->unrestricted && !(e->cr0 & X86_CR0_PE);
    bool has = vector < 32 && ((X86_VECTORS_WITH_ERROR_CODE >> vector) & 1);
    bool delivers = info & INTR_INFO_DELIVER_CODE;

    if (!injects(e))
        return true;
    if (!hard || real)
        return !delivers;
    return delivers == has;
}

RULE(event_error_reserved, !injects(e) || !(info_of(e) & INTR_INFO_DELIVER_CODE) ||
                               field(e, VM_ENTRY_EXCEPTION_ERROR_CODE) >> 16 == 0)

static bool event_length(const struct entry_view *e)
{
    uint64_t length = field(e, VM_ENTRY_INSTRUCTION_LEN);
    uint32_t type = info_of(e) & INTR_INFO_TYPE_MASK;
    bool zero_ok = uarch_of(e)->vmx_cap.misc & VMX_MISC_INJECT_LENGTH_0;

    if (!injects(e) || type < INTR_TYPE_SOFT_INTERRUPT || type == INTR_TYPE_OTHER)
        return true;
    return length <= 15 && (length > 0 || zero_ok);
}

const struct entry_rule entry_control_rules[] = {
    // clang-format off
    {"pin-based controls are allowed",                             "26.2.1.1", pin_allowed, 0},
    {"primary processor-based controls are allowed",               "26.2.1.1", cpu_allowed, 0},
    {"secondary processor-based controls are allowed",             "26.2.1.1", cpu2_allowed, 0},
    {"tertiary processor-based controls are allowed",              "26.2.1.1", cpu3_allowed, 0},
    {"CR3-target count",                                           "26.2.1.1", cr3_targets, 0},
    {"I/O-bitmap A address",                                       "26.2.1.1", io_bitmap_a, 0},
    {"I/O-bitmap B address",                                       "26.2.1.1", io_bitmap_b, 0},
    {"MSR-bitmap address",                                         "26.2.1.1", msr_bitmap, 0},
    {"virtual-APIC address",                                       "26.2.1.1", vapic_address, 0},
    {"bits 31:4 of the TPR threshold",                             "26.2.1.1", tpr_threshold_reserved, 0},
    {"TPR threshold is not above VTPR",                            "26.2.1.1", entry_tpr_threshold, 0},
    {"virtual NMIs need NMI exiting",                              "26.2.1.1", virtual_nmis, 0},
    {"NMI-window exiting needs virtual NMIs",                      "26.2.1.1", nmi_window, 0},
    {"APIC-access address",                                        "26.2.1.1", apic_access_address, 0},
    {"APIC virtualization needs the TPR shadow",                   "26.2.1.1", tpr_shadow_needed, 0},
    {"x2APIC mode excludes APIC accesses",                         "26.2.1.1", x2apic_or_page, 0},
    {"virtual-interrupt delivery needs external-interrupt exiting", "26.2.1.1", vid_needs_exits, 0},
    {"posted interrupts need virtual-interrupt delivery",          "26.2.1.1", posted_needs_vid, 0},
    {"posted interrupts need acknowledge on exit",                 "26.2.1.1", posted_needs_ack, 0},
    {"posted-interrupt notification vector",                       "26.2.1.1", posted_vector, 0},
    {"posted-interrupt descriptor address",                        "26.2.1.1", posted_descriptor, 0},
    {"VPID is not 0",                                              "26.2.1.1", vpid_not_zero, 0},
    {"EPTP",                                                       "26.2.1.1", ept_pointer, 0},
    {"PML needs EPT",                                              "26.2.1.1", pml_needs_ept, 0},
    {"PML address",                                                "26.2.1.1", pml_address, 0},
    {"unrestricted guest needs EPT",                               "26.2.1.1", unrestricted_needs_ept, 0},
    {"mode-based execute control needs EPT",                       "26.2.1.1", mode_based_needs_ept, 0},
    {"VM-function controls",                                       "26.2.1.1", vmfunc_controls, 0},
    {"EPTP switching",                                             "26.2.1.1", eptp_switching, 0},
    {"VMREAD-bitmap address",                                      "26.2.1.1", vmread_bitmap, 0},
    {"VMWRITE-bitmap address",                                     "26.2.1.1", vmwrite_bitmap, 0},
    {"virtualization-exception information address",               "26.2.1.1", ve_information, 0},
    {"TSC multiplier is not 0",                                    "26.2.1.1", tsc_multiplier, 0},
    {"VM-exit controls are allowed",                               "26.2.1.2", exit_allowed, 0},
    {"saving the preemption timer needs it active",                "26.2.1.2", save_timer, 0},
    {"VM-exit MSR-store area",                                     "26.2.1.2", exit_msr_store, 0},
    {"VM-exit MSR-load area",                                      "26.2.1.2", exit_msr_load, 0},
    {"VM-entry controls are allowed",                              "26.2.1.3", entry_allowed, 0},
    {"no SMM controls outside of SMM",                             "26.2.1.3", no_smm, 0},
    {"event: type",                                                "26.2.1.3", event_type, 0},
    {"event: pending MTF is supported",                            "26.2.1.3", event_other, 0},
    {"event: vector fits the type",                                "26.2.1.3", event_vector, 0},
    {"event: error code fits type and vector",                     "26.2.1.3", event_error_code, 0},
    {"event: reserved bits",                                       "26.2.1.3", event_reserved, 0},
    {"event: error code bits 31:16",                               "26.2.1.3", event_error_reserved, 0},
    {"event: instruction length",                                  "26.2.1.3", event_length, 0},
    {"VM-entry MSR-load area",                                     "26.2.1.3", entry_msr_load, 0},
    {NULL, NULL, NULL, 0},
    // clang-format on
};
