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

    *e = (struct entry_view){
        .c = c,
        .v = v,
        .ctl = entry_controls(v),
        .phys_bits = (unsigned)c->uarch->address.physical_bits,
        .cr0 = vmcs_get(v, GUEST_CR0),
        .cr4 = vmcs_get(v, GUEST_CR4),
        .rflags = vmcs_get(v, GUEST_RFLAGS),
    };
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

enum vm_error entry_check_controls_and_host(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    struct entry_view e;

    entry_view_make(c, &e);
    v->failed_rule = entry_first_broken(entry_control_rules, &e);
    if (v->failed_rule)
        return VMERR_ENTRY_BAD_CONTROLS;
    v->failed_rule = entry_first_broken(entry_host_rules, &e);
    return v->failed_rule ? VMERR_ENTRY_BAD_HOST_STATE : VMERR_NONE;
}

const struct entry_rule *entry_check_guest(struct pcpu *c)
{
    struct entry_view e;

    static const struct entry_rule *const parts[] = {guest_register_rules, guest_segment_rules,
                                                     guest_other_rules};
    const struct entry_rule *broken = NULL;

    entry_view_make(c, &e);
    entry_segments_read(&e);
    for (unsigned i = 0; !broken && i < 3; i++)
        broken = entry_first_broken(parts[i], &e);
    c->x86->vmx.failed_rule = broken;
    return broken;
}
