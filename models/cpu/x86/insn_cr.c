// SPDX-License-Identifier: Apache-2.0
// Control and debug registers (SDM 25.1.3, 25.3; vol. 2: MOV-Control Registers, MOV-Debug Registers, CLTS,
// LMSW, SMSW).
#include "models/cpu/x86/insn_common.h"

#include "models/apic/lapic.h"
#include "models/cpu/uarch/uarch.h"
#include "models/mmu/check.h"
#include "spec/apic_bits.h"

// SDM table 27-3.
static enum insn_result cr_exit(struct pcpu *c, unsigned length, unsigned type, unsigned cr, unsigned reg)
{
    insn_exit_begin(c, EXIT_REASON_CR_ACCESS, length)->qualification =
        cr | (uint64_t)type << QUAL_CR_TYPE_SHIFT | (uint64_t)reg << QUAL_CR_GPR_SHIFT;
    return INSN_EXIT;
}

static uint32_t mask_of(unsigned cr)
{
    return cr == 0 ? CR0_GUEST_HOST_MASK : CR4_GUEST_HOST_MASK;
}

static uint32_t shadow_of(unsigned cr)
{
    return cr == 0 ? CR0_READ_SHADOW : CR4_READ_SHADOW;
}

// CR0 or CR4 as the guest reads it (SDM 25.3).
static uint64_t as_seen(const struct pcpu *c, unsigned cr)
{
    const struct vmx *v = &c->x86->vmx;
    uint64_t mask = vmcs_get(v, mask_of(cr));

    return (c->x86->cr[cr] & ~mask) | (vmcs_get(v, shadow_of(cr)) & mask);
}

// Bits that the host owns keep their value (SDM 25.3).
static enum insn_result write_cr(struct pcpu *c, unsigned cr, uint64_t value, uint64_t mask)
{
    uint64_t merged = (value & ~mask) | (c->x86->cr[cr] & mask);

    pcpu_charge_cycles(c, cr == 3 ? c->uarch->op.mov_cr3_cycles : c->uarch->op.mov_cr_write_cycles);
    if (cr == 2 || cr == 8)
        return x86_write_cr(c, cr, merged) == HW_DONE ? INSN_DONE : insn_gp(c);
    return insn_access(guest_mov_to_cr(c, cr, merged));
}

static bool cr3_is_target(const struct vmx *v, uint64_t value)
{
    uint32_t count = vmcs_get32(v, CR3_TARGET_COUNT);

    for (uint32_t i = 0; i < count; i++)
        if (vmcs_get(v, CR3_TARGET_VALUE0 + 2 * i) == value)
            return true;
    return false;
}

static enum insn_result to_cr3(struct pcpu *c, unsigned length, unsigned reg, uint64_t value)
{
    struct vmx *v = &c->x86->vmx;

    if ((v->ctl.cpu & CPU_CR3_LOAD_EXITING) && !cr3_is_target(v, value))
        return cr_exit(c, length, QUAL_CR_MOV_TO, 3, reg);
    return write_cr(c, 3, value, 0);
}

static enum insn_result to_cr8(struct pcpu *c, unsigned length, unsigned reg, uint64_t value)
{
    struct vmx *v = &c->x86->vmx;

    if (v->ctl.cpu & CPU_CR8_LOAD_EXITING)
        return cr_exit(c, length, QUAL_CR_MOV_TO, 8, reg);
    if (!(v->ctl.cpu & CPU_USE_TPR_SHADOW))
        return write_cr(c, 8, value, 0);
    if (value & ~X86_CR8_TPR_MASK)
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.mov_cr_write_cycles);
    vapic_write(c, APIC_TPR, (uint32_t)value << 4);
    return vapic_write_tpr(c) ? INSN_EXIT : INSN_DONE;
}

