// SPDX-License-Identifier: Apache-2.0
// System instructions and ports (SDM vol. 2, by mnemonic).
#include "hv/lib/string.h"
#include "hv/mmu/mmu.h"
#include "hv/x86/cpuid.h"
#include "hv/x86/emulate_internal.h"
#include "hv/x86/exits_io.h"
#include "hv/x86/msr.h"
#include "spec/cpuid.h"

// --- Segment registers.

// MOV SS and POP SS hold interrupts and traps back for one instruction (SDM 6.8.3).
static bool load_sreg(struct x86_vcpu *v, u64 selector, unsigned which)
{
    if (!emu_load_segment(v, (u16)selector, (enum x86_segment)which, LOAD_DATA, v->emu.cpl))
        return false;
    if (which == SEG_SS)
        v->emu.shadow = INTERRUPTIBILITY_MOV_SS;
    return true;
}

bool emu_mov_sreg(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    if (d->b.kind == OPD_SEG)
        return emu_put(v, &d->a, vcpu_segment_selector(v, (enum x86_segment)d->b.reg));
    return emu_get(v, &d->b, &value) && load_sreg(v, value, d->a.reg);
}

bool emu_push_sreg(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;

    return emu_push_value(v, vcpu_segment_selector(v, (enum x86_segment)d->a.reg), d->operand_bytes);
}

bool emu_pop_sreg(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    return emu_pop_value(v, d->operand_bytes, &value) && load_sreg(v, value, d->a.reg);
}

// LDS, LES, LSS, LFS, LGS.
bool emu_load_far(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u16 selector;
    u64 offset;

    return emu_far_pointer(v, &d->b, &selector, &offset) &&
           emu_load_segment(v, selector, (enum x86_segment)d->c.reg, LOAD_DATA, v->emu.cpl) &&
           emu_put(v, &d->a, offset);
}

// --- Descriptor tables.

// Reading the system tables' registers above CPL 0 (SDM 2.5, CR4.UMIP).
static bool umip_allows(struct x86_vcpu *v)
{
    if (v->emu.cpl != 0 && (vcpu_cr4(v) & X86_CR4_UMIP))
        return emu_fault_e(v, GP_VECTOR, 0);
    return true;
}

static unsigned table_bytes(const struct x86_vcpu *v)
{
    return v->emu.mode == EMU_LONG ? 10 : 6;
}

// Of two bytes operand size the base has 24 bits, but stores give all of it.
bool emu_store_table(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;
    bool gdt = e->d.op == INSN_SGDT;
    struct operand o = e->d.a;
    u8 buffer[10];
    u64 linear, base = vmcs_read(gdt ? GUEST_GDTR_BASE : GUEST_IDTR_BASE);
    u16 limit = (u16)vmcs_read(gdt ? GUEST_GDTR_LIMIT : GUEST_IDTR_LIMIT);

    o.bytes = (u8)table_bytes(v);
    memcpy(buffer, &limit, 2);
    memcpy(buffer + 2, &base, 8);
    return umip_allows(v) && emu_operand_linear(v, &o, PFERR_WRITE, &linear) &&
           emu_write(v, linear, buffer, o.bytes, 0);
}

bool emu_load_table(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;
    bool gdt = e->d.op == INSN_LGDT;
    struct operand o = e->d.a;
    u8 buffer[10] = {0};
    u64 linear, base;
    u16 limit;

    o.bytes = (u8)table_bytes(v);
    if (!emu_operand_linear(v, &o, 0, &linear) || !emu_read(v, linear, buffer, o.bytes, 0))
        return false;
    memcpy(&limit, buffer, 2);
    memcpy(&base, buffer + 2, 8);
    if (e->mode == EMU_LONG && !is_canonical(base))
        return emu_fault_e(v, GP_VECTOR, 0);
    if (e->mode != EMU_LONG && e->d.operand_bytes == 2)
        base &= 0xffffff;
    vmcs_write(gdt ? GUEST_GDTR_BASE : GUEST_IDTR_BASE, base);
    vmcs_write(gdt ? GUEST_GDTR_LIMIT : GUEST_IDTR_LIMIT, limit);
    return true;
}

bool emu_store_system_segment(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;

    return umip_allows(v) &&
           emu_put(v, &d->a, vcpu_segment_selector(v, d->op == INSN_SLDT ? SEG_LDTR : SEG_TR));
}

bool emu_lldt(struct x86_vcpu *v)
{
    u64 selector;

    return emu_get(v, &v->emu.d.a, &selector) && emu_load_segment(v, (u16)selector, SEG_LDTR, LOAD_DATA, 0);
}

