// SPDX-License-Identifier: Apache-2.0
// Segment registers as operands (SDM vol. 1 7.3.14; vol. 2 MOV, LDS, LAR, LSL, VERR, ARPL, LLDT, LTR).
#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/operand.h"

// A load of SS holds events off until the next instruction is done (SDM 6.8.3).
static enum insn_result load(struct vmx *v, const struct uop *u, enum segment_name name, uint64_t selector)
{
    enum insn_result r;

    uop_at(v, u);
    r = segment_load(v, name, (uint16_t)selector);
    if (r == INSN_DONE && name == SEG_SS)
        v->blocking |= INTERRUPTIBILITY_MOV_SS;
    return r;
}

static enum insn_result mov_to_segment(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = operand_read(v, u, 1, 2, &value);

    return r == INSN_DONE ? load(v, u, (enum segment_name)u->reg[0], value) : r;
}

// To a register as wide as the operand, zero-extended; to memory 16 bits.
static enum insn_result mov_from_segment(struct vmx *v, const struct uop *u)
{
    return operand_write(v, u, 0, u->kind[0] == OPERAND_MEMORY ? 2 : u->size, v->seg[u->reg[1]].selector);
}

uop_fn segment_choose_mov(struct uop *u)
{
    if (u->kind[0] == OPERAND_SEGMENT) {
        if (u->reg[0] == SEG_CS)
            return NULL;
        u->flags |= UOP_ENDS; // The stack's width, and the shadow behind it.
        return mov_to_segment;
    }
    return u->kind[1] == OPERAND_SEGMENT ? mov_from_segment : NULL;
}

static enum insn_result push_segment(struct vmx *v, const struct uop *u)
{
    return stack_push(v, u, u->size, v->seg[u->reg[0]].selector);
}

static enum insn_result pop_segment(struct vmx *v, const struct uop *u)
{
    uint64_t value;
    enum insn_result r = stack_peek(v, u, u->size, 0, &value);

    if (r == INSN_DONE)
        r = load(v, u, (enum segment_name)u->reg[0], value);
    if (r == INSN_DONE)
        stack_drop(v, u, u->size);
    return r;
}

uop_fn segment_choose_stack(struct uop *u, bool pop)
{
    if (!pop)
        return push_segment;
    u->flags |= UOP_ENDS;
    return u->reg[0] == SEG_CS ? NULL : pop_segment;
}

// LDS, LES, LFS, LGS, LSS.
static enum insn_result load_far_pointer(struct vmx *v, const struct uop *u)
{
    enum segment_name name = u->id == X86_INS_LDS   ? SEG_DS
                             : u->id == X86_INS_LES ? SEG_ES
                             : u->id == X86_INS_LFS ? SEG_FS
                             : u->id == X86_INS_LGS ? SEG_GS
                                                    : SEG_SS;
    uint64_t at = effective_address(v, u), offset, selector;
    enum insn_result r = operand_load(v, u, (enum segment_name)u->segment, at, u->size, &offset);

    if (r == INSN_DONE)
        r = operand_load(v, u, (enum segment_name)u->segment, (at + u->size) & size_mask(u->address_size), 2,
                         &selector);
    if (r == INSN_DONE)
        r = load(v, u, name, selector);
    if (r == INSN_DONE)
        reg_write(v, u->reg[0], u->size, offset);
    return r;
}

static uop_fn choose_far_pointer(struct uop *u, const cs_insn *in, const struct uop_row *row)
{
    (void)in;
    if (u->kind[1] != OPERAND_MEMORY || (u->flags & UOP_LOCK))
        return NULL;
    u->flags |= UOP_ENDS;
    return row->fn;
}

// --- Questions about descriptors: ZF says whether CPL and RPL may ask. A #UD outside of protected mode. ---

static void answer(struct vmx *v, bool yes)
{
    flags_set(v, X86_RFLAGS_ZF, yes ? X86_RFLAGS_ZF : 0);
}

// Reads the descriptor without a fault for a selector beyond its table: *found says whether there is one.
static enum insn_result look_up(struct vmx *v, uint16_t selector, struct descriptor *d, bool *found)
{
    const struct segment *ldt = &v->seg[SEG_LDTR];
    uint32_t limit = selector & SELECTOR_TI ? ldt->limit : v->gdtr.limit;

    *found = !SELECTOR_NULL(selector) && !((selector & SELECTOR_TI) && (ldt->ar & AR_UNUSABLE)) &&
             (selector | 7u) <= limit;
    if (!*found)
        return INSN_DONE;
    return descriptor_read(v, selector, GP_VECTOR, 0, d);
}

static bool visible(const struct vmx *v, uint16_t selector, const struct descriptor *d)
{
    unsigned dpl = descriptor_dpl(d);

    if (descriptor_code(d) && (descriptor_type(d) & TYPE_CONFORMING))
        return true;
    return segment_cpl(v) <= dpl && (selector & SELECTOR_RPL) <= dpl;
}