// What MOV to CR invalidates (SDM 4.10.4.1), whoever carries it out: for the TLB checker.
static void note_cr_write(struct pcpu *c, unsigned cr, uint64_t value)
{
    struct mmu *m = c->x86->mmu;
    uint64_t old;

    if (cr == 3) {
        bool pcide = c->x86->cr[4] & X86_CR4_PCIDE;

        if (!pcide || !(value & X86_CR3_NO_FLUSH))
            mmu_check_guest_flush(m, MMU_FLUSH_PCID, pcide ? (uint16_t)(value & X86_CR3_PCID_MASK) : 0, 0);
        return;
    }
    if (cr != 0 && cr != 4)
        return;
    old = as_seen(c, cr);
    if (cr == 0 ? (old & ~value & X86_CR0_PG) != 0
                : ((old ^ value) & X86_CR4_PGE) || (old & ~value & X86_CR4_PCIDE))
        mmu_check_guest_flush(m, MMU_FLUSH_ALL, 0, 0);
    else if (cr == 4 && (((old ^ value) & X86_CR4_PAE) || (value & ~old & X86_CR4_SMEP)))
        mmu_check_guest_flush(m, MMU_FLUSH_PCID, m->space.tag.pcid, 0);
}

static bool cr_exists(unsigned cr)
{
    return cr == 0 || (cr >= 2 && cr <= 4) || cr == 8;
}

enum insn_result insn_mov_to_cr(struct pcpu *c, unsigned length, unsigned cr, unsigned reg)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t value = insn_mode_reg(v, reg);

    if (!cr_exists(cr))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v))
        return insn_gp(c);
    note_cr_write(c, cr, value);
    if (cr == 2)
        return write_cr(c, 2, value, 0);
    if (cr == 3)
        return to_cr3(c, length, reg, value);
    if (cr == 8)
        return to_cr8(c, length, reg, value);
    if ((value ^ vmcs_get(v, shadow_of(cr))) & vmcs_get(v, mask_of(cr)))
        return cr_exit(c, length, QUAL_CR_MOV_TO, cr, reg);
    return write_cr(c, cr, value, vmcs_get(v, mask_of(cr)));
}

static uint64_t read_cr(struct pcpu *c, unsigned cr)
{
    if (cr == 0 || cr == 4)
        return as_seen(c, cr);
    if (cr != 8)
        return c->x86->cr[cr];
    return c->x86->vmx.ctl.cpu & CPU_USE_TPR_SHADOW ? vapic_read(c, APIC_TPR) >> 4 & 0xf : lapic_cr8(c);
}

enum insn_result insn_mov_from_cr(struct pcpu *c, unsigned length, unsigned cr, unsigned reg)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t value;

    if (!cr_exists(cr))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v))
        return insn_gp(c);
    if ((cr == 3 && (v->ctl.cpu & CPU_CR3_STORE_EXITING)) ||
        (cr == 8 && (v->ctl.cpu & CPU_CR8_STORE_EXITING)))
        return cr_exit(c, length, QUAL_CR_MOV_FROM, cr, reg);
    pcpu_charge_cycles(c, c->uarch->op.mov_cr_read_cycles);
    value = read_cr(c, cr);
    insn_set_reg(v, reg, insn_64(v) ? 8 : 4, value);
    return INSN_DONE;
}

enum insn_result insn_clts(struct pcpu *c, unsigned length)
{
    const struct vmx *v = &c->x86->vmx;
    bool owned = vmcs_get(v, CR0_GUEST_HOST_MASK) & X86_CR0_TS;

    if (insn_cpl(v))
        return insn_gp(c);
    if (owned && (vmcs_get(v, CR0_READ_SHADOW) & X86_CR0_TS))
        return cr_exit(c, length, QUAL_CR_CLTS, 0, 0);
    pcpu_charge_cycles(c, c->uarch->op.clts_cycles);
    if (!owned)
        c->x86->cr[0] &= ~X86_CR0_TS;
    return INSN_DONE;
}

static enum insn_result lmsw_exit(struct pcpu *c, unsigned length, const struct insn_operand *o,
                                  uint64_t source)
{
    struct vmexit *x = insn_exit_begin(c, EXIT_REASON_CR_ACCESS, length);

    x->qualification = (uint64_t)QUAL_CR_LMSW << QUAL_CR_TYPE_SHIFT | source << QUAL_CR_LMSW_SHIFT;
    if (!o->memory)
        return INSN_EXIT;
    x->qualification |= QUAL_CR_LMSW_MEMORY;
    x->has_linear = true;
    x->linear = insn_linear(&c->x86->vmx, o->segment, o->offset);
    return INSN_EXIT;
}

