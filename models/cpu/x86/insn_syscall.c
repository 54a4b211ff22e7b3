// SPDX-License-Identifier: Apache-2.0
// System calls and what their handlers use (SDM 5.8.7, 5.8.8; vol. 2: SYSCALL, SYSRET, SYSENTER, SYSEXIT,
// SWAPGS, RDFSBASE, WRFSBASE, CLAC, STAC).
#include "models/cpu/x86/insn_common.h"

#include "models/cpu/uarch/uarch.h"
#include "models/cpu/x86/interp/flags.h"

// Flat segments as these load them, without their descriptors.
#define CODE_64_AR 0xa09bu
#define CODE_32_AR 0xc09bu
#define STACK_AR 0xc093u

static void put_flat(struct vmx *v, enum segment_name name, uint16_t selector, uint32_t ar, unsigned dpl)
{
    const struct segment s = {.ar = ar | dpl << AR_DPL_SHIFT, .limit = UINT32_MAX};

    segment_put(v, name, selector, &s);
}

static void put_flat_both(struct vmx *v, uint16_t cs, uint16_t ss, bool wide, unsigned dpl)
{
    put_flat(v, SEG_CS, cs, wide ? CODE_64_AR : CODE_32_AR, dpl);
    put_flat(v, SEG_SS, ss, STACK_AR, dpl);
}

static bool syscall_undefined(const struct vmx *v)
{
    return !insn_64(v) || !(MSR_VALUE(v->cpu, IA32_EFER) & EFER_SCE);
}

enum insn_result insn_syscall(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint16_t selector = (uint16_t)(MSR_VALUE(c, IA32_STAR) >> 32);
    uint64_t before;

    if (syscall_undefined(v))
        return insn_fault(c, UD_VECTOR, 0);
    pcpu_charge_cycles(c, c->uarch->op.syscall_cycles);
    flags_settle(v);
    before = v->rflags;
    v->gpr.r[RCX] = v->rip + length;
    v->gpr.r[R11] = before;
    v->rip = MSR_VALUE(c, IA32_LSTAR);
    v->rflags = (before & ~MSR_VALUE(c, IA32_FMASK) & ~X86_RFLAGS_RF) | X86_RFLAGS_FIXED;
    put_flat_both(v, (uint16_t)(selector & ~SELECTOR_RPL), (uint16_t)(selector + 8), true, 0);
    v->trap_held = (before & ~v->rflags) & X86_RFLAGS_TF;
    if ((before ^ v->rflags) & X86_RFLAGS_AC)
        guest_space_ac(c);
    return INSN_BRANCH;
}

#define SYSRET_FLAGS 0x3c7fd7ull // All but VM, RF and the reserved ones

enum insn_result insn_sysret(struct pcpu *c, unsigned length, bool rex_w)
{
    struct vmx *v = &c->x86->vmx;
    uint16_t selector = (uint16_t)(MSR_VALUE(c, IA32_STAR) >> 48);
    uint64_t target = insn_reg(v, RCX, rex_w ? 8 : 4);

    (void)length;
    if (syscall_undefined(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v) || !x86_canonical(c, target))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.sysret_cycles);
    flags_settle(v);
    v->rip = target;
    v->rflags = (v->gpr.r[R11] & SYSRET_FLAGS) | X86_RFLAGS_FIXED;
    put_flat_both(v, (uint16_t)(selector + (rex_w ? 16 : 0)) | 3, (uint16_t)(selector + 8) | 3, rex_w, 3);
    guest_space_ac(c);
    return INSN_BRANCH;
}

// Both of SYSENTER and SYSEXIT: protected mode, virtual-8086 too, with a code segment in IA32_SYSENTER_CS.
static bool sysenter_possible(const struct vmx *v)
{
    return (v->cpu->x86->cr[0] & X86_CR0_PE) &&
           ((uint16_t)MSR_VALUE(v->cpu, IA32_SYSENTER_CS) & ~SELECTOR_RPL);
}