// System types that LAR and LSL know (SDM vol. 2, tables of LAR and LSL).
static bool known_type(const struct vmx *v, const struct descriptor *d, bool limit)
{
    unsigned type = descriptor_type(d);
    uint32_t legacy = 1u << TYPE_TSS16 | 1u << TYPE_LDT | 1u << TYPE_TSS16_BUSY | 1u << TYPE_TSS32 |
                      1u << TYPE_TSS32_BUSY |
                      (limit ? 0 : 1u << TYPE_CALL_GATE16 | 1u << TYPE_TASK_GATE | 1u << TYPE_CALL_GATE32);
    uint32_t wide =
        1u << TYPE_LDT | 1u << TYPE_TSS32 | 1u << TYPE_TSS32_BUSY | (limit ? 0 : 1u << TYPE_CALL_GATE32);

    return !descriptor_system(d) || ((guest_long(v) ? wide : legacy) >> type & 1);
}

// Operand `n` is the selector that is asked about. *found: its descriptor, *d, is there.
static enum insn_result ask(struct vmx *v, const struct uop *u, unsigned n, uint16_t *selector,
                            struct descriptor *d, bool *found)
{
    uint64_t value;
    enum insn_result r;

    if (!guest_protected(v))
        return uop_fault(v, u, UD_VECTOR, 0);
    r = operand_read(v, u, n, 2, &value);
    if (r != INSN_DONE)
        return r;
    *selector = (uint16_t)value;
    uop_at(v, u);
    return look_up(v, *selector, d, found);
}

static enum insn_result lar_lsl(struct vmx *v, const struct uop *u)
{
    bool limit = u->id == X86_INS_LSL, found;
    struct descriptor d;
    uint16_t selector;
    enum insn_result r = ask(v, u, 1, &selector, &d, &found);

    if (r != INSN_DONE)
        return r;
    found = found && visible(v, selector, &d) && known_type(v, &d, limit);
    if (found)
        reg_write(v, u->reg[0], u->size,
                  limit ? d.segment.limit : d.low >> 32 & 0xffff00 & (u->size == 2 ? 0xff00 : UINT32_MAX));
    answer(v, found);
    return INSN_DONE;
}

static enum insn_result verify(struct vmx *v, const struct uop *u)
{
    bool write = u->id == X86_INS_VERW, found;
    struct descriptor d;
    uint16_t selector;
    enum insn_result r = ask(v, u, 0, &selector, &d, &found);

    if (r != INSN_DONE)
        return r;
    if (found && (descriptor_system(&d) || !visible(v, selector, &d)))
        found = false;
    if (found && write)
        found = !descriptor_code(&d) && (descriptor_type(&d) & TYPE_WRITABLE);
    else if (found)
        found = !descriptor_code(&d) || (descriptor_type(&d) & TYPE_WRITABLE);
    answer(v, found);
    return INSN_DONE;
}

static enum insn_result arpl(struct vmx *v, const struct uop *u)
{
    uint64_t old, source = reg_read(v, u->reg[1], 2) & SELECTOR_RPL;
    enum insn_result r = INSN_DONE;
    bool raise;

    if (!guest_protected(v))
        return uop_fault(v, u, UD_VECTOR, 0);
    if (u->kind[0] == OPERAND_GPR)
        old = reg_read(v, u->reg[0], 2);
    else
        r = memory_rmw_begin(v, u, 2, &old);
    if (r != INSN_DONE)
        return r;
    raise = (old & SELECTOR_RPL) < source;
    if (raise)
        old = (old & ~(uint64_t)SELECTOR_RPL) | source;
    if (u->kind[0] == OPERAND_MEMORY)
        operand_rmw_end(v, u, 2, old);
    else if (raise)
        reg_write(v, u->reg[0], 2, old);
    answer(v, raise);
    return INSN_DONE;
}

const struct uop_row exec_segment_rows[] = {
    {X86_INS_LDS, choose_far_pointer, load_far_pointer},
    {X86_INS_LES, choose_far_pointer, load_far_pointer},
    {X86_INS_LFS, choose_far_pointer, load_far_pointer},
    {X86_INS_LGS, choose_far_pointer, load_far_pointer},
    {X86_INS_LSS, choose_far_pointer, load_far_pointer},
    {X86_INS_LAR, NULL, lar_lsl},
    {X86_INS_LSL, NULL, lar_lsl},
    {X86_INS_VERR, NULL, verify},
    {X86_INS_VERW, NULL, verify},
    {X86_INS_ARPL, NULL, arpl},
};
const unsigned exec_segment_count = sizeof exec_segment_rows / sizeof *exec_segment_rows;
