// SPDX-License-Identifier: Apache-2.0
// Block after block, until something else has to be looked at.
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"

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

// The traps that follow an instruction (SDM 6.9). True: exit.
static bool retired(struct vmx *v, uint32_t blocking, uint64_t rflags)
{
    v->blocking &= ~(blocking & STI_OR_MOV_SS);
    v->rflags &= ~(uint64_t)X86_RFLAGS_RF;
    if (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG)
        v->mtf_pending = true;
    if (rflags & X86_RFLAGS_TF)
        v->pending_debug |= DEBUG_INFO_BS;
    return false;
}

static bool trap_exits(struct vmx *v)
{
    uint32_t reason = v->trap_exit;

    if (!reason)
        return false;
    v->trap_exit = 0;
    vmx_exit_begin(v->cpu, reason)->qualification = v->trap_qualification;
    return true;
}

static bool step(struct vmx *v, const struct block *b)
{
    const struct uop *u = b->uops;
    uint32_t blocking = v->blocking;
    uint64_t rflags = v->rflags;
    enum insn_result r;

    v->cpu->now_ticks += u->ticks;
    r = u->fn(v, u);
    if (r == INSN_DONE)
        v->rip = b->rip + u->length;
    if (r == INSN_DONE || r == INSN_BRANCH)
        retired(v, blocking, rflags);
    return r == INSN_EXIT || trap_exits(v);
}

// Carries out the block. INSN_BRANCH: v->rip is right.
static enum insn_result execute(struct vmx *v, const struct block *b)
{
    struct pcpu *c = v->cpu;
    const struct uop *u = b->uops, *end = u + b->uop_count;

    do {
        enum insn_result r;

        c->now_ticks += u->ticks;
        r = u->fn(v, u);
        if (__builtin_expect(r != INSN_DONE, 0))
            return r;
        u++;
        if (__builtin_expect(v->interp->page_written, 0)) {
            v->interp->page_written = false;
            v->rip = b->rip + u[-1].offset + u[-1].length;
            return INSN_BRANCH;
        }
    } while (u != end);
    v->rip = b->rip + b->bytes;
    return INSN_BRANCH;
}

bool interp_run(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    bool exits = false;

    if (v->timer_at_ticks < c->limit_ticks)
        c->limit_ticks = v->timer_at_ticks;
    do {
        enum insn_result r;
        struct block *b = block_find(v, &r);

        if (!b) {
            exits = r == INSN_EXIT;
            break;
        }
        v->interp->running = b;
        if (careful(v)) {
            exits = step(v, b);
            break;
        }
        r = execute(v, b);
        exits = r == INSN_EXIT || trap_exits(v);
        if (r != INSN_BRANCH)
            break;
    } while (!exits && c->now_ticks < c->limit_ticks && v->activity == ACTIVITY_ACTIVE);
    flags_settle(v);
    return exits;
}
