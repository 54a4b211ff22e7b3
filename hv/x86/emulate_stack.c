// SPDX-License-Identifier: Apache-2.0
// Stack and near branches (SDM vol. 2, by mnemonic; vol. 1, 6.2).
#include "hv/hw/guest.h"
#include "hv/x86/emulate_internal.h"

#define CONDITION_MASK 15u
#define ENTER_LEVEL_MASK 31u

bool emu_push_value(struct x86_vcpu *v, u64 value, unsigned bytes)
{
    unsigned stack = emu_stack_bytes(v);
    u64 sp = (emu_reg(v, GPR_RSP) - bytes) & size_mask(stack);

    if (!emu_write_at(v, SEG_SS, sp, bytes, value))
        return false;
    emu_set_reg(v, GPR_RSP, stack, sp);
    return true;
}

bool emu_pop_value(struct x86_vcpu *v, unsigned bytes, u64 *value)
{
    unsigned stack = emu_stack_bytes(v);
    u64 sp = emu_reg(v, GPR_RSP) & size_mask(stack);

    if (!emu_read_at(v, SEG_SS, sp, bytes, value))
        return false;
    emu_set_reg(v, GPR_RSP, stack, sp + bytes);
    return true;
}

bool emu_push(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    return emu_get(v, &d->a, &value) && emu_push_value(v, value, d->operand_bytes);
}

// A destination in memory is addressed with the stack pointer after the pop.
bool emu_pop(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    return emu_pop_value(v, d->operand_bytes, &value) && emu_put(v, &d->a, value);
}

bool emu_pusha(struct x86_vcpu *v)
{
    unsigned bytes = v->emu.d.operand_bytes;
    u64 sp = emu_reg(v, GPR_RSP);

    for (unsigned n = GPR_RAX; n <= GPR_RDI; n++)
        if (!emu_push_value(v, n == GPR_RSP ? sp : emu_reg(v, n), bytes))
            return false;
    return true;
}

bool emu_popa(struct x86_vcpu *v)
{
    unsigned bytes = v->emu.d.operand_bytes;
    u64 value;

    for (unsigned n = GPR_RDI + 1; n-- > GPR_RAX;) {
        if (!emu_pop_value(v, bytes, &value))
            return false;
        if (n != GPR_RSP)
            emu_set_reg(v, n, bytes, value);
    }
    return true;
}

static bool v86_allows(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;

    if (e->mode == EMU_V86 && (e->rflags & X86_RFLAGS_IOPL) != X86_RFLAGS_IOPL)
        return emu_fault_e(v, GP_VECTOR, 0);
    return true;
}

bool emu_pushf(struct x86_vcpu *v)
{
    return v86_allows(v) &&
           emu_push_value(v, v->emu.rflags & ~(X86_RFLAGS_VM | X86_RFLAGS_RF), v->emu.d.operand_bytes);
}

bool emu_popf(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 value, mask = emu_writable_flags(v, e->d.operand_bytes);

    if (!v86_allows(v) || !emu_pop_value(v, e->d.operand_bytes, &value))
        return false;
    e->rflags = (e->rflags & ~mask) | (value & mask);
    return true;
}

bool emu_enter(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    unsigned bytes = d->operand_bytes, stack = emu_stack_bytes(v), level = d->immediate2 & ENTER_LEVEL_MASK;
    u64 value;

    if (!emu_push_value(v, emu_reg(v, GPR_RBP), bytes))
        return false;
    u64 frame = emu_reg(v, GPR_RSP), bp = emu_reg(v, GPR_RBP);

    for (unsigned i = 1; i < level; i++) {
        bp = (bp - bytes) & size_mask(stack);
        if (!emu_read_at(v, SEG_SS, bp, bytes, &value) || !emu_push_value(v, value, bytes))
            return false;
    }
    if (level > 0 && !emu_push_value(v, frame, bytes))
        return false;
    emu_set_reg(v, GPR_RBP, bytes, frame);
    emu_set_reg(v, GPR_RSP, stack, emu_reg(v, GPR_RSP) - (u16)d->immediate);
    return true;
}

bool emu_leave(struct x86_vcpu *v)
{
    unsigned bytes = v->emu.d.operand_bytes;
    u64 value;

    emu_set_reg(v, GPR_RSP, emu_stack_bytes(v), emu_reg(v, GPR_RBP));
    if (!emu_pop_value(v, bytes, &value))
        return false;
    emu_set_reg(v, GPR_RBP, bytes, value);
    return true;
}

// --- Branches.

static bool target(struct x86_vcpu *v, u64 *rip)
{
    const struct emulation *e = &v->emu;

    if (e->d.a.kind != OPD_IMM)
        return emu_get(v, &e->d.a, rip);
    *rip = e->rip + e->d.immediate;
    return true;
}

bool emu_jmp(struct x86_vcpu *v)
{
    u64 rip;

    return target(v, &rip) && emu_jump(v, rip);
}

bool emu_call(struct x86_vcpu *v)
{
    u64 rip, back = v->emu.rip;

    return target(v, &rip) && emu_jump(v, rip) && emu_push_value(v, back, v->emu.d.operand_bytes);
}

bool emu_ret(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 rip;

    if (!emu_pop_value(v, d->operand_bytes, &rip) || !emu_jump(v, rip))
        return false;
    if (d->a.kind == OPD_IMM)
        emu_set_reg(v, GPR_RSP, emu_stack_bytes(v), emu_reg(v, GPR_RSP) + (u16)d->immediate);
    return true;
}

bool emu_jcc(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;

    return !alu_condition(e->d.opcode & CONDITION_MASK, e->rflags) || emu_jmp(v);
}

// LOOPNE, LOOPE, LOOP: e0, e1, e2.
bool emu_loop(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;
    unsigned bytes = e->d.address_bytes;
    u64 count = (emu_reg(v, GPR_RCX) - 1) & size_mask(bytes);
    bool zero = (e->rflags & X86_RFLAGS_ZF) != 0,
         holds = e->d.opcode == 0xe2 || zero == (e->d.opcode == 0xe1);

    if (count != 0 && holds && !emu_jmp(v))
        return false;
    emu_set_reg(v, GPR_RCX, bytes, count);
    return true;
}

bool emu_jcxz(struct x86_vcpu *v)
{
    return (emu_reg(v, GPR_RCX) & size_mask(v->emu.d.address_bytes)) != 0 || emu_jmp(v);
}

bool emu_bound(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    unsigned bytes = d->operand_bytes;
    struct operand both = d->b;
    u64 index, bounds = 0, linear;

    both.bytes = (u8)(2 * bytes);
    if (!emu_get(v, &d->a, &index) || !emu_operand_linear(v, &both, 0, &linear) ||
        !emu_read(v, linear, &bounds, 2 * bytes, 0))
        return false;
    s64 i = (s64)sign_extend(index, bytes), low = (s64)sign_extend(bounds & size_mask(bytes), bytes),
        high = (s64)sign_extend(bounds >> (8 * bytes), bytes);

    return (i >= low && i <= high) || emu_fault(v, BR_VECTOR);
}
