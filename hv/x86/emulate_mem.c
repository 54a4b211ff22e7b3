// SPDX-License-Identifier: Apache-2.0
// Memory of the emulated instruction: segmentation, paging, then memory or devices.
#include "hv/core/vm.h"
#include "hv/lib/string.h"
#include "hv/x86/emulate_internal.h"
#include "hv/x86/lapic.h"

#define CHUNK_BYTES 8u // That user space is asked for at a time.

// --- Segmentation (SDM 5.3, 5.5; in 64-bit mode vol. 1, 3.3.7.1).

static bool segment_fault(struct x86_vcpu *v, unsigned segment)
{
    return emu_fault_e(v, segment == SEG_SS ? SS_VECTOR : GP_VECTOR, 0);
}

static bool segment_allows(u32 ar, u32 access)
{
    bool code = (ar & X86_SEG_CODE) != 0;

    if (access & PFERR_WRITE)
        return !code && (ar & X86_SEG_WRITABLE);
    return !code || (ar & X86_SEG_READABLE) || (access & PFERR_FETCH);
}

static bool within_limit(struct x86_vcpu *v, unsigned segment, u32 ar, u64 offset, unsigned bytes)
{
    u64 limit = vcpu_segment_limit(v, segment), last = offset + bytes - 1;

    if (emu_protected(v) && !(ar & X86_SEG_CODE) && (ar & X86_SEG_EXPAND_DOWN))
        return offset > limit && last <= (ar & AR_DB ? 0xffffffffull : 0xffffull);
    return last <= limit;
}

static bool linear_64(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u64 *linear)
{
    *linear = offset + (segment == SEG_FS || segment == SEG_GS ? vcpu_segment_base(v, segment) : 0);
    unsigned bits = vcpu_cr4(v) & X86_CR4_LA57 ? 57 : 48;

    if (sign_extend_bits(*linear, bits) != *linear ||
        sign_extend_bits(*linear + bytes - 1, bits) != *linear + bytes - 1)
        return segment_fault(v, segment);
    return true;
}

bool emu_linear(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u32 access, u64 *linear)
{
    if (v->emu.stream) {
        *linear = v->emu.stream_gpa;
        return true;
    }
    if (v->emu.mode == EMU_LONG)
        return linear_64(v, segment, offset, bytes, linear);
    u32 ar = vcpu_segment_ar(v, segment);

    if (emu_protected(v) && ((ar & AR_UNUSABLE) || !segment_allows(ar, access)))
        return segment_fault(v, segment);
    if (!within_limit(v, segment, ar, offset, bytes))
        return segment_fault(v, segment);
    *linear = (u32)(vcpu_segment_base(v, segment) + offset);
    return true;
}

// --- Paging.

static bool page_fault(struct x86_vcpu *v, u64 linear, u32 error_code)
{
    v->emu.fault.cr2 = linear;
    return emu_fault_e(v, PF_VECTOR, error_code);
}

bool emu_translate(struct x86_vcpu *v, u64 linear, u32 access, u64 *out)
{
    u32 error_code = 0;

    if (v->emu.stream) {
        *out = linear;
        return true;
    }
    if (v->emu.cpl == 3 && !(access & WALK_IMPLICIT))
        access |= PFERR_USER;
    switch (guest_walk(v, linear, access, out, &error_code)) {
    case WALK_DONE:
        return true;
    case WALK_FAULT:
        return page_fault(v, linear, error_code);
    case WALK_NESTED:
        break;
    }
    return emu_unhandled(v);
}

// One or two pages' parts of an access.
struct pieces {
    u64 gpa[2];
    unsigned bytes[2];
};

static bool translate_pieces(struct x86_vcpu *v, u64 linear, unsigned bytes, u32 access, struct pieces *p)
{
    p->bytes[0] = (unsigned)min_u64(bytes, PAGE_SIZE - (linear & ~PAGE_MASK));
    p->bytes[1] = bytes - p->bytes[0];
    if (!emu_translate(v, linear, access, &p->gpa[0]))
        return false;
    if (p->bytes[1] == 0)
        return true;
    u64 second = linear + p->bytes[0];

    return emu_translate(v, v->emu.mode == EMU_LONG || v->emu.stream ? second : (u32)second, access,
                         &p->gpa[1]);
}

