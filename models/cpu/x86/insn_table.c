// SPDX-License-Identifier: Apache-2.0
// Translation and other caches, descriptor-table registers (SDM 25.1.2, 25.1.3; the pages of vol. 2).
#include "models/cpu/x86/insn_common.h"

#include "models/cpu/uarch/uarch.h"
#include "models/mem/mem.h"
#include "models/mmu/check.h"

#define INVPCID_TYPES 4u

enum insn_result insn_invlpg(struct pcpu *c, unsigned length, const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t linear;

    if (insn_cpl(v))
        return insn_gp(c);
    linear = insn_linear(v, o->segment, o->offset);
    mmu_check_guest_flush(c->x86->mmu, MMU_FLUSH_PAGE, c->x86->mmu->space.tag.pcid, linear);
    if (v->ctl.cpu & CPU_INVLPG_EXITING) {
        insn_exit_begin(c, EXIT_REASON_INVLPG, length)->qualification = linear;
        return INSN_EXIT;
    }
    pcpu_charge_cycles(c, c->uarch->op.invlpg_cycles);
    if (x86_canonical(c, linear)) // Of others it does nothing (SDM vol. 2).
        guest_tlb_invlpg(c, linear);
    return INSN_DONE;
}

static void note_invpcid(struct pcpu *c, uint64_t type, uint64_t pcid, uint64_t linear)
{
    static const enum mmu_flush what[INVPCID_TYPES] = {MMU_FLUSH_PCID_PAGE, MMU_FLUSH_PCID, MMU_FLUSH_ALL,
                                                       MMU_FLUSH_ALL_BUT_GLOBALS};

    if (type < INVPCID_TYPES)
        mmu_check_guest_flush(c->x86->mmu, what[type], (uint16_t)(pcid & X86_CR3_PCID_MASK), linear);
}

// Reserved bits of the descriptor are 0; of another PCID than 0 only with CR4.PCIDE; of one address, a
// canonical one.
static bool invpcid_ok(const struct pcpu *c, uint64_t type, uint64_t pcid, uint64_t linear)
{
    if (type >= INVPCID_TYPES || pcid & ~X86_CR3_PCID_MASK)
        return false;
    if (type < 2 && pcid && !(c->x86->cr[4] & X86_CR4_PCIDE))
        return false;
    return type != 0 || x86_canonical(c, linear);
}

static enum insn_result invpcid_exit(struct pcpu *c, unsigned length, unsigned reg,
                                     const struct insn_operand *o)
{
    return insn_operand_exit(c, EXIT_REASON_INVPCID, length, o, reg << INSN_INFO_REG2_SHIFT);
}

enum insn_result insn_invpcid(struct pcpu *c, unsigned length, unsigned reg, const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t type = insn_mode_reg(v, reg), pcid, linear;
    bool exits = v->ctl.cpu & CPU_INVLPG_EXITING;
    enum insn_result r;

    if (!(v->ctl.cpu2 & CPU2_ENABLE_INVPCID))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v))
        return insn_gp(c);
    // An exit reads no memory: what stands there, the TLB checker is not told.
    if (exits && !o->bytes)
        return invpcid_exit(c, length, reg, o);
    r = insn_load(c, length, o, 0, 8, &pcid);
    if (r == INSN_DONE)
        r = insn_load(c, length, o, 8, 8, &linear);
    if (r != INSN_DONE)
        return r;
    note_invpcid(c, type, pcid, linear);
    if (exits)
        return invpcid_exit(c, length, reg, o);
    if (!invpcid_ok(c, type, pcid, linear))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.invpcid_cycles);
    guest_tlb_invpcid(c, type, (uint16_t)pcid, linear);
    return INSN_DONE;
}

enum insn_result insn_invd(struct pcpu *c, unsigned length)
{
    if (insn_cpl(&c->x86->vmx))
        return insn_gp(c);
    return insn_exit(c, EXIT_REASON_INVD, length);
}

enum insn_result insn_wbinvd(struct pcpu *c, unsigned length)
{
    const struct vmx *v = &c->x86->vmx;

    if (insn_cpl(v))
        return insn_gp(c);
    if (v->ctl.cpu2 & CPU2_WBINVD_EXITING)
        return insn_exit(c, EXIT_REASON_WBINVD, length);
    pcpu_charge_cycles(c, c->uarch->op.wbinvd_cycles);
    return INSN_DONE;
}

enum insn_result insn_clflush(struct pcpu *c, unsigned length, const struct insn_operand *o)
{
    uint64_t ignored;

    return insn_load(c, length, o, 0, 1, &ignored);
}

enum insn_result insn_serialize(struct pcpu *c, unsigned length)
{
    (void)length;
    mem_store_drain(c);
    return INSN_DONE;
}

// --- GDTR, IDTR. ---

