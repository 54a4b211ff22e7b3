// SPDX-License-Identifier: Apache-2.0
// VM-entry checks on the guest-state area (SDM 26.3.1), segments apart. Breaking one: exit 33 with bit 31.
#include "models/cpu/x86/check_guest.h"

#include "models/mem/mem.h"

#define CAP(e) ((e)->c->uarch->vmx_cap)

static bool entry_on(const struct entry_view *e, uint32_t control)
{
    return e->ctl.entry & control;
}

bool guest_canonical(const struct entry_view *e, uint32_t enc)
{
    return canonical_at(field(e, enc), e->cr4 & X86_CR4_LA57);
}

// --- 26.3.1.1: control registers, debug registers, MSRs. ---

static bool cr0_fixed(const struct entry_view *e)
{
    uint64_t must = CAP(e).cr0_fixed0 & ~(X86_CR0_NW | X86_CR0_CD);

    if (e->unrestricted)
        must &= ~(X86_CR0_PE | X86_CR0_PG);
    return (must & ~e->cr0) == 0 && (e->cr0 & ~CAP(e).cr0_fixed1) == 0;
}

RULE(cr0_paging, !(e->cr0 & X86_CR0_PG) || (e->cr0 & X86_CR0_PE))
RULE(cr4_fixed, (CAP(e).cr4_fixed0 & ~e->cr4) == 0 && (e->cr4 & ~CAP(e).cr4_fixed1) == 0)
RULE(cr4_cet, !(e->cr4 & X86_CR4_CET) || (e->cr0 & X86_CR0_WP))
RULE(debugctl, !entry_on(e, ENTRY_LOAD_DEBUG_CONTROLS) || (field(e, GUEST_IA32_DEBUGCTL) & ~0xffc3ull) == 0)
RULE(ia32e_paging, !e->ia32e || (e->cr0 & X86_CR0_PG))
RULE(ia32e_pae, !e->ia32e || (e->cr4 & X86_CR4_PAE))
RULE(pcide_needs_ia32e, e->ia32e || !(e->cr4 & X86_CR4_PCIDE))
RULE(cr3_width, field(e, GUEST_CR3) >> e->phys_bits == 0)
RULE(dr7_high, !entry_on(e, ENTRY_LOAD_DEBUG_CONTROLS) || field(e, GUEST_DR7) >> 32 == 0)
RULE(sysenter_esp, guest_canonical(e, GUEST_SYSENTER_ESP))
RULE(sysenter_eip, guest_canonical(e, GUEST_SYSENTER_EIP))
RULE(perf_global, !entry_on(e, ENTRY_LOAD_PERF_GLOBAL_CTRL) ||
                      (field(e, GUEST_IA32_PERF_GLOBAL_CTRL) & ~0x7000000ffull) == 0)
RULE(pat, !entry_on(e, ENTRY_LOAD_PAT) || msrs_pat_valid(field(e, GUEST_IA32_PAT)))
RULE(efer_reserved, !entry_on(e, ENTRY_LOAD_EFER) || (field(e, GUEST_IA32_EFER) & ~EFER_DEFINED) == 0)

static bool efer_mode(const struct entry_view *e)
{
    uint64_t efer = field(e, GUEST_IA32_EFER);
    bool lma = efer & EFER_LMA, lme = efer & EFER_LME;

    if (!entry_on(e, ENTRY_LOAD_EFER))
        return true;
    return lma == e->ia32e && (!(e->cr0 & X86_CR0_PG) || lma == lme);
}

static bool bndcfgs(const struct entry_view *e)
{
    uint64_t value = field(e, GUEST_BNDCFGS);

    return !entry_on(e, ENTRY_LOAD_BNDCFGS) || ((value & 0xffc) == 0 && guest_canonical(e, GUEST_BNDCFGS));
}

// --- 26.3.1.3: descriptor tables. ---

