// SPDX-License-Identifier: Apache-2.0
// Task switches: VMX has none, every attempt of a guest exits after the checks of privilege and gate
// (SDM 7.2, 7.3, 25.4.2). The switch has two halves. Faults of the first are the old task's, at its
// instruction; from where the registers are the new task's, faults are that one's.
#include "hv/hw/guest.h"
#include "hv/lib/string.h"
#include "hv/x86/emulate_internal.h"

#define TSS_MAX 0x68u
#define DESC_BUSY (2ull << 40)
#define SYS_TSS_IS_32 8u // Of the type.
#define TSS_T 1u
#define DR7_LOCAL (X86_DR7_L(0) | X86_DR7_L(1) | X86_DR7_L(2) | X86_DR7_L(3) | X86_DR7_LE)

// Where things are in a task-state segment (SDM figures 7-2, 7-10). General registers and then segment
// registers follow each other in the order of their numbers.
struct tss_layout {
    u8 bytes;                                                   // Of EIP, EFLAGS, a general register.
    u8 slot;                                                    // From one segment selector to the next.
    u8 ip, flags, gpr, segments, segment_count, ldt, cr3, trap; // cr3, trap: 0 if there is none.
    u8 size;
};
static const struct tss_layout layout_16 = {.bytes = 2,
                                            .slot = 2,
                                            .ip = 0x0e,
                                            .flags = 0x10,
                                            .gpr = 0x12,
                                            .segments = 0x22,
                                            .segment_count = 4,
                                            .ldt = 0x2a,
                                            .size = 0x2c};
static const struct tss_layout layout_32 = {.bytes = 4,
                                            .slot = 4,
                                            .ip = 0x20,
                                            .flags = 0x24,
                                            .gpr = 0x28,
                                            .segments = 0x48,
                                            .segment_count = 6,
                                            .ldt = 0x60,
                                            .cr3 = 0x1c,
                                            .trap = 0x64,
                                            .size = 0x68};

struct task_switch {
    unsigned source; // QUAL_TASK_SOURCE_*
    bool nested;     // CALL or gate: links back.
    bool has_error_code;
    u32 error_code;
    u16 old_selector, new_selector;
    u64 old_base, descriptor, descriptor_at;
    struct hv_segment tr; // New.
    const struct tss_layout *old_layout, *new_layout;
    u8 tss[TSS_MAX]; // New.
};

static u64 get(const u8 *tss, unsigned at, unsigned bytes)
{
    u64 value = 0;

    memcpy(&value, tss + at, bytes);
    return value;
}

static const struct tss_layout *layout_of(unsigned type)
{
    return type & SYS_TSS_IS_32 ? &layout_32 : &layout_16;
}

// --- The old task's half.

static bool find_new_task(struct x86_vcpu *v, struct task_switch *t)
{
    u32 error = t->new_selector & ~3u;
    u8 vector = t->source == QUAL_TASK_SOURCE_IRET ? TS_VECTOR : GP_VECTOR;

    if (t->new_selector & X86_SEL_TI)
        return emu_fault_e(v, vector, error);
    if (!emu_read_descriptor(v, t->new_selector, vector, &t->descriptor, &t->descriptor_at))
        return false;
    emu_segment_from_descriptor(t->descriptor, t->new_selector, &t->tr);
    bool busy = (t->tr.type & 2) != 0, want_busy = t->source == QUAL_TASK_SOURCE_IRET;

    if (t->tr.s || (t->tr.type & 5) != 1 || busy != want_busy)
        return emu_fault_e(v, vector, error);
    unsigned rpl = t->new_selector & X86_SEL_RPL_MASK;

    if ((t->source == QUAL_TASK_SOURCE_CALL || t->source == QUAL_TASK_SOURCE_JMP) &&
        (rpl > t->tr.dpl || v->emu.cpl > t->tr.dpl))
        return emu_fault_e(v, GP_VECTOR, error);
    if (!t->tr.present)
        return emu_fault_e(v, NP_VECTOR, error);
    t->new_layout = layout_of(t->tr.type);
    return t->tr.limit >= t->new_layout->size - 1u || emu_fault_e(v, TS_VECTOR, error);
}

static bool write_field(struct x86_vcpu *v, u64 base, unsigned at, unsigned bytes, u64 value)
{
    return emu_write(v, base + at, &value, bytes, WALK_IMPLICIT);
}

