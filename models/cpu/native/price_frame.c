// SPDX-License-Identifier: Apache-2.0
//
// Takes out the part of a function's frame that is there for the hooks. Hooks are calls, so whatever lives
// across one sits in a callee-saved register, which the function must save and restore. Without hooks only
// what lives across a call that stays needs one; the rest would use the nine registers that nobody has to
// save. So: the push and the pops of a callee-saved register that is live across no remaining call are left
// out, if the registers that would then move fit into the nine. And a function that calls nothing and has no
// data on its stack does not move the stack pointer either.

#include "models/cpu/native/price_internal.h"

#include <stdlib.h>

#define CALLEE_SAVED 0xf028u // rbx rbp r12-r15
#define GENERAL 0xffffu
#define FREE_REGISTERS 9 // rax rcx rdx rsi rdi r8-r11

static bool saves(const struct price_insn *p)
{
    return (p->id == X86_INS_PUSH || p->id == X86_INS_POP) && (p->saved & CALLEE_SAVED);
}

// A copy into a callee-saved register from one that a call may spoil.
static bool rescues(const struct price_insn *p)
{
    return p->copy && (p->writes & CALLEE_SAVED) && !(p->reads & (CALLEE_SAVED | PRICE_RSP));
}

static bool real_call(const struct price_insn *p)
{
    return p->call && p->hook == PRICE_HOOK_NONE;
}

// The callee-saved registers that are read after instruction i, given those read from each instruction on.
static uint32_t live_behind(const struct price_insn *insns, const uint16_t *live, size_t count, size_t i)
{
    const struct price_insn *p = &insns[i];
    uint32_t out = 0;
    if (p->hook == PRICE_HOOK_RETURN || p->id == X86_INS_RET)
        return 0;
    if (p->jump && p->target == 0)
        return CALLEE_SAVED; // A jump table: anything may be.
    if (p->jump && p->target >= insns[0].address) {
        size_t low = 0, high = count;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (insns[middle].address < p->target)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < count && insns[low].address == p->target)
            out = live[low];
    }
    return out | (!p->ends && i + 1 < count ? live[i + 1] : 0);
}

// One backward pass over the function; true if it found more. A push is no use of what it saves.
static bool pass(const struct price_insn *insns, uint16_t *live, size_t count)
{
    bool changed = false;
    for (size_t i = count; i-- > 0;) {
        const struct price_insn *p = &insns[i];
        uint32_t in = live_behind(insns, live, count, i);
        if (p->id == X86_INS_POP)
            in &= ~p->writes;
        else if (!p->left_out && !saves(p))
            in = (in & ~p->writes) | p->reads | p->address_reads;
        in &= CALLEE_SAVED;
        changed |= in != live[i];
        live[i] = (uint16_t)in;
    }
    return changed;
}

// The callee-saved registers that are live across a call which stays.
static uint32_t needed(const struct price_insn *insns, size_t count)
{
    uint16_t *live = calloc(count + 1, sizeof *live);
    uint32_t result = 0;
    if (live == NULL)
        abort();
    while (pass(insns, live, count))
        ;
    for (size_t i = 0; i < count; i++)
        if (real_call(&insns[i]))
            result |= live_behind(insns, live, count, i);
    free(live);
    return result;
}

// Is p of the frame, or a copy into it, if the registers of `keep` must be saved in any case?
static bool of_frame(const struct price_insn *p, uint32_t keep)
{
    return (saves(p) && !(p->saved & keep)) || (rescues(p) && !(p->writes & keep));
}

void price_frame(struct price_insn *insns, size_t count)
{
    uint32_t used = 0;
    uint32_t keep = needed(insns, count);
    bool calls = false, stack_data = false;
    for (size_t i = 0; i < count; i++) {
        const struct price_insn *p = &insns[i];
        calls |= real_call(p);
        if (p->left_out || p->hook != PRICE_HOOK_NONE || p->moves_stack || saves(p) || of_frame(p, keep))
            continue;
        used |= p->reads | p->writes | p->address_reads;
        stack_data |= !p->ends && !p->call && ((p->reads | p->address_reads) & PRICE_RSP) != 0;
    }
    if (__builtin_popcount(used & GENERAL & ~PRICE_RSP & ~keep) > FREE_REGISTERS)
        return;
    for (size_t i = 0; i < count; i++) {
        struct price_insn *p = &insns[i];
        if (of_frame(p, keep) || (p->moves_stack && !calls && !stack_data))
            p->left_out = true;
    }
}