enum insn_result insn_sysenter(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint16_t selector = (uint16_t)(MSR_VALUE(c, IA32_SYSENTER_CS) & ~(uint64_t)SELECTOR_RPL);
    bool wide = guest_long(v);

    (void)length;
    if (!sysenter_possible(v))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.syscall_cycles);
    v->rflags &= ~(X86_RFLAGS_VM | X86_RFLAGS_IF | X86_RFLAGS_RF);
    v->gpr.r[RSP] = MSR_VALUE(c, IA32_SYSENTER_ESP) & (wide ? UINT64_MAX : UINT32_MAX);
    v->rip = MSR_VALUE(c, IA32_SYSENTER_EIP) & (wide ? UINT64_MAX : UINT32_MAX);
    put_flat_both(v, selector, (uint16_t)(selector + 8), wide, 0);
    return INSN_BRANCH;
}

enum insn_result insn_sysexit(struct pcpu *c, unsigned length, bool rex_w)
{
    struct vmx *v = &c->x86->vmx;
    uint16_t selector = (uint16_t)(MSR_VALUE(c, IA32_SYSENTER_CS) + (rex_w ? 32 : 16)) | 3;
    uint64_t rsp = insn_reg(v, RCX, rex_w ? 8 : 4), rip = insn_reg(v, RDX, rex_w ? 8 : 4);

    (void)length;
    if (!sysenter_possible(v) || insn_cpl(v) || !x86_canonical(c, rsp) || !x86_canonical(c, rip))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.sysret_cycles);
    v->gpr.r[RSP] = rsp;
    v->rip = rip;
    put_flat_both(v, selector, (uint16_t)(selector + 8), rex_w, 3);
    return INSN_BRANCH;
}

// --- FS and GS bases. ---

enum insn_result insn_swapgs(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t base = MSR_VALUE(c, IA32_KERNEL_GS_BASE);

    (void)length;
    if (!insn_64(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (insn_cpl(v))
        return insn_gp(c);
    pcpu_charge_cycles(c, c->uarch->op.swapgs_cycles);
    MSR_VALUE(c, IA32_KERNEL_GS_BASE) = segment_base(v, SEG_GS);
    segment_set_base(v, SEG_GS, base);
    return INSN_DONE;
}

static bool base_undefined(const struct vmx *v)
{
    return !insn_64(v) || !(v->cpu->x86->cr[4] & X86_CR4_FSGSBASE);
}

enum insn_result insn_rdbase(struct pcpu *c, unsigned length, enum segment_name name, unsigned reg,
                             unsigned size)
{
    struct vmx *v = &c->x86->vmx;

    (void)length;
    if (base_undefined(v))
        return insn_fault(c, UD_VECTOR, 0);
    insn_set_reg(v, reg, size, segment_base(v, name));
    return INSN_DONE;
}

enum insn_result insn_wrbase(struct pcpu *c, unsigned length, enum segment_name name, unsigned reg,
                             unsigned size)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t base = insn_reg(v, reg, size);

    (void)length;
    if (base_undefined(v))
        return insn_fault(c, UD_VECTOR, 0);
    if (!x86_canonical(c, base))
        return insn_gp(c);
    segment_set_base(v, name, base);
    return INSN_DONE;
}

enum insn_result insn_ac(struct pcpu *c, unsigned length, bool set)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t flag = set ? X86_RFLAGS_AC : 0;

    (void)length;
    if (insn_cpl(v) || !x86_has(c, 7, 0, CPUID_EBX, CPUID_BITNR_SMAP))
        return insn_fault(c, UD_VECTOR, 0);
    if ((v->rflags & X86_RFLAGS_AC) == flag)
        return INSN_DONE;
    v->rflags = (v->rflags & ~(uint64_t)X86_RFLAGS_AC) | flag;
    guest_space_ac(c);
    return INSN_DONE;
}