// EIP, EFLAGS, general and segment registers; the rest of a TSS the processor only reads.
static bool save_old_task(struct x86_vcpu *v, const struct task_switch *t)
{
    const struct tss_layout *l = t->old_layout;
    u64 flags = v->emu.rflags;

    if (t->source == QUAL_TASK_SOURCE_IRET)
        flags &= ~X86_RFLAGS_NT;
    if (!write_field(v, t->old_base, l->ip, l->bytes, v->emu.rip) ||
        !write_field(v, t->old_base, l->flags, l->bytes, flags))
        return false;
    for (unsigned n = 0; n < 8; n++)
        if (!write_field(v, t->old_base, l->gpr + n * l->bytes, l->bytes, emu_reg(v, n)))
            return false;
    for (unsigned s = 0; s < l->segment_count; s++)
        if (!write_field(v, t->old_base, l->segments + s * l->slot, 2,
                         vcpu_segment_selector(v, (enum x86_segment)s)))
            return false;
    return true;
}

// Busy marks: the old task's ends unless it is to come back, the new one's begins (SDM 7.3, table 7-2).
static bool mark_tasks(struct x86_vcpu *v, const struct task_switch *t)
{
    u64 old, at;

    if (!t->nested) {
        if (!emu_read_descriptor(v, t->old_selector, TS_VECTOR, &old, &at) ||
            !write_field(v, at, 0, 8, old & ~DESC_BUSY))
            return false;
    } else if (!write_field(v, t->tr.base, 0, 2, t->old_selector)) {
        return false;
    }
    return t->source == QUAL_TASK_SOURCE_IRET ||
           write_field(v, t->descriptor_at, 0, 8, t->descriptor | DESC_BUSY);
}

static bool leave_old_task(struct x86_vcpu *v, struct task_switch *t)
{
    t->old_selector = vcpu_segment_selector(v, SEG_TR);
    t->old_base = vcpu_segment_base(v, SEG_TR);
    t->old_layout = layout_of(vcpu_segment_ar(v, SEG_TR));
    if (!find_new_task(v, t))
        return false;
    // Read first: a page fault here is still the old task's.
    return emu_read(v, t->tr.base, t->tss, t->new_layout->size, WALK_IMPLICIT) && save_old_task(v, t) &&
           mark_tasks(v, t);
}

// --- The new task's half.

static void load_registers(struct x86_vcpu *v, const struct task_switch *t)
{
    const struct tss_layout *l = t->new_layout;
    struct emulation *e = &v->emu;

    e->rip = get(t->tss, l->ip, l->bytes);
    e->rflags = (get(t->tss, l->flags, l->bytes) & ~X86_RFLAGS_RESERVED_0) | X86_RFLAGS_FIXED;
    if (t->nested)
        e->rflags |= X86_RFLAGS_NT;
    for (unsigned n = 0; n < 8; n++)
        emu_set_reg(v, n, l->bytes == 2 ? 2 : 4, get(t->tss, l->gpr + n * l->bytes, l->bytes));
}

// From here on the new task runs. Its segment registers hold selectors, of which the hidden parts come next.
static void enter_new_task(struct x86_vcpu *v, const struct task_switch *t)
{
    const struct tss_layout *l = t->new_layout;
    struct hv_segment tr = t->tr;

    load_registers(v, t);
    emu_commit_task(v);
    tr.type |= 2;
    vcpu_set_segment(v, SEG_TR, &tr);
    vcpu_write_cr0(v, vcpu_cr0(v) | X86_CR0_TS);
    (void)vcpu_set_dr(v, 7, v->dr7 & ~DR7_LOCAL);
    vcpu_set_segment(v, SEG_LDTR,
                     &(struct hv_segment){.selector = (u16)get(t->tss, l->ldt, 2), .unusable = 1});
}

static bool load_cr3(struct x86_vcpu *v, const struct task_switch *t)
{
    u64 cr3 = t->new_layout->cr3 ? get(t->tss, t->new_layout->cr3, 4) : 0;

    if (t->new_layout->cr3 == 0 || !(vcpu_cr0(v) & X86_CR0_PG) || cr3 == vcpu_cr3(v))
        return true;
    return vcpu_set_cr3(v, cr3) == 0 || emu_fault_e(v, TS_VECTOR, t->new_selector & ~3u);
}