enum insn_result insn_lmsw(struct pcpu *c, unsigned length, const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t mask = vmcs_get(v, CR0_GUEST_HOST_MASK) & 0xf, shadow = vmcs_get(v, CR0_READ_SHADOW);
    uint64_t source, low, cr0 = c->x86->cr[0];
    enum insn_result r = INSN_DONE;

    if (insn_cpl(v))
        return insn_gp(c);
    if (o->memory)
        r = insn_load(c, length, o, 0, 2, &source);
    else
        source = insn_reg(v, o->reg, 2);
    if (r != INSN_DONE)
        return r;
    // PE can only be set: bit 0 exits only if it would be, seen from the guest (SDM 25.1.3).
    if ((mask & (source ^ shadow) & 0xe) || (mask & source & ~shadow & 1))
        return lmsw_exit(c, length, o, source);
    // Bits that the host owns stay; LMSW can set PE, not clear it.
    low = (cr0 & mask) | (source & ~mask & 0xf) | (cr0 & X86_CR0_PE);
    return write_cr(c, 0, (cr0 & ~0xfull) | low, 0);
}

enum insn_result insn_smsw(struct pcpu *c, unsigned length, const struct insn_operand *o)
{
    const struct vmx *v = &c->x86->vmx;

    if ((c->x86->cr[4] & X86_CR4_UMIP) && insn_cpl(v))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.mov_cr_read_cycles);
    return insn_store(c, length, o, 2, as_seen(c, 0));
}

// --- Debug registers. ---

// The exit comes before the checks of level and of CR4.DE (SDM 25.1.3), which come before DR7.GD (17.2.4).
static enum insn_result dr_check(struct pcpu *c, unsigned length, unsigned dr, unsigned reg, bool from)
{
    const struct vmx *v = &c->x86->vmx;

    if (dr > 7)
        return insn_fault(c, UD_VECTOR, 0);
    if (v->ctl.cpu & CPU_MOV_DR_EXITING) { // SDM table 27-4.
        insn_exit_begin(c, EXIT_REASON_DR_ACCESS, length)->qualification =
            dr | (from ? QUAL_DR_FROM : 0) | (uint64_t)reg << QUAL_DR_GPR_SHIFT;
        return INSN_EXIT;
    }
    if (insn_cpl(v))
        return insn_gp(c);
    if ((dr == 4 || dr == 5) && (c->x86->cr[4] & X86_CR4_DE))
        return insn_fault(c, UD_VECTOR, 0);
    if (c->x86->dr[7] & X86_DR7_GD)
        return vmx_exception(c, DB_VECTOR, 0, DEBUG_INFO_BD) ? INSN_EXIT : INSN_FAULT;
    return INSN_DONE;
}

enum insn_result insn_mov_to_dr(struct pcpu *c, unsigned length, unsigned dr, unsigned reg)
{
    enum insn_result r = dr_check(c, length, dr, reg, false);

    if (r != INSN_DONE)
        return r;
    pcpu_charge_cycles(c, c->uarch->op.mov_dr_write_cycles);
    c->x86->vmx.behind = true; // The next instruction may have a breakpoint now.
    return x86_write_dr(c, dr, insn_mode_reg(&c->x86->vmx, reg)) == HW_DONE ? INSN_DONE : insn_gp(c);
}

enum insn_result insn_mov_from_dr(struct pcpu *c, unsigned length, unsigned dr, unsigned reg)
{
    struct vmx *v = &c->x86->vmx;
    enum insn_result r = dr_check(c, length, dr, reg, true);

    if (r != INSN_DONE)
        return r;
    pcpu_charge_cycles(c, c->uarch->op.mov_dr_read_cycles);
    insn_set_reg(v, reg, insn_64(v) ? 8 : 4, c->x86->dr[dr == 4 || dr == 5 ? dr + 2 : dr]);
    return INSN_DONE;
}
