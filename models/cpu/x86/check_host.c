// SPDX-License-Identifier: Apache-2.0
// VM-entry checks on the host-state area (SDM 26.2.2 to 26.2.4). Breaking one: VMfailValid with error 8.
#include "models/cpu/x86/entry_checks_common.h"

static bool host64(const struct entry_view *e)
{
    return e->ctl.exit & EXIT_HOST_ADDR_SPACE_SIZE;
}

static bool canonical(const struct entry_view *e, uint32_t enc)
{
    return canonical_at(field(e, enc), e->c->x86->cr[4] & X86_CR4_LA57);
}

static bool fixed(uint64_t value, uint64_t fixed0, uint64_t fixed1)
{
    return (fixed0 & ~value) == 0 && (value & ~fixed1) == 0;
}

// A selector: RPL and TI are 0.
static bool plain(const struct entry_view *e, uint32_t enc)
{
    return (field(e, enc) & (X86_SEL_RPL_MASK | X86_SEL_TI)) == 0;
}

static bool load_on(const struct entry_view *e, uint32_t control)
{
    return e->ctl.exit & control;
}

#define CAP(e) ((e)->c->uarch->vmx_cap)

RULE(cr0, fixed(field(e, HOST_CR0), CAP(e).cr0_fixed0, CAP(e).cr0_fixed1))
RULE(cr4, fixed(field(e, HOST_CR4), CAP(e).cr4_fixed0, CAP(e).cr4_fixed1))
RULE(cr3, field(e, HOST_CR3) >> e->phys_bits == 0)
RULE(sysenter_esp, canonical(e, HOST_IA32_SYSENTER_ESP))
RULE(sysenter_eip, canonical(e, HOST_IA32_SYSENTER_EIP))
RULE(perf_global,
     !load_on(e, EXIT_LOAD_PERF_GLOBAL_CTRL) || (field(e, HOST_IA32_PERF_GLOBAL_CTRL) & ~0x7000000ffull) == 0)
RULE(pat, !load_on(e, EXIT_LOAD_PAT) || msrs_pat_valid(field(e, HOST_IA32_PAT)))
RULE(efer_reserved, !load_on(e, EXIT_LOAD_EFER) || (field(e, HOST_IA32_EFER) & ~EFER_DEFINED) == 0)

static bool efer_mode(const struct entry_view *e)
{
    uint64_t efer = field(e, HOST_IA32_EFER);

    if (!load_on(e, EXIT_LOAD_EFER))
        return true;
    return !!(efer & EFER_LMA) == host64(e) && !!(efer & EFER_LME) == host64(e);
}

RULE(es_plain, plain(e, HOST_ES_SELECTOR))
RULE(cs_plain, plain(e, HOST_CS_SELECTOR))
RULE(ss_plain, plain(e, HOST_SS_SELECTOR))
RULE(ds_plain, plain(e, HOST_DS_SELECTOR))
RULE(fs_plain, plain(e, HOST_FS_SELECTOR))
RULE(gs_plain, plain(e, HOST_GS_SELECTOR))
RULE(tr_plain, plain(e, HOST_TR_SELECTOR))
RULE(cs_not_null, field(e, HOST_CS_SELECTOR) != 0)
RULE(tr_not_null, field(e, HOST_TR_SELECTOR) != 0)
RULE(ss_not_null, host64(e) || field(e, HOST_SS_SELECTOR) != 0)
RULE(fs_base, canonical(e, HOST_FS_BASE))
RULE(gs_base, canonical(e, HOST_GS_BASE))
RULE(gdtr_base, canonical(e, HOST_GDTR_BASE))
RULE(idtr_base, canonical(e, HOST_IDTR_BASE))
RULE(tr_base, canonical(e, HOST_TR_BASE))

// 26.2.4: the processor is in IA-32e mode whenever hv runs.
RULE(host_is_64_bit, host64(e) || !(MSR_VALUE(e->c, IA32_EFER) & EFER_LMA))
RULE(mode_32, host64(e) || !e->ia32e)
RULE(pae_64, !host64(e) || (field(e, HOST_CR4) & X86_CR4_PAE))
RULE(pcide_32, host64(e) || !(field(e, HOST_CR4) & X86_CR4_PCIDE))
RULE(rip, host64(e) ? canonical(e, HOST_RIP) : field(e, HOST_RIP) >> 32 == 0)

const struct entry_rule entry_host_rules[] = {
    // clang-format off
    {"CR0 fixed bits",                   "26.2.2", cr0, 0},
    {"CR4 fixed bits",                   "26.2.2", cr4, 0},
    {"CR3 within the address width",     "26.2.2", cr3, 0},
    {"SYSENTER_ESP is canonical",        "26.2.2", sysenter_esp, 0},
    {"SYSENTER_EIP is canonical",        "26.2.2", sysenter_eip, 0},
    {"IA32_PERF_GLOBAL_CTRL reserved bits", "26.2.2", perf_global, 0},
    {"IA32_PAT memory types",            "26.2.2", pat, 0},
    {"IA32_EFER reserved bits",          "26.2.2", efer_reserved, 0},
    {"IA32_EFER fits the address-space size", "26.2.2", efer_mode, 0},
    {"ES: TI and RPL are 0",             "26.2.3", es_plain, 0},
    {"CS: TI and RPL are 0",             "26.2.3", cs_plain, 0},
    {"SS: TI and RPL are 0",             "26.2.3", ss_plain, 0},
    {"DS: TI and RPL are 0",             "26.2.3", ds_plain, 0},
    {"FS: TI and RPL are 0",             "26.2.3", fs_plain, 0},
    {"GS: TI and RPL are 0",             "26.2.3", gs_plain, 0},
    {"TR: TI and RPL are 0",             "26.2.3", tr_plain, 0},
    {"CS is not null",                   "26.2.3", cs_not_null, 0},
    {"TR is not null",                   "26.2.3", tr_not_null, 0},
    {"SS is not null in a 32-bit host",  "26.2.3", ss_not_null, 0},
    {"FS base is canonical",             "26.2.3", fs_base, 0},
    {"GS base is canonical",             "26.2.3", gs_base, 0},
    {"GDTR base is canonical",           "26.2.3", gdtr_base, 0},
    {"IDTR base is canonical",           "26.2.3", idtr_base, 0},
    {"TR base is canonical",             "26.2.3", tr_base, 0},
    {"host address-space size in IA-32e mode", "26.2.4", host_is_64_bit, 0},
    {"IA-32e guest needs a 64-bit host", "26.2.4", mode_32, 0},
    {"64-bit host has CR4.PAE",          "26.2.4", pae_64, 0},
    {"32-bit host has no CR4.PCIDE",     "26.2.4", pcide_32, 0},
    {"RIP fits the address-space size",  "26.2.4", rip, 0},
    {NULL, NULL, NULL, 0},
    // clang-format on
};