RULE(gdtr_base, guest_canonical(e, GUEST_GDTR_BASE))
RULE(idtr_base, guest_canonical(e, GUEST_IDTR_BASE))
RULE(gdtr_limit, field(e, GUEST_GDTR_LIMIT) >> 16 == 0)
RULE(idtr_limit, field(e, GUEST_IDTR_LIMIT) >> 16 == 0)

// --- 26.3.1.4: RIP, RFLAGS. ---

static uint32_t info_of(const struct entry_view *e)
{
    return (uint32_t)field(e, VM_ENTRY_INTR_INFO_FIELD);
}

static bool injects(const struct entry_view *e, uint32_t type)
{
    return (info_of(e) & (INTR_INFO_VALID | INTR_INFO_TYPE_MASK)) == (INTR_INFO_VALID | type);
}

bool entry_guest_rip(const struct entry_view *e)
{
    uint64_t value = field(e, GUEST_RIP);
    int64_t high = (int64_t)value >> (e->cr4 & X86_CR4_LA57 ? 57 : 48);

    if (!e->ia32e || !(field(e, GUEST_CS_AR_BYTES) & AR_L))
        return value >> 32 == 0;
    return high == 0 || high == -1; // Bits 63:N are identical: wider than canonical by one bit.
}

RULE(rflags_reserved, (e->rflags & X86_RFLAGS_RESERVED_0) == 0 && (e->rflags & X86_RFLAGS_FIXED))
RULE(rflags_vm, !e->v86 || (!e->ia32e && (e->cr0 & X86_CR0_PE)))
RULE(rflags_if, !injects(e, INTR_TYPE_EXTERNAL) || (e->rflags & X86_RFLAGS_IF))

// --- 26.3.1.5: non-register state. ---

static uint32_t activity(const struct entry_view *e)
{
    return (uint32_t)field(e, GUEST_ACTIVITY_STATE);
}

static uint32_t blocking(const struct entry_view *e)
{
    return (uint32_t)field(e, GUEST_INTERRUPTIBILITY_INFO);
}

static bool activity_supported(const struct entry_view *e)
{
    if (activity(e) > ACTIVITY_WAIT_SIPI)
        return false;
    return activity(e) == ACTIVITY_ACTIVE || (CAP(e).misc & (VMX_MISC_ACTIVITY_HLT << (activity(e) - 1)));
}

RULE(hlt_needs_cpl0, activity(e) != ACTIVITY_HLT || (field(e, GUEST_SS_AR_BYTES) & AR_DPL_MASK) == 0)
RULE(active_if_blocking,
     activity(e) == ACTIVITY_ACTIVE || !(blocking(e) & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)))

static bool event_fits_activity(const struct entry_view *e)
{
    uint32_t type = info_of(e) & INTR_INFO_TYPE_MASK, vector = info_of(e) & INTR_INFO_VECTOR_MASK;

    if (!(info_of(e) & INTR_INFO_VALID) || activity(e) == ACTIVITY_ACTIVE)
        return true;
    if (activity(e) == ACTIVITY_HLT)
        return type == INTR_TYPE_EXTERNAL || type == INTR_TYPE_NMI || type == INTR_TYPE_OTHER ||
               (type == INTR_TYPE_HARD_EXCEPTION && (vector == DB_VECTOR || vector == MC_VECTOR));
    if (activity(e) == ACTIVITY_SHUTDOWN)
        return type == INTR_TYPE_NMI || (type == INTR_TYPE_HARD_EXCEPTION && vector == MC_VECTOR);
    return false;
}

#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)