// SDM table 27-10: operand size in bit 11 (outside of 64-bit mode), which instruction in 29:28.
static enum insn_result table_exit(struct pcpu *c, unsigned length, enum insn_table which, bool load,
                                   const struct insn_operand *o, unsigned operand_size)
{
    uint32_t more = (load ? 2u : 0u) << 28 | (uint32_t)which << 28;

    if (operand_size == 4)
        more |= INSN_INFO_OPERAND_32;
    return insn_operand_exit(c, EXIT_REASON_GDTR_IDTR, length, o, more);
}

static void put_table(struct vmx *v, enum insn_table which, uint64_t base, uint16_t limit)
{
    *(which == INSN_GDTR ? &v->gdtr : &v->idtr) = (struct descriptor_table){base, limit};
    if (!v->guest)
        return;
    // A program's are only in the VMCS.
    vmcs_put(v, which == INSN_GDTR ? GUEST_GDTR_BASE : GUEST_IDTR_BASE, base);
    vmcs_put(v, which == INSN_GDTR ? GUEST_GDTR_LIMIT : GUEST_IDTR_LIMIT, limit);
}

enum insn_result insn_load_table(struct pcpu *c, unsigned length, enum insn_table which,
                                 const struct insn_operand *o, unsigned operand_size)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t limit, base;
    enum insn_result r;

    if (insn_cpl(v))
        return insn_gp(c);
    if (v->ctl.cpu2 & CPU2_DESCRIPTOR_TABLE_EXITING)
        return table_exit(c, length, which, true, o, operand_size);
    r = insn_load(c, length, o, 0, 2, &limit);
    if (r == INSN_DONE)
        r = insn_load(c, length, o, 2, insn_64(v) ? 8 : 4, &base);
    if (r != INSN_DONE)
        return r;
    if (operand_size == 2)
        base &= 0xffffff;
    if (!x86_canonical(c, base))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.lgdt_cycles);
    put_table(v, which, base, (uint16_t)limit);
    return INSN_DONE;
}

// User-mode instruction prevention (SDM 2.5, CR4.UMIP).
static bool umip(const struct vmx *v)
{
    return (v->cpu->x86->cr[4] & X86_CR4_UMIP) && insn_cpl(v);
}

enum insn_result insn_store_table(struct pcpu *c, unsigned length, enum insn_table which,
                                  const struct insn_operand *o, unsigned operand_size)
{
    struct vmx *v = &c->x86->vmx;
    const struct descriptor_table *t = which == INSN_GDTR ? &v->gdtr : &v->idtr;
    unsigned base_bytes = insn_64(v) ? 8 : 4;
    enum insn_result r;

    if (umip(v))
        return insn_gp(c);
    if (v->ctl.cpu2 & CPU2_DESCRIPTOR_TABLE_EXITING)
        return table_exit(c, length, which, false, o, operand_size);
    // All bytes or none.
    r = insn_probe(c, length, o->segment, o->offset, 2 + base_bytes, EPT_ACCESS_WRITE);
    if (r == INSN_DONE)
        r = insn_write(c, length, o->segment, o->offset, 2, t->limit);
    return r == INSN_DONE ? insn_write(c, length, o->segment, o->offset + 2, base_bytes, t->base) : r;
}

// --- LDTR, TR: SDM table 27-11. ---

static enum insn_result selector_exit(struct pcpu *c, unsigned length, enum insn_selector which, bool load,
                                      const struct insn_operand *o)
{
    return insn_operand_exit(c, EXIT_REASON_LDTR_TR, length, o,
                             (load ? 2u : 0u) << 28 | (uint32_t)which << 28);
}

enum insn_result insn_load_selector(struct pcpu *c, unsigned length, enum insn_selector which,
                                    const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t selector = insn_reg(v, o->reg, 2);
    enum insn_result r = INSN_DONE;

    if (!insn_protected(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v))
        return insn_gp(c);
    if (v->ctl.cpu2 & CPU2_DESCRIPTOR_TABLE_EXITING)
        return selector_exit(c, length, which, true, o);
    if (o->memory)
        r = insn_load(c, length, o, 0, 2, &selector);
    if (r != INSN_DONE)
        return r;
    pcpu_charge_cycles(c, c->uarch->op.ltr_cycles);
    return which == INSN_LDTR ? insn_lldt(v, (uint16_t)selector) : insn_ltr(v, (uint16_t)selector);
}

enum insn_result insn_store_selector(struct pcpu *c, unsigned length, enum insn_selector which,
                                     const struct insn_operand *o)
{
    struct vmx *v = &c->x86->vmx;
    enum segment_name name = which == INSN_LDTR ? SEG_LDTR : SEG_TR;
    uint64_t selector;

    if (!insn_protected(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (umip(v))
        return insn_gp(c);
    if (v->ctl.cpu2 & CPU2_DESCRIPTOR_TABLE_EXITING)
        return selector_exit(c, length, which, false, o);
    // A program's is only in the VMCS.
    selector = v->guest ? vmcs_get(v, GUEST_ES_SELECTOR + 2 * (uint32_t)name) : v->seg[name].selector;
    return insn_store(c, length, o, 2, selector);
}
