// SPDX-License-Identifier: Apache-2.0
// Moves and arithmetic (SDM vol. 2, by mnemonic). Read, compute, write.
#include "hv/hw/guest.h"
#include "hv/x86/emulate_internal.h"

#define CONDITION_MASK 15u

// --- Arithmetic.

bool emu_alu(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, b;

    if (!emu_get(v, &e->d.b, &b) || !emu_get_rmw(v, &e->d.a, &a))
        return false;
    return emu_put(v, &e->d.a, alu(e->d.op, a, b, e->d.a.bytes, &e->rflags));
}

bool emu_compare(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, b;

    if (!emu_get(v, &e->d.a, &a) || !emu_get(v, &e->d.b, &b))
        return false;
    (void)alu(e->d.op, a, b, e->d.a.bytes, &e->rflags);
    return true;
}

bool emu_unary(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a;

    return emu_get_rmw(v, &e->d.a, &a) &&
           emu_put(v, &e->d.a, alu_unary(e->d.op, a, e->d.a.bytes, &e->rflags));
}

bool emu_shift(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, count;

    return emu_get(v, &e->d.b, &count) && emu_get_rmw(v, &e->d.a, &a) &&
           emu_put(v, &e->d.a, alu_shift(e->d.op, a, count, e->d.a.bytes, &e->rflags));
}

bool emu_double_shift(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, b, count;

    return emu_get(v, &e->d.b, &b) && emu_get(v, &e->d.c, &count) && emu_get_rmw(v, &e->d.a, &a) &&
           emu_put(v, &e->d.a, alu_double_shift(e->d.op, a, b, count, e->d.a.bytes, &e->rflags));
}

// A register as bit offset reaches beyond the operand in memory, both ways.
bool emu_bit(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.a.bytes, bits = 8 * bytes;
    bool only_test = e->d.op == INSN_BT;
    u64 a, offset;

    if (!emu_get(v, &e->d.b, &offset))
        return false;
    if (e->d.b.kind == OPD_REG) {
        s64 words = (s64)sign_extend(offset, bytes) >> (bytes == 2 ? 4 : bytes == 4 ? 5 : 6);

        e->bit_offset = (u64)words * bytes;
    }
    if (!(only_test ? emu_get(v, &e->d.a, &a) : emu_get_rmw(v, &e->d.a, &a)))
        return false;
    u64 bit = 1ull << (offset & (bits - 1));

    e->rflags = (e->rflags & ~X86_RFLAGS_CF) | (a & bit ? X86_RFLAGS_CF : 0);
    if (only_test)
        return true;
    return emu_put(v, &e->d.a, e->d.op == INSN_BTS ? a | bit : e->d.op == INSN_BTR ? a & ~bit : a ^ bit);
}

// Of zero: ZF, and the destination stays (as all processors do).
bool emu_bit_scan(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a;

    if (!emu_get(v, &e->d.b, &a))
        return false;
    e->rflags = (e->rflags & ~X86_RFLAGS_ZF) | (a == 0 ? X86_RFLAGS_ZF : 0);
    if (a == 0)
        return true;
    unsigned bit = e->d.op == INSN_BSF ? (unsigned)__builtin_ctzll(a) : 63u - (unsigned)__builtin_clzll(a);

    return emu_put(v, &e->d.a, bit);
}

// rDX:rAX, of bytes AX.
static void set_pair(struct x86_vcpu *v, unsigned bytes, u64 low, u64 high)
{
    if (bytes == 1) {
        emu_set_reg(v, GPR_RAX, 2, high << 8 | low);
        return;
    }
    emu_set_reg(v, GPR_RAX, bytes, low);
    emu_set_reg(v, GPR_RDX, bytes, high);
}

bool emu_multiply(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.a.bytes;
    u64 a, low, high;

    if (!emu_get(v, &e->d.a, &a))
        return false;
    alu_multiply(e->d.op == INSN_IMUL, emu_reg(v, GPR_RAX) & size_mask(bytes), a, bytes, &low, &high,
                 &e->rflags);
    set_pair(v, bytes, low, high);
    return true;
}