// --- Memory, devices in the core, user space.

static bool is_memory(const struct x86_vcpu *v, u64 gpa)
{
    return gpa >> PAGE_SHIFT != v->emu.mmio_gfn;
}

static bool ask_devices(struct x86_vcpu *v, u64 gpa, u8 *to, unsigned bytes)
{
    struct mmio_fragment *f = &v->mmio[0];

    *f = (struct mmio_fragment){.gpa = gpa, .len = bytes};
    if (v->apic == NULL || !irqchip_mmio(v, gpa, false, f->data, bytes)) {
        v->emu.stop = EMU_MMIO_READ;
        return false;
    }
    emu_trace_mmio(MMIO_READ, f);
    memcpy(to, f->data, bytes);
    return true;
}

static bool read_chunk(struct x86_vcpu *v, u64 at, u8 *to, unsigned bytes)
{
    struct emulation *e = &v->emu;

    if (e->reads_at + bytes > sizeof(e->reads))
        return emu_unhandled(v);
    u8 *log = e->reads + e->reads_at;

    if (e->reads_at >= e->reads_count) {
        bool memory = is_memory(v, at) && vm_read_guest(v->vcpu.vm, gpa(at), log, bytes) == 0;

        if (!memory && !ask_devices(v, at, log, bytes))
            return false;
        e->reads_count = (u16)(e->reads_at + bytes);
    }
    memcpy(to, log, bytes);
    e->reads_at = (u16)(e->reads_at + bytes);
    return true;
}

static bool write_chunk(struct x86_vcpu *v, u64 at, const u8 *from, unsigned bytes)
{
    if (is_memory(v, at) && vm_write_guest(v->vcpu.vm, gpa(at), from, bytes) == 0)
        return true;
    if (v->mmio_count == ARRAY_COUNT(v->mmio))
        return emu_unhandled(v);
    struct mmio_fragment *f = &v->mmio[v->mmio_count++];

    *f = (struct mmio_fragment){.gpa = at, .len = bytes};
    memcpy(f->data, from, bytes);
    return true;
}

bool emu_read(struct x86_vcpu *v, u64 linear, void *to, unsigned bytes, u32 access)
{
    struct pieces p;
    u8 *out = to;

    if (!translate_pieces(v, linear, bytes, access, &p))
        return false;
    for (unsigned i = 0; i < 2; i++)
        for (unsigned at = 0; at < p.bytes[i]; at += CHUNK_BYTES) {
            unsigned n = (unsigned)min_u64(CHUNK_BYTES, p.bytes[i] - at);

            if (!read_chunk(v, p.gpa[i] + at, out, n))
                return false;
            out += n;
        }
    return true;
}

bool emu_write(struct x86_vcpu *v, u64 linear, const void *from, unsigned bytes, u32 access)
{
    struct pieces p;
    const u8 *in = from;

    if (!translate_pieces(v, linear, bytes, access | PFERR_WRITE, &p))
        return false;
    for (unsigned i = 0; i < 2; i++)
        for (unsigned at = 0; at < p.bytes[i]; at += CHUNK_BYTES) {
            unsigned n = (unsigned)min_u64(CHUNK_BYTES, p.bytes[i] - at);

            if (!write_chunk(v, p.gpa[i] + at, in, n))
                return false;
            in += n;
        }
    return true;
}

bool emu_read_at(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u64 *value)
{
    u64 linear;

    *value = 0;
    return emu_linear(v, segment, offset, bytes, 0, &linear) && emu_read(v, linear, value, bytes, 0);
}

bool emu_write_at(struct x86_vcpu *v, unsigned segment, u64 offset, unsigned bytes, u64 value)
{
    u64 linear;

    return emu_linear(v, segment, offset, bytes, PFERR_WRITE, &linear) &&
           emu_write(v, linear, &value, bytes, 0);
}

// --- Operands.

u64 emu_effective_address(struct x86_vcpu *v)
{
    const struct decoded_mem *m = &v->emu.d.mem;
    u64 address = m->displacement + v->emu.bit_offset;

    if (m->rip_relative)
        address += v->emu.rip;
    if (m->base != DECODE_NO_REG)
        address += emu_reg(v, m->base);
    if (m->index != DECODE_NO_REG)
        address += emu_reg(v, m->index) << m->scale;
    return address & size_mask(v->emu.d.address_bytes);
}

