// SPDX-License-Identifier: Apache-2.0
// Nested VMX: checks of vmcs12 at VM entry (SDM 26.2, 26.3). One rule a function, by the manual's section.
#include "hv/x86/nested_state.h"

#define F(name) (c->field[V12_##name])

static bool fits(const struct x86_vcpu *v, u32 msr, u64 value)
{
    u64 cap = 0;

    if (nested_msr_read(v, msr, &cap) != 0)
        return value == 0;
    return (value & VMX_CAP_MUST_BE_1(cap)) == VMX_CAP_MUST_BE_1(cap) &&
           (value & ~(u64)VMX_CAP_MAY_BE_1(cap)) == 0;
}

static u64 cpu2_of(const struct vmcs12 *c)
{
    return F(CPU_BASED_VM_EXEC_CONTROL) & CPU_ACTIVATE_SECONDARY_CONTROLS ? F(SECONDARY_VM_EXEC_CONTROL) : 0;
}

static bool good_address(const struct x86_vcpu *v, u64 address, u64 align)
{
    return (address & (align - 1)) == 0 && address >> v->maxphyaddr == 0;
}

// 26.2.1.1.
static bool execution_controls(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    u64 pin = F(PIN_BASED_VM_EXEC_CONTROL), cpu = F(CPU_BASED_VM_EXEC_CONTROL), misc = 0;

    (void)nested_msr_read(v, MSR_IA32_VMX_MISC, &misc);
    if (!fits(v, MSR_IA32_VMX_TRUE_PINBASED_CTLS, pin) || !fits(v, MSR_IA32_VMX_TRUE_PROCBASED_CTLS, cpu) ||
        !fits(v, MSR_IA32_VMX_PROCBASED_CTLS2, cpu2_of(c)))
        return false;
    if (F(CR3_TARGET_COUNT) > (misc & VMX_MISC_CR3_TARGETS_MASK) >> VMX_MISC_CR3_TARGETS_SHIFT)
        return false;
    if ((cpu & CPU_USE_IO_BITMAPS) &&
        (!good_address(v, F(IO_BITMAP_A), PAGE_SIZE) || !good_address(v, F(IO_BITMAP_B), PAGE_SIZE)))
        return false;
    if ((cpu & CPU_USE_MSR_BITMAPS) && !good_address(v, F(MSR_BITMAP), PAGE_SIZE))
        return false;
    if ((pin & PIN_VIRTUAL_NMIS) && !(pin & PIN_NMI_EXITING))
        return false;
    if ((cpu & CPU_NMI_WINDOW_EXITING) && !(pin & PIN_VIRTUAL_NMIS))
        return false;
    if ((cpu2_of(c) & CPU2_ENABLE_EPT) && !nested_ept_good_pointer(v, F(EPT_POINTER)))
        return false;
    return !(cpu2_of(c) & CPU2_ENABLE_VPID) || F(VIRTUAL_PROCESSOR_ID) != 0;
}

static bool msr_area(const struct x86_vcpu *v, u64 count, u64 address)
{
    return count == 0 || (good_address(v, address, 16) &&
                          (address + count * MSR_AREA_ENTRY_BYTES - 1) >> v->maxphyaddr == 0);
}

// 26.2.1.2, 26.2.1.3 without events.
static bool exit_entry_controls(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    return fits(v, MSR_IA32_VMX_TRUE_EXIT_CTLS, F(VM_EXIT_CONTROLS)) &&
           fits(v, MSR_IA32_VMX_TRUE_ENTRY_CTLS, F(VM_ENTRY_CONTROLS)) &&
           msr_area(v, F(VM_EXIT_MSR_STORE_COUNT), F(VM_EXIT_MSR_STORE_ADDR)) &&
           msr_area(v, F(VM_EXIT_MSR_LOAD_COUNT), F(VM_EXIT_MSR_LOAD_ADDR)) &&
           msr_area(v, F(VM_ENTRY_MSR_LOAD_COUNT), F(VM_ENTRY_MSR_LOAD_ADDR));
}

// 26.2.1.3, event injection.
static bool event_injection(const struct vmcs12 *c)
{
    u32 info = (u32)F(VM_ENTRY_INTR_INFO_FIELD), type = info & INTR_INFO_TYPE_MASK,
        vector = info & INTR_INFO_VECTOR_MASK;
    bool code = (info & INTR_INFO_DELIVER_CODE) != 0;
    bool has_code =
        type == INTR_TYPE_HARD_EXCEPTION && vector < 32 && ((X86_VECTORS_WITH_ERROR_CODE >> vector) & 1);
    bool software = type == INTR_TYPE_SOFT_INTERRUPT || type == INTR_TYPE_SOFT_EXCEPTION ||
                    type == INTR_TYPE_PRIV_SOFT_EXCEPTION;

    if ((info & INTR_INFO_VALID) == 0)
        return true;
    if (type == INTR_TYPE_RESERVED || type == INTR_TYPE_OTHER || (info & INTR_INFO_ENTRY_RESERVED) != 0)
        return false;
    if ((type == INTR_TYPE_NMI && vector != NMI_VECTOR) || (type == INTR_TYPE_HARD_EXCEPTION && vector > 31))
        return false;
    if (code != has_code) // Unrestricted guest, which real mode would need, is not offered.
        return false;
    if (code && (F(VM_ENTRY_EXCEPTION_ERROR_CODE) >> 16) != 0)
        return false;
    return !software || (F(VM_ENTRY_INSTRUCTION_LEN) >= 1 && F(VM_ENTRY_INSTRUCTION_LEN) <= 15);
}

