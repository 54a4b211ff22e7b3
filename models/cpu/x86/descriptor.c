// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/x86_state.h"

#define RING_3 3u

bool guest_v86(const struct vmx *v)
{
    return v->rflags & X86_RFLAGS_VM;
}

bool guest_protected(const struct vmx *v)
{
    return (v->cpu->x86->cr[0] & X86_CR0_PE) && !guest_v86(v);
}

bool guest_long(const struct vmx *v)
{
    return MSR_VALUE(v->cpu, IA32_EFER) & EFER_LMA;
}

void cpl_changed(struct vmx *v)
{
    guest_space_cpl(v->cpu, segment_cpl(v));
}

// --- Accesses of the processor itself. ---

enum insn_result system_read(struct vmx *v, uint64_t linear, unsigned size, uint64_t *value)
{
    *value = 0;
    return insn_access(guest_access(v->cpu, linear, size, EPT_ACCESS_READ | GUEST_SYSTEM, value));
}

enum insn_result system_write(struct vmx *v, uint64_t linear, unsigned size, uint64_t value)
{
    return insn_access(guest_access(v->cpu, linear, size, EPT_ACCESS_WRITE | GUEST_SYSTEM, &value));
}

// --- Descriptors. ---

void descriptor_parse(struct descriptor *d, uint16_t selector)
{
    uint64_t low = d->low;
    struct segment *s = &d->segment;

    s->selector = selector;
    s->ar = (uint32_t)(low >> 40) & 0xf0ff;
    s->limit = (uint32_t)((low & 0xffff) | (low >> 32 & 0xf0000));
    if (s->ar & AR_G)
        s->limit = s->limit << 12 | 0xfff;
    s->base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000) | d->high << 32;
}

uint64_t gate_offset(const struct descriptor *d)
{
    uint64_t offset = (d->low & 0xffff) | d->high << 32;

    return descriptor_type(d) & 8 ? offset | (d->low >> 32 & 0xffff0000) : offset;
}

enum insn_result descriptor_read(struct vmx *v, uint16_t selector, unsigned vector, uint32_t ext,
                                 struct descriptor *d)
{
    uint32_t index = selector & ~7u, error = SELECTOR_ERROR(selector) | ext;
    const struct segment *ldt = &v->seg[SEG_LDTR];
    uint64_t base = selector & SELECTOR_TI ? ldt->base : v->gdtr.base;
    uint32_t limit = selector & SELECTOR_TI ? ldt->limit : v->gdtr.limit;
    enum insn_result r;

    d->high = 0;
    d->address = base + index;
    if (((selector & SELECTOR_TI) && (ldt->ar & AR_UNUSABLE)) || index + 7 > limit)
        return insn_fault(v->cpu, vector, error);
    r = system_read(v, d->address, 8, &d->low);
    if (r != INSN_DONE)
        return r;
    descriptor_parse(d, selector);
    if (!guest_long(v) || !descriptor_system(d))
        return INSN_DONE;
    if (index + 15 > limit)
        return insn_fault(v->cpu, vector, error);
    r = system_read(v, d->address + 8, 8, &d->high);
    if (r == INSN_DONE && (d->high >> 40 & 0x1f)) // The upper type field must be 0 (SDM 5.8.3.1).
        return insn_fault(v->cpu, vector, error);
    descriptor_parse(d, selector);
    return r;
}

enum insn_result descriptor_accessed(struct vmx *v, struct descriptor *d)
{
    if (d->segment.ar & TYPE_ACCESSED)
        return INSN_DONE;
    d->segment.ar |= TYPE_ACCESSED;
    d->low |= 1ull << 40;
    return system_write(v, d->address + 5, 1, d->low >> 40 & 0xff);
}

// --- Registers. ---

void segment_put(struct vmx *v, enum segment_name name, uint16_t selector, const struct segment *s)
{
    v->seg[name] = *s;
    v->seg[name].selector = selector;
    segment_set_base(v, name, s->base);
    if (name == SEG_SS)
        cpl_changed(v);
}

void segment_put_null(struct vmx *v, enum segment_name name, uint16_t selector, unsigned dpl)
{
    v->seg[name].selector = selector;
    v->seg[name].ar = AR_UNUSABLE | dpl << AR_DPL_SHIFT;
    v->seg[name].limit = 0;
    segment_set_base(v, name, 0);
    if (name == SEG_SS)
        cpl_changed(v);
}

