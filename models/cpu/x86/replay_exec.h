// SPDX-License-Identifier: Apache-2.0
// Shared by the files that execute replay ops.
#ifndef MODELS_CPU_X86_REPLAY_EXEC_H
#define MODELS_CPU_X86_REPLAY_EXEC_H

#include "models/cpu/x86/replay_guest.h"
#include "models/cpu/x86/x86_state.h"

// x86 encodings of the general registers.
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

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

static inline enum replay_step exit_for(struct pcpu *c, const struct replay_op *op, uint32_t reason)
{
    replay_exit(c, op, reason);
    return STEP_EXIT;
}

// An exception of the current instruction: an exit, or delivered.
static inline enum replay_step fault(struct pcpu *c, unsigned vector, uint32_t error)
{
    return vmx_exception(c, vector, error, 0) ? STEP_EXIT : STEP_FAULT;
}

// What an access of memory makes of its instruction.
static inline enum replay_step replay_access(struct pcpu *c, const struct replay_op *op,
                                             enum guest_access result)
{
    switch (result) {
    case GUEST_DONE:
        return STEP_RETIRED;
    case GUEST_EXIT:
        // Reported by processors for these exits too, which the manual leaves undefined (SDM 27.2.5).
        c->x86->vmx.exit.insn_length = replay_length(op);
        return STEP_EXIT;
    case GUEST_FAULT:
        break;
    }
    return STEP_FAULT;
}

static inline void set_edx_eax(struct hw_gprs *r, uint64_t value)
{
    r->r[RAX] = (uint32_t)value;
    r->r[RDX] = value >> 32;
}

// Instruction information of a memory operand [rdi] (SDM table 27-13 and its like): 64-bit address, segment
// DS, no index, no displacement.
#define INFO_RDI                                                                                             \
    (2u << INSN_INFO_ADDR_SIZE_SHIFT | 3u << INSN_INFO_SEG_SHIFT | INSN_INFO_NO_INDEX |                      \
     (uint32_t)RDI << INSN_INFO_BASE_SHIFT)

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