bool emu_operand_linear(struct x86_vcpu *v, const struct operand *o, u32 access, u64 *linear)
{
    u64 mask = size_mask(v->emu.d.address_bytes);

    if (o->kind == OPD_SI)
        return emu_linear(v, v->emu.d.mem.segment, emu_reg(v, GPR_RSI) & mask, o->bytes, access, linear);
    if (o->kind == OPD_DI)
        return emu_linear(v, SEG_ES, emu_reg(v, GPR_RDI) & mask, o->bytes, access, linear);
    return emu_linear(v, v->emu.d.mem.segment, emu_effective_address(v), o->bytes, access, linear);
}

bool emu_get(struct x86_vcpu *v, const struct operand *o, u64 *value)
{
    u64 linear;

    switch ((enum operand_kind)o->kind) {
    case OPD_REG:
        *value = emu_reg(v, o->reg) & size_mask(o->bytes);
        return true;
    case OPD_HIGH:
        *value = emu_reg(v, o->reg) >> 8 & 0xff;
        return true;
    case OPD_IMM:
        *value = v->emu.d.immediate & size_mask(o->bytes);
        return true;
    case OPD_ONE:
        *value = 1;
        return true;
    case OPD_MEM:
    case OPD_SI:
    case OPD_DI:
        *value = 0;
        return emu_operand_linear(v, o, 0, &linear) && emu_read(v, linear, value, o->bytes, 0);
    case OPD_NONE:
    case OPD_SEG:
    case OPD_CR:
    case OPD_DR:
    case OPD_VEC:
        break;
    }
    return emu_unhandled(v);
}

static bool is_locked(const struct emulation *e)
{
    return e->d.lock || e->d.op == INSN_XCHG;
}

bool emu_get_rmw(struct x86_vcpu *v, const struct operand *o, u64 *value)
{
    struct emulation *e = &v->emu;
    u64 linear;

    if (o->kind != OPD_MEM)
        return emu_get(v, o, value);
    *value = 0;
    if (!emu_operand_linear(v, o, PFERR_WRITE, &linear) || !emu_read(v, linear, value, o->bytes, PFERR_WRITE))
        return false;
    e->rmw_memory = false;
    if (!is_locked(e))
        return true;
    if (!emu_translate(v, linear, PFERR_WRITE, &e->rmw_gpa))
        return false;
    e->rmw_old = *value;
    e->rmw_memory = is_memory(v, e->rmw_gpa);
    return true;
}

// Memory under LOCK, within an aligned unit: in one step. Elsewhere, and in device memory, there is none to
// exclude (KVM does the same).
static bool put_locked(struct x86_vcpu *v, const struct operand *o, u64 value, bool *done)
{
    struct emulation *e = &v->emu;
    u64 old = e->rmw_old;

    *done = false;
    if (!is_locked(e) || !e->rmw_memory || !is_aligned(e->rmw_gpa, o->bytes))
        return true;
    switch (vm_cmpxchg_guest(v->vcpu.vm, gpa(e->rmw_gpa), &old, value, o->bytes)) {
    case 0:
        *done = true;
        return true;
    case -1:
        e->stop = EMU_RETRY;
        return false;
    default: // Device memory after all.
        return true;
    }
}

bool emu_put(struct x86_vcpu *v, const struct operand *o, u64 value)
{
    u64 linear;
    bool done;

    switch ((enum operand_kind)o->kind) {
    case OPD_REG:
        emu_set_reg(v, o->reg, o->bytes, value);
        return true;
    case OPD_HIGH:
        emu_set_reg(v, o->reg, 2, (emu_reg(v, o->reg) & 0xff) | (value & 0xff) << 8);
        return true;
    case OPD_MEM:
        if (!put_locked(v, o, value, &done) || done)
            return done;
        // fall through
    case OPD_SI:
    case OPD_DI:
        return emu_operand_linear(v, o, PFERR_WRITE, &linear) && emu_write(v, linear, &value, o->bytes, 0);
    case OPD_NONE:
    case OPD_IMM:
    case OPD_ONE:
    case OPD_SEG:
    case OPD_CR:
    case OPD_DR:
    case OPD_VEC:
        break;
    }
    return emu_unhandled(v);
}
