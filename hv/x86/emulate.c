// SPDX-License-Identifier: Apache-2.0
// From the bytes at RIP to the end of an instruction: fetch, decode, checks that all share, the function of
// its row, and what follows from how that ended. Device memory that only user space knows is asked for one
// read at a time, and the instruction done again with the answer (KVM: mmio_needed); writes are collected,
// and leave when the instruction has ended.
#include "hv/x86/emulate.h"
#include "hv/core/vm.h"
#include "hv/lib/string.h"
#include "hv/x86/emulate_internal.h"
#include "hv/x86/lapic.h"

// Iterations of a string instruction before the guest is looked after again (KVM: 1024).
#define REP_BATCH 1024u
_Static_assert(EMU_INSN_MAX == HW_GUEST_INSTRUCTION_MAX, "SDM vol. 2, 2.3.11");

static const emu_function functions[INSN_OP_COUNT] = {
#define INSN(name, function) [INSN_##name] = function,
#include "hv/x86/insns.def"
};

// --- Ends.

bool emu_fault(struct x86_vcpu *v, u8 vector)
{
    v->emu.fault.vector = vector;
    v->emu.fault.has_error_code = false;
    v->emu.stop = EMU_FAULT;
    return false;
}

bool emu_fault_e(struct x86_vcpu *v, u8 vector, u32 error_code)
{
    v->emu.fault.vector = vector;
    v->emu.fault.has_error_code = true;
    v->emu.fault.error_code = error_code;
    v->emu.stop = EMU_FAULT;
    return false;
}

bool emu_unhandled(struct x86_vcpu *v)
{
    v->emu.stop = EMU_UNHANDLED;
    return false;
}

void emu_trace_mmio(unsigned type, const struct mmio_fragment *f)
{
    u64 value = 0;

    memcpy(&value, f->data, f->len);
    hw_trace(TP_KVM_MMIO, type, f->len, f->gpa, value, 0, 0);
}

// --- Registers.

u64 emu_reg(struct x86_vcpu *v, unsigned n)
{
    struct emulation *e = &v->emu;

    if (!(e->known & 1u << n)) {
        e->r[n] = vcpu_gpr(v, n);
        e->known = (u16)(e->known | 1u << n);
    }
    return e->r[n];
}

void emu_set_reg(struct x86_vcpu *v, unsigned n, unsigned bytes, u64 value)
{
    u64 mask = size_mask(bytes), keep = bytes == 4 ? 0 : ~mask;

    v->emu.r[n] = (emu_reg(v, n) & keep) | (value & mask);
    v->emu.changed = (u16)(v->emu.changed | 1u << n);
}

static void commit_registers(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;

    for (unsigned n = 0, left = e->changed; left != 0; n++, left >>= 1)
        if (left & 1)
            vcpu_set_gpr(v, n, e->r[n]);
    e->changed = 0;
}

bool emu_result(struct x86_vcpu *v, int result)
{
    v->emu.stop = EMU_RESULT;
    v->emu.result = result;
    return false;
}

// --- Mode.

static enum code_width code_width(const struct x86_vcpu *v)
{
    static const u8 widths[] = {CODE_16, CODE_16, CODE_16, CODE_32, CODE_64};

    return (enum code_width)widths[v->emu.mode];
}

static enum emu_mode mode_of(struct x86_vcpu *v)
{
    if (v->emu.stream) // Its bytes are 64-bit code (hv/hw/guest.h).
        return EMU_LONG;
    if (!(vcpu_cr0(v) & X86_CR0_PE))
        return EMU_REAL;
    if (!vcpu_long_mode(v) && (vcpu_rflags(v) & X86_RFLAGS_VM))
        return EMU_V86;
    u32 ar = vcpu_segment_ar(v, SEG_CS);

    if (vcpu_long_mode(v) && (ar & AR_L))
        return EMU_LONG;
    return ar & AR_DB ? EMU_PROT32 : EMU_PROT16;
}