// What a return to an outer privilege level leaves of a segment that is not for it. The manual has the
// selector become null; the base stays, which 64-bit code sees of FS and GS.
static void segment_invalidate(struct vmx *v, enum segment_name name)
{
    v->seg[name].selector = 0;
    v->seg[name].ar = AR_UNUSABLE;
    v->seg[name].limit = 0;
}

void segment_put_real(struct vmx *v, enum segment_name name, uint16_t selector)
{
    struct segment *s = &v->seg[name];

    s->selector = selector;
    if (guest_v86(v)) {
        s->ar = 0xf3;
        s->limit = 0xffff;
    } else if (name == SEG_CS) {
        s->ar = (s->ar & ~(AR_TYPE_MASK | AR_DPL_MASK)) | 3 | AR_S | AR_P; // Writable again.
    }
    segment_set_base(v, name, (uint64_t)selector << 4);
}

static enum insn_result load_null(struct vmx *v, enum segment_name name, uint16_t selector)
{
    unsigned cpl = segment_cpl(v);

    // SS may be null in 64-bit mode below ring 3 only.
    if (name == SEG_SS &&
        (segment_code_size(v) != CODE_64 || cpl == RING_3 || (selector & SELECTOR_RPL) != cpl))
        return insn_fault(v->cpu, GP_VECTOR, 0);
    segment_put_null(v, name, selector, name == SEG_SS ? cpl : 0);
    return INSN_DONE;
}

static bool may_load(const struct vmx *v, enum segment_name name, uint16_t selector,
                     const struct descriptor *d)
{
    unsigned cpl = segment_cpl(v), rpl = selector & SELECTOR_RPL, dpl = descriptor_dpl(d);
    uint32_t type = descriptor_type(d);

    if (descriptor_system(d))
        return false;
    if (name == SEG_SS)
        return !(type & TYPE_CODE) && (type & TYPE_WRITABLE) && rpl == cpl && dpl == cpl;
    if ((type & TYPE_CODE) && !(type & TYPE_WRITABLE))
        return false;
    if ((type & TYPE_CODE) && (type & TYPE_CONFORMING))
        return true;
    return rpl <= dpl && cpl <= dpl;
}

enum insn_result segment_load(struct vmx *v, enum segment_name name, uint16_t selector)
{
    struct descriptor d;
    enum insn_result r;

    if (!guest_protected(v)) {
        segment_put_real(v, name, selector);
        return INSN_DONE;
    }
    if (SELECTOR_NULL(selector))
        return load_null(v, name, selector);
    r = descriptor_read(v, selector, GP_VECTOR, 0, &d);
    if (r != INSN_DONE)
        return r;
    if (!may_load(v, name, selector, &d))
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    if (!descriptor_present(&d))
        return insn_fault(v->cpu, name == SEG_SS ? SS_VECTOR : NP_VECTOR, SELECTOR_ERROR(selector));
    r = descriptor_accessed(v, &d);
    if (r == INSN_DONE)
        segment_put(v, name, selector, &d.segment);
    return r;
}

void segments_check_outer(struct vmx *v)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    unsigned cpl = segment_cpl(v);

    for (unsigned i = 0; i < sizeof data; i++) {
        struct segment *s = &v->seg[data[i]];
        bool conforming = (s->ar & AR_S) && (s->ar & TYPE_CODE) && (s->ar & TYPE_CONFORMING);

        if (!(s->ar & AR_UNUSABLE) && !conforming && (s->ar & AR_DPL_MASK) >> AR_DPL_SHIFT < cpl)
            segment_invalidate(v, (enum segment_name)data[i]);
    }
}

// --- LDTR and TR (SDM vol. 2, LLDT, LTR). ---

enum insn_result insn_lldt(struct vmx *v, uint16_t selector)
{
    struct descriptor d;
    enum insn_result r;

    if (!guest_protected(v))
        return insn_fault(v->cpu, UD_VECTOR, 0);
    if (segment_cpl(v))
        return insn_fault(v->cpu, GP_VECTOR, 0);
    if (SELECTOR_NULL(selector)) {
        segment_put_null(v, SEG_LDTR, selector, 0);
        return INSN_DONE;
    }
    if (selector & SELECTOR_TI)
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    r = descriptor_read(v, selector, GP_VECTOR, 0, &d);
    if (r != INSN_DONE)
        return r;
    if (!descriptor_system(&d) || descriptor_type(&d) != TYPE_LDT)
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    if (!descriptor_present(&d))
        return insn_fault(v->cpu, NP_VECTOR, SELECTOR_ERROR(selector));
    if (!x86_canonical(v->cpu, d.segment.base))
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    segment_put(v, SEG_LDTR, selector, &d.segment);
    return INSN_DONE;
}

