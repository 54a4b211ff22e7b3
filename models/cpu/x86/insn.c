// SPDX-License-Identifier: Apache-2.0
// Operands of system instructions.
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/insn_common.h"

enum insn_result insn_operand_exit(struct pcpu *c, uint32_t reason, unsigned length,
                                   const struct insn_operand *o, uint32_t more)
{
    struct vmexit *x = insn_exit_begin(c, reason, length);

    x->qualification = o->memory ? o->displacement : 0;
    x->insn_info = (o->memory ? o->info : INSN_INFO_IS_REG | (uint32_t)o->reg << INSN_INFO_REG1_SHIFT) | more;
    return INSN_EXIT;
}

uint64_t insn_linear(const struct vmx *v, enum segment_name segment, uint64_t offset)
{
    if (v->guest)
        return offset;
    if (!insn_64(v))
        return (uint32_t)(segment_base(v, segment) + offset);
    return segment >= SEG_FS ? segment_base(v, segment) + offset : offset;
}

enum insn_result insn_check(struct pcpu *c, enum segment_name segment, uint64_t offset, unsigned size,
                            bool write, uint64_t *linear)
{
    struct vmx *v = &c->x86->vmx;

    *linear = offset;
    if (v->guest || segment_linear(v, segment, offset, size, write, linear))
        return INSN_DONE;
    return insn_fault(c, segment == SEG_SS ? SS_VECTOR : GP_VECTOR, 0);
}

static enum insn_result accessed(struct pcpu *c, unsigned length, enum guest_access result)
{
    // Reported by processors for these exits too, which the manual leaves undefined (SDM 27.2.5).
    if (result == GUEST_EXIT)
        c->x86->vmx.exit.insn_length = length;
    return insn_access(result);
}

static void note(struct pcpu *c, uint64_t linear, unsigned size, bool write)
{
    if (!c->x86->vmx.guest && debug_watched(c))
        debug_data(c, linear, size, write);
}

enum insn_result insn_read(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                           unsigned size, uint64_t *value)
{
    uint64_t linear;
    enum insn_result r = insn_check(c, segment, offset, size, false, &linear);

    *value = 0;
    if (r == INSN_DONE)
        r = accessed(c, length, guest_access(c, linear, size, EPT_ACCESS_READ, value));
    if (r == INSN_DONE)
        note(c, linear, size, false);
    return r;
}

enum insn_result insn_write(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                            unsigned size, uint64_t value)
{
    uint64_t linear;
    enum insn_result r = insn_check(c, segment, offset, size, true, &linear);

    if (r == INSN_DONE)
        r = accessed(c, length, guest_access(c, linear, size, EPT_ACCESS_WRITE, &value));
    if (r == INSN_DONE)
        note(c, linear, size, true);
    return r;
}

enum insn_result insn_load(struct pcpu *c, unsigned length, const struct insn_operand *o, unsigned at,
                           unsigned size, uint64_t *value)
{
    if (!o->bytes)
        return insn_read(c, length, o->segment, o->offset + at, size, value);
    *value = 0;
    memcpy(value, o->bytes + at, size);
    return INSN_DONE;
}

enum insn_result insn_probe(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                            unsigned size, unsigned access)
{
    uint64_t linear, last, hpa;
    enum insn_result r = insn_check(c, segment, offset, size, access & EPT_ACCESS_WRITE, &linear);

    last = linear + size - 1;
    if (r == INSN_DONE)
        r = accessed(c, length, guest_translate(c, linear, access, &hpa));
    if (r == INSN_DONE && last >> 12 != linear >> 12)
        r = accessed(c, length, guest_translate(c, last, access, &hpa));
    return r;
}

enum insn_result insn_physical(struct pcpu *c, unsigned length, enum segment_name segment, uint64_t offset,
                               uint64_t *hpa)
{
    uint64_t linear;
    enum insn_result r = insn_check(c, segment, offset, 1, false, &linear);

    return r == INSN_DONE ? accessed(c, length, guest_translate(c, linear, EPT_ACCESS_READ, hpa)) : r;
}

enum insn_result insn_store(struct pcpu *c, unsigned length, const struct insn_operand *o, unsigned size,
                            uint64_t value)
{
    if (o->memory)
        return insn_write(c, length, o->segment, o->offset, size, value);
    insn_set_reg(&c->x86->vmx, o->reg, o->size, value);
    return INSN_DONE;
}
