// SPDX-License-Identifier: Apache-2.0
// Block after block, until something else has to be looked at.
#include "models/cpu/x86/debug.h"
#include "models/cpu/x86/interp/block.h"
#include "models/cpu/x86/interp/flags.h"
#include "models/cpu/x86/interp/interp.h"
#include "models/cpu/x86/interp/operand.h"
#include "models/cpu/x86/interp/simd.h"
#include "models/cpu/x86/observer.h"
#include "models/cpu/x86/trace_state.h"

#include <stdlib.h>

#define STI_OR_MOV_SS (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)

struct interp *interp_create(struct pcpu *c)
{
    struct interp *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->decoder = simd_host_ok() ? decoder_create() : NULL;
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
    x->running = NULL;
    x->exits = false;
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
    free(x->scratch);
    decoder_destroy(x->decoder);
    free(x);
}

// Whoever accesses memory need not look at segments again that have not changed, nor at watchers and checks
// of alignment that are not there.
static inline void refresh_plain(struct vmx *v, uint32_t mode)
{
    bool none = debug_watched(v->cpu) || v->alignment;
    uint32_t plain = mode | (none ? 1u << 31 : 0);

    if (__builtin_expect(plain == v->interp->plain && !v->plain_stale, 1))
        return;
    v->interp->plain = plain;
    segments_plain(v, (enum code_size)(mode & BLOCK_CODE_SIZE), none);
}

// Each instruction is to be followed by a look at its boundary.
static bool careful(const struct vmx *v)
{
    return (v->blocking & STI_OR_MOV_SS) || (v->rflags & (X86_RFLAGS_TF | X86_RFLAGS_RF)) ||
           (v->ctl.cpu & CPU_MONITOR_TRAP_FLAG) || debug_armed(v->cpu);
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

// The instruction at v->rip; NULL where it is none of the running block (the fetch of it made the exit).
static struct uop *uop_here(const struct vmx *v)
{
    struct block *b = block_running(v);

    for (unsigned i = 0; b && b->hpa != UINT64_MAX && i < b->uop_count; i++)
        if (b->rip + b->uops[i].offset == v->rip)
            return &b->uops[i];
    return NULL;
}

static uint32_t text_of(struct pcpu *c, struct uop *u)
{
    struct interp *x = c->x86->vmx.interp;
    char text[192];

    if (u->text)
        return u->text;
    decoder_text(x->decoder, x->running, u, text, sizeof text);
    u->text = trace_text(c->trace, text);
    return u->text;
}

// The row of an instruction, or of a part of it, that began at `begin` and is over now.
static void record(struct vmx *v, struct uop *u, uint64_t begin)
{
    struct pcpu *c = v->cpu;
    uint64_t ticks = c->now_ticks - begin;

    if (begin < c->machine->instructions_from_ticks || begin >= c->machine->instructions_to_ticks)
        return;
    trace_instruction(c->trace, &(struct trace_instruction){.where = trace_where_of(c, true),
                                                            .text = text_of(c, u),
                                                            .rip = block_running(v)->rip + u->offset,
                                                            .tick = begin,
                                                            .ticks = (uint32_t)ticks,
                                                            .stall_ticks = (uint32_t)(ticks - u->ticks)});
}

static bool retires(enum insn_result r)
{
    return r == INSN_DONE || r == INSN_BRANCH || r == INSN_AGAIN;
}

// One instruction, and the traps that follow it. True: exit. The fetch of it began at `begin`.
static bool step(struct vmx *v, struct block *b, bool recorded, uint64_t begin)
{
    struct uop *u = b->uops;
    uint64_t rflags = v->rflags, pending = v->pending_debug, next = b->rip + u->length;
    uint32_t blocking = v->blocking;
    enum insn_result r;

    observe(v, b, u);
    v->cpu->now_ticks += u->ticks;
    r = u->fn(v, u);
    observe_result(v, r);
    if (recorded && retires(r))
        record(v, u, begin);
    if (r == INSN_DONE)
        v->rip = next;
    if (r == INSN_DONE || r == INSN_BRANCH)
        return vmx_retired(v->cpu, blocking, rflags, v->rip != next);
    if (r == INSN_AGAIN &&
        v->element) { // A repeated string instruction traps like one that is over, but for RF.
        bool exits = vmx_retired(v->cpu, blocking, rflags, false);

        v->element = false;
        v->rflags |= X86_RFLAGS_RF; // SDM 6.8.3
        return exits;
    }
    if (r != INSN_AGAIN)
        v->pending_debug = pending; // What the instruction touched before it faulted does not count.
    v->interp->exits = r == INSN_EXIT;
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

// Carries out the block, as often as it goes back to its beginning. INSN_BRANCH: v->rip is right. `observed`
// is a constant in each caller; `recorded` and `begin`, when the fetch of the block began, count only with
// it.
static inline __attribute__((always_inline)) enum insn_result
execute(struct vmx *v, struct block *b, bool observed, bool recorded, uint64_t begin)
{
    struct pcpu *c = v->cpu;
    struct uop *u, *end = b->uops + b->uop_count;

    do {
        enum insn_result r;

        u = b->uops;
        do {
            if (observed)
                observe(v, b, u);
            c->now_ticks += u->ticks;
            r = u->fn(v, u);
            if (observed) {
                if (recorded && retires(r))
                    record(v, u, begin);
                observe_result(v, r);
                begin = c->now_ticks;
            }
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

static __attribute__((noinline)) enum insn_result execute_observed(struct vmx *v, struct block *b,
                                                                   bool recorded, uint64_t begin)
{
    return execute(v, b, true, recorded, begin);
}

bool interp_run(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    bool exits = false, recorded = c->trace && c->machine->instructions_to_ticks;
    uint64_t masked;

    v->behind = false;
    v->interp->exits = false;
    do {
        enum insn_result r;
        uint32_t mode = block_mode(v);
        uint64_t begin = c->now_ticks;
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
            exits = step(v, b, recorded, begin);
            break;
        }
        r = __builtin_expect(recorded || v->observer, 0) ? execute_observed(v, b, recorded, begin)
                                                         : execute(v, b, false, false, 0);
        v->interp->exits = r == INSN_EXIT;
        exits = r == INSN_EXIT || (v->trap_exit && vmx_retired(c, 0, 0, true));
        if (r != INSN_BRANCH)
            break;
        // Interrupts may be waiting for RFLAGS.IF.
    } while (!exits && !v->behind && !(v->rflags & masked) && c->now_ticks < c->limit_ticks &&
             v->activity == ACTIVITY_ACTIVE && !v->mwait);
    flags_settle(v);
    return exits;
}

uint32_t interp_exit_text(struct pcpu *c)
{
    struct vmx *v = &c->x86->vmx;
    struct uop *u = v->interp->exits ? uop_here(v) : NULL;

    v->interp->exits = false;
    return u ? text_of(c, u) : 0;
}