// IMUL of two or three operands.
bool emu_multiply_2(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, b, low, high;

    if (!emu_get(v, &e->d.b, &b) || !emu_get(v, e->d.c.kind != OPD_NONE ? &e->d.c : &e->d.a, &a))
        return false;
    alu_multiply(true, a, b, e->d.a.bytes, &low, &high, &e->rflags);
    return emu_put(v, &e->d.a, low);
}

bool emu_divide(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.a.bytes;
    u64 divisor, quotient, rest, rax = emu_reg(v, GPR_RAX);
    u64 low = rax & size_mask(bytes);
    u64 high = bytes == 1 ? rax >> 8 & 0xff : emu_reg(v, GPR_RDX) & size_mask(bytes);

    if (!emu_get(v, &e->d.a, &divisor))
        return false;
    if (!alu_divide(e->d.op == INSN_IDIV, high, low, divisor, bytes, &quotient, &rest))
        return emu_fault(v, DE_VECTOR);
    set_pair(v, bytes, quotient, rest);
    return true;
}

bool emu_bcd(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u16 ax = (u16)emu_reg(v, GPR_RAX);

    if (!alu_bcd(e->d.op, &ax, (u8)e->d.immediate, &e->rflags))
        return emu_fault(v, DE_VECTOR);
    emu_set_reg(v, GPR_RAX, 2, ax);
    return true;
}

// --- Moves.

bool emu_mov(struct x86_vcpu *v)
{
    u64 value;

    return emu_get(v, &v->emu.d.b, &value) && emu_put(v, &v->emu.d.a, value);
}

bool emu_movsx(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    return emu_get(v, &d->b, &value) && emu_put(v, &d->a, sign_extend(value, d->b.bytes));
}

static u64 swapped(u64 value, unsigned bytes)
{
    return __builtin_bswap64(value) >> (64 - 8 * bytes);
}

bool emu_movbe(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    if (d->rep || d->repne) // f2: CRC32.
        return emu_unhandled(v);
    return emu_get(v, &d->b, &value) && emu_put(v, &d->a, swapped(value, d->b.bytes));
}

bool emu_bswap(struct x86_vcpu *v)
{
    const struct operand *a = &v->emu.d.a;
    u64 value;

    return emu_get(v, a, &value) && emu_put(v, a, swapped(value, a->bytes));
}

bool emu_lea(struct x86_vcpu *v)
{
    return emu_put(v, &v->emu.d.a, emu_effective_address(v));
}

bool emu_xchg(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 a, b;

    if (d->opcode == 0x90 && d->a.reg == GPR_RAX) // NOP: the upper half stays.
        return true;
    return emu_get_rmw(v, &d->a, &a) && emu_get(v, &d->b, &b) && emu_put(v, &d->a, b) && emu_put(v, &d->b, a);
}

bool emu_xadd(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, b;

    if (!emu_get_rmw(v, &e->d.a, &a) || !emu_get(v, &e->d.b, &b))
        return false;
    u64 sum = alu(INSN_ADD, a, b, e->d.a.bytes, &e->rflags);

    // Both may be one register: the sum stays.
    return emu_put(v, &e->d.b, a) && emu_put(v, &e->d.a, sum);
}

// Memory is written either way; a register only if equal: its upper half stays otherwise, as on processors.
bool emu_cmpxchg(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    unsigned bytes = e->d.a.bytes;
    u64 a, b, rax = emu_reg(v, GPR_RAX) & size_mask(bytes);

    if (!emu_get_rmw(v, &e->d.a, &a) || !emu_get(v, &e->d.b, &b))
        return false;
    (void)alu(INSN_CMP, rax, a, bytes, &e->rflags);
    if (rax == a)
        return emu_put(v, &e->d.a, b);
    if (e->d.a.kind == OPD_MEM && !emu_put(v, &e->d.a, a))
        return false;
    emu_set_reg(v, GPR_RAX, bytes, a);
    return true;
}

