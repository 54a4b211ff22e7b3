// SPDX-License-Identifier: Apache-2.0
// Nested VMX: VMLAUNCH and VMRESUME of L1. vmcs02 out of vmcs01 and vmcs12, then the run loop enters it (SDM
// chapter 26).
#include "hv/mmu/mmu.h"
#include "hv/x86/guest_walk.h"
#include "hv/x86/nested_state.h"

// --- Merging.

struct vmcs_controls nested_merge_controls(struct vmcs_controls l0, const struct vmcs12 *c,
                                           const struct vmx_caps *caps)
{
    u64 cpu12 = c->field[V12_CPU_BASED_VM_EXEC_CONTROL];
    u64 cpu2_12 = cpu12 & CPU_ACTIVATE_SECONDARY_CONTROLS ? c->field[V12_SECONDARY_VM_EXEC_CONTROL] : 0;
    struct vmcs_controls m = l0;
    // Of the secondary controls these give L2 an instruction or take an exit away: L1 decides.
    const u32 of_l1 = CPU2_ENABLE_RDTSCP | CPU2_ENABLE_INVPCID;

    m.pin = (u32)(l0.pin | c->field[V12_PIN_BASED_VM_EXEC_CONTROL]);
    // Delivery by the processor is L1's; L2's interrupts are exits.
    m.pin &= ~(u32)PIN_POSTED_INTERRUPTS;
    m.cpu = (u32)(l0.cpu & ~(u32)(CPU_INTERRUPT_WINDOW_EXITING | CPU_NMI_WINDOW_EXITING)) | (u32)cpu12;
    // L1's virtual-APIC page is not L2's, so CR8 exits.
    m.cpu &= ~(u32)CPU_USE_TPR_SHADOW;
    m.cpu |= CPU_CR8_LOAD_EXITING | CPU_CR8_STORE_EXITING;
    // I/O always comes to L0 first, which asks L1's bitmaps.
    m.cpu = (m.cpu & ~(u32)CPU_USE_IO_BITMAPS) | CPU_UNCONDITIONAL_IO_EXITING;
    if (!(cpu12 & CPU_USE_MSR_BITMAPS))
        m.cpu &= ~(u32)CPU_USE_MSR_BITMAPS; // Every access exits for L1.
    m.cpu2 = (l0.cpu2 & ~of_l1) | (u32)cpu2_12;
    m.cpu2 &= ~(u32)(CPU2_VIRTUALIZE_APIC_ACCESSES | CPU2_VIRTUALIZE_X2APIC_MODE | CPU2_APIC_REGISTER_VIRT |
                     CPU2_VIRTUAL_INTR_DELIVERY | CPU2_VMCS_SHADOWING | CPU2_UNRESTRICTED_GUEST);
    m.cpu2 = (m.cpu2 & ~(u32)CPU2_ENABLE_VPID) | (l0.cpu2 & CPU2_ENABLE_VPID);
    // How the processor comes back to L0 is L0's alone.
    m.exit = l0.exit;
    m.entry = (l0.entry & ~(u32)ENTRY_IA32E_MODE_GUEST) |
              (u32)(c->field[V12_VM_ENTRY_CONTROLS] & ENTRY_IA32E_MODE_GUEST);
    (void)caps;
    return m;
}

// Bit by bit: what either side wants to see. L2 must not reach L1's virtualized x2APIC.
static void merge_msr_bitmap(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 *merged = n->vmcs02.msr_bitmap;
    const u64 *of_l0 = v->vmcs01.msr_bitmap;
    const u32 x2apic = MSR_X2APIC_BASE / 64, words = 0x100 / 64;

    if (vm_read_guest(v->vcpu.vm, gpa(V12(n, MSR_BITMAP)), merged, PAGE_SIZE) != 0)
        for (u32 i = 0; i < PAGE_SIZE / 8; i++)
            merged[i] = ~0ull; // No such memory: reads as ones.
    for (u32 i = 0; i < PAGE_SIZE / 8; i++)
        merged[i] |= of_l0[i];
    for (u32 i = 0; i < words; i++) {
        merged[MSR_BITMAP_READ_LOW / 8 + x2apic + i] = ~0ull;
        merged[MSR_BITMAP_WRITE_LOW / 8 + x2apic + i] = ~0ull;
    }
}

