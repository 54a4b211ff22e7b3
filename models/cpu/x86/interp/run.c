// SPDX-License-Identifier: Apache-2.0
// Block after block, until something else has to be looked at.
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"
#include "models/cpu/x86/observer.h"

#include <stdlib.h>

#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)

struct interp *interp_create(struct pcpu *c)
{
    struct interp *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->blocks = calloc(BLOCKS_MAX, sizeof(struct block *));
    x->decoder = simd_host_ok() ? decoder_create() : NULL;
    if (x->blocks && x->decoder && cost_open(&x->cost, c)) {
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
    if (x->decoder)
        decoder_reset(x->decoder);
}

void interp_destroy(struct interp *x)
{
    if (!x)
        return;
    if (x->blocks)
        interp_reset(x);
    free(x->blocks);
    decoder_destroy(x->decoder);
    free(x);
}

// Each instruction is to be followed by a look at its boundary.
static bool careful(const struct vmx *v)
{
    return (v->blocking & STI_OR_MOV_SS) || (v->rflags & (X86_RFLAGS_TF | X86_RFLAGS_RF)) ||
           (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG) || (v->cpu->x86->dr[7] & 0xff);
}

// What a debugger hears of an instruction, before it and when it did not come to its end.
static void observe(struct vmx *v, const struct block *b, const struct uop *u)
{
    struct guest_observer *o = v->observer;

    if (!o)
        return;
    v->rip = b->rip + u->offset;
    o->instruction(o, v->cpu);
}
static void observe_result(struct vmx *v, enum insn_result r)
{
    struct guest_observer *o = v->observer;

    if (o && (r == INSN_AGAIN || r == INSN_EXIT))
        o->unfinished(o, v->cpu);
}

// One instruction, and the traps that follow it. True: exit.
static bool step(struct vmx *v, const struct block *b)
{
    const struct uop *u = b->uops;
    uint64_t rflags = v->rflags, pending = v->pending_debug, next = b->rip + u->length;
    uint32_t blocking = v->blocking;
    enum insn_result r;

    observe(v, b, u);
    v->cpu->now_ticks += u->ticks;
    r = u->fn(v, u);
    observe_result(v, r);
    if (r == INSN_DONE)
        v->rip = next;
    if (r == INSN_DONE || r == INSN_BRANCH)
        return vmx_retired(v->cpu, blocking, rflags, v->rip != next);
    if (r != INSN_AGAIN)
        v->pending_debug = pending; // What the instruction touched before it faulted does not count.
    return r == INSN_EXIT;
}

// Carries out the block. INSN_BRANCH: v->rip is right. `observed` is a constant in each caller.
static inline __attribute__((always_inline)) enum insn_result execute(struct vmx *v, const struct block *b,
                                                                      bool observed)
{
    struct pcpu *c = v->cpu;
    const struct uop *u = b->uops, *end = u + b->uop_count;

    do {
        enum insn_result r;

        if (observed)
            observe(v, b, u);
        c->now_ticks += u->ticks;
        r = u->fn(v, u);
        if (observed)
            observe_result(v, r);
        if (__builtin_expect(r != INSN_DONE, 0))
            return r;
        u++;
        if (__builtin_expect(v->behind, 0)) {
            v->rip = b->rip + u[-1].offset + u[-1].length;
            return INSN_BRANCH;
        }
    } while (u != end);
    v->rip = b->rip + b->bytes;
    return INSN_BRANCH;
}

static __attribute__((noinline)) enum insn_result execute_observed(struct vmx *v, const struct block *b)
{
    return execute(v, b, true);
}

bool interp_run(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    bool exits = false;
    uint64_t masked;

    v->behind = false;
    do {
        enum insn_result r;
        struct block *b = block_find(v, &r);

        if (v->timer_at_ticks < c->limit_ticks) // Whoever arms a timer computes the limit without it.
            c->limit_ticks = v->timer_at_ticks;
        masked = ~v->rflags & X86_RFLAGS_IF;
        if (!b) {
            exits = r == INSN_EXIT;
            break;
        }
        v->interp->running = b;
        if (careful(v)) {
            exits = step(v, b);
            break;
        }
        r = __builtin_expect(v->observer != NULL, 0) ? execute_observed(v, b) : execute(v, b, false);
        exits = r == INSN_EXIT || (v->trap_exit && vmx_retired(c, 0, 0, true));
        if (r != INSN_BRANCH)
            break;
        // Interrupts may be waiting for RFLAGS.IF.
    } while (!exits && !v->behind && !(v->rflags & masked) && c->now_ticks < c->limit_ticks &&
             v->activity == ACTIVITY_ACTIVE);
    flags_settle(v);
    return exits;
}