// Compares with rDX:rAX and replaces by rCX:rBX, `half` bytes each.
static void compare_pair(struct x86_vcpu *v, unsigned half, const u64 old[2], u64 new[2])
{
    struct emulation *e = &v->emu;
    u64 mask = size_mask(half);
    bool equal = old[0] == (emu_reg(v, GPR_RAX) & mask) && old[1] == (emu_reg(v, GPR_RDX) & mask);

    new[0] = equal ? emu_reg(v, GPR_RBX) & mask : old[0];
    new[1] = equal ? emu_reg(v, GPR_RCX) & mask : old[1];
    e->rflags = (e->rflags & ~X86_RFLAGS_ZF) | (equal ? X86_RFLAGS_ZF : 0);
    if (!equal)
        set_pair(v, half, old[0], old[1]);
}

// In two accesses: who emulates it does so because there is no memory, or because the guest's only processor
// is in real mode, which has no such operand.
static bool cmpxchg16b(struct x86_vcpu *v)
{
    u64 linear, old[2], new[2];

    if (!emu_operand_linear(v, &v->emu.d.a, PFERR_WRITE, &linear))
        return false;
    if (!v->emu.stream && (linear & 15))
        return emu_fault_e(v, GP_VECTOR, 0);
    if (!emu_read(v, linear, old, sizeof(old), PFERR_WRITE))
        return false;
    compare_pair(v, 8, old, new);
    return emu_write(v, linear, new, sizeof(new), 0);
}

bool emu_cmpxchg8b(struct x86_vcpu *v)
{
    const struct operand *a = &v->emu.d.a;
    u64 value, new[2];

    if (a->bytes == 16)
        return cmpxchg16b(v);
    if (!emu_get_rmw(v, a, &value))
        return false;
    compare_pair(v, 4, (const u64[]){(u32)value, value >> 32}, new);
    return emu_put(v, a, new[0] | new[1] << 32);
}

bool emu_setcc(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;

    return emu_put(v, &e->d.a, alu_condition(e->d.opcode & CONDITION_MASK, e->rflags));
}

// Reads its source in any case, and clears the upper half of a 32-bit destination.
bool emu_cmovcc(struct x86_vcpu *v)
{
    const struct emulation *e = &v->emu;
    u64 a, b;

    if (!emu_get(v, &e->d.b, &b) || !emu_get(v, &e->d.a, &a))
        return false;
    return emu_put(v, &e->d.a, alu_condition(e->d.opcode & CONDITION_MASK, e->rflags) ? b : a);
}

// CBW, CWDE, CDQE.
bool emu_cbw(struct x86_vcpu *v)
{
    unsigned bytes = v->emu.d.operand_bytes;

    emu_set_reg(v, GPR_RAX, bytes, sign_extend(emu_reg(v, GPR_RAX) & size_mask(bytes / 2), bytes / 2));
    return true;
}

// CWD, CDQ, CQO.
bool emu_cwd(struct x86_vcpu *v)
{
    unsigned bytes = v->emu.d.operand_bytes;
    bool negative = emu_reg(v, GPR_RAX) >> (8 * bytes - 1) & 1;

    emu_set_reg(v, GPR_RDX, bytes, negative ? ~0ull : 0);
    return true;
}

bool emu_xlat(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 address = (emu_reg(v, GPR_RBX) + (emu_reg(v, GPR_RAX) & 0xff)) & size_mask(e->d.address_bytes), value;

    if (!emu_read_at(v, e->d.mem.segment, address, 1, &value))
        return false;
    emu_set_reg(v, GPR_RAX, 1, value);
    return true;
}

bool emu_nop(struct x86_vcpu *v)
{
    (void)v;
    return true;
}

// --- Flags.