unsigned emu_code_bytes(const struct x86_vcpu *v)
{
    return v->emu.mode == EMU_LONG ? 8 : v->emu.mode == EMU_PROT32 ? 4 : 2;
}

unsigned emu_stack_bytes(struct x86_vcpu *v)
{
    if (v->emu.mode == EMU_LONG)
        return 8;
    return emu_protected(v) && (vcpu_segment_ar(v, SEG_SS) & AR_DB) ? 4 : 2;
}

bool emu_jump(struct x86_vcpu *v, u64 rip)
{
    if (v->emu.mode == EMU_LONG) {
        if (sign_extend_bits(rip, vcpu_cr4(v) & X86_CR4_LA57 ? 57 : 48) != rip)
            return emu_fault_e(v, GP_VECTOR, 0);
    } else {
        rip &= size_mask(v->emu.d.operand_bytes);
        if (rip > vcpu_segment_limit(v, SEG_CS))
            return emu_fault_e(v, GP_VECTOR, 0);
    }
    v->emu.rip = rip;
    return true;
}

// --- Fetch and decode.

static bool fetch(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 linear = vcpu_rip(v) + e->byte_count, gpa_of_code;

    if (v->emu.mode != EMU_LONG)
        linear = (u32)(linear + vcpu_segment_base(v, SEG_CS));
    unsigned n = (unsigned)min_u64(EMU_INSN_MAX - e->byte_count, PAGE_SIZE - (linear & ~PAGE_MASK));

    if (!emu_translate(v, linear, PFERR_FETCH, &gpa_of_code))
        return false;
    if (vm_read_guest(v->vcpu.vm, gpa(gpa_of_code), e->bytes + e->byte_count, n) != 0)
        return emu_unhandled(v); // Code in device memory.
    e->byte_count = (u8)(e->byte_count + n);
    return true;
}

static bool decode(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    enum decode_result r;

    e->byte_count = 0;
    if (e->stream)
        e->byte_count = (u8)hw_guest_fetch(e->bytes, EMU_INSN_MAX);
    else if (!fetch(v))
        return false;
    r = decode_insn(e->bytes, e->byte_count, code_width(v), &e->d);
    if (r == DECODE_SHORT && !e->stream && e->byte_count < EMU_INSN_MAX) { // The rest is on the next page.
        if (!fetch(v))
            return false;
        r = decode_insn(e->bytes, e->byte_count, code_width(v), &e->d);
    }
    if (r == DECODE_UNKNOWN || (r == DECODE_SHORT && e->stream))
        return emu_unhandled(v);
    if (r == DECODE_SHORT) // More than 15 bytes.
        return emu_fault_e(v, GP_VECTOR, 0);
    if (r == DECODE_INVALID)
        return emu_fault(v, UD_VECTOR);
    if (e->mode != EMU_LONG && !e->stream && vcpu_rip(v) + e->d.length - 1 > vcpu_segment_limit(v, SEG_CS))
        return emu_fault_e(v, GP_VECTOR, 0);
    return true;
}

// --- Execution.

// What every row's flags ask for.
static bool allowed(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;

    if ((e->d.flags & OP_PROT) && !emu_protected(v))
        return emu_fault(v, UD_VECTOR);
    if ((e->d.flags & OP_CPL0) && e->cpl != 0)
        return emu_fault_e(v, GP_VECTOR, 0);
    return true;
}

// From the guest's state, as often as the instruction is begun.
static void begin(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;

    e->stop = EMU_DONE;
    e->known = e->changed = 0;
    e->reads_at = 0;
    e->bit_offset = 0;
    e->shadow = 0;
    e->rflags = vcpu_rflags(v);
    e->rip = vcpu_rip(v) + e->d.length;
    if (e->mode != EMU_LONG)
        e->rip = (u32)e->rip;
    e->then = NULL;
    v->mmio_count = v->mmio_done = 0;
}