RULE(blocking_reserved, (blocking(e) & INTERRUPTIBILITY_RESERVED) == 0)
RULE(blocking_one, (blocking(e) & STI_OR_MOV_SS) != STI_OR_MOV_SS)
RULE(blocking_sti_if, !(blocking(e) & INTERRUPTIBILITY_STI) || (e->rflags & X86_RFLAGS_IF))
RULE(blocking_external, !injects(e, INTR_TYPE_EXTERNAL) || !(blocking(e) & STI_OR_MOV_SS))
RULE(blocking_nmi_mov_ss, !injects(e, INTR_TYPE_NMI) || !(blocking(e) & INTERRUPTIBILITY_MOV_SS))
// "A processor may require" this one; ours do, as those whose failure has a qualification of its own.
RULE(blocking_nmi_sti, !injects(e, INTR_TYPE_NMI) || !(blocking(e) & INTERRUPTIBILITY_STI))
RULE(blocking_smi, !(blocking(e) & INTERRUPTIBILITY_SMI))
RULE(blocking_virtual_nmi,
     !injects(e, INTR_TYPE_NMI) || !(e->ctl.pin & PIN_VIRTUAL_NMIS) || !(blocking(e) & INTERRUPTIBILITY_NMI))
RULE(blocking_enclave, !(blocking(e) & INTERRUPTIBILITY_ENCLAVE))
RULE(debug_reserved, (field(e, GUEST_PENDING_DBG_EXCEPTIONS) & PENDING_DBG_RESERVED) == 0)

static bool debug_single_step(const struct entry_view *e)
{
    bool stepping = (e->rflags & X86_RFLAGS_TF) && !(field(e, GUEST_IA32_DEBUGCTL) & DEBUGCTL_BTF);
    bool pending = field(e, GUEST_PENDING_DBG_EXCEPTIONS) & DEBUG_INFO_BS;

    if (!(blocking(e) & STI_OR_MOV_SS) && activity(e) != ACTIVITY_HLT)
        return true;
    return pending == stepping;
}

static bool has_link(const struct entry_view *e)
{
    return field(e, VMCS_LINK_POINTER) != UINT64_MAX;
}

RULE(link_address, !has_link(e) || address_ok(e, VMCS_LINK_POINTER, 4096))

bool entry_link_revision(const struct entry_view *e)
{
    struct vmcs_ref r;
    bool shadow;

    if (!has_link(e))
        return true;
    r = vmcs_ref_at(e->c, field(e, VMCS_LINK_POINTER));
    if (!r.mem)
        return false;
    shadow = vmcs_header32(&r, 0) & VMCS_SHADOW_INDICATOR;
    return (vmcs_header32(&r, 0) & VMCS_REVISION_MASK) == CAP(e).revision &&
           shadow == !!(e->ctl.cpu2 & CPU2_VMCS_SHADOWING);
}

// --- 26.3.1.6: PDPTEs of PAE paging. ---

bool entry_pdptes(const struct entry_view *e)
{
    bool pae = (e->cr0 & X86_CR0_PG) && (e->cr4 & X86_CR4_PAE) && !e->ia32e;
    const uint64_t *table = NULL;

    if (!pae)
        return true;
    if (!(e->ctl.cpu2 & CPU2_ENABLE_EPT))
        table = mem_hpa_to_ptr(e->c, field(e, GUEST_CR3) & X86_CR3_PAE_ADDR_MASK, 32);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t entry = table ? table[i] : field(e, GUEST_PDPTR0 + 2 * i);

        if (paging_pdpte_reserved_set(entry, e->phys_bits))
            return false;
    }
    return true;
}