enum insn_result insn_ltr(struct vmx *v, uint16_t selector)
{
    struct descriptor d;
    enum insn_result r;
    bool available;

    if (!guest_protected(v))
        return insn_fault(v->cpu, UD_VECTOR, 0);
    if (segment_cpl(v) || SELECTOR_NULL(selector))
        return insn_fault(v->cpu, GP_VECTOR, 0);
    if (selector & SELECTOR_TI)
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    r = descriptor_read(v, selector, GP_VECTOR, 0, &d);
    if (r != INSN_DONE)
        return r;
    available = descriptor_type(&d) == TYPE_TSS32 || (descriptor_type(&d) == TYPE_TSS16 && !guest_long(v));
    if (!descriptor_system(&d) || !available)
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    if (!descriptor_present(&d))
        return insn_fault(v->cpu, NP_VECTOR, SELECTOR_ERROR(selector));
    if (!x86_canonical(v->cpu, d.segment.base))
        return insn_fault(v->cpu, GP_VECTOR, SELECTOR_ERROR(selector));
    d.segment.ar |= TYPE_BUSY;
    r = system_write(v, d.address + 5, 1, (d.low >> 40 & 0xff) | TYPE_BUSY);
    if (r == INSN_DONE)
        segment_put(v, SEG_TR, selector, &d.segment);
    return r;
}

// --- The TSS. ---

enum insn_result tss_stack(struct vmx *v, unsigned dpl, uint32_t ext, uint16_t *ss, uint64_t *rsp)
{
    const struct segment *tr = &v->seg[SEG_TR];
    bool wide = tr->ar & 8; // 32-bit TSS
    uint32_t at = wide ? 4 + 8 * dpl : 2 + 4 * dpl, size = wide ? 4 : 2;
    uint64_t selector = 0;
    enum insn_result r;

    if (at + 2 * size - 1 > tr->limit)
        return insn_fault(v->cpu, TS_VECTOR, SELECTOR_ERROR(tr->selector) | ext);
    r = system_read(v, tr->base + at, size, rsp);
    if (r == INSN_DONE)
        r = system_read(v, tr->base + at + size, 2, &selector);
    *ss = (uint16_t)selector;
    return r;
}

enum insn_result tss_stack64(struct vmx *v, unsigned dpl, unsigned ist, uint32_t ext, uint64_t *rsp)
{
    const struct segment *tr = &v->seg[SEG_TR];
    uint32_t at = ist ? 0x1c + 8 * ist : 4 + 8 * dpl;
    enum insn_result r;

    if (at + 7 > tr->limit)
        return insn_fault(v->cpu, TS_VECTOR, SELECTOR_ERROR(tr->selector) | ext);
    r = system_read(v, tr->base + at, 8, rsp);
    if (r == INSN_DONE && !x86_canonical(v->cpu, *rsp))
        return insn_fault(v->cpu, SS_VECTOR, ext);
    return r;
}

enum insn_result stack_segment(struct vmx *v, uint16_t ss, unsigned dpl, unsigned vector, uint32_t ext,
                               struct descriptor *d)
{
    uint32_t error = SELECTOR_ERROR(ss) | ext;
    enum insn_result r;

    if (SELECTOR_NULL(ss))
        return insn_fault(v->cpu, vector, ext);
    r = descriptor_read(v, ss, vector, ext, d);
    if (r != INSN_DONE)
        return r;
    if ((ss & SELECTOR_RPL) != dpl || descriptor_dpl(d) != dpl || descriptor_system(d) ||
        (descriptor_type(d) & TYPE_CODE) || !(descriptor_type(d) & TYPE_WRITABLE))
        return insn_fault(v->cpu, vector, error);
    if (!descriptor_present(d))
        return insn_fault(v->cpu, SS_VECTOR, error);
    return descriptor_accessed(v, d);
}

enum insn_result task_switch(struct vmx *v, uint16_t selector, unsigned source, unsigned length)
{
    struct vmexit *x = vmx_exit_begin(v->cpu, EXIT_REASON_TASK_SWITCH);

    x->qualification = selector | (uint64_t)source << QUAL_TASK_SOURCE_SHIFT;
    if (length)
        x->insn_length = length;
    return INSN_EXIT;
}