bool emu_ltr(struct x86_vcpu *v)
{
    u64 selector;

    return emu_get(v, &v->emu.d.a, &selector) && emu_load_segment(v, (u16)selector, SEG_TR, LOAD_DATA, 0);
}

// --- Control registers.

static bool set_or_fault(struct x86_vcpu *v, int fault)
{
    return fault == 0 || emu_fault_e(v, GP_VECTOR, 0);
}

bool emu_smsw(struct x86_vcpu *v)
{
    return umip_allows(v) && emu_put(v, &v->emu.d.a, vcpu_cr0(v));
}

bool emu_lmsw(struct x86_vcpu *v)
{
    u64 source;

    return emu_get(v, &v->emu.d.a, &source) && set_or_fault(v, vcpu_set_cr0(v, vcpu_lmsw(v, source)));
}

bool emu_clts(struct x86_vcpu *v)
{
    return set_or_fault(v, vcpu_set_cr0(v, vcpu_cr0(v) & ~X86_CR0_TS));
}

bool emu_mov_cr(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    bool to = d->a.kind == OPD_CR;
    unsigned cr = to ? d->a.reg : d->b.reg;
    u64 value = 0;

    if (to && !emu_get(v, &d->b, &value))
        return false;
    switch (cr) {
    case 0:
        return to ? set_or_fault(v, vcpu_set_cr0(v, value)) : emu_put(v, &d->a, vcpu_cr0(v));
    case 2:
        if (to)
            v->gprs.cr2 = value;
        return to || emu_put(v, &d->a, v->gprs.cr2);
    case 3:
        return to ? set_or_fault(v, vcpu_set_cr3(v, value)) : emu_put(v, &d->a, vcpu_cr3(v));
    case 4:
        return to ? set_or_fault(v, vcpu_set_cr4(v, value)) : emu_put(v, &d->a, vcpu_cr4(v));
    case 8:
        return to ? set_or_fault(v, vcpu_set_cr8(v, value)) : emu_put(v, &d->a, vcpu_cr8(v));
    default:
        return emu_fault(v, UD_VECTOR);
    }
}

bool emu_mov_dr(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    bool to = d->a.kind == OPD_DR;
    unsigned dr = to ? d->a.reg : d->b.reg;
    u64 value = 0;

    if (dr > 7 || ((dr == 4 || dr == 5) && (vcpu_cr4(v) & X86_CR4_DE)))
        return emu_fault(v, UD_VECTOR);
    if (v->dr7 & X86_DR7_GD) {
        queue_exception_p(v, DB_VECTOR, X86_DR6_BD);
        return emu_result(v, 1);
    }
    if (!to)
        return emu_put(v, &d->a, vcpu_get_dr(v, dr));
    return emu_get(v, &d->b, &value) && set_or_fault(v, vcpu_set_dr(v, dr, value));
}

bool emu_invlpg(struct x86_vcpu *v)
{
    u64 base = v->emu.mode != EMU_LONG || v->emu.d.mem.segment >= SEG_FS
                   ? vcpu_segment_base(v, (enum x86_segment)v->emu.d.mem.segment)
                   : 0;

    mmu_invlpg(v, base + emu_effective_address(v));
    return true;
}

bool emu_wbinvd(struct x86_vcpu *v)
{
    (void)v;
    return true;
}

// --- Flags that interrupts depend on. VME and PVI are not modelled: no guest is offered them.

static bool iopl_allows(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;

    if (e->cpl > (e->rflags & X86_RFLAGS_IOPL) >> X86_RFLAGS_IOPL_SHIFT)
        return emu_fault_e(v, GP_VECTOR, 0);
    return true;
}

bool emu_cli(struct x86_vcpu *v)
{
    if (!iopl_allows(v))
        return false;
    v->emu.rflags &= ~X86_RFLAGS_IF;
    return true;
}

bool emu_sti(struct x86_vcpu *v)
{
    if (!iopl_allows(v))
        return false;
    if (!(v->emu.rflags & X86_RFLAGS_IF))
        v->emu.shadow = INTERRUPTIBILITY_STI;
    v->emu.rflags |= X86_RFLAGS_IF;
    return true;
}

// --- Others.

bool emu_hlt(struct x86_vcpu *v)
{
    v->emu.then = emulate_halt;
    return true;
}

bool emu_cpuid(struct x86_vcpu *v)
{
    struct hw_cpuid_regs r;

    guest_cpuid(v, (u32)emu_reg(v, GPR_RAX), (u32)emu_reg(v, GPR_RCX), &r);
    emu_set_reg(v, GPR_RAX, 4, r.eax);
    emu_set_reg(v, GPR_RBX, 4, r.ebx);
    emu_set_reg(v, GPR_RCX, 4, r.ecx);
    emu_set_reg(v, GPR_RDX, 4, r.edx);
    return true;
}

