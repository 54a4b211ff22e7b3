// SPDX-License-Identifier: Apache-2.0
// System instructions of a guest, once for all kinds of guests: each checks what the manual says it checks,
// makes its VM exit if the controls ask for one (SDM 25.1), and else does what it does on the registers of
// struct vmx and struct x86_state.
//
// The caller has decoded: replay ops (replay_exec*.c) have set up the registers that their instruction reads,
// the interpreter (interp/) has them anyway. `length` is the instruction's in bytes, for the exit. v->rip is
// at the instruction when it is called and stays there but after INSN_BRANCH: the caller moves on after
// INSN_DONE.
#ifndef MODELS_CPU_X86_INSN_H
#define MODELS_CPU_X86_INSN_H

#include "models/cpu/x86/vmx_state.h"

enum insn_result {
    INSN_DONE,   // Carried out; what follows it is next
    INSN_BRANCH, // Carried out, v->rip is where it goes on
    INSN_EXIT,   // v->exit is to be made; nothing was carried out
    INSN_FAULT,  // An exception was delivered to the guest: v->rip is its handler
    INSN_AGAIN,  // Nothing or a part was carried out: something pending comes first, then it runs again
};

// A memory operand, as far as system instructions want to know it.
struct insn_memory {
    uint64_t linear; // Its address
    uint32_t info;   // VMX-instruction information of the operand (SDM 27.2.5, tables 27-9 to 27-16)
};

// An exception that the current instruction raises: an exit if the exception bitmap says so, or delivered.
static inline enum insn_result insn_fault(struct pcpu *c, unsigned vector, uint32_t error)
{
    return vmx_exception(c, vector, error, 0) ? INSN_EXIT : INSN_FAULT;
}

// What an access of memory makes of its instruction.
static inline enum insn_result insn_access(enum guest_access result)
{
    switch (result) {
    case GUEST_DONE:
        return INSN_DONE;
    case GUEST_EXIT:
        return INSN_EXIT;
    case GUEST_FAULT:
        break;
    }
    return INSN_FAULT;
}

#endif
