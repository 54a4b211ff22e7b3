// SPDX-License-Identifier: Apache-2.0
// Instructions that raise events (SDM 6.4.4, 20.3, 25.2, 25.4.1; vol. 2: INT n/INTO/INT3/INT1, BOUND, UD).
#include "models/cpu/x86/insn_common.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/trace_exit.h"

#define RING_3 3u

static enum insn_result software(struct pcpu *c, uint32_t type, unsigned vector, unsigned length)
{
    return vmx_software_exception(c, type, vector, length) ? INSN_EXIT : INSN_FAULT;
}

// The software-interrupt redirection bit map lies below the I/O permission bit map (SDM 20.3.3, figure 20-5).
static enum insn_result redirected(struct vmx *v, unsigned vector, bool *to_8086)
{
    const struct segment *tr = &v->seg[SEG_TR];
    uint64_t base, bits = 0;
    enum insn_result r;

    *to_8086 = false;
    r = system_read(v, tr->base + 0x66, 2, &base);
    if (r == INSN_DONE && base >= 32 + 104 && base <= tr->limit + 1ull)
        r = system_read(v, tr->base + base - 32 + vector / 8, 1, &bits);
    else
        return r;
    *to_8086 = r == INSN_DONE && !(bits >> (vector % 8) & 1);
    return r;
}

// INT n in virtual-8086 mode (SDM table 20-2). INSN_DONE: through the IDT.
static enum insn_result v86_int(struct pcpu *c, unsigned vector)
{
    struct vmx *v = &c->x86->vmx;
    bool to_8086 = false;
    enum insn_result r = INSN_DONE;

    if (c->x86->cr[4] & X86_CR4_VME)
        r = redirected(v, vector, &to_8086);
    if (r != INSN_DONE)
        return r;
    if (to_8086)
        trace_vmx_violation(c, "not modelled: interrupt redirection to an 8086 program", vector, v->rip);
    return insn_iopl(v) < RING_3 ? insn_gp(c) : INSN_DONE;
}

enum insn_result insn_int(struct pcpu *c, unsigned length, unsigned vector)
{
    struct vmx *v = &c->x86->vmx;
    enum insn_result r = insn_v86(v) ? v86_int(c, vector) : INSN_DONE;

    if (r != INSN_DONE)
        return r;
    // No exception: the exception bitmap has no say (SDM 25.2).
    return vmx_deliver(c, INTR_INFO_VALID | INTR_TYPE_SOFT_INTERRUPT | vector, 0, length) ? INSN_EXIT
                                                                                          : INSN_FAULT;
}

enum insn_result insn_int3(struct pcpu *c, unsigned length)
{
    return software(c, INTR_TYPE_SOFT_EXCEPTION, BP_VECTOR, length);
}

enum insn_result insn_int1(struct pcpu *c, unsigned length)
{
    return software(c, INTR_TYPE_PRIV_SOFT_EXCEPTION, DB_VECTOR, length);
}

enum insn_result insn_into(struct pcpu *c, unsigned length)
{
    struct vmx *v = &c->x86->vmx;

    if (insn_64(v))
        return insn_fault(c, UD_VECTOR, 0);
    flags_settle(v);
    return v->rflags & X86_RFLAGS_OF ? software(c, INTR_TYPE_SOFT_EXCEPTION, OF_VECTOR, length) : INSN_DONE;
}

enum insn_result insn_bound_fault(struct pcpu *c, unsigned length)
{
    (void)length;
    return insn_fault(c, BR_VECTOR, 0);
}

enum insn_result insn_ud(struct pcpu *c, unsigned length)
{
    (void)length;
    return insn_fault(c, UD_VECTOR, 0);
}
