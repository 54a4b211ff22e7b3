// SPDX-License-Identifier: Apache-2.0
// Programs of replay guests: registration, checks, and where each stands.
#include "models/cpu/x86/native_guest_run.h"
#include "models/cpu/x86/replay_guest.h"

#include "models/apic/assigned_msi.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

unsigned replay_length(const struct replay_op *op)
{
    return op->kind == REPLAY_BRANCH ? 4 : op->length; // The VMREAD that it begins with.
}

static void guest_free(struct replay_guest *g)
{
    native_guest_free(g->native);
    free(g->rip);
    free(g->loop_end);
    free(g->loop_left);
    free(g->text);
    free(g);
}

static struct replay_set *set_of(struct machine *m)
{
    if (!m->replays) {
        m->replays = calloc(1, sizeof *m->replays);
        assert(m->replays);
    }
    return m->replays;
}

void replay_forget(struct machine *m)
{
    struct replay_set *set = m->replays;

    assigned_msi_destroy(m->assigned);
    m->assigned = NULL;
    m->replays = NULL;
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++)
        guest_free(set->guests[i]);
    free(set->guests);
    free(set);
}

void replay_set_done_hook(struct machine *m, replay_done_fn fn, void *ctx)
{
    set_of(m)->done = fn;
    set_of(m)->done_ctx = ctx;
}

// --- Checks. ---

static const char *match_loops(struct replay_guest *g)
{
    uint32_t open[64], depth = 0;
    const struct replay_program *p = g->program;

    for (uint32_t i = 0; i < p->op_count; i++) {
        if (p->ops[i].kind == REPLAY_LOOP) {
            if (depth == 64)
                return "loops are nested more than 64 deep";
            open[depth++] = i;
        } else if (p->ops[i].kind == REPLAY_ENDLOOP) {
            if (!depth)
                return "'}' without a loop";
            g->loop_end[i] = open[--depth];
            g->loop_end[open[depth]] = i;
        }
    }
    return depth ? "loop without '}'" : NULL;
}

static const char *check_targets(const struct replay_program *p)
{
    for (uint32_t i = 0; i < p->op_count; i++) {
        const struct replay_op *op = &p->ops[i];
        bool jumps = op->kind == REPLAY_GOTO || op->kind == REPLAY_BRANCH;
        uint64_t target = op->args[op->kind == REPLAY_BRANCH ? 3 : 0];

        if (op->kind >= REPLAY_OP_COUNT)
            return "unknown kind of event";
        if (jumps && target >= p->op_count)
            return "label outside of the stream";
    }
    for (unsigned v = 0; v < 256; v++)
        if (p->handler[v] != REPLAY_NO_HANDLER && p->handler[v] >= p->op_count)
            return "handler outside of the stream";
    return NULL;
}

static void number_rips(struct replay_guest *g)
{
    const struct replay_program *p = g->program;
    uint64_t rip = p->initial_rip;

    for (uint32_t i = 0; i < p->op_count; i++) {
        if (p->ops[i].flags & REPLAY_HAS_RIP)
            rip = p->ops[i].rip;
        g->rip[i] = rip;
        rip += replay_length(&p->ops[i]);
    }
}

static void guest_reset(struct replay_guest *g, uint64_t seed)
{
    if (g->native)
        native_guest_reset(g->native, seed);
    memset(g->text, 0, g->program->op_count * sizeof *g->text);
    memset(g->loop_left, 0, g->program->op_count * sizeof *g->loop_left);
    g->at = (struct replay_position){g->program->ops, 0, g->program->ops[0].gap_cycles * TICKS_PER_CYCLE,
                                     false, 0};
    g->frame_count = 0;
    g->rip_saved = g->rip[0];
    g->fresh = true;
    g->done = false;
    g->seen[0] = g->seen[1] = 0;
    g->await_until_ticks = g->pauses_left = 0;
    g->operand_bytes = 0;
}

void replay_reset(struct machine *m)
{
    for (size_t i = 0; m->replays && i < m->replays->count; i++)
        guest_reset(m->replays->guests[i], m->seed);
    if (m->assigned)
        assigned_msi_reset(m->assigned);
}

static struct replay_guest *guest_make(uint64_t idtr_base, const struct replay_program *p)
{
    struct replay_guest *g = calloc(1, sizeof *g);

    assert(g);
    g->idtr_base = idtr_base;
    g->program = p;
    g->rip = calloc(p->op_count, sizeof *g->rip);
    g->loop_end = calloc(p->op_count, sizeof *g->loop_end);
    g->loop_left = calloc(p->op_count, sizeof *g->loop_left);
    g->text = calloc(p->op_count, sizeof *g->text);
    assert(g->rip && g->loop_end && g->loop_left && g->text);
    return g;
}

// Index of the first guest whose base is not below.
static size_t lower_bound(const struct replay_set *set, uint64_t idtr_base)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (set->guests[mid]->idtr_base < idtr_base)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct replay_guest *replay_find(const struct machine *m, uint64_t idtr_base)
{
    const struct replay_set *set = m->replays;
    size_t i = set ? lower_bound(set, idtr_base) : 0;

    return set && i < set->count && set->guests[i]->idtr_base == idtr_base ? set->guests[i] : NULL;
}

static void insert(struct replay_set *set, struct replay_guest *g)
{
    size_t i = lower_bound(set, g->idtr_base);

    if (set->count == set->capacity) {
        set->capacity = set->capacity ? set->capacity * 2 : 16;
        set->guests = realloc(set->guests, set->capacity * sizeof *set->guests);
        assert(set->guests);
    }
    memmove(&set->guests[i + 1], &set->guests[i], (set->count - i) * sizeof *set->guests);
    set->guests[i] = g;
    set->count++;
}

const char *replay_register(struct machine *m, uint64_t idtr_base, const struct replay_program *program)
{
    struct replay_guest *g;
    const char *wrong;

    if (!program->op_count || program->ops[program->op_count - 1].kind != REPLAY_END)
        return "stream without an end";
    if (replay_find(m, idtr_base))
        return "interrupt table base is taken";
    wrong = check_targets(program);
    if (wrong)
        return wrong;
    g = guest_make(idtr_base, program);
    wrong = match_loops(g);
    if (wrong) {
        guest_free(g);
        return wrong;
    }
    number_rips(g);
    guest_reset(g, m->seed);
    insert(set_of(m), g);
    return NULL;
}
