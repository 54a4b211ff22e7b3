// SPDX-License-Identifier: Apache-2.0
// A load, a store or both; between them, user space may have to be asked. State between is in the vCPU:
// v->insn, the operand's fragments and how many of them are done.
#include "hv/x86/emulate.h"
#include "hv/hw/guest.h"
#include "hv/lib/string.h"
#include "hv/x86/alu.h"
#include "hv/x86/exits.h"
#include "hv/x86/lapic.h"

enum { MMIO_UNSATISFIED_READ = 0, MMIO_READ = 1, MMIO_WRITE = 2 };

static u64 size_mask(unsigned bytes)
{
    return bytes >= 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
}

// --- Registers by size (SDM vol. 1, 3.4.1.1: 32-bit results zero-extend, smaller ones keep the rest).

static u64 reg_read(struct x86_vcpu *v, const struct decoded *d)
{
    if (d->high_byte)
        return (v->gprs.r[d->reg - 4] >> 8) & 0xff;
    return vcpu_gpr(v, d->reg) & size_mask(d->reg_bytes);
}

static void reg_write(struct x86_vcpu *v, const struct decoded *d, u64 value)
{
    if (d->high_byte) {
        u64 *r = &v->gprs.r[d->reg - 4];

        *r = (*r & ~0xff00ull) | (value & 0xff) << 8;
        return;
    }
    u64 mask = size_mask(d->reg_bytes), keep = d->reg_bytes == 4 ? 0 : ~mask;

    vcpu_set_gpr(v, d->reg, (vcpu_gpr(v, d->reg) & keep) | (value & mask));
}

// --- Memory operand in fragments: one, or two if it crosses a page.

static void make_fragments(struct x86_vcpu *v, u64 gpa, u32 bytes, u64 value)
{
    u32 first = (u32)min_u64(bytes, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));

    v->mmio_done = 0;
    v->mmio_count = first < bytes ? 2 : 1;
    v->mmio[0] = (struct mmio_fragment){.gpa = gpa, .len = first};
    // The exit tells one physical address: device memory that crosses a page is contiguous here.
    v->mmio[1] = (struct mmio_fragment){.gpa = gpa + first, .len = bytes - first};
    memcpy(v->mmio[0].data, &value, first);
    memcpy(v->mmio[1].data, (u8 *)&value + first, bytes - first);
}

static u64 fragments_value(const struct x86_vcpu *v)
{
    u64 value = 0;

    memcpy(&value, v->mmio[0].data, v->mmio[0].len);
    if (v->mmio_count == 2)
        memcpy((u8 *)&value + v->mmio[0].len, v->mmio[1].data, v->mmio[1].len);
    return value;
}

static int complete_fragment(struct x86_vcpu *v);

// Carries fragments out until one needs user space (0) or all are done (1).
static int do_fragments(struct x86_vcpu *v)
{
    for (; v->mmio_done < v->mmio_count; v->mmio_done++) {
        struct mmio_fragment *f = &v->mmio[v->mmio_done];
        u64 value = 0;

        if (v->apic == NULL || !irqchip_mmio(v, f->gpa, v->mmio_write, f->data, f->len)) {
            struct hv_run *run = v->vcpu.run;

            run->mmio.phys_addr = f->gpa;
            run->mmio.len = f->len;
            run->mmio.is_write = v->mmio_write;
            memcpy(run->mmio.data, f->data, sizeof(run->mmio.data));
            memcpy(&value, f->data, f->len);
            hw_trace(TP_KVM_MMIO, v->mmio_write ? MMIO_WRITE : MMIO_UNSATISFIED_READ, f->len, f->gpa,
                     v->mmio_write ? value : 0, 0, 0);
            v->complete = complete_fragment;
            return userspace_exit(v, HV_EXIT_MMIO);
        }
        memcpy(&value, f->data, f->len);
        hw_trace(TP_KVM_MMIO, v->mmio_write ? MMIO_WRITE : MMIO_READ, f->len, f->gpa, value, 0, 0);
    }
    return 1;
}

// --- Execution.

static bool reads_memory(const struct decoded *d)
{
    if (d->form == FORM_REG_MEM || d->form == FORM_ACC_MEM)
        return true;
    return d->op != INSN_MOV && d->op != INSN_STOS;
}

static void advance_string(struct x86_vcpu *v)
{
    unsigned reg = v->insn.form == FORM_MEM_ACC ? GPR_RDI : GPR_RSI;
    u64 bytes = v->insn.mem_bytes;

    v->gprs.r[reg] += vcpu_rflags(v) & X86_RFLAGS_DF ? -bytes : bytes;
    if (v->insn.rep)
        v->gprs.r[GPR_RCX]--;
}