const struct entry_rule guest_register_rules[] = {
    // clang-format off
    {"CR0 fixed bits",                        "26.3.1.1", cr0_fixed, 0},
    {"CR0.PG needs CR0.PE",                   "26.3.1.1", cr0_paging, 0},
    {"CR4 fixed bits",                        "26.3.1.1", cr4_fixed, 0},
    {"CR4.CET needs CR0.WP",                  "26.3.1.1", cr4_cet, 0},
    {"IA32_DEBUGCTL reserved bits",           "26.3.1.1", debugctl, 0},
    {"IA-32e guest has CR0.PG",               "26.3.1.1", ia32e_paging, 0},
    {"IA-32e guest has CR4.PAE",              "26.3.1.1", ia32e_pae, 0},
    {"CR4.PCIDE needs an IA-32e guest",       "26.3.1.1", pcide_needs_ia32e, 0},
    {"CR3 within the address width",          "26.3.1.1", cr3_width, 0},
    {"DR7 bits 63:32",                        "26.3.1.1", dr7_high, 0},
    {"SYSENTER_ESP is canonical",             "26.3.1.1", sysenter_esp, 0},
    {"SYSENTER_EIP is canonical",             "26.3.1.1", sysenter_eip, 0},
    {"IA32_PERF_GLOBAL_CTRL reserved bits",   "26.3.1.1", perf_global, 0},
    {"IA32_PAT memory types",                 "26.3.1.1", pat, 0},
    {"IA32_EFER reserved bits",               "26.3.1.1", efer_reserved, 0},
    {"IA32_EFER fits mode and paging",        "26.3.1.1", efer_mode, 0},
    {"IA32_BNDCFGS",                          "26.3.1.1", bndcfgs, 0},
    {NULL, NULL, NULL, 0},
    // clang-format on
};

const struct entry_rule guest_other_rules[] = {
    // clang-format off
    {"GDTR base is canonical",                "26.3.1.3", gdtr_base, 0},
    {"IDTR base is canonical",                "26.3.1.3", idtr_base, 0},
    {"GDTR limit bits 31:16",                 "26.3.1.3", gdtr_limit, 0},
    {"IDTR limit bits 31:16",                 "26.3.1.3", idtr_limit, 0},
    {"RIP fits the mode",                     "26.3.1.4", entry_guest_rip, 0},
    {"RFLAGS reserved bits",                  "26.3.1.4", rflags_reserved, 0},
    {"RFLAGS.VM fits the mode",               "26.3.1.4", rflags_vm, 0},
    {"injected interrupt needs RFLAGS.IF",    "26.3.1.4", rflags_if, 0},
    {"activity state is supported",           "26.3.1.5", activity_supported, 0},
    {"HLT state needs CPL 0",                 "26.3.1.5", hlt_needs_cpl0, 0},
    {"active while STI or MOV SS blocks",     "26.3.1.5", active_if_blocking, 0},
    {"event fits the activity state",         "26.3.1.5", event_fits_activity, 0},
    {"interruptibility reserved bits",        "26.3.1.5", blocking_reserved, 0},
    {"not both STI and MOV SS block",         "26.3.1.5", blocking_one, 0},
    {"blocking by STI needs RFLAGS.IF",       "26.3.1.5", blocking_sti_if, 0},
    {"no blocking of an injected interrupt",  "26.3.1.5", blocking_external, 0},
    {"no MOV SS blocking of an injected NMI", "26.3.1.5", blocking_nmi_mov_ss, 0},
    {"no STI blocking of an injected NMI",    "26.3.1.5", blocking_nmi_sti, QUAL_ENTRY_NMI},
    {"no SMI blocking outside of SMM",        "26.3.1.5", blocking_smi, 0},
    {"no virtual-NMI blocking of an injected NMI", "26.3.1.5", blocking_virtual_nmi, 0},
    {"no enclave interruption",               "26.3.1.5", blocking_enclave, 0},
    {"pending debug exceptions reserved bits", "26.3.1.5", debug_reserved, 0},
    {"pending single step fits RFLAGS.TF",    "26.3.1.5", debug_single_step, 0},
    {"VMCS link pointer address",             "26.3.1.5", link_address, QUAL_ENTRY_LINK_PTR},
    {"VMCS link pointer revision and kind",   "26.3.1.5", entry_link_revision, QUAL_ENTRY_LINK_PTR},
    {"PDPTE reserved bits",                   "26.3.1.6", entry_pdptes, QUAL_ENTRY_PDPTE},
    {NULL, NULL, NULL, 0},
    // clang-format on
};
