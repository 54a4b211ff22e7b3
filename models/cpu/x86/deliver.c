// SPDX-License-Identifier: Apache-2.0
#include "models/cpu/x86/deliver.h"
#include "models/cpu/x86/descriptor.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/observer.h"
#include "models/cpu/x86/x86_state.h"

// What a delivery gathers before it changes anything.
struct delivery {
    unsigned vector;
    uint32_t ext;  // EXT bit of error codes
    bool software; // INT n, INT3, INTO: the gate's DPL counts
    bool has_error;
    uint32_t error;
    uint64_t rip, rflags; // To be pushed
    struct descriptor gate, code;
    unsigned size; // Of what is pushed, bytes
};

// A new stack, as it grows.
struct stack {
    uint64_t base, rsp, mask;
    uint64_t limit;     // Of the last byte; UINT64_MAX: none
    bool down, present; // Expand-down; false: not a stack (checked elsewhere)
};

static enum insn_result fault(struct vmx *v, unsigned vector, uint32_t error)
{
    return insn_fault(v->cpu, vector, error);
}

// --- Gates. ---

static enum insn_result read_gate(struct vmx *v, struct delivery *e)
{
    unsigned bytes = guest_long(v) ? 16 : 8;
    uint32_t error = e->vector << 3 | X86_ERROR_IDT | e->ext;
    uint64_t at = v->idtr.base + e->vector * bytes;
    enum insn_result r;

    e->gate.high = 0;
    if (e->vector * bytes + bytes - 1 > v->idtr.limit)
        return fault(v, GP_VECTOR, error);
    r = system_read(v, at, 8, &e->gate.low);
    if (r == INSN_DONE && bytes == 16)
        r = system_read(v, at + 8, 8, &e->gate.high);
    if (r != INSN_DONE)
        return r;
    descriptor_parse(&e->gate, 0);
    return INSN_DONE;
}

static bool gate_type_ok(const struct vmx *v, unsigned type)
{
    if (type == TYPE_INTERRUPT32 || type == TYPE_TRAP32)
        return true;
    return !guest_long(v) && (type == TYPE_INTERRUPT16 || type == TYPE_TRAP16 || type == TYPE_TASK_GATE);
}

static enum insn_result check_gate(struct vmx *v, const struct delivery *e)
{
    uint32_t error = e->vector << 3 | X86_ERROR_IDT | e->ext;

    if (!descriptor_system(&e->gate) || !gate_type_ok(v, descriptor_type(&e->gate)))
        return fault(v, GP_VECTOR, error);
    if (e->software && segment_cpl(v) > descriptor_dpl(&e->gate))
        return fault(v, GP_VECTOR, error);
    return descriptor_present(&e->gate) ? INSN_DONE : fault(v, NP_VECTOR, error);
}

static enum insn_result check_code(struct vmx *v, struct delivery *e)
{
    uint16_t selector = gate_selector(&e->gate);
    uint32_t error = SELECTOR_ERROR(selector) | e->ext;
    enum insn_result r;

    if (SELECTOR_NULL(selector))
        return fault(v, GP_VECTOR, e->ext);
    r = descriptor_read(v, selector, GP_VECTOR, e->ext, &e->code);
    if (r != INSN_DONE)
        return r;
    if (!descriptor_code(&e->code) || descriptor_dpl(&e->code) > segment_cpl(v))
        return fault(v, GP_VECTOR, error);
    if (guest_long(v) && (e->code.segment.ar & (AR_L | AR_DB)) != AR_L)
        return fault(v, GP_VECTOR, error);
    return descriptor_present(&e->code) ? INSN_DONE : fault(v, NP_VECTOR, error);
}

// --- The new stack. ---

static enum insn_result push(struct vmx *v, struct stack *s, unsigned size, uint64_t value)
{
    uint64_t to = (s->rsp - size) & s->mask;
    enum insn_result r;

    if (s->limit != UINT64_MAX && (s->down ? to <= s->limit : to + size - 1 > s->limit))
        return fault(v, SS_VECTOR, v->delivering_info & INTR_INFO_VALID ? X86_ERROR_EXT : 0);
    r = system_write(v, s->base + to, size, value);
    if (r == INSN_DONE && v->observer)
        v->observer->access(v->observer, v->cpu, s->base + to, size, true);
    if (r == INSN_DONE)
        s->rsp = (s->rsp & ~s->mask) | to;
    return r;
}

static struct stack stack_of(const struct segment *ss, uint64_t rsp)
{
    struct stack s = {.base = ss->base, .rsp = rsp, .mask = ss->ar & AR_DB ? UINT32_MAX : 0xffff};

