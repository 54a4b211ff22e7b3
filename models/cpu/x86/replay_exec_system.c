// SPDX-License-Identifier: Apache-2.0
// Instructions of replay guests: control and debug registers, TLB and caches, descriptor tables, flags. An op
// sets up the registers that its instruction reads; what the instruction does is insn.h's.
#include "models/cpu/x86/replay_exec.h"

#include "models/cpu/uarch/uarch.h"

#define LENGTH replay_length(op)

EXEC(movtocr)
{
    if (first_time(g))
        c->x86->vmx.gpr.r[RAX] = op->args[1];
    return replay_result(insn_mov_to_cr(c, LENGTH, (unsigned)op->args[0], RAX));
}

EXEC(movfromcr)
{
    first_time(g);
    return replay_result(insn_mov_from_cr(c, LENGTH, (unsigned)op->args[0], RAX));
}

EXEC(clts)
{
    first_time(g);
    return replay_result(insn_clts(c, LENGTH));
}

EXEC(lmsw)
{
    const struct insn_operand o = register_operand(RAX);

    if (first_time(g))
        c->x86->vmx.gpr.r[RAX] = op->args[0] & 0xffff;
    return replay_result(insn_lmsw(c, LENGTH, &o));
}

EXEC(movtodr)
{
    if (first_time(g))
        c->x86->vmx.gpr.r[RAX] = op->args[1];
    return replay_result(insn_mov_to_dr(c, LENGTH, (unsigned)op->args[0], RAX));
}

EXEC(movfromdr)
{
    first_time(g);
    return replay_result(insn_mov_from_dr(c, LENGTH, (unsigned)op->args[0], RAX));
}

// --- TLB and caches. ---

EXEC(invlpg)
{
    struct vmx *v = &c->x86->vmx;
    struct insn_operand o;

    if (first_time(g))
        v->gpr.r[RDI] = op->args[0];
    o = memory_operand(v, g);
    return replay_result(insn_invlpg(c, LENGTH, &o));
}

EXEC(invpcid)
{
    struct vmx *v = &c->x86->vmx;
    struct insn_operand o;

    if (first_time(g)) {
        v->gpr.r[RAX] = op->args[0];
        v->gpr.r[RDI] = REPLAY_OPERAND_LINEAR;
        memcpy(g->operand, &op->args[2], 8); // Descriptor: PCID, linear address.
        memcpy(g->operand + 8, &op->args[1], 8);
        g->operand_bytes = 16;
    }
    o = memory_operand(v, g);
    return replay_result(insn_invpcid(c, LENGTH, RAX, &o));
}

EXEC(invd)
{
    first_time(g);
    return replay_result(insn_invd(c, LENGTH));
}

EXEC(wbinvd)
{
    first_time(g);
    return replay_result(insn_wbinvd(c, LENGTH));
}

EXEC(xsetbv)
{
    struct vmx *v = &c->x86->vmx;

    if (first_time(g)) {
        v->gpr.r[RCX] = (uint32_t)op->args[0];
        insn_set_edx_eax(v, op->args[1]);
    }
    return replay_result(insn_xsetbv(c, LENGTH));
}

// --- Descriptor tables. ---

EXEC(lgdt)
{
    struct vmx *v = &c->x86->vmx;
    struct insn_operand o;

    if (first_time(g)) {
        v->gpr.r[RDI] = REPLAY_OPERAND_LINEAR;
        memcpy(g->operand, &op->args[1], 2); // Limit, base.
        memcpy(g->operand + 2, &op->args[0], 8);
        g->operand_bytes = 10;
    }
    o = memory_operand(v, g);
    return replay_result(insn_load_table(c, LENGTH, INSN_GDTR, &o, 8));
}

EXEC(sldt)
{
    const struct insn_operand o = register_operand(RAX);

    first_time(g);
    return replay_result(insn_store_selector(c, LENGTH, INSN_LDTR, &o));
}

// --- Flags and handlers. ---

EXEC(sti)
{
    first_time(g);
    return replay_result(insn_sti(c, LENGTH));
}

EXEC(cli)
{
    first_time(g);
    return replay_result(insn_cli(c, LENGTH));
}

EXEC(iret)
{
    (void)op;
    pcpu_charge_cycles(c, c->uarch->op.iret_cycles);
    vmx_unblock_nmi(c);
    if (!replay_return(c, g))
        replay_advance(c, g);
    return STEP_RETIRED;
}
