// SPDX-License-Identifier: Apache-2.0
// Instructions of replay guests: control and debug registers, TLB and caches, descriptor tables, flags
// (SDM 25.1.3).
#include "models/cpu/x86/replay_exec.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mmu/check.h"
#include "spec/apic_bits.h"

static enum replay_step cr_exit(struct pcpu *c, const struct replay_op *op, unsigned type, unsigned cr,
                                uint64_t more)
{
    replay_exit(c, op, EXIT_REASON_CR_ACCESS)->qualification =
        cr | (uint64_t)type << QUAL_CR_TYPE_SHIFT | (uint64_t)RAX << QUAL_CR_GPR_SHIFT | more;
    return STEP_EXIT;
}

static uint32_t mask_of(unsigned cr)
{
    return cr == 0 ? CR0_GUEST_HOST_MASK : CR4_GUEST_HOST_MASK;
}

static uint32_t shadow_of(unsigned cr)
{
    return cr == 0 ? CR0_READ_SHADOW : CR4_READ_SHADOW;
}

// Bits that the host owns keep their value (SDM 25.3).
static enum replay_step write_cr(struct pcpu *c, const struct replay_op *op, unsigned cr, uint64_t value, uint64_t mask)
{
    uint64_t merged = (value & ~mask) | (c->x86->cr[cr] & mask);

    pcpu_charge_cycles(c, cr == 3 ? c->uarch->op.mov_cr3_cycles : c->uarch->op.mov_cr_write_cycles);
    if (cr == 2 || cr == 8)
        return x86_write_cr(c, cr, merged) == HW_DONE ? STEP_RETIRED : fault(c, GP_VECTOR, 0);
    return replay_access(c, op, guest_mov_to_cr(c, cr, merged));
}

static bool cr3_is_target(const struct vmx *v, uint64_t value)
{
    uint32_t count = vmcs_get32(v, CR3_TARGET_COUNT);

    for (uint32_t i = 0; i < count; i++)
        if (vmcs_get(v, CR3_TARGET_VALUE0 + 2 * i) == value)
            return true;
    return false;
}

static enum replay_step to_cr3(struct pcpu *c, const struct replay_op *op, uint64_t value)
{
    struct vmx *v = &c->x86->vmx;

    if ((v->ctl.cpu & CPU_CR3_LOAD_EXITING) && !cr3_is_target(v, value))
        return cr_exit(c, op, QUAL_CR_MOV_TO, 3, 0);
    return write_cr(c, op, 3, value, 0);
}

static enum replay_step to_cr8(struct pcpu *c, const struct replay_op *op, uint64_t value)
{
    struct vmx *v = &c->x86->vmx;

    if (v->ctl.cpu & CPU_CR8_LOAD_EXITING)
        return cr_exit(c, op, QUAL_CR_MOV_TO, 8, 0);
    if (!(v->ctl.cpu & CPU_USE_TPR_SHADOW))
        return write_cr(c, op, 8, value, 0);
    if (value & ~X86_CR8_TPR_MASK)
        return fault(c, GP_VECTOR, 0);
    pcpu_charge_cycles(c, c->uarch->op.mov_cr_write_cycles);
    vapic_write(c, APIC_TPR, (uint32_t)value << 4);
    return vapic_write_tpr(c) ? STEP_EXIT : STEP_RETIRED;
}

// What MOV to CR invalidates (SDM 4.10.4.1), whoever carries it out: for the TLB checker.
static void note_cr_write(struct pcpu *c, unsigned cr, uint64_t value)
{
    const struct vmx *v = &c->x86->vmx;
    struct mmu *m = c->x86->mmu;
    uint64_t mask, old;

    if (cr == 3) {
        bool pcide = c->x86->cr[4] & X86_CR4_PCIDE;

        if (!pcide || !(value & X86_CR3_NO_FLUSH))
            mmu_check_guest_flush(m, MMU_FLUSH_PCID, pcide ? (uint16_t)(value & X86_CR3_PCID_MASK) : 0, 0);
        return;
    }
    if (cr != 0 && cr != 4)
        return;
    mask = vmcs_get(v, mask_of(cr));
    old = (c->x86->cr[cr] & ~mask) | (vmcs_get(v, shadow_of(cr)) & mask);
    if (cr == 0 ? (old & ~value & X86_CR0_PG) != 0
                : ((old ^ value) & X86_CR4_PGE) || (old & ~value & X86_CR4_PCIDE))
        mmu_check_guest_flush(m, MMU_FLUSH_ALL, 0, 0);
    else if (cr == 4 && (((old ^ value) & X86_CR4_PAE) || (value & ~old & X86_CR4_SMEP)))
        mmu_check_guest_flush(m, MMU_FLUSH_PCID, m->space.tag.pcid, 0);
}

