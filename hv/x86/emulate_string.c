// SPDX-License-Identifier: Apache-2.0
// String instructions: one element each; emulate.c repeats them.
#include "hv/x86/emulate_internal.h"

// The register of a string operand moves by its size, down if DF.
static void advance(struct x86_vcpu *v, unsigned reg, unsigned bytes)
{
    const struct emulation *e = &v->emu;
    u64 by = e->rflags & X86_RFLAGS_DF ? -(u64)bytes : bytes;

    emu_set_reg(v, reg, e->d.address_bytes, emu_reg(v, reg) + by);
}

bool emu_movs(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    if (!emu_get(v, &d->b, &value) || !emu_put(v, &d->a, value))
        return false;
    advance(v, GPR_RSI, d->a.bytes);
    advance(v, GPR_RDI, d->a.bytes);
    return true;
}

bool emu_stos(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    if (!emu_get(v, &d->b, &value) || !emu_put(v, &d->a, value))
        return false;
    advance(v, GPR_RDI, d->a.bytes);
    return true;
}

bool emu_lods(struct x86_vcpu *v)
{
    const struct decoded *d = &v->emu.d;
    u64 value;

    if (!emu_get(v, &d->b, &value) || !emu_put(v, &d->a, value))
        return false;
    advance(v, GPR_RSI, d->a.bytes);
    return true;
}

static bool compare(struct x86_vcpu *v)
{
    struct emulation *e = &v->emu;
    u64 a, b;

    if (!emu_get(v, &e->d.a, &a) || !emu_get(v, &e->d.b, &b))
        return false;
    (void)alu(INSN_CMP, a, b, e->d.a.bytes, &e->rflags);
    advance(v, GPR_RDI, e->d.a.bytes);
    return true;
}

bool emu_scas(struct x86_vcpu *v)
{
    return compare(v);
}

bool emu_cmps(struct x86_vcpu *v)
{
    if (!compare(v))
        return false;
    advance(v, GPR_RSI, v->emu.d.a.bytes);
    return true;
}