u32 nested_check_controls(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    return execution_controls(v, c) && exit_entry_controls(v, c) && event_injection(c)
               ? VMERR_NONE
               : VMERR_ENTRY_BAD_CONTROLS;
}

// --- Host state (26.2.2, 26.2.3, 26.2.4).

static bool fixed_bits(u64 value, u64 fixed0, u64 fixed1)
{
    return (value & fixed0) == fixed0 && (value & ~fixed1) == 0;
}

static u64 cr4_fixed1(const struct x86_vcpu *v)
{
    u64 value = 0;
    (void)nested_msr_read(v, MSR_IA32_VMX_CR4_FIXED1, &value);
    return value;
}

static bool host_registers(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    const struct vmx_caps *caps = &x86_host(v->vcpu.vm->host)->caps;

    return fixed_bits(F(HOST_CR0), caps->cr0_fixed0, caps->cr0_fixed1) &&
           fixed_bits(F(HOST_CR4), caps->cr4_fixed0, cr4_fixed1(v)) && F(HOST_CR3) >> v->maxphyaddr == 0 &&
           is_canonical(F(HOST_IA32_SYSENTER_ESP)) && is_canonical(F(HOST_IA32_SYSENTER_EIP));
}

static bool good_pat(u64 pat)
{
    for (unsigned i = 0; i < 8; i++) {
        u8 type = (u8)(pat >> (8 * i));
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static bool host_msrs(const struct vmcs12 *c)
{
    u64 exit = F(VM_EXIT_CONTROLS), efer = F(HOST_IA32_EFER);
    bool wide = (exit & EXIT_HOST_ADDR_SPACE_SIZE) != 0;

    if ((exit & EXIT_LOAD_PAT) && !good_pat(F(HOST_IA32_PAT)))
        return false;
    if (!(exit & EXIT_LOAD_EFER))
        return true;
    return (efer & ~(u64)EFER_DEFINED) == 0 && ((efer & EFER_LMA) != 0) == wide &&
           ((efer & EFER_LME) != 0) == wide;
}

static bool host_segments(const struct vmcs12 *c)
{
    const u16 selectors =
        (u16)(F(HOST_CS_SELECTOR) | F(HOST_SS_SELECTOR) | F(HOST_DS_SELECTOR) | F(HOST_ES_SELECTOR) |
              F(HOST_FS_SELECTOR) | F(HOST_GS_SELECTOR) | F(HOST_TR_SELECTOR));
    bool wide = (F(VM_EXIT_CONTROLS) & EXIT_HOST_ADDR_SPACE_SIZE) != 0;

    if ((selectors & 7) != 0 || F(HOST_CS_SELECTOR) == 0 || F(HOST_TR_SELECTOR) == 0 ||
        (!wide && F(HOST_SS_SELECTOR) == 0))
        return false;
    return is_canonical(F(HOST_FS_BASE)) && is_canonical(F(HOST_GS_BASE)) &&
           is_canonical(F(HOST_GDTR_BASE)) && is_canonical(F(HOST_IDTR_BASE)) &&
           is_canonical(F(HOST_TR_BASE));
}

static bool host_address_space(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    bool wide = (F(VM_EXIT_CONTROLS) & EXIT_HOST_ADDR_SPACE_SIZE) != 0;
    bool guest_wide = (F(VM_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST) != 0;

    if (wide != vcpu_long_mode(v)) // 26.2.4: as the processor is now.
        return false;
    if (!wide)
        return !guest_wide && !(F(HOST_CR4) & X86_CR4_PCIDE) && F(HOST_RIP) >> 32 == 0;
    return (F(HOST_CR4) & X86_CR4_PAE) != 0 && is_canonical(F(HOST_RIP));
}

u32 nested_check_host(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    return host_registers(v, c) && host_msrs(c) && host_segments(c) && host_address_space(v, c)
               ? VMERR_NONE
               : VMERR_ENTRY_BAD_HOST_STATE;
}

// --- Guest state (26.3). What the processor checks again in vmcs02 it finds there; here stands what merging
// could hide, and what L1 must see as an exit of its own.

static bool guest_control_registers(const struct x86_vcpu *v, const struct vmcs12 *c)
{
    const struct vmx_caps *caps = &x86_host(v->vcpu.vm->host)->caps;
    bool wide = (F(VM_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST) != 0;
    u64 cr0 = F(GUEST_CR0), cr4 = F(GUEST_CR4);

    if (!fixed_bits(cr0, caps->cr0_fixed0, caps->cr0_fixed1) ||
        !fixed_bits(cr4, caps->cr4_fixed0, cr4_fixed1(v)))
        return false;
    if ((cr0 & X86_CR0_PG) && !(cr0 & X86_CR0_PE))
        return false;
    if (wide ? !(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) : (cr4 & X86_CR4_PCIDE) != 0)
        return false;
    return F(GUEST_CR3) >> v->maxphyaddr == 0;
}

static bool guest_msrs(const struct vmcs12 *c)
{
    u64 entry = F(VM_ENTRY_CONTROLS), efer = F(GUEST_IA32_EFER);
    bool wide = (entry & ENTRY_IA32E_MODE_GUEST) != 0;

    if ((entry & ENTRY_LOAD_PAT) && !good_pat(F(GUEST_IA32_PAT)))
        return false;
    if (!(entry & ENTRY_LOAD_EFER))
        return true;
    if ((efer & ~(u64)EFER_DEFINED) != 0 || ((efer & EFER_LMA) != 0) != wide)
        return false;
    return !(F(GUEST_CR0) & X86_CR0_PG) || ((efer & EFER_LMA) != 0) == ((efer & EFER_LME) != 0);
}

// 26.3.1.4.
static bool guest_rflags(const struct vmcs12 *c)
{
    u64 rflags = F(GUEST_RFLAGS), info = F(VM_ENTRY_INTR_INFO_FIELD);
    bool wide = (F(VM_ENTRY_CONTROLS) & ENTRY_IA32E_MODE_GUEST) != 0;

    if ((rflags & X86_RFLAGS_RESERVED_0) != 0 || (rflags & X86_RFLAGS_FIXED) == 0)
        return false;
    if ((rflags & X86_RFLAGS_VM) && (wide || !(F(GUEST_CR0) & X86_CR0_PE)))
        return false;
    // An external interrupt is injected only where the guest could take it.
    return (info & INTR_INFO_VALID) == 0 || (info & INTR_INFO_TYPE_MASK) != INTR_TYPE_EXTERNAL ||
           (rflags & X86_RFLAGS_IF) != 0;
}

// 26.3.1.5.
static bool guest_non_register(const struct vmcs12 *c)
{
    u32 state = (u32)F(GUEST_INTERRUPTIBILITY_INFO), info = (u32)F(VM_ENTRY_INTR_INFO_FIELD);
    bool external = (info & INTR_INFO_VALID) && (info & INTR_INFO_TYPE_MASK) == INTR_TYPE_EXTERNAL;
    bool nmi = (info & INTR_INFO_VALID) && (info & INTR_INFO_TYPE_MASK) == INTR_TYPE_NMI;
    const u32 shadows = INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS;

    if ((F(VM_ENTRY_CONTROLS) & ENTRY_LOAD_DEBUG_CONTROLS) && F(GUEST_DR7) >> 32 != 0)
        return false;                           // 26.3.1.1.
    if (F(GUEST_ACTIVITY_STATE) > ACTIVITY_HLT) // The others are not offered (IA32_VMX_MISC).
        return false;
    if ((state & INTERRUPTIBILITY_RESERVED) != 0 || (state & shadows) == shadows ||
        ((state & INTERRUPTIBILITY_STI) && !(F(GUEST_RFLAGS) & X86_RFLAGS_IF)))
        return false;
    if ((external && (state & shadows)) || (nmi && (state & INTERRUPTIBILITY_MOV_SS)))
        return false;
    if (nmi && (state & INTERRUPTIBILITY_NMI) && (F(PIN_BASED_VM_EXEC_CONTROL) & PIN_VIRTUAL_NMIS))
        return false;
    return (F(GUEST_PENDING_DBG_EXCEPTIONS) & PENDING_DBG_RESERVED) == 0;
}

bool nested_check_guest(const struct x86_vcpu *v, const struct vmcs12 *c, u64 *qualification)
{
    *qualification = QUAL_ENTRY_DEFAULT;
    if (!guest_control_registers(v, c) || !guest_msrs(c) || !guest_rflags(c) || !guest_non_register(c))
        return false;
    if (F(VMCS_LINK_POINTER) != ~0ull) { // Shadow VMCSs are not offered: only "none" is good (26.3.1.5).
        *qualification = QUAL_ENTRY_LINK_PTR;
        return false;
    }
    return true;
}