// --- vmcs02.

static void write_controls(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    struct vmcs_controls m = nested_merge_controls(v->vmcs01.controls, n->vmcs12, &x86_host_of(v)->caps);

    pin_controls_set(v, m.pin);
    cpu_controls_set(v, m.cpu);
    cpu2_controls_set(v, m.cpu2);
    exit_controls_set(v, m.exit);
    entry_controls_set(v, m.entry);
    if (m.cpu & CPU_USE_MSR_BITMAPS)
        merge_msr_bitmap(v);
    nested_msrs_enter(v);
}

// Guest state that L1 changed; what it did not change may be newer in vmcs02.
static void write_rare(struct x86_vcpu *v)
{
    struct nested *n = v->nested;

#define COMMON 0
#define RARE 1
#define NESTED_GUEST(name, class)                                                                            \
    if (class)                                                                                               \
        vmcs_write(name, V12(n, name));
#include "hv/x86/nested_guest_fields.def"
}

static void write_rare_controls(struct x86_vcpu *v)
{
    struct nested *n = v->nested;

    vmcs_write(CR3_TARGET_COUNT, V12(n, CR3_TARGET_COUNT));
    if (V12(n, CR3_TARGET_COUNT) != 0) {
        vmcs_write(CR3_TARGET_VALUE0, V12(n, CR3_TARGET_VALUE0));
        vmcs_write(CR3_TARGET_VALUE1, V12(n, CR3_TARGET_VALUE1));
        vmcs_write(CR3_TARGET_VALUE2, V12(n, CR3_TARGET_VALUE2));
        vmcs_write(CR3_TARGET_VALUE3, V12(n, CR3_TARGET_VALUE3));
    }
    vmcs_write(PAGE_FAULT_ERROR_CODE_MASK, V12(n, PAGE_FAULT_ERROR_CODE_MASK));
    vmcs_write(PAGE_FAULT_ERROR_CODE_MATCH, V12(n, PAGE_FAULT_ERROR_CODE_MATCH));
}

static void write_common(struct x86_vcpu *v)
{
    struct nested *n = v->nested;

#define NESTED_GUEST(name, class)                                                                            \
    if (!(class))                                                                                            \
        vmcs_write(name, V12(n, name));
#include "hv/x86/nested_guest_fields.def"
#undef COMMON
#undef RARE
}

// What L2 reads of a control register: its own bits, and L1's shadow where L1 wants to intercept
// (SDM 24.6.6).
static u64 seen_by_l2(u64 real, u64 mask, u64 shadow)
{
    return (real & ~mask) | (shadow & mask);
}

static u64 guest_efer(const struct x86_vcpu *v)
{
    const struct nested *n = v->nested;
    bool wide = (V12(n, VM_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST) != 0;

    if (V12(n, VM_ENTRY_CONTROLS) & ENTRY_LOAD_EFER)
        return V12(n, GUEST_IA32_EFER);
    return wide ? v->efer | EFER_LMA | EFER_LME : v->efer & ~(u64)(EFER_LMA | EFER_LME);
}

static void write_control_registers(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 mask0 = V12(n, CR0_GUEST_HOST_MASK), mask4 = V12(n, CR4_GUEST_HOST_MASK);

    v->cr0_guest_owned = n->l1_cr0_owned & ~mask0;
    v->cr4_guest_owned = n->l1_cr4_owned & ~mask4;
    vmcs_write(CR0_GUEST_HOST_MASK, ~v->cr0_guest_owned);
    vmcs_write(CR4_GUEST_HOST_MASK, ~v->cr4_guest_owned);
    vcpu_write_efer(v, guest_efer(v));
    vcpu_write_cr0(v, V12(n, GUEST_CR0));
    vmcs_write(CR0_READ_SHADOW, seen_by_l2(V12(n, GUEST_CR0), mask0, V12(n, CR0_READ_SHADOW)));
    vcpu_write_cr4(v, V12(n, GUEST_CR4));
    vmcs_write(CR4_READ_SHADOW, seen_by_l2(V12(n, GUEST_CR4), mask4, V12(n, CR4_READ_SHADOW)));
    vcpu_write_cr3(v, V12(n, GUEST_CR3));
}

// SDM 26.3.2.1; else they stay L1's.
static void write_debug_controls(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    bool load = (V12(n, VM_ENTRY_CONTROLS) & ENTRY_LOAD_DEBUG_CONTROLS) != 0;

    if (load)
        v->debugctl = V12(n, GUEST_IA32_DEBUGCTL);
    vmcs_write(GUEST_IA32_DEBUGCTL, v->debugctl);
    (void)vcpu_set_dr(v, 7, load ? V12(n, GUEST_DR7) : v->dr7);
}

static void write_event(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 info = V12(n, VM_ENTRY_INTR_INFO_FIELD);

    vmcs_write(VM_ENTRY_INTR_INFO_FIELD, info & INTR_INFO_VALID ? info : 0);
    if ((info & INTR_INFO_VALID) == 0)
        return;
    vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, V12(n, VM_ENTRY_EXCEPTION_ERROR_CODE));
    vmcs_write(VM_ENTRY_INSTRUCTION_LEN, V12(n, VM_ENTRY_INSTRUCTION_LEN));
}

