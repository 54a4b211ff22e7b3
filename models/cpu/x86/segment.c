// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/segment.h"
#include "models/cpu/x86/x86_state.h"

#define TYPE_CODE 8u
#define TYPE_EXPAND_DOWN 4u // Of data
#define TYPE_WRITABLE 2u    // Of data
#define TYPE_READABLE 2u    // Of code

void segment_changed(struct vmx *v, enum segment_name name)
{
    struct segment *s = &v->seg[name];
    uint32_t type = s->ar & AR_TYPE_MASK;
    bool all = !(s->ar & AR_UNUSABLE) && (s->ar & AR_P) && s->limit == UINT32_MAX &&
               segment_base(v, name) == 0 && (type & (TYPE_CODE | TYPE_EXPAND_DOWN)) != TYPE_EXPAND_DOWN;

    s->flat_read = all && (!(type & TYPE_CODE) || (type & TYPE_READABLE));
    s->flat_write = all && !(type & TYPE_CODE) && (type & TYPE_WRITABLE);
    s->plain_read = s->plain_write = 0;
    v->plain_stale = true;
}

void segments_plain(struct vmx *v, enum code_size size, bool none)
{
    const uint64_t all = size == CODE_64 ? UINT64_MAX : UINT32_MAX - 15u;

    v->plain_stale = false;
    for (unsigned i = 0; i < SEG_FS; i++) { // The bases of FS and GS are not 0 where somebody uses them.
        struct segment *s = &v->seg[i];

        s->plain_read = !none && (size == CODE_64 || s->flat_read) ? all : 0;
        s->plain_write = !none && (size == CODE_64 || s->flat_write) ? all : 0;
    }
}

void segments_load(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;

    for (unsigned i = 0; i < SEGMENTS; i++) {
        struct segment *s = &v->seg[i];

        s->selector = (uint16_t)vmcs_get(v, GUEST_ES_SELECTOR + 2 * i);
        s->base = vmcs_get(v, GUEST_ES_BASE + 2 * i);
        s->limit = vmcs_get32(v, GUEST_ES_LIMIT + 2 * i);
        s->ar = vmcs_get32(v, GUEST_ES_AR_BYTES + 2 * i);
        segment_changed(v, (enum segment_name)i);
    }
    v->gdtr =
        (struct descriptor_table){vmcs_get(v, GUEST_GDTR_BASE), (uint16_t)vmcs_get(v, GUEST_GDTR_LIMIT)};
    v->idtr =
        (struct descriptor_table){vmcs_get(v, GUEST_IDTR_BASE), (uint16_t)vmcs_get(v, GUEST_IDTR_LIMIT)};
}

void segments_save(struct pcpu *c)
{
    const struct vmx *v = &c->x86->vmx;

    for (unsigned i = 0; i < SEGMENTS; i++) {
        const struct segment *s = &v->seg[i];

        vmcs_put(v, GUEST_ES_SELECTOR + 2 * i, s->selector);
        vmcs_put(v, GUEST_ES_BASE + 2 * i, segment_base(v, (enum segment_name)i));
        vmcs_put(v, GUEST_ES_LIMIT + 2 * i, s->limit);
        vmcs_put(v, GUEST_ES_AR_BYTES + 2 * i, s->ar);
    }
    vmcs_put(v, GUEST_GDTR_BASE, v->gdtr.base);
    vmcs_put(v, GUEST_GDTR_LIMIT, v->gdtr.limit);
    vmcs_put(v, GUEST_IDTR_BASE, v->idtr.base);
    vmcs_put(v, GUEST_IDTR_LIMIT, v->idtr.limit);
}

uint64_t segment_base(const struct vmx *v, enum segment_name name)
{
    if (name == SEG_FS)
        return MSR_VALUE(v->cpu, IA32_FS_BASE);
    if (name == SEG_GS)
        return MSR_VALUE(v->cpu, IA32_GS_BASE);
    return v->seg[name].base;
}

void segment_set_base(struct vmx *v, enum segment_name name, uint64_t base)
{
    if (name == SEG_FS)
        MSR_VALUE(v->cpu, IA32_FS_BASE) = base;
    else if (name == SEG_GS)
        MSR_VALUE(v->cpu, IA32_GS_BASE) = base;
    else
        v->seg[name].base = base;
    segment_changed(v, name);
}

unsigned segment_cpl(const struct vmx *v)
{
    return (v->seg[SEG_SS].ar & AR_DPL_MASK) >> AR_DPL_SHIFT;
}

enum code_size segment_code_size(const struct vmx *v)
{
    return segment_code_size_of(v->seg[SEG_CS].ar, MSR_VALUE(v->cpu, IA32_EFER));
}

unsigned segment_stack_size(const struct vmx *v)
{
    if (segment_code_size(v) == CODE_64)
        return 8;
    return v->seg[SEG_SS].ar & AR_DB ? 4 : 2;
}

// SDM 5.3: within the limit, for expand-down segments beyond it.
static bool within(const struct segment *s, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    bool down = (s->ar & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN && (s->ar & AR_S);

    if (!down)
        return last <= s->limit;
    return offset > s->limit && last <= (s->ar & AR_DB ? UINT32_MAX : 0xffff);
}

bool segment_linear(const struct vmx *v, enum segment_name name, uint64_t offset, unsigned size, bool write,
                    uint64_t *linear)
{
    const struct segment *s = &v->seg[name];
    uint32_t type = s->ar & AR_TYPE_MASK;

    if (segment_code_size(v) == CODE_64) {
        *linear = offset + (name == SEG_FS || name == SEG_GS ? segment_base(v, name) : 0);
        // What is not canonical is the walk's to refuse, with #GP; of the stack it is #SS (SDM 6.15, #SS).
        return name != SEG_SS || (mmu_canonical(v->cpu->x86->mmu, *linear) &&
                                  mmu_canonical(v->cpu->x86->mmu, *linear + size - 1));
    }
    *linear = (uint32_t)(offset + segment_base(v, name));
    if (write ? s->flat_write : s->flat_read)
        return offset + size - 1 <= UINT32_MAX;
    if ((s->ar & AR_UNUSABLE) || !(s->ar & AR_P) || !within(s, offset, size))
        return false;
    // Real and virtual-8086 mode know no types (SDM 20.1.1): their segments are writable.
    if (!(v->cpu->x86->cr[0] & X86_CR0_PE) || (v->rflags & X86_RFLAGS_VM))
        return true;
    if (type & TYPE_CODE)
        return !write && (type & TYPE_READABLE);
    return !write || (type & TYPE_WRITABLE);
}