    s.limit = ss->limit;
    s.down = (ss->ar & AR_TYPE_MASK & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN;
    if (s.limit == UINT32_MAX && !s.down)
        s.limit = UINT64_MAX;
    return s;
}

static enum insn_result push_all(struct vmx *v, struct stack *s, unsigned size, const uint64_t *values,
                                 unsigned count)
{
    enum insn_result r = INSN_DONE;

    for (unsigned i = 0; i < count && r == INSN_DONE; i++)
        r = push(v, s, size, values[i]);
    return r;
}

// FLAGS, CS, IP, error code: the end of every frame.
static enum insn_result push_frame(struct vmx *v, const struct delivery *e, struct stack *s)
{
    const uint64_t values[] = {e->rflags, v->seg[SEG_CS].selector, e->rip, e->error};

    return push_all(v, s, e->size, values, e->has_error ? 4 : 3);
}

// --- The end: CS:RIP, RSP and flags are the handler's. ---

static enum insn_result enter(struct vmx *v, struct delivery *e, unsigned cpl)
{
    uint64_t offset = gate_offset(&e->gate);
    uint64_t off = X86_RFLAGS_TF | X86_RFLAGS_NT | X86_RFLAGS_RF | X86_RFLAGS_VM;

    if (!(descriptor_type(&e->gate) & 1)) // Interrupt gates.
        off |= X86_RFLAGS_IF;
    v->rflags &= ~off;
    segment_put(v, SEG_CS, (uint16_t)((gate_selector(&e->gate) & ~SELECTOR_RPL) | cpl), &e->code.segment);
    v->rip = offset;
    return INSN_DONE;
}

static bool offset_ok(const struct vmx *v, const struct delivery *e)
{
    uint64_t offset = gate_offset(&e->gate);

    return guest_long(v) ? x86_canonical(v->cpu, offset) : offset <= e->code.segment.limit;
}

static bool inner(const struct vmx *v, const struct delivery *e)
{
    return !(descriptor_type(&e->code) & TYPE_CONFORMING) && descriptor_dpl(&e->code) < segment_cpl(v);
}

// SDM 6.14: IA-32e mode. Frames have five or six elements of 8 bytes, aligned to 16.
static enum insn_result deliver64(struct vmx *v, struct delivery *e)
{
    unsigned ist = e->gate.low >> 32 & 7, cpl = segment_cpl(v);
    bool change = inner(v, e);
    struct stack s = {.rsp = v->gpr.r[4], .mask = UINT64_MAX, .limit = UINT64_MAX};
    uint64_t rsp;
    enum insn_result r = INSN_DONE;

    if (change)
        cpl = descriptor_dpl(&e->code);
    if (change || ist) {
        r = tss_stack64(v, cpl, ist, e->ext, &rsp);
        s.rsp = rsp;
    }
    if (r != INSN_DONE)
        return r;
    if (!offset_ok(v, e))
        return fault(v, GP_VECTOR, e->ext);
    s.rsp &= ~15ull;
    if (!x86_canonical(v->cpu, s.rsp - 40))
        return fault(v, SS_VECTOR, e->ext);
    e->size = 8;
    {
        const uint64_t old[] = {v->seg[SEG_SS].selector, v->gpr.r[4]};

        r = push_all(v, &s, 8, old, 2);
    }
    if (r == INSN_DONE)
        r = push_frame(v, e, &s);
    if (r == INSN_DONE)
        r = descriptor_accessed(v, &e->code);
    if (r != INSN_DONE)
        return r;
    if (change)
        segment_put_null(v, SEG_SS, (uint16_t)cpl, cpl);
    v->gpr.r[4] = s.rsp;
    return enter(v, e, cpl);
}

// From virtual-8086 mode the data segments go onto the stack too, and become null (SDM 20.3.1.1).
static enum insn_result push_v86(struct vmx *v, const struct delivery *e, struct stack *s)
{
    const uint64_t values[] = {v->seg[SEG_GS].selector, v->seg[SEG_FS].selector, v->seg[SEG_DS].selector,
                               v->seg[SEG_ES].selector};

    return guest_v86(v) ? push_all(v, s, e->size, values, 4) : INSN_DONE;
}

static enum insn_result deliver_inner(struct vmx *v, struct delivery *e)
{
    unsigned dpl = descriptor_dpl(&e->code);
    bool from_v86 = guest_v86(v);
    const uint64_t old[] = {v->seg[SEG_SS].selector, v->gpr.r[4]};
    struct descriptor ss;
    struct stack s;
    uint16_t selector;
    uint64_t rsp;
    enum insn_result r;

