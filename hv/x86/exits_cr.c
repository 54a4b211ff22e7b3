// SPDX-License-Identifier: Apache-2.0
// Exits of accesses to control and debug registers (SDM 25.1.3, 27.2.1 tables 27-3, 27-4).
#include "hv/x86/exits.h"
#include "hv/x86/lapic.h"

// Writes: #GP or past the instruction.
static int finish(struct x86_vcpu *v, int fault)
{
    if (fault) {
        inject_gp(v, 0);
        return 1;
    }
    return skip_instruction(v);
}

static int mov_to_cr8(struct x86_vcpu *v, u64 value)
{
    u64 before = vcpu_cr8(v);

    if (vcpu_set_cr8(v, value)) {
        inject_gp(v, 0);
        return 1;
    }
    skip_instruction(v);
    if (v->apic != NULL || before <= value)
        return 1;
    // The controller in user space may have an interrupt that this uncovers.
    return userspace_exit(v, HV_EXIT_SET_TPR);
}

static int mov_to_cr(struct x86_vcpu *v, unsigned cr, u64 value)
{
    hw_trace(TP_KVM_CR, 1, cr, value, 0, 0, 0);
    switch (cr) {
    case 0:
        return finish(v, vcpu_set_cr0(v, value));
    case 3:
        return finish(v, vcpu_set_cr3(v, value));
    case 4:
        return finish(v, vcpu_set_cr4(v, value));
    case 8:
        return mov_to_cr8(v, value);
    default:
        return handle_not_modelled(v);
    }
}

static int mov_from_cr(struct x86_vcpu *v, unsigned cr, unsigned reg)
{
    u64 value;

    switch (cr) {
    case 3:
        value = vcpu_cr3(v);
        break;
    case 8:
        value = vcpu_cr8(v);
        break;
    default: // CR0 and CR4 are read from their shadows without an exit.
        return handle_not_modelled(v);
    }
    vcpu_set_gpr(v, reg, value);
    hw_trace(TP_KVM_CR, 0, cr, value, 0, 0, 0);
    return skip_instruction(v);
}

static int lmsw(struct x86_vcpu *v, u64 qualification)
{
    u64 cr0 = vcpu_lmsw(v, (qualification & QUAL_CR_LMSW_MASK) >> QUAL_CR_LMSW_SHIFT);

    hw_trace(TP_KVM_CR, 1, 0, cr0, 0, 0, 0);
    return finish(v, vcpu_set_cr0(v, cr0));
}

int handle_cr_access(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);
    unsigned cr = (unsigned)(q & QUAL_CR_NUMBER_MASK);
    unsigned reg = (unsigned)((q & QUAL_CR_GPR_MASK) >> QUAL_CR_GPR_SHIFT);

    switch ((q & QUAL_CR_TYPE_MASK) >> QUAL_CR_TYPE_SHIFT) {
    case QUAL_CR_MOV_TO:
        return mov_to_cr(v, cr, vcpu_gpr(v, reg));
    case QUAL_CR_MOV_FROM:
        return mov_from_cr(v, cr, reg);
    case QUAL_CR_CLTS: {
        u64 cr0 = vcpu_cr0(v) & ~X86_CR0_TS;

        hw_trace(TP_KVM_CR, 1, 0, cr0, 0, 0, 0);
        return finish(v, vcpu_set_cr0(v, cr0));
    }
    default:
        return lmsw(v, q);
    }
}

int handle_dr_access(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);
    unsigned dr = (unsigned)(q & QUAL_DR_NUMBER_MASK);
    unsigned reg = (unsigned)((q & QUAL_DR_GPR_MASK) >> QUAL_DR_GPR_SHIFT);

    if ((dr == 4 || dr == 5) && (vcpu_cr4(v) & X86_CR4_DE)) {
        inject_ud(v);
        return 1;
    }
    if (!vcpu_require_cpl0(v))
        return 1;
    if (v->dr7 & X86_DR7_GD) { // General detect: any access is a fault of its own (SDM 17.2.4).
        queue_exception_p(v, DB_VECTOR, X86_DR6_BD);
        return 1;
    }
    if (!v->in_guest_mode) {
        // Who touches one touches several: the guest gets them until the next exit, and executes this again.
        cpu_controls_clearbit(v, CPU_MOV_DR_EXITING);
        return 1;
    }
    if (q & QUAL_DR_FROM) {
        vcpu_set_gpr(v, reg, vcpu_get_dr(v, dr));
        return skip_instruction(v);
    }
    return finish(v, vcpu_set_dr(v, dr, vcpu_gpr(v, reg)));
}
