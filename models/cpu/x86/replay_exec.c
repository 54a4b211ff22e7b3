// SPDX-License-Identifier: Apache-2.0
// Instructions of replay guests: CPUID, MSRs, ports, time, idling. An op sets up the registers that its
// instruction reads; what the instruction does is insn.h's.
#include "models/cpu/x86/replay_exec.h"

#include "spec/apic_bits.h"

#define LENGTH replay_length(op)

EXEC(cpuid)
{
    struct hw_gprs *r = &c->x86->vmx.gpr;

    if (first_time(g)) {
        r->r[RAX] = (uint32_t)op->args[0];
        r->r[RCX] = (uint32_t)op->args[1];
    }
    return replay_result(insn_cpuid(c, LENGTH));
}

EXEC(rdmsr)
{
    if (first_time(g))
        c->x86->vmx.gpr.r[RCX] = (uint32_t)op->args[0];
    return replay_result(insn_rdmsr(c, LENGTH));
}

EXEC(wrmsr)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        bool relative = op->flags & REPLAY_ARG1_TSC_RELATIVE;

        v->gpr.r[RCX] = (uint32_t)op->args[0];
        insn_set_edx_eax(v, op->args[1] + (relative ? vmx_guest_tsc(c) : 0));
    }
    return replay_result(insn_wrmsr(c, LENGTH));
}

EXEC(eoi)
{
    struct vmx *v = &c->x86->vmx;
    uint64_t zero = 0, apic = APIC_DEFAULT_BASE + APIC_EOI;

    if (v->ctl.cpu2 & CPU2_VIRTUALIZE_APIC_ACCESSES) {
        // mov [rdi], eax: the guest's APIC page at its default place.
        if (first_time(g)) {
            v->gpr.r[RDI] = apic;
            v->gpr.r[RAX] = 0;
        }
        return replay_access(c, op, guest_access(c, apic, 4, EPT_ACCESS_WRITE, &zero));
    }
    if (first_time(g)) {
        v->gpr.r[RCX] = MSR_IA32_X2APIC_EOI;
        insn_set_edx_eax(v, 0);
    }
    return replay_result(insn_wrmsr(c, LENGTH));
}

// --- Ports. ---

// REP INS and REP OUTS in one go.
static enum replay_step string(struct pcpu *c, const struct replay_op *op, bool in,
                               const unsigned char *bytes)
{
    const struct insn_string_io io = {
        .size = (uint8_t)op->args[1], .address_size = 8, .rep = true, .segment = SEG_DS, .bytes = bytes};
    enum insn_result r;

    do
        r = in ? insn_ins(c, LENGTH, &io) : insn_outs(c, LENGTH, &io);
    while (r == INSN_AGAIN);
    return replay_result(r);
}

EXEC(in)
{
    struct vmx *v = &c->x86->vmx;
    bool repeated = op->args[2] != 0;
    enum insn_result r;

    if (first_time(g)) {
        v->gpr.r[RDX] = op->args[0];
        if (repeated) {
            v->gpr.r[RCX] = op->args[2];
            v->gpr.r[RDI] = op->args[3];
        }
    }
    if (repeated)
        return string(c, op, true, NULL);
    r = insn_in(c, LENGTH, (uint16_t)op->args[0], (unsigned)op->args[1], false);
    if (r == INSN_DONE) // No data flows through the rest of RAX.
        v->gpr.r[RAX] = insn_reg(v, RAX, (unsigned)op->args[1]);
    return replay_result(r);
}

EXEC(out)
{
    struct vmx *v = &c->x86->vmx;
    bool repeated = op->args[3] != 0;

    if (first_time(g)) {
        v->gpr.r[RDX] = op->args[0];
        v->gpr.r[RAX] = op->args[2];
        if (repeated) {
            v->gpr.r[RCX] = op->args[3];
            v->gpr.r[RSI] = REPLAY_OPERAND_LINEAR;
        }
        for (unsigned i = 0; i < sizeof g->operand; i++)
            g->operand[i] = (unsigned char)(op->args[2] >> i % op->args[1] * 8);
        g->operand_bytes = op->args[3] * op->args[1];
    }
    if (repeated)
        return string(c, op, false, g->operand);
    return replay_result(insn_out(c, LENGTH, (uint16_t)op->args[0], (unsigned)op->args[1], false));
}

// --- Idling. ---

EXEC(hlt)
{
    first_time(g);
    return replay_result(insn_hlt(c, LENGTH));
}

EXEC(pause)
{
    enum insn_result r;

    if (first_time(g))
        g->pauses_left = op->args[0] ? op->args[0] : 1;
    r = insn_pause(c, LENGTH);
    if (r == INSN_DONE && --g->pauses_left)
        return STEP_FAULT; // The next one of the loop.
    return replay_result(r);
}

EXEC(monitor)
{
    struct vmx *v = &c->x86->vmx;
    struct insn_operand o = memory_operand(v, g);

    if (first_time(g)) {
        v->gpr.r[RAX] = REPLAY_OPERAND_LINEAR;
        v->gpr.r[RCX] = v->gpr.r[RDX] = 0;
    }
    o.offset = v->gpr.r[RAX];
    return replay_result(insn_monitor(c, LENGTH, &o));
}

EXEC(mwait)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g))
        v->gpr.r[RAX] = v->gpr.r[RCX] = 0;
    return replay_result(insn_mwait(c, LENGTH));
}

// --- Time, counters, random numbers. ---

EXEC(rdtsc)
{
    first_time(g);
    return replay_result(insn_rdtsc(c, LENGTH));
}

EXEC(rdtscp)
{
    first_time(g);
    return replay_result(insn_rdtscp(c, LENGTH));
}

EXEC(rdpmc)
{
    if (first_time(g))
        c->x86->vmx.gpr.r[RCX] = (uint32_t)op->args[0];
    return replay_result(insn_rdpmc(c, LENGTH));
}

EXEC(rdrand)
{
    first_time(g);
    return replay_result(insn_rdrand(c, LENGTH, RAX, 4));
}

EXEC(rdseed)
{
    first_time(g);
    return replay_result(insn_rdseed(c, LENGTH, RAX, 4));
}