bool emu_rdmsr(struct x86_vcpu *v)
{
    u32 msr = (u32)emu_reg(v, GPR_RCX);
    u64 value = 0;
    int fault = msr_read(v, msr, &value, false);

    hw_trace(TP_KVM_MSR, 0, msr, value, (u64)fault, 0, 0);
    emu_set_reg(v, GPR_RAX, 4, value);
    emu_set_reg(v, GPR_RDX, 4, value >> 32);
    return set_or_fault(v, fault);
}

bool emu_wrmsr(struct x86_vcpu *v)
{
    u32 msr = (u32)emu_reg(v, GPR_RCX);
    u64 value = emu_reg(v, GPR_RDX) << 32 | (u32)emu_reg(v, GPR_RAX);
    int fault = msr_write(v, msr, value, false);

    hw_trace(TP_KVM_MSR, 1, msr, value, (u64)fault, 0, 0);
    return set_or_fault(v, fault);
}

bool emu_rdtsc(struct x86_vcpu *v)
{
    u64 tsc = guest_tsc(v, hw_rdtsc());

    if ((vcpu_cr4(v) & X86_CR4_TSD) && v->emu.cpl != 0)
        return emu_fault_e(v, GP_VECTOR, 0);
    emu_set_reg(v, GPR_RAX, 4, tsc);
    emu_set_reg(v, GPR_RDX, 4, tsc >> 32);
    return true;
}

// --- Ports.

#define TSS_IO_MAP_BASE 0x66u

// The permission bitmap of the task: all bits of the access clear (SDM vol. 1, 18.5.2).
static bool bitmap_allows(struct x86_vcpu *v, u16 port, unsigned bytes)
{
    u64 base = vcpu_segment_base(v, SEG_TR), map = 0, bits = 0;
    u32 limit = vcpu_segment_limit(v, SEG_TR);
    unsigned type = vcpu_segment_ar(v, SEG_TR) & AR_TYPE_MASK;

    if (type != X86_SYS_TSS_BUSY || limit < TSS_IO_MAP_BASE + 1)
        return emu_fault_e(v, GP_VECTOR, 0);
    if (!emu_read(v, base + TSS_IO_MAP_BASE, &map, 2, WALK_IMPLICIT))
        return false;
    if (map + port / 8 + 1 > limit)
        return emu_fault_e(v, GP_VECTOR, 0);
    if (!emu_read(v, base + map + port / 8, &bits, 2, WALK_IMPLICIT))
        return false;
    return (bits >> (port & 7) & ((1u << bytes) - 1)) == 0 || emu_fault_e(v, GP_VECTOR, 0);
}

bool emu_io_allowed(struct x86_vcpu *v, u16 port, unsigned bytes)
{
    const struct emulation *e = &v->emu;
    unsigned iopl = (unsigned)((e->rflags & X86_RFLAGS_IOPL) >> X86_RFLAGS_IOPL_SHIFT);

    if (e->mode == EMU_V86 || (emu_protected(v) && e->cpl > iopl))
        return bitmap_allows(v, port, bytes);
    return true;
}

static bool port_io(struct x86_vcpu *v, const struct operand *port, unsigned bytes, bool in)
{
    u64 number;

    if (!emu_get(v, port, &number) || !emu_io_allowed(v, (u16)number, bytes))
        return false;
    vcpu_set_insn_len(v, v->emu.d.length);
    return emu_result(v, pio_plain(v, (u16)number, bytes, in));
}

bool emu_in(struct x86_vcpu *v)
{
    return port_io(v, &v->emu.d.b, v->emu.d.a.bytes, true);
}

bool emu_out(struct x86_vcpu *v)
{
    return port_io(v, &v->emu.d.a, v->emu.d.b.bytes, false);
}

// INS, OUTS.
bool emu_string_io(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    bool in = d->op == INSN_INS;
    const struct operand *memory = in ? &d->a : &d->b;
    struct pio_string s = {.port = (u16)emu_reg(v, GPR_RDX),
                           .bytes = memory->bytes,
                           .in = in,
                           .rep = d->rep || d->repne,
                           .address_bytes = d->address_bytes};
    u64 element = 0;

    if (!emu_io_allowed(v, s.port, memory->bytes) ||
        !emu_operand_linear(v, memory, in ? PFERR_WRITE : 0, &s.linear))
        return false;
    vcpu_set_insn_len(v, d->length);
    if (in || v->emu.stream || (s.rep && (emu_reg(v, GPR_RCX) & size_mask(d->address_bytes)) == 0))
        return emu_result(v, pio_string(v, &s));
    return emu_read(v, s.linear, &element, memory->bytes, 0) && emu_result(v, pio_string_put(v, &s, element));
}