// One iteration. False: as functions; *again: the count is not used up.
static bool repeat(struct x86_vcpu *v, bool *again)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.address_bytes;
    u64 count = emu_reg(v, GPR_RCX) & size_mask(bytes);

    *again = false;
    if (count == 0)
        return true;
    if (!functions[e->d.op](v))
        return false;
    emu_set_reg(v, GPR_RCX, bytes, --count);
    bool zero = (e->rflags & X86_RFLAGS_ZF) != 0;

    *again = count != 0 && !((e->d.flags & OP_Z) && zero != e->d.rep);
    return true;
}

static bool execute(struct x86_vcpu *v, bool *again)
{
    const struct decoded *d = &v->emu.d;

    *again = false;
    begin(v);
    if (!allowed(v))
        return false;
    if ((d->flags & OP_STRING) && (d->rep || d->repne) && d->op != INSN_INS && d->op != INSN_OUTS)
        return repeat(v, again);
    return functions[d->op](v);
}

static int go_on_writing(struct x86_vcpu *v)
{
    int (*then)(struct x86_vcpu *) = v->emu.after_writes;
    int result = emulate_device_writes(v, then);

    return result == 1 && then != NULL ? then(v) : result;
}

int emulate_device_writes(struct x86_vcpu *v, int (*then)(struct x86_vcpu *))
{
    v->emu.after_writes = then;
    for (; v->mmio_done < v->mmio_count; v->mmio_done++) {
        struct mmio_fragment *f = &v->mmio[v->mmio_done];

        emu_trace_mmio(MMIO_WRITE, f);
        if (v->apic == NULL || !irqchip_mmio(v, f->gpa, true, f->data, f->len)) {
            struct hv_run *run = v->vcpu.run;

            run->mmio.phys_addr = f->gpa;
            run->mmio.len = f->len;
            run->mmio.is_write = 1;
            memcpy(run->mmio.data, f->data, sizeof(run->mmio.data));
            v->mmio_done++;
            v->complete = go_on_writing;
            return userspace_exit(v, HV_EXIT_MMIO);
        }
    }
    return 1;
}

static int run(struct x86_vcpu *v);

static int complete_read(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    struct mmio_fragment *f = &v->mmio[0];

    memcpy(f->data, v->vcpu.run->mmio.data, f->len);
    emu_trace_mmio(MMIO_READ, f);
    memcpy(e->reads + e->reads_count, f->data, f->len);
    e->reads_count = (u16)(e->reads_count + f->len);
    return run(v);
}

static int ask_user_space(struct x86_vcpu *v)
{
    const struct mmio_fragment *f = &v->mmio[0];
    struct hv_run *run = v->vcpu.run;

    run->mmio.phys_addr = f->gpa;
    run->mmio.len = f->len;
    run->mmio.is_write = 0;
    memset(run->mmio.data, 0, sizeof(run->mmio.data));
    hw_trace(TP_KVM_MMIO, MMIO_UNSATISFIED_READ, f->len, f->gpa, 0, 0, 0);
    v->complete = complete_read;
    return userspace_exit(v, HV_EXIT_MMIO);
}

static int raise(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;

    if (e->fault.vector == PF_VECTOR)
        queue_page_fault(v, e->fault.cr2, e->fault.error_code);
    else if (e->fault.has_error_code)
        queue_exception_e(v, e->fault.vector, e->fault.error_code);
    else
        queue_exception(v, e->fault.vector);
    return 1;
}

static u64 first_bytes(const struct emulation *e)
{
    u64 low = 0;

    memcpy(&low, e->bytes, min_u64(e->byte_count, 8));
    return low;
}

static __cold int failed(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;
    u64 low = first_bytes(e), high = 0;

    if (e->byte_count > 8)
        memcpy(&high, e->bytes + 8, e->byte_count - 8u);
    hw_trace(TP_KVM_EMULATE_INSN, vcpu_rip(v), e->byte_count, low, 1, 0, 0);
    return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 3, e->byte_count, low, high);
}