static int finish(struct x86_vcpu *v)
{
    if (v->insn.string) {
        advance_string(v);
        if (v->insn.rep && v->gprs.r[GPR_RCX] != 0)
            return 1; // The guest executes it again: its next element may be on another page.
    }
    // The instruction length of the VMCS is undefined after EPT misconfigurations (SDM 27.2.5).
    v->cached[CACHED_INSN_LEN] = v->insn.length;
    v->regs_avail |= 1u << CACHED_INSN_LEN;
    return skip_instruction(v);
}

static int start_write(struct x86_vcpu *v, u64 value)
{
    make_fragments(v, v->mmio[0].gpa, v->insn.mem_bytes, value);
    v->mmio_write = true;
    int result = do_fragments(v);

    return result == 1 ? finish(v) : result;
}

static u64 source(struct x86_vcpu *v)
{
    switch ((enum insn_form)v->insn.form) {
    case FORM_MEM_REG:
    case FORM_REG_MEM:
        return reg_read(v, &v->insn);
    case FORM_MEM_IMM:
        return v->insn.immediate & size_mask(v->insn.mem_bytes);
    case FORM_MEM_ACC:
    case FORM_ACC_MEM:
        break;
    }
    return v->gprs.r[GPR_RAX] & size_mask(v->insn.mem_bytes);
}

static int execute_alu(struct x86_vcpu *v, u64 memory)
{
    const struct decoded *d = &v->insn;
    bool to_memory = d->form != FORM_REG_MEM;
    u64 other = source(v), flags = vcpu_rflags(v);
    u64 result = alu(d->op, to_memory ? memory : other, to_memory ? other : memory, d->mem_bytes, &flags);

    vcpu_set_rflags(v, flags);
    if (d->op == INSN_CMP || d->op == INSN_TEST)
        return finish(v);
    if (to_memory)
        return start_write(v, result);
    reg_write(v, d, result);
    return finish(v);
}

// `memory` has been read.
static int execute_read(struct x86_vcpu *v, u64 memory)
{
    const struct decoded *d = &v->insn;
    unsigned shift = 64 - 8u * d->mem_bytes;

    switch ((enum insn_op)d->op) {
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_LODS: // reg is 0, RAX, where the opcode has none.
        reg_write(v, d, memory);
        return finish(v);
    case INSN_MOVSX:
        reg_write(v, d, (u64)((s64)(memory << shift) >> shift));
        return finish(v);
    case INSN_XCHG: {
        u64 old = reg_read(v, d);

        reg_write(v, d, memory);
        return start_write(v, old);
    }
    case INSN_ADD:
    case INSN_OR:
    case INSN_AND:
    case INSN_SUB:
    case INSN_XOR:
    case INSN_CMP:
    case INSN_TEST:
        return execute_alu(v, memory);
    case INSN_STOS:
    case INSN_OP_COUNT:
        break;
    }
    return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 1, d->op, 0, 0);
}

static int complete_fragment(struct x86_vcpu *v)
{
    struct mmio_fragment *f = &v->mmio[v->mmio_done];

    if (!v->mmio_write) {
        u64 value = 0;

        memcpy(f->data, v->vcpu.run->mmio.data, f->len);
        memcpy(&value, f->data, f->len);
        hw_trace(TP_KVM_MMIO, MMIO_READ, f->len, f->gpa, value, 0, 0);
    }
    v->mmio_done++;
    int result = do_fragments(v);

    if (result != 1)
        return result;
    return v->mmio_write ? finish(v) : execute_read(v, fragments_value(v));
}

static int emulation_failed(struct x86_vcpu *v, const u8 *bytes, unsigned count)
{
    u64 low = 0, high = 0;

    memcpy(&low, bytes, min_u64(count, 8));
    if (count > 8)
        memcpy(&high, bytes + 8, count - 8);
    hw_trace(TP_KVM_EMULATE_INSN, vcpu_rip(v), count, low, 1, 0, 0);
    return internal_error(v, HV_INTERNAL_ERROR_EMULATION, 3, count, low, high);
}

int emulate_mmio(struct x86_vcpu *v, gpa_t gpa)
{
    u8 bytes[HW_GUEST_INSTRUCTION_MAX];
    unsigned count = hw_guest_fetch(bytes, sizeof(bytes));
    u64 low = 0;

    if (!decode_insn(bytes, count, vcpu_64bit(v), &v->insn))
        return emulation_failed(v, bytes, count);
    memcpy(&low, bytes, min_u64(count, 8));
    hw_trace(TP_KVM_EMULATE_INSN, vcpu_rip(v), v->insn.length, low, 0, 0, 0);
    if (v->insn.string && v->insn.rep && v->gprs.r[GPR_RCX] == 0) {
        v->insn.string = false;
        return finish(v);
    }
    make_fragments(v, gpa.v, v->insn.mem_bytes, 0);
    if (!reads_memory(&v->insn))
        return start_write(v, source(v));
    v->mmio_write = false;
    int result = do_fragments(v);

    return result == 1 ? execute_read(v, fragments_value(v)) : result;
}
