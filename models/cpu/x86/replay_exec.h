// SPDX-License-Identifier: Apache-2.0
// Shared by the files that execute replay ops.
#ifndef MODELS_CPU_X86_REPLAY_EXEC_H
#define MODELS_CPU_X86_REPLAY_EXEC_H

#include "models/cpu/x86/insn_common.h"
#include "models/cpu/x86/replay_guest.h"

#define EXEC(name)                                                                                           \
    enum replay_step exec_##name(struct pcpu *c, struct replay_guest *g, const struct replay_op *op)

// True the first time the op at the cursor runs: only then are its registers set up. Afterwards they are what
// software made of them.
static inline bool first_time(struct replay_guest *g)
{
    bool first = !g->at.started;

    g->at.started = true;
    return first;
}

// What an instruction's result makes of its op.
static inline enum replay_step replay_result(enum insn_result r)
{
    switch (r) {
    case INSN_DONE:
        return STEP_RETIRED;
    case INSN_EXIT:
        return STEP_EXIT;
    case INSN_BRANCH:
    case INSN_FAULT:
    case INSN_AGAIN:
        break;
    }
    return STEP_FAULT;
}

// What an access of memory makes of its instruction.
static inline enum replay_step replay_access(struct pcpu *c, const struct replay_op *op,
                                             enum guest_access result)
{
    // Reported by processors for these exits too, which the manual leaves undefined (SDM 27.2.5).
    if (result == GUEST_EXIT)
        c->x86->vmx.exit.insn_length = replay_length(op);
    return replay_result(insn_access(result));
}

// The register operand of 64 bits, and the memory operand [rdi], whose bytes are those of the op.
static inline struct insn_operand register_operand(unsigned reg)
{
    return (struct insn_operand){.reg = (uint8_t)reg, .size = 8};
}
static inline struct insn_operand memory_operand(const struct vmx *v, const struct replay_guest *g)
{
    return (struct insn_operand){.memory = true,
                                 .segment = SEG_DS,
                                 .offset = v->gpr.r[RDI],
                                 .info = insn_memory_info(RDI, INSN_NO_REG, 0, 8, SEG_DS),
                                 .bytes = g->operand};
}

EXEC(cpuid);
EXEC(rdmsr);
EXEC(wrmsr);
EXEC(in);
EXEC(out);
EXEC(hlt);
EXEC(pause);
EXEC(monitor);
EXEC(mwait);
EXEC(vmcall);
EXEC(read);
EXEC(write);
EXEC(fetch);
EXEC(xadd);
EXEC(xchg);
EXEC(cmpxchg);
EXEC(movtocr);
EXEC(movfromcr);
EXEC(clts);
EXEC(lmsw);
EXEC(movtodr);
EXEC(movfromdr);
EXEC(invlpg);
EXEC(invpcid);
EXEC(invd);
EXEC(wbinvd);
EXEC(xsetbv);
EXEC(rdtsc);
EXEC(rdtscp);
EXEC(rdpmc);
EXEC(rdrand);
EXEC(rdseed);
EXEC(lgdt);
EXEC(sldt);
EXEC(sti);
EXEC(cli);
EXEC(iret);
EXEC(eoi);
EXEC(exception);
EXEC(taskswitch);
EXEC(triple);
EXEC(vmxon);
EXEC(vmxoff);
EXEC(vmclear);
EXEC(vmptrld);
EXEC(vmread);
EXEC(vmwrite);
EXEC(vmlaunch);
EXEC(vmresume);
EXEC(invept);
EXEC(invvpid);
EXEC(intr);
EXEC(nmi);
EXEC(msi);
EXEC(await);
EXEC(branch);
EXEC(end);

#endif
