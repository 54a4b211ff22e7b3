// SPDX-License-Identifier: Apache-2.0
// Block after block, until something else has to be looked at.
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/interp/operand.h"

#include <stdlib.h>

#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)

struct interp *interp_create(struct pcpu *c)
{
    struct interp *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->decoder = decoder_create();
    if (block_create(x) && x->decoder && cost_open(&x->cost, c)) {
        cost_reset(&x->cost);
        return x;
    }
    interp_destroy(x);
    return NULL;
}

void interp_reset(struct interp *x)
{
    if (!x)
        return;
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        free(x->blocks[i]);
        x->blocks[i] = NULL;
    }
    cost_reset(&x->cost);
}

void interp_destroy(struct interp *x)
{
    if (!x)
        return;
    if (x->blocks)
        interp_reset(x);
    free(x->blocks);
    free(x->scratch);
    decoder_destroy(x->decoder);
    free(x);
}

// Whoever accesses memory need not look at segments again that have not changed, nor at breakpoints that are
// not there.
static inline void refresh_plain(struct vmx *v, uint32_t mode)
{
    uint32_t plain = mode | (debug_armed(v->cpu) ? 1u << 31 : 0);

    if (__builtin_expect(plain == v->interp->plain && !v->plain_stale, 1))
        return;
    v->interp->plain = plain;
    segments_plain(v, (enum code_size)(mode & BLOCK_CODE_SIZE), debug_armed(v->cpu));
}

// Each instruction is to be followed by a look at its boundary.
static bool careful(const struct vmx *v)
{
    return (v->blocking & STI_OR_MOV_SS) || (v->rflags & (X86_RFLAGS_TF | X86_RFLAGS_RF)) ||
           (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG) || debug_armed(v->cpu);
}

// One instruction, and the traps that follow it. True: exit.
static bool step(struct vmx *v, const struct block *b)
{
    const struct uop *u = b->uops;
    uint64_t rflags = v->rflags, pending = v->pending_debug, next = b->rip + u->length;
    uint32_t blocking = v->blocking;
    enum insn_result r;

    v->cpu->now_ticks += u->ticks;
    r = u->fn(v, u);
    if (r == INSN_DONE)
        v->rip = next;
    if (r == INSN_DONE || r == INSN_BRANCH)
        return vmx_retired(v->cpu, blocking, rflags, v->rip != next);
    if (r != INSN_AGAIN)
        v->pending_debug = pending; // What the instruction touched before it faulted does not count.
    return r == INSN_EXIT;
}

// The block has branched to its own beginning, and what was looked at before it is as it was: only time, and
// perhaps the bytes (of somebody who had his turn meanwhile), are others. Nothing else was fetched since.
static inline bool turn(struct vmx *v, const struct block *b)
{
    struct pcpu *c = v->cpu;

    if (v->rip != b->rip || !b->loops || !b->words || v->trap_exit || v->behind || v->plain_stale ||
        c->now_ticks >= c->limit_ticks || !block_same(b, v->interp->code))
        return false;
    c->x86->mmu->counters.itlb_hits++;
    return true;
}

// Carries out the block, as often as it goes back to its beginning. INSN_BRANCH: v->rip is right.
static enum insn_result execute(struct vmx *v, const struct block *b)
{
    struct pcpu *c = v->cpu;
    const struct uop *u, *end = b->uops + b->uop_count;

    do {
        enum insn_result r;

        u = b->uops;
        do {
            c->now_ticks += u->ticks;
            r = u->fn(v, u);
            if (__builtin_expect(r != INSN_DONE, 0))
                break;
            u++;
            if (__builtin_expect(v->behind, 0)) {
                v->rip = b->rip + u[-1].offset + u[-1].length;
                return INSN_BRANCH;
            }
        } while (u != end);
        if (r == INSN_DONE)
            v->rip = b->rip + b->bytes;
        else if (r != INSN_BRANCH)
            return r;
    } while (turn(v, b));
    return INSN_BRANCH;
}

bool interp_run(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    bool exits = false;
    uint64_t masked;

    v->behind = false;
    do {
        enum insn_result r;
        uint32_t mode = block_mode(v);
        struct block *b = block_find(v, mode, &r);

        if (v->timer_at_ticks < c->limit_ticks) // Whoever arms a timer computes the limit without it.
            c->limit_ticks = v->timer_at_ticks;
        masked = ~v->rflags & X86_RFLAGS_IF;
        if (!b) {
            exits = r == INSN_EXIT;
            break;
        }
        refresh_plain(v, mode);
        if (careful(v)) {
            exits = step(v, b);
            break;
        }
        r = execute(v, b);
        exits = r == INSN_EXIT || (v->trap_exit && vmx_retired(c, 0, 0, true));
        if (r != INSN_BRANCH)
            break;
        // Interrupts may be waiting for RFLAGS.IF.
    } while (!exits && !v->behind && !(v->rflags & masked) && c->now_ticks < c->limit_ticks &&
             v->activity == ACTIVITY_ACTIVE);
    flags_settle(v);
    return exits;
}