EXEC(movtocr)
{
    struct vmx *v = &c->x86->vmx;
    unsigned cr = (unsigned)op->args[0];
    uint64_t value, mask;

    if (first_time(g)) {
        v->gpr.r[RAX] = op->args[1];
        note_cr_write(c, cr, op->args[1]);
    }
    value = v->gpr.r[RAX];
    switch (cr) {
    case 0:
    case 4:
        mask = vmcs_get(v, mask_of(cr));
        if ((value ^ vmcs_get(v, shadow_of(cr))) & mask)
            return cr_exit(c, op, QUAL_CR_MOV_TO, cr, 0);
        return write_cr(c, op, cr, value, mask);
    case 2:
        return write_cr(c, op, 2, value, 0);
    case 3:
        return to_cr3(c, op, value);
    case 8:
        return to_cr8(c, op, value);
    default:
        return fault(c, UD_VECTOR, 0);
    }
}

EXEC(movfromcr)
{
    struct vmx *v = &c->x86->vmx;
    unsigned cr = (unsigned)op->args[0];
    uint64_t mask;

    first_time(g);
    if (cr == 3 && (v->ctl.cpu & CPU_CR3_STORE_EXITING))
        return cr_exit(c, op, QUAL_CR_MOV_FROM, 3, 0);
    if (cr == 8 && (v->ctl.cpu & CPU_CR8_STORE_EXITING))
        return cr_exit(c, op, QUAL_CR_MOV_FROM, 8, 0);
    pcpu_charge_cycles(c, c->uarch->op.mov_cr_read_cycles);
    switch (cr) {
    case 0:
    case 4:
        mask = vmcs_get(v, mask_of(cr));
        v->gpr.r[RAX] = (c->x86->cr[cr] & ~mask) | (vmcs_get(v, shadow_of(cr)) & mask);
        return STEP_RETIRED;
    case 8:
        v->gpr.r[RAX] = v->ctl.cpu & CPU_USE_TPR_SHADOW ? vapic_read(c, APIC_TPR) >> 4 & 0xf : lapic_cr8(c);
        return STEP_RETIRED;
    case 2:
    case 3:
        v->gpr.r[RAX] = c->x86->cr[cr];
        return STEP_RETIRED;
    default:
        return fault(c, UD_VECTOR, 0);
    }
}

EXEC(clts)
{
    const struct vmx *v = &c->x86->vmx;
    bool owned = vmcs_get(v, CR0_GUEST_HOST_MASK) & X86_CR0_TS;

    first_time(g);
    if (owned && (vmcs_get(v, CR0_READ_SHADOW) & X86_CR0_TS))
        return cr_exit(c, op, QUAL_CR_CLTS, 0, 0);
    pcpu_charge_cycles(c, c->uarch->op.clts_cycles);
    if (!owned)
        c->x86->cr[0] &= ~X86_CR0_TS;
    return STEP_RETIRED;
}

EXEC(lmsw)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t mask = vmcs_get(v, CR0_GUEST_HOST_MASK) & 0xf, shadow = vmcs_get(v, CR0_READ_SHADOW);
    uint64_t source, low, cr0 = c->x86->cr[0];

    if (first_time(g))
        v->gpr.r[RAX] = op->args[0] & 0xffff;
    source = v->gpr.r[RAX] & 0xffff;
    // PE can only be set: bit 0 exits only if it would be, seen from the guest (SDM 25.1.3).
    if ((mask & (source ^ shadow) & 0xe) || (mask & source & ~shadow & 1))
        return cr_exit(c, op, QUAL_CR_LMSW, 0, source << QUAL_CR_LMSW_SHIFT);
    // Bits that the host owns stay; LMSW can set PE, not clear it.
    low = (cr0 & mask) | (source & ~mask & 0xf) | (cr0 & X86_CR0_PE);
    return write_cr(c, op, 0, (cr0 & ~0xfull) | low, 0);
}

// --- Debug registers. ---