#define AH_FLAGS (X86_RFLAGS_SF | X86_RFLAGS_ZF | X86_RFLAGS_AF | X86_RFLAGS_PF | X86_RFLAGS_CF)

bool emu_sahf(struct x86_vcpu *v)
{
    v->emu.rflags = (v->emu.rflags & ~AH_FLAGS) | (emu_reg(v, GPR_RAX) >> 8 & AH_FLAGS);
    return true;
}

bool emu_lahf(struct x86_vcpu *v)
{
    u64 ah = (v->emu.rflags & AH_FLAGS) | X86_RFLAGS_FIXED;

    emu_set_reg(v, GPR_RAX, 2, (emu_reg(v, GPR_RAX) & 0xff) | ah << 8);
    return true;
}

bool emu_salc(struct x86_vcpu *v)
{
    emu_set_reg(v, GPR_RAX, 1, v->emu.rflags & X86_RFLAGS_CF ? 0xff : 0);
    return true;
}

bool emu_flag(struct x86_vcpu *v)
{
    u64 *f = &v->emu.rflags;

    switch (v->emu.d.op) {
    case INSN_CMC:
        *f ^= X86_RFLAGS_CF;
        break;
    case INSN_CLC:
        *f &= ~X86_RFLAGS_CF;
        break;
    case INSN_STC:
        *f |= X86_RFLAGS_CF;
        break;
    case INSN_CLD:
        *f &= ~X86_RFLAGS_DF;
        break;
    default:
        *f |= X86_RFLAGS_DF;
        break;
    }
    return true;
}

// --- Vector registers: whole ones to and from memory.

static bool vector_available(struct x86_vcpu *v)
{
    if ((vcpu_cr0(v) & X86_CR0_EM) || !(vcpu_cr4(v) & X86_CR4_OSFXSR))
        return emu_fault(v, UD_VECTOR);
    if (vcpu_cr0(v) & X86_CR0_TS)
        return emu_fault(v, NM_VECTOR);
    return true;
}

bool emu_mov_vector(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    bool store = d->a.kind == OPD_MEM, load = d->b.kind == OPD_MEM;
    u64 value[2] = {0}, linear = 0;

    if (!vector_available(v))
        return false;
    if ((store || load) && !emu_operand_linear(v, store ? &d->a : &d->b, store ? PFERR_WRITE : 0, &linear))
        return false;
    if (d->op == INSN_MOVVEC_A && (linear & 15) && !v->emu.stream)
        return emu_fault_e(v, GP_VECTOR, 0);
    if (load) {
        if (!emu_read(v, linear, value, sizeof(value), 0))
            return false;
    } else {
        hw_guest_read_xmm(d->b.reg, value);
    }
    if (store)
        return emu_write(v, linear, value, sizeof(value), 0);
    hw_guest_write_xmm(d->a.reg, value);
    return true;
}

// MOVQ of an MMX register to and from memory. Its operands are those of the XMM form, of which this is a
// half.
bool emu_mov_mmx(struct x86_vcpu *v)
{
    struct operand a = v->emu.d.a, b = v->emu.d.b;
    bool store = a.kind == OPD_MEM;
    u64 value = 0, linear;

    a.bytes = b.bytes = 8;
    if (vcpu_cr0(v) & X86_CR0_EM)
        return emu_fault(v, UD_VECTOR);
    if (vcpu_cr0(v) & X86_CR0_TS)
        return emu_fault(v, NM_VECTOR);
    if (b.kind == OPD_MEM) {
        if (!emu_get(v, &b, &value))
            return false;
    } else if (store && !(emu_operand_linear(v, &a, PFERR_WRITE, &linear))) {
        return false;
    } else if (!hw_guest_read_mmx(b.reg & 7u, &value)) {
        return emu_fault(v, MF_VECTOR);
    }
    if (store)
        return emu_write(v, linear, &value, sizeof(value), 0);
    return hw_guest_write_mmx(a.reg & 7u, value) || emu_fault(v, MF_VECTOR);
}