    if (from_v86 && dpl)
        return fault(v, GP_VECTOR, SELECTOR_ERROR(gate_selector(&e->gate)) | e->ext);
    r = tss_stack(v, dpl, e->ext, &selector, &rsp);
    if (r == INSN_DONE)
        r = stack_segment(v, selector, dpl, TS_VECTOR, e->ext, &ss);
    if (r != INSN_DONE)
        return r;
    if (!offset_ok(v, e))
        return fault(v, GP_VECTOR, e->ext);
    s = stack_of(&ss.segment, rsp);
    r = push_v86(v, e, &s);
    if (r == INSN_DONE)
        r = push_all(v, &s, e->size, old, 2);
    if (r == INSN_DONE)
        r = push_frame(v, e, &s);
    if (r == INSN_DONE)
        r = descriptor_accessed(v, &e->code);
    if (r != INSN_DONE)
        return r;
    v->rflags &= ~X86_RFLAGS_VM;
    segment_put(v, SEG_SS, selector, &ss.segment);
    v->gpr.r[4] = s.rsp;
    if (from_v86) {
        static const uint8_t data[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};

        for (unsigned i = 0; i < 4; i++)
            segment_put_null(v, (enum segment_name)data[i], 0, 0);
    }
    return enter(v, e, dpl);
}

static enum insn_result deliver_same(struct vmx *v, struct delivery *e)
{
    unsigned cpl = segment_cpl(v);
    struct stack s = stack_of(&v->seg[SEG_SS], v->gpr.r[4]);
    enum insn_result r;

    if (guest_v86(v) || (!(descriptor_type(&e->code) & TYPE_CONFORMING) && descriptor_dpl(&e->code) != cpl))
        return fault(v, GP_VECTOR, SELECTOR_ERROR(gate_selector(&e->gate)) | e->ext);
    if (!offset_ok(v, e))
        return fault(v, GP_VECTOR, e->ext);
    r = push_frame(v, e, &s);
    if (r == INSN_DONE)
        r = descriptor_accessed(v, &e->code);
    if (r != INSN_DONE)
        return r;
    v->gpr.r[4] = s.rsp;
    return enter(v, e, cpl);
}

static enum insn_result deliver_protected(struct vmx *v, struct delivery *e, uint32_t length)
{
    enum insn_result r = read_gate(v, e);

    if (r == INSN_DONE)
        r = check_gate(v, e);
    if (r != INSN_DONE)
        return r;
    if (descriptor_type(&e->gate) == TYPE_TASK_GATE)
        return task_switch(v, gate_selector(&e->gate), QUAL_TASK_SOURCE_GATE, length);
    r = check_code(v, e);
    if (r != INSN_DONE)
        return r;
    if (guest_long(v))
        return deliver64(v, e);
    e->size = descriptor_type(&e->gate) & 8 ? 4 : 2;
    return inner(v, e) ? deliver_inner(v, e) : deliver_same(v, e);
}

// SDM 20.1.4: a table of far pointers.
static enum insn_result deliver_real(struct vmx *v, struct delivery *e)
{
    struct stack s = stack_of(&v->seg[SEG_SS], v->gpr.r[4]);
    uint64_t pointer;
    enum insn_result r;

    s.mask = 0xffff;
    if (e->vector * 4 + 3 > v->idtr.limit)
        return fault(v, GP_VECTOR, 0);
    r = system_read(v, v->idtr.base + e->vector * 4, 4, &pointer);
    e->size = 2;
    e->has_error = false;
    if (r == INSN_DONE)
        r = push_frame(v, e, &s);
    if (r != INSN_DONE)
        return r;
    v->gpr.r[4] = s.rsp;
    v->rflags &= ~(uint64_t)(X86_RFLAGS_IF | X86_RFLAGS_TF | X86_RFLAGS_AC | X86_RFLAGS_RF);
    segment_put_real(v, SEG_CS, (uint16_t)(pointer >> 16));
    v->rip = pointer & 0xffff;
    return INSN_DONE;
}

enum insn_result idt_deliver(struct pcpu *c, uint32_t info, uint32_t error, uint32_t length)
{
    struct vmx *v = &c->x86->vmx;
    uint32_t type = info & INTR_INFO_TYPE_MASK;
    struct delivery e = {
        .vector = info & INTR_INFO_VECTOR_MASK, .has_error = info & INTR_INFO_DELIVER_CODE, .error = error};

    e.software = type == INTR_TYPE_SOFT_INTERRUPT || type == INTR_TYPE_SOFT_EXCEPTION;
    // EXT: the event was not caused by the program itself (SDM 6.13).
    e.ext = e.software ? 0 : X86_ERROR_EXT;
    flags_settle(v);
    e.rip = v->rip + length;
    e.rflags = v->rflags;
    // Faults let the instruction run again without an instruction breakpoint at it (SDM 17.3.1.1).
    if (type == INTR_TYPE_HARD_EXCEPTION && e.vector != DB_VECTOR)
        e.rflags |= X86_RFLAGS_RF;
    if (!(c->x86->cr[0] & X86_CR0_PE))
        return deliver_real(v, &e);
    return deliver_protected(v, &e, length);
}