// vmcs01 is current on entry, vmcs02 after.
static void prepare_vmcs02(struct x86_vcpu *v)
{
    struct nested *n = v->nested;
    u64 eptp = vmcs_read(EPT_POINTER), exceptions = vmcs_read(EXCEPTION_BITMAP), cr4 = vcpu_cr4(v);

    nested_switch_vmcs(v, &n->vmcs02);
    if (!n->set_up) {
        vmcs_setup(v);
        nested_switch_vmcs(v, &n->vmcs02); // Setting up forgot what belongs to this CPU and thread.
        n->set_up = true;
        n->dirty = n->controls_dirty = true;
    }
    // Windows and timers that an earlier L2 left behind.
    n->vmcs02.nmi_known_unmasked = false;
    if (!nested_ept_enter(v))
        vmcs_write(EPT_POINTER, eptp);
    write_controls(v);
    vmcs_write(EXCEPTION_BITMAP, exceptions | V12(n, EXCEPTION_BITMAP));
    if (V12(n, CPU_BASED_VM_EXEC_CONTROL) & CPU_USE_TSC_OFFSETTING)
        v->tsc_offset += V12(n, TSC_OFFSET);
    vmcs_write(TSC_OFFSET, v->tsc_offset);
    if (n->dirty)
        write_rare(v);
    if (n->controls_dirty)
        write_rare_controls(v);
    n->dirty = n->controls_dirty = false;
    n->rare_in_02 = true;
    write_common(v);
    if (V12(n, VM_ENTRY_CONTROLS) & ENTRY_LOAD_PAT)
        v->pat = V12(n, GUEST_IA32_PAT);
    vmcs_write(GUEST_IA32_PAT, v->pat);
    write_control_registers(v);
    nested_cr4_changed(v, cr4);
    write_debug_controls(v);
    write_event(v);
}

// --- The instructions (SDM 30.3, VMLAUNCH/VMRESUME).

// Entry failure after the checks of controls and host state: an exit to L1 that never was in L2 (SDM 26.8).
static int entry_failure(struct x86_vcpu *v, u32 reason, u64 qualification)
{
    struct nested *n = v->nested;

    hw_trace(TP_KVM_NESTED_VMENTER_FAILED, reason, qualification, 0, 0, 0, 0);
    V12(n, VM_EXIT_REASON) = reason | EXIT_REASON_ENTRY_FAILURE;
    V12(n, EXIT_QUALIFICATION) = qualification;
    V12(n, VM_EXIT_INTR_INFO) = 0;
    V12(n, IDT_VECTORING_INFO_FIELD) = 0;
    nested_load_host_state(v);
    nested_shadow_load(v);
    return 1;
}

static int refuse(struct x86_vcpu *v, u32 error)
{
    hw_trace(TP_KVM_NESTED_VMENTER_FAILED, 0, error, 0, 0, 0, 0);
    nested_vmfail_valid(v, error);
    return skip_instruction(v);
}