static u16 new_selector(const struct task_switch *t, enum x86_segment s)
{
    const struct tss_layout *l = t->new_layout;

    return s < l->segment_count ? (u16)get(t->tss, l->segments + s * l->slot, 2) : 0;
}

static bool load_segments(struct x86_vcpu *v, const struct task_switch *t)
{
    static const u8 order[] = {SEG_LDTR, SEG_CS, SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    struct emulation *e = &v->emu;

    e->mode = e->rflags & X86_RFLAGS_VM ? EMU_V86 : EMU_PROT32;
    e->cpl = e->mode == EMU_V86 ? 3 : new_selector(t, SEG_CS) & X86_SEL_RPL_MASK;
    for (unsigned i = 0; i < ARRAY_COUNT(order); i++) {
        enum x86_segment s = (enum x86_segment)order[i];
        u16 selector = s == SEG_LDTR ? (u16)get(t->tss, t->new_layout->ldt, 2) : new_selector(t, s);

        if (!emu_load_segment(v, selector, s, LOAD_TASK, e->cpl))
            return false;
    }
    return true;
}

// On the new task's stack.
static bool push_error_code(struct x86_vcpu *v, const struct task_switch *t)
{
    if (!t->has_error_code)
        return true;
    if (!emu_push_value(v, t->error_code, t->new_layout->bytes))
        return false;
    emu_commit_task(v);
    return true;
}

static bool finish_new_task(struct x86_vcpu *v, const struct task_switch *t)
{
    if (!load_cr3(v, t) || !load_segments(v, t) || !push_error_code(v, t))
        return false;
    if (v->emu.rip > vcpu_segment_limit(v, SEG_CS))
        return emu_fault_e(v, GP_VECTOR, 0);
    if (t->new_layout->trap && (get(t->tss, t->new_layout->trap, 2) & TSS_T))
        queue_exception_p(v, DB_VECTOR, X86_DR6_BT);
    return true;
}

// --- The exit.

// The event whose gate it was is delivered by the switch. Its error code is taken along.
static void take_event(struct x86_vcpu *v, struct task_switch *t)
{
    u32 info = v->idt_vectoring;

    if (!(info & INTR_INFO_VALID))
        return;
    if ((info & INTR_INFO_TYPE_MASK) == INTR_TYPE_NMI)
        set_nmi_mask(v, true);
    if ((info & INTR_INFO_TYPE_MASK) == INTR_TYPE_HARD_EXCEPTION && (info & INTR_INFO_DELIVER_CODE)) {
        t->has_error_code = true;
        t->error_code = vmcs_read32(IDT_VECTORING_ERROR_CODE);
    }
    v->nmi_injected = false;
    v->exception.injected = false;
    v->interrupt.injected = false;
}

// Instructions save the next one's address in the old task, faults and interrupts that of the interrupted
// one.
static unsigned saved_length(struct x86_vcpu *v, const struct task_switch *t)
{
    u32 type = v->idt_vectoring & INTR_INFO_TYPE_MASK;
    bool event = t->source == QUAL_TASK_SOURCE_GATE && (v->idt_vectoring & INTR_INFO_VALID) != 0;

    if (event && (type == INTR_TYPE_EXTERNAL || type == INTR_TYPE_NMI || type == INTR_TYPE_HARD_EXCEPTION))
        return 0;
    return (unsigned)vcpu_cached(v, CACHED_INSN_LEN);
}

int handle_task_switch(struct x86_vcpu *v)
{
    u64 q = exit_qualification(v);
    struct task_switch t = {.source = (unsigned)(q >> QUAL_TASK_SOURCE_SHIFT & 3),
                            .new_selector = (u16)(q & QUAL_TASK_SELECTOR_MASK)};

    if (hw_guest_is_stream()) // It has no task-state segments.
        return handle_not_modelled(v);
    t.nested = t.source == QUAL_TASK_SOURCE_CALL || t.source == QUAL_TASK_SOURCE_GATE;
    emu_begin_task(v, saved_length(v, &t));
    if (t.source == QUAL_TASK_SOURCE_GATE)
        take_event(v, &t);
    if (!leave_old_task(v, &t))
        return emu_stopped(v);
    enter_new_task(v, &t);
    return finish_new_task(v, &t) ? 1 : emu_stopped(v);
}
