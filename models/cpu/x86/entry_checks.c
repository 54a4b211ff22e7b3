// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/check_guest.h"
#include "models/cpu/x86/x86_state.h"

#include "models/cpu/uarch/uarch.h"

struct vmx_controls entry_controls(const struct vmx *v)
{
    struct vmx_controls ctl = {
        .pin = vmcs_get32(v, PIN_BASED_VM_EXEC_CONTROL),
        .cpu = vmcs_get32(v, CPU_BASED_VM_EXEC_CONTROL),
        .exit = vmcs_get32(v, VM_EXIT_CONTROLS),
        .entry = vmcs_get32(v, VM_ENTRY_CONTROLS),
        .exceptions = vmcs_get32(v, EXCEPTION_BITMAP),
    };

    // Without "activate secondary controls" they all count as 0 (SDM 24.6.2).
    if (ctl.cpu & CPU_ACTIVATE_SECONDARY_CONTROLS)
        ctl.cpu2 = vmcs_get32(v, SECONDARY_VM_EXEC_CONTROL);
    return ctl;
}

void entry_view_make(struct pcpu *c, struct entry_view *e)
{
    const struct vmx *v = &c->x86->vmx;

    e->c = c;
    e->v = v;
    e->ctl = entry_controls(v);
    e->phys_bits = (unsigned)c->uarch->address.physical_bits;
    e->cr0 = vmcs_get(v, GUEST_CR0);
    e->cr4 = vmcs_get(v, GUEST_CR4);
    e->rflags = vmcs_get(v, GUEST_RFLAGS);
    e->ia32e = e->ctl.entry & ENTRY_IA32E_MODE_GUEST;
    e->v86 = e->rflags & X86_RFLAGS_VM;
    e->unrestricted = e->ctl.cpu2 & CPU2_UNRESTRICTED_GUEST;
}

const struct entry_rule *entry_first_broken(const struct entry_rule *rules, const struct entry_view *e)
{
    for (const struct entry_rule *r = rules; r->holds; r++)
        if (!r->holds(e))
            return r;
    return NULL;
}

// --- The memo. ---
//
// Most entries are with the same controls, host and guest state as the last one of their VMCS but for RIP.
// All rules are functions of the VMCS's checked fields, the processor's constants, CR4 and EFER of the host,
// and for a few rules of more, which are asked again. The fields are compared as they stand in memory, so it
// does not matter who changed them.

static struct entry_memo *memo_of(struct vmx *v)
{
    return &v->memos[v->current.hpa / VMX_REGION_BYTES % ENTRY_MEMOS];
}

static bool memo_holds(struct pcpu *c, const struct entry_view *e)
{
    static const entry_rule_fn ask_again[] = {entry_tpr_threshold, entry_guest_rip, entry_link_revision,
                                              entry_pdptes};
    struct vmx *v = &c->x86->vmx;
    const struct entry_memo *m = memo_of(v);

    if (!m->valid || m->host_cr4 != c->x86->cr[4] || m->host_efer != MSR_VALUE(c, IA32_EFER) ||
        memcmp(m->fields, v->current.mem + VMCS_FIELDS, v->layout.checked_end - (size_t)VMCS_FIELDS) != 0)
        return false;
    for (unsigned i = 0; i < sizeof ask_again / sizeof *ask_again; i++)
        if (!ask_again[i](e))
            return false;
    return true;
}

static void memo_make(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    struct entry_memo *m = memo_of(v);

    m->valid = true;
    m->host_cr4 = c->x86->cr[4];
    m->host_efer = MSR_VALUE(c, IA32_EFER);
    memcpy(m->fields, v->current.mem + VMCS_FIELDS, v->layout.checked_end - (size_t)VMCS_FIELDS);
}

enum vm_error entry_check_controls_and_host(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    struct entry_view e;

    entry_view_make(c, &e);
    v->failed_rule = NULL;
    v->entry_known = memo_holds(c, &e);
    if (v->entry_known)
        return VMERR_NONE;
    v->failed_rule = entry_first_broken(entry_control_rules, &e);
    if (v->failed_rule)
        return VMERR_ENTRY_BAD_CONTROLS;
    v->failed_rule = entry_first_broken(entry_host_rules, &e);
    return v->failed_rule ? VMERR_ENTRY_BAD_HOST_STATE : VMERR_NONE;
}

const struct entry_rule *entry_check_guest(struct pcpu *c)
{
    static const struct entry_rule *const parts[] = {guest_register_rules, guest_segment_rules,
                                                     guest_other_rules};
    struct vmx *v = &c->x86->vmx;
    struct entry_view e;

    v->failed_rule = NULL;
    if (v->entry_known)
        return NULL;
    entry_view_make(c, &e);
    entry_segments_read(&e);
    for (unsigned i = 0; !v->failed_rule && i < 3; i++)
        v->failed_rule = entry_first_broken(parts[i], &e);
    if (!v->failed_rule)
        memo_make(c);
    return v->failed_rule;
}