static enum replay_step dr_exit(struct pcpu *c, const struct replay_op *op, bool from)
{
    replay_exit(c, op, EXIT_REASON_DR_ACCESS)->qualification =
        (op->args[0] & 7) | (from ? QUAL_DR_FROM : 0) | (uint64_t)RAX << QUAL_DR_GPR_SHIFT;
    return STEP_EXIT;
}

EXEC(movtodr)
{
    struct vmx *v = &c->x86->vmx;
    enum hw_fault result;

    if (first_time(g))
        v->gpr.r[RAX] = op->args[1];
    if (v->ctl.cpu & CPU_MOV_DR_EXITING)
        return dr_exit(c, op, false);
    if (c->x86->dr[7] & X86_DR7_GD)
        return vmx_exception(c, DB_VECTOR, 0, DEBUG_INFO_BD) ? STEP_EXIT : STEP_FAULT;
    pcpu_charge_cycles(c, c->uarch->op.mov_dr_write_cycles);
    result = x86_write_dr(c, (unsigned)op->args[0], v->gpr.r[RAX]);
    return result == HW_DONE ? STEP_RETIRED : fault(c, (unsigned)result, 0);
}

EXEC(movfromdr)
{
    struct vmx *v = &c->x86->vmx;
    unsigned n = (unsigned)op->args[0] & 7;

    first_time(g);
    if (v->ctl.cpu & CPU_MOV_DR_EXITING)
        return dr_exit(c, op, true);
    if (c->x86->dr[7] & X86_DR7_GD)
        return vmx_exception(c, DB_VECTOR, 0, DEBUG_INFO_BD) ? STEP_EXIT : STEP_FAULT;
    if ((n == 4 || n == 5) && (c->x86->cr[4] & X86_CR4_DE))
        return fault(c, UD_VECTOR, 0);
    pcpu_charge_cycles(c, c->uarch->op.mov_dr_read_cycles);
    v->gpr.r[RAX] = c->x86->dr[n == 4 || n == 5 ? n + 2 : n];
    return STEP_RETIRED;
}

// --- TLB and caches. ---

EXEC(invlpg)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = op->args[0];
        mmu_check_guest_flush(c->x86->mmu, MMU_FLUSH_PAGE, c->x86->mmu->space.tag.pcid, op->args[0]);
    }
    if (v->ctl.cpu & CPU_INVLPG_EXITING) {
        replay_exit(c, op, EXIT_REASON_INVLPG)->qualification = v->gpr.r[RDI];
        return STEP_EXIT;
    }
    pcpu_charge_cycles(c, c->uarch->op.invlpg_cycles);
    guest_tlb_invlpg(c, v->gpr.r[RDI]);
    return STEP_RETIRED;
}

static void note_invpcid(struct pcpu *c, const struct replay_op *op)
{
    static const enum mmu_flush what[] = {MMU_FLUSH_PCID_PAGE, MMU_FLUSH_PCID, MMU_FLUSH_ALL,
                                          MMU_FLUSH_ALL_BUT_GLOBALS};

    if (op->args[0] <= 3)
        mmu_check_guest_flush(c->x86->mmu, what[op->args[0]], (uint16_t)(op->args[2] & X86_CR3_PCID_MASK),
                              op->args[1]);
}

EXEC(invpcid)
{
    struct vmx *v = &c->x86->vmx;
    uint16_t pcid = (uint16_t)(op->args[2] & X86_CR3_PCID_MASK);
    uint64_t type;

    if (first_time(g)) {
        v->gpr.r[RAX] = op->args[0];
        v->gpr.r[RDI] = REPLAY_OPERAND_LINEAR;
        memset(g->operand, 0, sizeof g->operand);
        memcpy(g->operand, &op->args[2], 8); // Descriptor: PCID, linear address.
        memcpy(g->operand + 8, &op->args[1], 8);
        note_invpcid(c, op);
        g->operand_bytes = 16;
    }
    type = v->gpr.r[RAX];
    if (!(v->ctl.cpu2 & CPU2_ENABLE_INVPCID))
        return fault(c, UD_VECTOR, 0);
    if (v->ctl.cpu & CPU_INVLPG_EXITING) {
        replay_exit(c, op, EXIT_REASON_INVPCID)->insn_info = INFO_RDI | (uint32_t)RAX << INSN_INFO_REG2_SHIFT;
        return STEP_EXIT;
    }
    // Of another PCID than 0 only with CR4.PCIDE; of one address, a canonical one (SDM vol. 2, INVPCID).
    if (type > 3 || (type < 2 && op->args[2] && !(c->x86->cr[4] & X86_CR4_PCIDE)) ||
        (type == 0 && !x86_canonical(c, op->args[1])))
        return fault(c, GP_VECTOR, 0);
    pcpu_charge_cycles(c, c->uarch->op.invpcid_cycles);
    guest_tlb_invpcid(c, type, pcid, op->args[1]);
    return STEP_RETIRED;
}