// A window is an exit of a halted L2 too, and the processor sees it open.
static bool wants_window(const struct nested *n)
{
    u64 cpu = V12(n, CPU_BASED_VM_EXEC_CONTROL);

    return (cpu & CPU_NMI_WINDOW_EXITING) != 0 ||
           ((cpu & CPU_INTERRUPT_WINDOW_EXITING) != 0 && (V12(n, GUEST_RFLAGS) & X86_RFLAGS_IF) != 0);
}

static void begin(struct x86_vcpu *v)
{
    struct nested *n = v->nested;

    n->l1_tsc_offset = v->tsc_offset;
    n->l1_cr0_owned = v->cr0_guest_owned;
    n->l1_cr4_owned = v->cr4_guest_owned;
    // L1 continues at HOST_RIP, but what it sees of itself in vmcs01 is the instruction done.
    prepare_vmcs02(v);
    v->in_guest_mode = true;
    n->run_pending = true;
    n->enters_halt = V12(n, GUEST_ACTIVITY_STATE) == ACTIVITY_HLT && !wants_window(n);
    hw_trace_vcpu(v->vcpu.vm->id, v->vcpu.index, 2, n->vmcs02.hpa);
    // Neither level has a tag of its own: VM entry without VPID flushes (SDM 28.4.3.1).
    make_request(REQ_TLB_FLUSH_GUEST, &v->vcpu);
    // An interrupt for L1 that waits is an exit before the first instruction of L2.
    make_request(REQ_EVENT, &v->vcpu);
}

// SDM 26.3.2.4: out of the VMCS if EPT translates L2's CR3, else out of memory. False: they are not good.
static bool load_pdptes(struct x86_vcpu *v)
{
    if (!nested_pae_paging(v))
        return true;
    if (!nested_ept12(v->nested))
        return guest_load_pdptrs(v, vcpu_cr3(v));
    for (u32 i = 0; i < 4; i++)
        vmcs_write(GUEST_PDPTR0 + 2 * i, v->nested->vmcs12->field[V12_GUEST_PDPTR0 + i]);
    return true;
}

// An entry that fails when vmcs02 is current already.
static void failed_inside(struct x86_vcpu *v, u32 reason, u64 qualification)
{
    hw_trace(TP_KVM_NESTED_VMENTER_FAILED, reason, qualification, 0, 0, 0, 0);
    nested_vmexit(v, reason | EXIT_REASON_ENTRY_FAILURE, 0, qualification);
}

int nested_run(struct x86_vcpu *v, bool launch)
{
    struct nested *n = v->nested;
    u64 qualification;

    if (n->current.v == VMCS12_NONE) {
        nested_vmfail_invalid(v);
        return skip_instruction(v);
    }
    nested_shadow_store(v);
    if (vcpu_interrupt_shadow(v) & INTERRUPTIBILITY_MOV_SS)
        return refuse(v, VMERR_ENTRY_MOV_SS_BLOCKING);
    if ((n->vmcs12->launched != 0) == launch)
        return refuse(v, launch ? VMERR_VMLAUNCH_NOT_CLEAR : VMERR_VMRESUME_NOT_LAUNCHED);
    u32 error = nested_check_controls(v, n->vmcs12);
    if (error == VMERR_NONE)
        error = nested_check_host(v, n->vmcs12);
    if (error != VMERR_NONE)
        return refuse(v, error);
    u64 rip = vcpu_rip(v);
    if (!nested_check_guest(v, n->vmcs12, &qualification))
        return entry_failure(v, EXIT_REASON_INVALID_STATE, qualification);
    hw_trace(TP_KVM_NESTED_VMENTER, rip, n->current.v, V12(n, GUEST_RIP), V12(n, CPU_BASED_VM_EXEC_CONTROL),
             V12(n, VM_ENTRY_INTR_INFO_FIELD), 0);
    hw_trace_count("nested_entries", 1);
    begin(v);
    if (!load_pdptes(v)) {
        failed_inside(v, EXIT_REASON_INVALID_STATE, QUAL_ENTRY_PDPTE);
        return 1;
    }
    u32 failed = nested_msrs_load(v, V12(n, VM_ENTRY_MSR_LOAD_ADDR), V12(n, VM_ENTRY_MSR_LOAD_COUNT));
    if (failed != 0)
        failed_inside(v, EXIT_REASON_MSR_LOAD_FAIL, failed);
    return 1;
}