// The instruction could not be finished.
int emu_stopped(struct x86_vcpu *v)
{
    switch ((enum emu_stop)v->emu.stop) {
    case EMU_FAULT:
        return raise(v);
    case EMU_MMIO_READ:
        return ask_user_space(v);
    case EMU_RETRY:
    case EMU_DONE:
        return 1;
    case EMU_RESULT:
        return v->emu.result;
    case EMU_UNHANDLED:
        break;
    }
    return failed(v);
}

static void write_rflags(struct x86_vcpu *v, u64 after)
{
    u64 before = vcpu_rflags(v);

    if ((after ^ before) & X86_RFLAGS_IF)
        vcpu_set_rflags(v, after);
    else if (after != before)
        vcpu_write_rflags(v, after);
}

// Registers, RIP and flags become the guest's. `again`: the string instruction is not at its end.
static void commit(struct x86_vcpu *v, bool again)
{
    struct emulation *e = &v->emu;
    u64 before = vcpu_rflags(v);

    commit_registers(v);
    write_rflags(v, e->d.op == INSN_IRET ? e->rflags : e->rflags & ~X86_RFLAGS_RF);
    vcpu_complete_instruction(v, again ? vcpu_rip(v) : e->rip, before, e->shadow);
    e->reads_count = 0;
}

static bool may_go_on(struct x86_vcpu *v)
{
    return !v->emu.stream && v->mmio_count == 0 && !(vcpu_rflags(v) & X86_RFLAGS_TF) &&
           !request_pending(&v->vcpu);
}

static int run(struct x86_vcpu *v)
{
    bool again = false;

    for (unsigned i = 0; i < REP_BATCH; i++) {
        if (!execute(v, &again))
            return emu_stopped(v);
        commit(v, again);
        if (!again || !may_go_on(v))
            break;
    }
    if (again) // A breakpoint at the instruction has had its chance (SDM 17.3.1.1).
        write_rflags(v, vcpu_rflags(v) | X86_RFLAGS_RF);
    if (unlikely(v->emu.then != NULL))
        return v->emu.then(v);
    return emulate_device_writes(v, NULL);
}

static int emulate(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;

    e->mode = (u8)mode_of(v);
    e->cpl = (u8)vcpu_cpl(v);
    e->reads_count = 0;
    e->stop = EMU_DONE;
    if (!decode(v))
        return emu_stopped(v);
    hw_trace(TP_KVM_EMULATE_INSN, vcpu_rip(v), e->d.length, first_bytes(e), 0, 0, 0);
    return run(v);
}

// --- Task switches.

void emu_begin_task(struct x86_vcpu *v, unsigned length)
{
    struct emulation *e = &v->emu;

    e->stream = false;
    e->mmio_gfn = EMU_NO_GFN;
    e->mode = (u8)mode_of(v);
    e->cpl = (u8)vcpu_cpl(v);
    e->byte_count = 0;
    e->reads_count = 0;
    e->d = (struct decoded){.op = INSN_NOP, .length = (u8)length};
    begin(v);
}

void emu_commit_task(struct x86_vcpu *v)
{
    commit_registers(v);
    vcpu_set_rip(v, v->emu.rip);
    vcpu_set_rflags(v, v->emu.rflags);
    vcpu_set_interrupt_shadow(v, 0);
}

int emulate_mmio(struct x86_vcpu *v, gpa_t address, bool known)
{
    if (unlikely(v->idt_vectoring & INTR_INFO_VALID)) // No instruction: delivery met a device.
        return handle_lost_delivery(v);
    v->emu.stream = hw_guest_is_stream();
    v->emu.stream_gpa = address.v;
    v->emu.mmio_gfn = known ? address.v >> PAGE_SHIFT : EMU_NO_GFN;
    return emulate(v);
}

int emulate_instruction(struct x86_vcpu *v)
{
    v->emu.stream = false;
    v->emu.mmio_gfn = EMU_NO_GFN;
    return emulate(v);
}