EXEC(invd)
{
    first_time(g);
    return exit_for(c, op, EXIT_REASON_INVD);
}

EXEC(wbinvd)
{
    first_time(g);
    if (c->x86->vmx.ctl.cpu2 & CPU2_WBINVD_EXITING)
        return exit_for(c, op, EXIT_REASON_WBINVD);
    pcpu_charge_cycles(c, c->uarch->op.wbinvd_cycles);
    return STEP_RETIRED;
}

EXEC(xsetbv)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RCX] = (uint32_t)op->args[0];
        set_edx_eax(&v->gpr, op->args[1]);
    }
    return exit_for(c, op, EXIT_REASON_XSETBV);
}

// --- Descriptor tables. ---

EXEC(lgdt)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RDI] = REPLAY_OPERAND_LINEAR;
        memcpy(g->operand, &op->args[1], 2); // Limit, base.
        memcpy(g->operand + 2, &op->args[0], 8);
        g->operand_bytes = 10;
    }
    if (v->ctl.cpu2 & CPU2_DESCRIPTOR_TABLE_EXITING) {
        // SDM table 27-10: 2 in bits 29:28 is LGDT.
        replay_exit(c, op, EXIT_REASON_GDTR_IDTR)->insn_info = INFO_RDI | 2u << 28;
        return STEP_EXIT;
    }
    if (!x86_canonical(c, op->args[0]))
        return fault(c, GP_VECTOR, 0);
    pcpu_charge_cycles(c, c->uarch->op.lgdt_cycles);
    vmcs_put(v, GUEST_GDTR_BASE, op->args[0]);
    vmcs_put(v, GUEST_GDTR_LIMIT, op->args[1] & 0xffff);
    return STEP_RETIRED;
}

EXEC(sldt)
{
    struct vmx *v = &c->x86->vmx;

    first_time(g);
    if (v->ctl.cpu2 & CPU2_DESCRIPTOR_TABLE_EXITING) {
        // SDM table 27-11: 0 in bits 29:28 is SLDT; register operand.
        replay_exit(c, op, EXIT_REASON_LDTR_TR)->insn_info = INSN_INFO_IS_REG | (uint32_t)RAX
                                                                                    << INSN_INFO_REG1_SHIFT;
        return STEP_EXIT;
    }
    v->gpr.r[RAX] = vmcs_get(v, GUEST_LDTR_SELECTOR);
    return STEP_RETIRED;
}

// --- Flags and handlers. ---

EXEC(sti)
{
    struct vmx *v = &c->x86->vmx;

    (void)op;
    first_time(g);
    pcpu_charge_cycles(c, c->uarch->op.sti_cycles);
    if (!(v->rflags & X86_RFLAGS_IF))
        v->blocking |= INTERRUPTIBILITY_STI;
    v->rflags |= X86_RFLAGS_IF;
    return STEP_RETIRED;
}

EXEC(cli)
{
    (void)op;
    first_time(g);
    pcpu_charge_cycles(c, c->uarch->op.cli_cycles);
    c->x86->vmx.rflags &= ~X86_RFLAGS_IF;
    return STEP_RETIRED;
}

EXEC(iret)
{
    struct vmx *v = &c->x86->vmx;

    (void)op;
    pcpu_charge_cycles(c, c->uarch->op.iret_cycles);
    // IRET ends blocking by NMI, virtual where NMIs are virtual (SDM 25.3).
    if ((v->ctl.pin & PIN_VIRTUAL_NMIS) || !(v->ctl.pin & PIN_NMI_EXITING)) {
        v->blocking &= ~INTERRUPTIBILITY_NMI;
        if (!(v->ctl.pin & PIN_VIRTUAL_NMIS))
            c->nmi_blocked = false;
    }
    if (!replay_return(c, g))
        replay_advance(c, g);
    return STEP_RETIRED;
}
