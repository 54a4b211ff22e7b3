// SPDX-License-Identifier: Apache-2.0
//
// Takes the instrumentation out: walks a machine basic block backwards with two sets of registers, those
// which the program will still read and those which only a hook will. An instruction whose every result is
// dead to the program and is read by a hook exists for the hook alone. The walk sees a call of a hook as an
// instruction that reads nothing and spoils the registers a call may spoil, so whatever a hook is given looks
// dead to the program, unless it is also used.

#include "models/cpu/native/price_internal.h"

// System V ABI, AMD64 3.2.1: what a call may spoil, and what it may be given.
#define CALL_SPOILS 0x10fc7u // rax rcx rdx rsi rdi r8-r11 and the flags
#define CALL_READS 0x003c7u  // rax rcx rdx rsi rdi r8 r9
#define ALL_LIVE 0x3ffffu
#define RETURN_READS 0x0f03du // rax rdx and what the callee preserves: rbx rsp rbp r12-r15

struct slice {
    uint32_t program; // read later by the program
    uint32_t hook;    // read later by a hook only
    uint32_t value;   // operands of an atomic hook: a plain move into one is not part of the program
};

static void hook_call(struct slice *s, struct price_insn *p)
{
    p->left_out = p->hook != PRICE_HOOK_RETURN;
    if (p->hook == PRICE_HOOK_RETURN)
        s->program = RETURN_READS;
    s->program &= ~CALL_SPOILS | (p->hook == PRICE_HOOK_RETURN ? 5u : 0u);
    s->hook = (s->hook & ~CALL_SPOILS) | p->hook_arguments;
    s->value = p->hook_values;
}

static void plain_call(struct slice *s)
{
    s->program = (s->program & ~CALL_SPOILS) | CALL_READS | PRICE_RSP;
    s->hook &= ~CALL_SPOILS;
    s->value = 0;
}

// Can this instruction be without effect but for its register results?
static bool removable(const struct price_insn *p)
{
    return !p->store && !p->jump && !p->call && !p->ends && !p->unknown && !p->start &&
           !(p->writes & PRICE_RSP) && p->writes != 0;
}

static void plain(struct slice *s, struct price_insn *p)
{
    uint32_t results = p->writes & ~PRICE_FLAGS;
    bool dead = (p->writes & s->program) == 0;
    if (removable(p) && dead && (results & s->value) && (p->copy || p->constant)) {
        p->left_out = true;
        s->value &= ~results;
        s->program |= p->reads;
        return;
    }
    if (removable(p) && dead && (results & s->hook) && !(results & s->value)) {
        p->left_out = true;
        s->hook = (s->hook & ~results) | p->reads;
        return;
    }
    s->program = (s->program & ~p->writes) | p->reads | p->address_reads;
    s->hook &= ~p->writes;
    s->value &= ~p->writes;
}

void price_slice(struct price_insn *insns, size_t count)
{
    struct slice s = {ALL_LIVE, 0, 0};
    for (size_t i = count; i-- > 0;) {
        struct price_insn *p = &insns[i];
        if (p->hook != PRICE_HOOK_NONE)
            hook_call(&s, p);
        else if (p->call)
            plain_call(&s);
        else
            plain(&s, p);
    }
}
